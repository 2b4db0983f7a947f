//! Rooms for harnesses from outside: `reenact cleanroom start | exec | cp | submit | stop`.
//!
//! A *station* is a background process that holds one room and serves a unix socket in the user's state directory
//! ([`state`]). Each command of the outside is one connection: a request, then frames both ways ([`wire`]).

pub mod client;
mod copy;
mod exec;
pub mod server;
pub mod state;
mod submit;
pub mod wire;

use reenact_bundle::FsError;
use std::path::PathBuf;

/// Why a station could not be used. How a command in it ended is never an error.
#[derive(Debug, thiserror::Error)]
pub enum StationError {
    #[error("{id:?}: no such cleanroom; `reenact cleanroom list` shows those that run")]
    Unknown { id: String },
    #[error(
        "{id}: its process has died, and what was in it is gone; start another (its log was {log})"
    )]
    Dead { id: String, log: PathBuf },
    #[error("{id}: it ended while it was asked{why}")]
    Ended { id: String, why: String },
    #[error(
        "{path}: belongs to somebody else or can be entered by others; remove it, or set XDG_RUNTIME_DIR to a directory of yours"
    )]
    State { path: PathBuf },
    #[error("the cleanroom did not start: {what}")]
    Start { what: String, usage: bool },
    /// What the station answered.
    #[error("{what}")]
    Answered { what: String, usage: bool },
    #[error("{what}")]
    Usage { what: String },
    #[error(transparent)]
    Fs(#[from] FsError),
    #[error(transparent)]
    Sandbox(#[from] reenact_sandbox::SandboxError),
    #[error(transparent)]
    Cleanroom(#[from] crate::CleanroomError),
}

impl StationError {
    /// Whether the command line or an input is wrong (exit code 2), rather than the harness or its environment (3).
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Unknown { .. } | Self::Usage { .. } => true,
            Self::Start { usage, .. } | Self::Answered { usage, .. } => *usage,
            Self::Cleanroom(e) => e.is_usage(),
            Self::Dead { .. }
            | Self::Ended { .. }
            | Self::State { .. }
            | Self::Fs(_)
            | Self::Sandbox(_) => false,
        }
    }
}
