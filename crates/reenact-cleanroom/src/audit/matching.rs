//! Which files share how much with a secret.

use super::index::Index;
use super::secret::Secret;
use super::walk::{Listing, Node, join};
use crate::error::CleanroomError;
use reenact_model::Digest;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// With fewer samples of its own than this, a share says nothing; whole copies are still found.
const FEWEST_SAMPLES: usize = 8;
/// Fewer shared samples than this are chance: tables, padding, start-up code.
const FEWEST_SHARED: usize = 8;
/// Shares from which a file is worth a note, and from which it gives the reference away (per mille).
pub(crate) const RELATED: u32 = 50;
pub(crate) const EXPOSED: u32 = 500;

/// A file that has something of the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    pub node: Node,
    /// Which subject of the secret.
    pub subject: usize,
    /// Share of the subject's own samples that are in the file, per mille; 1000 and `exact` for a copy.
    pub per_mille: u32,
    pub exact: bool,
}

/// Samples of the secret's subjects.
pub(crate) struct Pattern {
    /// Which subjects have the sample.
    owners: HashMap<u64, Vec<usize>>,
    sizes: Vec<usize>,
    /// One bit for each value of the low bits of a sample: almost all samples of a file system end here.
    sieve: Vec<u64>,
}

const SIEVE_BITS: u64 = 1 << 18;

impl Pattern {
    /// # Errors
    /// Files of the secret cannot be read.
    pub(crate) fn of(secret: &Secret) -> Result<Self, CleanroomError> {
        let mut owners: HashMap<u64, Vec<usize>> = HashMap::new();
        let mut sieve = vec![0u64; (SIEVE_BITS / 64) as usize];
        let mut sizes = Vec::new();
        for (i, subject) in secret.subjects.iter().enumerate() {
            let samples = subject.samples()?;
            sizes.push(samples.len());
            for s in samples {
                owners.entry(s).or_default().push(i);
                let bit = s % SIEVE_BITS;
                sieve[(bit / 64) as usize] |= 1 << (bit % 64);
            }
        }
        Ok(Self { owners, sizes, sieve })
    }

    fn may_hold(&self, sample: u64) -> bool {
        let bit = sample % SIEVE_BITS;
        self.sieve[(bit / 64) as usize] >> (bit % 64) & 1 != 0
    }

    /// Files of `listing` with a whole copy, or with a share worth telling.
    ///
    /// Samples that the toolchain's own static libraries have too are common material: every statically linked program
    /// holds them.
    pub(crate) fn hits(
        &self,
        base: &Path,
        listing: &Listing,
        index: &Index,
        secret: &Secret,
    ) -> Vec<Hit> {
        let mut common: HashSet<u64> = HashSet::new();
        let mut shared: Vec<(&Node, Vec<u64>)> = Vec::new();
        let mut hits = Vec::new();
        for file in &listing.files {
            if let Some(hit) = copy(base, file, secret) {
                hits.push(hit);
                continue;
            }
            let Some(samples) = index.get(&file.stamp) else { continue };
            let found: Vec<u64> = samples
                .iter()
                .copied()
                .filter(|s| self.may_hold(*s) && self.owners.contains_key(s))
                .collect();
            if found.is_empty() {
                continue;
            }
            if is_toolchain(&file.path) {
                common.extend(found);
            } else {
                shared.push((file, found));
            }
        }
        let mut own = self.sizes.clone();
        for sample in &common {
            for owner in self.owners.get(sample).into_iter().flatten() {
                own[*owner] -= 1;
            }
        }
        for (file, found) in shared {
            let mut counts = vec![0usize; own.len()];
            for sample in found.iter().filter(|s| !common.contains(s)) {
                for owner in self.owners.get(sample).into_iter().flatten() {
                    counts[*owner] += 1;
                }
            }
            for (subject, count) in counts.into_iter().enumerate() {
                if own[subject] < FEWEST_SAMPLES {
                    continue;
                }
                let per_mille = u32::try_from(count * 1000 / own[subject]).unwrap_or(1000);
                if per_mille >= EXPOSED || (per_mille >= RELATED && count >= FEWEST_SHARED) {
                    hits.push(Hit { node: file.clone(), subject, per_mille, exact: false });
                }
            }
        }
        hits
    }
}

fn copy(base: &Path, file: &Node, secret: &Secret) -> Option<Hit> {
    if !secret.has_size(file.stamp.size) {
        return None;
    }
    // A file that cannot be read by us cannot be read by the room's user either.
    let bytes = std::fs::read(join(base, &file.path)).ok()?;
    let subject = secret.exact(Digest::of(&bytes))?;
    Some(Hit { node: file.clone(), subject, per_mille: 1000, exact: true })
}

/// Static libraries and start files that compilers link into every program.
pub(crate) fn is_toolchain(path: &[u8]) -> bool {
    const LIBRARIES: [&str; 14] = [
        "libc.a",
        "libm.a",
        "libpthread.a",
        "libdl.a",
        "librt.a",
        "libutil.a",
        "libresolv.a",
        "libmvec.a",
        "libc_nonshared.a",
        "libgcc.a",
        "libgcc_eh.a",
        "libstdc++.a",
        "libsupc++.a",
        "libunwind.a",
    ];
    let path = String::from_utf8_lossy(path);
    let name = path.rsplit('/').next().unwrap_or_default();
    let versioned = name.starts_with("libm-") && name.ends_with(".a");
    let start = name.ends_with("crt1.o") || (name.starts_with("crt") && name.ends_with(".o"));
    let rust = name.ends_with(".rlib") && path.contains("rustlib/");
    LIBRARIES.contains(&name) || versioned || start || rust
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_toolchains_own_libraries_are_known_by_name() {
        for path in [
            "lib/x86_64-linux-gnu/libc.a",
            "lib/gcc/x86_64-linux-gnu/12/crtbeginT.o",
            "lib/x86_64-linux-gnu/Scrt1.o",
            "lib/rustlib/x86_64-unknown-linux-musl/lib/libstd-0123.rlib",
            "lib/x86_64-linux-gnu/libm-2.36.a",
        ] {
            assert!(is_toolchain(path.as_bytes()), "{path}");
        }
        for path in ["lib/liblz4.a", "lib/libc.so.6", "share/x.rlib", "bin/crt", "lib/encrt.o"] {
            assert!(!is_toolchain(path.as_bytes()), "{path}");
        }
    }
}
