//! What clients and stations say to each other: one request and its answers a connection, each a length and JSON; byte streams
//! have connections of their own, so that nothing is framed and a slow reader holds up only its own stream.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};

/// Longest message, bytes: a command line of the kernel's greatest length, quoted.
const MAX: usize = 16 << 20;

/// Which stream a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    Input,
    Output,
    Error,
    /// A tar stream.
    Archive,
}

/// First words on a connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// What follows on this connection is a stream of the request with this token.
    Stream {
        token: u64,
        which: Which,
    },
    /// Starts the main process. `attach`: token of its streams; then there is a second answer, when the container is down.
    Start {
        attach: Option<u64>,
        stdin: bool,
    },
    Exec(Exec),
    /// A file or directory, as a tar stream; entries are named below `prefix`.
    Fetch {
        path: String,
        prefix: Option<String>,
        follow: bool,
        token: u64,
    },
    /// Unpacks a tar stream.
    Put {
        target: Target,
        token: u64,
    },
    /// Signals the main process; after `grace_ms` (`None`: never), everything is killed. Answered when the container is down.
    Stop {
        signal: i32,
        grace_ms: Option<u64>,
    },
    /// Signals the main process.
    Signal {
        signal: i32,
    },
    /// Answered when the container is down.
    Wait,
}

/// A command.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Exec {
    pub argv: Vec<String>,
    /// Over the container's.
    pub env: Vec<(String, String)>,
    pub cwd: Option<String>,
    pub user: Option<String>,
    pub stdin: bool,
    /// Its streams; `None`: it runs on without anybody listening.
    pub token: Option<u64>,
}

/// Where a tar stream goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The stream is one file or directory (entry `.`), which goes by docker's rules: into `path` if that is a directory, else
    /// to `path`.
    Thing { path: String, name: String, is_dir: bool, contents: bool, keep_owner: bool },
    /// The stream's entries go below this directory.
    Below { path: String, keep_owner: bool },
}

/// What a station says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// A program ended; its exit code as a shell's.
    Exited {
        code: i32,
    },
    /// What was asked for begins.
    Begins {
        is_dir: bool,
    },
    Done {
        notes: Vec<String>,
    },
    /// `code`: exit code of a program that could not be executed, or 0.
    Failed {
        what: String,
        code: i32,
    },
}

/// Sends one message.
pub fn send(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message).map_err(io::Error::other)?;
    let len = bytes.len() - 4;
    if len > MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "arguments larger than 16 MiB"));
    }
    bytes[..4].copy_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    to.write_all(&bytes)
}

/// Receives one message.
pub fn receive<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    let mut len = [0; 4];
    from.read_exact(&mut len)?;
    let len = u32::from_le_bytes(len) as usize;
    if len > MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message over 16 MiB"));
    }
    let mut bytes = Vec::new();
    from.take(len as u64).read_to_end(&mut bytes)?;
    if bytes.len() < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_slice(&bytes).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_messages_are_errors() {
        for bytes in [&b""[..], b"\x05\0\0\0{", b"\xff\xff\xff\xff", b"\x02\0\0\0{}"] {
            assert!(receive::<Answer>(&mut &bytes[..]).is_err(), "{bytes:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn messages_come_back(argv in proptest::collection::vec(".{0,20}", 0..5), code in -200i32..200) {
            let mut bytes = Vec::new();
            let exec = Exec { argv: argv.clone(), stdin: true, token: Some(u64::MAX), ..Exec::default() };
            send(&mut bytes, &Request::Exec(exec)).unwrap();
            send(&mut bytes, &Answer::Exited { code }).unwrap();
            let mut from = bytes.as_slice();
            let Request::Exec(back) = receive(&mut from).unwrap() else { panic!("another request") };
            proptest::prop_assert_eq!(back.argv, argv);
            proptest::prop_assert_eq!(receive::<Answer>(&mut from).unwrap(), Answer::Exited { code });
            proptest::prop_assert!(from.is_empty());
        }
    }
}
