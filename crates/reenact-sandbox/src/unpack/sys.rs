//! Kernel calls on directory descriptors that `std` lacks, each as a safe function.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Seconds and nanoseconds since 1970.
pub type Time = (i64, u32);

/// A name or path for the kernel.
pub fn c(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a name with a NUL byte"))
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn own(fd: i64) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor just made by the kernel, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Opens `path` below `dir`; symlinks are followed as if `dir` were `/`, so that nothing outside is reached.
pub fn open_in(dir: BorrowedFd<'_>, path: &[u8], flags: i32) -> io::Result<OwnedFd> {
    open_resolving(dir, path, flags, 0, libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS)
}

/// As [`open_in`], with `ELOOP` for a path that has a symlink anywhere.
pub fn open_straight(dir: BorrowedFd<'_>, path: &[u8], flags: i32) -> io::Result<OwnedFd> {
    open_resolving(dir, path, flags, 0, libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS)
}

/// `openat2(2)`; an empty path is `dir` itself. The kernel takes a mode only with `O_CREAT`.
pub fn open_resolving(
    dir: BorrowedFd<'_>,
    path: &[u8],
    flags: i32,
    mode: u32,
    resolve: u64,
) -> io::Result<OwnedFd> {
    let path = if path.is_empty() { c(b".")? } else { c(path)? };
    // SAFETY: an all-zero open_how is valid.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.mode = u64::from(mode);
    how.resolve = resolve;
    // SAFETY: a descriptor, a NUL-terminated path, a structure with its size.
    own(unsafe {
        libc::syscall(
            libc::SYS_openat2,
            dir.as_raw_fd(),
            path.as_ptr(),
            &raw const how,
            size_of::<libc::open_how>(),
        )
    })
}

/// Opens a name in `dir`; a symlink is not followed.
pub fn open_at(dir: BorrowedFd<'_>, name: &CStr, flags: i32, mode: u32) -> io::Result<OwnedFd> {
    let flags = flags | libc::O_CLOEXEC | libc::O_NOFOLLOW;
    // SAFETY: a descriptor and a NUL-terminated name.
    own(i64::from(unsafe { libc::openat(dir.as_raw_fd(), name.as_ptr(), flags, mode) }))
}

/// Makes a directory.
pub fn mkdir(dir: BorrowedFd<'_>, name: &CStr, mode: u32) -> io::Result<()> {
    // SAFETY: a descriptor and a NUL-terminated name.
    check(unsafe { libc::mkdirat(dir.as_raw_fd(), name.as_ptr(), mode) })
}

/// Removes a name; `flags` is 0 or `AT_REMOVEDIR`.
pub fn unlink(dir: BorrowedFd<'_>, name: &CStr, flags: i32) -> io::Result<()> {
    // SAFETY: a descriptor and a NUL-terminated name.
    check(unsafe { libc::unlinkat(dir.as_raw_fd(), name.as_ptr(), flags) })
}

/// Moves a name to another directory.
pub fn rename(from: BorrowedFd<'_>, name: &CStr, to: BorrowedFd<'_>, new: &CStr) -> io::Result<()> {
    // SAFETY: descriptors and NUL-terminated names.
    check(unsafe { libc::renameat(from.as_raw_fd(), name.as_ptr(), to.as_raw_fd(), new.as_ptr()) })
}

/// Makes a fifo, or with `S_IFCHR` the device 0/0, which overlayfs takes for a removed entry.
pub fn mknod(dir: BorrowedFd<'_>, name: &CStr, mode: u32) -> io::Result<()> {
    // SAFETY: a descriptor and a NUL-terminated name.
    check(unsafe { libc::mknodat(dir.as_raw_fd(), name.as_ptr(), mode, 0) })
}

/// Makes a symlink.
pub fn symlink(dir: BorrowedFd<'_>, name: &CStr, target: &CStr) -> io::Result<()> {
    // SAFETY: a descriptor and NUL-terminated strings.
    check(unsafe { libc::symlinkat(target.as_ptr(), dir.as_raw_fd(), name.as_ptr()) })
}

/// Makes a hard link; a symlink is linked, not followed.
pub fn link(from: BorrowedFd<'_>, old: &CStr, to: BorrowedFd<'_>, new: &CStr) -> io::Result<()> {
    // SAFETY: descriptors and NUL-terminated names.
    check(unsafe { libc::linkat(from.as_raw_fd(), old.as_ptr(), to.as_raw_fd(), new.as_ptr(), 0) })
}

/// What a name in `dir` is; a symlink is not followed.
pub fn stat(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<libc::stat> {
    // SAFETY: an all-zero stat is valid.
    let mut st: libc::stat = unsafe { std::mem::zeroed() };
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: a descriptor, a NUL-terminated name, a buffer of the kernel's layout.
    check(unsafe { libc::fstatat(dir.as_raw_fd(), name.as_ptr(), &raw mut st, flags) })?;
    Ok(st)
}

/// What a descriptor is.
pub fn fstat(fd: BorrowedFd<'_>) -> io::Result<libc::stat> {
    // SAFETY: an all-zero stat is valid.
    let mut st: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: a descriptor and a buffer of the kernel's layout; an empty path means the descriptor itself, also for O_PATH.
    check(unsafe {
        libc::fstatat(fd.as_raw_fd(), c"".as_ptr(), &raw mut st, libc::AT_EMPTY_PATH)
    })?;
    Ok(st)
}

/// A symlink's target.
pub fn read_link(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<Vec<u8>> {
    let mut target = vec![0u8; 4096];
    // SAFETY: a descriptor, a NUL-terminated name, a buffer with its length.
    let n = unsafe {
        libc::readlinkat(dir.as_raw_fd(), name.as_ptr(), target.as_mut_ptr().cast(), target.len())
    };
    target.truncate(usize::try_from(n).map_err(|_| io::Error::last_os_error())?);
    Ok(target)
}

/// Sets the owner of a name; a symlink is not followed.
pub fn chown(dir: BorrowedFd<'_>, name: &CStr, uid: u32, gid: u32) -> io::Result<()> {
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: a descriptor and a NUL-terminated name.
    check(unsafe { libc::fchownat(dir.as_raw_fd(), name.as_ptr(), uid, gid, flags) })
}

/// Sets access and modification time of a name; a symlink is not followed.
pub fn set_times(dir: BorrowedFd<'_>, name: &CStr, time: Time) -> io::Result<()> {
    let spec = libc::timespec { tv_sec: time.0, tv_nsec: i64::from(time.1) };
    let times = [spec, spec];
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: a descriptor, a NUL-terminated name, two timespecs.
    check(unsafe { libc::utimensat(dir.as_raw_fd(), name.as_ptr(), times.as_ptr(), flags) })
}

/// Sets access and modification time of an open file.
pub fn set_file_times(file: &File, time: Time) -> io::Result<()> {
    let spec = libc::timespec { tv_sec: time.0, tv_nsec: i64::from(time.1) };
    let times = [spec, spec];
    // SAFETY: a descriptor and two timespecs.
    check(unsafe { libc::futimens(file.as_raw_fd(), times.as_ptr()) })
}

/// Sets the permission bits of an open file.
pub fn chmod_file(file: &File, mode: u32) -> io::Result<()> {
    // SAFETY: a descriptor and a number.
    check(unsafe { libc::fchmod(file.as_raw_fd(), mode & 0o7777) })
}

/// The path by which the kernel finds a descriptor's file, whatever it was opened for.
fn magic(fd: BorrowedFd<'_>) -> io::Result<CString> {
    c(format!("/proc/self/fd/{}", fd.as_raw_fd()).as_bytes())
}

/// Sets the permission bits of what a descriptor (also one of `O_PATH`) stands for; not for symlinks.
pub fn chmod(fd: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    let path = magic(fd)?;
    // SAFETY: a NUL-terminated path.
    check(unsafe { libc::chmod(path.as_ptr(), mode & 0o7777) })
}

/// Sets an extended attribute of what a descriptor (also one of `O_PATH`) stands for.
pub fn set_xattr(fd: BorrowedFd<'_>, name: &[u8], value: &[u8]) -> io::Result<()> {
    let (path, name) = (magic(fd)?, c(name)?);
    // SAFETY: NUL-terminated strings, a buffer with its length.
    check(unsafe {
        libc::setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0)
    })
}

/// All extended attributes that may be read, sorted by name.
pub fn xattrs(fd: BorrowedFd<'_>) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    /// The kernel's own limit of a list and of a value (xattr(7)).
    const MAX: usize = 64 << 10;
    let path = magic(fd)?;
    // Most files have none: asking for the size alone needs no buffer.
    // SAFETY: a NUL-terminated path; size 0 asks for the length.
    let size = unsafe { libc::listxattr(path.as_ptr(), std::ptr::null_mut(), 0) };
    if size <= 0 {
        return Ok(Vec::new());
    }
    let mut list = vec![0u8; MAX];
    // SAFETY: a buffer with its length.
    let n = unsafe { libc::listxattr(path.as_ptr(), list.as_mut_ptr().cast(), list.len()) };
    list.truncate(usize::try_from(n).map_err(|_| io::Error::last_os_error())?);
    let mut found = Vec::new();
    for name in list.split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let key = c(name)?;
        let mut value = vec![0u8; MAX];
        // SAFETY: NUL-terminated strings, a buffer with its length.
        let n = unsafe {
            libc::getxattr(path.as_ptr(), key.as_ptr(), value.as_mut_ptr().cast(), value.len())
        };
        // One that went away or may not be read is none.
        if let Ok(n) = usize::try_from(n) {
            value.truncate(n);
            found.push((name.to_vec(), value));
        }
    }
    found.sort();
    Ok(found)
}

/// Names in a directory (`fd` of any kind), without `.` and `..`, with whether the listing says that it is a directory.
pub fn names(fd: BorrowedFd<'_>) -> io::Result<Vec<(CString, bool)>> {
    use std::os::unix::ffi::OsStrExt;
    std::fs::read_dir(format!("/proc/self/fd/{}", fd.as_raw_fd()))?
        .map(|entry| {
            let entry = entry?;
            let is_dir = entry.file_type()?.is_dir();
            Ok((c(entry.file_name().as_bytes())?, is_dir))
        })
        .collect()
}

/// The effective user.
pub fn is_root() -> bool {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Opens a directory of the host for what is done below it.
pub fn anchor(dir: &std::path::Path) -> io::Result<OwnedFd> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(dir)?;
    file.as_fd().try_clone_to_owned()
}
