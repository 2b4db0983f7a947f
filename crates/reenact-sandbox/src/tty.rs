//! Terminal steps: the host types at the master, reads it, and draws the screen.
//!
//! A key is sent only when the program is idle: nothing was written for a while *and* every thread in the cell sleeps,
//! several times in a row. What was typed reaches the program through a kernel worker, which a loaded machine delays; so
//! the quiet time grows with the delay that our own waits meet. Load can postpone the moment but should not make it come
//! too early, which a plain pause cannot promise.

use crate::cell::{RunSpec, decode, request, wall};
use crate::error::SandboxError;
use crate::observe;
use crate::start::Running;
use reenact_model::{Captured, Ended, Observation, Stream, Tty};
use reenact_zygote::proto::{Reader, flag, op, re};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// Quiet time before a key, where the case says nothing.
const QUIET: Duration = Duration::from_millis(30);
/// Idle confirmations in a row before a key is sent, and the time between them.
const CONFIRMATIONS: u32 = 3;
const BETWEEN: Duration = Duration::from_millis(6);
/// How long one wait for events lasts at most.
const TICK: Duration = Duration::from_millis(5);
/// The quiet time grows by this many times the delay that our waits meet.
const LAG_FACTOR: u32 = 8;
/// Idle time after which a text that is waited for will not come any more.
const GIVE_UP: Duration = Duration::from_millis(2000);
/// Idle time after the last key before a program that still runs is ended.
const LINGER: Duration = Duration::from_millis(600);

struct Driver<'a> {
    running: &'a mut Running,
    master: std::fs::File,
    parser: vt100::Parser,
    output: Vec<u8>,
    output_len: u64,
    limit: u64,
    screens: Vec<String>,
    quiet_since: Instant,
    asked: bool,
    confirmed: u32,
    confirmed_at: Instant,
    /// By how much our own short waits overrun; decays.
    lag: Duration,
    hung_up: bool,
}

/// What to do next in the script.
enum Next {
    Wait,
    Type(usize),
    Stop(Option<String>),
}

/// Runs one terminal step.
pub fn run(
    running: &mut Running,
    run: &RunSpec<'_>,
    tty: &Tty,
) -> Result<Observation, SandboxError> {
    running.wire.set_timeout(wall(&run.limits) + Duration::from_secs(60))?;
    let spec = RunSpec { flags: run.flags | flag::TTY, env: run.env.clone(), ..*run };
    request(running, &spec);
    running.wire.flush()?;
    let master = running.wire.receive_descriptor()?;
    set_nonblocking(&master)?;
    let mut driver = Driver {
        running,
        master: master.into(),
        parser: vt100::Parser::new(tty.rows, tty.cols, 0),
        output: Vec::new(),
        output_len: 0,
        limit: run.limits.output_bytes.unwrap_or(1 << 20),
        screens: Vec::new(),
        quiet_since: Instant::now(),
        asked: false,
        confirmed: 0,
        confirmed_at: Instant::now(),
        lag: Duration::ZERO,
        hung_up: false,
    };
    let (frame, stopped) = driver.play(tty)?;
    driver.read_master();
    let last = driver.screen(tty);
    driver.screens.push(last);
    let ran = decode(&frame)?;
    let mut ended = observe::ended(&ran, &run.limits);
    match stopped {
        Some(Stop::Flood) => {
            ended = Ended::OutputLimit { stream: Stream::Stdout, limit_bytes: driver.limit }
        }
        Some(Stop::Script(waiting_for)) if matches!(ended, Ended::ScriptEnded { .. }) => {
            ended = Ended::ScriptEnded { waiting_for };
        }
        _ => {}
    }
    Ok(Observation {
        ended,
        stdout: observe::captured(&driver.output, driver.output_len),
        stderr: Captured::empty(),
        screen: Some(driver.screens.join("\n\x0c\n")),
        resources: observe::resources(&ran),
    })
}

enum Stop {
    Script(Option<String>),
    Flood,
}

