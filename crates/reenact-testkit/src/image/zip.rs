//! The little of the zip format that ProgramBench's two example submissions need.

use super::ImageFixtureError;
use std::io::Read;
use std::path::Path;

/// Files of a zip archive: (path, mode, bytes), in the order of its directory.
pub(super) fn read(path: &Path) -> Result<Vec<(String, u32, Vec<u8>)>, ImageFixtureError> {
    let bytes = std::fs::read(path).map_err(ImageFixtureError::io(path.display()))?;
    let malformed = || ImageFixtureError::Malformed {
        path: path.to_path_buf(),
        what: "not a plain zip archive".to_owned(),
    };
    entries(&bytes).ok_or_else(malformed)
}

fn entries(bytes: &[u8]) -> Option<Vec<(String, u32, Vec<u8>)>> {
    let end = bytes.windows(4).rposition(|w| w == b"PK\x05\x06")?;
    bytes.get(end..end + 22)?;
    let count = number(bytes, end + 10, 2)?;
    let mut at = number(bytes, end + 16, 4)?;
    let mut files = Vec::new();
    for _ in 0..count {
        if bytes.get(at..at + 4)? != b"PK\x01\x02" {
            return None;
        }
        let method = number(bytes, at + 10, 2)?;
        let size = number(bytes, at + 20, 4)?;
        let [name, extra, comment] =
            [number(bytes, at + 28, 2)?, number(bytes, at + 30, 2)?, number(bytes, at + 32, 2)?];
        let mode = u32::try_from(number(bytes, at + 38, 4)? >> 16).ok()? & 0o777;
        let local = number(bytes, at + 42, 4)?;
        let path = std::str::from_utf8(bytes.get(at + 46..at + 46 + name)?).ok()?;
        let data = local + 30 + number(bytes, local + 26, 2)? + number(bytes, local + 28, 2)?;
        let raw = bytes.get(data..data + size)?;
        if !path.ends_with('/') {
            files.push((path.to_owned(), mode, content(method, raw)?));
        }
        at += 46 + name + extra + comment;
    }
    Some(files)
}

/// Stored or deflated.
fn content(method: usize, raw: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    match method {
        0 => bytes.extend_from_slice(raw),
        8 => {
            flate2::read::DeflateDecoder::new(raw).read_to_end(&mut bytes).ok()?;
        }
        _ => return None,
    }
    Some(bytes)
}

/// A little-endian number of `size` bytes.
fn number(bytes: &[u8], at: usize, size: usize) -> Option<usize> {
    let field = bytes.get(at..at.checked_add(size)?)?;
    Some(field.iter().rev().fold(0, |n, b| n << 8 | usize::from(*b)))
}

/// `printf hello > a.txt; zip` by Python's zipfile, stored, mode 0644.
#[cfg(test)]
pub(super) const STORED: &[u8] = b"PK\x03\x04\x14\x00\x00\x00\x00\x00\x00\x00!\x00\x86\xa6\x106\x05\x00\x00\x00\x05\x00\x00\x00\x05\x00\x00\x00a.txthello\
    PK\x01\x02\x14\x03\x14\x00\x00\x00\x00\x00\x00\x00!\x00\x86\xa6\x106\x05\x00\x00\x00\x05\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xa4\x81\x00\x00\x00\x00a.txt\
    PK\x05\x06\x00\x00\x00\x00\x01\x00\x01\x003\x00\x00\x00(\x00\x00\x00\x00\x00";

#[cfg(test)]
mod tests {
    use super::STORED;

    #[test]
    fn a_stored_file_comes_out() {
        let files = super::entries(STORED).unwrap();
        assert_eq!(files, [("a.txt".to_owned(), 0o644, b"hello".to_vec())]);
    }

    #[test]
    fn no_cut_of_an_archive_panics() {
        for end in 0..STORED.len() {
            assert_eq!(super::entries(&STORED[..end]), None, "cut at {end}");
        }
    }
}
