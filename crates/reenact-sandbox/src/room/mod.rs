//! Rooms: cells that live long, in which an agent works. Many commands run in one, at once or one after the other, and what
//! they start stays until the room ends. A room may hold a *reference* that can be run but not read ([`OracleSpec`]).

mod contain;
mod files;
pub(crate) mod libraries;
mod link;
pub mod oracle;
mod plan;
mod reports;
mod run;

use crate::cgroup::WorkerCgroup;
use crate::container::ContainerSpec;
use crate::error::SandboxError;
use crate::plan::Plan;
use crate::spec::{CellLimits, Isolation, Mount, Rootfs, WORKSPACE};
use crate::start::{self, Mode, Running};
use crate::wire::Wire;
use files::Files;
use link::Link;
use oracle::OracleEvent;
use reenact_zygote::proto::op;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Everything needed to start a room.
#[derive(Clone, Debug)]
pub struct RoomSpec {
    /// Root filesystem, read-only in the room.
    pub rootfs: Rootfs,
    /// `disk_bytes` and `inodes` bound /workspace, HOME, /tmp and /dev/shm together.
    pub limits: CellLimits,
    pub isolation: Isolation,
    /// Host files or directories mounted read-only in the room.
    pub mounts: Vec<Mount>,
    pub hostname: String,
    /// Variables of every command, over the standard ones.
    pub env: BTreeMap<String, String>,
    pub oracle: Option<OracleSpec>,
}

/// A reference at [`crate::spec::PROGRAM`] that can be run but not read.
#[derive(Clone, Debug)]
pub struct OracleSpec {
    /// The executable, on the host.
    pub reference: PathBuf,
    /// Trees laid over the root filesystem for the reference alone (its libraries and data).
    pub layers: Vec<PathBuf>,
    /// The executable is dynamic: run it in secure-execution mode (AT_SECURE), so that the loader takes no orders.
    pub secure: bool,
    /// Kept for manifests that ask for it; every caller on a terminal is given one of its own.
    pub own_terminal: bool,
}

/// Where standard input of a command comes from.
pub enum Input {
    /// `/dev/null`
    Null,
    Bytes(Vec<u8>),
    /// Read until its end by a thread of ours.
    Stream(Box<dyn Read + Send>),
}

/// One command. It runs as the room's user.
pub struct Exec {
    /// Program (absolute, or looked up in PATH) and arguments.
    pub argv: Vec<String>,
    /// Variables over the room's.
    pub env: BTreeMap<String, String>,
    /// Absolute; `None`: /workspace.
    pub cwd: Option<String>,
    pub stdin: Input,
    /// stderr goes into stdout's pipe, in order.
    pub merge_stderr: bool,
    /// After this, the command's session is killed. What left its session (daemons) lives on.
    pub wall: Option<Duration>,
    /// Bytes of each stream that are kept; the rest is counted and dropped.
    pub keep_bytes: usize,
    /// If a stream passes this many bytes, the session is killed.
    pub max_bytes: Option<u64>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecEnd {
    Exit {
        code: i32,
    },
    Signal {
        signal: i32,
    },
    /// Its time was up, and we killed it.
    WallLimit,
    /// It wrote more than allowed, and we killed it.
    OutputLimit,
    /// [`Stopper::stop`] was called, and we killed it.
    Stopped,
    /// The program could not be executed.
    NotFound {
        errno: i32,
    },
}

/// What a command did.
#[derive(Clone, Debug)]
pub struct Executed {
    pub end: ExecEnd,
    /// First `keep_bytes` of each stream.
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// Bytes received in all.
    pub stdout_len: u64,
    pub stderr_len: u64,
    pub wall_us: u64,
    /// User and system CPU time of the command and of those it waited for, microseconds.
    pub cpu_us: u64,
}

/// Where output goes while it comes.
pub struct Sinks<'a> {
    pub stdout: &'a mut (dyn Write + Send),
    pub stderr: &'a mut (dyn Write + Send),
}

