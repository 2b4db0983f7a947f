//! The oracle: runs the reference for callers in the room, without ever giving them its bytes.
//!
//! One *broker* per room: forked before the room's pid namespace exists, so that nobody in the room can see or signal it; with
//! a mount namespace of its own, in which the reference lies under the stub. It accepts connections of stubs and hands each
//! request to a *session*; the session takes the descriptors, starts the reference in the room's pid namespace, passes its
//! output on, and reports what happened to the host.

mod broker;
mod files;
mod follow;
mod input;
pub mod kernel;
pub mod proto;
mod pty;
mod record;
pub mod report;
mod request;
pub mod scrub;
mod session;
pub mod sha256;
mod start;
mod stdio;
mod streams;
#[cfg(test)]
mod tests;
mod veil;

use crate::spawn::ChildConf;
use crate::sys::{self, call, nr};
use kernel as k;

/// What the broker works with. All descriptors are open and close-on-exec.
pub struct Conf<'a> {
    /// SEQPACKET socket to the host: reports, one message each. Closed by the host: the broker and its sessions end.
    pub host: i32,
    /// From [`listen`].
    pub listener: i32,
    /// O_PATH descriptor of the executable.
    pub reference: i32,
    /// Descriptor of the room's pid namespace (`/proc/1/ns/pid`).
    pub pid_ns: i32,
    /// Ids and limits of the reference's processes.
    pub child: &'a ChildConf,
    /// Sixth argument that lets `mount`, `umount2`, `setns`, `unshare` and `ptrace` through the filter.
    pub cookie: usize,
    /// Terminal callers get a pty of their own (job control).
    pub own_terminal: bool,
    /// The reference's private libraries, to be seen while it loads: NUL-terminated paths one after the other.
    pub hidden: &'a [u8],
}

/// Connections that may wait to be accepted; beyond that, callers wait in `connect`.
const BACKLOG: usize = 1024;

/// Opens the socket that stubs connect to.
///
/// # Errors
/// An errno; EPERM where the kernel would let the reference be traced (`fs.suid_dumpable` is 1).
pub fn listen() -> Result<i32, i32> {
    const O_NONBLOCK: usize = sys::O_NONBLOCK;
    if is_dumpable_after_change()? {
        return Err(k::EPERM);
    }
    let fd = k::socket()?;
    let (address, len) = k::address();
    // SAFETY: an address and its length; plain numbers. F_SETFL is 4.
    unsafe {
        call(k::nr::BIND, [fd as usize, address.as_ptr() as usize, len, 0, 0, 0])?;
        call(k::nr::LISTEN, [fd as usize, BACKLOG, 0, 0, 0, 0])?;
    }
    k::fcntl(fd, 4, O_NONBLOCK)?;
    Ok(fd)
}

/// Whether a process that changed ids, or executes what it may not read, may be traced by its user: `fs.suid_dumpable` is 1. The
/// seal rests on its not being so. Found out by doing it, since /proc/sys need not be there; in a child, since changing ids
/// costs the broker its PR_SET_PDEATHSIG.
fn is_dumpable_after_change() -> Result<bool, i32> {
    const PR_GET_DUMPABLE: usize = 3;
    const NOBODY: usize = 65_534;
    // SAFETY: a plain fork; plain numbers. SETFSUID gives the old id and never an error: where there is no other id, nothing
    // changes, and nobody in the room changes ids either.
    unsafe {
        let pid = call(nr::CLONE, [sys::SIGCHLD, 0, 0, 0, 0, 0])?;
        if pid == 0 {
            let _old = call(nr::SETFSUID, [NOBODY, 0, 0, 0, 0, 0]);
            let dumpable = call(nr::PRCTL, [PR_GET_DUMPABLE, 0, 0, 0, 0, 0]);
            sys::exit(i32::from(dumpable == Ok(1)));
        }
        match sys::wait4(pid as i32, sys::WALL)? {
            Some((_, status, _)) => Ok(status != 0),
            None => Err(sys::EPROTO),
        }
    }
}

/// Serves until the host closes its end.
pub fn serve(conf: &Conf<'_>) -> ! {
    broker::serve(conf)
}
