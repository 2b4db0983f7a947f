//! The probe log: events of the oracle, written as lines of `<id>.probes.jsonl` (`docs/probes.md`).
//!
//! A line is written when its probe ends, with one `write` in append mode, so that a killed harness leaves whole lines and
//! at most one torn one, which [`ProbeLog::open`] cuts off.

use super::line;
use super::read;
use crate::error::CleanroomError;
use reenact_bundle::FsError;
use reenact_bundle::fsx::fs_error;
use reenact_model::Ended;
use reenact_sandbox::room::OracleSink;
use reenact_sandbox::room::oracle::{OracleEvent, ProbeBegan, ProbeEnded};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Bytes of the log after which lines no longer hold the first bytes of streams: digests and sizes stay.
const HEADS_UNTIL: u64 = 32 << 20;
/// Bytes of the log after which probes are only counted: an agent that calls the reference in an endless loop must not
/// fill the host's disk.
const LINES_UNTIL: u64 = 128 << 20;

/// The probe log of one attempt at one task. All methods may be called from any thread.
///
/// The way of use: make it, give [`ProbeLog::sink`] to `Room::start`, tell it [`ProbeLog::set_base_env`] when the room is
/// there, and [`ProbeLog::close`] it when the room has ended.
pub struct ProbeLog {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    path: PathBuf,
    file: File,
    limits: Limits,
    base_env: BTreeMap<String, String>,
    step: Option<u64>,
    /// Probes that began, in this and in earlier sessions: the last id given.
    begun: u64,
    refused: u64,
    unwritten: u64,
    /// Probes of this session that the kernel executed, and why the first other one was not.
    executed: u64,
    not_executed: Option<String>,
    /// Length of the file in whole lines.
    len: u64,
    rooms: u64,
    /// Probes that have not ended, by room and number in the room.
    pending: BTreeMap<(u64, u64), Pending>,
    problem: Option<FsError>,
    closed: bool,
}

#[derive(Clone, Copy)]
struct Limits {
    heads_until: u64,
    lines_until: u64,
}

struct Pending {
    id: u64,
    step: Option<u64>,
    time: String,
    began: Box<ProbeBegan>,
    at: Instant,
}

impl ProbeLog {
    /// Starts an empty log; an earlier one at `path` is replaced.
    ///
    /// # Errors
    /// I/O.
    pub fn create(path: &Path, base_env: BTreeMap<String, String>) -> Result<Self, CleanroomError> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(fs_error(parent, "create"))?;
        }
        let file = File::create(path).map_err(fs_error(path, "create"))?;
        drop(file);
        Self::append(path, base_env, 0, 0)
    }

    /// Goes on with the log at `path`, or starts one: ids continue, and a torn last line is cut off.
    ///
    /// # Errors
    /// I/O; a line that is no probe, with its number and field.
    pub fn open(path: &Path, base_env: BTreeMap<String, String>) -> Result<Self, CleanroomError> {
        if !path.exists() {
            return Self::create(path, base_env);
        }
        let mut last = 0;
        let len = read::each(path, |probe| last = last.max(probe.id))?;
        Self::append(path, base_env, last, len)
    }

    fn append(
        path: &Path,
        base_env: BTreeMap<String, String>,
        begun: u64,
        len: u64,
    ) -> Result<Self, CleanroomError> {
        let file = OpenOptions::new().append(true).open(path).map_err(fs_error(path, "open"))?;
        file.set_len(len).map_err(fs_error(path, "cut"))?;
        let shared = Shared {
            path: path.to_path_buf(),
            file,
            limits: Limits { heads_until: HEADS_UNTIL, lines_until: LINES_UNTIL },
            base_env,
            step: None,
            begun,
            refused: 0,
            unwritten: 0,
            executed: 0,
            not_executed: None,
            len,
            rooms: 0,
            pending: BTreeMap::new(),
            problem: None,
            closed: false,
        };
        Ok(Self { shared: Arc::new(Mutex::new(shared)) })
    }

    /// What a room calls with its oracle's events. One sink for each room: when the room drops it, its probes that have not
    /// ended are written as such.
    pub fn sink(&self) -> OracleSink {
        let room = {
            let mut shared = lock(&self.shared);
            shared.rooms += 1;
            shared.rooms
        };
        let ending = RoomEnding { shared: Arc::clone(&self.shared), room };
        Box::new(move |event| lock(&ending.shared).take(ending.room, event))
    }

    /// The environment that lines are compared with: `Room::base_env`, which is known when the room runs.
    pub fn set_base_env(&self, env: BTreeMap<String, String>) {
        lock(&self.shared).base_env = env;
    }

    /// The agent's step during which probes begin from now on.
    pub fn set_step(&self, step: Option<u64>) {
        lock(&self.shared).step = step;
    }

    /// Probes that began, earlier sessions of the same log included.
    pub fn count(&self) -> u64 {
        lock(&self.shared).begun
    }

    /// Requests that the oracle did not carry out, in this session.
    pub fn refused(&self) -> u64 {
        lock(&self.shared).refused
    }

    /// Why the reference was never executed, though it was asked for in this session: then the oracle is broken, and what the
    /// agent saw are its errors.
    pub fn never_executed(&self) -> Option<String> {
        let shared = lock(&self.shared);
        shared.not_executed.clone().filter(|_| shared.executed == 0)
    }

    /// Probes that are counted but not written, since the log had reached its largest size or could not be written.
    pub fn unwritten(&self) -> u64 {
        lock(&self.shared).unwritten
    }

    /// Writes what has not ended, and closes: later events are ignored. A second call does nothing.
    ///
    /// # Errors
    /// The first line that could not be written, if there was one.
    pub fn close(&self) -> Result<(), CleanroomError> {
        let mut shared = lock(&self.shared);
        shared.flush(|_| true);
        shared.closed = true;
        match shared.problem.take() {
            Some(problem) => Err(problem.into()),
            None => Ok(()),
        }
    }
}