/// An entry of the room's writable trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEntry {
    /// Relative to the listed directory; any bytes.
    pub path: Vec<u8>,
    pub kind: TreeKind,
    /// Permission bits.
    pub mode: u32,
    pub size: u64,
    pub ino: u64,
    /// Nanoseconds since the epoch.
    pub mtime_ns: i128,
    pub ctime_ns: i128,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeKind {
    File,
    Dir,
    Symlink {
        target: Vec<u8>,
    },
    /// fifo, socket or device
    Special,
}

/// Called with every oracle event, from a thread of the room's.
pub type OracleSink = Box<dyn FnMut(OracleEvent) + Send>;

/// What a room is started from.
struct Start<'a> {
    plan: Plan,
    mode: &'a Mode,
    cgroup: Option<WorkerCgroup>,
    layers: BTreeMap<String, String>,
    env: BTreeMap<String, String>,
}

/// A running room. Dropping it ends everything in it.
pub struct Room {
    link: Arc<Link>,
    files: Files,
    root: PathBuf,
    env: BTreeMap<String, String>,
    /// Commands of containers can change their ids.
    set_ids: bool,
    running: Mutex<Running>,
    layers: BTreeMap<String, String>,
    next: AtomicU64,
    reports: Option<JoinHandle<()>>,
}

/// Ends commands of a room from another thread.
#[derive(Clone)]
pub struct Stopper(Arc<Link>);

impl Stopper {
    /// Kills the session of every command that runs now; [`Room::exec`] then gives [`ExecEnd::Stopped`].
    pub fn stop(&self) {
        self.0.stop_all();
    }
}

/// Ends one command of a room from another thread; see [`Room::exec_with_handle`].
#[derive(Clone)]
pub struct CommandHandle {
    link: Arc<Link>,
    id: u64,
}

impl CommandHandle {
    /// Kills the command's session; its call then gives [`ExecEnd::Stopped`]. Nothing if the command does not run (yet).
    pub fn stop(&self) {
        self.link.stop(self.id);
    }

    /// Sends a signal to the command's process alone (containers); nothing if it does not run.
    ///
    /// # Errors
    /// [`SandboxError::Lost`] if pid 1 is gone.
    pub fn signal(&self, signal: i32) -> Result<(), SandboxError> {
        self.link.signal(self.id, signal)
    }
}

fn check(exec: &Exec) -> Result<(), SandboxError> {
    let texts = exec.argv.iter().chain(exec.env.keys()).chain(exec.env.values());
    if exec.argv.is_empty() || texts.chain(&exec.cwd).any(|t| t.contains('\0')) {
        return Err(SandboxError::Spec {
            path: PathBuf::from(exec.argv.first().map_or("", String::as_str)),
            what: "a command needs a program, and no NUL bytes".to_owned(),
        });
    }
    Ok(())
}

impl Room {
    /// Starts a room: tens of milliseconds. Nothing but pid 1 runs in it. `events` is called from a thread of the room's.
    ///
    /// # Errors
    /// [`SandboxError`] naming the layer or set-up step that failed.
    pub fn start(spec: &RoomSpec, events: OracleSink) -> Result<Self, SandboxError> {
        let cgroup = start::worker_cgroup(&spec.isolation, &spec.limits)?;
        let mode = start::mode(&spec.isolation, cgroup.is_some());
        let stage = start::stage()?;
        let text = start::stage_path(&stage)?;
        let plan = plan::make(spec, &mode, cgroup.is_some(), text)?;
        let layers = start::layers(&spec.rootfs.base, &mode, cgroup.as_ref());
        let env = plan::cell_spec(spec).base_env();
        let started = Start { plan, mode: &mode, cgroup, layers, env };
        Self::begin(started, spec.oracle.as_ref(), events)
    }

