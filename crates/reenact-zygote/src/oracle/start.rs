//! Starting the reference: `clone(VM|VFORK)` into the room's pid namespace, the caller's circumstances, exec. Between clone and
//! exec the child shares the session's memory: raw calls on prepared data only.

use super::Conf;
use super::kernel::{self as k, nr};
use super::proto::{Head, LIMITS};
use super::veil;
use crate::spawn::{ChildStack, clone};
use crate::sys::{self, CStr, Res, call};

const CLONE_VM: usize = 0x100;
const CLONE_VFORK: usize = 0x4000;

/// Where the reference starts.
#[derive(Clone, Copy)]
pub enum Cwd<'a> {
    Path(CStr<'a>),
    /// A directory that has no path (any more).
    Dir(i32),
}

/// Everything the child needs.
pub struct Start<'a> {
    pub conf: &'a Conf<'a>,
    pub reference: i32,
    pub head: &'a Head<'a>,
    /// In the order of the head's numbers.
    pub fds: &'a [i32],
    /// A terminal of the reference's own, whose session we lead, to be in the foreground of; -1: none.
    pub own_terminal: i32,
    pub cwd: Cwd<'a>,
    /// NULL-terminated arrays of pointers to NUL-terminated strings.
    pub argv: usize,
    pub env: usize,
    /// Set by the child if it could not exec.
    pub errno: i32,
}

/// Starts the reference; returns when it has exec'd. The errno is what kept it from that.
pub fn start(start: &mut Start<'_>, stack: &mut ChildStack) -> Result<i32, i32> {
    let mut unused = -1i32;
    let flags = CLONE_VM | CLONE_VFORK | sys::SIGCHLD;
    let arg = core::ptr::from_mut(start) as usize;
    let pid = clone(flags, stack.top(), &mut unused, in_child, arg)?;
    // SAFETY: the child wrote through the pointer, and has let go of our memory.
    match unsafe { (&raw const start.errno).read_volatile() } {
        0 => Ok(pid),
        errno => {
            // It exits by itself; there is nothing to learn from how.
            let _reaped = sys::wait4(pid, sys::WALL);
            Err(errno)
        }
    }
}

extern "C" fn in_child(arg: usize) -> ! {
    // SAFETY: `arg` is the `Start` that the suspended parent keeps.
    let start = unsafe { &mut *(arg as *mut Start<'_>) };
    let errno = prepare_and_exec(start).err().unwrap_or(sys::EPROTO);
    start.errno = errno;
    sys::exit(127)
}

/// Returns only on failure.
fn prepare_and_exec(start: &Start<'_>) -> Res {
    // The session's rights in the file system are the caller's (`session::take_rights`), and so are the child's from the start.
    // SAFETY: plain numbers, and a NUL-terminated path.
    unsafe {
        call(sys::nr::SETPGID, [0; 6])?;
        match start.cwd {
            Cwd::Path(path) => call(sys::nr::CHDIR, [path.ptr(), 0, 0, 0, 0, 0])?,
            Cwd::Dir(fd) => call(nr::FCHDIR, [fd as usize, 0, 0, 0, 0, 0])?,
        };
    }
    if start.own_terminal >= 0 {
        const TIOCSPGRP: usize = 0x5410;
        let mut own = k::number(nr::GETPID);
        // Every signal is blocked, SIGTTOU too, so that this is allowed from the background.
        // SAFETY: TIOCSPGRP reads an int.
        unsafe { k::ioctl(start.own_terminal, TIOCSPGRP, &mut own) }?;
    }
    let reference = place_descriptors(start)?;
    limits(start)?;
    circumstances(start.head);
    // SAFETY: raw calls on plain numbers; strings and arrays were prepared by the parent.
    unsafe {
        let mut blocked = start.head.blocked;
        if !start.conf.hidden.is_empty() {
            super::session::raise_trace()?;
            veil::be_traced(start.conf.cookie)?;
            blocked = veil::unblocked(blocked);
        }
        start.conf.child.drop_rights()?;
        k::set_mask(blocked);
        let nothing = CStr::lit(b"\0").ptr();
        call(
            nr::EXECVEAT,
            [reference as usize, nothing, start.argv, start.env, sys::AT_EMPTY_PATH, 0],
        )
    }
}

/// Puts the received descriptors at their numbers. Everything else is close-on-exec. Gives the reference's descriptor, which
/// may have had to move.
fn place_descriptors(start: &Start<'_>) -> Result<i32, i32> {
    let highest = start.head.inherited().last().map_or(0, |n| n as i32);
    let mut moved = [-1i32; super::proto::MAX_INHERITED];
    let out_of_the_way = |fd: i32| {
        if fd > highest { Ok(fd) } else { k::dup_above(fd, highest as usize + 1) }
    };
    for ((to, from), number) in moved.iter_mut().zip(start.fds).zip(start.head.inherited()) {
        *to = if *from == number as i32 { *from } else { out_of_the_way(*from)? };
    }
    let reference = out_of_the_way(start.reference)?;
    for (from, number) in moved.iter().zip(start.head.inherited()) {
        k::dup_onto(*from, number as i32)?;
    }
    Ok(reference)
}

/// The room's limits, and within them the caller's own.
fn limits(start: &Start<'_>) -> Res {
    const RLIMIT_CORE: u32 = 4;
    // SAFETY: raw calls only.
    unsafe { start.conf.child.limit() }?;
    for (resource, (soft, hard)) in LIMITS.iter().zip(start.head.limits) {
        let (now, most) = k::limit(*resource);
        let (soft, hard) = (soft.min(most), hard.min(most));
        if (soft, hard) != (now, most) {
            k::set_limit(*resource, soft.min(hard), hard)?;
        }
    }
    k::set_limit(RLIMIT_CORE, 0, 0)
}

fn circumstances(head: &Head<'_>) {
    const ADDR_NO_RANDOMIZE: u32 = 0x0040000;
    for signal in 1..=64usize {
        if head.ignored & (1 << (signal - 1)) != 0 {
            k::handle(signal, k::SIG_IGN);
        }
    }
    // SAFETY: plain numbers. None of these can be refused: niceness only rises, and the flag is any process's to set.
    unsafe {
        let _masked = call(sys::nr::UMASK, [head.umask as usize, 0, 0, 0, 0, 0]);
        if head.nice > 0 {
            let _nicer = call(nr::SETPRIORITY, [0, 0, head.nice.min(19) as usize, 0, 0, 0]);
        }
        if head.personality & ADDR_NO_RANDOMIZE != 0 {
            let _set = call(sys::nr::PERSONALITY, [ADDR_NO_RANDOMIZE as usize, 0, 0, 0, 0, 0]);
        }
    }
}
