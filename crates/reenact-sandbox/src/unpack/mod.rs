//! Trees of files made from what is not trusted: everything is made below one directory, whatever the names, links and
//! types that an archive brings.
//!
//! [`TreeWriter`] makes a layer in the form of overlayfs; [`walk`] reads a tree; [`remove_tree`] removes one, however deep
//! and unreadable it was made. No name is ever resolved from the host's root: parents are opened by `openat2` with
//! `RESOLVE_IN_ROOT` (a symlink among them is followed as in a container, and leads nowhere else), and the last part of a
//! name is never followed.

mod looks;
mod remove;
pub(crate) mod sys;
mod walk;

pub use looks::{Room, data_segments, effective_user, holds_files, open_regular, room};
pub use remove::remove_tree;
pub use sys::Time;
pub use walk::{Entry, Kind, walk};

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

/// Marks a directory that hides what the layers below have in it (with the mount option `userxattr`).
const OPAQUE: &[u8] = b"user.overlay.opaque";
/// Parents whose descriptors are kept.
const CACHED: usize = 24;

/// What a file, directory or fifo is given besides its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Permission bits, with set-uid, set-gid and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    /// Names and values; those that the kernel or the file system does not let us set are counted, not an error.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What could not be given, though everything was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    /// Entries whose owner is not ours to give.
    pub owners: u64,
    /// Extended attributes that may not be set, or that would speak to overlayfs.
    pub xattrs: u64,
}

/// Makes a tree below one directory, in the form of overlayfs. Later entries replace earlier ones.
#[derive(Debug)]
pub struct TreeWriter {
    root: OwnedFd,
    /// Recently used parents, by the path that led there; emptied when anything that could be one is replaced.
    cache: Vec<(Vec<u8>, Rc<OwnedFd>)>,
    /// Directories get their attributes at the end: their times change with what is made in them, and one without write
    /// permission could not be filled.
    dirs: BTreeMap<Vec<u8>, Meta>,
    root_user: bool,
    ignored: Ignored,
}

/// A new file that is being written.
#[derive(Debug)]
pub struct NewFile(File);

impl NewFile {
    /// Appends.
    ///
    /// # Errors
    /// As `write(2)`.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Goes on at `offset`, leaving a hole.
    ///
    /// # Errors
    /// As `lseek(2)`.
    pub fn seek(&mut self, offset: u64) -> io::Result<()> {
        self.0.seek(SeekFrom::Start(offset)).map(drop)
    }

    /// Makes it `size` bytes long.
    ///
    /// # Errors
    /// As `ftruncate(2)`.
    pub fn set_len(&mut self, size: u64) -> io::Result<()> {
        self.0.set_len(size)
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what.to_owned())
}

fn is(error: &io::Error, code: i32) -> bool {
    error.raw_os_error() == Some(code)
}

fn kind(st: &libc::stat) -> u32 {
    st.st_mode & libc::S_IFMT
}

fn is_whiteout(st: &libc::stat) -> bool {
    kind(st) == libc::S_IFCHR && st.st_rdev == 0
}

/// Parent and last part of a clean path: parts that are neither empty nor dots.
fn split(path: &[u8]) -> io::Result<(&[u8], &[u8])> {
    if path.split(|b| *b == b'/').any(|part| matches!(part, b"" | b"." | b"..")) {
        return Err(invalid("not a plain path"));
    }
    Ok(match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    })
}

