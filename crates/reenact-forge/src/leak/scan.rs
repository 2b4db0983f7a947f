//! Finding byte runs that public and sealed files share.
//!
//! Any common run of at least [`MIN_RUN`] bytes covers a whole [`BLOCK`]-byte block of the public file that begins at a
//! multiple of [`BLOCK`]. So the public side is cut into such blocks, and a rolling hash goes over *every* position of the
//! sealed side: the scan is exact, not sampled.

use std::collections::HashMap;

/// Runs shorter than this mean nothing, bytes.
pub(crate) const MIN_RUN: usize = 64;
/// `MIN_RUN` is at least `2 * BLOCK - 1`, which the argument above needs.
const BLOCK: usize = 32;
/// Places of one block that are tried; repeated text gives the same answer at each.
const MAX_PLACES: usize = 8;
/// Blocks with fewer distinct bytes are padding, rules and dashes, which any two texts share.
const MIN_DISTINCT: usize = 4;
/// Bits of the filter in front of the table.
const FILTER_BITS: u32 = 22;
const BASE: u64 = 0x9e37_79b9_7f4a_7c15;

/// A run of bytes found on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Index of the public file.
    pub file: usize,
    /// Offset in the public file.
    pub public_at: usize,
    /// Offset in the sealed bytes.
    pub sealed_at: usize,
    pub len: usize,
}

/// The public files, prepared for scans.
pub(crate) struct Index<'a> {
    files: &'a [Vec<u8>],
    table: HashMap<u64, Vec<(u32, u32)>>,
    filter: Vec<u64>,
}

impl<'a> Index<'a> {
    /// Cuts the public files into blocks.
    pub fn new(files: &'a [Vec<u8>]) -> Self {
        let mut table: HashMap<u64, Vec<(u32, u32)>> = HashMap::new();
        let mut filter = vec![0u64; 1 << (FILTER_BITS - 6)];
        for (file, bytes) in files.iter().enumerate() {
            for (block, chunk) in bytes.chunks_exact(BLOCK).enumerate() {
                if is_padding(chunk) {
                    continue;
                }
                let hash = chunk.iter().fold(0u64, |h, b| step(h, *b));
                let places = table.entry(hash).or_default();
                if places.len() < MAX_PLACES {
                    // Public files are at most a few MiB, few in number.
                    places.push((file as u32, (block * BLOCK) as u32));
                }
                let (word, bit) = slot(hash);
                filter[word] |= bit;
            }
        }
        Self { files, table, filter }
    }

    /// Calls `found` with each run that `sealed` shares with a public file; the longest where several begin together.
    pub fn scan(&self, sealed: &[u8], mut found: impl FnMut(Run)) {
        if sealed.len() < MIN_RUN || self.table.is_empty() {
            return;
        }
        let leaving = (0..BLOCK).fold(1u64, |p, _| p.wrapping_mul(BASE));
        let mut hash = sealed[..BLOCK].iter().fold(0u64, |h, b| step(h, *b));
        // Everything before this is part of a run already told of.
        let mut told = 0;
        let mut at = 0;
        loop {
            let (word, bit) = slot(hash);
            if at >= told
                && self.filter[word] & bit != 0
                && let Some(run) = self.longest(sealed, at, hash)
            {
                told = run.sealed_at + run.len;
                found(run);
            }
            let Some(next) = sealed.get(at + BLOCK) else { break };
            let old = u64::from(sealed[at]) + 1;
            hash = step(hash, *next).wrapping_sub(old.wrapping_mul(leaving));
            at += 1;
        }
    }

    fn longest(&self, sealed: &[u8], at: usize, hash: u64) -> Option<Run> {
        let places = self.table.get(&hash)?;
        places
            .iter()
            .filter_map(|(file, place)| self.extend(sealed, at, *file as usize, *place as usize))
            .filter(|run| run.len >= MIN_RUN)
            .max_by_key(|run| run.len)
    }

    fn extend(&self, sealed: &[u8], at: usize, file: usize, place: usize) -> Option<Run> {
        let public = &self.files[file];
        if sealed[at..at + BLOCK] != public[place..place + BLOCK] {
            return None;
        }
        let before = sealed[..at]
            .iter()
            .rev()
            .zip(public[..place].iter().rev())
            .take_while(|(a, b)| a == b)
            .count();
        let after = sealed[at..].iter().zip(&public[place..]).take_while(|(a, b)| a == b).count();
        Some(Run { file, public_at: place - before, sealed_at: at - before, len: before + after })
    }
}

/// `+ 1` so that leading zero bytes count.
fn step(hash: u64, byte: u8) -> u64 {
    hash.wrapping_mul(BASE).wrapping_add(u64::from(byte) + 1)
}

fn slot(hash: u64) -> (usize, u64) {
    // The high bits of a multiplicative hash are the good ones.
    let at = (hash.wrapping_mul(BASE) >> (64 - FILTER_BITS)) as usize;
    (at >> 6, 1 << (at & 63))
}

fn is_padding(chunk: &[u8]) -> bool {
    let mut seen = [false; 256];
    let mut distinct = 0;
    for b in chunk {
        if !std::mem::replace(&mut seen[usize::from(*b)], true) {
            distinct += 1;
        }
    }
    distinct < MIN_DISTINCT
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn runs(public: &[&[u8]], sealed: &[u8]) -> Vec<Run> {
        let files: Vec<Vec<u8>> = public.iter().map(|p| p.to_vec()).collect();
        let mut all = Vec::new();
        Index::new(&files).scan(sealed, |r| all.push(r));
        all
    }

    /// Bytes without repetition at the scale of runs.
    pub(crate) fn noise(len: usize, salt: u64) -> Vec<u8> {
        let mut state = salt;
        (0..len)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect()
    }

    #[test]
    fn padding_and_short_runs_are_not_reported() {
        assert!(runs(&[&[b'-'; 500]], &[b'-'; 500]).is_empty());
        let shared = noise(MIN_RUN - 1, 3);
        let sealed = [noise(200, 1), shared.clone(), noise(200, 2)].concat();
        let public = [noise(200, 4), shared, noise(200, 5)].concat();
        assert!(runs(&[&public], &sealed).is_empty());
    }

    proptest! {
        #[test]
        fn every_run_of_the_minimum_length_is_found(
            len in MIN_RUN..300usize, a in 0usize..200, b in 0usize..200, salt in 1u64..1000
        ) {
            let shared = noise(len, salt);
            let sealed = [noise(a, salt + 5000), shared.clone(), noise(77, salt + 6000)].concat();
            let public = [noise(b, salt + 7000), shared, noise(55, salt + 8000)].concat();
            let found = runs(&[b"first", &public], &sealed);
            prop_assert_eq!(found.len(), 1);
            let run = found[0];
            prop_assert_eq!(run.file, 1);
            prop_assert!(run.len >= len);
            prop_assert_eq!(
                &sealed[run.sealed_at..run.sealed_at + run.len],
                &public[run.public_at..run.public_at + run.len]
            );
        }
    }
}
