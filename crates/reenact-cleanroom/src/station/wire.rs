//! Frames on a station's socket: a kind, a length, that many bytes. Both ends are this program, run by the same user.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::PathBuf;

/// Longest payload.
const MAX: usize = 1 << 20;
/// Bytes of one piece of a stream.
pub(crate) const PIECE: usize = 64 << 10;
/// Pieces of input that may be under way and not yet taken by the command.
pub(crate) const WINDOW: usize = 16;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A [`Request`], first thing from the client.
    Ask = b'q',
    /// A piece of standard input; its end.
    Input = b'i',
    InputEnd = b'e',
    /// A piece of input was taken: another may be sent.
    Taken = b'c',
    Output = b'o',
    Error = b'r',
    /// An [`Answer`].
    Answer = b'a',
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        [
            Self::Ask,
            Self::Input,
            Self::InputEnd,
            Self::Taken,
            Self::Output,
            Self::Error,
            Self::Answer,
        ]
        .into_iter()
        .find(|k| *k as u8 == byte)
    }
}

/// What a client wants.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    Exec(ExecRequest),
    /// A file or directory, as a tar stream.
    Fetch {
        path: String,
    },
    Submit {
        /// Absolute.
        run: PathBuf,
        agent: String,
        harness: reenact_model::run::Harness,
    },
    Stop,
}

/// A command.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ExecRequest {
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    /// Absolute; `None`: /workspace.
    pub cwd: Option<String>,
    /// Input follows as frames; otherwise it is empty.
    pub stdin: bool,
    pub timeout_ms: Option<u64>,
}

/// How a command in a station ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exited {
    Code(i32),
    Signal(i32),
    TimedOut,
    /// The program could not be executed, for this reason.
    NotFound(i32),
    /// The station was stopped.
    Stopped,
}

impl Exited {
    /// The exit code of `reenact cleanroom exec`.
    pub fn code(self) -> i32 {
        const ENOENT: i32 = 2;
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
            Self::TimedOut => 124,
            Self::NotFound(ENOENT) => 127,
            Self::NotFound(_) => 126,
            Self::Stopped => 125,
        }
    }
}

/// What a station says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Exited(Exited),
    /// What is fetched begins: one file, or a directory.
    Begins {
        is_dir: bool,
    },
    /// Notes about what was done.
    Done {
        notes: Vec<String>,
    },
    Failed {
        what: String,
        usage: bool,
    },
}

/// Writes one frame.
pub(crate) fn send(to: &mut impl Write, kind: Kind, payload: &[u8]) -> io::Result<()> {
    debug_assert!(payload.len() <= MAX);
    let mut frame = Vec::with_capacity(payload.len() + 5);
    frame.push(kind as u8);
    frame.extend(u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    frame.extend(payload);
    to.write_all(&frame)
}

/// Writes a value as one frame.
pub(crate) fn send_json(to: &mut impl Write, kind: Kind, value: &impl Serialize) -> io::Result<()> {
    let bytes = serde_json::to_vec(value).map_err(io::Error::other)?;
    if bytes.len() > MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "larger than 1 MiB"));
    }
    send(to, kind, &bytes)
}

/// Reads one frame; `None` at the end of the stream.
pub(crate) fn receive(from: &mut impl Read) -> io::Result<Option<(Kind, Vec<u8>)>> {
    let mut kind = [0u8; 1];
    loop {
        match from.read(&mut kind) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    let mut len = [0u8; 4];
    from.read_exact(&mut len)?;
    let len = u32::from_le_bytes(len) as usize;
    let bad = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let kind = Kind::of(kind[0]).ok_or_else(|| bad("an unknown frame"))?;
    if len > MAX {
        return Err(bad("a frame over 1 MiB"));
    }
    let mut payload = vec![0u8; len];
    from.read_exact(&mut payload)?;
    Ok(Some((kind, payload)))
}

/// A frame's payload as a value.
pub(crate) fn parse<T: DeserializeOwned>(payload: &[u8]) -> io::Result<T> {
    serde_json::from_slice(payload).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_and_broken_ones_are_errors() {
        let mut bytes = Vec::new();
        send(&mut bytes, Kind::Output, b"hello").unwrap();
        send_json(&mut bytes, Kind::Answer, &Answer::Exited(Exited::Signal(9))).unwrap();
        let mut from = bytes.as_slice();
        assert_eq!(receive(&mut from).unwrap(), Some((Kind::Output, b"hello".to_vec())));
        let (kind, payload) = receive(&mut from).unwrap().unwrap();
        assert_eq!(kind, Kind::Answer);
        let answer: Answer = parse(&payload).unwrap();
        assert!(matches!(answer, Answer::Exited(Exited::Signal(9))));
        assert_eq!(receive(&mut from).unwrap(), None);
        for broken in [&b"o"[..], b"o\x05\0\0\0hel", b"?\0\0\0\0", b"o\xff\xff\xff\xff"] {
            assert!(receive(&mut &broken[..]).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn exit_codes_are_a_shells() {
        let all = [
            (Exited::Code(7), 7),
            (Exited::Signal(9), 137),
            (Exited::TimedOut, 124),
            (Exited::NotFound(2), 127),
            (Exited::NotFound(13), 126),
            (Exited::Stopped, 125),
        ];
        for (exited, code) in all {
            assert_eq!(exited.code(), code);
        }
    }
}
