//! An uncompressed archive whose members are read in any order.

use crate::error::{ImageError, shown};
use crate::tarball::{EntryKind, TarReader};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Members of an archive of images, at most.
const MAX_MEMBERS: usize = 100_000;
/// Links from one member to another that are followed.
const MAX_HOPS: usize = 8;

/// Where its members are.
pub(super) struct Indexed {
    file: Arc<File>,
    members: BTreeMap<String, Place>,
}

enum Place {
    At {
        offset: u64,
        size: u64,
    },
    /// Another member's name.
    Link(String),
}

/// A member that is being read.
pub(super) struct MemberReader {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Read for MemberReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.file.read_at(&mut buffer[..most], self.at)?;
        if n == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}

/// A reader that steps over data without reading them.
struct Skipping {
    file: Arc<File>,
    at: u64,
}

impl Read for Skipping {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buffer, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Indexed {
    /// Finds all members.
    pub(super) fn read(file: File, path: &Path) -> Result<Self, ImageError> {
        let file = Arc::new(file);
        let bad = |why: String| ImageError::Archive { path: path.to_path_buf(), why };
        let tar_bad = |e| crate::layer::tar_error(e, &path.display().to_string(), path);
        let mut members = BTreeMap::new();
        let mut at = 0;
        loop {
            // A reader for each member, so that its data are not read on the way to the next.
            let skipping = Skipping { file: Arc::clone(&file), at };
            let mut tar = TarReader::new(BufReader::with_capacity(4 << 10, skipping));
            let Some(entry) = tar.next().map_err(tar_bad)? else { break };
            let offset = at + tar.position();
            let stored = tar.stored();
            at = offset + stored.next_multiple_of(512);
            let Some(name) = clean(&entry.path) else { continue };
            let place = match entry.kind {
                EntryKind::File if entry.sparse.is_none() => Place::At { offset, size: entry.size },
                EntryKind::File => {
                    return Err(bad(format!("{}: a sparse member", shown(name.as_bytes()))));
                }
                // Old versions of docker save a layer that two images share once.
                EntryKind::Symlink | EntryKind::HardLink => {
                    let base = if entry.kind == EntryKind::Symlink { name.as_str() } else { "" };
                    match resolve(base, &entry.link) {
                        Some(target) => Place::Link(target),
                        None => continue,
                    }
                }
                _ => continue,
            };
            members.insert(name, place);
            if members.len() > MAX_MEMBERS {
                return Err(bad(format!("more than {MAX_MEMBERS} members")));
            }
        }
        Ok(Self { file, members })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// A member for reading.
    pub(super) fn open(&self, name: &str, path: &Path) -> Result<MemberReader, ImageError> {
        let mut at = clean(name.as_bytes()).unwrap_or_default();
        for _ in 0..MAX_HOPS {
            match self.members.get(&at) {
                Some(Place::At { offset, size }) => {
                    let file = Arc::clone(&self.file);
                    return Ok(MemberReader { file, at: *offset, left: *size });
                }
                Some(Place::Link(target)) => at.clone_from(target),
                None => break,
            }
        }
        let why =
            format!("{} is not in it: the archive is truncated or damaged", shown(name.as_bytes()));
        Err(ImageError::Archive { path: path.to_path_buf(), why })
    }
}

/// Without dots and doubled slashes; `None` for names that are no text or lead up.
fn clean(name: &[u8]) -> Option<String> {
    resolve("", name)
}

/// What a link at `base` leads to, by name alone.
fn resolve(base: &str, target: &[u8]) -> Option<String> {
    let target = std::str::from_utf8(target).ok()?;
    let mut parts: Vec<&str> = base.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_members() {
        assert_eq!(resolve("a/layer.tar", b"../b/layer.tar").as_deref(), Some("b/layer.tar"));
        assert_eq!(resolve("a/b/c", b"./d").as_deref(), Some("a/b/d"));
        assert_eq!(resolve("a", b"../../etc/passwd"), None);
        assert_eq!(clean(b"./blobs//sha256/x").as_deref(), Some("blobs/sha256/x"));
        assert_eq!(clean(b"a/../../b"), None);
    }
}
