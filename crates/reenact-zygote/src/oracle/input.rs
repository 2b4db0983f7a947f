//! Standard input. It goes to the reference directly, because a relay would take what is meant for others; so it is only looked
//! at: a pipe or socket before the start, without taking anything; a regular file afterwards, by how far its offset moved.

use super::kernel as k;
use super::report::{INPUT_HEAD, Kind, Stream};
use super::sha256::Sha256;
use super::streams::{CHUNK, Mirror};
use crate::buf::Buf;
use crate::sys::{self, POLLERR, POLLHUP, POLLIN, POLLRDHUP, PollFd, Res, call};

/// How long the writer of a pipe may take to finish before we look at what is there, milliseconds.
const PATIENCE_MS: i32 = 2;
/// Bytes of a regular file that are hashed at most.
const MAX_HASHED: u64 = 64 << 20;

/// What is known of standard input.
pub struct Input {
    kind: Kind,
    bytes: u64,
    sha256: Option<[u8; 32]>,
    head: Buf,
    complete: bool,
    /// A regular file: our duplicate of the description, and where it stood.
    file: i32,
    begun: u64,
}

impl Input {
    /// Looks before the start.
    pub fn look(fd: i32, kind: Kind, mirror: &mut Mirror) -> Self {
        let mut input = Self {
            kind,
            bytes: 0,
            sha256: None,
            head: Buf::new(1),
            complete: matches!(kind, Kind::Closed | Kind::Null),
            file: -1,
            begun: 0,
        };
        match kind {
            Kind::Pipe if k::is_readable(fd) => input.pipe(fd, mirror),
            Kind::Socket if k::is_unix_stream(fd) => input.socket(fd),
            Kind::File if k::is_readable(fd) => {
                // Kept over the run: the description is the reference's own, so its offset is what it read.
                input.begun = k::offset(fd).unwrap_or(0);
                input.file = k::dup_above(fd, 0).unwrap_or(-1);
            }
            _ => {}
        }
        input
    }

    fn take(&mut self, seen: &[u8], total: usize, ended: bool) {
        let mut sha = Sha256::new();
        sha.update(seen);
        self.bytes = seen.len() as u64;
        self.sha256 = Some(sha.finish());
        self.head.push(&seen[..seen.len().min(INPUT_HEAD)]);
        self.complete = ended && total <= seen.len();
    }

    fn pipe(&mut self, fd: i32, mirror: &mut Mirror) {
        let ended = k::bytes_waiting(fd) < CHUNK && wait_for(fd, 0) & POLLHUP != 0;
        let total = k::bytes_waiting(fd);
        match mirror.look(fd) {
            Ok(seen) => self.take(seen, total, ended),
            // Nothing there: known to be empty only if nobody can write.
            Err(_) => self.take(&[], 0, ended),
        }
    }

    fn socket(&mut self, fd: i32) {
        let ended = wait_for(fd, POLLRDHUP) & (POLLHUP | POLLRDHUP) != 0;
        let total = k::bytes_waiting(fd);
        let mut seen = Buf::new(CHUNK);
        if let Ok(n) = peek(fd, &mut seen.room(CHUNK)[..CHUNK]) {
            seen.fill(n);
        }
        self.take(seen.bytes(), total, ended);
        seen.release();
    }

    /// After the run: what was taken from a regular file.
    pub fn finish(&mut self) {
        let Some(now) = k::offset(self.file) else { return };
        self.bytes = now.saturating_sub(self.begun);
        let region = Region { fd: self.file, from: self.begun, to: now };
        self.sha256 = region.digest(Some((&mut self.head, INPUT_HEAD)));
        self.complete = self.sha256.is_some();
        sys::close(self.file);
        self.file = -1;
    }

    pub fn is_file(&self) -> bool {
        self.file >= 0
    }

    /// What is known after the end and was not before the start.
    pub fn seen_later(&self) -> Option<Stream<'_>> {
        (self.kind == Kind::File && self.sha256.is_some()).then(|| self.seen())
    }

    pub fn seen(&self) -> Stream<'_> {
        Stream {
            kind: self.kind,
            bytes: self.bytes,
            sha256: self.sha256,
            head: self.head.bytes(),
            complete: self.complete,
        }
    }
}

