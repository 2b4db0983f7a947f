//! Kernel calls that only the oracle and its stub make.

use crate::sys::{self, CStr, Res, call};

/// System call numbers (x86_64).
pub mod nr {
    pub const LSEEK: usize = 8;
    pub const PREAD64: usize = 17;
    pub const GETPID: usize = 39;
    pub const CONNECT: usize = 42;
    pub const RECVMSG: usize = 47;
    pub const BIND: usize = 49;
    pub const LISTEN: usize = 50;
    pub const SOCKET: usize = 41;
    pub const SOCKETPAIR: usize = 53;
    pub const GETSOCKOPT: usize = 55;
    pub const GETCWD: usize = 79;
    pub const FCHDIR: usize = 81;
    pub const GETPPID: usize = 110;
    pub const GETPGRP: usize = 111;
    pub const GETSID: usize = 124;
    pub const CAPSET: usize = 126;
    pub const GETPRIORITY: usize = 140;
    pub const SETPRIORITY: usize = 141;
    pub const CLOCK_GETTIME: usize = 228;
    pub const EPOLL_WAIT: usize = 232;
    pub const EPOLL_CTL: usize = 233;
    pub const SPLICE: usize = 275;
    pub const TEE: usize = 276;
    pub const ACCEPT4: usize = 288;
    pub const SIGNALFD4: usize = 289;
    pub const EPOLL_CREATE1: usize = 291;
    pub const SETNS: usize = 308;
    pub const MEMFD_CREATE: usize = 319;
    pub const EXECVEAT: usize = 322;
    pub const STATX: usize = 332;
}

pub const EPERM: i32 = 1;
pub const ENXIO: i32 = 6;
pub const EINVAL: i32 = 22;
pub const EMFILE: i32 = 24;
pub const EPIPE: i32 = 32;
pub const ECONNRESET: i32 = 104;
pub const ETOOMANYREFS: i32 = 109;

pub const O_PATH: usize = 0o10000000;
pub const O_ACCMODE: usize = 3;

pub const AF_UNIX: usize = 1;
pub const SOCK_STREAM: i32 = 1;
pub const SOCK_SEQPACKET: usize = 5;
pub const SOCK_CLOEXEC: usize = 0o2000000;
pub const MSG_DONTWAIT: usize = 0x40;
pub const MSG_NOSIGNAL: usize = 0x4000;
const MSG_CTRUNC: i32 = 8;
const MSG_TRUNC: i32 = 0x20;
const MSG_CMSG_CLOEXEC: usize = 0x4000_0000;

/// Most descriptors that one message can carry (`SCM_MAX_FD`).
pub const MAX_FDS: usize = 253;
const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;

/// `struct cmsghdr` of SCM_RIGHTS with room for [`MAX_FDS`].
#[repr(C)]
pub struct Rights {
    len: usize,
    level: i32,
    kind: i32,
    fds: [i32; MAX_FDS + 1],
}

impl Rights {
    pub const fn none() -> Self {
        Self { len: 0, level: SOL_SOCKET, kind: SCM_RIGHTS, fds: [-1; MAX_FDS + 1] }
    }

    /// Adds a descriptor to send; false if there is no room.
    pub fn add(&mut self, fd: i32) -> bool {
        let at = self.count();
        let Some(slot) = self.fds[..MAX_FDS].get_mut(at) else { return false };
        *slot = fd;
        self.len = 16 + 4 * (at + 1);
        true
    }

    fn count(&self) -> usize {
        (self.len.saturating_sub(16) / 4).min(MAX_FDS)
    }

    pub fn fds(&self) -> &[i32] {
        &self.fds[..self.count()]
    }

    /// Puts another descriptor into place `at`; gives the one that was there, which is the caller's from now on.
    pub fn replace(&mut self, at: usize, fd: i32) -> i32 {
        core::mem::replace(&mut self.fds[at], fd)
    }

    pub fn close_all(&mut self) {
        for fd in self.fds() {
            sys::close(*fd);
        }
        self.len = 0;
    }
}

