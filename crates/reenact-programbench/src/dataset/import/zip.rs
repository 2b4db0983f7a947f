//! Reading zip archives (wheels): stored and deflated members, checked against their sizes and CRCs.
//!
//! Facts are from PKWARE's APPNOTE 6.3.10, sections 4.3 and 4.4. What no wheel needs is refused by name: several disks, zip64,
//! encryption, other methods, names that are no UTF-8 or lead out of a directory, members listed twice or lying over each other.

use std::collections::BTreeSet;
use std::io::Read;

/// End of central directory without its comment, and the longest comment.
const END: usize = 22;
const COMMENT_MAX: usize = 0xffff;

/// Why an archive cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZipError {
    #[error("is no zip archive, or is cut short")]
    NotAZip,
    #[error("{0}")]
    Malformed(&'static str),
    #[error("uses {0}, which is not supported")]
    Unsupported(&'static str),
    #[error("member {name:?}: {what}")]
    Member { name: String, what: &'static str },
    #[error("member {name:?} would be larger than {limit} bytes")]
    TooLarge { name: String, limit: u64 },
}

/// An archive in memory.
#[derive(Clone, Debug)]
pub struct Zip<'a> {
    bytes: &'a [u8],
    members: Vec<Member>,
}

/// One member, as the central directory lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Relative, with `/` between its parts, without `.` or `..`; a directory ends in `/`.
    pub name: String,
    /// Uncompressed, bytes.
    pub size: u64,
    compressed: usize,
    method: u16,
    crc: u32,
    /// Where the local header begins.
    at: usize,
}

impl<'a> Zip<'a> {
    /// Reads the central directory.
    ///
    /// # Errors
    /// [`ZipError`] for what is malformed, unsupported, or unsafe in any member, wanted or not.
    pub fn open(bytes: &'a [u8]) -> Result<Self, ZipError> {
        let (count, directory) = central_directory(bytes)?;
        let mut at = 0;
        let mut members = Vec::with_capacity(count.min(4096));
        for _ in 0..count {
            let (member, next) = central_entry(directory, at)?;
            members.push(member);
            at = next;
        }
        if at != directory.len() {
            return Err(ZipError::Malformed("the central directory is longer than its entries"));
        }
        let mut names = BTreeSet::new();
        if let Some(twice) = members.iter().find(|m| !names.insert(m.name.as_str())) {
            return Err(ZipError::Member { name: twice.name.clone(), what: "is listed twice" });
        }
        let zip = Self { bytes, members };
        zip.refuse_overlaps()?;
        Ok(zip)
    }

    /// In the order of the central directory.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Unpacks a member of at most `limit` bytes, and checks size and CRC.
    ///
    /// # Errors
    /// [`ZipError::TooLarge`], or [`ZipError::Member`] if the data are not what the directory says.
    pub fn read(&self, member: &Member, limit: u64) -> Result<Vec<u8>, ZipError> {
        let fail = |what| ZipError::Member { name: member.name.clone(), what };
        if member.size > limit {
            return Err(ZipError::TooLarge { name: member.name.clone(), limit });
        }
        let (start, end) = self.span(member)?;
        let data = &self.bytes[start..end];
        let mut out = Vec::new();
        // One byte more than announced is enough to know that it lies.
        let most = member.size.saturating_add(1);
        match member.method {
            0 => data.take(most).read_to_end(&mut out),
            _ => flate2::read::DeflateDecoder::new(data).take(most).read_to_end(&mut out),
        }
        .map_err(|_| fail("its compressed data are broken"))?;
        if out.len() as u64 != member.size {
            return Err(fail("has another size than the directory says"));
        }
        let mut crc = flate2::Crc::new();
        crc.update(&out);
        if crc.sum() != member.crc {
            return Err(fail("does not match its CRC"));
        }
        Ok(out)
    }