/// Waits a moment for a hang-up (and `events`); gives what was found.
fn wait_for(fd: i32, events: i16) -> i16 {
    let mut fds = [PollFd { fd, events, revents: 0 }];
    match sys::poll(&mut fds, PATIENCE_MS) {
        Ok(_) => fds[0].revents & (POLLHUP | POLLERR | events),
        Err(_) => 0,
    }
}

/// Copies what waits in a socket without taking it.
fn peek(fd: i32, into: &mut [u8]) -> Res {
    const RECVFROM: usize = 45;
    const MSG_PEEK: usize = 2;
    let mut there = [PollFd { fd, events: POLLIN, revents: 0 }];
    sys::poll(&mut there, 0)?;
    // SAFETY: the slice is valid for writes of its length; no address is asked for.
    unsafe {
        call(
            RECVFROM,
            [fd as usize, into.as_mut_ptr() as usize, into.len(), MSG_PEEK | k::MSG_DONTWAIT, 0, 0],
        )
    }
}

/// Bytes of a regular file.
pub struct Region {
    pub fd: i32,
    pub from: u64,
    pub to: u64,
}

impl Region {
    /// Digest of the bytes, and their head if asked for; `None` if there are too many, or they cannot be read (any more).
    pub fn digest(&self, mut head: Option<(&mut Buf, usize)>) -> Option<[u8; 32]> {
        let mut sha = Sha256::new();
        let mut buf = Buf::new(CHUNK);
        let end = self.to.min(self.from.saturating_add(MAX_HASHED));
        let mut at = self.from;
        while at < end {
            let want = (end - at).min(CHUNK as u64) as usize;
            let n = k::pread(self.fd, &mut buf.room(want)[..want], at).unwrap_or(0);
            if n == 0 {
                break;
            }
            buf.fill(n);
            sha.update(buf.bytes());
            if let Some((head, limit)) = &mut head {
                let room = limit.saturating_sub(head.len()).min(n);
                head.push(&buf.bytes()[..room]);
            }
            buf.clear();
            at += n as u64;
        }
        buf.release();
        (at >= self.to).then(|| sha.finish())
    }
}

/// Whether a regular file's bytes may be read for the record: not those of kernel interfaces, where reading has effects or
/// depends on who reads.
pub fn is_ordinary(fd: i32) -> bool {
    const PROC: i64 = 0x9fa0;
    const SYSFS: i64 = 0x6265_6572;
    const CGROUP: i64 = 0x0027_e0eb;
    const CGROUP2: i64 = 0x6367_7270;
    const DEBUGFS: i64 = 0x6462_6720;
    const TRACEFS: i64 = 0x7472_6163;
    sys::fstatfs(fd)
        .is_ok_and(|fs| !matches!(fs.kind, PROC | SYSFS | CGROUP | CGROUP2 | DEBUGFS | TRACEFS))
}

/// The caller's own file behind its descriptor `number`, opened for reading with its rights and no others. `st` is what the
/// descriptor was when it came; anything else by now is not opened.
pub fn reopen(pid: u32, number: u32, st: &sys::Stat) -> Option<i32> {
    let mut path = k::Path::new(b"/proc/");
    path.number(pid).add(b"/fd/").number(number);
    let flags = sys::O_RDONLY | sys::O_NONBLOCK | sys::O_NOCTTY;
    // A look at the file first: opening a device or a pipe could have effects.
    let before = sys::fstatat(sys::AT_FDCWD, path.c(), 0).ok()?;
    if (before.dev, before.ino) != (st.dev, st.ino) {
        return None;
    }
    let fd = sys::openat(sys::AT_FDCWD, path.c(), flags, 0).ok()?;
    match sys::fstat(fd) {
        Ok(now) if (now.dev, now.ino) == (st.dev, st.ino) && is_ordinary(fd) => Some(fd),
        _ => {
            sys::close(fd);
            None
        }
    }
}