/// `struct msghdr`.
#[repr(C)]
struct Message {
    name: usize,
    name_len: usize,
    iov: usize,
    iov_len: usize,
    control: usize,
    control_len: usize,
    flags: i32,
    pad: i32,
}

/// Sends one message made of up to four parts, with descriptors.
pub fn send(socket: i32, parts: &[&[u8]], rights: &Rights, flags: usize) -> Res {
    let mut iov = [[0usize; 2]; 4];
    for (slot, part) in iov.iter_mut().zip(parts) {
        *slot = [part.as_ptr() as usize, part.len()];
    }
    let with = !rights.fds().is_empty();
    let message = Message {
        name: 0,
        name_len: 0,
        iov: iov.as_ptr() as usize,
        iov_len: parts.len().min(4),
        control: if with { &raw const *rights as usize } else { 0 },
        control_len: if with { rights.len.next_multiple_of(8) } else { 0 },
        flags: 0,
        pad: 0,
    };
    // SAFETY: the structures have the kernel's layout and live through the call.
    unsafe {
        call(
            sys::nr::SENDMSG,
            [socket as usize, &raw const message as usize, flags | MSG_NOSIGNAL, 0, 0, 0],
        )
    }
}

/// What [`receive`] got.
pub struct Received {
    pub len: usize,
    /// Bytes or descriptors did not fit.
    pub cut: bool,
}

/// Receives one message. Descriptors arrive close-on-exec in `rights`, whatever else is wrong with the message.
pub fn receive(
    socket: i32,
    into: &mut [u8],
    rights: &mut Rights,
    flags: usize,
) -> Result<Received, i32> {
    let iov = [into.as_mut_ptr() as usize, into.len()];
    rights.len = 0;
    let mut message = Message {
        name: 0,
        name_len: 0,
        iov: iov.as_ptr() as usize,
        iov_len: 1,
        control: &raw mut *rights as usize,
        control_len: 16 + 4 * MAX_FDS,
        flags: 0,
        pad: 0,
    };
    // SAFETY: as in `send`; the buffers are borrowed mutably.
    let len = unsafe {
        call(
            nr::RECVMSG,
            [socket as usize, &raw mut message as usize, flags | MSG_CMSG_CLOEXEC, 0, 0, 0],
        )
    }?;
    // The kernel wrote through a pointer that the compiler does not know of.
    // SAFETY: a plain field of a live structure.
    let written = unsafe { (&raw const rights.len).read_volatile() };
    if message.control_len < 16 || rights.level != SOL_SOCKET || rights.kind != SCM_RIGHTS {
        rights.len = 0;
        rights.level = SOL_SOCKET;
        rights.kind = SCM_RIGHTS;
    } else {
        rights.len = written;
    }
    Ok(Received { len, cut: message.flags & (MSG_TRUNC | MSG_CTRUNC) != 0 })
}

/// The abstract address of the oracle's socket: (`struct sockaddr_un`, its length).
pub fn address() -> ([u8; 12], usize) {
    (*b"\x01\x00\x00reference", 12)
}

pub fn socket() -> Result<i32, i32> {
    // SAFETY: plain numbers.
    unsafe { call(nr::SOCKET, [AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, 0, 0, 0]) }
        .map(|fd| fd as i32)
}

/// A connected pair of SEQPACKET sockets.
pub fn socket_pair() -> Result<(i32, i32), i32> {
    let mut pair = [0i32; 2];
    // SAFETY: the buffer holds two ints.
    unsafe {
        call(
            nr::SOCKETPAIR,
            [AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.as_mut_ptr() as usize, 0, 0],
        )
    }?;
    Ok((pair[0], pair[1]))
}

pub fn fcntl(fd: i32, operation: usize, value: usize) -> Res {
    // SAFETY: plain numbers (the operations used here take no pointer).
    unsafe { call(sys::nr::FCNTL, [fd as usize, operation, value, 0, 0, 0]) }
}

const F_SETFD: usize = 2;
const F_GETFL: usize = 3;
const F_DUPFD_CLOEXEC: usize = 1030;

