//! Terminals: the zygote opens the pair and hands the master to the host, which types, reads and draws the screen. Also
//! what the zygote reads of `/proc`.

use crate::buf::Buf;
use crate::list::Dirents;
use crate::proto::{RunRequest, Sink, op, re, split_frame};
use crate::setup::State;
use crate::sys::{self, AT_FDCWD, CStr, call, nr};

/// The slave's descriptor.
pub struct Slave(pub i32);

/// The socket, and what was read from it but not yet used.
pub struct Input<'a> {
    pub socket: i32,
    pub pending: &'a mut Buf,
}

/// Opens a terminal, sends its master to the host, gives the slave.
pub fn open(request: &RunRequest<'_>, state: &State, input: &Input<'_>) -> Result<Slave, i32> {
    const TIOCSPTLCK: usize = 0x4004_5431;
    const TIOCGPTPEER: usize = 0x5441;
    const TIOCSWINSZ: usize = 0x5414;
    let flags = sys::O_RDWR | sys::O_NOCTTY;
    let master = sys::openat(AT_FDCWD, CStr::lit(b"/dev/ptmx\0"), flags, 0)?;
    let unlocked = 0i32;
    let size: [u16; 4] = [request.rows as u16, request.cols as u16, 0, 0];
    let (uid, gid) = state.child.ids();
    // SAFETY: each ioctl gets what it expects; buffers live through the calls.
    let slave = unsafe {
        call(nr::IOCTL, [master as usize, TIOCSPTLCK, &raw const unlocked as usize, 0, 0, 0])?;
        let slave =
            call(nr::IOCTL, [master as usize, TIOCGPTPEER, flags | sys::O_CLOEXEC, 0, 0, 0])?;
        call(nr::IOCTL, [slave, TIOCSWINSZ, size.as_ptr() as usize, 0, 0, 0])?;
        call(nr::FCHOWN, [slave, uid as usize, gid as usize, 0, 0, 0])?;
        slave as i32
    };
    send_descriptor(input.socket, master)?;
    sys::close(master);
    Ok(Slave(slave))
}

/// Sends one byte with a descriptor attached (`SCM_RIGHTS`).
fn send_descriptor(socket: i32, fd: i32) -> Result<(), i32> {
    #[repr(C)]
    struct Control {
        len: usize,
        level: i32,
        kind: i32,
        fd: i32,
        pad: i32,
    }
    #[repr(C)]
    struct Message {
        name: usize,
        name_len: u32,
        pad: u32,
        iov: usize,
        iov_len: usize,
        control: usize,
        control_len: usize,
        flags: i32,
    }
    const SOL_SOCKET: i32 = 1;
    const SCM_RIGHTS: i32 = 1;
    let byte = [re::TTY_MASTER];
    let iov: [usize; 2] = [byte.as_ptr() as usize, 1];
    let control = Control { len: 20, level: SOL_SOCKET, kind: SCM_RIGHTS, fd, pad: 0 };
    let message = Message {
        name: 0,
        name_len: 0,
        pad: 0,
        iov: iov.as_ptr() as usize,
        iov_len: 1,
        control: &raw const control as usize,
        control_len: size_of::<Control>(),
        flags: 0,
    };
    // SAFETY: the structures have the kernel's layout (x86_64) and live through the call.
    unsafe { call(nr::SENDMSG, [socket as usize, &raw const message as usize, 0, 0, 0, 0]) }
        .map(|_| ())
}

