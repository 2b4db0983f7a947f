//! A reader of tar streams that are not trusted: ustar, GNU and PAX, with sparse files. It keeps to bounds of its own, holds
//! no more than one header in memory, and decides nothing about names.

mod header;
mod pax;
mod sparse;
pub(crate) mod write;

use reenact_sandbox::unpack::Meta;
use std::io::{self, BufRead};

pub(crate) use sparse::Segment;

/// The unit of everything in an archive.
pub(crate) const BLOCK: usize = 512;
/// Largest extended header (names, attributes), bytes.
const MAX_EXTENDED: u64 = 1 << 20;

/// What an entry makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    Dir,
    Symlink,
    HardLink,
    Fifo,
    /// Character or block device.
    Device,
}

/// An entry, before its data.
#[derive(Clone, Debug)]
pub(crate) struct TarEntry {
    /// As it stands there.
    pub path: Vec<u8>,
    /// Target of links.
    pub link: Vec<u8>,
    pub kind: EntryKind,
    pub meta: Meta,
    /// Bytes of the file.
    pub size: u64,
    /// Where the data belong, if they are not the whole file.
    pub sparse: Option<Vec<Segment>>,
}

/// Why an archive cannot be read on.
#[derive(Debug)]
pub(crate) enum TarError {
    Io(io::Error),
    /// What is wrong with it, at which entry (as far as known).
    Format {
        entry: Vec<u8>,
        why: &'static str,
    },
}

impl From<io::Error> for TarError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn format(entry: &[u8], why: &'static str) -> TarError {
    TarError::Format { entry: entry.to_vec(), why }
}

/// Reads entries one after the other.
pub(crate) struct TarReader<R> {
    input: R,
    /// Data of the current entry that were not read, and the padding after them.
    left: u64,
    padding: u64,
    /// Bytes read from the beginning.
    at: u64,
}

