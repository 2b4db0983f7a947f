//! One command in a room, from its start to its end: pipes, limits, output.

use super::link::{Link, Over, Request};
use super::{Exec, ExecEnd, Executed, Input};
use crate::error::SandboxError;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// After its end was asked for, a command has this long to end; then the room counts as lost.
const LAST_WORDS: Duration = Duration::from_secs(60);

/// One output stream of the command.
struct Stream<'a> {
    pipe: Option<PipeReader>,
    kept: Vec<u8>,
    keep: usize,
    len: u64,
    sink: Option<&'a mut (dyn Write + Send)>,
}

fn host(what: &'static str) -> impl Fn(std::io::Error) -> SandboxError {
    move |e| SandboxError::host(what, e)
}

impl<'a> Stream<'a> {
    fn new(
        pipe: Option<PipeReader>,
        keep: usize,
        sink: Option<&'a mut (dyn Write + Send)>,
    ) -> Result<Self, SandboxError> {
        if let Some(pipe) = &pipe {
            // SAFETY: plain numbers, on a descriptor of ours. The other end is another file description and stays blocking.
            let done = unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
            if done < 0 {
                let e = std::io::Error::last_os_error();
                return Err(SandboxError::host("cannot configure a pipe", e));
            }
        }
        Ok(Self { pipe, kept: Vec::new(), keep, len: 0, sink })
    }

    /// Takes what is there, at most about 1 MiB, so that limits are looked at in between. False if nothing was.
    fn drain(&mut self) -> bool {
        let Some(pipe) = &mut self.pipe else { return false };
        let mut buffer = [0u8; 64 << 10];
        let mut any = false;
        for _ in 0..16 {
            match pipe.read(&mut buffer) {
                Ok(0) => {
                    self.pipe = None;
                    return any;
                }
                Ok(n) => {
                    any = true;
                    self.len += n as u64;
                    let room = self.keep.saturating_sub(self.kept.len()).min(n);
                    self.kept.extend_from_slice(&buffer[..room]);
                    if let Some(sink) = &mut self.sink
                        && sink.write_all(&buffer[..n]).is_err()
                    {
                        // Whoever listened has gone; the command goes on.
                        self.sink = None;
                    }
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return any, // nothing there now
            }
        }
        any
    }

    fn fd(&self) -> i32 {
        self.pipe.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }
}

/// The command's standard input: a descriptor for it, and what is still to be written by us.
fn stdin_of(input: Input) -> Result<OwnedFd, SandboxError> {
    let source: Box<dyn Read + Send> = match input {
        Input::Null => {
            return std::fs::File::open("/dev/null")
                .map(OwnedFd::from)
                .map_err(host("cannot open /dev/null"));
        }
        Input::Bytes(bytes) => Box::new(std::io::Cursor::new(bytes)),
        Input::Stream(stream) => stream,
    };
    let (ours, theirs): (PipeReader, PipeWriter) =
        std::io::pipe().map_err(host("cannot make a pipe"))?;
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || feed(source, theirs))
        .map_err(host("cannot start a thread"))?;
    Ok(ours.into())
}

