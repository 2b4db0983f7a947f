//! What is in a directory tree, by `lstat` alone. Symbolic links are never followed.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Smaller files are not looked at: half of any executable is more than this.
pub(crate) const MIN_SIZE: u64 = 4096;

/// What tells one state of a file or directory from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stamp {
    pub ino: u64,
    /// Bytes; 0 for directories.
    pub size: u64,
    /// Nanoseconds since the epoch.
    pub mtime: i64,
    pub ctime: i64,
}

impl Stamp {
    pub(crate) fn of(meta: &Metadata) -> Self {
        let ns = |s: i64, ns: i64| s.saturating_mul(1_000_000_000).saturating_add(ns);
        Self {
            ino: meta.ino(),
            size: if meta.is_dir() { 0 } else { meta.size() },
            mtime: ns(meta.mtime(), meta.mtime_nsec()),
            ctime: ns(meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// A directory or file, by its path relative to the walked directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub path: Vec<u8>,
    pub stamp: Stamp,
}

/// Everything of interest below a directory that is on the same device.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    /// The directory itself (with an empty path) first.
    pub dirs: Vec<Node>,
    /// Regular files of at least [`MIN_SIZE`].
    pub files: Vec<Node>,
    /// Directories and large files on other devices, not entered.
    pub others: Vec<Vec<u8>>,
    /// Directories that we may not read, and entries that vanished.
    pub unread: u64,
}

/// `base` and a relative path of bytes.
pub(crate) fn join(base: &Path, path: &[u8]) -> PathBuf {
    if path.is_empty() { base.to_path_buf() } else { base.join(OsStr::from_bytes(path)) }
}

/// Lists `base`, but for the directories that `skip` names by their relative path.
///
/// # Errors
/// If `base` itself cannot be read.
pub(crate) fn list(base: &Path, skip: impl Fn(&[u8]) -> bool) -> io::Result<Listing> {
    let meta = base.symlink_metadata()?;
    let device = meta.dev();
    let mut listing = Listing::default();
    let mut todo = vec![Node { path: Vec::new(), stamp: Stamp::of(&meta) }];
    while let Some(dir) = todo.pop() {
        let entries = match std::fs::read_dir(join(base, &dir.path)) {
            Ok(entries) => entries,
            Err(e) if dir.path.is_empty() => return Err(e),
            Err(_) => {
                listing.unread += 1;
                continue;
            }
        };
        for entry in entries {
            let Ok((entry, meta)) = entry.and_then(|e| e.metadata().map(|m| (e, m))) else {
                listing.unread += 1;
                continue;
            };
            let mut path = dir.path.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend(entry.file_name().as_bytes());
            let of_interest = meta.is_dir() || (meta.is_file() && meta.size() >= MIN_SIZE);
            if !of_interest || (meta.is_dir() && skip(&path)) {
                continue;
            }
            if meta.dev() != device {
                listing.others.push(path);
            } else if meta.is_dir() {
                todo.push(Node { path, stamp: Stamp::of(&meta) });
            } else {
                listing.files.push(Node { path, stamp: Stamp::of(&meta) });
            }
        }
        listing.dirs.push(dir);
    }
    listing.files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(listing)
}

/// Whose eyes a room is seen with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub uid: u32,
    pub gid: u32,
}

impl User {
    fn may(self, meta: &Metadata, bit: u32) -> bool {
        let shift = if meta.uid() == self.uid {
            6
        } else if meta.gid() == self.gid {
            3
        } else {
            0
        };
        meta.mode() >> shift & bit != 0
    }

    /// The file at `path` below `root`, if it can be opened for reading there: every directory on the way is one (no link)
    /// and can be entered.
    pub(crate) fn reads(self, root: &Path, path: &[u8]) -> Option<Metadata> {
        let mut at = root.to_path_buf();
        let mut parts = path.split(|b| *b == b'/').filter(|p| !p.is_empty()).peekable();
        while let Some(part) = parts.next() {
            at.push(OsStr::from_bytes(part));
            let meta = at.symlink_metadata().ok()?;
            if parts.peek().is_none() {
                return (meta.is_file() && self.may(&meta, 4)).then_some(meta);
            }
            if !meta.is_dir() || !self.may(&meta, 1) {
                return None;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn links_are_not_followed_and_small_files_are_left_out() {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path();
        std::fs::create_dir_all(base.join("a/b")).unwrap();
        std::fs::create_dir(base.join("skipped")).unwrap();
        std::fs::write(base.join("a/b/large"), vec![1; 5000]).unwrap();
        std::fs::write(base.join("skipped/large"), vec![1; 5000]).unwrap();
        std::fs::write(base.join("a/small"), "x").unwrap();
        symlink("/", base.join("a/everything")).unwrap();
        symlink("b/large", base.join("a/link")).unwrap();
        let listing = list(base, |p| p == b"skipped").unwrap();
        let names = |nodes: &[Node]| {
            let mut n: Vec<_> =
                nodes.iter().map(|n| String::from_utf8_lossy(&n.path).into_owned()).collect();
            n.sort();
            n
        };
        assert_eq!(names(&listing.dirs), ["", "a", "a/b"]);
        assert_eq!(names(&listing.files), ["a/b/large"]);
        assert!(list(&base.join("absent"), |_| false).is_err());
    }

    #[test]
    fn only_what_the_user_can_open_counts() {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path();
        std::fs::create_dir_all(base.join("open/shut")).unwrap();
        for file in ["open/file", "open/secret", "open/shut/file"] {
            std::fs::write(base.join(file), vec![1; 5000]).unwrap();
        }
        let mode = |p: &str, m| {
            std::fs::set_permissions(base.join(p), std::fs::Permissions::from_mode(m)).unwrap();
        };
        mode("open", 0o755);
        mode("open/file", 0o644);
        mode("open/secret", 0o600);
        mode("open/shut", 0o700);
        symlink("file", base.join("open/link")).unwrap();
        let own = base.metadata().unwrap();
        let stranger = User { uid: own.uid() + 7, gid: own.gid() + 7 };
        assert!(stranger.reads(base, b"open/file").is_some());
        for path in [&b"open/secret"[..], b"open/shut/file", b"open/link", b"open", b"absent"] {
            assert!(stranger.reads(base, path).is_none(), "{}", String::from_utf8_lossy(path));
        }
        let owner = User { uid: own.uid(), gid: own.gid() };
        assert!(owner.reads(base, b"open/secret").is_some());
        assert!(owner.reads(base, b"open/shut/file").is_some());
    }
}
