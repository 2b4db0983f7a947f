//! A running cell.

use crate::error::SandboxError;
use crate::spec::{CellSpec, Perturbation};
use crate::start::{Running, end, start};
use crate::{observe, tree, tty};
use reenact_model::{
    BlobSource, Case, CaseObservation, Ended, FileSpec, Limits, Observation, Step,
};
use reenact_zygote::proto::{Ran, Sink, flag, kind, op, re};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// A running cell. Dropping it kills everything in it.
pub struct Cell {
    spec: CellSpec,
    base_env: BTreeMap<String, String>,
    pub(crate) running: Running,
}

/// One invocation outside any case (builds, probes, tools).
#[derive(Clone, Debug, Default)]
pub struct Invocation {
    /// Absolute path of the program in the cell.
    pub program: String,
    /// Arguments after argv[0]; argv[0] is `program`.
    pub args: Vec<String>,
    /// Variables over the cell's base environment.
    pub env: BTreeMap<String, String>,
    /// Standard input; `None` is `/dev/null`.
    pub stdin: Option<Vec<u8>>,
    /// Working directory; `None` is the cell's cwd.
    pub cwd: Option<String>,
    pub limits: Limits,
    /// stderr goes into stdout's stream, in order (build logs); stderr is then empty.
    pub merge_stderr: bool,
}

/// Caps on what [`Cell::export_tree`] takes out.
#[derive(Clone, Copy, Debug)]
pub struct ExportLimits {
    pub bytes: u64,
    pub entries: u64,
}

/// What [`Cell::export_tree`] did.
#[derive(Clone, Debug, Default)]
pub struct ExportReport {
    pub files: u64,
    pub bytes: u64,
    /// Paths left behind, with the reason (fifo, socket, device, setuid bit dropped, …).
    pub skipped: Vec<String>,
}

/// Largest piece of a file that travels in one frame.
const PIECE: usize = 1 << 20;
/// Added to the wall limit: how long the zygote may take to end and report a step.
const GRACE: Duration = Duration::from_secs(60);

/// What one run request is made of.
pub(crate) struct RunSpec<'a> {
    pub program: &'a str,
    pub args: &'a [String],
    pub env: BTreeMap<&'a str, &'a str>,
    pub stdin: Option<&'a [u8]>,
    pub cwd: &'a str,
    pub limits: Limits,
    pub flags: u32,
    pub size: (u16, u16),
    pub skip_pids: u32,
    pub stdin_chunk: u32,
}

impl Cell {
    /// Starts a cell. Takes single-digit milliseconds.
    ///
    /// # Errors
    /// [`SandboxError`] naming the layer or set-up step that failed.
    pub fn start(spec: &CellSpec) -> Result<Self, SandboxError> {
        Ok(Self { running: start(spec)?, base_env: spec.base_env(), spec: spec.clone() })
    }

    /// The spec it was started from.
    pub fn spec(&self) -> &CellSpec {
        &self.spec
    }

    /// Isolation layers in force, by name (`namespaces`, `network`, `memory`, `processes`, `seccomp`, `uid`, …) with the
    /// form each one takes (`cgroup-v1`, `RLIMIT_NPROC`, …). Goes into manifests.
    pub fn layers(&self) -> BTreeMap<String, String> {
        self.running.layers.clone()
    }

