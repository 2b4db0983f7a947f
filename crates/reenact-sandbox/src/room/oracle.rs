//! What the oracle reports: one event when an agent's invocation of the reference begins, one when it ends.

use reenact_model::Ended;
use reenact_model::probe::StreamKind;
use reenact_zygote::oracle::report::{How, Kind, Report, Stream};

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
    /// Standard input, where more is known of it now than when it began (a regular file).
    pub stdin: Option<StreamSeen>,
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
pub fn decode(report: &[u8]) -> Option<OracleEvent> {
    Some(match Report::decode(report)? {
        Report::Began(began) => OracleEvent::Began(Box::new(ProbeBegan {
            seq: began.seq,
            argv: began.argv.map(<[u8]>::to_vec).collect(),
            argv_cut: began.argv_cut,
            env: began.env.map(<[u8]>::to_vec).collect(),
            env_cut: began.env_cut,
            cwd: began.cwd.to_vec(),
            parent: began.parent.map(<[u8]>::to_vec).collect(),
            stdin: seen(&began.stdin),
            stdout: kind(began.stdout),
            stderr: kind(began.stderr),
        })),
        Report::Ended(ended) => OracleEvent::Ended(Box::new(ProbeEnded {
            seq: ended.seq,
            ended: how(ended.how),
            stdin: ended.stdin.as_ref().map(seen),
            stdout: seen(&ended.stdout),
            stderr: seen(&ended.stderr),
            merged: ended.merged,
            files: ended.files.map(|(path, new)| (path.to_vec(), new)).collect(),
            wall_us: ended.wall_us,
            user_us: ended.user_us,
            sys_us: ended.sys_us,
        })),
        Report::Refused { why } => {
            OracleEvent::Refused { why: String::from_utf8_lossy(why).into_owned() }
        }
    })
}

fn how(how: How) -> Ended {
    match how {
        How::Exited(code) => Ended::Exit { code },
        How::Killed(signal) => Ended::Signal { signal },
        How::NotStarted(errno) => {
            Ended::ExecFailed { errno, what: std::io::Error::from_raw_os_error(errno).to_string() }
        }
    }
}

fn seen(stream: &Stream<'_>) -> StreamSeen {
    StreamSeen {
        kind: kind(stream.kind),
        bytes: stream.bytes,
        sha256: stream.sha256,
        head: stream.head.to_vec(),
        complete: stream.complete,
    }
}

fn kind(kind: Kind) -> StreamKind {
    match kind {
        Kind::Closed => StreamKind::Closed,
        Kind::Null => StreamKind::Null,
        Kind::File => StreamKind::File,
        Kind::Pipe => StreamKind::Pipe,
        Kind::Socket => StreamKind::Socket,
        Kind::Terminal => StreamKind::Terminal,
        Kind::Device => StreamKind::Device,
        Kind::Other => StreamKind::Other,
    }
}
