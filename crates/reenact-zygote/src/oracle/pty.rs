//! A terminal of the reference's own, for programs that do job control: the session leads a new terminal session, the reference
//! is its foreground job, and the stub passes keys and output between this terminal and the caller's.

use super::kernel::{self as k, Rights};
use super::proto::{Head, Packet};
use super::streams::is_terminal;
use crate::sys::{self, AT_FDCWD, CStr, call, nr};

const TCGETS: usize = 0x5401;
const TCSETS: usize = 0x5402;
const TIOCSCTTY: usize = 0x540e;
const TIOCGWINSZ: usize = 0x5413;
const TIOCSWINSZ: usize = 0x5414;
const TIOCSPTLCK: usize = 0x4004_5431;
const TIOCGPTPEER: usize = 0x5441;

/// `struct termios` of the kernel, large enough for its newer form.
type Termios = [u32; 16];

/// Whether an inherited descriptor is a terminal.
fn leads_to_terminal(fd: i32) -> bool {
    sys::fstat(fd).is_ok_and(|st| is_terminal(&st))
}

/// Opens a terminal like the caller's and puts it in place of the caller's among the descriptors; its master goes to the stub.
/// `None` if no descriptor is a terminal: then the caller's own, at /dev/tty, is as good.
pub fn open(
    caller: i32,
    connection: i32,
    head: &Head<'_>,
    rights: &mut Rights,
) -> Result<Option<i32>, i32> {
    let count = head.inherited_count();
    if !rights.fds()[..count].iter().any(|fd| leads_to_terminal(*fd)) {
        return Ok(None);
    }
    let flags = sys::O_RDWR | sys::O_NOCTTY;
    let master = sys::openat(AT_FDCWD, CStr::lit(b"/dev/ptmx\0"), flags, 0)?;
    let made = slave_of(master, caller).and_then(|slave| {
        lead(slave)?;
        let mut with = Rights::none();
        with.add(master);
        k::send(connection, &[&Packet::Terminal.encode()], &with, k::MSG_DONTWAIT)?;
        Ok(slave)
    });
    sys::close(master);
    let slave = made?;
    for place in 0..count {
        if leads_to_terminal(rights.fds()[place]) {
            let twin = k::dup_above(slave, 0)?;
            sys::close(rights.replace(place, twin));
        }
    }
    Ok(Some(slave))
}

/// The other end, with the caller's settings and size. It belongs to the user, since the master was opened with its rights.
fn slave_of(master: i32, caller: i32) -> Result<i32, i32> {
    let flags = sys::O_RDWR | sys::O_NOCTTY | sys::O_CLOEXEC;
    let mut unlocked = 0i32;
    let mut settings: Termios = [0; 16];
    let mut size = [0u16; 4];
    // SAFETY: each ioctl gets what it expects; TIOCGPTPEER takes flags.
    unsafe {
        k::ioctl(master, TIOCSPTLCK, &mut unlocked)?;
        let slave = call(nr::IOCTL, [master as usize, TIOCGPTPEER, flags, 0, 0, 0])? as i32;
        // What the caller's terminal does not tell stays at its default.
        if k::ioctl(caller, TCGETS, &mut settings).is_ok() {
            k::ioctl(slave, TCSETS, &mut settings)?;
        }
        if k::ioctl(caller, TIOCGWINSZ, &mut size).is_ok() {
            k::ioctl(master, TIOCSWINSZ, &mut size)?;
        }
        Ok(slave)
    }
}

/// Makes this process the leader of a session on the terminal.
fn lead(slave: i32) -> Result<(), i32> {
    // SAFETY: plain numbers.
    unsafe {
        call(nr::SETSID, [0; 6])?;
        call(nr::IOCTL, [slave as usize, TIOCSCTTY, 0, 0, 0, 0])?;
    }
    Ok(())
}
