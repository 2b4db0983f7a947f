//! The broker: accepts connections, keeps the idle ones, and hands each request to a session that is ready and waiting.
//!
//! It never receives descriptors from the room, since letting go of one can take seconds (a socket with SO_LINGER). Sessions are
//! forked ahead of need, so that a fork is not part of an invocation's latency.

use super::Conf;
use super::kernel::{self as k, Rights, nr};
use super::proto::Packet;
use super::report::encode_refused;
use super::session;
use crate::buf::Buf;
use crate::sys::{self, EAGAIN, POLLIN, POLLOUT, PollFd, Res, call};

/// Sessions at once. Each is one invocation, or what a daemon left.
const MAX_SESSIONS: isize = 1024;
/// Sessions beyond those, which only refuse.
const MAX_REFUSING: isize = 64;
/// Sessions that wait for work.
const SPARE: isize = 2;
/// Connections without a request; the oldest gives way.
const MAX_IDLE: usize = 4096;
/// While sessions run, they are reaped at least this often, milliseconds.
const REAP_MS: usize = 200;
/// How long a request may wait for a session to take it before it is refused, microseconds.
const HAND_US: u64 = 10_000_000;
/// How long sessions may take to end their references when the room ends, microseconds.
const LAST_US: u64 = 2_000_000;

/// What a session is told about its request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Work {
    pub seq: u64,
    /// Too much runs already: say no.
    pub refuse: bool,
}

impl Work {
    pub const LEN: usize = 16;

    fn encode(self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[..8].copy_from_slice(&self.seq.to_le_bytes());
        out[8] = u8::from(self.refuse);
        out
    }

    pub fn decode(bytes: &[u8; Self::LEN]) -> Self {
        let mut r = crate::proto::Reader::new(bytes);
        Self { seq: r.u64().unwrap_or(0), refuse: r.u8().unwrap_or(1) != 0 }
    }
}

/// Descriptors that sessions need, at numbers that stay clear of everything else.
pub struct Kept<'a> {
    pub conf: Conf<'a>,
    /// Where sessions wait for work; its other end closes when the broker ends.
    pub work: i32,
}

struct Broker<'a> {
    kept: Kept<'a>,
    give: i32,
    epoll: i32,
    seq: u64,
    /// Pids of the sessions, as `i32`s.
    sessions: Buf,
    /// How many of them wait for work. Negative: some have died that should have taken some.
    spare: isize,
    /// Connections without a request, oldest first, as `i32`s.
    idle: Buf,
    max_idle: usize,
}

/// First of the kept descriptors' numbers; below it are only the standard ones and what the broker opens first.
pub const KEPT_FROM: usize = 64;

/// Moves the descriptors and opens the broker's own.
fn arrange<'a>(conf: &Conf<'a>) -> Result<Broker<'a>, i32> {
    let host = k::dup_above(conf.host, KEPT_FROM)?;
    let reference = k::dup_above(conf.reference, KEPT_FROM)?;
    let pid_ns = k::dup_above(conf.pid_ns, KEPT_FROM)?;
    let listener = k::dup_above(conf.listener, KEPT_FROM)?;
    // SAFETY: plain numbers; the originals of the above, and nothing else that is needed.
    unsafe { call(sys::nr::CLOSE_RANGE, [3, KEPT_FROM - 1, 0, 0, 0, 0]) }?;
    let (work, give) = k::socket_pair()?;
    // SAFETY: plain numbers (EPOLL_CLOEXEC is O_CLOEXEC).
    let epoll = unsafe { call(nr::EPOLL_CREATE1, [sys::O_CLOEXEC, 0, 0, 0, 0, 0]) }? as i32;
    for fd in 0..3 {
        k::set_cloexec(fd, true)?;
    }
    const RLIMIT_NOFILE: u32 = 7;
    let (soft, hard) = k::limit(RLIMIT_NOFILE);
    if soft < hard {
        k::set_limit(RLIMIT_NOFILE, hard, hard)?;
    }
    let max_idle = (hard.saturating_sub(512) as usize).clamp(16, MAX_IDLE);
    let conf = Conf { host, listener, reference, pid_ns, ..*conf };
    Ok(Broker {
        kept: Kept { conf, work },
        give,
        epoll,
        seq: 0,
        sessions: Buf::new(4096),
        spare: 0,
        idle: Buf::new(4096),
        max_idle,
    })
}