/// Copies until the source ends or the command no longer reads.
fn feed(mut source: Box<dyn Read + Send>, mut to: PipeWriter) {
    let mut buffer = [0u8; 64 << 10];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => {
                if to.write_all(&buffer[..n]).is_err() {
                    return;
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Runs a command to its end.
pub fn run<'a>(
    link: &Link,
    request: &Request<'_>,
    exec: Exec,
    more: Vec<OwnedFd>,
    sinks: Option<super::Sinks<'a>>,
) -> Result<Executed, SandboxError> {
    let (out_reader, out_writer) = std::io::pipe().map_err(host("cannot make a pipe"))?;
    let (err_reader, err_writer) = if exec.merge_stderr {
        (None, out_writer.try_clone().map_err(host("cannot duplicate a pipe"))?)
    } else {
        let (r, w) = std::io::pipe().map_err(host("cannot make a pipe"))?;
        (Some(r), w)
    };
    let (out_sink, err_sink) = match sinks {
        Some(s) => (Some(s.stdout), Some(s.stderr)),
        None => (None, None),
    };
    let mut streams = [
        Stream::new(Some(out_reader), exec.keep_bytes, out_sink)?,
        Stream::new(err_reader, exec.keep_bytes, err_sink)?,
    ];
    let stdin = stdin_of(exec.stdin)?;
    let started = Instant::now();
    let mut given = vec![stdin, out_writer.into(), err_writer.into()];
    given.extend(more);
    let ear = link.exec(request, &given)?;
    // Ours must go, or the ends of the pipes would never be seen.
    drop(given);
    let followed = follow(link, request.id, &ear, &mut streams, exec.wall, exec.max_bytes);
    link.forget(request.id);
    let (end, cpu_us) = followed?;
    let wall_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let [out, err] = streams;
    for stream in [&out, &err] {
        leave(stream)?;
    }
    Ok(Executed {
        end,
        stdout: out.kept,
        stderr: err.kept,
        stdout_len: out.len,
        stderr_len: err.len,
        wall_us,
        cpu_us,
    })
}

/// What the command left in the background may still hold its pipes: somebody must read them, or it would be ended by
/// SIGPIPE or wait for ever, which it would not in a container.
fn leave(stream: &Stream<'_>) -> Result<(), SandboxError> {
    let Some(pipe) = &stream.pipe else { return Ok(()) };
    let mut rest = pipe.try_clone().map_err(host("cannot duplicate a pipe"))?;
    // SAFETY: plain numbers, on a descriptor of ours: reading waits again.
    unsafe { libc::fcntl(rest.as_raw_fd(), libc::F_SETFL, 0) };
    std::thread::Builder::new()
        .name("leftover".to_owned())
        .stack_size(128 << 10)
        .spawn(move || {
            let mut buffer = [0u8; 16 << 10];
            while matches!(rest.read(&mut buffer), Ok(n) if n > 0) {}
        })
        .map(|_| ())
        .map_err(host("cannot start a thread"))
}

/// Waits for the end; enforces the limits.
fn follow(
    link: &Link,
    id: u64,
    ear: &PipeReader,
    streams: &mut [Stream<'_>; 2],
    wall: Option<Duration>,
    max_bytes: Option<u64>,
) -> Result<(ExecEnd, u64), SandboxError> {
    let mut deadline = wall.map(|w| Instant::now() + w);
    let mut ours: Option<ExecEnd> = None;
    let mut ear = ear;
    loop {
        let mut fds = [streams[0].fd(), streams[1].fd(), ear.as_raw_fd()].map(|fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        });
        let left = deadline.map_or(-1, |d| {
            let ms = d.saturating_duration_since(Instant::now()).as_millis();
            i32::try_from(ms).unwrap_or(i32::MAX - 1) + 1
        });
        // SAFETY: an array of pollfd with its length. Interrupted calls are repeated by the loop.
        unsafe { libc::poll(fds.as_mut_ptr(), 3, left) };
        for stream in streams.iter_mut() {
            stream.drain();
        }
        if fds[2].revents != 0 {
            let mut rung = [0u8; 1];
            ear.read_exact(&mut rung).map_err(host("cannot read a pipe"))?;
            for news in link.news(id)? {
                match news {
                    Over::Stop if ours.is_none() => {
                        ours = Some(ExecEnd::Stopped);
                        link.kill(id)?;
                        deadline = Some(Instant::now() + LAST_WORDS);
                    }
                    Over::Stop => {}
                    Over::NotStarted { errno } => return Ok((ExecEnd::NotFound { errno }, 0)),
                    Over::Exited { status, user_us, sys_us } => {
                        // Everything that it wrote is in the pipes by now; what it left behind may go on writing.
                        let enough = Instant::now() + Duration::from_secs(1);
                        for stream in streams.iter_mut() {
                            while stream.drain() && Instant::now() < enough {}
                        }
                        let end = ours.unwrap_or_else(|| ending(status));
                        return Ok((end, user_us + sys_us));
                    }
                }
            }
        }
        let flooded = max_bytes.is_some_and(|max| streams.iter().any(|s| s.len > max));
        let late = deadline.is_some_and(|d| Instant::now() >= d);
        match (&ours, late, flooded) {
            (Some(_), true, _) => {
                return Err(SandboxError::Lost(
                    "a command did not end within 60 s of being killed".to_owned(),
                ));
            }
            (None, true, _) | (None, _, true) => {
                ours = Some(if late { ExecEnd::WallLimit } else { ExecEnd::OutputLimit });
                link.kill(id)?;
                deadline = Some(Instant::now() + LAST_WORDS);
            }
            _ => {}
        }
    }
}

fn ending(status: i32) -> ExecEnd {
    match status & 0x7f {
        0 => ExecEnd::Exit { code: (status >> 8) & 0xff },
        signal => ExecEnd::Signal { signal },
    }
}
