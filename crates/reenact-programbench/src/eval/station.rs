//! A container with the environment that suites expect, and steps run in it.

use super::error::EvalError;
use super::images::{Base, Images, Scratch};
use super::options::Options;
use reenact_interop::programbench::LogEntry;
use reenact_sandbox::container::{Container, ContainerSpec, Run, User};
use reenact_sandbox::room::{Exec, ExecEnd, Executed, Input, Sinks};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Where submissions are built and tested.
pub(super) const WORKSPACE: &str = "/workspace";
/// Bytes of a step's output that are kept of each stream.
const KEEP: usize = 32 << 20;
/// A command that writes more than this is ended.
const FLOOD: u64 = 4 << 30;
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Bytes of the image's `/etc/passwd` and `/etc/group` that are looked at.
const ACCOUNTS: u64 = 1 << 20;

/// A running container. Dropping it ends everything in it and removes what it wrote, unless that was taken.
pub(super) struct Station<'a> {
    // Before the scratch directory: its overlay is on it.
    container: Container,
    scratch: Scratch<'a>,
    image: String,
    user: User,
    env: BTreeMap<String, String>,
    stop: &'a AtomicBool,
}

/// How a step ended.
#[derive(Debug)]
pub(super) struct Ran {
    pub entry: LogEntry,
    /// Its time was up.
    pub timed_out: bool,
}

impl Ran {
    pub(super) fn ok(&self) -> bool {
        self.entry.returncode == 0
    }
}

/// A step's error, in the official tool's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StepError {
    pub code: String,
    pub details: String,
}

/// What stops a sequence of steps.
#[derive(Debug)]
pub(super) enum Halt {
    /// The submission's or the suite's.
    Step(StepError),
    /// Ours.
    Harness(EvalError),
}

impl<E: Into<EvalError>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Harness(error.into())
    }
}

impl<'a> Station<'a> {
    /// Starts a container on these layers, which lie over the image's.
    pub(super) fn start(
        base: &Base,
        over: &[PathBuf],
        images: &'a dyn Images,
        options: &'a Options,
        serial: bool,
    ) -> Result<Self, EvalError> {
        Self::start_read_only(base, over, Vec::new(), images, options, serial)
    }

    /// As [`Station::start`], with places that nobody can change.
    pub(super) fn start_read_only(
        base: &Base,
        over: &[PathBuf],
        read_only: Vec<String>,
        images: &'a dyn Images,
        options: &'a Options,
        serial: bool,
    ) -> Result<Self, EvalError> {
        let scratch = Scratch::new(images)?;
        let layers = over.iter().chain(&base.layers).cloned().collect();
        let mut spec = ContainerSpec::new(layers, scratch.path().to_path_buf());
        spec.network = options.network;
        spec.cpus = Some(f64::from(options.cpus));
        spec.isolation = options.isolation;
        spec.read_only = read_only;
        let container = Container::start(&spec)?;
        let account = account(&container, base)?;
        let mut env: BTreeMap<String, String> = base
            .config
            .env
            .iter()
            .filter_map(|v| v.split_once('='))
            .map(|(k, v)| (k.into(), v.into()))
            .collect();
        env.entry("PATH".to_owned()).or_insert_with(|| DEFAULT_PATH.to_owned());
        env.entry("HOME".to_owned()).or_insert(account.home);
        env.insert("HOSTNAME".to_owned(), spec.hostname.clone());
        let workers = if serial { 1 } else { options.cpus };
        env.insert("PYTEST_XDIST_AUTO_NUM_WORKERS".to_owned(), workers.to_string());
        // A worker that dies is replaced a few times, so that one crash does not lose the rest of its tests.
        env.insert("PYTEST_ADDOPTS".to_owned(), "--max-worker-restart=4".to_owned());
        let image = base.name.clone();
        let station =
            Self { container, scratch, image, user: account.user, env, stop: &options.stop };
        // It must be there to be a command's directory.
        station.exec_in("/", &["mkdir", "-p", WORKSPACE])?;
        Ok(station)
    }

    /// Isolation layers in force, by name.
    pub(super) fn layers(&self) -> BTreeMap<String, String> {
        self.container.layers()
    }

