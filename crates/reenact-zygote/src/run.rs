//! One invocation: start it, drain its output, enforce the limits, end everything, say what happened.
//!
//! ```text
//! prepared ──spawn──▶ running ──pidfd readable──▶ exited ─┐
//!                       │ wall / output / memory limit    ├─▶ kill(-1) ─▶ reaped ─▶ drained ─▶ reported
//!                       └──────────────▶ killed by us ────┘
//! ```

use crate::buf::Buf;
use crate::proto::{Ran, RunRequest, Sink, StrList, cause, flag, re};
use crate::setup::State;
use crate::spawn::{Child, ChildStack, Started, skip_pid, spawn, spawn_with_parent};
use crate::sys::{
    self, AT_FDCWD, CStr, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP, PollFd, Rusage,
};
use crate::tty;

/// How often memory is polled where no cgroup limits it.
const MEMORY_POLL_MS: u64 = 10;
/// How long processes may take to die after SIGKILL before the cell counts as lost.
const DEATH_US: u64 = 20_000_000;
/// Errno reported when they do not.
pub const ESTUCK: i32 = 110;
/// Pieces that stdin is fed in at most; the rest then goes whole, so that a long input does not take forever.
const MAX_PIECES: u32 = 64;
/// Kept buffers are trimmed to this size after each run.
const KEEP: usize = 256 << 10;

/// Buffers that live from run to run.
pub struct Buffers {
    pub stdout: Buf,
    pub stderr: Buf,
    pub pointers: Buf,
    pub stack: ChildStack,
    pub inner_stack: ChildStack,
}

impl Buffers {
    pub fn allocate() -> Self {
        Self {
            stdout: Buf::new(KEEP),
            stderr: Buf::new(64 << 10),
            pointers: Buf::new(64 << 10),
            stack: ChildStack::allocate(),
            inner_stack: ChildStack::allocate(),
        }
    }
}

/// Descriptors of one run; closed by [`Pipes::close`].
struct Pipes {
    stdin: (i32, i32),
    stdout: (i32, i32),
    stderr: (i32, i32),
}

/// Facts gathered while running.
struct Facts {
    cause: u8,
    status: i32,
    usage: [u64; 3],
    leftovers: u32,
    stdout_len: u64,
    stderr_len: u64,
}

/// Runs one request and appends the `RAN` frame to `out`.
pub fn run(
    request: &RunRequest<'_>,
    state: &State,
    buffers: &mut Buffers,
    input: &mut tty::Input<'_>,
    out: &mut Buf,
) -> Result<(), i32> {
    for _ in 0..request.skip_pids {
        skip_pid(&mut buffers.stack)?;
    }
    let is_tty = request.flags & flag::TTY != 0;
    let mut pipes =
        if is_tty { tty::open(request, state, input)?.into() } else { Pipes::open(request)? };
    let (Some(program), Some(cwd)) = (CStr::new(request.program), CStr::new(request.cwd)) else {
        return Err(sys::EPROTO);
    };
    buffers.pointers.clear();
    let argv_len = push_pointers(&mut buffers.pointers, request.argv);
    push_pointers(&mut buffers.pointers, request.env);
    let argv = buffers.pointers.bytes().as_ptr() as usize;
    let mut child = Child {
        conf: &state.child,
        stdin: pipes.stdin.0,
        stdout: pipes.stdout.1,
        stderr: pipes.stderr.1,
        tty: is_tty,
        no_aslr: request.flags & flag::NO_ASLR != 0,
        cpu_sec: u64::from(request.cpu_sec),
        cwd,
        program,
        argv,
        env: argv + argv_len,
        errno: 0,
        inner_stack: 0,
        reaped: None,
    };
    let begun = sys::now_us();
    let started = if is_tty {
        spawn_with_parent(&mut child, &mut buffers.stack, &mut buffers.inner_stack)?
    } else {
        spawn(&mut child, &mut buffers.stack)?
    };
    pipes.close_child_ends(is_tty);
    let mut facts = follow(request, &started, &mut pipes, buffers, input, begun)?;
    let wall_us = sys::now_us() - begun;
    sys::close(started.pidfd);
    end_everything(&mut facts)?;
    let shared = &raw const child;
    // SAFETY: every process that shared our memory is reaped by now; they may have written behind the compiler's back.
    let (errno, reaped) = unsafe {
        (
            (&raw const (*shared).errno).read_volatile(),
            (&raw const (*shared).reaped).read_volatile(),
        )
    };
    if let Some((status, usage)) = reaped {
        facts.status = status;
        facts.add(&usage);
    }
    if !is_tty {
        facts.stdout_len += drain(pipes.stdout.0, &mut buffers.stdout, request.output_bytes);
        facts.stderr_len += drain(pipes.stderr.0, &mut buffers.stderr, request.output_bytes);
    }
    pipes.close();
    if errno != 0 {
        facts.cause = cause::EXEC;
    }
    report(&facts, errno, wall_us, buffers, out);
    Ok(())
}

