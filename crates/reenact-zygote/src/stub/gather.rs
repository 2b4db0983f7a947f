//! Gathering what a program inherits, and sending it: as few system calls as tell it.

use crate::kernel::{self as k, Rights, nr};
use crate::proto::Sink;
use crate::sys::{self, AT_FDCWD, CStr, PollFd, call};
use crate::wire::{Head, INLINE, LIMITS, MAX_CWD, MAX_INHERITED, with};

/// Arguments and environment, which the kernel puts one after another.
pub struct Arguments {
    argc: u32,
    envc: u32,
    strings: &'static [u8],
}

impl Arguments {
    /// # Safety
    /// `stack` must be the initial stack pointer of the process.
    pub unsafe fn from_stack(stack: *const usize) -> Self {
        // SAFETY: the kernel's layout: argc, argv[argc], NULL, envp[], NULL; the strings follow one another, arguments first.
        unsafe {
            let argc = *stack;
            let argv = stack.add(1);
            let env = argv.add(argc + 1);
            let mut envc = 0;
            while *env.add(envc) != 0 {
                envc += 1;
            }
            let last = if envc > 0 { *env.add(envc - 1) } else { *argv.add(argc.max(1) - 1) };
            let first = *argv;
            let mut end = last;
            while end != 0 && *(end as *const u8) != 0 {
                end += 1;
            }
            let strings = if argc == 0 || end < first {
                &[]
            } else {
                core::slice::from_raw_parts(first as *const u8, end + 1 - first)
            };
            Self { argc: argc as u32, envc: envc as u32, strings }
        }
    }
}

/// What the stub keeps after its request is sent.
pub struct Call {
    pub connection: i32,
    /// The controlling terminal; -1: none.
    pub terminal: i32,
}

/// Bytes of a head with its numbers.
struct Bytes {
    bytes: [u8; Head::FIXED + 4 * MAX_INHERITED],
    len: usize,
}

