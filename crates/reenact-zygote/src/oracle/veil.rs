//! Private libraries of the reference can be read while it loads, and not any more before its first own instruction.
//!
//! A dynamic reference cannot start without reading its libraries, and what it may read it may also print
//! (`jq -Rs . /usr/lib/…/libjq.so.1`). So where its libraries belong there is nothing but empty, unreadable files. Each session has a
//! mount namespace of its own in which the libraries are bound over those; the reference is started under our own tracing: it
//! stops when it has been executed, runs to its entry point, by which time the loader has mapped everything, and stops again;
//! then the binds are taken away, and it is let go. What is mapped stays mapped.
//!
//! The other way round, with covers over readable files, would not do: when a mount namespace dies, its mounts are disconnected
//! from each other, and whoever still holds a directory in it sees what lay under a cover.

use super::kernel as k;
use crate::sys::{self, CStr, EPROTO, Res, call, nr};

/// Where the libraries themselves are, by number: a directory that only root may enter. The host's plan makes it.
const LIBRARIES: &[u8] = b"/run/.v/";
/// The stub, beside where it is mounted. The host's plan puts it there.
const STUB: CStr<'static> = CStr::lit(b"/run/.o/executable\0");
const PTRACE: usize = 101;
const WAITID: usize = 247;
const SIGTRAP: usize = 5;

mod request {
    pub const TRACE_ME: usize = 0;
    pub const PEEK: usize = 2;
    pub const POKE: usize = 5;
    pub const CONT: usize = 7;
    pub const GET_REGS: usize = 12;
    pub const SET_REGS: usize = 13;
    pub const DETACH: usize = 17;
    pub const SET_SIGMASK: usize = 0x420b;
}

/// `struct user_regs_struct` (x86_64): rip and rsp by index.
type Registers = [u64; 27];
const RIP: usize = 16;
const RSP: usize = 19;

/// The tracer's view of a child that is stopped.
struct Traced {
    pid: i32,
    cookie: usize,
}

/// In the child, *before* it drops its rights: be traced by the session. The kernel remembers these rights as the tracer's, and
/// without CAP_SYS_PTRACE among them the memory of what executes an unreadable file cannot be written to.
pub fn be_traced(cookie: usize) -> Res {
    // SAFETY: plain numbers; the cookie lets the call through our filter.
    unsafe { call(PTRACE, [request::TRACE_ME, 0, 0, 0, 0, cookie]) }
}

/// The caller's signal mask without the trap that stops the child when it has executed.
pub fn unblocked(mask: u64) -> u64 {
    mask & !(1 << (SIGTRAP - 1))
}

/// In the session, after the child was started with [`be_traced`]: lets it load, takes away what was shown of `hidden`
/// ([`own_mounts`]), restores the caller's signal mask, and lets it go. Ok as well if it ended before its entry point (a
/// library is missing): its status is left to be reaped.
///
/// # Errors
/// An errno; the reference must then be killed, since it may see what it should not print.
pub fn load_then_hide(pid: i32, hidden: &[u8], blocked: u64, cookie: usize) -> Result<(), i32> {
    let child = Traced { pid, cookie };
    if !child.stopped()? {
        return Ok(());
    }
    let entry = child.entry_point()?;
    let word = child.peek(entry)?;
    child.poke(entry, word & !0xff | 0xcc)?; // int3
    let mut signal = 0;
    loop {
        child.ask(request::CONT, 0, signal)?;
        let Some(stop) = child.wait_for_stop()? else { return Ok(()) };
        let mut registers = child.registers()?;
        if stop == SIGTRAP && registers[RIP] == entry + 1 {
            hide(hidden, cookie)?;
            child.poke(entry, word)?;
            registers[RIP] = entry;
            child.ask(request::SET_REGS, 0, registers.as_ptr() as usize)?;
            child.ask(request::SET_SIGMASK, 8, &raw const blocked as usize)?;
            child.ask(request::DETACH, 0, 0)?;
            return Ok(());
        }
        // A signal of somebody's: it takes its course.
        signal = stop;
    }
}

fn hide(hidden: &[u8], cookie: usize) -> Result<(), i32> {
    const MNT_DETACH: usize = 2;
    for path in hidden.split_inclusive(|b| *b == 0) {
        let path = CStr::new(path).ok_or(EPROTO)?;
        crate::setup::umount(path, MNT_DETACH, cookie)?;
    }
    Ok(())
}

/// Binds each library over its placeholder.
fn show(hidden: &[u8], cookie: usize) -> Result<(), i32> {
    const MS_BIND: usize = 4096;
    let none = CStr::lit(b"\0");
    for (i, path) in (0..).zip(hidden.split_inclusive(|b| *b == 0)) {
        let path = CStr::new(path).ok_or(EPROTO)?;
        let mut library = k::Path::new(LIBRARIES);
        library.number(i);
        crate::setup::mount(library.c(), path, none, MS_BIND, none, cookie)?;
    }
    Ok(())
}