    /// Ends everything in the container; what it changed stays until the returned directory is dropped.
    pub(super) fn finish(self) -> Scratch<'a> {
        drop(self.container);
        self.scratch
    }

    /// The container, for its files.
    pub(super) fn container(&self) -> &Container {
        &self.container
    }

    /// A program with arguments.
    pub(super) fn exec(
        &self,
        argv: &[&str],
        stdin: Input,
        wall: Duration,
        descriptors: Vec<OwnedFd>,
        stdout: &mut (dyn Write + Send),
    ) -> Result<Executed, EvalError> {
        let run = Run {
            command: Exec {
                argv: argv.iter().map(|a| (*a).to_owned()).collect(),
                env: self.env.clone(),
                cwd: Some(WORKSPACE.to_owned()),
                stdin,
                merge_stderr: false,
                wall: Some(wall),
                keep_bytes: KEEP,
                max_bytes: Some(FLOOD),
            },
            user: self.user.clone(),
            descriptors,
        };
        self.cancelled()?;
        let (over, ended) = channel::<()>();
        let (give, take) = channel();
        let executed = std::thread::scope(|scope| {
            scope.spawn(move || {
                let Ok(handle) = take.recv() else { return };
                let handle: reenact_sandbox::room::CommandHandle = handle;
                // Until the command has ended, and its channel with it.
                while ended.recv_timeout(Duration::from_millis(50))
                    == Err(RecvTimeoutError::Timeout)
                {
                    if self.stop.load(Ordering::SeqCst) {
                        handle.stop();
                    }
                }
            });
            let mut dropped = std::io::sink();
            let sinks = Sinks { stdout, stderr: &mut dropped };
            let executed = self.container.exec_with_handle(run, sinks, |handle| {
                // The receiver waits for it.
                let _given = give.send(handle);
            });
            drop(over);
            executed
        })?;
        self.cancelled()?;
        Ok(executed)
    }

    fn cancelled(&self) -> Result<(), EvalError> {
        if self.stop.load(Ordering::SeqCst) { Err(EvalError::Cancelled) } else { Ok(()) }
    }

    /// A step: a line of shell, as the official tool runs it.
    pub(super) fn step(&self, name: &str, command: &str, wall: Duration) -> Result<Ran, EvalError> {
        self.step_with(name, command, wall, Vec::new())
    }

    /// As [`Station::step`], with descriptors 3, 4, ….
    pub(super) fn step_with(
        &self,
        name: &str,
        command: &str,
        wall: Duration,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Ran, EvalError> {
        let argv = ["bash", "-lc", command];
        let done = self.exec(&argv, Input::Null, wall, descriptors, &mut std::io::sink())?;
        let timed_out = done.end == ExecEnd::WallLimit;
        if timed_out {
            self.sweep()?;
        }
        Ok(Ran { entry: entry(name, command, &done, wall), timed_out })
    }

    /// A step that must succeed.
    pub(super) fn must(
        &self,
        log: &mut Vec<LogEntry>,
        name: &str,
        command: &str,
        wall: Duration,
    ) -> Result<String, Halt> {
        let ran = self.step(name, command, wall)?;
        let (ok, output) = (ran.ok(), ran.entry.output.clone());
        let late = ran.timed_out.then(|| ran.entry.exception_info.clone());
        log.push(ran.entry);
        if ok {
            return Ok(output);
        }
        let said = output.trim();
        let details = match late {
            Some(late) if said.is_empty() => late,
            Some(late) => format!("{late}; until then it printed:\n{said}"),
            None => said.to_owned(),
        };
        Err(Halt::Step(StepError { code: format!("{name}_failed"), details }))
    }

    /// The image lacks what every suite needs.
    pub(super) fn unfit(&self, what: &str) -> EvalError {
        EvalError::BadImage { image: self.image.clone(), what: what.to_owned() }
    }

    /// Ends whatever a command that was cut off has left.
    fn sweep(&self) -> Result<(), EvalError> {
        let argv = ["bash", "-c", "kill -KILL -1 2>/dev/null; true"];
        self.exec(&argv, Input::Null, Duration::from_secs(30), Vec::new(), &mut std::io::sink())
            .map(|_| ())
    }

    /// Unpacks a gzipped archive over the workspace, by the container's own tar. Gives what tar complained of.
    pub(super) fn unpack(
        &self,
        archive: Box<dyn Read + Send>,
        flags: &str,
        wall: Duration,
    ) -> Result<Result<(), String>, EvalError> {
        let argv = ["tar", "-C", WORKSPACE, flags, "-"];
        let done =
            self.exec(&argv, Input::Stream(archive), wall, Vec::new(), &mut std::io::sink())?;
        Ok(match done.end {
            ExecEnd::Exit { code: 0 } => Ok(()),
            ExecEnd::NotFound { .. } => return Err(self.unfit("it has no tar")),
            ExecEnd::WallLimit => Err(format!("tar did not finish within {} s", wall.as_secs())),
            _ => Err(text(&done.stderr).trim().to_owned()),
        })
    }

    fn exec_in(&self, cwd: &str, argv: &[&str]) -> Result<(), EvalError> {
        let command = Exec {
            argv: argv.iter().map(|a| (*a).to_owned()).collect(),
            env: self.env.clone(),
            cwd: Some(cwd.to_owned()),
            stdin: Input::Null,
            merge_stderr: true,
            wall: Some(Duration::from_secs(30)),
            keep_bytes: 1 << 16,
            max_bytes: Some(FLOOD),
        };
        let run = Run { command, user: self.user.clone(), descriptors: Vec::new() };
        self.container.exec(run)?;
        Ok(())
    }
}

