//! Samples of a file's content: hashes of 64-byte windows at positions that the content itself chooses, so that equal runs of
//! bytes give equal samples wherever they are in a file.

use std::io::{self, Read};

/// A position is taken if the top bits of its window's hash are zero: one in 512.
const TAKEN_BELOW: u64 = 1 << (64 - 9);
/// Bytes that a hash depends on: each shifts the earlier ones by one bit.
const WINDOW: usize = 64;

/// One random word for each byte value (splitmix64 of the value).
static GEAR: [u64; 256] = gear();

const fn gear() -> [u64; 256] {
    let mut table = [0u64; 256];
    let mut i = 0;
    while i < 256 {
        let mut z = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        table[i] = z ^ (z >> 31);
        i += 1;
    }
    table
}

/// Collects the samples of a stream of bytes.
struct Sampler {
    hash: u64,
    /// Bytes still missing in the first window.
    missing: usize,
    samples: Vec<u64>,
}

impl Sampler {
    fn new() -> Self {
        Self { hash: 0, missing: WINDOW - 1, samples: Vec::new() }
    }

    fn feed(&mut self, bytes: &[u8]) {
        let head = self.missing.min(bytes.len());
        self.missing -= head;
        let mut hash = self.hash;
        for b in &bytes[..head] {
            hash = (hash << 1).wrapping_add(GEAR[usize::from(*b)]);
        }
        for b in &bytes[head..] {
            hash = (hash << 1).wrapping_add(GEAR[usize::from(*b)]);
            if hash < TAKEN_BELOW {
                // Runs of one byte give the same sample again and again.
                if self.samples.last() != Some(&hash) {
                    self.samples.push(hash);
                }
            }
        }
        self.hash = hash;
    }

    fn finish(mut self) -> Vec<u64> {
        self.samples.sort_unstable();
        self.samples.dedup();
        self.samples
    }
}

/// The different samples of everything that `from` gives, sorted.
///
/// # Errors
/// Reading.
pub(crate) fn samples(mut from: impl Read) -> io::Result<Vec<u64>> {
    let mut sampler = Sampler::new();
    let mut buffer = vec![0u8; 256 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(sampler.finish()),
            Ok(n) => sampler.feed(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Bytes without a pattern, another sequence for each seed.
    pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut state = GEAR[usize::try_from(seed % 256).unwrap()];
        let step = |state: &mut u64| {
            *state ^= *state << 13;
            *state ^= *state >> 7;
            *state ^= *state << 17;
            (*state >> 32) as u8
        };
        (0..len).map(|_| step(&mut state)).collect()
    }

    #[test]
    fn about_one_position_in_512_is_taken_and_equal_runs_give_equal_samples_anywhere() {
        let run = noise(7, 200_000);
        let alone = samples(run.as_slice()).unwrap();
        assert!((250..600).contains(&alone.len()), "{}", alone.len());
        let mut inside = noise(8, 12_345);
        inside.extend(&run);
        inside.extend(noise(9, 777));
        let inside = samples(inside.as_slice()).unwrap();
        let found = alone.iter().filter(|s| inside.binary_search(s).is_ok()).count();
        assert_eq!(found, alone.len());
        let other = samples(noise(10, 200_000).as_slice()).unwrap();
        assert_eq!(alone.iter().filter(|s| other.binary_search(s).is_ok()).count(), 0);
    }

    #[test]
    fn pieces_do_not_matter_and_empty_space_gives_at_most_one_sample() {
        let bytes = noise(3, 50_000);
        let mut sampler = Sampler::new();
        for piece in bytes.chunks(31) {
            sampler.feed(piece);
        }
        assert_eq!(sampler.finish(), samples(bytes.as_slice()).unwrap());
        assert!(samples(vec![0u8; 1 << 20].as_slice()).unwrap().len() <= 1);
        assert_eq!(samples(&b"short"[..]).unwrap(), Vec::<u64>::new());
    }
}
