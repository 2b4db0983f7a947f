//! Pairs and triples of options that showed an effect alone, and such options on fresh data.

use crate::bases::content;
use crate::generate::{Use, Workshop};
use fastrand::Rng;
use std::collections::BTreeMap;

/// Adds combinations. `effective` holds the indices of candidates that succeeded and changed what the base alone gives.
pub fn add(shop: &mut Workshop<'_>, effective: &[usize]) {
    let mut rng = shop.rng("combos");
    let mut by_command: BTreeMap<Vec<String>, Vec<Use>> = BTreeMap::new();
    for at in effective {
        if let Some(used) = shop.uses.get(at) {
            by_command.entry(used.base.path.clone()).or_default().push(used.clone());
        }
    }
    let total: usize = by_command.values().map(Vec::len).sum();
    for (path, uses) in by_command {
        // Commands share the combinations by how many effective options they have.
        let share = (shop.wanted.max(40) * uses.len()).div_ceil(total.max(1));
        let bases = shop.bases.of(&path);
        for i in 0..share * 3 / 2 {
            let base = bases[rng.usize(..bases.len())].clone();
            let size = if i % 3 == 2 { 3 } else { 2 };
            if let Some(combined) = combine(&uses, base, size, &mut rng) {
                shop.add_use("combos", combined, &[]);
            }
        }
        for _ in 0..share * 2 / 3 {
            let mut used = uses[rng.usize(..uses.len())].clone();
            refresh(&mut used, shop, &mut rng);
            shop.add_use("options", used, &["fresh-data"]);
        }
    }
}

/// Options of `size` different uses on one base.
fn combine(uses: &[Use], base: crate::maker::Base, size: usize, rng: &mut Rng) -> Option<Use> {
    let mut combined = Use { base, options: Vec::new(), names: Vec::new(), files: BTreeMap::new() };
    for _ in 0..size * 4 {
        let part = &uses[rng.usize(..uses.len())];
        if combined.names.len() < size && !part.names.iter().any(|n| combined.names.contains(n)) {
            combined.names.extend(part.names.clone());
            combined.options.extend(part.options.clone());
            combined.files.extend(part.files.clone());
        }
    }
    (combined.names.len() > 1).then_some(combined)
}

/// Replaces the data of a use by fresh data of the main kind.
fn refresh(used: &mut Use, shop: &Workshop<'_>, rng: &mut Rng) {
    let bytes = content(shop.bases.kind(), rng);
    if let Some(file) = used
        .base
        .files
        .iter_mut()
        .find(|(name, _)| !name.starts_with("script."))
        .map(|(_, bytes)| bytes)
    {
        *file = bytes;
    } else if used.base.stdin.is_some() {
        used.base.stdin = Some(bytes);
    }
}
