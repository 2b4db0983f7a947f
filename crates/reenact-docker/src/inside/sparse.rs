//! Files with holes in tar streams: GNU's old format, which every reader of tar streams has.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// Stretches in a header, and in a block of further ones.
const FIRST: usize = 4;
const NEXT: usize = 21;

/// Makes a header that of a file with holes; gives the blocks that must come before the data. `segments`: offset and length of
/// each stretch of data, in order, in whole blocks of 512 bytes but for the end of the file.
pub fn describe(header: &mut tar::Header, size: u64, segments: &[(u64, u64)]) -> Vec<u8> {
    let mut all = segments.to_vec();
    // Says where the file ends, if that is in a hole.
    all.push((size, 0));
    let (first, rest) = all.split_at(FIRST.min(all.len()));
    header.set_entry_type(tar::EntryType::GNUSparse);
    header.set_size(segments.iter().map(|(_, length)| length).sum());
    let set = |field: &mut tar::GnuSparseHeader, segment: &(u64, u64)| {
        field.set_offset(segment.0);
        field.set_length(segment.1);
    };
    // Our headers are GNU's.
    if let Some(gnu) = header.as_gnu_mut() {
        gnu.set_real_size(size);
        gnu.set_is_extended(!rest.is_empty());
        for (field, segment) in gnu.sparse.iter_mut().zip(first) {
            set(field, segment);
        }
    }
    let mut blocks = Vec::new();
    let mut pieces = rest.chunks(NEXT).peekable();
    while let Some(piece) = pieces.next() {
        let mut block = tar::GnuExtSparseHeader::new();
        block.set_is_extended(pieces.peek().is_some());
        for (field, segment) in block.sparse_mut().iter_mut().zip(piece) {
            set(field, segment);
        }
        blocks.extend_from_slice(block.as_bytes());
    }
    blocks
}

/// Reads stretches of a file one after the other, and zeros where it has become shorter meanwhile.
pub struct Stretches<'a> {
    file: File,
    rest: std::slice::Iter<'a, (u64, u64)>,
    left: u64,
}

impl<'a> Stretches<'a> {
    pub fn new(file: File, segments: &'a [(u64, u64)]) -> Self {
        Self { file, rest: segments.iter(), left: 0 }
    }
}

impl Read for Stretches<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.left == 0 {
            let Some((offset, length)) = self.rest.next() else { return Ok(0) };
            self.file.seek(SeekFrom::Start(*offset))?;
            self.left = *length;
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let mut n = self.file.read(&mut buffer[..most])?;
        if n == 0 && most > 0 {
            buffer[..most].fill(0);
            n = most;
        }
        self.left -= n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::FileExt;

    proptest! {
        #[test]
        fn what_is_written_is_read(stretches in proptest::collection::vec((1u64..40, 1u64..40), 0..60), tail in 1u64..2000, data_at_end: bool) {
            let file = tempfile::tempfile().unwrap();
            let (mut at, mut segments) = (0, Vec::new());
            for (hole, length) in stretches {
                at += hole * 512;
                file.write_all_at(&vec![b'x'; length as usize * 512], at).unwrap();
                segments.push((at, length * 512));
                at += length * 512;
            }
            let mut size = at + tail;
            file.set_len(size).unwrap();
            if data_at_end {
                segments.push((at + 512, tail));
                size += 512;
                file.write_all_at(&vec![b'z'; tail as usize], at + 512).unwrap();
            }
            let whole = {
                let mut bytes = vec![0; size as usize];
                file.read_exact_at(&mut bytes, 0).unwrap();
                bytes
            };
            let mut header = tar::Header::new_gnu();
            let blocks = describe(&mut header, size, &segments);
            let data = blocks.as_slice().chain(Stretches::new(file, &segments));
            let mut tar = tar::Builder::new(Vec::new());
            tar.append_data(&mut header, "n".repeat(120), data).unwrap();
            let mut other = tar::Header::new_gnu();
            other.set_size(1);
            tar.append_data(&mut other, "next", &b"y"[..]).unwrap();
            let bytes = tar.into_inner().unwrap();
            let mut archive = tar::Archive::new(bytes.as_slice());
            let mut entries = archive.entries().unwrap();
            let mut entry = entries.next().unwrap().unwrap();
            prop_assert_eq!(entry.header().entry_type(), tar::EntryType::GNUSparse);
            let mut found = Vec::new();
            entry.read_to_end(&mut found).unwrap();
            prop_assert_eq!(found, whole);
            let next = entries.next().unwrap().unwrap();
            let name = next.path_bytes().into_owned();
            prop_assert_eq!(name, b"next");
        }
    }
}
