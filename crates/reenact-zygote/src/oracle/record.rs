//! What is reported of an invocation: put together before it starts and after it ended.

use super::broker::Kept;
use super::files::Look;
use super::follow::Outcome;
use super::kernel::{self as k, Rights};
use super::proto::{Body, Head, Words};
use super::report::{Began, Ended, How, MAX_PARENT};
use super::request::kept;
use super::stdio::Stdio;
use crate::buf::Buf;
use crate::sys::{self, AT_FDCWD, CStr, Rusage};

/// Sends a report. Blocking: a host that is behind holds the invocations up, not the other way round.
pub fn report(kept: &Kept<'_>, message: &Buf) -> Result<(), i32> {
    k::send(kept.conf.host, &[message.bytes()], &Rights::none(), 0).map(|_| ())
}

/// Puts together what is known before the start.
pub fn report_beginning(seq: u64, head: &Head<'_>, body: &Body<'_>, stdio: &Stdio, out: &mut Buf) {
    let mut parent = [0u8; MAX_PARENT];
    let parent = command_line(head.ppid, &mut parent);
    out.clear();
    let began = Began {
        seq,
        argv: body.argv,
        argv_cut: false,
        env: kept(body.env),
        env_cut: false,
        cwd: body.cwd.and_then(CStr::new).map_or(&b""[..], CStr::bytes),
        parent: Words(parent),
        stdin: stdio.input.seen(),
        stdout: stdio.out.kind,
        stderr: stdio.err.kind,
    };
    began.encode(out);
}

/// The start of a process's command line, as words that each end in NUL.
fn command_line(pid: u32, into: &mut [u8; MAX_PARENT]) -> &[u8] {
    let mut path = k::Path::new(b"/proc/");
    path.number(pid).add(b"/cmdline");
    let Ok(fd) = sys::openat(AT_FDCWD, path.c(), sys::O_RDONLY, 0) else { return &[] };
    let room = into.len() - 1;
    let n = sys::read(fd, &mut into[..room]).unwrap_or(0);
    sys::close(fd);
    if n == 0 {
        return &[];
    }
    let end = if into[n - 1] == 0 { n } else { n + 1 };
    into[end - 1] = 0;
    &into[..end]
}

/// What the end is compared with.
pub struct Scene<'a, 'b> {
    pub kept: &'a Kept<'a>,
    pub seq: u64,
    /// Monotonic time of the start, microseconds.
    pub begun: u64,
    /// The stub, as numbered in the room.
    pub caller: u32,
    pub cwd: Option<CStr<'a>>,
    pub argv: Words<'a>,
    pub before: &'a Look,
    pub names: &'b mut Buf,
    pub out: &'b mut Buf,
}

impl Scene<'_, '_> {
    /// What must be looked at while the caller still waits, since it may change everything the moment it goes on.
    pub fn look_again(&mut self, stdio: &mut Stdio) -> Look {
        let mut after = self.before.successor();
        if let Some(cwd) = self.cwd {
            after.take(cwd, self.argv, self.names);
        }
        stdio.finish(self.caller);
        after
    }

    pub fn ended(&mut self, outcome: &Outcome, after: &Look, stdio: &mut Stdio) {
        stdio.finish_slowly();
        let wall_us = outcome.at_us.saturating_sub(self.begun);
        self.put(outcome.how, &outcome.usage, wall_us, after, stdio);
    }

    pub fn never_started(&mut self, errno: i32, stdio: &Stdio) {
        let nothing = self.before;
        self.put(How::NotStarted(errno), &Rusage::default(), 0, nothing, stdio);
    }

    fn put(&mut self, how: How, usage: &Rusage, wall_us: u64, after: &Look, stdio: &Stdio) {
        let time = |sec: i64, usec: i64| sec as u64 * 1_000_000 + usec as u64;
        self.out.clear();
        let ended = Ended {
            seq: self.seq,
            how,
            stdin: stdio.input.seen_later(),
            stdout: stdio.out.seen(),
            stderr: stdio.err.seen(),
            merged: stdio.merged,
            files: after.since(self.before),
            wall_us,
            user_us: time(usage.user_sec, usage.user_usec),
            sys_us: time(usage.sys_sec, usage.sys_usec),
        };
        ended.encode(self.out);
        // If the host is gone, so are we, soon.
        let _sent = report(self.kept, self.out);
    }
}
