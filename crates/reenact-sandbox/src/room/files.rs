//! Files in and out of a room, from the host's side, through a descriptor of the room's root. Whatever the agent does at the
//! same time, no link is followed and nothing above the room's root is reached (`openat2` with `RESOLVE_IN_ROOT`, without
//! symlinks and magic links).

use super::{TreeEntry, TreeKind};
use crate::error::SandboxError;
use crate::unpack::sys;
use std::collections::VecDeque;
use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The room's root directory, and who owns what its programs make.
pub struct Files {
    root: OwnedFd,
    ids: (u32, u32),
}

fn c(path: &[u8]) -> Result<CString, SandboxError> {
    CString::new(path).map_err(|_| SandboxError::Spec {
        path: Path::new(&String::from_utf8_lossy(path).into_owned()).to_path_buf(),
        what: "a path with a NUL byte".to_owned(),
    })
}

fn fail(path: &[u8]) -> SandboxError {
    let e = std::io::Error::last_os_error();
    SandboxError::host(format!("{} in the room", String::from_utf8_lossy(path)), e)
}

impl Files {
    pub fn new(root: OwnedFd, ids: (u32, u32)) -> Self {
        Self { root, ids }
    }

    /// Opens a path as a program in the room would: symlinks are followed, below the root; magic links are not.
    pub fn open_followed(&self, path: &str, flags: i32, mode: u32) -> std::io::Result<File> {
        let mode = if flags & libc::O_CREAT != 0 { mode } else { 0 };
        self.open_below(path.as_bytes(), flags, mode, 0).map(File::from)
    }

    /// Opens a path without following any link.
    fn open(&self, path: &[u8], flags: i32, mode: u32) -> std::io::Result<OwnedFd> {
        if path.split(|b| *b == b'/').any(|part| part == b"..") {
            return Err(std::io::Error::from_raw_os_error(libc::EINVAL));
        }
        self.open_below(path, flags, mode, libc::RESOLVE_NO_SYMLINKS)
    }

    /// Opens below the root, whatever absolute paths and links there say; `resolve` adds to that.
    fn open_below(
        &self,
        path: &[u8],
        flags: i32,
        mode: u32,
        resolve: u64,
    ) -> std::io::Result<OwnedFd> {
        // RESOLVE_IN_ROOT makes absolute paths start there.
        let resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS | resolve;
        sys::open_resolving(self.root.as_fd(), path, flags, mode, resolve)
    }

