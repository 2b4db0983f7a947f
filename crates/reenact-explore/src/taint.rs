//! Options that make the reference unpredictable (`--random`, `--sort=random`). They are found before anything is decided by
//! what candidates did: a case with such an option may look stable by luck, in one generation and not in the next, and would
//! be flaky when graded.

use crate::environment::Environment;
use crate::error::ExploreError;
use crate::facts::unusable;
use crate::generate::{Use, Workshop};
use crate::lab::{Circumstances, Lab, Seen};
use crate::record::record;
use crate::surface::Surface;
use reenact_model::{Case, CaseObservation};
use std::collections::{BTreeMap, BTreeSet};

/// Candidates looked at for each option with its value, the ones with most output.
const SAMPLES: usize = 3;
/// Repetitions of each.
const REPETITIONS: usize = 3;

/// Options not to be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taint {
    /// Argument lists of one option with its value, as spelt.
    spellings: BTreeSet<Vec<String>>,
    /// Flags, as [`Surface::exercised`] names them: unpredictable under every name and in every combination.
    flags: BTreeSet<String>,
    /// Subcommands, see [`crate::bases::Bases::unpredictable`].
    commands: BTreeSet<Vec<String>>,
}

impl Taint {
    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.spellings.is_empty() && self.commands.is_empty()
    }

    /// Whether a command line uses an unpredictable option.
    pub fn touches(&self, surface: &Surface, argv: &[String]) -> bool {
        self.commands.iter().any(|c| argv.starts_with(c))
            || self.spellings.iter().any(|s| argv.windows(s.len()).any(|w| w == s.as_slice()))
            || (!self.flags.is_empty() && !self.flags.is_disjoint(&surface.exercised(argv)))
    }

    /// Whether a case does.
    pub fn touches_case(&self, surface: &Surface, case: &Case) -> bool {
        case.steps.iter().any(|s| self.touches(surface, &s.argv))
    }
}

/// Repeats a few candidates of every option that was used alone and answered.
///
/// # Errors
/// [`ExploreError`] when the sandbox fails.
pub fn find(shop: &Workshop<'_>, seen: &[Seen], lab: &Lab<'_>) -> Result<Taint, ExploreError> {
    lab.progress.stage("looking for options with unpredictable effects");
    let picked = pick(shop, seen);
    let cases: Vec<&Case> = picked.iter().map(|&i| &shop.maker.cases[i]).collect();
    let mut runs: Vec<Vec<CaseObservation>> = vec![Vec::new(); picked.len()];
    for _ in 0..REPETITIONS {
        let again = lab.observe(&cases, &shop.maker.blobs, &Circumstances::default(), None)?;
        for (list, seen) in runs.iter_mut().zip(again) {
            list.extend(seen.ran().cloned());
        }
    }
    let environment = Environment::today();
    let mut taint = Taint { commands: shop.bases.unpredictable.clone(), ..Taint::default() };
    for ((&at, case), again) in picked.iter().zip(&cases).zip(&runs) {
        let (Some(first), Some(used)) = (seen[at].ran(), shop.uses.get(&at)) else { continue };
        let all: Vec<&CaseObservation> = std::iter::once(first).chain(again).collect();
        let varies = again.iter().any(|s| unusable(case, s).is_some())
            || matches!(
                record(case, &all, &environment),
                Err("exit" | "stdout" | "stderr" | "screen" | "files")
            );
        if varies {
            mark(&mut taint, shop.surface, used);
        }
    }
    Ok(taint)
}

fn mark(taint: &mut Taint, surface: &Surface, used: &Use) {
    let Some(spelling) = used.options.first() else { return };
    taint.spellings.insert(spelling.clone());
    let flag = |name: &String| {
        let commands = surface.commands.values();
        let option = commands.flat_map(|c| &c.options).find(|o| o.primary() == name)?;
        (!option.takes_value()).then(|| surface.exercised(&used.base.argv(spelling)))
    };
    taint.flags.extend(used.names.first().and_then(flag).unwrap_or_default());
}

/// Indices of up to [`SAMPLES`] candidates for each spelling of an option alone, the longest outputs first.
fn pick(shop: &Workshop<'_>, seen: &[Seen]) -> Vec<usize> {
    let mut by_spelling: BTreeMap<&Vec<String>, Vec<(u64, usize)>> = BTreeMap::new();
    for (&at, used) in shop.uses.iter().filter(|(_, u)| u.options.len() == 1) {
        let Some(observation) = seen.get(at).and_then(Seen::ran) else { continue };
        if unusable(&shop.maker.cases[at], observation).is_none() {
            let size = observation.steps.iter().map(|s| s.stdout.len).sum();
            if let Some(spelling) = used.options.first() {
                by_spelling.entry(spelling).or_default().push((size, at));
            }
        }
    }
    let mut picked = Vec::new();
    for list in by_spelling.values_mut() {
        list.sort_by_key(|(size, at)| (std::cmp::Reverse(*size), *at));
        picked.extend(list.iter().take(SAMPLES).map(|(_, at)| *at));
    }
    picked.sort_unstable();
    picked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_known_by_every_name_and_values_by_their_spelling() {
        let mut surface = Surface::new("p");
        surface.absorb_document(
            "t",
            "Usage: p [OPTIONS]\n\n  -R, --random   shuffle\n  --sort=HOW     how to sort\n",
        );
        let mut taint = Taint::default();
        let used = |name: &str, spelling: &[&str]| Use {
            base: Default::default(),
            options: vec![spelling.iter().map(|s| (*s).to_owned()).collect()],
            names: vec![name.to_owned()],
            files: BTreeMap::new(),
        };
        mark(&mut taint, &surface, &used("--random", &["-R"]));
        mark(&mut taint, &surface, &used("--sort", &["--sort=random"]));
        let touches = |words: &[&str]| {
            taint.touches(&surface, &words.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>())
        };
        assert!(touches(&["--random", "x"]) && touches(&["-n", "--sort=random"]));
        assert!(!touches(&["--sort=name"]) && !touches(&["R"]));
    }
}