impl Driver<'_> {
    /// Plays the keys until the program has ended; gives its report.
    fn play(&mut self, tty: &Tty) -> Result<(crate::wire::Frame, Option<Stop>), SandboxError> {
        let mut at = 0;
        let mut stopped = None;
        loop {
            self.wait()?;
            self.read_master();
            while self.running.wire.has_frame() {
                let frame = self.running.wire.next()?;
                if frame.op != re::IDLE {
                    return Ok((frame, stopped));
                }
                self.asked = false;
                let asleep = Reader::new(&frame.payload).u8() == Some(1);
                if asleep {
                    self.confirmed += 1;
                } else {
                    // It works: that is activity, though nothing was written.
                    self.confirmed = 0;
                    self.quiet_since = Instant::now();
                }
                self.confirmed_at = Instant::now();
            }
            if stopped.is_some() {
                continue;
            }
            if self.output_len > self.limit {
                stopped = Some(Stop::Flood);
                self.send(op::TTY_STOP)?;
                continue;
            }
            match self.next(tty, at) {
                Next::Wait => self.ask(tty, at)?,
                Next::Type(i) => {
                    let screen = self.screen(tty);
                    self.screens.push(screen);
                    // The program may have gone this very moment; its end is reported anyway.
                    let _typed = self.master.write_all(tty.keys[i].send.as_bytes());
                    at = i + 1;
                    self.quiet_since = Instant::now();
                    self.confirmed = 0;
                }
                Next::Stop(waiting_for) => {
                    stopped = Some(Stop::Script(waiting_for));
                    self.send(op::TTY_STOP)?;
                }
            }
        }
    }

    fn quiet_for(&self) -> Duration {
        self.quiet_since.elapsed()
    }

    fn next(&self, tty: &Tty, at: usize) -> Next {
        if self.hung_up || self.confirmed < CONFIRMATIONS {
            return Next::Wait;
        }
        let Some(key) = tty.keys.get(at) else {
            return if self.quiet_for() >= LINGER + self.lag * LAG_FACTOR {
                Next::Stop(None)
            } else {
                Next::Wait
            };
        };
        match &key.wait_for {
            Some(text) if !self.screen(tty).contains(text.as_str()) => {
                if self.quiet_for() >= GIVE_UP + self.lag * LAG_FACTOR {
                    Next::Stop(Some(text.clone()))
                } else {
                    Next::Wait
                }
            }
            _ => Next::Type(at),
        }
    }

    /// Asks the zygote whether everything sleeps, once it has been quiet for long enough.
    fn ask(&mut self, tty: &Tty, at: usize) -> Result<(), SandboxError> {
        let quiet = tty
            .keys
            .get(at)
            .and_then(|k| k.wait_ms)
            .map_or(QUIET, |ms| Duration::from_millis(u64::from(ms)));
        let quiet = quiet + self.lag * LAG_FACTOR;
        let spaced = self.confirmed == 0 || self.confirmed_at.elapsed() >= BETWEEN;
        // Asking goes on until the decision: an answer grows stale while a wait for a text or the end goes on.
        let due = self.quiet_for() >= quiet && spaced;
        if due && !self.asked && !self.hung_up {
            self.asked = true;
            self.send(op::TTY_POLL)?;
        }
        Ok(())
    }

    fn send(&mut self, op: u8) -> Result<(), SandboxError> {
        self.running.wire.frame(op);
        self.running.wire.flush()
    }

    /// Waits for output, for the zygote, or a little.
    fn wait(&mut self) -> Result<(), SandboxError> {
        if self.running.wire.has_frame() {
            return Ok(());
        }
        let master = if self.hung_up { -1 } else { self.master.as_raw_fd() };
        let mut fds = [
            libc::pollfd { fd: master, events: libc::POLLIN, revents: 0 },
            libc::pollfd { fd: self.running.wire.raw_fd(), events: libc::POLLIN, revents: 0 },
        ];
        let begun = Instant::now();
        // SAFETY: two pollfds. An interruption counts as a short wait.
        let ready = unsafe { libc::poll(fds.as_mut_ptr(), 2, TICK.as_millis() as i32) };
        if ready == 0 {
            self.lag = begun.elapsed().saturating_sub(TICK).max(self.lag * 9 / 10);
        }
        if fds[1].revents != 0
            && let Some(frame) = self.running.wire.try_next()?
        {
            self.running.wire.unread(&frame);
        }
        Ok(())
    }

    /// Takes what the program wrote.
    fn read_master(&mut self) {
        let mut chunk = [0u8; 16 << 10];
        loop {
            match self.master.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => {
                    self.parser.process(&chunk[..n]);
                    let room = usize::try_from(self.limit)
                        .unwrap_or(usize::MAX)
                        .saturating_sub(self.output.len());
                    self.output.extend_from_slice(&chunk[..n.min(room)]);
                    self.output_len += n as u64;
                    self.quiet_since = Instant::now();
                    self.confirmed = 0;
                    if self.output_len > self.limit {
                        break;
                    }
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.hung_up = true; // EIO: every slave is closed
                    break;
                }
            }
        }
    }

    /// The text grid: one line a row, trailing blanks removed.
    fn screen(&self, tty: &Tty) -> String {
        let rows: Vec<String> =
            self.parser.screen().rows(0, tty.cols).map(|r| r.trim_end().to_owned()).collect();
        rows.join("\n")
    }
}

fn set_nonblocking(fd: &OwnedFd) -> Result<(), SandboxError> {
    // SAFETY: plain numbers on a descriptor that we own.
    if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) } < 0 {
        return Err(SandboxError::host(
            "cannot set the terminal to non-blocking",
            std::io::Error::last_os_error(),
        ));
    }
    Ok(())
}
