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

use crate::spawn::ChildConf;
use crate::sys::call;
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
    /// Sixth argument that lets `mount`, `umount2`, `setns` and `unshare` through the filter.
    pub cookie: usize,
    /// Terminal callers get a pty of their own (job control).
    pub own_terminal: bool,
}

/// Connections that may wait to be accepted; beyond that, callers wait in `connect`.
const BACKLOG: usize = 1024;

/// Opens the socket that stubs connect to.
pub fn listen() -> Result<i32, i32> {
    const O_NONBLOCK: usize = crate::sys::O_NONBLOCK;
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

/// Serves until the host closes its end.
pub fn serve(conf: &Conf<'_>) -> ! {
    broker::serve(conf)
}