    /// Runs a case on `program` (a path in the cell): empties the workspace, places the case's files, runs its steps, lists
    /// the workspace. Expectations in `case` are not looked at.
    ///
    /// # Errors
    /// [`SandboxError`]; the cell is then unusable and must be restarted from its spec.
    pub fn run_case(
        &mut self,
        program: &str,
        case: &Case,
        blobs: &dyn BlobSource,
        perturb: &Perturbation,
    ) -> Result<CaseObservation, SandboxError> {
        self.running.wire.frame(op::RESET);
        self.place(&case.files, blobs)?;
        let kills = self.oom_kills();
        let mut seen = CaseObservation::default();
        for (i, step) in case.steps.iter().enumerate() {
            let last = i + 1 == case.steps.len();
            let observation = self.run_step(program, case, step, blobs, perturb, last)?;
            let stop = observation.ended.is_limit()
                || matches!(observation.ended, Ended::ExecFailed { .. });
            seen.steps.push(observation);
            if stop && !last {
                request_listing(&mut self.running, &self.spec);
                self.running.wire.frame(op::SYNC);
                self.running.wire.flush()?;
                break;
            }
        }
        tree::read_listing(&mut self.running.wire, &mut seen)?;
        self.expect_synced()?;
        let killed = self.oom_kills() - kills;
        if killed > 0 {
            observe::attribute_oom(&mut seen, killed, self.spec.limits.memory_bytes);
        }
        Ok(seen)
    }

    /// Runs one step. With the last one, the listing is asked for in the same write: for the common case, one step, all
    /// goes out in one write and comes back in one read.
    fn run_step(
        &mut self,
        program: &str,
        case: &Case,
        step: &Step,
        blobs: &dyn BlobSource,
        perturb: &Perturbation,
        last: bool,
    ) -> Result<Observation, SandboxError> {
        let stdin = step.stdin.as_ref().map(|c| c.bytes(blobs)).transpose()?;
        let mut env: BTreeMap<&str, &str> =
            self.base_env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        if step.tty.is_some() {
            env.insert("TERM", "xterm-256color");
        }
        env.extend(step.env.iter().chain(&perturb.env).map(|(k, v)| (k.as_str(), v.as_str())));
        let run = RunSpec {
            program,
            args: &step.argv,
            env,
            stdin: stdin.as_deref(),
            cwd: &self.spec.cwd,
            limits: case.limits.or(self.spec.step_limits),
            flags: if perturb.no_aslr { flag::NO_ASLR } else { 0 },
            size: step.tty.as_ref().map_or((0, 0), |t| (t.rows, t.cols)),
            skip_pids: perturb.skip_pids,
            stdin_chunk: perturb.stdin_chunk.unwrap_or(0),
        };
        if let Some(tty) = &step.tty {
            let memory = self.spec.limits.memory_bytes;
            let mut observation = tty::run(&mut self.running, &run, tty)?;
            observe::name_memory_limit(&mut observation, memory);
            if last {
                request_listing(&mut self.running, &self.spec);
                self.running.wire.frame(op::SYNC);
                self.running.wire.flush()?;
            }
            return Ok(observation);
        }
        request(&mut self.running, &run);
        if last {
            request_listing(&mut self.running, &self.spec);
        }
        self.running.wire.frame(op::SYNC);
        self.running.wire.flush()?;
        self.running.wire.set_timeout(wall(&run.limits) + GRACE)?;
        let limits = run.limits;
        let frame = self.running.wire.next()?;
        let mut observation = observe::from_frame(&frame, &limits)?;
        observe::name_memory_limit(&mut observation, self.spec.limits.memory_bytes);
        if !last {
            self.expect_synced()?;
        }
        Ok(observation)
    }

    /// Runs one invocation in the workspace as it is (nothing is emptied or listed).
    ///
    /// # Errors
    /// As [`Cell::run_case`].
    pub fn run(&mut self, invocation: &Invocation) -> Result<Observation, SandboxError> {
        let kills = self.oom_kills();
        let limits = invocation.limits.or(self.spec.step_limits);
        let run = RunSpec {
            program: &invocation.program,
            args: &invocation.args,
            env: self
                .base_env
                .iter()
                .chain(&invocation.env)
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .collect(),
            stdin: invocation.stdin.as_deref(),
            cwd: invocation.cwd.as_deref().unwrap_or(&self.spec.cwd),
            limits,
            flags: if invocation.merge_stderr { flag::MERGE_STDERR } else { 0 },
            size: (0, 0),
            skip_pids: 0,
            stdin_chunk: 0,
        };
        request(&mut self.running, &run);
        self.running.wire.frame(op::SYNC);
        self.running.wire.flush()?;
        self.running.wire.set_timeout(wall(&limits) + GRACE)?;
        let frame = self.running.wire.next()?;
        let mut observation = observe::from_frame(&frame, &limits)?;
        observe::name_memory_limit(&mut observation, self.spec.limits.memory_bytes);
        self.expect_synced()?;
        let killed = self.oom_kills() - kills;
        let mut seen = CaseObservation { steps: vec![observation], ..Default::default() };
        if killed > 0 {
            observe::attribute_oom(&mut seen, killed, self.spec.limits.memory_bytes);
        }
        seen.steps.pop().ok_or_else(|| SandboxError::Lost("no observation".to_owned()))
    }

