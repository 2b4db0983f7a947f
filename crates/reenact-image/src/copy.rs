//! A directory copied as a layer, with the digest of the archive that it would be.
//!
//! The digest must tell every two directories apart that a container would see differently: what no archive of a layer can
//! say is refused or left out.

use crate::digest::Digest;
use crate::error::{ImageError, io_error, shown};
use crate::layer::{Notes, UnpackLimits};
use crate::tarball::{
    BLOCK,
    write::{header, sparse_header},
};
use reenact_sandbox::unpack::{Entry, Kind, Meta, NewFile, TreeWriter, data_segments, walk};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

const BUFFER: usize = 256 << 10;
/// Stretches of data in one file that are kept apart; as many as a layer's archive may have.
const MOST_SEGMENTS: usize = 1 << 17;
/// Names that begin so are removals in the archive of a layer.
const MARK: &[u8] = b".wh.";

/// What was copied.
#[derive(Debug)]
pub(crate) struct Copied {
    pub diff_id: Digest,
    pub entries: u64,
    pub bytes: u64,
    pub notes: Notes,
}

struct Copier<'a> {
    writer: TreeWriter,
    hasher: Sha256,
    buffer: Vec<u8>,
    /// First names of files that have several.
    seen: HashMap<(u64, u64), Vec<u8>>,
    overlay: bool,
    limits: &'a UnpackLimits,
    /// Named in errors.
    from: &'a Path,
    refused: Option<ImageError>,
    done: Copied,
}

/// Copies `from` into `to`, an empty directory. With `overlay`, whiteouts and opaque directories keep their meaning.
///
/// # Errors
/// [`ImageError::Entry`], [`ImageError::TooLarge`] for what cannot be a layer; [`ImageError::Io`].
pub(crate) fn copy_tree(
    from: &Path,
    to: &Path,
    overlay: bool,
    limits: &UnpackLimits,
) -> Result<Copied, ImageError> {
    let fail = || io_error(from.display());
    let mut copier = Copier {
        writer: TreeWriter::new(to).map_err(fail())?,
        hasher: Sha256::new(),
        buffer: vec![0; BUFFER],
        seen: HashMap::new(),
        overlay,
        limits,
        from,
        refused: None,
        done: Copied { diff_id: Digest::of(b""), entries: 0, bytes: 0, notes: Notes::default() },
    };
    let walked = walk(from, limits.depth, &mut |entry| copier.entry(entry));
    if let Some(refused) = copier.refused {
        return Err(refused);
    }
    walked.map_err(fail())?;
    let Copier { writer, mut hasher, mut done, .. } = copier;
    let ignored = writer.finish().map_err(fail())?;
    done.notes.owners += ignored.owners;
    done.notes.xattrs += ignored.xattrs;
    hasher.update([0; 2 * BLOCK]);
    done.diff_id = Digest::from_hasher(hasher);
    Ok(done)
}

fn name_of(path: &[u8]) -> &[u8] {
    path.rsplit(|b| *b == b'/').next().unwrap_or(path)
}

impl Copier<'_> {
    fn head(&mut self, path: &[u8], kind: u8, meta: &Meta, size: u64, link: &[u8]) {
        self.hasher.update(header(path, kind, meta, size, link));
    }

    /// Ends the walk with an error that it could not carry.
    fn refuse(&mut self, error: ImageError) -> io::Error {
        let text = error.to_string();
        self.refused = Some(error);
        io::Error::other(text)
    }

    fn too_large(&mut self, why: String) -> io::Error {
        let layer = self.from.display().to_string();
        self.refuse(ImageError::TooLarge { layer, why })
    }

    /// Whether the entry may be part of a layer.
    fn check(&mut self, path: &[u8], size: u64) -> io::Result<()> {
        let limits = *self.limits;
        self.done.entries += 1;
        self.done.bytes = self.done.bytes.saturating_add(size);
        if self.done.entries > limits.entries {
            return Err(self.too_large(format!("more than {} entries", limits.entries)));
        }
        if self.done.bytes > limits.bytes {
            let why = format!("files of more than {} bytes, their holes counted", limits.bytes);
            return Err(self.too_large(why));
        }
        let why = if name_of(path).starts_with(MARK) {
            "names that begin with .wh. mark removals in a layer, so no file can have one"
        } else if path.len() > limits.path {
            "its name is too long"
        } else {
            return Ok(());
        };
        let (layer, entry) = (self.from.display().to_string(), shown(path));
        Err(self.refuse(ImageError::Entry { layer, entry, why: why.to_owned() }))
    }

    fn entry(&mut self, entry: Entry<'_>) -> io::Result<()> {
        let Entry { path, kind, mut meta, id, links } = entry;
        let many = links > 1 && !matches!(kind, Kind::Dir { .. } | Kind::Whiteout | Kind::Other);
        let first = if many { self.seen.get(&id).cloned() } else { None };
        let size = match &kind {
            Kind::File { size, .. } if first.is_none() => *size,
            _ => 0,
        };
        self.check(path, size)?;
        // An archive writes NAME=VALUE: another name and value would look the same.
        let all = meta.xattrs.len();
        meta.xattrs.retain(|(name, _)| !name.contains(&b'='));
        self.done.notes.xattrs += (all - meta.xattrs.len()) as u64;
        if let Some(first) = first {
            self.head(path, b'1', &meta, 0, &first);
            return self.writer.hard_link(path, &first);
        }
        if many {
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
                let name = name_of(path);
                let mark = [&path[..path.len() - name.len()], MARK, name].concat();
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

    /// A file, with exactly the size that it had at the start; its holes stay holes and cost nothing.
    fn file(&mut self, path: &[u8], mut from: File, size: u64, meta: &Meta) -> io::Result<()> {
        let segments = data_segments(&from, size, MOST_SEGMENTS)?;
        let stored: u64 = segments.iter().map(|(_, length)| length).sum();
        if stored < size {
            self.hasher.update(sparse_header(path, meta, size, &segments));
        } else {
            self.head(path, b'0', meta, size, b"");
        }
        let mut to = self.writer.file(path)?;
        for (offset, length) in &segments {
            from.seek(SeekFrom::Start(*offset))?;
            to.seek(*offset)?;
            self.stretch(&mut from, &mut to, *length)?;
        }
        to.set_len(size)?;
        let padding = usize::try_from(stored.next_multiple_of(BLOCK as u64) - stored).unwrap_or(0);
        self.hasher.update(&[0; BLOCK][..padding]);
        self.writer.end_file(to, meta)
    }

    fn stretch(&mut self, from: &mut File, to: &mut NewFile, length: u64) -> io::Result<()> {
        let mut left = length;
        let piece = |left: u64| usize::try_from(left).unwrap_or(usize::MAX).min(BUFFER);
        while left > 0 {
            let n = match from.read(&mut self.buffer[..piece(left)]) {
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
            self.buffer.fill(0);
            while left > 0 {
                let n = piece(left);
                self.hasher.update(&self.buffer[..n]);
                left -= n as u64;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
