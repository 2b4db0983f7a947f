//! Observations: what one invocation did, as the sandbox saw it. Facts only; no judgement.

use crate::content::Content;
use crate::digest::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What one case did: one observation per step that was started, and the workspace afterwards.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CaseObservation {
    /// In the order of the case's steps. Shorter than the case only if a step ended the case (a limit was hit).
    pub steps: Vec<Observation>,
    /// The whole workspace (cwd) after the last step, by path key (see [`path_key`]); the root itself is not listed.
    pub files: BTreeMap<String, Entry>,
    /// The listing stopped at a cap; what is missing is unknown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub files_truncated: bool,
}

/// What one invocation did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Who ended it, and how.
    pub ended: Ended,
    /// Standard output (for a tty step: everything written to the terminal).
    pub stdout: Captured,
    /// Standard error (empty for a tty step).
    pub stderr: Captured,
    /// Screens of a tty step (see [`crate::expect::Expect::screen`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub screen: Option<String>,
    /// What it used.
    pub resources: Resources,
}

/// Which stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Who ended the process and why. Established by the sandbox from its own actions, `wait4`, and the cgroup; never
/// inferred from a code that the program controls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum Ended {
    /// It exited.
    Exit { code: i32 },
    /// It died of a signal that neither we nor the kernel's limits sent.
    Signal { signal: i32 },
    /// We killed it: the wall-clock limit.
    WallLimit { limit_ms: u64 },
    /// The kernel ended it at its CPU limit (`wait4` reports at least that much CPU time).
    CpuLimit { limit_ms: u64 },
    /// The memory limit: the cgroup counted an OOM kill, or our poll saw the limit exceeded.
    MemoryLimit { limit_bytes: u64 },
    /// We killed it: one stream passed its limit.
    OutputLimit { stream: Stream, limit_bytes: u64 },
    /// We killed it: a tty script waited for text that never came, or was over while the program still ran.
    ScriptEnded { waiting_for: Option<String> },
    /// It never started: `execve` failed.
    ExecFailed { errno: i32, what: String },
}

impl Ended {
    /// Whether one of our limits ended it; such an invocation never passes.
    pub fn is_limit(&self) -> bool {
        matches!(
            self,
            Self::WallLimit { .. }
                | Self::CpuLimit { .. }
                | Self::MemoryLimit { .. }
                | Self::OutputLimit { .. }
        )
    }
}

/// A captured byte stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Captured {
    /// The bytes kept; all of them unless `truncated`.
    pub content: Content,
    /// Bytes received before the stream was cut or ended.
    pub len: u64,
    /// More was received than is kept in `content`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

impl Captured {
    /// A complete capture.
    pub fn whole(bytes: &[u8]) -> Self {
        Self { content: Content::inline(bytes), len: bytes.len() as u64, truncated: false }
    }

    /// An empty capture.
    pub fn empty() -> Self {
        Self::whole(b"")
    }

    /// The inline bytes; empty for a blob (observations in memory are always inline).
    pub fn inline_bytes(&self) -> &[u8] {
        match &self.content {
            Content::Text(t) => t.as_bytes(),
            Content::Hex(h) => &h.0,
            Content::Blob(_) => &[],
        }
    }
}

/// What a step used. CPU and memory come from `wait4` of the program and of what it left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// From spawn to the program's end, microseconds.
    pub wall_us: u64,
    /// User CPU time, microseconds.
    pub user_us: u64,
    /// System CPU time, microseconds.
    pub sys_us: u64,
    /// Largest resident set of one process, KiB (`ru_maxrss`).
    pub max_rss_kib: u64,
    /// Processes that were still alive when the program ended, and were killed.
    #[serde(default)]
    pub leftovers: u32,
    /// OOM kills that the cgroup counted during the step.
    #[serde(default)]
    pub oom_kills: u32,
}

/// One entry of the workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What it is.
    #[serde(flatten)]
    pub kind: EntryKind,
    /// Permission bits, including setuid, setgid and sticky.
    pub mode: u32,
}

/// Kind of a workspace entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum EntryKind {
    /// A regular file. `content` is `None` when it is larger than the capture cap.
    File { size: u64, sha256: Digest, content: Option<Content> },
    /// A directory.
    Dir,
    /// A symbolic link; target as a path key.
    Symlink { target: String },
    /// A fifo, socket or device node.
    Special { what: String },
}

/// A file name as a JSON string: valid UTF-8 verbatim except that `\` becomes `\\`; other bytes become `\xNN`.
/// Injective, so two names never share a key.
pub fn path_key(name: &[u8]) -> String {
    let mut out = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\\' {
                out.push('\\');
            }
            out.push(c);
        }
        for b in chunk.invalid() {
            out.push_str(&format!("\\x{b:02x}"));
        }
    }
    out
}

/// The bytes of a path key: the inverse of [`path_key`]. What no path key holds is taken as it stands.
pub fn key_bytes(key: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len());
    let bytes = key.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        let escape = (bytes[i] == b'\\').then(|| bytes.get(i + 1)).flatten();
        let hex = key.get(i + 2..i + 4).and_then(|h| u8::from_str_radix(h, 16).ok());
        match (escape, hex) {
            (Some(b'\\'), _) => {
                out.push(b'\\');
                i += 2;
            }
            (Some(b'x'), Some(byte)) => {
                out.push(byte);
                i += 4;
            }
            _ => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    out
}