impl Sink for Bytes {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

/// Sends the request. From here on every signal waits for [`crate::stand`].
pub fn send(arguments: &Arguments) -> Result<Call, i32> {
    let blocked = k::set_mask(u64::MAX);
    let mut rights = Rights::none();
    let mut numbers = [0u8; 4 * MAX_INHERITED];
    let inherited = descriptors(&mut rights, &mut numbers)?;
    let mut head = Head::new(&numbers[..4 * inherited]);
    circumstances(&mut head);
    head.blocked = blocked;
    head.argc = arguments.argc;
    head.envc = arguments.envc;
    head.strings = arguments.strings.len() as u32;

    let terminal =
        sys::openat(AT_FDCWD, CStr::lit(b"/dev/tty\0"), sys::O_RDWR | sys::O_NOCTTY, 0)
            .unwrap_or(-1);
    if terminal >= 0 {
        head.flags |= with::TERMINAL;
        rights.add(terminal);
    }
    let mut cwd = [0u8; MAX_CWD];
    let cwd = working_directory(&mut cwd);
    let mut directory = -1;
    if cwd.is_empty() {
        let flags = k::O_PATH | sys::O_DIRECTORY;
        directory = sys::openat(AT_FDCWD, CStr::lit(b".\0"), flags, 0)?;
        head.flags |= with::CWD;
        rights.add(directory);
    }
    head.cwd = cwd.len() as u32;
    let inline = head.body() <= INLINE;
    let mut memory = -1;
    if !inline {
        memory = memory_file(&[arguments.strings, cwd])?;
        head.flags |= with::MEMORY;
        rights.add(memory);
    }
    let mut message = Bytes { bytes: [0; Head::FIXED + 4 * MAX_INHERITED], len: 0 };
    head.encode(&mut message);
    let message = &message.bytes[..message.len];

    let connection = connect()?;
    let parts: [&[u8]; 3] = [message, arguments.strings, cwd];
    send_in_time(connection, if inline { &parts } else { &parts[..1] }, &rights)?;
    // Held here, a pipe would not end when the reference closes it.
    for fd in rights.fds()[..inherited].iter().copied().chain([directory, memory]) {
        if !is_written_file(fd) {
            sys::close(fd);
        }
    }
    Ok(Call { connection, terminal })
}

/// Sends the request. A user may only have so many descriptors on their way at once (`RLIMIT_NOFILE`); hundreds of callers
/// together reach that, for as long as it takes the oracle to receive them.
fn send_in_time(connection: i32, parts: &[&[u8]], rights: &Rights) -> Result<(), i32> {
    const PATIENCE_US: u64 = 30_000_000;
    const PAUSE_US: u64 = 2_000;
    let deadline = sys::now_us() + PATIENCE_US;
    loop {
        match k::send(connection, parts, rights, 0) {
            Err(k::ETOOMANYREFS) if sys::now_us() < deadline => sys::sleep_us(PAUSE_US),
            other => return other.map(|_| ()),
        }
    }
}

/// Output to a regular file stays open: the session reads through /proc what was written there, with our rights.
fn is_written_file(fd: i32) -> bool {
    matches!(fd, 1 | 2) && sys::fstat(fd).is_ok_and(|st| st.mode & 0o170000 == 0o100000)
}

fn connect() -> Result<i32, i32> {
    let connection = k::socket()?;
    let (address, len) = k::address();
    // SAFETY: an address and its length.
    unsafe {
        call(nr::CONNECT, [connection as usize, address.as_ptr() as usize, len, 0, 0, 0])
    }?;
    Ok(connection)
}

/// Signals, limits, mask, niceness, numbers.
fn circumstances(head: &mut Head<'_>) {
    for signal in 1..=31usize {
        let mut now: k::Action = [0; 4];
        // SAFETY: asks only; the structure has the kernel's layout.
        let asked = unsafe {
            call(sys::nr::RT_SIGACTION, [signal, 0, now.as_mut_ptr() as usize, 8, 0, 0])
        };
        if asked.is_ok() && now[0] == k::SIG_IGN {
            head.ignored |= 1 << (signal - 1);
        }
    }
    for (limit, resource) in head.limits.iter_mut().zip(LIMITS) {
        *limit = k::limit(resource);
    }
    // SAFETY: plain numbers. The stub makes no files, so that its own mask does not matter. The kernel gives 20 minus the
    // niceness. 0xffffffff asks for the personality.
    unsafe {
        head.umask = call(sys::nr::UMASK, [0; 6]).unwrap_or(0o022) as u32;
        head.nice = 20 - call(nr::GETPRIORITY, [0; 6]).unwrap_or(20) as i32;
        head.personality =
            call(sys::nr::PERSONALITY, [0xffff_ffff, 0, 0, 0, 0, 0]).unwrap_or(0) as u32;
    }
    head.pid = k::number(nr::GETPID);
    head.ppid = k::number(nr::GETPPID);
}

/// The working directory with its NUL; empty if it has no path (it was removed).
fn working_directory(into: &mut [u8; MAX_CWD]) -> &[u8] {
    // SAFETY: a buffer and its length.
    let got = unsafe {
        call(nr::GETCWD, [into.as_mut_ptr() as usize, into.len(), 0, 0, 0, 0])
    };
    match got {
        // The kernel writes "(unreachable)" in front of what is not below the root.
        Ok(n) if into[0] == b'/' => &into[..n],
        _ => &[],
    }
}

fn memory_file(parts: &[&[u8]]) -> Result<i32, i32> {
    const MFD_CLOEXEC: usize = 1;
    let name = CStr::lit(b"arguments\0");
    // SAFETY: the name is NUL-terminated.
    let fd = unsafe { call(nr::MEMFD_CREATE, [name.ptr(), MFD_CLOEXEC, 0, 0, 0, 0]) }? as i32;
    for part in parts {
        sys::write_all(fd, part)?;
    }
    Ok(fd)
}

/// Numbers that are asked for at once.
const USUAL: usize = 256;

/// Every open descriptor: all survived exec, so all are inherited. `poll` tells which of the usual numbers are open, and the
/// size of /proc/self/fd (since Linux 6.2) whether that is all; otherwise the directory is read.
fn descriptors(rights: &mut Rights, numbers: &mut [u8; 4 * MAX_INHERITED]) -> Result<usize, i32> {
    const POLLNVAL: i16 = 0x20;
    let mut fds = [PollFd { fd: 0, events: 0, revents: 0 }; USUAL];
    for (number, slot) in fds.iter_mut().enumerate() {
        slot.fd = number as i32;
    }
    let mut count = 0;
    if sys::poll(&mut fds, 0).is_ok() {
        for slot in fds.iter().filter(|slot| slot.revents & POLLNVAL == 0) {
            note(slot.fd, rights, numbers, &mut count)?;
        }
        let all = sys::fstatat(AT_FDCWD, CStr::lit(b"/proc/self/fd\0"), 0);
        if all.is_ok_and(|st| st.size == count as i64) {
            return Ok(count);
        }
    }
    *rights = Rights::none();
    listed(rights, numbers)
}

fn note(
    fd: i32,
    rights: &mut Rights,
    numbers: &mut [u8; 4 * MAX_INHERITED],
    count: &mut usize,
) -> Result<(), i32> {
    let slot = numbers.get_mut(4 * *count..4 * *count + 4).ok_or(k::EMFILE)?;
    slot.copy_from_slice(&fd.to_le_bytes());
    rights.add(fd);
    *count += 1;
    Ok(())
}

fn listed(rights: &mut Rights, numbers: &mut [u8; 4 * MAX_INHERITED]) -> Result<usize, i32> {
    let flags = sys::O_RDONLY | sys::O_DIRECTORY;
    let directory = sys::openat(AT_FDCWD, CStr::lit(b"/proc/self/fd\0"), flags, 0)?;
    let mut count = 0;
    let mut batch = [0u8; 4096];
    loop {
        let n = sys::getdents(directory, &mut batch)?;
        if n == 0 {
            break;
        }
        let mut rest = &batch[..n];
        // struct linux_dirent64: u64 ino, i64 off, u16 reclen, u8 type, name[].
        while rest.len() > 19 {
            let len = usize::from(u16::from_le_bytes([rest[16], rest[17]])).clamp(20, rest.len());
            let name = &rest[19..len];
            rest = &rest[len..];
            let digits = name.iter().position(|b| *b == 0).unwrap_or(name.len());
            let number = name[..digits].iter().try_fold(0i32, |n, b| {
                b.is_ascii_digit().then(|| n.wrapping_mul(10) + i32::from(*b - b'0'))
            });
            if let Some(fd) = number.filter(|fd| *fd != directory) {
                note(fd, rights, numbers, &mut count)?;
            }
        }
    }
    sys::close(directory);
    Ok(count)
}
