//! Maps of sparse files.

use super::BLOCK;
use super::header::unsigned;

/// Most stretches of one file.
const MAX_SEGMENTS: usize = 1 << 17;
const TOO_MANY: &str = "a sparse map of more than 131,072 stretches";

/// A stretch of data; what is between stretches is zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub offset: u64,
    pub size: u64,
}

/// Adds the pairs of an old GNU header, up to the first empty one.
pub(super) fn old_segments(fields: &[u8], segments: &mut Vec<Segment>) -> Result<(), &'static str> {
    for pair in fields.chunks_exact(24) {
        if pair[0] == 0 {
            break;
        }
        let (offset, size) = (unsigned(&pair[..12]), unsigned(&pair[12..]));
        let (Some(offset), Some(size)) = (offset, size) else { return Err("a bad sparse map") };
        segments.push(Segment { offset, size });
    }
    if segments.len() > MAX_SEGMENTS { Err(TOO_MANY) } else { Ok(()) }
}

/// Adds the pairs of an extension block; whether another one follows.
pub(super) fn old_extension(
    block: &[u8; BLOCK],
    segments: &mut Vec<Segment>,
) -> Result<bool, &'static str> {
    let before = segments.len();
    old_segments(&block[..504], segments)?;
    let more = block[504] != 0;
    // Empty extensions without end would be read without end.
    if more && segments.len() == before { Err("a bad sparse map") } else { Ok(more) }
}

/// Stretches must be in order, inside the file, and as long together as what is stored.
pub(super) fn check(segments: &[Segment], size: u64, stored: u64) -> Result<(), &'static str> {
    const BAD: &str = "a sparse map that contradicts itself";
    let (mut end, mut sum) = (0u64, 0u64);
    for s in segments {
        if s.offset < end {
            return Err(BAD);
        }
        end = s.offset.checked_add(s.size).ok_or(BAD)?;
        sum = sum.checked_add(s.size).ok_or(BAD)?;
    }
    if end > size || sum != stored || size > i64::MAX as u64 { Err(BAD) } else { Ok(()) }
}

/// The map of format 1.0: a count and pairs, each a line of decimal digits, at the beginning of the data.
#[derive(Default)]
pub(super) struct MapInData {
    number: Option<u64>,
    count: Option<usize>,
    numbers: Vec<u64>,
}

impl MapInData {
    pub(super) fn is_whole(&self) -> bool {
        self.count.is_some_and(|n| self.numbers.len() == 2 * n)
    }

    /// Reads a block; what is behind the map in its last one is padding.
    pub(super) fn add(&mut self, block: &[u8; BLOCK]) -> Result<(), &'static str> {
        const BAD: &str = "a bad sparse map";
        for byte in block {
            match byte {
                b'0'..=b'9' => {
                    let digit = u64::from(byte - b'0');
                    let n = self.number.unwrap_or(0);
                    self.number =
                        Some(n.checked_mul(10).and_then(|n| n.checked_add(digit)).ok_or(BAD)?);
                }
                b'\n' => {
                    let n = self.number.take().ok_or(BAD)?;
                    if self.count.is_some() {
                        self.numbers.push(n);
                    } else {
                        let count = usize::try_from(n).map_err(|_| TOO_MANY)?;
                        if count > MAX_SEGMENTS {
                            return Err(TOO_MANY);
                        }
                        self.count = Some(count);
                    }
                    if self.is_whole() {
                        return Ok(());
                    }
                }
                _ => return Err(BAD),
            }
        }
        Ok(())
    }

    pub(super) fn segments(self) -> Vec<Segment> {
        self.numbers.chunks_exact(2).map(|n| Segment { offset: n[0], size: n[1] }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_must_agree_with_themselves() {
        let s = |offset, size| Segment { offset, size };
        assert!(check(&[s(0, 5), s(10, 5)], 20, 10).is_ok());
        assert!(check(&[], 1 << 40, 0).is_ok());
        for (segments, size, stored) in [
            (vec![s(0, 5), s(4, 5)], 20, 10),
            (vec![s(0, 5)], 4, 5),
            (vec![s(0, 5)], 5, 6),
            (vec![s(u64::MAX, 5)], 5, 5),
            (vec![s(0, u64::MAX), s(u64::MAX, 1)], 5, 5),
        ] {
            assert!(check(&segments, size, stored).is_err(), "{segments:?}");
        }
    }

    #[test]
    fn a_map_in_data_may_span_blocks() {
        let mut text = String::from("60\n");
        for i in 0..60u64 {
            text.push_str(&format!("{}\n1\n", i << 20));
        }
        let mut data = text.into_bytes();
        data.resize(data.len().next_multiple_of(BLOCK), 0);
        let mut map = MapInData::default();
        for block in data.chunks_exact(BLOCK) {
            assert!(!map.is_whole());
            map.add(block.try_into().unwrap()).unwrap();
        }
        assert!(map.is_whole());
        assert_eq!(map.segments()[59], Segment { offset: 59 << 20, size: 1 });
        let mut empty = MapInData::default();
        let mut block = [0u8; BLOCK];
        block[..2].copy_from_slice(b"0\n");
        empty.add(&block).unwrap();
        assert!(empty.is_whole());
        assert!(MapInData::default().add(&[0; BLOCK]).is_err());
        assert!(MapInData::default().add(&[b'9'; BLOCK]).is_err());
    }
}