impl Input<'_> {
    /// Handles what the host asks during a tty run; true if it wants the run ended.
    pub fn stop_requested(&mut self) -> Result<bool, i32> {
        match sys::read(self.socket, &mut self.pending.room(4096)[..4096]) {
            Ok(0) => sys::exit(0),
            Ok(n) => self.pending.fill(n),
            Err(sys::EINTR | sys::EAGAIN) => return Ok(false),
            Err(e) => return Err(e),
        }
        loop {
            let (operation, used) = match split_frame(self.pending.bytes()) {
                Ok(Some((operation, _, used))) => (operation, used),
                Ok(None) => return Ok(false),
                Err(()) => return Err(sys::EPROTO),
            };
            self.pending.consume(used);
            match operation {
                op::TTY_STOP => return Ok(true),
                op::TTY_POLL => {
                    let mut reply = Buf::new(64);
                    reply.u32(2);
                    reply.u8(re::IDLE);
                    reply.u8(u8::from(everything_sleeps()));
                    sys::write_all(self.socket, reply.bytes())?;
                    reply.release();
                }
                _ => return Err(sys::EPROTO),
            }
        }
    }
}

/// Calls `f` with the numeric names in a directory; stops when it gives false.
fn each_number(dir: i32, names: &mut Buf, f: &mut dyn FnMut(CStr<'_>) -> bool) -> bool {
    loop {
        names.clear();
        let Ok(n) = sys::getdents(dir, &mut names.room(16 << 10)[..16 << 10]) else { return true };
        if n == 0 {
            return true;
        }
        names.fill(n);
        for entry in Dirents::new(names.bytes()) {
            if entry.name.bytes()[0].is_ascii_digit() && !f(entry.name) {
                return false;
            }
        }
    }
}

fn open_dir(at: i32, path: CStr<'_>) -> i32 {
    sys::openat(at, path, sys::O_RDONLY | sys::O_DIRECTORY, 0).unwrap_or(-1)
}

/// Reads a small file under a directory.
fn read_small(dir: i32, path: CStr<'_>, into: &mut [u8]) -> usize {
    let Ok(fd) = sys::openat(dir, path, sys::O_RDONLY, 0) else { return 0 };
    let n = sys::read(fd, into).unwrap_or(0);
    sys::close(fd);
    n
}

/// Whether every thread of every process but pid 1 sleeps (states S, I, T, t, Z, X of proc(5)).
fn everything_sleeps() -> bool {
    let proc = open_dir(AT_FDCWD, CStr::lit(b"/proc\0"));
    let (mut pids, mut tids) = (Buf::new(16 << 10), Buf::new(16 << 10));
    let asleep = each_number(proc, &mut pids, &mut |pid| {
        if pid.bytes() == b"1" {
            return true;
        }
        let process = open_dir(proc, pid);
        let tasks = open_dir(process, CStr::lit(b"task\0"));
        let quiet = each_number(tasks, &mut tids, &mut |tid| {
            let thread = open_dir(tasks, tid);
            let mut stat = [0u8; 512];
            let n = read_small(thread, CStr::lit(b"stat\0"), &mut stat);
            sys::close(thread);
            // The state follows the last ')' of the name.
            let state = stat[..n]
                .iter()
                .rposition(|b| *b == b')')
                .and_then(|at| stat[..n].get(at + 2))
                .copied();
            !matches!(state, Some(b'R' | b'D' | b'W'))
        });
        sys::close(tasks);
        sys::close(process);
        quiet
    });
    sys::close(proc);
    pids.release();
    tids.release();
    asleep
}

/// Resident bytes of every process but pid 1 (`/proc/PID/statm`, second field, pages).
pub fn resident_bytes(names: &mut Buf) -> u64 {
    let proc = open_dir(AT_FDCWD, CStr::lit(b"/proc\0"));
    let mut pages = 0u64;
    each_number(proc, names, &mut |pid| {
        if pid.bytes() != b"1" {
            let process = open_dir(proc, pid);
            let mut text = [0u8; 128];
            let n = read_small(process, CStr::lit(b"statm\0"), &mut text);
            sys::close(process);
            let mut fields = text[..n].split(|b| *b == b' ');
            pages += fields.nth(1).map_or(0, parse);
        }
        true
    });
    sys::close(proc);
    pages * 4096
}

fn parse(digits: &[u8]) -> u64 {
    digits.iter().filter(|b| b.is_ascii_digit()).fold(0, |n, b| n * 10 + u64::from(b - b'0'))
}
