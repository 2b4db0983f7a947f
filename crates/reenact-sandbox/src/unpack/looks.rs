//! Looking at files that somebody else made, or may have made: each call is one that `std` lacks.

use super::{invalid, is, kind, sys};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

/// Where a file has data: offsets and lengths, in order, apart from each other, none beyond `size`, in whole blocks of 512 bytes
/// as archives want them (but for the end of the file). What is between them are holes. After `most` segments the rest of the file counts as one. The file's position is moved.
///
/// # Errors
/// As `lseek(2)`.
pub fn data_segments(file: &File, size: u64, most: usize) -> io::Result<Vec<(u64, u64)>> {
    let seek = |from: u64, whence: i32| -> io::Result<Option<u64>> {
        let from = i64::try_from(from).map_err(|_| invalid("an offset beyond all files"))?;
        // SAFETY: a descriptor and numbers.
        match u64::try_from(unsafe { libc::lseek(file.as_raw_fd(), from, whence) }) {
            Ok(at) => Ok(Some(at)),
            Err(_) => match io::Error::last_os_error() {
                // Nothing but a hole from here on.
                e if is(&e, libc::ENXIO) => Ok(None),
                e => Err(e),
            },
        }
    };
    const BLOCK: u64 = 512;
    let mut found: Vec<(u64, u64)> = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match seek(at, libc::SEEK_DATA) {
            Ok(Some(start)) if start < size => start,
            Ok(_) => break,
            // A file system that does not tell.
            Err(e) if is(&e, libc::EINVAL) => return Ok(vec![(0, size)]),
            Err(e) => return Err(e),
        };
        let last = found.len() + 1 >= most;
        // Somebody may have cut the file meanwhile.
        let end = if last { size } else { seek(start, libc::SEEK_HOLE)?.unwrap_or(size).min(size) };
        let (start, end) = (start - start % BLOCK, end.next_multiple_of(BLOCK).min(size));
        match found.last_mut() {
            Some((offset, length)) if *offset + *length >= start => *length = end - *offset,
            _ if end > start => found.push((start, end - start)),
            _ => {}
        }
        // Always further, whatever somebody does to the file.
        at = end.max(at + 1);
    }
    Ok(found)
}

/// Opens a regular file below `dir` for reading: by a path without symlinks anywhere, and without waiting for a fifo.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for what is no regular file or lies behind a symlink; otherwise as `openat2(2)`.
pub fn open_regular(dir: &Path, path: &[u8]) -> io::Result<File> {
    let dir = sys::anchor(dir)?;
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
    let opened = match sys::open_straight(dir.as_fd(), path, flags) {
        Err(e) if is(&e, libc::ELOOP) || is(&e, libc::EXDEV) => {
            return Err(invalid("a symbolic link, or behind one"));
        }
        // A socket, or a device without a driver.
        Err(e) if is(&e, libc::ENXIO) => return Err(invalid("not a regular file")),
        other => other?,
    };
    if kind(&sys::fstat(opened.as_fd())?) != libc::S_IFREG {
        return Err(invalid("not a regular file"));
    }
    Ok(File::from(opened))
}

/// Whether a file of a container is on a file system that holds the container's own files (overlayfs and tmpfs), and not on one
/// by which the kernel is spoken to (proc, sysfs, control groups).
///
/// # Errors
/// As `fstatfs(2)`.
pub fn holds_files(file: &File) -> io::Result<bool> {
    const OVERLAY: i64 = 0x794c_7630;
    const TMPFS: i64 = 0x0102_1994;
    // SAFETY: an all-zero statfs is valid.
    let mut st: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: a descriptor and a buffer of the kernel's layout.
    if unsafe { libc::fstatfs(file.as_raw_fd(), &raw mut st) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(matches!(st.f_type, OVERLAY | TMPFS))
}

/// What a file system has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub bytes: u64,
    /// `None`: they are not counted.
    pub files: Option<u64>,
}

impl Room {
    /// Whether a program that failed may have failed for want of it: below 16 MiB or 64 files.
    pub fn is_little(self) -> bool {
        self.bytes < 16 << 20 || self.files.is_some_and(|files| files < 64)
    }

    /// What of `statvfs(3)`'s figures is there for root, or for others; `None` where there are none (FUSE without `statfs`, proc,
    /// a tmpfs without a limit).
    fn of(st: &libc::statvfs, root: bool) -> Option<Self> {
        let (blocks, files) =
            if root { (st.f_bfree, st.f_ffree) } else { (st.f_bavail, st.f_favail) };
        let files = (st.f_files > 0).then_some(files);
        (st.f_blocks > 0).then(|| Self { bytes: blocks.saturating_mul(st.f_frsize), files })
    }
}

