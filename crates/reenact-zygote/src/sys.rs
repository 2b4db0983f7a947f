//! Raw system calls. A negative result is `-errno`. Wrappers exist only for what the zygote uses.

use core::arch::asm;

/// Result of a system call: a value, or an errno.
pub type Res = Result<usize, i32>;

/// System call numbers (x86_64, `arch/x86/entry/syscalls/syscall_64.tbl`).
pub mod nr {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const POLL: usize = 7;
    pub const MMAP: usize = 9;
    pub const MUNMAP: usize = 11;
    pub const RT_SIGACTION: usize = 13;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const IOCTL: usize = 16;
    pub const MREMAP: usize = 25;
    pub const MADVISE: usize = 28;
    pub const DUP2: usize = 33;
    pub const NANOSLEEP: usize = 35;
    pub const SENDMSG: usize = 46;
    pub const CLONE: usize = 56;
    pub const EXECVE: usize = 59;
    pub const EXIT: usize = 60;
    pub const WAIT4: usize = 61;
    pub const KILL: usize = 62;
    pub const FCNTL: usize = 72;
    pub const FCHMOD: usize = 91;
    pub const FCHOWN: usize = 93;
    pub const CHDIR: usize = 80;
    pub const SETPGID: usize = 109;
    pub const SETSID: usize = 112;
    pub const SETGROUPS: usize = 116;
    pub const SETRESUID: usize = 117;
    pub const SETRESGID: usize = 119;
    pub const SETFSUID: usize = 122;
    pub const SETFSGID: usize = 123;
    pub const PERSONALITY: usize = 135;
    pub const FSTATFS: usize = 138;
    pub const PIVOT_ROOT: usize = 155;
    pub const PRCTL: usize = 157;
    pub const UMASK: usize = 95;
    pub const MOUNT: usize = 165;
    pub const UMOUNT2: usize = 166;
    pub const SETHOSTNAME: usize = 170;
    pub const FLISTXATTR: usize = 196;
    pub const GETDENTS64: usize = 217;
    pub const CLOCK_GETTIME: usize = 228;
    pub const EXIT_GROUP: usize = 231;
    pub const OPENAT: usize = 257;
    pub const MKDIRAT: usize = 258;
    pub const MKNODAT: usize = 259;
    pub const NEWFSTATAT: usize = 262;
    pub const UNLINKAT: usize = 263;
    pub const SYMLINKAT: usize = 266;
    pub const READLINKAT: usize = 267;
    pub const FCHMODAT: usize = 268;
    pub const UNSHARE: usize = 272;
    pub const UTIMENSAT: usize = 280;
    pub const PIPE2: usize = 293;
    pub const PRLIMIT64: usize = 302;
    pub const SECCOMP: usize = 317;
    pub const CAPSET: usize = 126;
    pub const FCHOWNAT: usize = 260;
    pub const MOUNT_SETATTR: usize = 442;
    pub const CLOSE_RANGE: usize = 436;
    pub const RECVMSG: usize = 47;
    pub const SIGNALFD4: usize = 289;
    pub const SETXATTR: usize = 188;
    pub const SOCKETPAIR: usize = 53;
    pub const LISTEN: usize = 50;
    pub const BIND: usize = 49;
    pub const SOCKET: usize = 41;
    pub const SENDFILE: usize = 40;
}

pub const EINTR: i32 = 4;
pub const EAGAIN: i32 = 11;
pub const EEXIST: i32 = 17;
pub const ENOENT: i32 = 2;
pub const EPROTO: i32 = 71;

pub const AT_FDCWD: i32 = -100;
pub const AT_SYMLINK_NOFOLLOW: usize = 0x100;
pub const AT_REMOVEDIR: usize = 0x200;
pub const AT_EMPTY_PATH: usize = 0x1000;

pub const O_RDONLY: usize = 0;
pub const O_WRONLY: usize = 1;
pub const O_RDWR: usize = 2;
pub const O_CREAT: usize = 0o100;
pub const O_EXCL: usize = 0o200;
pub const O_NOCTTY: usize = 0o400;
pub const O_TRUNC: usize = 0o1000;
pub const O_APPEND: usize = 0o2000;
pub const O_NONBLOCK: usize = 0o4000;
pub const O_DIRECTORY: usize = 0o200000;
pub const O_NOFOLLOW: usize = 0o400000;
pub const O_CLOEXEC: usize = 0o2000000;

pub const SIGKILL: i32 = 9;
pub const SIGCHLD: usize = 17;
pub const WNOHANG: usize = 1;
pub const WALL: usize = 0x4000_0000;

pub const POLLIN: i16 = 1;
pub const POLLOUT: i16 = 4;
pub const POLLERR: i16 = 8;
pub const POLLHUP: i16 = 16;
pub const POLLRDHUP: i16 = 0x2000;