/// Serves until the host closes its end.
pub fn serve(conf: &Conf<'_>) -> ! {
    let served = protect().and_then(|()| arrange(conf)).and_then(|mut broker| broker.run());
    sys::exit(if served.is_ok() { 0 } else { 109 })
}

/// A session of its own without a terminal, out of reach of whoever has the same user.
fn protect() -> Result<(), i32> {
    const PR_SET_DUMPABLE: usize = 4;
    const PR_SET_CHILD_SUBREAPER: usize = 36;
    // SAFETY: plain numbers.
    unsafe {
        // A harness started from a terminal would lend it to the reference.
        if call(sys::nr::SETSID, [0; 6]).is_err() && k::number(nr::GETSID) != k::number(nr::GETPID)
        {
            return Err(k::EPERM);
        }
        call(sys::nr::PRCTL, [PR_SET_DUMPABLE, 0, 0, 0, 0, 0])?;
        // A reference whose session died is ours to reap, not the host's init's.
        call(sys::nr::PRCTL, [PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0, 0])?;
    }
    k::set_mask(u64::MAX);
    Ok(())
}

/// Removes a number from a list of them; false if it was not there.
fn remove(list: &mut Buf, number: i32) -> bool {
    let numbers = list.bytes().as_chunks::<4>().0;
    let Some(at) = numbers.iter().position(|n| i32::from_ne_bytes(*n) == number) else {
        return false;
    };
    let len = list.len();
    list.bytes_mut().copy_within(4 * (at + 1)..len, 4 * at);
    list.truncate(len - 4);
    true
}

#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Event {
    events: u32,
    fd: u64,
}

