//! Removing trees that programs made.

use super::{is, sys};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Below this many levels, directories are moved up before they are emptied, so that neither descriptors nor stack are
/// used up by a tree that is thousands of levels deep.
const LEVELS: usize = 48;

/// Removes a directory and everything in it, or a file: however deep, with whatever names and permissions, and never
/// through a link. Nothing there is fine.
///
/// # Errors
/// What the kernel refused.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a path with a name"));
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let at = match std::fs::File::open(parent) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    match remove_at(at.as_fd(), &sys::c(name.as_bytes())?) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// As [`remove_tree`], by a name in an open directory; nothing there is an error.
pub(super) fn remove_at(at: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    match sys::unlink(at, name, 0) {
        Err(e) if is(&e, libc::EISDIR) || is(&e, libc::EPERM) => {}
        other => return other,
    }
    if sys::unlink(at, name, libc::AT_REMOVEDIR).is_ok() {
        return Ok(());
    }
    let top = open_dir(at, name)?;
    let mut remover = Remover { top: top.as_fd(), moved: 0 };
    loop {
        remover.empty(top.as_fd(), 0)?;
        // Deep directories were moved here meanwhile.
        match sys::unlink(at, name, libc::AT_REMOVEDIR) {
            Err(e) if is(&e, libc::ENOTEMPTY) => {}
            other => return other,
        }
    }
}

struct Remover<'a> {
    top: BorrowedFd<'a>,
    moved: u64,
}

impl Remover<'_> {
    fn empty(&mut self, dir: BorrowedFd<'_>, level: usize) -> io::Result<()> {
        for (name, is_dir) in sys::names(dir)? {
            if !is_dir {
                sys::unlink(dir, &name, 0)?;
                continue;
            }
            if sys::unlink(dir, &name, libc::AT_REMOVEDIR).is_ok() {
                continue;
            }
            let below = open_dir(dir, &name)?;
            if level < LEVELS {
                self.empty(below.as_fd(), level + 1)?;
                sys::unlink(dir, &name, libc::AT_REMOVEDIR)?;
            } else {
                self.lift(dir, &name)?;
            }
        }
        Ok(())
    }

    /// Moves a directory to the top, under a name that nothing there has.
    fn lift(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        loop {
            self.moved += 1;
            let new = sys::c(format!(".lifted-{}", self.moved).as_bytes())?;
            match sys::stat(self.top, &new) {
                Ok(_) => {}
                Err(e) if is(&e, libc::ENOENT) => return sys::rename(dir, name, self.top, &new),
                Err(e) => return Err(e),
            }
        }
    }
}

/// Opens a directory for listing and changing, giving ourselves the permission to.
fn open_dir(at: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let fd = sys::open_at(at, name, libc::O_PATH | libc::O_DIRECTORY, 0)?;
    let st = sys::fstat(fd.as_fd())?;
    if st.st_mode & 0o700 != 0o700 {
        sys::chmod(fd.as_fd(), 0o700)?;
    }
    Ok(fd)
}