    /// Empties cwd, HOME and /tmp.
    ///
    /// # Errors
    /// As [`Cell::run_case`].
    pub fn reset(&mut self) -> Result<(), SandboxError> {
        self.running.wire.frame(op::RESET);
        self.sync()
    }

    /// Copies the host directory `from` (regular files, directories, symlinks; special files refused) into `target`, a
    /// directory of a [`crate::Scratch`] or of the workspace; files become owned by the cell's user.
    ///
    /// # Errors
    /// As [`Cell::run_case`]; [`SandboxError::Spec`] for a special file.
    pub fn import_tree(&mut self, from: &Path, target: &str) -> Result<(), SandboxError> {
        tree::import(self, from, target)?;
        self.sync()
    }

    /// Copies the cell's directory `from` to the new host directory `to`. Regular files (mode bits 0777), directories and
    /// symlinks (verbatim) are taken; everything else is skipped and reported. Hostile trees cannot write outside `to`.
    ///
    /// # Errors
    /// As [`Cell::run_case`]; [`SandboxError::Spec`] when a cap is passed.
    pub fn export_tree(
        &mut self,
        from: &str,
        to: &Path,
        limits: ExportLimits,
    ) -> Result<ExportReport, SandboxError> {
        tree::request_listing(&mut self.running.wire, from, limits.bytes, limits.entries, false);
        self.running.wire.frame(op::SYNC);
        self.running.wire.flush()?;
        self.running.wire.set_timeout(GRACE)?;
        let report = tree::receive_tree(&mut self.running.wire, to);
        if !matches!(report, Err(SandboxError::Lost(_))) {
            // The cell itself is well, whatever became of the copy.
            self.expect_synced()?;
        }
        report
    }

    /// Places a case's files in the workspace's cwd, parents first.
    fn place(
        &mut self,
        files: &BTreeMap<String, FileSpec>,
        blobs: &dyn BlobSource,
    ) -> Result<(), SandboxError> {
        let mut made = std::collections::BTreeSet::new();
        for (path, spec) in files {
            for (at, _) in path.match_indices('/') {
                if made.insert(path[..at].to_owned()) && !files.contains_key(&path[..at]) {
                    let full = format!("{}/{}", self.spec.cwd, &path[..at]);
                    self.put(kind::DIR, 0o755, &full, b"")?;
                }
            }
            let full = format!("{}/{path}", self.spec.cwd);
            match spec {
                FileSpec::Dir => self.put(kind::DIR, 0o755, &full, b"")?,
                FileSpec::Symlink(target) => self.put_link(target.as_bytes(), &full)?,
                FileSpec::File { content, executable } => {
                    let mode = if *executable { 0o755 } else { 0o644 };
                    let bytes = content.bytes(blobs)?;
                    self.put_file(mode, &full, &bytes)?;
                }
            }
        }
        if files.is_empty() {
            return Ok(());
        }
        let placed =
            files.keys().cloned().chain(made).map(|path| format!("{}/{path}", self.spec.cwd));
        for full in placed.chain([self.spec.cwd.clone()]).collect::<Vec<_>>() {
            self.put(kind::TOUCH, 0, &full, b"")?;
        }
        Ok(())
    }

    pub(crate) fn put_link(&mut self, target: &[u8], path: &str) -> Result<(), SandboxError> {
        let with_nul: Vec<u8> = target.iter().copied().chain([0]).collect();
        self.put(kind::SYMLINK, 0, path, &with_nul)
    }

