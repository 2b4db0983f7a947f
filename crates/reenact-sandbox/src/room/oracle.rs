//! What the oracle reports: one event when an agent's invocation of the reference begins, one when it ends.

use reenact_model::Ended;
use reenact_model::probe::StreamKind;

/// A fact about the reference's use.
#[derive(Clone, Debug, PartialEq)]
pub enum OracleEvent {
    Began(Box<ProbeBegan>),
    Ended(Box<ProbeEnded>),
    /// A request that was not carried out (malformed, or more than can run at once).
    Refused {
        why: String,
    },
}

/// An invocation is about to start.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeBegan {
    /// Number of the invocation in its room, from 1.
    pub seq: u64,
    pub argv: Vec<Vec<u8>>,
    pub argv_cut: bool,
    /// `NAME=value`, after scrubbing.
    pub env: Vec<Vec<u8>>,
    pub env_cut: bool,
    pub cwd: Vec<u8>,
    /// Command line of the caller's parent; empty if it could not be read.
    pub parent: Vec<Vec<u8>>,
    pub stdin: StreamSeen,
    pub stdout: StreamKind,
    pub stderr: StreamKind,
}

/// An invocation has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeEnded {
    pub seq: u64,
    pub ended: Ended,
    pub stdout: StreamSeen,
    pub stderr: StreamSeen,
    /// Both are one pipe; it is described by `stdout`.
    pub merged: bool,
    /// (path, it is new), relative to cwd where it is in it.
    pub files: Vec<(Vec<u8>, bool)>,
    pub wall_us: u64,
    pub user_us: u64,
    pub sys_us: u64,
}

/// What went through a descriptor.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamSeen {
    pub kind: StreamKind,
    pub bytes: u64,
    pub sha256: Option<[u8; 32]>,
    pub head: Vec<u8>,
    pub complete: bool,
}

/// Reads one report of the broker's; `None` if it is malformed.
pub fn decode(_report: &[u8]) -> Option<OracleEvent> {
    None
}