/// A close-on-exec duplicate with a number of at least `from`.
pub fn dup_above(fd: i32, from: usize) -> Result<i32, i32> {
    fcntl(fd, F_DUPFD_CLOEXEC, from).map(|fd| fd as i32)
}

/// Sets or clears close-on-exec.
pub fn set_cloexec(fd: i32, on: bool) -> Res {
    fcntl(fd, F_SETFD, usize::from(on))
}

pub fn file_flags(fd: i32) -> Res {
    fcntl(fd, F_GETFL, 0)
}

pub fn is_writable(fd: i32) -> bool {
    file_flags(fd).is_ok_and(|f| f & O_PATH == 0 && f & O_ACCMODE != sys::O_RDONLY)
}

pub fn is_readable(fd: i32) -> bool {
    file_flags(fd).is_ok_and(|f| f & O_PATH == 0 && f & O_ACCMODE != sys::O_WRONLY)
}

/// Duplicates onto exactly `to`, which stays open over exec.
pub fn dup_onto(fd: i32, to: i32) -> Res {
    if fd == to {
        return set_cloexec(fd, false);
    }
    // SAFETY: plain numbers.
    unsafe { call(sys::nr::DUP2, [fd as usize, to as usize, 0, 0, 0, 0]) }
}

/// The current offset of a description, if it has one.
pub fn offset(fd: i32) -> Option<u64> {
    const SEEK_CUR: usize = 1;
    // SAFETY: plain numbers.
    unsafe { call(nr::LSEEK, [fd as usize, 0, SEEK_CUR, 0, 0, 0]) }.ok().map(|n| n as u64)
}

pub fn pread(fd: i32, into: &mut [u8], at: u64) -> Res {
    // SAFETY: the slice is valid for writes of its length.
    unsafe {
        call(nr::PREAD64, [fd as usize, into.as_mut_ptr() as usize, into.len(), at as usize, 0, 0])
    }
}

/// `ioctl` with a pointer to a plain value.
///
/// # Safety
/// `T` must be what the request reads or writes.
pub unsafe fn ioctl<T>(fd: i32, request: usize, value: &mut T) -> Res {
    // SAFETY: the caller vouches for the type.
    unsafe { call(sys::nr::IOCTL, [fd as usize, request, &raw mut *value as usize, 0, 0, 0]) }
}

/// Bytes that can be read at once from a pipe.
pub fn bytes_waiting(fd: i32) -> usize {
    const FIONREAD: usize = 0x541b;
    let mut n = 0i32;
    // SAFETY: FIONREAD writes an int.
    match unsafe { ioctl(fd, FIONREAD, &mut n) } {
        Ok(_) => n.max(0) as usize,
        Err(_) => 0,
    }
}

const SPLICE_F_NONBLOCK: usize = 2;

/// Copies up to `n` bytes from pipe to pipe without taking them. Never waits.
pub fn tee(from: i32, to: i32, n: usize) -> Res {
    // SAFETY: plain numbers.
    unsafe { call(nr::TEE, [from as usize, to as usize, n, SPLICE_F_NONBLOCK, 0, 0]) }
}

/// Moves up to `n` bytes from pipe to pipe. Never waits, whatever the flags of the descriptions.
pub fn splice(from: i32, to: i32, n: usize) -> Res {
    // SAFETY: plain numbers; null offsets.
    unsafe { call(nr::SPLICE, [from as usize, 0, to as usize, 0, n, SPLICE_F_NONBLOCK]) }
}

/// Sends to a stream socket what fits. Never waits.
pub fn send_some(fd: i32, bytes: &[u8]) -> Res {
    send(fd, &[bytes], &Rights::none(), MSG_DONTWAIT)
}