/// `struct pollfd`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PollFd {
    pub fd: i32,
    pub events: i16,
    pub revents: i16,
}

/// `struct timespec`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Timespec {
    pub sec: i64,
    pub nsec: i64,
}

/// `struct rusage`; only the fields that the zygote reads are named.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Rusage {
    pub user_sec: i64,
    pub user_usec: i64,
    pub sys_sec: i64,
    pub sys_usec: i64,
    pub max_rss_kib: i64,
    pub rest: [i64; 13],
}

/// `struct stat` (x86_64).
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Stat {
    pub dev: u64,
    pub ino: u64,
    pub nlink: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub pad: u32,
    pub rdev: u64,
    pub size: i64,
    pub blksize: i64,
    pub blocks: i64,
    pub atime: Timespec,
    pub mtime: Timespec,
    pub ctime: Timespec,
    pub unused: [i64; 3],
}

/// `struct statfs` (x86_64).
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Statfs {
    pub kind: i64,
    pub bsize: i64,
    pub blocks: u64,
    pub bfree: u64,
    pub bavail: u64,
    pub files: u64,
    pub ffree: u64,
    pub rest: [i64; 8],
}

/// One system call with up to six arguments.
///
/// # Safety
/// The arguments must be what the call expects; pointers must be valid for it.
#[inline]
pub unsafe fn call(n: usize, args: [usize; 6]) -> Res {
    let ret: isize;
    // SAFETY: the caller vouches for the arguments; the kernel clobbers only rcx and r11.
    unsafe {
        asm!("syscall",
            inlateout("rax") n as isize => ret,
            in("rdi") args[0], in("rsi") args[1], in("rdx") args[2],
            in("r10") args[3], in("r8") args[4], in("r9") args[5],
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    if ret < 0 { Err(-ret as i32) } else { Ok(ret as usize) }
}

/// A NUL-terminated string, by construction.
#[derive(Clone, Copy)]
pub struct CStr<'a>(&'a [u8]);

impl<'a> CStr<'a> {
    /// Wraps `bytes` if its only NUL is the last byte.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        match bytes.iter().position(|b| *b == 0) {
            Some(at) if at + 1 == bytes.len() => Some(Self(bytes)),
            _ => None,
        }
    }

    /// Wraps a literal that ends in NUL.
    pub const fn lit(bytes: &'static [u8]) -> CStr<'static> {
        assert!(!bytes.is_empty() && bytes[bytes.len() - 1] == 0);
        CStr(bytes)
    }

    pub fn ptr(self) -> usize {
        self.0.as_ptr() as usize
    }

    /// The bytes without the NUL.
    pub fn bytes(self) -> &'a [u8] {
        &self.0[..self.0.len() - 1]
    }
}

/// Ends the process.
pub fn exit(code: i32) -> ! {
    loop {
        // SAFETY: exit_group takes a number and does not return.
        let _gone = unsafe { call(nr::EXIT_GROUP, [code as usize, 0, 0, 0, 0, 0]) };
    }
}

pub fn close(fd: i32) {
    if fd >= 0 {
        // SAFETY: closing a descriptor that the zygote owns; there is nothing to do about an error.
        let _closed = unsafe { call(nr::CLOSE, [fd as usize, 0, 0, 0, 0, 0]) };
    }
}

pub fn read(fd: i32, buf: &mut [u8]) -> Res {
    // SAFETY: the slice is valid for writes of its length.
    unsafe { call(nr::READ, [fd as usize, buf.as_mut_ptr() as usize, buf.len(), 0, 0, 0]) }
}

pub fn write(fd: i32, buf: &[u8]) -> Res {
    // SAFETY: the slice is valid for reads of its length.
    unsafe { call(nr::WRITE, [fd as usize, buf.as_ptr() as usize, buf.len(), 0, 0, 0]) }
}

