//! The oracle: runs the reference for callers in the room, without ever giving them its bytes.
//!
//! One *broker* per room: forked before the room's pid namespace exists, so that nobody in the room can see or signal it; with
//! a mount namespace of its own, in which the reference lies under the stub. It accepts connections of stubs and forks one
//! *session* per request; the session takes the descriptors, starts the reference in the room's pid namespace, passes its
//! output on, and reports what happened to the host.

use crate::spawn::ChildConf;

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

/// Opens the socket that stubs connect to.
pub fn listen() -> Result<i32, i32> {
    Err(crate::sys::EPROTO)
}

/// Serves until the host closes its end.
pub fn serve(_conf: &Conf<'_>) -> ! {
    crate::sys::exit(0)
}
