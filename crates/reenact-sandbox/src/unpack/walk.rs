//! Reading a tree that somebody else made, and may still be changing.

use super::{Meta, is, is_whiteout, kind, sys};
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// One thing of a tree.
#[derive(Debug)]
pub struct Entry<'a> {
    /// From the tree's root; empty for the root itself.
    pub path: &'a [u8],
    pub kind: Kind,
    /// Without `user.overlay.*` and `trusted.*`; with them in overlay form would mean something else in another layer.
    pub meta: Meta,
    /// Device and inode, for files that have several names.
    pub id: (u64, u64),
    /// Names of the file.
    pub links: u64,
}

/// What it is.
#[derive(Debug)]
pub enum Kind {
    /// `opaque`: hides what the layers below have in it.
    Dir {
        opaque: bool,
    },
    /// Open for reading, with its size when it was opened.
    File {
        file: File,
        size: u64,
    },
    Symlink {
        target: Vec<u8>,
    },
    Fifo,
    /// The device 0/0: a removed entry, in an overlay's upper directory.
    Whiteout,
    /// A socket or a device.
    Other,
}

/// Gives everything in the directory to `visit`, parents first, names in order of their bytes. Links are not followed; what
/// vanishes while it is read is left out.
///
/// # Errors
/// What the kernel says, what `visit` says, or that the tree is deeper than `depth`.
pub fn walk(
    root: &Path,
    depth: usize,
    visit: &mut dyn FnMut(Entry<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let fd = sys::anchor(root)?;
    let st = sys::fstat(fd.as_fd())?;
    let mut path = Vec::new();
    directory(&fd, &st, &mut path, depth, visit)
}

fn directory(
    fd: &OwnedFd,
    st: &libc::stat,
    path: &mut Vec<u8>,
    depth: usize,
    visit: &mut dyn FnMut(Entry<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let (meta, opaque) = meta(Some(fd.as_fd()), st)?;
    visit(entry(path, st, Kind::Dir { opaque }, meta))?;
    if sys::is_root() || st.st_mode & 0o500 == 0o500 {
        return below(fd, path, depth, visit);
    }
    // Ours, and closed to us: open for as long as it is read.
    sys::chmod(fd.as_fd(), st.st_mode | 0o500)?;
    let done = below(fd, path, depth, visit);
    sys::chmod(fd.as_fd(), st.st_mode)?;
    done
}

fn below(
    fd: &OwnedFd,
    path: &mut Vec<u8>,
    depth: usize,
    visit: &mut dyn FnMut(Entry<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut names = sys::names(fd.as_fd())?;
    names.sort();
    for (name, _) in names {
        let length = path.len();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        match one(fd.as_fd(), &name, path, depth, visit) {
            Err(e) if is(&e, libc::ENOENT) => {}
            other => other?,
        }
        path.truncate(length);
    }
    Ok(())
}

fn one(
    dir: BorrowedFd<'_>,
    name: &CStr,
    path: &mut Vec<u8>,
    depth: usize,
    visit: &mut dyn FnMut(Entry<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let fd = sys::open_at(dir, name, libc::O_PATH, 0)?;
    let st = sys::fstat(fd.as_fd())?;
    match kind(&st) {
        libc::S_IFDIR => {
            let Some(depth) = depth.checked_sub(1) else {
                let at = String::from_utf8_lossy(&path[..path.len().min(80)]).into_owned();
                return Err(io::Error::other(format!("directories are nested too deep ({at}…)")));
            };
            directory(&fd, &st, path, depth, visit)
        }
        libc::S_IFREG => {
            let (meta, _) = meta(Some(fd.as_fd()), &st)?;
            let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
            let opened = allowed(fd.as_fd(), &st, 0o400, || sys::open_at(dir, name, flags, 0))?;
            let file = File::from(opened);
            // Whatever took its name meanwhile is something else.
            let now = sys::fstat(file.as_fd())?;
            if (now.st_dev, now.st_ino) != (st.st_dev, st.st_ino) {
                return Ok(());
            }
            visit(entry(path, &st, Kind::File { file, size: now.st_size as u64 }, meta))
        }
        libc::S_IFLNK => {
            let target = sys::read_link(dir, name)?;
            visit(entry(path, &st, Kind::Symlink { target }, meta(None, &st)?.0))
        }
        other => {
            let kind = match other {
                libc::S_IFIFO => Kind::Fifo,
                _ if is_whiteout(&st) => Kind::Whiteout,
                _ => Kind::Other,
            };
            visit(entry(path, &st, kind, meta(None, &st)?.0))
        }
    }
}

/// Does something that needs permission bits; where we are not root and they are missing, with them for that moment.
fn allowed<T>(
    fd: BorrowedFd<'_>,
    st: &libc::stat,
    need: u32,
    work: impl Fn() -> io::Result<T>,
) -> io::Result<T> {
    match work() {
        Err(e) if is(&e, libc::EACCES) => {
            sys::chmod(fd, st.st_mode | need)?;
            let done = work();
            sys::chmod(fd, st.st_mode)?;
            done
        }
        other => other,
    }
}

fn entry<'a>(path: &'a [u8], st: &libc::stat, kind: Kind, meta: Meta) -> Entry<'a> {
    Entry { path, kind, meta, id: (st.st_dev, st.st_ino), links: st.st_nlink }
}

/// Attributes, and whether a directory is opaque.
fn meta(fd: Option<BorrowedFd<'_>>, st: &libc::stat) -> io::Result<(Meta, bool)> {
    let mut opaque = false;
    let mut xattrs = match fd {
        Some(fd) => sys::xattrs(fd)?,
        None => Vec::new(),
    };
    xattrs.retain(|(name, value)| {
        // `x` says that there are whiteouts in another form, which our containers do not write.
        opaque |= name.as_slice() == super::OPAQUE && value.as_slice() == b"y";
        name.as_slice() == b"security.capability"
            || name.starts_with(b"user.") && !name.starts_with(b"user.overlay.")
    });
    let meta = Meta {
        mode: st.st_mode & 0o7777,
        uid: st.st_uid,
        gid: st.st_gid,
        mtime: (st.st_mtime, u32::try_from(st.st_mtime_nsec).unwrap_or(0)),
        xattrs,
    };
    Ok((meta, opaque))
}
