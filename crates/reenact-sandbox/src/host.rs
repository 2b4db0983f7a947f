//! Trusted tools on the host (cargo, apt-get, dpkg-deb, git): the one place where they are spawned.

use crate::error::SandboxError;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

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
}

/// What a host command did.
#[derive(Clone, Debug)]
pub struct HostOutput {
    /// Exit code; `None` if a signal (or our timeout) ended it.
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
        }
    }

    /// Runs it to its end, capturing both streams.
    ///
    /// # Errors
    /// [`SandboxError::Tool`] if it cannot be started.
    pub fn run(&self) -> Result<HostOutput, SandboxError> {
        todo!()
    }
}

/// Absolute path of `program` on the host's PATH, if it is there.
pub fn find(program: &str) -> Option<PathBuf> {
    std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).map(|d| d.join(program)).find(|p| p.is_file())
    })
}
