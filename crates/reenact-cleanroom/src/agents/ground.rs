//! Where a step's commands run: the room, behind a trait small enough for tests.

use crate::error::CleanroomError;
use reenact_sandbox::room::{Exec, ExecEnd, Executed, Input, Room};
use std::collections::BTreeMap;
use std::time::Duration;

/// What one command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    pub end: ExecEnd,
    /// The first bytes of stdout and stderr, in the order in which they were written.
    pub output: Vec<u8>,
    /// Bytes written in all.
    pub written: u64,
    /// What the harness has to say about it.
    pub note: Option<String>,
}

impl Ran {
    /// The exit code as mini-SWE-agent has it: for a signal, its negative number; 124 after a time-out of ours (as
    /// timeout(1) has it), 125 after another end of ours, 127 if there was nothing to run.
    pub fn returncode(&self) -> i32 {
        match self.end {
            ExecEnd::Exit { code } => code,
            ExecEnd::Signal { signal } => -signal,
            ExecEnd::WallLimit => 124,
            ExecEnd::OutputLimit | ExecEnd::Stopped => 125,
            ExecEnd::NotFound { .. } => 127,
        }
    }
}

/// Runs commands, and keeps the state between them.
pub trait Ground {
    /// Runs a shell command to its end, at most for `wall`.
    ///
    /// # Errors
    /// Faults of the harness; what the command did is never one.
    fn run(&self, command: &str, wall: Duration) -> Result<Ran, CleanroomError>;

    /// Keeps the state after step `step`; may leave it out where keeping is slow, unless `must`.
    ///
    /// # Errors
    /// Faults of the harness.
    fn keep(&self, step: u64, must: bool) -> Result<(), CleanroomError>;

    /// The last step up to `at_most` whose state was kept.
    ///
    /// # Errors
    /// Faults of the harness.
    fn kept(&self, at_most: u64) -> Result<Option<u64>, CleanroomError>;

    /// Brings the state after step `step` into this (fresh) ground.
    ///
    /// # Errors
    /// Faults of the harness.
    fn restore(&self, step: u64) -> Result<(), CleanroomError>;
}

/// Longest command that is passed as an argument; the kernel takes 128 KiB for one.
const ARGUMENT_MAX: usize = 100 << 10;
/// A command that writes this many times of what is kept is ended: it would go on for ever.
const FLOOD: u64 = 64;

/// The shell of a room.
pub(super) struct RoomShell<'a> {
    room: &'a Room,
    shell: &'static str,
    keep_bytes: u64,
}

impl<'a> RoomShell<'a> {
    /// Looks for `bash`, and takes `sh` if there is none.
    pub(super) fn find(room: &'a Room, keep_bytes: u64) -> Result<Self, CleanroomError> {
        let mut this = Self { room, shell: "bash", keep_bytes };
        let probe = this.exec(":", Some("/"), Duration::from_secs(60))?;
        if matches!(probe.end, ExecEnd::NotFound { .. }) {
            this.shell = "sh";
        }
        Ok(this)
    }

    pub(super) fn run(&self, command: &str, wall: Duration) -> Result<Ran, CleanroomError> {
        if command.contains('\0') {
            return Ok(Ran {
                end: ExecEnd::NotFound { errno: 0 },
                output: Vec::new(),
                written: 0,
                note: Some("not run: the command holds a NUL character".to_owned()),
            });
        }
        let done = self.exec(command, None, wall)?;
        if let ExecEnd::NotFound { errno } = done.end {
            // The shell is there, so it is the directory that cannot be entered (removed, or made unreadable).
            let done = self.exec(command, Some("/"), wall)?;
            let error = std::io::Error::from_raw_os_error(errno);
            let note = format!("/workspace cannot be entered ({error}); this was run in /");
            return Ok(ran(done, Some(note), wall));
        }
        Ok(ran(done, None, wall))
    }

    fn exec(
        &self,
        command: &str,
        cwd: Option<&str>,
        wall: Duration,
    ) -> Result<Executed, CleanroomError> {
        // A long command comes by stdin, is read whole before it runs, and then has an empty stdin as any other.
        let (script, stdin) = if command.len() > ARGUMENT_MAX {
            ("eval \"$(cat)\"", Input::Bytes(command.as_bytes().to_vec()))
        } else {
            (command, Input::Null)
        };
        Ok(self.room.exec(Exec {
            argv: [self.shell, "-c", script].map(str::to_owned).to_vec(),
            env: BTreeMap::new(),
            cwd: cwd.map(str::to_owned),
            stdin,
            merge_stderr: true,
            wall: Some(wall),
            keep_bytes: usize::try_from(self.keep_bytes).unwrap_or(usize::MAX),
            max_bytes: Some(self.keep_bytes.saturating_mul(FLOOD)),
        })?)
    }
}

fn ran(done: Executed, note: Option<String>, wall: Duration) -> Ran {
    let about_end = match done.end {
        ExecEnd::WallLimit => Some(format!(
            "killed after {} s, the limit for one command",
            wall.as_secs_f64().round()
        )),
        ExecEnd::OutputLimit => {
            Some(format!("killed after it had written {} bytes", done.stdout_len))
        }
        ExecEnd::Stopped => Some("killed because the run was stopped".to_owned()),
        ExecEnd::Signal { signal } => Some(format!("the shell was killed by signal {signal}")),
        ExecEnd::Exit { .. } | ExecEnd::NotFound { .. } => None,
    };
    let notes: Vec<String> = note.into_iter().chain(about_end).collect();
    Ran {
        end: done.end,
        output: done.stdout,
        written: done.stdout_len,
        note: (!notes.is_empty()).then(|| notes.join("; ")),
    }
}

/// The room as a ground: its shell, and snapshots in the attempt's directory.
pub(super) struct RoomGround<'a> {
    shell: RoomShell<'a>,
    snapshots: super::keeper::Keeper<'a>,
}

impl<'a> RoomGround<'a> {
    pub(super) fn new(site: &crate::site::Site<'a>) -> Result<Self, CleanroomError> {
        Ok(Self {
            shell: RoomShell::find(site.room, site.policy.kept_bytes)?,
            snapshots: super::keeper::Keeper::new(site),
        })
    }
}

impl Ground for RoomGround<'_> {
    fn run(&self, command: &str, wall: Duration) -> Result<Ran, CleanroomError> {
        self.shell.run(command, wall)
    }

    fn keep(&self, step: u64, must: bool) -> Result<(), CleanroomError> {
        self.snapshots.keep(step, must)
    }

    fn kept(&self, at_most: u64) -> Result<Option<u64>, CleanroomError> {
        self.snapshots.last(at_most)
    }

    fn restore(&self, step: u64) -> Result<(), CleanroomError> {
        self.snapshots.restore(step)
    }
}

#[cfg(test)]
mod tests;