/// Appends pointers to the list's strings and a NULL; gives the bytes appended.
fn push_pointers(out: &mut Buf, list: StrList<'_>) -> usize {
    for text in list.iter() {
        out.push(&(text.as_ptr() as usize).to_ne_bytes());
    }
    out.push(&0usize.to_ne_bytes());
    (list.count as usize + 1) * 8
}

impl From<tty::Slave> for Pipes {
    fn from(slave: tty::Slave) -> Self {
        Self { stdin: (slave.0, -1), stdout: (-1, slave.0), stderr: (-1, slave.0) }
    }
}

impl Pipes {
    fn open(request: &RunRequest<'_>) -> Result<Self, i32> {
        let stdin = if request.flags & flag::STDIN == 0 {
            (sys::openat(AT_FDCWD, CStr::lit(b"/dev/null\0"), sys::O_RDONLY, 0)?, -1)
        } else {
            let (read, write) = sys::pipe()?;
            sys::set_nonblocking(write)?;
            (read, write)
        };
        let stdout = sys::pipe()?;
        sys::set_nonblocking(stdout.0)?;
        let stderr = if request.flags & flag::MERGE_STDERR != 0 {
            (-1, stdout.1)
        } else {
            let pipe = sys::pipe()?;
            sys::set_nonblocking(pipe.0)?;
            pipe
        };
        Ok(Self { stdin, stdout, stderr })
    }

    fn close_child_ends(&mut self, is_tty: bool) {
        sys::close(self.stdin.0);
        self.stdin.0 = -1;
        if !is_tty {
            sys::close(self.stdout.1);
            if self.stderr.1 != self.stdout.1 {
                sys::close(self.stderr.1);
            }
        }
        self.stdout.1 = -1;
        self.stderr.1 = -1;
    }

    fn close(&mut self) {
        for fd in [self.stdin.1, self.stdout.0, self.stderr.0] {
            sys::close(fd);
        }
    }
}

const STDIN: usize = 3;
const SOCKET: usize = 4;

/// Follows the child until it ends or we end it.
fn follow(
    request: &RunRequest<'_>,
    started: &Started,
    pipes: &mut Pipes,
    buffers: &mut Buffers,
    input: &mut tty::Input<'_>,
    begun: u64,
) -> Result<Facts, i32> {
    let mut facts = Facts {
        cause: cause::ITSELF,
        status: 0,
        usage: [0; 3],
        leftovers: 0,
        stdout_len: 0,
        stderr_len: 0,
    };
    let mut feed = request.stdin;
    let mut pieces = 0;
    feed_stdin(pipes, &mut feed, &mut pieces, request.stdin_chunk);
    let is_tty = request.flags & flag::TTY != 0;
    let socket_events = if is_tty { POLLIN | POLLRDHUP } else { POLLRDHUP };
    let deadline = begun + request.wall_ms * 1000;
    loop {
        let mut fds = [
            PollFd { fd: started.pidfd, events: POLLIN, revents: 0 },
            PollFd { fd: pipes.stdout.0, events: POLLIN, revents: 0 },
            PollFd { fd: pipes.stderr.0, events: POLLIN, revents: 0 },
            PollFd { fd: pipes.stdin.1, events: POLLOUT, revents: 0 },
            PollFd { fd: input.socket, events: socket_events, revents: 0 },
        ];
        let now = sys::now_us();
        if now >= deadline {
            facts.cause = cause::WALL;
            break;
        }
        let mut timeout_ms = (deadline - now).div_ceil(1000);
        if request.poll_memory > 0 {
            timeout_ms = timeout_ms.min(MEMORY_POLL_MS);
        }
        match sys::poll(&mut fds, timeout_ms.min(60_000) as i32) {
            Ok(_) | Err(sys::EINTR) => {}
            Err(e) => return Err(e),
        }
        if fds[SOCKET].revents & (POLLHUP | POLLRDHUP | POLLERR) != 0 {
            sys::exit(0); // the host is gone; so is the cell
        }
        if fds[1].revents != 0 {
            facts.stdout_len +=
                take(&mut pipes.stdout.0, &mut buffers.stdout, request.output_bytes);
        }
        if fds[2].revents != 0 {
            facts.stderr_len +=
                take(&mut pipes.stderr.0, &mut buffers.stderr, request.output_bytes);
        }
        if facts.stdout_len > request.output_bytes {
            facts.cause = cause::STDOUT;
            break;
        }
        if facts.stderr_len > request.output_bytes {
            facts.cause = cause::STDERR;
            break;
        }
        if fds[STDIN].revents != 0 {
            feed_stdin(pipes, &mut feed, &mut pieces, request.stdin_chunk);
        }
        if fds[0].revents != 0 {
            break;
        }
        if is_tty && fds[SOCKET].revents & POLLIN != 0 && input.stop_requested()? {
            facts.cause = cause::SCRIPT;
            break;
        }
        if request.poll_memory > 0
            && tty::resident_bytes(&mut buffers.pointers) > request.poll_memory
        {
            facts.cause = cause::MEMORY;
            break;
        }
    }
    collect_main(started, &mut facts)?;
    Ok(facts)
}