/// Whether a socket is an AF_UNIX stream.
pub fn is_unix_stream(fd: i32) -> bool {
    const SO_TYPE: usize = 3;
    const SO_DOMAIN: usize = 39;
    let option = |name: usize| {
        let (mut value, mut len) = (0i32, 4u32);
        // SAFETY: an int and its length.
        let got = unsafe {
            call(
                nr::GETSOCKOPT,
                [
                    fd as usize,
                    SOL_SOCKET as usize,
                    name,
                    &raw mut value as usize,
                    &raw mut len as usize,
                    0,
                ],
            )
        };
        got.ok().map(|_| value)
    };
    option(SO_DOMAIN) == Some(AF_UNIX as i32) && option(SO_TYPE) == Some(SOCK_STREAM)
}

/// Sets the signal mask; gives the old one.
pub fn set_mask(mask: u64) -> u64 {
    const SIG_SETMASK: usize = 2;
    let mut old = 0u64;
    // SAFETY: both masks have the kernel's size of eight bytes.
    let _set = unsafe {
        call(
            sys::nr::RT_SIGPROCMASK,
            [SIG_SETMASK, &raw const mask as usize, &raw mut old as usize, 8, 0, 0],
        )
    };
    old
}

/// A descriptor from which the blocked signals of `mask` are read.
pub fn signal_fd(mask: u64) -> Result<i32, i32> {
    const SFD_CLOEXEC_NONBLOCK: usize = 0o2000000 | 0o4000;
    // SAFETY: a mask of the kernel's size.
    unsafe {
        call(nr::SIGNALFD4, [usize::MAX, &raw const mask as usize, 8, SFD_CLOEXEC_NONBLOCK, 0, 0])
    }
    .map(|fd| fd as i32)
}

/// `struct sigaction` as the kernel has it: handler, flags, restorer, mask.
pub type Action = [usize; 4];
pub const SIG_DFL: usize = 0;
pub const SIG_IGN: usize = 1;

/// Sets how a signal is handled: [`SIG_DFL`] or [`SIG_IGN`].
pub fn handle(signal: usize, how: usize) {
    let action: Action = [how, 0, 0, 0];
    // SAFETY: the structure has the kernel's layout.
    let _set =
        unsafe { call(sys::nr::RT_SIGACTION, [signal, action.as_ptr() as usize, 0, 8, 0, 0]) };
}

/// (soft, hard) of a resource of this process.
pub fn limit(resource: u32) -> (u64, u64) {
    let mut now = [u64::MAX; 2];
    // SAFETY: the buffer has the kernel's layout.
    let _got = unsafe {
        call(sys::nr::PRLIMIT64, [0, resource as usize, 0, now.as_mut_ptr() as usize, 0, 0])
    };
    (now[0], now[1])
}

pub fn set_limit(resource: u32, soft: u64, hard: u64) -> Res {
    let new = [soft, hard];
    // SAFETY: the buffer has the kernel's layout.
    unsafe { call(sys::nr::PRLIMIT64, [0, resource as usize, new.as_ptr() as usize, 0, 0, 0]) }
}

/// A plain number from a call without arguments.
pub fn number(n: usize) -> u32 {
    // SAFETY: only used for calls without arguments that cannot fail.
    unsafe { call(n, [0; 6]) }.unwrap_or(0) as u32
}

/// A path made of pieces, NUL-terminated.
pub struct Path {
    bytes: [u8; 64],
    len: usize,
}

impl Path {
    pub fn new(prefix: &[u8]) -> Self {
        let mut path = Self { bytes: [0; 64], len: 0 };
        path.add(prefix);
        path
    }

    /// Appends, as far as there is room.
    pub fn add(&mut self, part: &[u8]) -> &mut Self {
        let n = part.len().min(63 - self.len);
        self.bytes[self.len..self.len + n].copy_from_slice(&part[..n]);
        self.len += n;
        self
    }

    pub fn number(&mut self, n: u32) -> &mut Self {
        let mut digits = [0u8; 12];
        let text = sys::decimal(n, &mut digits).bytes();
        self.add(text)
    }

    pub fn c(&self) -> CStr<'_> {
        CStr::new(&self.bytes[..=self.len]).unwrap_or(CStr::lit(b"\0"))
    }
}
