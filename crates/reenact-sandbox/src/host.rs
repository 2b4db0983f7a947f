//! Trusted tools on the host (cargo, apt-get, dpkg-deb, git): the one place where they are spawned.

use crate::error::SandboxError;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// A command on the host, outside any sandbox. Only for trusted tools; never for a reference or a candidate.
#[derive(Clone, Debug)]
pub struct HostCommand {
    pub program: String,
    pub args: Vec<String>,
    pub cwd: Option<PathBuf>,
    /// Added to the inherited environment.
    pub env: BTreeMap<String, String>,
    /// Removed from the inherited environment.
    pub env_remove: Vec<String>,
    pub stdin: Option<Vec<u8>>,
    pub timeout: Duration,
    /// It is killed once this is true.
    pub stop: Option<Arc<AtomicBool>>,
}

/// What a host command did.
#[derive(Clone, Debug)]
pub struct HostOutput {
    /// Exit code; `None` if a signal (or our timeout, or [`HostCommand::stop`]) ended it.
    pub code: Option<i32>,
    pub timed_out: bool,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl HostOutput {
    /// Exited with 0.
    pub fn ok(&self) -> bool {
        self.code == Some(0)
    }

    /// The last non-empty line of stderr (or of stdout), for error messages.
    pub fn last_line(&self) -> String {
        let pick = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            text.lines().rev().find(|l| !l.trim().is_empty()).map(|l| l.trim().to_owned())
        };
        pick(&self.stderr).or_else(|| pick(&self.stdout)).unwrap_or_default()
    }
}

/// A command started by [`HostCommand::spawn_background`].
pub struct Background {
    child: std::process::Child,
}

impl Background {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl HostCommand {
    /// `program` with `args`, five minutes, inherited environment.
    pub fn new<S: Into<String>>(program: &str, args: impl IntoIterator<Item = S>) -> Self {
        Self {
            program: program.to_owned(),
            args: args.into_iter().map(Into::into).collect(),
            cwd: None,
            env: BTreeMap::new(),
            env_remove: Vec::new(),
            stdin: None,
            timeout: Duration::from_secs(300),
            stop: None,
        }
    }

    fn tool_error(&self, what: impl std::fmt::Display) -> SandboxError {
        SandboxError::Tool { program: self.program.clone(), what: what.to_string() }
    }

    /// Runs it to its end, capturing both streams.
    ///
    /// # Errors
    /// [`SandboxError::Tool`] if it cannot be started.
    pub fn run(&self) -> Result<HostOutput, SandboxError> {
        let mut child = self
            .command()
            .process_group(0)
            .spawn()
            .map_err(|e| self.tool_error(format!("cannot be started: {e}")))?;
        let group = -i32::try_from(child.id()).map_err(|e| self.tool_error(e))?;
        let (mut out, mut err, input) =
            (child.stdout.take(), child.stderr.take(), child.stdin.take());
        let data = self.stdin.clone();
        let (stdout, stderr, status) = std::thread::scope(|scope| {
            let out = scope.spawn(move || read_all(out.as_mut()));
            let err = scope.spawn(move || read_all(err.as_mut()));
            scope.spawn(move || {
                if let (Some(mut pipe), Some(data)) = (input, data) {
                    // A tool that stops reading has its reasons, and its status tells them.
                    let _fed = pipe.write_all(&data);
                }
            });
            let deadline = Instant::now() + self.timeout;
            let stopped = || self.stop.as_ref().is_some_and(|s| s.load(Ordering::SeqCst));
            let mut pause = Duration::from_micros(200);
            let status = loop {
                match child.try_wait() {
                    Ok(Some(status)) => break Ok((Some(status), false)),
                    Err(e) => break Err(self.tool_error(format!("cannot be waited for: {e}"))),
                    Ok(None) if Instant::now() > deadline || stopped() => {
                        // SAFETY: the group is the child's own (process_group(0)) and the child is not reaped yet.
                        unsafe { libc::kill(group, libc::SIGKILL) };
                        break Ok((child.wait().ok(), !stopped()));
                    }
                    Ok(None) => {
                        std::thread::sleep(pause);
                        pause = (pause * 2).min(Duration::from_millis(20));
                    }
                }
            };
            (out.join().unwrap_or_default(), err.join().unwrap_or_default(), status)
        });
        let (status, timed_out) = status?;
        Ok(HostOutput { code: status.and_then(|s| s.code()), timed_out, stdout, stderr })
    }

    /// Starts it in a session of its own, so that it outlives us and our terminal, with its output appended to `log`. For
    /// our own program; `stdin` and `timeout` are not used.
    ///
    /// # Errors
    /// [`SandboxError::Tool`] if it cannot be started.
    pub fn spawn_background(&self, log: &std::fs::File) -> Result<Background, SandboxError> {
        let output = || log.try_clone().map(Stdio::from).map_err(|e| self.tool_error(e));
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(output()?).stderr(output()?);
        // SAFETY: setsid is async-signal-safe, and the child, in our group, is not the leader of one.
        unsafe {
            command.pre_exec(|| match libc::setsid() {
                -1 => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            });
        }
        let child =
            command.spawn().map_err(|e| self.tool_error(format!("cannot be started: {e}")))?;
        Ok(Background { child })
    }

    #[expect(clippy::disallowed_methods, reason = "the one place where host tools are spawned")]
    fn command(&self) -> std::process::Command {
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.args).envs(&self.env).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        for name in &self.env_remove {
            command.env_remove(name);
        }
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        command
    }
}

fn read_all(pipe: Option<&mut impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // What was read before an error is still worth showing.
        let _read = pipe.read_to_end(&mut bytes);
    }
    bytes
}

/// Absolute path of `program` on the host's PATH, if it is there.
pub fn find(program: &str) -> Option<PathBuf> {
    std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).map(|d| d.join(program)).find(|p| p.is_file())
    })
}

/// The host's Rust toolchain (`rustc --print sysroot`), if it has cargo in it. Asked once.
pub fn rust_sysroot() -> Option<PathBuf> {
    static SYSROOT: OnceLock<Option<PathBuf>> = OnceLock::new();
    SYSROOT
        .get_or_init(|| {
            let output = HostCommand::new("rustc", ["--print", "sysroot"])
                .run()
                .ok()
                .filter(HostOutput::ok)?;
            let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
            path.join("bin/cargo").is_file().then_some(path)
        })
        .clone()
}