impl Broker<'_> {
    fn run(&mut self) -> Result<(), i32> {
        let (host, listener) = (self.kept.conf.host, self.kept.conf.listener);
        self.watch(listener, POLLIN as u32)?;
        self.watch(host, 0)?;
        self.refill();
        let mut events = [Event { events: 0, fd: 0 }; 64];
        loop {
            let timeout = if self.sessions() > self.spare { REAP_MS } else { usize::MAX };
            let n = match self.wait(&mut events, timeout) {
                Ok(n) => n,
                Err(sys::EINTR) => 0,
                Err(e) => return Err(e),
            };
            self.reap();
            for event in &events[..n] {
                let fd = event.fd as i32;
                if fd == host {
                    return self.end();
                } else if fd == listener {
                    self.accept();
                } else {
                    self.forget(fd);
                    self.dispatch(fd);
                }
            }
            self.refill();
        }
    }

    fn wait(&self, events: &mut [Event], timeout: usize) -> Res {
        // SAFETY: the slice has the kernel's layout (`struct epoll_event` is packed on x86_64).
        unsafe {
            call(
                nr::EPOLL_WAIT,
                [self.epoll as usize, events.as_mut_ptr() as usize, events.len(), timeout, 0, 0],
            )
        }
    }

    fn watch(&self, fd: i32, events: u32) -> Res {
        const ADD: usize = 1;
        let event = Event { events, fd: fd as u64 };
        // SAFETY: as in `wait`.
        unsafe {
            call(
                nr::EPOLL_CTL,
                [self.epoll as usize, ADD, fd as usize, &raw const event as usize, 0, 0],
            )
        }
    }

    fn accept(&mut self) {
        for _ in 0..64 {
            // SAFETY: no address is asked for.
            let accepted = unsafe {
                call(nr::ACCEPT4, [self.kept.conf.listener as usize, 0, 0, k::SOCK_CLOEXEC, 0, 0])
            };
            let Ok(fd) = accepted else { return };
            let fd = fd as i32;
            // Mostly the request is there already.
            let mut there = [PollFd { fd, events: POLLIN, revents: 0 }];
            if sys::poll(&mut there, 0) == Ok(1) {
                self.dispatch(fd);
            } else {
                self.keep(fd);
            }
        }
    }

    /// Keeps a connection until its request comes.
    fn keep(&mut self, fd: i32) {
        if self.idle.len() / 4 >= self.max_idle {
            let oldest = self.idle.bytes().first_chunk().map_or(-1, |fd| i32::from_ne_bytes(*fd));
            self.forget(oldest);
            sys::close(oldest);
        }
        if self.watch(fd, POLLIN as u32).is_err() {
            return sys::close(fd);
        }
        self.idle.push(&fd.to_ne_bytes());
    }

    fn forget(&mut self, fd: i32) {
        const DEL: usize = 2;
        // SAFETY: DEL takes no event. It must be named: sessions share the description, so that closing is not enough.
        let _gone =
            unsafe { call(nr::EPOLL_CTL, [self.epoll as usize, DEL, fd as usize, 0, 0, 0]) };
        remove(&mut self.idle, fd);
    }

    /// Hands a connection with a request to a session.
    fn dispatch(&mut self, fd: i32) {
        self.seq += 1;
        let busy = self.sessions() - self.spare;
        let refuse = busy >= MAX_SESSIONS;
        let handed = if busy >= MAX_SESSIONS + MAX_REFUSING {
            Err(EAGAIN)
        } else {
            self.hand(fd, Work { seq: self.seq, refuse })
        };
        if let Err(errno) = handed {
            self.refuse(fd, errno);
        }
        sys::close(fd);
    }

    fn hand(&mut self, fd: i32, work: Work) -> Result<(), i32> {
        while self.spare <= 0 {
            self.fork()?;
        }
        let mut rights = Rights::none();
        rights.add(fd);
        let deadline = sys::now_us() + HAND_US;
        loop {
            match k::send(self.give, &[&work.encode()], &rights, k::MSG_DONTWAIT) {
                Ok(_) => {
                    self.spare -= 1;
                    return Ok(());
                }
                // Sessions have been forked that did not get to run yet, and the queue is full; or the user has too many
                // descriptors on their way.
                Err(EAGAIN | k::ETOOMANYREFS) if sys::now_us() < deadline => self.wait_for_takers(),
                Err(errno) => return Err(errno),
            }
        }
    }

    fn wait_for_takers(&mut self) {
        let mut room = [PollFd { fd: self.give, events: POLLOUT, revents: 0 }];
        // Whatever it finds, the next attempt tells.
        let _waited = sys::poll(&mut room, 100);
        sys::sleep_us(200);
        self.reap();
        self.refill();
    }

    /// Says no without a session.
    fn refuse(&self, fd: i32, errno: i32) {
        let said = Packet::Failed { errno }.encode();
        // The caller may be gone, and the host may be behind; neither may hold us up.
        let _told = k::send(fd, &[&said], &Rights::none(), k::MSG_DONTWAIT);
        let mut report = Buf::new(256);
        let why: &[u8] = match errno {
            EAGAIN => b"too many invocations, or processes, at once",
            _ => b"no session could be started",
        };
        encode_refused(why, &mut report);
        let _reported =
            k::send(self.kept.conf.host, &[report.bytes()], &Rights::none(), k::MSG_DONTWAIT);
        report.release();
    }

    fn refill(&mut self) {
        while self.spare < SPARE && self.sessions() < MAX_SESSIONS + MAX_REFUSING {
            if self.fork().is_err() {
                return; // tried again at the next event
            }
        }
    }

    fn fork(&mut self) -> Result<(), i32> {
        // SAFETY: a plain fork: memory is copied, and both sides go on from here.
        match unsafe { call(sys::nr::CLONE, [sys::SIGCHLD, 0, 0, 0, 0, 0]) }? {
            0 => session::run(&self.kept),
            pid => {
                self.sessions.push(&(pid as i32).to_ne_bytes());
                self.spare += 1;
                Ok(())
            }
        }
    }

    fn sessions(&self) -> isize {
        (self.sessions.len() / 4) as isize
    }

    /// Reaps what has ended: sessions, and references whose session died.
    fn reap(&mut self) {
        while let Ok(Some((pid, status, _))) = sys::wait4(-1, sys::WNOHANG | sys::WALL) {
            // A session that did not end by itself may not have taken its work. Counting a spare too few costs one more
            // process; one too many would leave a caller waiting.
            if remove(&mut self.sessions, pid) && status != 0 {
                self.spare -= 1;
            }
        }
    }

    /// The room ends: sessions see our end of their queue close, kill their references and go.
    fn end(&mut self) -> Result<(), i32> {
        sys::close(self.give);
        sys::close(self.kept.conf.listener);
        let deadline = sys::now_us() + LAST_US;
        while sys::wait4(-1, sys::WNOHANG | sys::WALL).is_ok() {
            if sys::now_us() > deadline {
                // Those that are stuck. Our own process group: this does not return.
                let _killed = sys::kill(0, sys::SIGKILL);
            }
            sys::sleep_us(500);
        }
        Ok(())
    }
}
