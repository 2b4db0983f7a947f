//! A directory copied as a layer, with the digest of the archive that it would be.

use crate::digest::Digest;
use crate::error::{ImageError, io_error};
use crate::layer::Notes;
use crate::tarball::{BLOCK, write::header};
use reenact_sandbox::unpack::{Entry, Kind, Meta, TreeWriter, walk};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Levels of directories that can be copied.
const DEPTH: usize = 250;
const BUFFER: usize = 256 << 10;

/// What was copied.
pub(crate) struct Copied {
    pub diff_id: Digest,
    pub entries: u64,
    pub bytes: u64,
    pub notes: Notes,
}

struct Copier {
    writer: TreeWriter,
    hasher: Sha256,
    buffer: Vec<u8>,
    /// First names of files that have several.
    seen: HashMap<(u64, u64), Vec<u8>>,
    overlay: bool,
    done: Copied,
}

/// Copies `from` into `to`, an empty directory. With `overlay`, whiteouts and opaque directories keep their meaning.
pub(crate) fn copy_tree(from: &Path, to: &Path, overlay: bool) -> Result<Copied, ImageError> {
    let fail = || io_error(from.display());
    let mut copier = Copier {
        writer: TreeWriter::new(to).map_err(fail())?,
        hasher: Sha256::new(),
        buffer: vec![0; BUFFER],
        seen: HashMap::new(),
        overlay,
        done: Copied { diff_id: Digest::of(b""), entries: 0, bytes: 0, notes: Notes::default() },
    };
    walk(from, DEPTH, &mut |entry| copier.entry(entry)).map_err(fail())?;
    let Copier { writer, mut hasher, mut done, .. } = copier;
    let ignored = writer.finish().map_err(fail())?;
    done.notes.owners += ignored.owners;
    done.notes.xattrs += ignored.xattrs;
    hasher.update([0; 2 * BLOCK]);
    done.diff_id = Digest::from_hasher(hasher);
    Ok(done)
}

impl Copier {
    fn head(&mut self, path: &[u8], kind: u8, meta: &Meta, size: u64, link: &[u8]) {
        self.hasher.update(header(path, kind, meta, size, link));
        self.done.entries += 1;
    }

    fn entry(&mut self, entry: Entry<'_>) -> io::Result<()> {
        let Entry { path, kind, meta, id, links } = entry;
        let many = links > 1 && !matches!(kind, Kind::Dir { .. } | Kind::Whiteout | Kind::Other);
        if many {
            if let Some(first) = self.seen.get(&id).cloned() {
                self.head(path, b'1', &meta, 0, &first);
                return self.writer.hard_link(path, &first);
            }
            self.seen.insert(id, path.to_vec());
        }
        match kind {
            Kind::Dir { opaque } => {
                self.head(&[path, b"/"].concat(), b'5', &meta, 0, b"");
                self.writer.directory(path, meta)?;
                if opaque && self.overlay {
                    let mark = [path, b"/.wh..wh..opq"].concat();
                    self.head(&mark, b'0', &Meta::default(), 0, b"");
                    self.writer.opaque(path)?;
                }
                Ok(())
            }
            Kind::File { file, size } => self.file(path, file, size, &meta),
            Kind::Symlink { target } => {
                self.head(path, b'2', &meta, 0, &target);
                self.writer.symlink(path, &target, &meta)
            }
            Kind::Fifo => {
                self.head(path, b'6', &meta, 0, b"");
                self.writer.fifo(path, &meta)
            }
            Kind::Whiteout if self.overlay => {
                let at = path.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
                let mark = [&path[..at], b".wh.", &path[at..]].concat();
                self.head(&mark, b'0', &Meta::default(), 0, b"");
                self.writer.whiteout(path)
            }
            Kind::Whiteout => {
                self.done.notes.devices += 1;
                Ok(())
            }
            Kind::Other => {
                self.done.notes.sockets += 1;
                Ok(())
            }
        }
    }

    fn file(&mut self, path: &[u8], mut from: File, size: u64, meta: &Meta) -> io::Result<()> {
        self.head(path, b'0', meta, size, b"");
        let mut to = self.writer.file(path)?;
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(BUFFER);
            let n = match from.read(&mut self.buffer[..most]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if n == 0 {
                break;
            }
            self.hasher.update(&self.buffer[..n]);
            to.write(&self.buffer[..n])?;
            left -= n as u64;
        }
        // It became shorter while it was read: what the header promises is zeros.
        if left > 0 {
            to.set_len(size)?;
            self.buffer.fill(0);
            while left > 0 {
                let n = usize::try_from(left).unwrap_or(usize::MAX).min(BUFFER);
                self.hasher.update(&self.buffer[..n]);
                left -= n as u64;
            }
        }
        let padding = usize::try_from(size.next_multiple_of(BLOCK as u64) - size).unwrap_or(0);
        self.hasher.update(&[0; BLOCK][..padding]);
        self.done.bytes += size;
        self.writer.end_file(to, meta)
    }
}