/// Reaps the program itself, killing everything first if it is we who end it.
fn collect_main(started: &Started, facts: &mut Facts) -> Result<(), i32> {
    if facts.cause != cause::ITSELF {
        // If it ended by itself in this very moment, it is still we who decided to end it.
        let _signalled = sys::kill(-1, sys::SIGKILL);
    }
    let deadline = sys::now_us() + DEATH_US;
    loop {
        if let Some((_, status, usage)) = sys::wait4(started.pid, sys::WNOHANG | sys::WALL)? {
            facts.status = status;
            facts.add(&usage);
            return Ok(());
        }
        if sys::now_us() > deadline {
            return Err(ESTUCK);
        }
        sys::sleep_us(20);
    }
}

impl Facts {
    fn add(&mut self, usage: &Rusage) {
        self.usage[0] += usage.user_sec as u64 * 1_000_000 + usage.user_usec as u64;
        self.usage[1] += usage.sys_sec as u64 * 1_000_000 + usage.sys_usec as u64;
        self.usage[2] = self.usage[2].max(usage.max_rss_kib as u64);
    }
}

/// Kills and reaps whatever is left in the cell. `kill(-1)` from pid 1 reaches every other process of the namespace; it
/// fails with ESRCH exactly when there is none, zombies included.
fn end_everything(facts: &mut Facts) -> Result<(), i32> {
    let deadline = sys::now_us() + DEATH_US;
    while sys::kill(-1, sys::SIGKILL).is_ok() {
        match sys::wait4(-1, sys::WNOHANG | sys::WALL) {
            Ok(Some((_, status, usage))) => {
                facts.add(&usage);
                if status & 0x7f == sys::SIGKILL {
                    facts.leftovers += 1;
                }
            }
            Ok(None) | Err(_) => {
                if sys::now_us() > deadline {
                    return Err(ESTUCK);
                }
                sys::sleep_us(20);
            }
        }
    }
    Ok(())
}

/// Reads once; closes the descriptor at end of file. Gives the bytes received, kept or not.
fn take(fd: &mut i32, into: &mut Buf, limit: u64) -> u64 {
    let n = read_once(*fd, into, limit);
    match n {
        Some(0) => {
            sys::close(*fd);
            *fd = -1;
            0
        }
        Some(n) => n,
        None => 0,
    }
}

/// `None` if there is nothing at the moment. Bytes past the limit are counted and dropped.
fn read_once(fd: i32, into: &mut Buf, limit: u64) -> Option<u64> {
    const CHUNK: usize = 64 << 10;
    match sys::read(fd, &mut into.room(CHUNK)[..CHUNK]) {
        Ok(n) => {
            let keep = (limit as usize).saturating_sub(into.len()).min(n);
            into.fill(keep);
            Some(n as u64)
        }
        Err(sys::EAGAIN | sys::EINTR) => None,
        Err(_) => Some(0),
    }
}

/// Reads what is still in the pipe. Every writer is dead, but a descriptor may be stuck in a socket's queue, so the end is
/// "nothing there", not end of file. A pipe holds a bounded number of bytes and nobody refills it.
fn drain(fd: i32, into: &mut Buf, limit: u64) -> u64 {
    let mut total = 0;
    if fd < 0 {
        return total;
    }
    loop {
        match read_once(fd, into, limit) {
            None | Some(0) => break,
            Some(n) => total += n,
        }
    }
    total
}

/// Writes as much stdin as fits (or one piece of `chunk` bytes), and closes the pipe after the last byte.
fn feed_stdin(pipes: &mut Pipes, feed: &mut &[u8], pieces: &mut u32, chunk: u32) {
    let chunk = if *pieces < MAX_PIECES { chunk } else { 0 };
    *pieces += 1;
    let fd = pipes.stdin.1;
    if fd < 0 {
        return;
    }
    while !feed.is_empty() {
        let n = if chunk == 0 { feed.len() } else { feed.len().min(chunk as usize) };
        match sys::write(fd, &feed[..n]) {
            Ok(n) => *feed = &feed[n..],
            Err(sys::EAGAIN | sys::EINTR) => return,
            Err(_) => *feed = &[], // the program closed its stdin
        }
        if chunk != 0 && !feed.is_empty() {
            sys::sleep_us(200); // long enough that a reader which waits sees the piece alone
            return;
        }
    }
    sys::close(fd);
    pipes.stdin.1 = -1;
}

fn report(facts: &Facts, errno: i32, wall_us: u64, buffers: &mut Buffers, out: &mut Buf) {
    let ran = Ran {
        cause: facts.cause,
        status: facts.status,
        errno,
        wall_us,
        user_us: facts.usage[0],
        sys_us: facts.usage[1],
        max_rss_kib: facts.usage[2],
        leftovers: facts.leftovers,
        stdout_len: facts.stdout_len,
        stderr_len: facts.stderr_len,
        stdout: &[],
        stderr: &[],
    };
    out.u32((1 + Ran::HEAD + 4 + buffers.stdout.len() + 4 + buffers.stderr.len()) as u32);
    out.u8(re::RAN);
    ran.encode_head(out);
    out.blob(buffers.stdout.bytes());
    out.blob(buffers.stderr.bytes());
    buffers.stdout.trim(KEEP);
    buffers.stderr.trim(KEEP);
}