    pub(crate) fn put_file(
        &mut self,
        mode: u32,
        path: &str,
        bytes: &[u8],
    ) -> Result<(), SandboxError> {
        let first = &bytes[..bytes.len().min(PIECE)];
        self.put(kind::FILE, mode, path, first)?;
        for piece in bytes[first.len()..].chunks(PIECE) {
            self.put(kind::APPEND, mode, path, piece)?;
        }
        Ok(())
    }

    /// Queues one PUT; sends what waits when it gets long (the zygote answers only failures, so it never blocks on us).
    pub(crate) fn put(
        &mut self,
        what: u8,
        mode: u32,
        path: &str,
        data: &[u8],
    ) -> Result<(), SandboxError> {
        let mut frame = self.running.wire.frame(op::PUT);
        frame.u8(what);
        frame.u32(mode);
        frame.cstr(path.as_bytes());
        frame.blob(data);
        drop(frame);
        if self.running.wire.waiting() > PIECE {
            self.running.wire.flush()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), SandboxError> {
        self.running.wire.frame(op::SYNC);
        self.running.wire.flush()?;
        self.running.wire.set_timeout(GRACE)?;
        self.expect_synced()
    }

    fn expect_synced(&mut self) -> Result<(), SandboxError> {
        let frame = self.running.wire.next()?;
        if frame.op == re::SYNCED { Ok(()) } else { Err(crate::wire::failed(&frame)) }
    }

    fn oom_kills(&self) -> u64 {
        self.running.cgroup.as_ref().map_or(0, crate::cgroup::WorkerCgroup::oom_kills)
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        end(&mut self.running);
    }
}

/// Queues the listing of the workspace.
fn request_listing(running: &mut Running, spec: &CellSpec) {
    let (bytes, entries) = (spec.limits.disk_bytes.saturating_mul(2), spec.limits.inodes);
    tree::request_listing(&mut running.wire, &spec.cwd, bytes, entries, true);
}

/// The wall limit as a duration.
pub(crate) fn wall(limits: &Limits) -> Duration {
    Duration::from_millis(limits.wall_ms.unwrap_or(10_000))
}

/// Queues a RUN frame.
pub(crate) fn request(running: &mut Running, run: &RunSpec<'_>) {
    let poll = running.poll_memory;
    let mut f = running.wire.frame(op::RUN);
    f.u32(run.flags | if run.stdin.is_some() { flag::STDIN } else { 0 });
    f.u64(run.limits.wall_ms.unwrap_or(10_000));
    f.u32(
        u32::try_from(run.limits.cpu_ms.unwrap_or(10_000).div_ceil(1000))
            .unwrap_or(u32::MAX - 1)
            .max(1),
    );
    f.u64(run.limits.output_bytes.unwrap_or(1 << 20));
    f.u64(poll);
    f.u32(run.skip_pids);
    f.u32(run.stdin_chunk);
    f.u32(u32::from(run.size.0));
    f.u32(u32::from(run.size.1));
    f.cstr(run.program.as_bytes());
    f.cstr(run.cwd.as_bytes());
    f.u32(run.args.len() as u32 + 1);
    f.cstr(run.program.as_bytes());
    for arg in run.args {
        f.cstr(arg.as_bytes());
    }
    f.u32(run.env.len() as u32);
    for (name, value) in &run.env {
        f.u32((name.len() + 1 + value.len() + 1) as u32);
        f.put(name.as_bytes());
        f.put(b"=");
        f.put(value.as_bytes());
        f.put(&[0]);
    }
    f.blob(run.stdin.unwrap_or_default());
}

/// Decodes the reply to a RUN.
pub(crate) fn decode(frame: &crate::wire::Frame) -> Result<Ran<'_>, SandboxError> {
    if frame.op != re::RAN {
        return Err(crate::wire::failed(frame));
    }
    Ran::decode(&frame.payload).ok_or_else(|| SandboxError::Lost("a malformed report".to_owned()))
}
