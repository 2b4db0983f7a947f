//! Out of a container: a file or directory as a tar stream.

use super::sparse::{self, Stretches};
use super::{NOTES, absolute, at, enter, open_dir, open_file, split};
use crate::entries::Allowance;
use crate::error::DockerError;
use reenact_sandbox::container::Container;
use reenact_sandbox::unpack::data_segments;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Directories within directories.
const DEEPEST: usize = 512;
/// Stretches of data in one file that are kept apart.
const MOST_SEGMENTS: usize = 1 << 16;

/// A file or directory that is to leave the container.
pub struct Thing {
    parent: File,
    name: OsString,
    pub is_dir: bool,
}

/// Looks for what `cp` is to fetch. `follow`: a link at the end is followed.
///
/// # Errors
/// There is no such file.
pub fn look(container: &Container, path: &str, follow: bool) -> Result<Thing, DockerError> {
    let missing = |e: io::Error| {
        DockerError::Failed(match e.kind() {
            io::ErrorKind::NotFound => format!("Could not find the file {path} in the container"),
            _ => format!("Could not find the file {path} in the container: {e}"),
        })
    };
    let clean = absolute(path);
    let (parent, name) = split(&clean);
    let dir = open_dir(container, parent).map_err(missing)?;
    let name = OsStr::new(if name.is_empty() { "." } else { name }).to_owned();
    let meta = at(&dir, &name).symlink_metadata().map_err(missing)?;
    if meta.is_symlink() && (follow || path.ends_with('/') || path.ends_with("/.")) {
        let target = container.open(&clean).map_err(missing)?;
        let is_dir = target.metadata().map_err(missing)?.is_dir();
        return Ok(Thing { parent: target, name: OsStr::new("").to_owned(), is_dir });
    }
    Ok(Thing { parent: dir, name, is_dir: meta.is_dir() })
}

/// Writes tar streams.
struct Packer<W: Write> {
    tar: tar::Builder<W>,
    /// Files with several names, by device and inode, and the first of their names.
    seen: BTreeMap<(u64, u64), PathBuf>,
    notes: Vec<String>,
    left: Allowance,
}

/// Writes the thing as a tar stream, named `name`, and what is in it below that. Gives notes of what was left out.
///
/// # Errors
/// Writing; reading what was there a moment ago; more than may be in one copy.
pub fn pack(thing: &Thing, name: &Path, to: impl Write) -> io::Result<Vec<String>> {
    let mut packer = Packer {
        tar: tar::Builder::new(to),
        seen: BTreeMap::new(),
        notes: Vec::new(),
        left: Allowance::default(),
    };
    if thing.name.is_empty() {
        // Opened already, since a link led to it.
        let file = thing.parent.try_clone()?;
        if thing.is_dir { packer.directory(&file, name, 0)? } else { packer.file(file, name)? }
    } else {
        packer.entry(&thing.parent, &thing.name, name, 0)?;
    }
    packer.tar.finish()?;
    Ok(packer.notes)
}

impl<W: Write> Packer<W> {
    fn entry(&mut self, dir: &File, name: &OsStr, path: &Path, depth: usize) -> io::Result<()> {
        let meta = at(dir, name).symlink_metadata()?;
        self.left.entry()?;
        if meta.is_dir() {
            self.directory(&enter(dir, name)?, path, depth)
        } else if meta.is_file() {
            self.file(open_file(dir, name)?, path)
        } else if meta.is_symlink() {
            let target = std::fs::read_link(at(dir, name))?;
            let mut header = header(&meta, tar::EntryType::Symlink);
            self.tar.append_link(&mut header, path, &target)
        } else {
            self.note(path);
            Ok(())
        }
    }

    fn note(&mut self, path: &Path) {
        if self.notes.len() < NOTES {
            self.notes
                .push(format!("left out: {} (a device, fifo or socket, or gone)", path.display()));
        }
    }

    fn directory(&mut self, dir: &File, path: &Path, depth: usize) -> io::Result<()> {
        if depth > DEEPEST {
            return Err(io::Error::other(format!("more than {DEEPEST} directories deep")));
        }
        let mut header = header(&dir.metadata()?, tar::EntryType::Directory);
        self.tar.append_data(&mut header, path, io::empty())?;
        let mut names = Vec::new();
        for entry in std::fs::read_dir(at(dir, OsStr::new(".")))? {
            names.push(entry?.file_name());
        }
        names.sort();
        for name in names {
            let below = path.join(&name);
            match self.entry(dir, &name, &below, depth + 1) {
                // Removed or replaced by something else since it was listed.
                Err(e)
                    if matches!(
                        e.raw_os_error(),
                        Some(libc::ENOENT | libc::ELOOP | libc::ENOTDIR)
                    ) =>
                {
                    self.note(&below);
                }
                other => other?,
            }
        }
        Ok(())
    }

    /// A file, with exactly as many bytes as it says at the start, though it may be written to. Holes are told, not sent.
    fn file(&mut self, file: File, path: &Path) -> io::Result<()> {
        let meta = file.metadata()?;
        if !meta.is_file() {
            self.note(path);
            return Ok(());
        }
        if meta.nlink() > 1 {
            let key = (meta.dev(), meta.ino());
            if let Some(first) = self.seen.get(&key) {
                let mut header = header(&meta, tar::EntryType::Link);
                return self.tar.append_link(&mut header, path, first);
            }
            self.seen.insert(key, path.to_path_buf());
        }
        let size = meta.len();
        self.left.bytes(size)?;
        let segments = data_segments(&file, size, MOST_SEGMENTS)?;
        let stored: u64 = segments.iter().map(|(_, length)| length).sum();
        let mut header = header(&meta, tar::EntryType::Regular);
        let mut map = Vec::new();
        if stored < size {
            map = sparse::describe(&mut header, size, &segments);
        } else {
            header.set_size(size);
        }
        let data = io::BufReader::with_capacity(256 << 10, Stretches::new(file, &segments));
        self.tar.append_data(&mut header, path, map.as_slice().chain(data))
    }
}

fn header(meta: &Metadata, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(meta.mode() & 0o7777);
    header.set_uid(meta.uid().into());
    header.set_gid(meta.gid().into());
    header.set_mtime(u64::try_from(meta.mtime()).unwrap_or(0));
    header.set_size(0);
    header
}
