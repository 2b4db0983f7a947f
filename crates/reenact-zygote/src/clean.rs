//! The workspace: one tmpfs bound at cwd, HOME, /tmp and /dev/shm, kept while clean and replaced when not.

use crate::buf::Buf;
use crate::proto::{Reader, Sink};
use crate::setup::{mount, umount};
use crate::sys::{self, AT_FDCWD, CStr, Stat, call, nr};

/// Directories of the workspace: cwd, HOME, /tmp, /dev/shm.
const ROOTS: usize = 4;
/// Directories with up to this many plain entries are emptied in place; others are replaced with their whole tmpfs.
const CLEAN_IN_PLACE: usize = 48;
const MS_NOSUID_NODEV: usize = 2 | 4;
const MS_BIND: usize = 4096;
const MNT_DETACH: usize = 2;

/// The workspace as configured, and what it looked like when it was last clean.
pub struct Workspace {
    /// Set-up strings, kept: [box, options, then name and target of each root], each as length and bytes with NUL.
    config: Buf,
    uid: u32,
    gid: u32,
    modes: [u32; ROOTS],
    fds: [i32; ROOTS],
    clean: [Stat; ROOTS],
    free: (u64, u64),
}

impl Workspace {
    pub fn unmounted() -> Self {
        Self {
            config: Buf::new(1),
            uid: 0,
            gid: 0,
            modes: [0; ROOTS],
            fds: [-1; ROOTS],
            clean: [Stat::default(); ROOTS],
            free: (0, 0),
        }
    }

    /// Takes the configuration from the plan and mounts the first tmpfs. `None` if it is malformed.
    pub fn configure(&mut self, r: &mut Reader<'_>) -> Option<Result<(), i32>> {
        self.config.clear();
        self.uid = r.u32()?;
        self.gid = r.u32()?;
        for i in 0..2 + 2 * ROOTS {
            if i >= 2 && i % 2 == 0 {
                self.modes[(i - 2) / 2] = r.u32()?;
            }
            let text = r.cstr()?;
            self.config.blob(text);
        }
        Some(self.mount(0))
    }