/// Output as the official tool keeps it: text with line feeds only.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace("\r\n", "\n").replace('\r', "\n")
}

fn entry(name: &str, command: &str, done: &Executed, wall: Duration) -> LogEntry {
    let mut output = text(&done.stdout) + &text(&done.stderr);
    for (kept, len) in [(&done.stdout, done.stdout_len), (&done.stderr, done.stderr_len)] {
        if len > kept.len() as u64 {
            output += &format!("\n[{} bytes more were not kept]\n", len - kept.len() as u64);
        }
    }
    let (returncode, exception_info) = match done.end {
        ExecEnd::Exit { code } => (code, String::new()),
        ExecEnd::Signal { signal } => (128 + signal, String::new()),
        ExecEnd::WallLimit => (-1, format!("Command timed out after {}s", wall.as_secs())),
        ExecEnd::OutputLimit => (-1, format!("Command was ended after {FLOOD} bytes of output")),
        ExecEnd::Stopped => (-1, "Command was stopped".to_owned()),
        ExecEnd::NotFound { errno } => {
            output += &format!(
                "the image cannot run bash: {}\n",
                std::io::Error::from_raw_os_error(errno)
            );
            (127, String::new())
        }
    };
    LogEntry {
        step: name.to_owned(),
        command: command.to_owned(),
        wall_time: done.wall_us as f64 / 1e6,
        output,
        returncode,
        exception_info,
        branch: None,
        other: BTreeMap::new(),
    }
}

struct Account {
    user: User,
    home: String,
}

/// The image's user: numbers, or names that its own files know.
fn account(container: &Container, base: &Base) -> Result<Account, EvalError> {
    let read = |path: &str| {
        let mut text = String::new();
        if let Ok(file) = container.open(path) {
            // An image without accounts has numbers only.
            let _read = file.take(ACCOUNTS).read_to_string(&mut text);
        }
        text
    };
    let passwd = read("/etc/passwd");
    let (name, group) = match base.config.user.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (base.config.user.as_str(), None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let row = passwd
        .lines()
        .map(|l| l.split(':').collect::<Vec<_>>())
        .find(|f| f.len() >= 6 && (f[0] == name || f[2] == name));
    let unknown = |what: &str| EvalError::BadImage {
        image: base.name.clone(),
        what: format!("its user is {what:?}, which it has no account for"),
    };
    let number = |text: &str| text.parse::<u32>().ok();
    let uid = number(name)
        .or_else(|| row.as_ref().and_then(|f| number(f[2])))
        .ok_or_else(|| unknown(name))?;
    let gid = match group {
        None => row.as_ref().and_then(|f| number(f[3])).unwrap_or(0),
        Some(group) => number(group)
            .or_else(|| {
                let groups = read("/etc/group");
                let row = groups
                    .lines()
                    .map(|l| l.split(':').collect::<Vec<_>>())
                    .find(|f| f.len() >= 3 && f[0] == group);
                row.and_then(|f| number(f[2]))
            })
            .ok_or_else(|| unknown(group))?,
    };
    let home = row.map_or("/", |f| f[5]).to_owned();
    Ok(Account { user: User { uid, gid, groups: Vec::new() }, home })
}
