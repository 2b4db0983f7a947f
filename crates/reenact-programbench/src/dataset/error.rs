//! Why tasks could not be read.

use reenact_bundle::FsError;
use reenact_model::FormatError;
use std::path::PathBuf;

/// What is wrong with a directory of tasks, or with a selection from it.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A directory without any task in it.
    #[error(
        "{0}: no ProgramBench tasks there (directories with task.yaml and tests.json)\nmake them: reenact programbench import"
    )]
    Empty(PathBuf),
    /// No such directory.
    #[error(
        "{0}: no such directory\nmake it: reenact programbench import, or name another with --tasks"
    )]
    Missing(PathBuf),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error(transparent)]
    Fs(#[from] FsError),
    /// A file beyond the size that any task has.
    #[error("{path}: {size} bytes are too many: at most {limit} are read")]
    TooLarge { path: PathBuf, size: u64, limit: u64 },
    /// A name that cannot be an id.
    #[error("{0}: the directory's name is no task id (1 to 150 letters, digits, '.', '_', '-')")]
    BadId(PathBuf),
    /// A regular expression that does not compile.
    #[error("--filter {pattern:?}: {what}")]
    Filter { pattern: String, what: String },
    /// A slice that is none.
    #[error("--slice {spec:?}: {what}\nPython's slices are understood: 0:5, -10:, ::2")]
    Slice { spec: String, what: String },
}

impl DatasetError {
    /// Whether the user's input is at fault, and not the machine.
    pub fn is_usage(&self) -> bool {
        !matches!(self, Self::Fs(_))
    }
}
