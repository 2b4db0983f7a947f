//! Entries to files.

use super::name::{self, Name};
use super::{Notes, UnpackLimits, tar_error, write_error};
use crate::error::{ImageError, shown};
use crate::tarball::{EntryKind, TarEntry, TarReader};
use reenact_sandbox::unpack::{TreeWriter, is_full};
use std::io::{self, BufRead};
use std::path::Path;

/// What came of it.
pub(super) struct Applied {
    pub entries: u64,
    pub bytes: u64,
    pub notes: Notes,
}

struct Applier<'a> {
    writer: TreeWriter,
    limits: &'a UnpackLimits,
    what: &'a str,
    dest: &'a Path,
    done: Applied,
}

/// Makes every entry below `dest`.
pub(super) fn apply<R: BufRead>(
    tar: &mut TarReader<R>,
    dest: &Path,
    limits: &UnpackLimits,
    what: &str,
) -> Result<Applied, ImageError> {
    let writer = TreeWriter::new(dest).map_err(|e| write_error(e, what, dest))?;
    let done = Applied { entries: 0, bytes: 0, notes: Notes::default() };
    let mut applier = Applier { writer, limits, what, dest, done };
    while let Some(entry) = tar.next().map_err(|e| tar_error(e, what, dest))? {
        applier.count(&entry)?;
        applier.one(tar, &entry)?;
    }
    let ignored = applier.writer.finish().map_err(|e| write_error(e, what, dest))?;
    applier.done.notes.owners += ignored.owners;
    applier.done.notes.xattrs += ignored.xattrs;
    Ok(applier.done)
}

impl Applier<'_> {
    fn too_large(&self, why: String) -> ImageError {
        ImageError::TooLarge { layer: self.what.to_owned(), why }
    }

    fn bad(&self, entry: &TarEntry, why: impl Into<String>) -> ImageError {
        ImageError::Entry {
            layer: self.what.to_owned(),
            entry: shown(&entry.path),
            why: why.into(),
        }
    }

    fn count(&mut self, entry: &TarEntry) -> Result<(), ImageError> {
        self.done.entries += 1;
        self.done.bytes = self.done.bytes.saturating_add(entry.size);
        if self.done.entries > self.limits.entries {
            return Err(self.too_large(format!("more than {} entries", self.limits.entries)));
        }
        if self.done.bytes > self.limits.bytes {
            return Err(self.too_large(format!("files of more than {} bytes", self.limits.bytes)));
        }
        Ok(())
    }

    fn one<R: BufRead>(
        &mut self,
        tar: &mut TarReader<R>,
        entry: &TarEntry,
    ) -> Result<(), ImageError> {
        let name = name::read(&entry.path, self.limits).map_err(|why| self.bad(entry, why))?;
        let made = match &name {
            Name::Reserved => return Ok(()),
            Name::Whiteout(path) => self.writer.whiteout(path),
            Name::Opaque(path) => self.writer.opaque(path),
            Name::Root if entry.kind == EntryKind::Dir => {
                self.writer.directory(b"", entry.meta.clone())
            }
            Name::Root => return Err(self.bad(entry, "the root must be a directory")),
            Name::Plain(path) => match entry.kind {
                EntryKind::File => return self.file(tar, entry, path),
                EntryKind::Dir => self.writer.directory(path, entry.meta.clone()),
                EntryKind::Symlink if entry.link.is_empty() || entry.link.contains(&0) => {
                    return Err(self.bad(entry, "a symlink to nowhere"));
                }
                EntryKind::Symlink => self.writer.symlink(path, &entry.link, &entry.meta),
                EntryKind::Fifo => self.writer.fifo(path, &entry.meta),
                EntryKind::HardLink => return self.hard_link(entry, path),
                EntryKind::Device => {
                    self.done.notes.devices += 1;
                    Ok(())
                }
            },
        };
        made.map_err(|e| self.failed(entry, e))
    }

    fn hard_link(&mut self, entry: &TarEntry, path: &[u8]) -> Result<(), ImageError> {
        let target = name::target(&entry.link, self.limits).map_err(|why| self.bad(entry, why))?;
        match self.writer.hard_link(path, &target) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let why = format!(
                    "a hard link to {}, which does not come before it in the layer",
                    shown(&target)
                );
                Err(self.bad(entry, why))
            }
            other => other.map_err(|e| self.failed(entry, e)),
        }
    }

    fn file<R: BufRead>(
        &mut self,
        tar: &mut TarReader<R>,
        entry: &TarEntry,
        path: &[u8],
    ) -> Result<(), ImageError> {
        let mut file = self.writer.file(path).map_err(|e| self.failed(entry, e))?;
        // Errors of reading and of writing come out of the same call.
        let mut written = Ok(());
        let mut copy = |n: u64, file: &mut reenact_sandbox::unpack::NewFile| {
            tar.data(n, &mut |bytes| {
                file.write(bytes).map_err(|e| {
                    let copy = io::Error::from(e.kind());
                    written = Err(e);
                    copy
                })
            })
        };
        let read = match &entry.sparse {
            None => copy(entry.size, &mut file),
            Some(segments) => segments.iter().filter(|s| s.size > 0).try_for_each(|s| {
                file.seek(s.offset)?;
                copy(s.size, &mut file)
            }),
        };
        written.map_err(|e| self.failed(entry, e))?;
        read.map_err(|e| super::stream_error(e, self.what, self.dest))?;
        let sized = if entry.sparse.is_some() { file.set_len(entry.size) } else { Ok(()) };
        sized
            .and_then(|()| self.writer.end_file(file, &entry.meta))
            .map_err(|e| self.failed(entry, e))
    }

    /// Whether it is the entry's fault or the host's that it cannot be made.
    fn failed(&self, entry: &TarEntry, error: io::Error) -> ImageError {
        use io::ErrorKind as K;
        if is_full(&error) {
            return ImageError::Full { store: self.dest.to_path_buf() };
        }
        match error.kind() {
            K::InvalidInput
            | K::InvalidFilename
            | K::NotADirectory
            | K::IsADirectory
            | K::NotFound
            | K::TooManyLinks
            | K::FileTooLarge => {
                let text = error.to_string();
                self.bad(entry, text)
            }
            _ => {
                let what = format!("{}: {}", self.what, shown(&entry.path));
                ImageError::Io { what, error }
            }
        }
    }
}