    /// The directory `path`, made with its parents where it is missing.
    fn directory(&self, path: &[u8]) -> Result<OwnedFd, SandboxError> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        if let Ok(fd) = self.open(path, flags, 0) {
            return Ok(fd);
        }
        let (parent, name) = split(path);
        let at = if name.is_empty() { return Err(fail(path)) } else { self.directory(parent)? };
        let name = c(name)?;
        // SAFETY: a directory descriptor and a NUL-terminated name without slashes.
        let made = unsafe { libc::mkdirat(at.as_raw_fd(), name.as_ptr(), 0o755) };
        if made < 0 && std::io::Error::last_os_error().raw_os_error() != Some(libc::EEXIST) {
            return Err(fail(path));
        }
        self.open(path, flags, 0).map_err(|e| {
            SandboxError::host(format!("{} in the room", String::from_utf8_lossy(path)), e)
        })
    }

    /// See [`super::Room::put_file`].
    pub fn put_file(&self, path: &[u8], mode: u32, bytes: &[u8]) -> Result<(), SandboxError> {
        let _user = AsUser::become_user(self.ids);
        self.write(path, mode, bytes)
    }

    fn write(&self, path: &[u8], mode: u32, bytes: &[u8]) -> Result<(), SandboxError> {
        let (parent, name) = split(path);
        let at = self.directory(parent)?;
        let name = c(name)?;
        // A new file, so that no hard or symbolic link that is there is written through.
        // SAFETY: a directory descriptor and a NUL-terminated name. A missing file is as good.
        unsafe { libc::unlinkat(at.as_raw_fd(), name.as_ptr(), 0) };
        let flags =
            libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        // SAFETY: as above.
        let fd = unsafe { libc::openat(at.as_raw_fd(), name.as_ptr(), flags, 0o600) };
        if fd < 0 {
            return Err(fail(path));
        }
        // SAFETY: a descriptor just made, owned by nobody else.
        let mut file = unsafe { File::from_raw_fd(fd) };
        let wrap =
            |e| SandboxError::host(format!("{} in the room", String::from_utf8_lossy(path)), e);
        file.write_all(bytes).map_err(wrap)?;
        file.set_permissions(std::fs::Permissions::from_mode(mode & 0o777)).map_err(wrap)
    }

    fn put_link(&self, path: &[u8], target: &[u8]) -> Result<(), SandboxError> {
        let (parent, name) = split(path);
        let at = self.directory(parent)?;
        let (name, target) = (c(name)?, c(target)?);
        // SAFETY: NUL-terminated strings and a directory descriptor.
        unsafe {
            libc::unlinkat(at.as_raw_fd(), name.as_ptr(), 0);
            if libc::symlinkat(target.as_ptr(), at.as_raw_fd(), name.as_ptr()) < 0 {
                return Err(fail(path));
            }
        }
        Ok(())
    }

    /// See [`super::Room::put_tree`].
    pub fn put_tree(&self, from: &Path, to: &str) -> Result<(), SandboxError> {
        let user = AsUser::become_user(self.ids);
        let mut queue = vec![(from.to_path_buf(), to.trim_end_matches('/').as_bytes().to_vec())];
        while let Some((dir, place)) = queue.pop() {
            let fail = |path: &Path| {
                let path = path.display().to_string();
                move |e| SandboxError::host(path, e)
            };
            let made = self.directory(&place)?;
            // The host's side is read with our own rights.
            let (mode, mut entries) = user
                .ourselves(self.ids, || {
                    let mode = dir.metadata()?.permissions().mode();
                    let entries =
                        std::fs::read_dir(&dir)?.collect::<Result<Vec<_>, std::io::Error>>()?;
                    Ok((mode, entries))
                })
                .map_err(fail(&dir))?;
            if dir != from {
                File::from(made)
                    .set_permissions(std::fs::Permissions::from_mode(mode & 0o777 | 0o700))
                    .map_err(fail(&dir))?;
            }
            entries.sort_by_key(std::fs::DirEntry::file_name);
            for entry in entries {
                let path = entry.path();
                let mut inside = place.clone();
                inside.push(b'/');
                inside.extend_from_slice(entry.file_name().as_bytes());
                let read = user.ourselves(self.ids, || read_entry(&path)).map_err(fail(&path))?;
                match read {
                    HostEntry::Dir => queue.push((path, inside)),
                    HostEntry::Link(target) => self.put_link(&inside, &target)?,
                    HostEntry::File(mode, bytes) => self.write(&inside, mode, &bytes)?,
                    HostEntry::Special => {
                        let what = "is neither a file, a directory nor a symlink".to_owned();
                        return Err(SandboxError::Spec { path, what });
                    }
                }
            }
        }
        Ok(())
    }

    /// See [`super::Room::list_tree`].
    pub fn list(&self, dir: &str, max: usize) -> Result<Vec<TreeEntry>, SandboxError> {
        let wrap = |e| SandboxError::host(format!("{dir} in the room"), e);
        self.open(dir.as_bytes(), libc::O_RDONLY | libc::O_DIRECTORY, 0).map_err(wrap)?;
        let mut entries = Vec::new();
        let mut queue = VecDeque::from([Vec::new()]);
        while let Some(at) = queue.pop_front() {
            let mut path = dir.trim_end_matches('/').as_bytes().to_vec();
            if !at.is_empty() {
                path.push(b'/');
                path.extend_from_slice(&at);
            }
            // Gone, or replaced by something else, since it was listed: then there is nothing to list.
            let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOATIME;
            let fd = self
                .open(&path, flags, 0)
                .or_else(|_| self.open(&path, flags & !libc::O_NOATIME, 0));
            let Ok(fd) = fd else { continue };
            for name in names(&fd).map_err(wrap)? {
                let mut relative = at.clone();
                if !relative.is_empty() {
                    relative.push(b'/');
                }
                relative.extend_from_slice(&name);
                let Some(entry) = entry(&fd, &name, relative) else { continue };
                if entries.len() >= max {
                    let what = format!("holds more than {max} entries");
                    return Err(SandboxError::Spec { path: Path::new(dir).to_path_buf(), what });
                }
                if entry.kind == TreeKind::Dir {
                    queue.push_back(entry.path.clone());
                }
                entries.push(entry);
            }
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    /// See [`super::Room::open_file`].
    pub fn open_file(&self, dir: &str, path: &[u8]) -> Option<File> {
        let mut full = dir.trim_end_matches('/').as_bytes().to_vec();
        full.push(b'/');
        full.extend_from_slice(path);
        // O_NONBLOCK: a fifo that was put in the file's place must not hold us.
        let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = File::from(self.open(&full, flags, 0).ok()?);
        file.metadata().is_ok_and(|m| m.is_file()).then_some(file)
    }

    pub fn root_fd(&self) -> i32 {
        self.root.as_raw_fd()
    }
}

/// While it lives, this thread creates and opens files as the room's user: what it makes belongs to that user, also in a user
/// namespace in which we do not exist, and what the user may not touch it does not touch.
struct AsUser(Option<(u32, u32)>);

impl AsUser {
    fn become_user(ids: (u32, u32)) -> Self {
        // SAFETY: these calls cannot fail and have no arguments.
        let own = unsafe { (libc::geteuid(), libc::getegid()) };
        if own == ids {
            return Self(None);
        }
        // SAFETY: plain numbers; both change this thread only (setfsuid(2)). What a refusal would mean shows at the first
        // file: it cannot be made.
        unsafe {
            libc::setfsgid(ids.1);
            libc::setfsuid(ids.0);
        }
        Self(Some(own))
    }

    /// Does something on the host with our own rights.
    fn ourselves<T>(&self, ids: (u32, u32), f: impl FnOnce() -> T) -> T {
        if let Some((uid, gid)) = self.0 {
            // SAFETY: as in `become_user`.
            unsafe {
                libc::setfsuid(uid);
                libc::setfsgid(gid);
            }
        }
        let done = f();
        if self.0.is_some() {
            // SAFETY: as in `become_user`.
            unsafe {
                libc::setfsgid(ids.1);
                libc::setfsuid(ids.0);
            }
        }
        done
    }
}

impl Drop for AsUser {
    fn drop(&mut self) {
        if let Some((uid, gid)) = self.0 {
            // SAFETY: as in `become_user`.
            unsafe {
                libc::setfsuid(uid);
                libc::setfsgid(gid);
            }
        }
    }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// What is to be copied in.
enum HostEntry {
    Dir,
    Link(Vec<u8>),
    File(u32, Vec<u8>),
    Special,
}

fn read_entry(path: &Path) -> std::io::Result<HostEntry> {
    let meta = path.symlink_metadata()?;
    Ok(if meta.is_dir() {
        HostEntry::Dir
    } else if meta.is_symlink() {
        HostEntry::Link(std::fs::read_link(path)?.as_os_str().as_bytes().to_vec())
    } else if meta.is_file() {
        HostEntry::File(meta.permissions().mode(), std::fs::read(path)?)
    } else {
        HostEntry::Special
    })
}

/// Names in a directory, without `.` and `..`.
fn names(fd: &OwnedFd) -> std::io::Result<Vec<Vec<u8>>> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    std::fs::read_dir(path)?.map(|entry| entry.map(|e| e.file_name().as_bytes().to_vec())).collect()
}

fn entry(dir: &OwnedFd, name: &[u8], path: Vec<u8>) -> Option<TreeEntry> {
    let name = CString::new(name).ok()?;
    // SAFETY: an all-zero stat is valid.
    let mut st: libc::stat = unsafe { std::mem::zeroed() };
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: a directory descriptor, a NUL-terminated name, and a buffer of the kernel's layout.
    if unsafe { libc::fstatat(dir.as_raw_fd(), name.as_ptr(), &raw mut st, flags) } < 0 {
        return None;
    }
    let kind = match st.st_mode & libc::S_IFMT {
        libc::S_IFREG => TreeKind::File,
        libc::S_IFDIR => TreeKind::Dir,
        libc::S_IFLNK => {
            let mut target = vec![0u8; 4096];
            // SAFETY: as above, with a buffer and its length.
            let n = unsafe {
                libc::readlinkat(
                    dir.as_raw_fd(),
                    name.as_ptr(),
                    target.as_mut_ptr().cast(),
                    target.len(),
                )
            };
            target.truncate(usize::try_from(n).ok()?);
            TreeKind::Symlink { target }
        }
        _ => TreeKind::Special,
    };
    let ns = |sec: i64, nsec: i64| i128::from(sec) * 1_000_000_000 + i128::from(nsec);
    Some(TreeEntry {
        path,
        kind,
        mode: st.st_mode & 0o7777,
        size: st.st_size as u64,
        ino: st.st_ino,
        mtime_ns: ns(st.st_mtime, st.st_mtime_nsec),
        ctime_ns: ns(st.st_ctime, st.st_ctime_nsec),
    })
}
