//! The reference's standard descriptors: what they lead to, and the pipes between it and the caller's pipes and sockets, in
//! which outputs are counted and hashed as they pass.
//!
//! Nothing here ever waits in a write: a session that waits cannot pass a signal on. `splice` and `send` are told not to wait by
//! the call's own flag, because a description's O_NONBLOCK would be the caller's to see.

use super::kernel::{self as k, EPIPE};
use super::report::{Kind, OUTPUT_HEAD, Stream};
use super::sha256::Sha256;
use crate::buf::Buf;
use crate::sys::{self, EAGAIN, EINTR, POLLERR, POLLHUP, POLLIN, POLLOUT, PollFd, Stat};

/// Bytes handled at once: the size of a pipe.
pub const CHUNK: usize = 64 << 10;

/// What `st`, of the descriptor `fd`, leads to.
pub fn kind_of(st: &Stat) -> Kind {
    const NULL: u64 = 0x103; // major 1, minor 3
    match st.mode & 0o170000 {
        0o100000 => Kind::File,
        0o010000 => Kind::Pipe,
        0o140000 => Kind::Socket,
        0o020000 if st.rdev == NULL => Kind::Null,
        0o020000 if is_terminal(st) => Kind::Terminal,
        0o020000 | 0o060000 => Kind::Device,
        _ => Kind::Other,
    }
}

/// Whether a character device is a terminal: /dev/tty and /dev/console (major 5), virtual consoles (4), ptys (136 to 143).
pub fn is_terminal(st: &Stat) -> bool {
    let major = (st.rdev >> 8) & 0xfff;
    st.mode & 0o170000 == 0o020000 && matches!(major, 4 | 5 | 136..=143)
}

/// How one output reaches the caller.
pub struct Relay {
    /// Our end of the pipe that the reference writes to; -1: closed.
    from: i32,
    /// The caller's pipe or socket.
    to: i32,
    to_pipe: bool,
    /// Bytes at the head of `from` that are hashed and not yet moved (pipes), or read and not yet sent (sockets).
    ahead: usize,
    pending: Buf,
    sent: u64,
    sha: Sha256,
    head: [u8; OUTPUT_HEAD],
    head_len: usize,
}

/// A pipe of ours, in which bytes are looked at without being taken.
pub struct Mirror {
    read: i32,
    write: i32,
    bytes: Buf,
}

impl Mirror {
    pub fn open() -> Result<Self, i32> {
        let (read, write) = sys::pipe()?;
        Ok(Self { read, write, bytes: Buf::new(CHUNK) })
    }