impl Traced {
    fn ask(&self, what: usize, address: usize, data: usize) -> Res {
        // SAFETY: each request gets what it expects: numbers, or a buffer of ours that it reads or fills.
        unsafe { call(PTRACE, [what, self.pid as usize, address, data, 0, self.cookie]) }
    }

    /// The word at an address of the child's.
    fn peek(&self, at: u64) -> Result<u64, i32> {
        let mut word = 0u64;
        // The raw call writes the word through its last argument (ptrace(2), "C library/kernel differences").
        self.ask(request::PEEK, at as usize, &raw mut word as usize)?;
        Ok(word)
    }

    fn poke(&self, at: u64, word: u64) -> Result<(), i32> {
        self.ask(request::POKE, at as usize, word as usize).map(|_| ())
    }

    fn registers(&self) -> Result<Registers, i32> {
        let mut registers: Registers = [0; 27];
        self.ask(request::GET_REGS, 0, registers.as_mut_ptr() as usize)?;
        Ok(registers)
    }

    /// Waits for its first stop; false if it ended instead.
    fn stopped(&self) -> Result<bool, i32> {
        Ok(self.wait_for_stop()?.is_some())
    }

    /// Waits until it stops, and gives the signal; `None` if it ended (its status stays to be reaped).
    fn wait_for_stop(&self) -> Result<Option<usize>, i32> {
        const P_PID: usize = 1;
        const WSTOPPED_EXITED_NOWAIT: usize = 2 | 4 | 0x0100_0000;
        const CLD_STOPPED_OR_TRAPPED: [i32; 2] = [5, 4];
        let mut info = [0i32; 32];
        loop {
            // SAFETY: a siginfo of the kernel's size.
            let waited = unsafe {
                call(
                    WAITID,
                    [
                        P_PID,
                        self.pid as usize,
                        info.as_mut_ptr() as usize,
                        WSTOPPED_EXITED_NOWAIT,
                        0,
                        0,
                    ],
                )
            };
            match waited {
                Ok(_) => break,
                Err(sys::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        // siginfo_t: signo, errno, code; for SIGCHLD then pid, uid, status.
        if !CLD_STOPPED_OR_TRAPPED.contains(&info[2]) {
            return Ok(None);
        }
        match sys::wait4(self.pid, sys::WALL | 2)? {
            Some((_, status, _)) if status & 0xff == 0x7f => {
                Ok(Some(((status >> 8) & 0xff) as usize))
            }
            // Killed in between.
            _ => Err(EPROTO),
        }
    }

    /// AT_ENTRY of its auxiliary vector, which lies on its stack above the environment (System V ABI, AMD64 supplement,
    /// "Process Initialization").
    fn entry_point(&self) -> Result<u64, i32> {
        const AT_NULL: u64 = 0;
        const AT_ENTRY: u64 = 9;
        let stack = self.registers()?[RSP];
        let count = self.peek(stack)?;
        let mut at = stack + 8 * (count + 2);
        while self.peek(at)? != 0 {
            at += 8;
        }
        at += 8;
        loop {
            match self.peek(at)? {
                AT_NULL => return Err(EPROTO),
                AT_ENTRY => return self.peek(at + 8),
                _ => at += 16,
            }
        }
    }
}

/// A mount namespace of the session's own, and the reference as it is mounted there. Executed by a descriptor of *another*
/// namespace's mount, a file's capability would not count (`mnt_may_suid` in the kernel: foreign mounts are `nosuid`), the kernel
/// would not set AT_SECURE, and the loader would take orders when the reference executes itself again. So wherever a
/// reference is to run in secure-execution mode in a namespace of its own, it is opened in that namespace: the stub is lifted,
/// and put back. And `hidden` (NUL-terminated paths, one after the other) is shown there. Done ahead of any request.
pub fn own_mounts(hidden: &[u8], cookie: usize) -> Result<i32, i32> {
    const CLONE_NEWNS: usize = 0x0002_0000;
    const MNT_DETACH: usize = 2;
    const O_PATH: usize = 0o10000000;
    const MS_BIND: usize = 4096;
    const MS_REMOUNT_BIND_RDONLY_NOSUID_NODEV: usize = 32 | 4096 | 1 | 2 | 4;
    let none = CStr::lit(b"\0");
    let path = CStr::lit(b"/workspace/executable\0");
    // SAFETY: plain numbers; the cookie lets the call through our filter.
    unsafe { call(nr::UNSHARE, [CLONE_NEWNS, 0, 0, 0, 0, cookie]) }?;
    crate::setup::umount(path, MNT_DETACH, cookie)?;
    let reference = sys::openat(sys::AT_FDCWD, path, O_PATH, 0)?;
    crate::setup::mount(STUB, path, none, MS_BIND, none, cookie)?;
    crate::setup::mount(none, path, none, MS_REMOUNT_BIND_RDONLY_NOSUID_NODEV, none, cookie)?;
    show(hidden, cookie)?;
    Ok(reference)
}