impl TreeWriter {
    /// Writes below `dir`, which must exist and should be empty.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn new(dir: &Path) -> io::Result<Self> {
        Ok(Self {
            root: sys::anchor(dir)?,
            cache: Vec::new(),
            dirs: BTreeMap::new(),
            root_user: sys::is_root(),
            ignored: Ignored::default(),
        })
    }

    /// The directory `path`, made with its parents where it is missing.
    fn parent(&mut self, path: &[u8]) -> io::Result<Rc<OwnedFd>> {
        if let Some((_, fd)) = self.cache.iter().rev().find(|(p, _)| p == path) {
            return Ok(Rc::clone(fd));
        }
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        let opened = match sys::open_in(self.root.as_fd(), path, flags) {
            Err(e) if is(&e, libc::ENOENT) || is(&e, libc::ENOTDIR) => {
                let (up, name) = split(path)?;
                let up = self.parent(up)?;
                let name = sys::c(name)?;
                if let Ok(st) = sys::stat(up.as_fd(), &name)
                    && !is_whiteout(&st)
                {
                    return Err(match kind(&st) {
                        libc::S_IFLNK => invalid("its directory is a symlink that leads nowhere"),
                        libc::S_IFDIR => e,
                        _ => invalid("its directory is not a directory"),
                    });
                }
                self.make_dir(&up, &name, path)?;
                sys::open_at(up.as_fd(), &name, flags, 0)?
            }
            Err(e) if is(&e, libc::ELOOP) => {
                return Err(invalid("its directory is a symlink that leads in circles"));
            }
            other => other?,
        };
        let fd = Rc::new(opened);
        if self.cache.len() == CACHED {
            self.cache.remove(0);
        }
        self.cache.push((path.to_vec(), Rc::clone(&fd)));
        Ok(fd)
    }

    /// Makes a directory where there is none, or something that is to give way.
    fn make_dir(&mut self, at: &OwnedFd, name: &std::ffi::CStr, path: &[u8]) -> io::Result<()> {
        // Writable for us until the end, and with what an umask would take away.
        let fresh = |this: &mut Self, opaque: bool| -> io::Result<()> {
            sys::mkdir(at.as_fd(), name, 0o755)?;
            let fd = sys::open_at(at.as_fd(), name, libc::O_PATH | libc::O_DIRECTORY, 0)?;
            sys::chmod(fd.as_fd(), 0o755)?;
            this.dirs.remove(path);
            if opaque { sys::set_xattr(fd.as_fd(), OPAQUE, b"y") } else { Ok(()) }
        };
        match sys::stat(at.as_fd(), name) {
            Err(e) if is(&e, libc::ENOENT) => fresh(self, false),
            Err(e) => Err(e),
            Ok(st) if kind(&st) == libc::S_IFDIR => Ok(()),
            Ok(st) => {
                sys::unlink(at.as_fd(), name, 0)?;
                self.cache.clear();
                // What was removed from the layers below and made anew shows nothing of theirs.
                fresh(self, is_whiteout(&st))
            }
        }
    }

    /// Removes what is at a name, to be replaced.
    fn clear(&mut self, at: &OwnedFd, name: &std::ffi::CStr, path: &[u8]) -> io::Result<()> {
        self.cache.clear();
        match sys::unlink(at.as_fd(), name, 0) {
            Err(e) if is(&e, libc::EISDIR) || is(&e, libc::EPERM) => {
                let mut below = path.to_vec();
                self.dirs.remove(&below);
                below.push(b'/');
                self.dirs.retain(|dir, _| !dir.starts_with(&below));
                remove::remove_at(at.as_fd(), name)
            }
            Err(e) if is(&e, libc::ENOENT) => Ok(()),
            other => other,
        }
    }

    /// Makes something that is no directory by `make`, which fails with `EEXIST` where something is in its place.
    fn place<T>(
        &mut self,
        path: &[u8],
        make: impl Fn(&OwnedFd, &std::ffi::CStr) -> io::Result<T>,
    ) -> io::Result<(Rc<OwnedFd>, std::ffi::CString, T)> {
        let (up, name) = split(path)?;
        let at = self.parent(up)?;
        let name = sys::c(name)?;
        let made = match make(&at, &name) {
            Err(e) if is(&e, libc::EEXIST) => {
                self.clear(&at, &name, path)?;
                make(&at, &name)?
            }
            other => other?,
        };
        Ok((at, name, made))
    }

    fn owner(&mut self, meta: &Meta, give: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if !self.root_user {
            self.ignored.owners += u64::from(meta.uid != 0 || meta.gid != 0);
            return Ok(());
        }
        // What we make is root's.
        if meta.uid == 0 && meta.gid == 0 {
            return Ok(());
        }
        match give() {
            // Root of a user namespace, and not one of its users.
            Err(e) if is(&e, libc::EINVAL) || is(&e, libc::EPERM) => {
                self.ignored.owners += 1;
                Ok(())
            }
            other => other,
        }
    }

    fn xattrs(&mut self, fd: std::os::fd::BorrowedFd<'_>, meta: &Meta) -> io::Result<()> {
        for (name, value) in &meta.xattrs {
            let welcome = name.as_slice() == b"security.capability"
                || name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
            let set = if welcome { sys::set_xattr(fd, name, value) } else { Err(invalid("")) };
            match set {
                Ok(()) => {}
                Err(e) if is_full(&e) && welcome => return Err(e),
                Err(_) => self.ignored.xattrs += 1,
            }
        }
        Ok(())
    }

    /// Begins a file. Give it to [`TreeWriter::end_file`] when its content is written.
    ///
    /// # Errors
    /// What the kernel says; [`io::ErrorKind::InvalidInput`] for a path that cannot be.
    pub fn file(&mut self, path: &[u8]) -> io::Result<NewFile> {
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL;
        let (.., fd) = self.place(path, |at, name| sys::open_at(at.as_fd(), name, flags, 0o600))?;
        Ok(NewFile(File::from(fd)))
    }

    /// Gives a file its attributes.
    ///
    /// # Errors
    /// As [`TreeWriter::file`].
    pub fn end_file(&mut self, file: NewFile, meta: &Meta) -> io::Result<()> {
        let file = file.0;
        self.owner(meta, || std::os::unix::fs::fchown(&file, Some(meta.uid), Some(meta.gid)))?;
        // After the owner: giving a file away takes set-uid and capabilities from it.
        sys::chmod_file(&file, meta.mode)?;
        if !meta.xattrs.is_empty() {
            self.xattrs(file.as_fd(), meta)?;
        }
        sys::set_file_times(&file, meta.mtime)
    }

    /// A directory; one that is there already keeps its content. An empty path is the tree's own root.
    ///
    /// # Errors
    /// As [`TreeWriter::file`].
    pub fn directory(&mut self, path: &[u8], meta: Meta) -> io::Result<()> {
        if !path.is_empty() {
            let (up, name) = split(path)?;
            let at = self.parent(up)?;
            self.make_dir(&at, &sys::c(name)?, path)?;
        }
        self.dirs.insert(path.to_vec(), meta);
        Ok(())
    }

    /// A symlink; its target may be anything.
    ///
    /// # Errors
    /// As [`TreeWriter::file`].
    pub fn symlink(&mut self, path: &[u8], target: &[u8], meta: &Meta) -> io::Result<()> {
        let target = sys::c(target)?;
        let (at, name, ()) =
            self.place(path, |at, name| sys::symlink(at.as_fd(), name, &target))?;
        self.owner(meta, || sys::chown(at.as_fd(), &name, meta.uid, meta.gid))?;
        self.ignored.xattrs += meta.xattrs.len() as u64;
        sys::set_times(at.as_fd(), &name, meta.mtime)
    }

    /// A fifo.
    ///
    /// # Errors
    /// As [`TreeWriter::file`].
    pub fn fifo(&mut self, path: &[u8], meta: &Meta) -> io::Result<()> {
        let make = |at: &OwnedFd, name: &std::ffi::CStr| {
            sys::mknod(at.as_fd(), name, libc::S_IFIFO | 0o600)
        };
        let (at, name, ()) = self.place(path, make)?;
        self.owner(meta, || sys::chown(at.as_fd(), &name, meta.uid, meta.gid))?;
        let fd = sys::open_at(at.as_fd(), &name, libc::O_PATH, 0)?;
        sys::chmod(fd.as_fd(), meta.mode)?;
        self.ignored.xattrs += meta.xattrs.len() as u64;
        sys::set_times(at.as_fd(), &name, meta.mtime)
    }

    /// Another name of something that is no directory and was made before.
    ///
    /// # Errors
    /// As [`TreeWriter::file`]; [`io::ErrorKind::NotFound`] if there is no such thing.
    pub fn hard_link(&mut self, path: &[u8], target: &[u8]) -> io::Result<()> {
        let (up, old) = split(target)?;
        // Not `parent`, which would make it.
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        let from = sys::open_in(self.root.as_fd(), up, flags)?;
        let old = sys::c(old)?;
        let linked = sys::stat(from.as_fd(), &old)?;
        if kind(&linked) == libc::S_IFDIR || is_whiteout(&linked) {
            return Err(invalid("its target is a directory or was removed"));
        }
        let (up, name) = split(path)?;
        let at = self.parent(up)?;
        let name = sys::c(name)?;
        match sys::link(from.as_fd(), &old, at.as_fd(), &name) {
            Err(e) if is(&e, libc::EEXIST) => {
                let there = sys::stat(at.as_fd(), &name)?;
                if (there.st_dev, there.st_ino) == (linked.st_dev, linked.st_ino) {
                    return Ok(());
                }
                self.clear(&at, &name, path)?;
                sys::link(from.as_fd(), &old, at.as_fd(), &name)
            }
            other => other,
        }
    }

    /// Says that a name of the layers below is gone. What this layer has at that name stays. Where the layer has something
    /// else than a directory in the place of the name's parent, the name is hidden anyway, and nothing is done: a symlink
    /// there would lead to another directory's names.
    ///
    /// # Errors
    /// As [`TreeWriter::file`].
    pub fn whiteout(&mut self, path: &[u8]) -> io::Result<()> {
        let (up, name) = split(path)?;
        let Some(at) = self.straight(up)? else { return Ok(()) };
        let name = sys::c(name)?;
        match sys::stat(at.as_fd(), &name) {
            Ok(st) if kind(&st) == libc::S_IFDIR => self.opaque(path),
            Ok(_) => Ok(()),
            Err(e) if is(&e, libc::ENOENT) => sys::mknod(at.as_fd(), &name, libc::S_IFCHR),
            Err(e) => Err(e),
        }
    }

    /// Says that a directory, made if need be, shows nothing of the layers below. As with [`TreeWriter::whiteout`], nothing is
    /// done where the layer has something else in its place.
    ///
    /// # Errors
    /// As [`TreeWriter::file`].
    pub fn opaque(&mut self, path: &[u8]) -> io::Result<()> {
        match self.straight(path)? {
            Some(dir) => sys::set_xattr(dir.as_fd(), OPAQUE, b"y"),
            None => Ok(()),
        }
    }

    /// The directory `path`, made where it is missing; `None` if something else is there or on the way.
    fn straight(&mut self, path: &[u8]) -> io::Result<Option<Rc<OwnedFd>>> {
        match sys::open_straight(self.root.as_fd(), path, libc::O_PATH | libc::O_DIRECTORY) {
            Ok(fd) => Ok(Some(Rc::new(fd))),
            Err(e) if is(&e, libc::ELOOP) || is(&e, libc::ENOTDIR) => Ok(None),
            Err(e) if is(&e, libc::ENOENT) => self.parent(path).map(Some),
            Err(e) => Err(e),
        }
    }

    /// Gives directories their attributes.
    ///
    /// # Errors
    /// As [`TreeWriter::file`].
    pub fn finish(mut self) -> io::Result<Ignored> {
        self.cache.clear();
        // From the bottom up, since a directory without permissions is closed to us from then on.
        for (path, meta) in std::mem::take(&mut self.dirs).into_iter().rev() {
            let (up, name) = if path.is_empty() { (&b""[..], &b"."[..]) } else { split(&path)? };
            let name = sys::c(name)?;
            let flags = libc::O_PATH | libc::O_DIRECTORY;
            let at = sys::open_in(self.root.as_fd(), up, flags)?;
            let fd = sys::open_at(at.as_fd(), &name, flags, 0)?;
            self.owner(&meta, || sys::chown(at.as_fd(), &name, meta.uid, meta.gid))?;
            self.xattrs(fd.as_fd(), &meta)?;
            sys::set_times(at.as_fd(), &name, meta.mtime)?;
            sys::chmod(fd.as_fd(), meta.mode)?;
        }
        Ok(self.ignored)
    }
}

/// Whether an error says that there is no room left.
pub fn is_full(error: &io::Error) -> bool {
    is(error, libc::ENOSPC) || is(error, libc::EDQUOT)
}

#[cfg(test)]
mod tests;
