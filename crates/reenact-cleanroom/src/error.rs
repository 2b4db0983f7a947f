//! Why a run could not be made.

use reenact_bundle::{BundleError, FsError};
use reenact_model::FormatError;
use reenact_sandbox::SandboxError;
use std::path::PathBuf;

/// Why an agent could not be run on a task. Never the reference's or the agent's own behaviour: those are facts in the
/// probe log and in the manifest.
#[derive(Debug, thiserror::Error)]
pub enum CleanroomError {
    /// No such agent.
    #[error("{name:?} is not an agent; known agents: {known}")]
    UnknownAgent { name: String, known: String },
    /// The run directory was begun by another agent.
    #[error(
        "{path}: belongs to agent `{found}`, not `{wanted}`; give `{wanted}` a run directory of its own"
    )]
    OtherAgent { path: PathBuf, found: String, wanted: String },
    /// The directory exists, holds something, and has no `run.toml`.
    #[error(
        "{path}: not empty and not a run directory (no run.toml); give an empty or a new directory"
    )]
    NotARunDirectory { path: PathBuf },
    /// The submission there was made for another state of the task.
    #[error(
        "{path}: its submission for {task} was made for another state of the task; use --force to make it anew"
    )]
    OtherTask { path: PathBuf, task: String },
    /// Another process is writing to the run directory.
    #[error("{path}: another reenact process is writing to it; wait for it or stop it")]
    Busy { path: PathBuf },
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error(transparent)]
    Fs(#[from] FsError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

impl CleanroomError {
    /// Whether the command line or an input file is wrong (exit code 2), rather than the harness or its environment (3).
    pub fn is_usage(&self) -> bool {
        match self {
            Self::UnknownAgent { .. }
            | Self::OtherAgent { .. }
            | Self::NotARunDirectory { .. }
            | Self::OtherTask { .. }
            | Self::Format(_) => true,
            Self::Bundle(e) => !matches!(e, BundleError::Fs(_)),
            Self::Busy { .. } | Self::Fs(_) | Self::Sandbox(_) => false,
        }
    }
}