    /// The `i`th configuration string.
    fn text(&self, i: usize) -> CStr<'_> {
        let mut r = Reader::new(self.config.bytes());
        let mut found = None;
        for _ in 0..=i {
            found = r.cstr();
        }
        found.and_then(CStr::new).unwrap_or(CStr::lit(b"\0"))
    }

    /// Mounts a fresh tmpfs and binds its directories. The tmpfs's own root is detached at once: only the bound
    /// directories are reachable.
    fn mount(&mut self, cookie: usize) -> Result<(), i32> {
        let place = self.text(0);
        mount(
            CStr::lit(b"tmpfs\0"),
            place,
            CStr::lit(b"tmpfs\0"),
            MS_NOSUID_NODEV,
            self.text(1),
            cookie,
        )?;
        let root = sys::openat(AT_FDCWD, place, sys::O_RDONLY | sys::O_DIRECTORY, 0)?;
        let none = CStr::lit(b"\0");
        for i in 0..ROOTS {
            let name = self.text(2 + 2 * i);
            sys::mkdirat(root, name, 0o700)?;
            let fd = sys::openat(root, name, sys::O_RDONLY | sys::O_DIRECTORY, 0)?;
            // SAFETY: plain numbers on a descriptor just opened.
            unsafe {
                call(nr::FCHOWN, [fd as usize, self.uid as usize, self.gid as usize, 0, 0, 0])?;
                call(nr::FCHMOD, [fd as usize, self.modes[i] as usize, 0, 0, 0, 0])?;
            }
            // The source is named through the descriptor: "/proc/self/fd" is there, and needs no path to be kept.
            let mut path = [0u8; 32];
            let source = fd_path(fd, &mut path);
            let bound = mount(source, self.text(3 + 2 * i), none, MS_BIND, none, cookie);
            sys::close(fd);
            bound?;
        }
        sys::close(root);
        umount(place, MNT_DETACH, cookie)?;
        self.snapshot()
    }

    /// Remembers the clean state.
    fn snapshot(&mut self) -> Result<(), i32> {
        for i in 0..ROOTS {
            if self.fds[i] < 0 {
                self.fds[i] = sys::openat(
                    AT_FDCWD,
                    self.text(3 + 2 * i),
                    sys::O_RDONLY | sys::O_DIRECTORY,
                    0,
                )?;
            }
            self.clean[i] = sys::fstat(self.fds[i])?;
        }
        let fs = sys::fstatfs(self.fds[0])?;
        self.free = (fs.bfree, fs.ffree);
        Ok(())
    }

    fn counts_as_clean(&self) -> bool {
        sys::fstatfs(self.fds[0]).is_ok_and(|fs| (fs.bfree, fs.ffree) == self.free)
    }

    /// Whether anything was done to the workspace since it was last clean: the file system's counts, and each
    /// directory's mode, owner and change time.
    pub fn is_dirty(&self) -> bool {
        !self.counts_as_clean()
            || (0..ROOTS).any(|i| {
                sys::fstat(self.fds[i]).map_or(true, |now| {
                    let was = &self.clean[i];
                    now.mode != was.mode
                        || now.uid != was.uid
                        || now.gid != was.gid
                        || now.ctime.sec != was.ctime.sec
                        || now.ctime.nsec != was.ctime.nsec
                })
            })
    }

    /// Empties the workspace. Few plain files are unlinked; anything else replaces the tmpfs, which costs the same however
    /// deep or large the tree is.
    pub fn reset(&mut self, scratch: &mut Buf, cookie: usize) -> Result<(), i32> {
        if !self.is_dirty() {
            return Ok(());
        }
        if self.empty_in_place(scratch) && self.counts_as_clean() && self.directories_untouched() {
            return self.snapshot();
        }
        for fd in &mut self.fds {
            sys::close(*fd);
            *fd = -1;
        }
        for i in (0..ROOTS).rev() {
            umount(self.text(3 + 2 * i), MNT_DETACH, cookie)?;
        }
        self.mount(cookie)
    }

    /// Mode, owner and extended attributes of the directories themselves (times change by unlinking).
    fn directories_untouched(&self) -> bool {
        (0..ROOTS).all(|i| {
            // SAFETY: asks for the size of the list only.
            let attributes = unsafe { call(nr::FLISTXATTR, [self.fds[i] as usize, 0, 0, 0, 0, 0]) };
            let was = &self.clean[i];
            // A kernel without extended attributes on tmpfs cannot hold any.
            attributes.unwrap_or(0) == 0
                && sys::fstat(self.fds[i]).is_ok_and(|now| {
                    now.mode == was.mode && now.uid == was.uid && now.gid == was.gid
                })
        })
    }

    /// Unlinks the plain entries; false if there is a directory, too much, or an error.
    fn empty_in_place(&self, scratch: &mut Buf) -> bool {
        (0..ROOTS).all(|i| self.empty_directory(i, scratch))
    }

    fn empty_directory(&self, i: usize, scratch: &mut Buf) -> bool {
        // A descriptor of its own: the read position of the kept one must not matter.
        let Ok(fd) =
            sys::openat(self.fds[i], CStr::lit(b".\0"), sys::O_RDONLY | sys::O_DIRECTORY, 0)
        else {
            return false;
        };
        scratch.clear();
        let got = sys::getdents(fd, &mut scratch.room(8192)[..8192]);
        sys::close(fd);
        let Ok(n) = got else { return false };
        scratch.fill(n);
        if n > 4096 {
            return false; // there may be more entries than one read gave
        }
        let mut count = 0;
        for entry in crate::list::Dirents::new(scratch.bytes()) {
            count += 1;
            if count > CLEAN_IN_PLACE || sys::unlinkat(self.fds[i], entry.name, 0).is_err() {
                return false;
            }
        }
        true
    }

    /// The cwd of cases.
    pub fn cwd_fd(&self) -> i32 {
        self.fds[0]
    }
}

/// `/proc/self/fd/N`.
fn fd_path(fd: i32, out: &mut [u8; 32]) -> CStr<'_> {
    let prefix = b"/proc/self/fd/";
    let mut digits = [0u8; 12];
    let number = sys::decimal(fd as u32, &mut digits).bytes();
    out[..prefix.len()].copy_from_slice(prefix);
    out[prefix.len()..prefix.len() + number.len()].copy_from_slice(number);
    CStr::new(&out[..prefix.len() + number.len() + 1]).unwrap_or(CStr::lit(b"\0"))
}
