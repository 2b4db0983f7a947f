//! One header block.

use super::pax::Records;
use super::{BLOCK, EntryKind, Segment, sparse};
use reenact_sandbox::unpack::Meta;

/// A block whose checksum is right.
pub(super) struct Raw<'a>(&'a [u8; BLOCK]);

/// A number in octal digits, or in base 256 where its first bit is set (GNU). `None`: neither.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        let negative = first & 0x40 != 0;
        // Sign-extended from bit 6.
        let mut value = i128::from(first & 0x7f) - if negative { 0x80 } else { 0 };
        for byte in rest {
            value = value.checked_mul(256)?.checked_add(i128::from(*byte))?;
        }
        return i64::try_from(value).ok();
    }
    let text: &[u8] = field.trim_ascii_start();
    let end = text.iter().position(|b| matches!(b, 0 | b' ')).unwrap_or(text.len());
    let mut value = 0i64;
    for digit in &text[..end] {
        if !(b'0'..=b'7').contains(digit) {
            return None;
        }
        value = value.checked_mul(8)?.checked_add(i64::from(digit - b'0'))?;
    }
    Some(value)
}

pub(super) fn unsigned(field: &[u8]) -> Option<u64> {
    number(field).and_then(|n| u64::try_from(n).ok())
}

fn text(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or_default()
}

impl<'a> Raw<'a> {
    /// Checks the checksum, in its signed form too (old writers).
    pub(super) fn check(block: &'a [u8; BLOCK]) -> Result<Self, &'static str> {
        let in_field = |i: usize| (148..156).contains(&i);
        let byte = |i: usize, b: u8| if in_field(i) { b' ' } else { b };
        let (mut sum, mut signed) = (0i64, 0i64);
        for (i, b) in block.iter().enumerate() {
            sum += i64::from(byte(i, *b));
            signed += i64::from(byte(i, *b) as i8);
        }
        match number(&block[148..156]) {
            Some(n) if n == sum || n == signed => Ok(Self(block)),
            _ => Err("not a tar header (its checksum is wrong)"),
        }
    }

    pub(super) fn kind(&self) -> u8 {
        self.0[156]
    }

    pub(super) fn entry_kind(&self) -> Option<EntryKind> {
        Some(match self.kind() {
            0 | b'0' | b'7' | b'S' => EntryKind::File,
            b'1' => EntryKind::HardLink,
            b'2' => EntryKind::Symlink,
            b'3' | b'4' => EntryKind::Device,
            b'5' | b'D' => EntryKind::Dir,
            b'6' => EntryKind::Fifo,
            _ => return None,
        })
    }

    pub(super) fn size(&self) -> Option<u64> {
        unsigned(&self.0[124..136])
    }

    pub(super) fn name(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        // GNU has other things in the place of ustar's prefix.
        let prefix = if &self.0[257..263] == b"ustar\0" { text(&self.0[345..500]) } else { b"" };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    pub(super) fn link(&self) -> Vec<u8> {
        text(&self.0[157..257]).to_vec()
    }

    pub(super) fn meta(&self, records: &Records) -> Result<Meta, &'static str> {
        let id = |field: &[u8], record: Option<u64>| {
            let n = record.or_else(|| unsigned(field)).ok_or("a bad owner")?;
            u32::try_from(n).ok().filter(|n| *n != u32::MAX).ok_or("a bad owner")
        };
        Ok(Meta {
            mode: (unsigned(&self.0[100..108]).ok_or("bad permission bits")? & 0o7777) as u32,
            uid: id(&self.0[108..116], records.uid)?,
            gid: id(&self.0[116..124], records.gid)?,
            mtime: match records.mtime {
                Some(time) => time,
                None => (number(&self.0[136..148]).ok_or("a bad time")?, 0),
            },
            xattrs: records.xattrs.clone(),
        })
    }

    /// Size, first segments, and whether more of them follow, of GNU's old sparse files.
    pub(super) fn old_sparse(&self) -> Result<(u64, Vec<Segment>, bool), &'static str> {
        let size = unsigned(&self.0[483..495]).ok_or("a bad size")?;
        let mut segments = Vec::new();
        sparse::old_segments(&self.0[386..482], &mut segments)?;
        Ok((size, segments, self.0[482] != 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0"), Some(0));
        assert_eq!(number(b"77777777777"), Some(0o77777777777));
        assert_eq!(number(b"\x80\0\0\0\0\0\0\0\0\0\x01\0"), Some(256));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), Some(-1));
        assert_eq!(number(b"00x"), None);
        assert_eq!(number(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), None);
        assert_eq!(unsigned(b"\xff\xff\xff\xff"), None);
    }
}