impl<R: BufRead> TarReader<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, left: 0, padding: 0, at: 0 }
    }

    /// Bytes read so far; after [`TarReader::next`], where the entry's data begin.
    pub(crate) fn position(&self) -> u64 {
        self.at
    }

    /// Bytes of the current entry as stored in the archive that were not read yet.
    pub(crate) fn stored(&self) -> u64 {
        self.left
    }

    pub(crate) fn into_inner(self) -> R {
        self.input
    }

    /// Gives `n` bytes of the stream to `f`, in pieces.
    fn feed(&mut self, mut n: u64, f: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        while n > 0 {
            let chunk = self.input.fill_buf()?;
            if chunk.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let take = usize::try_from(n).unwrap_or(usize::MAX).min(chunk.len());
            f(&chunk[..take])?;
            self.input.consume(take);
            self.at += take as u64;
            n -= take as u64;
        }
        Ok(())
    }

    fn skip(&mut self, n: u64) -> io::Result<()> {
        self.feed(n, &mut |_| Ok(()))
    }

    /// A block, or `None` at the very end of the stream.
    fn block(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        if self.input.fill_buf()?.is_empty() {
            return Ok(None);
        }
        self.full_block().map(Some)
    }

    fn full_block(&mut self) -> io::Result<[u8; BLOCK]> {
        let mut block = [0; BLOCK];
        let mut have = 0;
        self.feed(BLOCK as u64, &mut |bytes| {
            block[have..have + bytes.len()].copy_from_slice(bytes);
            have += bytes.len();
            Ok(())
        })?;
        Ok(block)
    }

    /// The data of a header that describes the next one.
    fn extended(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        if size > MAX_EXTENDED {
            return Err(format(b"", "an extended header of more than 1 MiB"));
        }
        let mut data = Vec::new();
        self.feed(size, &mut |bytes| {
            data.extend_from_slice(bytes);
            Ok(())
        })?;
        self.skip(size.next_multiple_of(BLOCK as u64) - size)?;
        Ok(data)
    }

    /// The next entry; what was not read of the data of the one before is skipped. `None` at the end of the archive.
    pub(crate) fn next(&mut self) -> Result<Option<TarEntry>, TarError> {
        let rest = self.left + self.padding;
        (self.left, self.padding) = (0, 0);
        self.skip(rest)?;
        let (mut long_name, mut long_link, mut records) = (None, None, None);
        loop {
            let Some(block) = self.block()? else {
                return match (long_name, long_link, records) {
                    (None, None, None) => Ok(None),
                    _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                };
            };
            if block == [0; BLOCK] {
                return Ok(None);
            }
            let raw = header::Raw::check(&block).map_err(|why| format(b"", why))?;
            let data = |size: Option<u64>| size.ok_or_else(|| format(&raw.name(), "a bad size"));
            match raw.kind() {
                b'L' => long_name = Some(pax::until_nul(self.extended(data(raw.size())?)?)),
                b'K' => long_link = Some(pax::until_nul(self.extended(data(raw.size())?)?)),
                b'x' => records = Some(self.extended(data(raw.size())?)?),
                // Global records are for pax itself (git writes a comment); container engines ignore them too.
                b'g' | b'V' => drop(self.extended(data(raw.size())?)?),
                _ => return self.entry(&raw, long_name, long_link, records).map(Some),
            }
        }
    }

    fn entry(
        &mut self,
        raw: &header::Raw<'_>,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
        records: Option<Vec<u8>>,
    ) -> Result<TarEntry, TarError> {
        let records = records.unwrap_or_default();
        let path = long_name.unwrap_or_else(|| raw.name());
        let records = pax::read(&records).map_err(|why| format(&path, why))?;
        let path = records.path.clone().unwrap_or(path);
        let bad = |why| format(&path, why);
        let mut kind = raw.entry_kind().ok_or_else(|| bad("of an unknown type"))?;
        let mut stored = records.size.or(raw.size()).ok_or_else(|| bad("a bad size"))?;
        if kind != EntryKind::File {
            // Links of some writers name the size of what they lead to; nothing follows.
            stored = 0;
        } else if path.ends_with(b"/") {
            // As directories were written before they had a type.
            kind = EntryKind::Dir;
        }
        if stored > i64::MAX as u64 - 2 * BLOCK as u64 {
            return Err(bad("a bad size"));
        }
        let padding = stored.next_multiple_of(BLOCK as u64) - stored;
        let meta = raw.meta(&records).map_err(bad)?;
        let link = records.link.clone().or(long_link).unwrap_or_else(|| raw.link());
        let (size, sparse) = if kind == EntryKind::File {
            match self.segments(raw, &records, &mut stored).map_err(|e| e.at(&path))? {
                Some((size, segments)) => {
                    sparse::check(&segments, size, stored).map_err(bad)?;
                    (size, Some(segments))
                }
                None => (stored, None),
            }
        } else {
            (0, None)
        };
        (self.left, self.padding) = (stored, padding);
        Ok(TarEntry { path, link, kind, meta, size, sparse })
    }

    /// Size and map of a sparse file, in any of the four ways in which it is written.
    fn segments(
        &mut self,
        raw: &header::Raw<'_>,
        records: &pax::Records,
        stored: &mut u64,
    ) -> Result<Option<(u64, Vec<Segment>)>, TarError> {
        let bad = |why| format(b"", why);
        if raw.kind() == b'S' {
            let (size, mut segments, mut more) = raw.old_sparse().map_err(bad)?;
            while more {
                let block = self.full_block()?;
                more = sparse::old_extension(&block, &mut segments).map_err(bad)?;
            }
            return Ok(Some((size, segments)));
        }
        if let Some((size, segments)) = records.sparse_map().map_err(bad)? {
            return Ok(Some((size, segments)));
        }
        let Some(size) = records.sparse_in_data().map_err(bad)? else { return Ok(None) };
        let mut map = sparse::MapInData::default();
        let mut blocks = 0;
        while !map.is_whole() {
            if *stored < BLOCK as u64 {
                return Err(bad("a sparse map that goes beyond its data"));
            }
            let block = self.full_block()?;
            *stored -= BLOCK as u64;
            blocks += 1;
            map.add(&block).map_err(bad)?;
        }
        debug_assert!(blocks > 0, "a map has at least its count");
        Ok(Some((size, map.segments())))
    }

    /// Gives the data of the current entry to `f`, in pieces.
    pub(crate) fn data(
        &mut self,
        n: u64,
        f: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let n = n.min(self.left);
        self.left -= n;
        self.feed(n, f)
    }
}

impl TarError {
    /// With the entry's name, where it was not known.
    fn at(self, path: &[u8]) -> Self {
        match self {
            Self::Format { why, .. } => Self::Format { entry: path.to_vec(), why },
            other => other,
        }
    }
}

#[cfg(test)]
mod tests;
