//! A container with the environment that suites expect, and steps run in it.

use super::error::EvalError;
use super::images::{Base, Images, Scratch};
use super::options::Options;
use super::output::{Output, text};
use reenact_interop::programbench::LogEntry;
use reenact_sandbox::container::{Container, ContainerSpec, Run, User};
use reenact_sandbox::room::{Exec, ExecEnd, Executed, Input, Sinks};
use reenact_sandbox::unpack::{Room, room};
use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Where submissions are built and tested.
pub(super) const WORKSPACE: &str = "/workspace";
/// Bytes of what a command of ours prints that are kept of each stream; what steps print is kept by [`Output`].
const KEEP: usize = 64 << 10;
/// A command that writes more than this is ended.
const FLOOD: u64 = 4 << 30;
/// A container that holds more than this part of what was free when it started has filled a full disk itself: at least 4 GiB (a
/// machine with less to spare cannot tell), at most 32 GiB, as many as a submission may unpack to.
const OWN_PART: u64 = 8;
const OWN_LEAST: u64 = 4 << 30;
const OWN_MOST: u64 = 32 << 30;
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Bytes of the image's `/etc/passwd` and `/etc/group` that are looked at.
const ACCOUNTS: u64 = 1 << 20;

/// A running container. Dropping it ends everything in it and removes what it wrote, unless that was taken.
pub(super) struct Station<'a> {
    // Before the scratch directory: its overlay is on it.
    container: Container,
    scratch: Scratch<'a>,
    /// With more bytes than these a full disk is the container's own doing.
    own_doing: u64,
    image: String,
    /// There is nothing in it but the image.
    plain: bool,
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
        let free = room(scratch.path()).map_or(u64::MAX, |room| room.bytes);
        let own_doing = (free / OWN_PART).clamp(OWN_LEAST, OWN_MOST);
        let layers = over.iter().chain(&base.layers).cloned().collect();
        let mut spec = ContainerSpec::new(layers, scratch.path().to_path_buf());
        spec.network = options.network;
        spec.cpus = Some(f64::from(options.cpus));
        spec.isolation = options.isolation;
        spec.read_only = read_only;
        let container = Container::start(&spec)?;
        let account = match base.account.get() {
            Some(known) => known.clone(),
            // Here nobody can have changed the image's files.
            None if over.is_empty() => {
                let found = account(&container, base)?;
                base.account.get_or_init(|| found).clone()
            }
            None => {
                drop(Self::start(base, &[], images, options, serial)?);
                base.account.get().cloned().unwrap_or_default()
            }
        };
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
        let (plain, user, stop) = (over.is_empty(), account.user, &*options.stop);
        let station = Self { container, scratch, own_doing, image, plain, user, env, stop };
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
    fn exec(
        &self,
        argv: &[&str],
        stdin: Input,
        wall: Duration,
        descriptors: Vec<OwnedFd>,
        sinks: Sinks<'_>,
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
        let (mut stdout, mut stderr) = (Output::of(name), Output::of(name));
        let sinks = Sinks { stdout: &mut stdout, stderr: &mut stderr };
        let done = self.exec(&argv, Input::Null, wall, descriptors, sinks)?;
        let timed_out = done.end == ExecEnd::WallLimit;
        if timed_out {
            self.sweep()?;
        }
        let entry = entry(name, command, stdout.text() + &stderr.text(), &done, wall);
        if entry.returncode != 0 {
            self.has_room()?;
        }
        Ok(Ran { entry, timed_out })
    }

    /// After a failure: without room on the disk it is not the submission's, unless that has filled the disk itself.
    ///
    /// # Errors
    /// [`EvalError::DiskFull`].
    pub(super) fn has_room(&self) -> Result<(), EvalError> {
        let path = self.scratch.path();
        if room(path).is_some_and(Room::is_little) && !self.scratch.holds_more_than(self.own_doing)
        {
            return Err(EvalError::DiskFull { path: path.to_path_buf() });
        }
        Ok(())
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
        let (mut out, mut err) = (std::io::sink(), std::io::sink());
        let sinks = Sinks { stdout: &mut out, stderr: &mut err };
        self.exec(&argv, Input::Null, Duration::from_secs(30), Vec::new(), sinks).map(|_| ())
    }

    /// Unpacks a gzipped archive over the workspace, by the container's own tar. Gives what tar complained of, or that a build
    /// has removed it.
    pub(super) fn unpack(
        &self,
        archive: Box<dyn Read + Send>,
        flags: &str,
        wall: Duration,
    ) -> Result<Result<(), String>, EvalError> {
        let argv = ["tar", "-C", WORKSPACE, flags, "-"];
        let (mut out, mut err) = (std::io::sink(), std::io::sink());
        let sinks = Sinks { stdout: &mut out, stderr: &mut err };
        let done = self.exec(&argv, Input::Stream(archive), wall, Vec::new(), sinks)?;
        if done.end != (ExecEnd::Exit { code: 0 }) {
            self.has_room()?;
        }
        Ok(match done.end {
            ExecEnd::Exit { code: 0 } => Ok(()),
            ExecEnd::NotFound { .. } if self.plain => return Err(self.unfit("it has no tar")),
            ExecEnd::NotFound { errno } => {
                let error = std::io::Error::from_raw_os_error(errno);
                Err(format!("tar cannot be run any more: {error}"))
            }
            ExecEnd::WallLimit => Err(format!("tar did not finish within {} s", wall.as_secs())),
            end => match text(&done.stderr).trim() {
                "" => Err(format!("tar ended with {end:?}")),
                said => Err(said.to_owned()),
            },
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

fn entry(
    name: &str,
    command: &str,
    mut output: String,
    done: &Executed,
    wall: Duration,
) -> LogEntry {
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

/// Whom commands run as.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
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