/// Writes everything, waiting where the descriptor blocks.
pub fn write_all(fd: i32, mut buf: &[u8]) -> Result<(), i32> {
    while !buf.is_empty() {
        match write(fd, buf) {
            Ok(n) => buf = &buf[n..],
            Err(EINTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

pub fn openat(dir: i32, path: CStr<'_>, flags: usize, mode: usize) -> Result<i32, i32> {
    // SAFETY: the path is NUL-terminated.
    unsafe { call(nr::OPENAT, [dir as isize as usize, path.ptr(), flags | O_CLOEXEC, mode, 0, 0]) }
        .map(|fd| fd as i32)
}

pub fn fstatat(dir: i32, path: CStr<'_>, flags: usize) -> Result<Stat, i32> {
    let mut st = Stat::default();
    // SAFETY: the path is NUL-terminated and the buffer has the kernel's layout.
    unsafe {
        call(nr::NEWFSTATAT, [dir as isize as usize, path.ptr(), &raw mut st as usize, flags, 0, 0])
    }?;
    Ok(st)
}

pub fn fstat(fd: i32) -> Result<Stat, i32> {
    fstatat(fd, CStr::lit(b"\0"), AT_EMPTY_PATH)
}

pub fn fstatfs(fd: i32) -> Result<Statfs, i32> {
    let mut st = Statfs::default();
    // SAFETY: the buffer has the kernel's layout.
    unsafe { call(nr::FSTATFS, [fd as usize, &raw mut st as usize, 0, 0, 0, 0]) }?;
    Ok(st)
}

pub fn unlinkat(dir: i32, path: CStr<'_>, flags: usize) -> Res {
    // SAFETY: the path is NUL-terminated.
    unsafe { call(nr::UNLINKAT, [dir as isize as usize, path.ptr(), flags, 0, 0, 0]) }
}

pub fn mkdirat(dir: i32, path: CStr<'_>, mode: usize) -> Res {
    // SAFETY: the path is NUL-terminated.
    unsafe { call(nr::MKDIRAT, [dir as isize as usize, path.ptr(), mode, 0, 0, 0]) }
}

pub fn symlinkat(target: CStr<'_>, dir: i32, path: CStr<'_>) -> Res {
    // SAFETY: both strings are NUL-terminated.
    unsafe { call(nr::SYMLINKAT, [target.ptr(), dir as isize as usize, path.ptr(), 0, 0, 0]) }
}

pub fn getdents(fd: i32, buf: &mut [u8]) -> Res {
    // SAFETY: the slice is valid for writes of its length.
    unsafe { call(nr::GETDENTS64, [fd as usize, buf.as_mut_ptr() as usize, buf.len(), 0, 0, 0]) }
}

pub fn poll(fds: &mut [PollFd], timeout_ms: i32) -> Res {
    // SAFETY: the slice has the kernel's layout.
    unsafe {
        call(
            nr::POLL,
            [fds.as_mut_ptr() as usize, fds.len(), timeout_ms as isize as usize, 0, 0, 0],
        )
    }
}

/// Monotonic time, microseconds.
pub fn now_us() -> u64 {
    let mut ts = Timespec::default();
    // SAFETY: the buffer has the kernel's layout; CLOCK_MONOTONIC (1) always exists.
    let _ok = unsafe { call(nr::CLOCK_GETTIME, [1, &raw mut ts as usize, 0, 0, 0, 0]) };
    ts.sec as u64 * 1_000_000 + ts.nsec as u64 / 1000
}

pub fn sleep_us(us: u64) {
    let ts = Timespec { sec: (us / 1_000_000) as i64, nsec: (us % 1_000_000) as i64 * 1000 };
    // SAFETY: the buffer has the kernel's layout. An early wake-up is harmless: callers loop on a clock.
    let _woken = unsafe { call(nr::NANOSLEEP, [&raw const ts as usize, 0, 0, 0, 0, 0]) };
}

pub fn kill(pid: i32, signal: i32) -> Res {
    // SAFETY: plain numbers.
    unsafe { call(nr::KILL, [pid as isize as usize, signal as usize, 0, 0, 0, 0]) }
}

/// `wait4`; `Ok(None)` if WNOHANG found nothing to reap.
pub fn wait4(pid: i32, flags: usize) -> Result<Option<(i32, i32, Rusage)>, i32> {
    let mut status: i32 = 0;
    let mut usage = Rusage::default();
    loop {
        // SAFETY: both buffers have the kernel's layout.
        let got = unsafe {
            call(
                nr::WAIT4,
                [
                    pid as isize as usize,
                    &raw mut status as usize,
                    flags,
                    &raw mut usage as usize,
                    0,
                    0,
                ],
            )
        };
        match got {
            Ok(0) => return Ok(None),
            Ok(pid) => return Ok(Some((pid as i32, status, usage))),
            Err(EINTR) => {}
            Err(e) => return Err(e),
        }
    }
}

/// Both ends of a close-on-exec pipe: (read, write).
pub fn pipe() -> Result<(i32, i32), i32> {
    let mut fds = [0i32; 2];
    // SAFETY: the buffer holds two ints.
    unsafe { call(nr::PIPE2, [fds.as_mut_ptr() as usize, O_CLOEXEC, 0, 0, 0, 0]) }?;
    Ok((fds[0], fds[1]))
}

pub fn set_nonblocking(fd: i32) -> Res {
    const F_SETFL: usize = 4;
    // SAFETY: plain numbers. Applies to this end only: a pipe's ends are separate file descriptions.
    unsafe { call(nr::FCNTL, [fd as usize, F_SETFL, O_NONBLOCK, 0, 0, 0]) }
}

/// Decimal digits of `n` into `out`, NUL-terminated.
pub fn decimal(n: u32, out: &mut [u8; 12]) -> CStr<'_> {
    let mut at = out.len() - 1;
    out[at] = 0;
    let mut rest = n;
    loop {
        at -= 1;
        out[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    CStr(&out[at..])
}
