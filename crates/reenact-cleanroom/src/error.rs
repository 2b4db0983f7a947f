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
        "{path}: its work on {task} was done for another state of the task; use --force to make it anew"
    )]
    OtherTask { path: PathBuf, task: String },
    /// The directory was made by `run` with one attempt, and several were asked for, or the other way round.
    #[error("{path}: {what}")]
    OtherLayout { path: PathBuf, what: &'static str },
    /// The run was begun under other rules.
    #[error(
        "{path}: was begun under other rules, so it cannot be resumed with these: {}\n\
         give the same options again, or another run directory (-o)", differences.join("; ")
    )]
    OtherRules { path: PathBuf, differences: Vec<String> },
    /// An agent could not be made ready for its task.
    #[error("the agent cannot be made ready: {what}")]
    Agent { what: String },
    /// A trajectory without commands.
    #[error("{path}: holds no command to replay")]
    NothingToReplay { path: PathBuf },
    /// A prompt template that cannot be used.
    #[error("{path}: {what}")]
    Prompt { path: PathBuf, what: String },
    /// An agent's code panicked: a bug.
    #[error("the harness panicked while it drove the agent (a bug): {what}")]
    Panicked { what: String },
    /// Another process is writing to the run directory.
    #[error("{path}: another reenact process is writing to it; wait for it or stop it")]
    Busy { path: PathBuf },
    /// The reference can be read by whoever may run it, and the policy does not accept that.
    #[error(
        "{task}: its reference cannot be sealed ({findings}); an agent could read it. Use --accept-unsealed to run it all the same: the run and every report will say so"
    )]
    Unsealable { task: String, findings: String },
    /// The audit found the reference, or most of it, readable in the room.
    #[error("{task}: the reference can be read in the cleanroom: {finding}\n{remedy}")]
    Exposed { task: String, finding: String, remedy: String },
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
            | Self::OtherLayout { .. }
            | Self::OtherRules { .. }
            | Self::Prompt { .. }
            | Self::NothingToReplay { .. }
            | Self::Unsealable { .. }
            | Self::Format(_) => true,
            Self::Bundle(e) => !matches!(e, BundleError::Fs(_)),
            Self::Exposed { .. }
            | Self::Panicked { .. }
            | Self::Agent { .. }
            | Self::Busy { .. }
            | Self::Fs(_)
            | Self::Sandbox(_) => false,
        }
    }
}