    /// Where a member's data are; its local header must name the same member.
    fn span(&self, member: &Member) -> Result<(usize, usize), ZipError> {
        let fail = |what| ZipError::Member { name: member.name.clone(), what };
        let header = slice(self.bytes, member.at, 30).ok_or_else(|| fail("lies outside"))?;
        if header[..4] != *b"PK\x03\x04" {
            return Err(fail("has no header where the directory says"));
        }
        let (name_len, extra_len) = (u16_at(header, 26), u16_at(header, 28));
        let name = slice(self.bytes, member.at + 30, name_len);
        if name != Some(member.name.as_bytes()) {
            return Err(fail("has another name in its header"));
        }
        let start = member.at + 30 + name_len + extra_len;
        let end = start.checked_add(member.compressed).filter(|e| *e <= self.bytes.len());
        end.map(|end| (start, end)).ok_or_else(|| fail("lies outside"))
    }

    /// Members that share bytes are how small archives unpack to petabytes.
    fn refuse_overlaps(&self) -> Result<(), ZipError> {
        let mut spans = Vec::with_capacity(self.members.len());
        for member in &self.members {
            spans.push((member.at, self.span(member)?.1, &member.name));
        }
        spans.sort();
        match spans.windows(2).find(|w| w[1].0 < w[0].1) {
            Some(w) => {
                Err(ZipError::Member { name: w[1].2.clone(), what: "lies over another member" })
            }
            None => Ok(()),
        }
    }
}

/// Number of entries, and the directory's bytes.
fn central_directory(bytes: &[u8]) -> Result<(usize, &[u8]), ZipError> {
    let lowest = bytes.len().saturating_sub(END + COMMENT_MAX);
    let ends = (lowest..(bytes.len() + 1).saturating_sub(END)).rev();
    let is_end = |at: &usize| {
        bytes[*at..].starts_with(b"PK\x05\x06") && at + END + u16_at(bytes, at + 20) == bytes.len()
    };
    let end = ends.into_iter().find(is_end).ok_or(ZipError::NotAZip)?;
    let field = |offset| u16_at(bytes, end + offset);
    if field(4) != 0 || field(6) != 0 || field(8) != field(10) {
        return Err(ZipError::Unsupported("several disks"));
    }
    let (count, size, at) = (field(10), u32_at(bytes, end + 12), u32_at(bytes, end + 16));
    if count == 0xffff || size == 0xffff_ffff || at == 0xffff_ffff {
        return Err(ZipError::Unsupported("zip64"));
    }
    let (size, at) = (size as usize, at as usize);
    // Sixteen bits, and no zip64, bound the number of members.
    if at.checked_add(size) != Some(end) {
        return Err(ZipError::Malformed("the central directory is not where the end says"));
    }
    Ok((count, &bytes[at..end]))
}

/// The entry at `at`, and where the next one begins.
fn central_entry(directory: &[u8], at: usize) -> Result<(Member, usize), ZipError> {
    let cut = || ZipError::Malformed("the central directory is cut short");
    let fixed = slice(directory, at, 46).ok_or_else(cut)?;
    if fixed[..4] != *b"PK\x01\x02" {
        return Err(ZipError::Malformed("the central directory holds something else"));
    }
    let (name_len, extra, comment) = (u16_at(fixed, 28), u16_at(fixed, 30), u16_at(fixed, 32));
    let raw = slice(directory, at + 46, name_len).ok_or_else(cut)?;
    let name = String::from_utf8(raw.to_vec())
        .map_err(|_| ZipError::Unsupported("a name that is no UTF-8"))?;
    let fail = |what| ZipError::Member { name: name.clone(), what };
    if let Some(what) = unsafe_name(&name) {
        return Err(fail(what));
    }
    let (flags, method) = (u16_at(fixed, 8), u16_at(fixed, 10) as u16);
    if flags & 1 != 0 {
        return Err(fail("is encrypted"));
    }
    if method != 0 && method != 8 {
        return Err(fail("is packed by a method other than deflate"));
    }
    // Upper half of the external attributes: the mode, where a Unix made the archive.
    if u32_at(fixed, 38) >> 16 & 0o170_000 == 0o120_000 {
        return Err(fail("is a symbolic link"));
    }
    let member = Member {
        size: u64::from(u32_at(fixed, 24)),
        compressed: u32_at(fixed, 20) as usize,
        crc: u32_at(fixed, 16),
        at: u32_at(fixed, 42) as usize,
        method,
        name,
    };
    Ok((member, at + 46 + name_len + extra + comment))
}

