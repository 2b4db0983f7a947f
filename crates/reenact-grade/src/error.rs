//! Why a grading could not be done. Nothing here is ever a score.

use reenact_bundle::{BundleError, FsError};
use reenact_model::FormatError;
use std::path::PathBuf;

/// A grading that could not be done, or not to its end. What was judged before stays in the journal.
#[derive(Debug, thiserror::Error)]
pub enum GradeError {
    /// The directory holds no run.
    #[error("{0}: not a run directory: it has no run.toml (`reenact run` makes one)")]
    NotARun(PathBuf),
    /// A file of the run is malformed.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A task was named that the run does not have.
    #[error("{run}: has no task {task:?}; it has {known}", known = known.join(", "))]
    UnknownTask { run: PathBuf, task: String, known: Vec<String> },
    /// The bundle of a task, or its suite, cannot be used.
    #[error("task {task}: {error}")]
    Bundle { task: String, error: Box<BundleError> },
    /// The bundle of a task is not the one the run was made with.
    #[error("task {task}: {path}: {what}")]
    WrongTask { task: String, path: PathBuf, what: String },
    /// A line of the journal that is complete makes no sense.
    #[error(
        "{path}, line {line}: {what}; restore the file, or remove it to judge everything again"
    )]
    Journal { path: PathBuf, line: u64, what: String },
    /// Another process is at work.
    #[error("{run}: another `reenact grade`{} is at work on this run; wait for it or stop it", pid.map(|p| format!(" (pid {p})")).unwrap_or_default())]
    Locked {
        run: PathBuf,
        /// As the other process noted it, if it had come that far.
        pid: Option<u32>,
    },
    /// A result that was to be re-judged is missing or belongs to another suite.
    #[error("task {task}: cannot be judged again from what is stored: {why}; run `reenact grade`")]
    NotRegradable { task: String, why: String },
    /// The file system refused (read-only, full, permission).
    #[error("{0} (is the disk full, or the directory read-only?)")]
    Fs(#[from] FsError),
    /// The caller asked to stop. The same command resumes.
    #[error("stopped; the same command resumes where it was")]
    Cancelled,
}

impl GradeError {
    /// Whether the command line or an input file is wrong, rather than this machine.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::NotARun(_)
            | Self::Format(_)
            | Self::UnknownTask { .. }
            | Self::WrongTask { .. }
            | Self::Journal { .. }
            | Self::NotRegradable { .. } => true,
            Self::Bundle { error, .. } => match error.as_ref() {
                BundleError::Fs(fs) => fs.error.kind() == std::io::ErrorKind::NotFound,
                _ => true,
            },
            Self::Locked { .. } | Self::Fs(_) | Self::Cancelled => false,
        }
    }
}