    /// Starts pid 1, has it perform the plan, and takes up the link to it.
    fn begin(
        start: Start<'_>,
        oracle: Option<&OracleSpec>,
        events: OracleSink,
    ) -> Result<Self, SandboxError> {
        let Start { plan, mode, cgroup, mut layers, env } = start;
        let pair =
            || UnixStream::pair().map_err(|e| SandboxError::host("cannot make a socket pair", e));
        let (ours, theirs) = pair()?;
        let (reports, stdout) = match oracle {
            Some(_) => {
                let (ours, theirs) = reports::pair()?;
                (Some(ours), Stdio::from(theirs))
            }
            None => (None, Stdio::null()),
        };
        let process = start::spawn_zygote(theirs, stdout, mode)?;
        let socket = ours
            .try_clone()
            .map_err(|e| SandboxError::host("cannot duplicate the room's socket", e))?;
        if let Some(oracle) = oracle {
            let how = if oracle.secure { "broker, AT_SECURE" } else { "broker" };
            layers.insert("reference".to_owned(), how.to_owned());
        }
        let mut running = Running {
            wire: Wire::new(ours),
            process,
            layers: BTreeMap::new(),
            poll_memory: 0,
            cgroup,
        };
        if let Err(e) = start::set_up(&mut running, &plan) {
            start::end(&mut running);
            return Err(e);
        }
        let link = Arc::new(Link::new(socket)?);
        let root = link.descriptor(op::ROOT, b"")?;
        let files = Files::new(root, mode.outer_ids());
        let reports = reports.map(|socket| reports::listen(socket, events)).transpose()?;
        Ok(Self {
            root: PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), files.root_fd())),
            link,
            files,
            env,
            set_ids: mode.root,
            running: Mutex::new(running),
            layers,
            next: AtomicU64::new(1),
            reports,
        })
    }

    /// See [`crate::container::Container::start`].
    pub(crate) fn contain(spec: &ContainerSpec, events: OracleSink) -> Result<Self, SandboxError> {
        let cgroup = contain::cgroup(spec)?;
        let mode = start::mode(&spec.isolation, cgroup.is_some());
        let stage = start::stage()?;
        let text = start::stage_path(&stage)?;
        let plan = contain::plan(spec, &mode, text)?;
        let layers = contain::layers(spec, &mode, cgroup.as_ref());
        let started =
            Start { plan, mode: &mode, cgroup: cgroup.map(|c| c.0), layers, env: BTreeMap::new() };
        Self::begin(started, None, events)
    }

    /// See [`crate::container::Container::exec`].
    pub(crate) fn run_as(
        &self,
        run: crate::container::Run,
        sinks: Option<Sinks<'_>>,
        handle: impl FnOnce(CommandHandle),
    ) -> Result<Executed, SandboxError> {
        let id = self.next_id();
        handle(CommandHandle { link: Arc::clone(&self.link), id });
        let (exec, user) = (run.command, run.user);
        check(&exec)?;
        let (argv, env) = (exec.argv.clone(), exec.env.clone());
        let cwd = exec.cwd.clone().unwrap_or_else(|| "/".to_owned());
        let path = env.get("PATH").cloned().unwrap_or_default();
        let user = Some((&user, self.set_ids));
        let request = link::Request { user, id, cwd: &cwd, path: &path, argv: &argv, env: &env };
        run::run(&self.link, &request, exec, run.descriptors, sinks)
    }

    /// Opens below the root, following links as the container's programs do.
    pub(crate) fn open_in_root(
        &self,
        path: &str,
        flags: i32,
        mode: u32,
    ) -> std::io::Result<std::fs::File> {
        self.files.open_followed(path, flags, mode)
    }

    /// Whether commands can have users (in a single-user namespace they cannot).
    pub(crate) fn has_users(&self) -> bool {
        self.set_ids
    }

    /// Isolation layers in force, by name, as [`crate::Cell::layers`].
    pub fn layers(&self) -> BTreeMap<String, String> {
        self.layers.clone()
    }

    /// The environment of a command before its own variables.
    pub fn base_env(&self) -> BTreeMap<String, String> {
        self.env.clone()
    }

    /// Runs a command to its end. Several may run at once, from several threads.
    ///
    /// # Errors
    /// [`SandboxError`] if the room is lost; how the command ended is never an error.
    pub fn exec(&self, exec: Exec) -> Result<Executed, SandboxError> {
        self.run(exec, None, self.next_id())
    }

    /// As [`Room::exec`], with the output passed on as it comes as well.
    ///
    /// # Errors
    /// As [`Room::exec`].
    pub fn exec_streaming(&self, exec: Exec, sinks: Sinks<'_>) -> Result<Executed, SandboxError> {
        self.run(exec, Some(sinks), self.next_id())
    }

    /// As [`Room::exec_streaming`]; `handle` is given what ends this command alone, before the command is started.
    ///
    /// # Errors
    /// As [`Room::exec`].
    pub fn exec_with_handle(
        &self,
        exec: Exec,
        sinks: Sinks<'_>,
        handle: impl FnOnce(CommandHandle),
    ) -> Result<Executed, SandboxError> {
        let id = self.next_id();
        handle(CommandHandle { link: Arc::clone(&self.link), id });
        self.run(exec, Some(sinks), id)
    }

    fn next_id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn run(&self, exec: Exec, sinks: Option<Sinks<'_>>, id: u64) -> Result<Executed, SandboxError> {
        check(&exec)?;
        let mut env = self.env.clone();
        env.extend(exec.env.clone());
        let argv = exec.argv.clone();
        let cwd = exec.cwd.clone().unwrap_or_else(|| WORKSPACE.to_owned());
        let path = env.get("PATH").cloned().unwrap_or_default();
        let request =
            link::Request { user: None, id, cwd: &cwd, path: &path, argv: &argv, env: &env };
        run::run(&self.link, &request, exec, Vec::new(), sinks)
    }

    /// Kills the outer process, and with it pid 1 and everything else.
    pub(crate) fn kill(&self) {
        let mut running = self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // It may be gone already.
        let _killed = running.process.kill();
    }

    /// A handle to end commands from another thread.
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.link))
    }

    /// Creates a file (parents too), owned by the room's user. An existing file is replaced.
    ///
    /// # Errors
    /// [`SandboxError`] if it cannot be written.
    pub fn put_file(&self, path: &str, mode: u32, bytes: &[u8]) -> Result<(), SandboxError> {
        self.files.put_file(path.as_bytes(), mode, bytes)
    }

    /// Copies a host directory's content (files, directories, symlinks) into a directory of the room.
    ///
    /// # Errors
    /// As [`Room::put_file`]; [`SandboxError::Spec`] for special files.
    pub fn put_tree(&self, from: &Path, to: &str) -> Result<(), SandboxError> {
        self.files.put_tree(from, to)
    }

    /// Everything under a directory of the room, sorted by path, without following links. The room's commands may be at work.
    ///
    /// # Errors
    /// [`SandboxError`] if the directory cannot be read, or holds more than `max_entries`.
    pub fn list_tree(&self, dir: &str, max_entries: usize) -> Result<Vec<TreeEntry>, SandboxError> {
        self.files.list(dir, max_entries)
    }

    /// Opens a regular file of the room for reading, without following links; `path` is relative to `dir`. `None` if it is no
    /// (readable) regular file (any more).
    ///
    /// # Errors
    /// [`SandboxError`] if the room is lost.
    pub fn open_file(&self, dir: &str, path: &[u8]) -> Result<Option<std::fs::File>, SandboxError> {
        if !self.is_alive() {
            return Err(SandboxError::Lost("pid 1 of the room is gone".to_owned()));
        }
        Ok(self.files.open_file(dir, path))
    }

    /// A socket that listens on 127.0.0.1:`port` *inside* the room (0: any port).
    ///
    /// # Errors
    /// [`SandboxError`] if the port is taken or the room is lost.
    pub fn listen(&self, port: u16) -> Result<std::net::TcpListener, SandboxError> {
        self.link.descriptor(op::LISTEN, &u32::from(port).to_le_bytes()).map(Into::into)
    }

    /// A path on the host that leads to the room's root directory as its user sees it, while the room lives. Absolute symlinks
    /// under it lead to the host: never follow them.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether pid 1 still lives.
    pub fn is_alive(&self) -> bool {
        self.link.is_alive()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.link.close();
        let running = self.running.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        start::end(running);
        if let Some(thread) = self.reports.take() {
            // It ends with the broker. A panic in the caller's sink has been printed already.
            let _ended = thread.join();
        }
    }
}