/// What a file system has left for this user. `None` where it does not tell.
pub fn room(path: &Path) -> Option<Room> {
    use std::os::unix::ffi::OsStrExt;
    let c = sys::c(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: an all-zero statvfs is valid.
    let mut st: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: a NUL-terminated path and a buffer of the kernel's layout.
    if unsafe { libc::statvfs(c.as_ptr(), &raw mut st) } < 0 {
        return None;
    }
    Room::of(&st, effective_user() == 0)
}

/// The user that files of ours belong to.
pub fn effective_user() -> u32 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::geteuid() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, SeekFrom, Write};
    use std::os::fd::FromRawFd;
    use std::os::unix::fs::symlink;

    #[test]
    fn holes_are_found_and_bounded() {
        let mut file = tempfile::tempfile().unwrap();
        for at in [1u64 << 20, 5 << 20, 9 << 20] {
            file.seek(SeekFrom::Start(at)).unwrap();
            file.write_all(&[1; 4096]).unwrap();
        }
        let size = 64 << 20;
        file.set_len(size).unwrap();
        let all = data_segments(&file, size, 100).unwrap();
        // A file system may round, or not tell at all: what is data is in a segment in either case.
        for at in [1u64 << 20, 5 << 20, 9 << 20] {
            assert!(all.iter().any(|(o, n)| *o <= at && at + 4096 <= o + n), "{all:?}");
        }
        assert!(all.windows(2).all(|w| w[0].0 + w[0].1 < w[1].0), "{all:?}");
        let few = data_segments(&file, size, 2).unwrap();
        assert!(few.len() <= 2, "{few:?}");
        let (offset, length) = *few.last().unwrap();
        assert_eq!(offset + length, size, "the rest is one segment");
        assert!(data_segments(&file, 0, 2).unwrap().is_empty());
        let short = data_segments(&file, (1 << 20) + 10, 9).unwrap();
        let (offset, length) = *short.last().unwrap();
        assert_eq!(offset + length, (1 << 20) + 10);
    }

    #[test]
    fn only_regular_files_beneath_are_opened() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("dir");
        std::fs::create_dir_all(dir.join("a")).unwrap();
        std::fs::write(dir.join("a/file"), "x").unwrap();
        std::fs::write(temp.path().join("outside"), "x").unwrap();
        symlink("a/file", dir.join("link")).unwrap();
        symlink("a", dir.join("b")).unwrap();
        sys::mknod(
            sys::anchor(&dir).unwrap().as_fd(),
            &sys::c(b"fifo").unwrap(),
            libc::S_IFIFO | 0o600,
        )
        .unwrap();
        assert!(open_regular(&dir, b"a/file").is_ok());
        for bad in [&b"link"[..], b"b/file", b"fifo", b"a", b"../outside"] {
            let e = open_regular(&dir, bad).unwrap_err();
            assert_eq!(e.kind(), io::ErrorKind::InvalidInput, "{bad:?}: {e}");
        }
        assert_eq!(open_regular(&dir, b"none").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_file_system_without_room_is_told() {
        assert_eq!(room(Path::new("/proc")), None, "it does not tell");
        assert_eq!(room(Path::new("/proc/none")), None);
        let temp = tempfile::tempdir().unwrap();
        assert!(room(temp.path()).unwrap().bytes > 0);
        // An ext4 whose reserve is all that is left.
        // SAFETY: an all-zero statvfs is valid.
        let mut st: libc::statvfs = unsafe { std::mem::zeroed() };
        (st.f_frsize, st.f_blocks, st.f_bfree, st.f_bavail) = (4096, 1 << 28, 1 << 23, 0);
        (st.f_files, st.f_ffree, st.f_favail) = (1 << 20, 1 << 19, 1 << 19);
        assert!(!Room::of(&st, true).unwrap().is_little());
        assert!(Room::of(&st, false).unwrap().is_little());
        (st.f_bavail, st.f_favail) = (1 << 23, 9);
        assert!(Room::of(&st, false).unwrap().is_little(), "no files");
        st.f_files = 0;
        assert!(!Room::of(&st, false).unwrap().is_little(), "files are not counted");
    }

    #[test]
    fn proc_holds_no_files() {
        assert!(!holds_files(&File::open("/proc/self/status").unwrap()).unwrap());
        // SAFETY: a NUL-terminated name.
        let memory = unsafe { libc::memfd_create(c"test".as_ptr(), libc::MFD_CLOEXEC) };
        assert!(memory >= 0, "{}", io::Error::last_os_error());
        // SAFETY: a descriptor just made, owned by nobody else.
        let memory = unsafe { File::from_raw_fd(memory) };
        assert!(holds_files(&memory).unwrap(), "a memory file is one of a tmpfs");
    }
}