impl Drop for ProbeLog {
    fn drop(&mut self) {
        // Who wants to know of failed writes has called `close`; here there is nobody to tell.
        let _told = self.close();
    }
}

/// Writes the unended probes of a room when the room drops its sink.
struct RoomEnding {
    shared: Arc<Mutex<Shared>>,
    room: u64,
}

impl Drop for RoomEnding {
    fn drop(&mut self) {
        let room = self.room;
        lock(&self.shared).flush(|key| key.0 == room);
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // A panic elsewhere leaves whole values: each field is set by itself.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn take(&mut self, room: u64, event: OracleEvent) {
        if self.closed {
            return;
        }
        match event {
            OracleEvent::Began(began) => {
                self.begun += 1;
                let key = (room, began.seq);
                let pending = Pending {
                    id: self.begun,
                    step: self.step,
                    time: line::now_millis(),
                    began,
                    at: Instant::now(),
                };
                self.pending.insert(key, pending);
            }
            OracleEvent::Ended(ended) => {
                match &ended.ended {
                    Ended::ExecFailed { what, .. } => {
                        self.not_executed.get_or_insert_with(|| what.clone());
                    }
                    _ => self.executed += 1,
                }
                if let Some(pending) = self.pending.remove(&(room, ended.seq)) {
                    self.write(pending, Some(&ended));
                }
            }
            OracleEvent::Refused { .. } => self.refused += 1,
        }
    }

    fn flush(&mut self, which: impl Fn(&(u64, u64)) -> bool) {
        let keys: Vec<(u64, u64)> = self.pending.keys().copied().filter(which).collect();
        for key in keys {
            if let Some(pending) = self.pending.remove(&key) {
                self.write(pending, None);
            }
        }
    }

    fn write(&mut self, pending: Pending, ended: Option<&ProbeEnded>) {
        if self.problem.is_some() || self.len >= self.limits.lines_until {
            self.unwritten += 1;
            return;
        }
        let Pending { id, step, time, began, at } = pending;
        let elapsed_us = u64::try_from(at.elapsed().as_micros()).unwrap_or(u64::MAX);
        let heads = self.len < self.limits.heads_until;
        let start = line::Start { id, step, time, elapsed_us, heads, base_env: &self.base_env };
        let mut text = line::text(&line::probe(&start, &began, ended));
        text.push('\n');
        // `File::write_all` on a regular file is one write, unless the disk is full; then the part is taken back.
        match self.file.write_all(text.as_bytes()) {
            Ok(()) => self.len += text.len() as u64,
            Err(error) => {
                let _cut = self.file.set_len(self.len);
                self.problem = Some(fs_error(&self.path, "write")(error));
                self.unwritten += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