    /// Looks at what is in the pipe `fd`; 0: nothing, and its writers are gone.
    pub fn look(&mut self, fd: i32) -> Result<&[u8], i32> {
        let n = k::tee(fd, self.write, CHUNK)?;
        self.bytes.clear();
        while self.bytes.len() < n {
            let want = n - self.bytes.len();
            match sys::read(self.read, &mut self.bytes.room(want)[..want]) {
                Ok(0) => break,
                Ok(got) => self.bytes.fill(got),
                Err(EINTR) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(self.bytes.bytes())
    }
}

impl Relay {
    /// A relay to `to` (owned from now on), and the end that the reference writes to.
    pub fn open(to: i32, to_pipe: bool) -> Result<(Self, i32), i32> {
        let (from, write) = sys::pipe()?;
        let relay = Self {
            from,
            to,
            to_pipe,
            ahead: 0,
            pending: Buf::new(1),
            sent: 0,
            sha: Sha256::new(),
            head: [0; OUTPUT_HEAD],
            head_len: 0,
        };
        Ok((relay, write))
    }

    /// The caller's descriptor.
    pub fn target(&self) -> i32 {
        self.to
    }

    pub fn is_open(&self) -> bool {
        self.from >= 0
    }

    /// Nobody reads any more, or there is nothing more: the reference's next write fails as it would have without us.
    pub fn close(&mut self) {
        sys::close(self.from);
        sys::close(self.to);
        self.from = -1;
        self.to = -1;
        self.pending.clear();
    }

    /// What to wait for: (our pipe, the caller's end). The caller's end is always watched for its reader going away.
    pub fn wants(&self) -> [PollFd; 2] {
        let (input, output) = if self.ahead > 0 { (0, POLLOUT) } else { (POLLIN, 0) };
        [
            // A pipe without writers would report a hang-up again and again while we wait for the reader.
            PollFd { fd: if input == 0 { -1 } else { self.from }, events: input, revents: 0 },
            PollFd { fd: self.to, events: output, revents: 0 },
        ]
    }

    /// Acts on what [`Relay::wants`] found.
    pub fn ready(&mut self, found: [PollFd; 2], mirror: &mut Mirror) {
        let gone = if self.to_pipe { POLLERR } else { POLLERR | POLLHUP };
        if found[1].revents & gone != 0 {
            self.close();
        } else if found[0].revents | found[1].revents != 0 {
            self.pump(mirror);
        }
    }

    /// Bytes that will have been passed on when everything that is in the pipe now has been.
    pub fn owed(&self) -> u64 {
        if !self.is_open() {
            return 0;
        }
        let in_hand = if self.to_pipe { 0 } else { self.ahead };
        self.sent + (in_hand + k::bytes_waiting(self.from)) as u64
    }

    pub fn has_sent(&self, owed: u64) -> bool {
        !self.is_open() || self.sent >= owed
    }

    /// Passes on what is there and fits.
    pub fn pump(&mut self, mirror: &mut Mirror) {
        // Bounded, so that a writer without end does not keep us from signals.
        for _ in 0..16 {
            if !self.is_open() {
                return;
            }
            let moved =
                if self.to_pipe { self.through_pipe(mirror) } else { self.pass_to_socket() };
            match moved {
                Ok(true) | Err(EINTR) => {}
                Ok(false) => return self.close(),
                Err(EAGAIN) => return,
                Err(_) => return self.close(),
            }
        }
    }

    /// One round; false at the end. EAGAIN: wait.
    fn through_pipe(&mut self, mirror: &mut Mirror) -> Result<bool, i32> {
        if self.ahead == 0 {
            let seen = mirror.look(self.from)?;
            if seen.is_empty() {
                return Ok(false);
            }
            self.ahead = seen.len();
            take_in(&mut self.sha, &mut self.head, &mut self.head_len, seen);
        }
        let moved = k::splice(self.from, self.to, self.ahead)?;
        self.ahead -= moved.min(self.ahead);
        self.sent += moved as u64;
        if moved > 0 { Ok(true) } else { Err(EPIPE) }
    }

    fn pass_to_socket(&mut self) -> Result<bool, i32> {
        if self.ahead == 0 {
            self.pending.clear();
            // The pipe is ours: it may be read only when something is there, else reading would wait.
            let mut there = [PollFd { fd: self.from, events: POLLIN, revents: 0 }];
            if sys::poll(&mut there, 0)? == 0 {
                return Err(EAGAIN);
            }
            let n = sys::read(self.from, &mut self.pending.room(CHUNK)[..CHUNK])?;
            if n == 0 {
                return Ok(false);
            }
            self.pending.fill(n);
            self.ahead = n;
            let seen = self.pending.bytes();
            take_in(&mut self.sha, &mut self.head, &mut self.head_len, seen);
        }
        let n = k::send_some(self.to, self.pending.bytes())?;
        self.pending.consume(n);
        self.ahead -= n;
        self.sent += n as u64;
        Ok(true)
    }

    /// What has passed. `complete`: the reference's last writer is gone, too.
    pub fn seen(&self, kind: Kind) -> Stream<'_> {
        Stream {
            kind,
            bytes: self.sha.len(),
            sha256: Some(self.sha.finish()),
            head: &self.head[..self.head_len],
            complete: !self.is_open(),
        }
    }
}

fn take_in(sha: &mut Sha256, head: &mut [u8; OUTPUT_HEAD], head_len: &mut usize, bytes: &[u8]) {
    sha.update(bytes);
    let n = bytes.len().min(OUTPUT_HEAD - *head_len);
    head[*head_len..*head_len + n].copy_from_slice(&bytes[..n]);
    *head_len += n;
}
