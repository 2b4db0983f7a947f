//! Between the caller's terminal and the one that the reference was given: keys one way, output the other, untouched.

use crate::kernel::{self as k, nr};
use crate::sys::{self, EAGAIN, EINTR, POLLERR, POLLHUP, POLLIN, POLLOUT, PollFd};

const TCGETS: usize = 0x5401;
const TCSETSW: usize = 0x5403;
const TIOCGPGRP: usize = 0x540f;
const TIOCGWINSZ: usize = 0x5413;
const TIOCSWINSZ: usize = 0x5414;
/// How long output may take from the reference's end to us after its exit, milliseconds. Mostly the terminal closes, which says
/// that there is no more; this is for those that left something behind on it.
const LAST_MS: i32 = 50;

/// `struct termios` of the kernel: four words of flags, a byte, control characters.
#[repr(C)]
#[derive(Clone, Copy)]
struct Termios {
    input: u32,
    output: u32,
    control: u32,
    local: u32,
    line: u8,
    characters: [u8; 19],
    /// Newer kernels write two more words.
    more: [u32; 4],
}

impl Termios {
    /// As `cfmakeraw(3)` does.
    fn raw(mut self) -> Self {
        const INPUT: u32 = 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x80 | 0x100 | 0x400;
        const LOCAL: u32 = 0x1 | 0x2 | 0x8 | 0x40 | 0x8000;
        const SIZE_AND_PARITY: u32 = 0x30 | 0x100;
        const EIGHT_BITS: u32 = 0x30;
        const VTIME: usize = 5;
        const VMIN: usize = 6;
        self.input &= !INPUT;
        self.output &= !1;
        self.local &= !LOCAL;
        self.control = self.control & !SIZE_AND_PARITY | EIGHT_BITS;
        self.characters[VTIME] = 0;
        self.characters[VMIN] = 1;
        self
    }
}

/// The two terminals, once there are two.
pub struct Proxy {
    terminal: i32,
    master: i32,
    saved: Termios,
    raw: bool,
    /// Keys that the reference's terminal had no room for.
    pending: [u8; 4096],
    pending_len: usize,
}

impl Proxy {
    pub fn none(terminal: i32) -> Self {
        let saved = Termios {
            input: 0,
            output: 0,
            control: 0,
            local: 0,
            line: 0,
            characters: [0; 19],
            more: [0; 4],
        };
        Self { terminal, master: -1, saved, raw: false, pending: [0; 4096], pending_len: 0 }
    }

    pub fn is_active(&self) -> bool {
        self.master >= 0
    }

    pub fn begin(&mut self, master: i32) {
        const F_SETFL: usize = 4;
        self.master = master;
        // Only we read it, so that not waiting is ours to decide.
        let _set = k::fcntl(master, F_SETFL, sys::O_NONBLOCK);
        // SAFETY: the structure is at least as large as what the kernel writes.
        let _got = unsafe { k::ioctl(self.terminal, TCGETS, &mut self.saved) };
        self.go_raw();
    }

    /// Takes the caller's terminal over, if it is ours to take: in the background it is not.
    fn go_raw(&mut self) {
        let mut foreground = 0u32;
        // SAFETY: TIOCGPGRP writes an int; TCSETSW reads a `struct termios`.
        unsafe {
            let known = k::ioctl(self.terminal, TIOCGPGRP, &mut foreground).is_ok();
            if known && foreground == k::number(nr::GETPGRP) {
                let mut raw = self.saved.raw();
                self.raw = k::ioctl(self.terminal, TCSETSW, &mut raw).is_ok();
            }
        }
    }

    /// Gives the caller's terminal back.
    pub fn restore(&mut self) {
        if self.raw {
            // SAFETY: TCSETSW reads a `struct termios`. A terminal that is gone needs no restoring.
            let _restored = unsafe { k::ioctl(self.terminal, TCSETSW, &mut self.saved) };
            self.raw = false;
        }
    }

    /// After a stop: to the foreground again, or not.
    pub fn resume(&mut self) {
        self.go_raw();
        self.resize();
    }

    pub fn resize(&mut self) {
        let mut size = [0u16; 4];
        // SAFETY: `struct winsize` is four shorts.
        unsafe {
            if k::ioctl(self.terminal, TIOCGWINSZ, &mut size).is_ok() {
                let _set = k::ioctl(self.master, TIOCSWINSZ, &mut size);
            }
        }
    }

    /// What to wait for: the reference's terminal, the caller's.
    pub fn wants(&self) -> [PollFd; 2] {
        let (full, keys) = (self.pending_len > 0, self.is_active() && self.raw);
        [
            PollFd {
                fd: self.master,
                events: if full { POLLIN | POLLOUT } else { POLLIN },
                revents: 0,
            },
            PollFd {
                fd: if keys && !full { self.terminal } else { -1 },
                events: POLLIN,
                revents: 0,
            },
        ]
    }

    pub fn ready(&mut self, output: PollFd, input: PollFd) {
        if output.revents & (POLLIN | POLLHUP | POLLERR) != 0 && !self.pass_what_is_there() {
            // Its last user is gone; what ended it comes over the socket.
            sys::close(self.master);
            self.master = -1;
        }
        if input.revents & POLLIN != 0 {
            match sys::read(self.terminal, &mut self.pending) {
                Ok(0) | Err(_) => self.raw = false,
                Ok(n) => self.pending_len = n,
            }
        } else if input.revents != 0 {
            self.raw = false; // hung up: there is nothing to read or to restore
        }
        if self.pending_len > 0 && self.is_active() {
            self.type_pending();
        }
    }

    fn type_pending(&mut self) {
        match sys::write(self.master, &self.pending[..self.pending_len]) {
            Ok(n) => {
                self.pending.copy_within(n..self.pending_len, 0);
                self.pending_len -= n;
            }
            Err(EAGAIN | EINTR) => {}
            Err(_) => self.pending_len = 0,
        }
    }

    /// Passes output on; false if there will be no more.
    pub fn pass_what_is_there(&mut self) -> bool {
        let mut bytes = [0u8; 4096];
        while self.is_active() {
            match sys::read(self.master, &mut bytes) {
                Ok(0) => return false,
                Ok(n) => {
                    // A caller's terminal that is gone takes nothing, and nobody misses it.
                    let _shown = sys::write_all(self.terminal, &bytes[..n]);
                }
                Err(EINTR) => {}
                Err(EAGAIN) => return true,
                Err(_) => return false,
            }
        }
        true
    }

    /// After the reference's end: its last output, then the terminal as it was.
    pub fn finish(&mut self) {
        while self.is_active() {
            let mut more = [PollFd { fd: self.master, events: POLLIN, revents: 0 }];
            match sys::poll(&mut more, LAST_MS) {
                Ok(0) => break,
                _ if self.pass_what_is_there() => {}
                _ => break,
            }
        }
        self.restore();
    }
}