/// Why a member may not have this name.
fn unsafe_name(name: &str) -> Option<&'static str> {
    let parts: Vec<&str> = name.strip_suffix('/').unwrap_or(name).split('/').collect();
    if name.is_empty() || parts.contains(&"") {
        Some("has an empty part in its name, or an absolute one")
    } else if parts.iter().any(|p| matches!(*p, "." | "..")) {
        Some("has a name that leads elsewhere")
    } else if name.contains(['\\', '\0', ':']) {
        Some("has a character in its name that some system takes for a separator")
    } else {
        None
    }
}

fn slice(bytes: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(len)?)
}

/// The caller has checked that the bytes are there.
fn u16_at(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

/// The caller has checked that the bytes are there.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    /// Writes an archive; `deflate` says how each member is packed.
    pub(in crate::dataset) fn archive(members: &[(String, Vec<u8>, bool)]) -> Vec<u8> {
        let (mut out, mut directory) = (Vec::new(), Vec::new());
        for (name, data, deflate) in members {
            let mut crc = flate2::Crc::new();
            crc.update(data);
            let packed = if *deflate {
                let mut e =
                    flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
                e.write_all(data).unwrap();
                e.finish().unwrap()
            } else {
                data.clone()
            };
            let at = out.len() as u32;
            let method: u16 = if *deflate { 8 } else { 0 };
            let mut common = Vec::new();
            common.extend(20u16.to_le_bytes());
            common.extend(0u16.to_le_bytes());
            common.extend(method.to_le_bytes());
            common.extend([0; 4]);
            common.extend(crc.sum().to_le_bytes());
            common.extend((packed.len() as u32).to_le_bytes());
            common.extend((data.len() as u32).to_le_bytes());
            common.extend((name.len() as u16).to_le_bytes());
            common.extend(0u16.to_le_bytes());
            out.extend(b"PK\x03\x04");
            out.extend(&common);
            out.extend(name.as_bytes());
            out.extend(&packed);
            directory.extend(b"PK\x01\x02");
            directory.extend(20u16.to_le_bytes());
            directory.extend(&common);
            // Comment's length, disk, internal and external attributes.
            directory.extend([0; 10]);
            directory.extend(at.to_le_bytes());
            directory.extend(name.as_bytes());
        }
        let at = out.len() as u32;
        let count = (members.len() as u16).to_le_bytes();
        out.extend(&directory);
        out.extend(b"PK\x05\x06\0\0\0\0");
        out.extend(count);
        out.extend(count);
        out.extend((directory.len() as u32).to_le_bytes());
        out.extend(at.to_le_bytes());
        out.extend([0; 2]);
        out
    }

    fn one(name: &str) -> Vec<u8> {
        archive(&[(name.to_owned(), b"hello".to_vec(), false)])
    }

    fn refused(bytes: &[u8]) -> String {
        match Zip::open(bytes) {
            Err(e) => e.to_string(),
            Ok(zip) => zip.read(&zip.members()[0], 1 << 20).unwrap_err().to_string(),
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["../x", "/etc/passwd", "a/../../b", "a//b", "./a", "c:\\x", "a\\b", "a\0b", ""]
        {
            let error = refused(&one(name));
            assert!(error.contains("name"), "{name:?}: {error}");
        }
        assert!(Zip::open(&one("a/b..c/.d")).is_ok());
    }

    #[test]
    fn hostile_archives_are_refused_by_name() {
        assert_eq!(refused(b""), "is no zip archive, or is cut short");
        assert_eq!(refused(&[b'P'; 40]), "is no zip archive, or is cut short");
        let good = one("a");
        assert_eq!(refused(&good[..good.len() - 1]), "is no zip archive, or is cut short");
        let central = good.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
        let with = |at: usize, value: &[u8]| {
            let mut bytes = good.clone();
            bytes[at..at + value.len()].copy_from_slice(value);
            refused(&bytes)
        };
        assert!(with(central + 8, &[1]).contains("encrypted"));
        assert!(with(central + 10, &[12]).contains("method"));
        assert!(with(central + 40, &[0, 0xa0]).contains("symbolic link"));
        assert!(with(central + 24, &[200]).contains("another size"));
        assert!(with(central + 16, &[0]).contains("CRC"));
        assert!(with(central + 20, &[0xff, 0xff, 0xff]).contains("outside"));
        assert!(with(central + 42, &[1]).contains("no header"));
        assert!(with(30, b"b").contains("another name"));
        let end = good.len() - 22;
        assert!(with(end + 4, &[1]).contains("disks"));
        assert!(with(end + 16, &[0xff; 4]).contains("zip64"));
        assert!(with(end + 12, &[1]).contains("not where"));
        let twice = archive(&vec![("a".to_owned(), vec![], false); 2]);
        assert!(refused(&twice).contains("twice"));
        let mut over =
            archive(&[("a".to_owned(), vec![7; 40], false), ("b".to_owned(), vec![7; 40], false)]);
        let first = over.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
        over[first + 20] = 60;
        assert!(refused(&over).contains("over another"));
    }

    #[test]
    fn a_bomb_unpacks_to_no_more_than_it_said_or_may() {
        let bomb = archive(&[("a".to_owned(), vec![0; 10 << 20], true)]);
        assert!(bomb.len() < 1 << 20);
        let zip = Zip::open(&bomb).unwrap();
        let error = zip.read(&zip.members()[0], 1 << 20).unwrap_err();
        assert_eq!(error, ZipError::TooLarge { name: "a".into(), limit: 1 << 20 });
        let central = bomb.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
        let mut liar = bomb.clone();
        liar[central + 24..central + 28].copy_from_slice(&100u32.to_le_bytes());
        assert!(refused(&liar).contains("another size"));
    }

    proptest! {
        #[test]
        fn what_is_packed_is_read_back(
            members in prop::collection::btree_map("[a-z]{1,8}(/[a-z.]{2,8}){0,2}x", (prop::collection::vec(any::<u8>(), 0..300), any::<bool>()), 0..6)
        ) {
            let list: Vec<_> = members.into_iter().map(|(n, (d, z))| (n, d, z)).collect();
            let bytes = archive(&list);
            let unusual = list.iter().any(|(n, _, _)| unsafe_name(n).is_some());
            match Zip::open(&bytes) {
                Err(e) => prop_assert!(unusual, "{e}"),
                Ok(zip) => {
                    prop_assert_eq!(zip.members().len(), list.len());
                    for (member, (name, data, _)) in zip.members().iter().zip(&list) {
                        prop_assert_eq!(&member.name, name);
                        prop_assert_eq!(&zip.read(member, 300).unwrap(), data);
                    }
                }
            }
        }

        // Neither panics nor reads more than it may, whatever is changed.
        #[test]
        fn no_mutation_breaks_the_reader(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in any::<prop::sample::Index>()) {
            let mut bytes = archive(&[("a/b".into(), vec![1; 90], true), ("c".into(), b"hello".to_vec(), false)]);
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
                if let Ok(zip) = Zip::open(bytes) {
                    for member in zip.members() {
                        if let Ok(data) = zip.read(member, 4096) {
                            prop_assert!(data.len() <= 4096);
                        }
                    }
                }
            }
        }
    }
}
