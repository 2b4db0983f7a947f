//! Why an import did not happen.

use crate::dataset::DatasetError;
use reenact_bundle::FsError;
use std::path::{Path, PathBuf};

/// What stopped an import. Tasks that were finished before it are there.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    #[error(transparent)]
    Fs(#[from] FsError),
    #[error(
        "{0}: no such file or directory\n--from takes a wheel, a source archive, or a directory of tasks"
    )]
    Missing(PathBuf),
    #[error("{0}: no ProgramBench tasks in it (programbench/data/tasks/<id>/task.yaml)")]
    NoTasks(PathBuf),
    #[error("{path}: {what}")]
    Archive { path: PathBuf, what: String },
    #[error(
        "the package cannot be downloaded: {0}\nget it where there is a network (pip download --no-deps programbench) and name the file with --from"
    )]
    Fetch(String),
    #[error("--version {0:?}: not a version, such as 1.2.5")]
    Version(String),
    #[error(
        "{0}: another task is there, which is not ProgramBench's\nname another directory with -o"
    )]
    NotOurs(PathBuf),
    #[error(
        "{path}: is there with other contents ({what})\n--force replaces it; its attached blobs stay"
    )]
    Differs { path: PathBuf, what: String },
    #[error("{0}: another import is working there")]
    Locked(PathBuf),
    #[error("--blobs {0}: no <id>/tests/<branch>.tar.gz in it for any of these tasks")]
    NoBlobs(PathBuf),
    #[error("no task passes the selection")]
    NothingSelected,
    /// Stopped by the user.
    #[error("stopped; the same command goes on")]
    Cancelled,
}

impl ImportError {
    pub(super) fn archive(path: &Path, what: impl Into<String>) -> Self {
        Self::Archive { path: path.to_path_buf(), what: what.into() }
    }

    /// Whether the user's input is at fault, and not the machine.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Dataset(e) => e.is_usage(),
            Self::Fs(_) | Self::Fetch(_) | Self::Locked(_) => false,
            _ => true,
        }
    }
}
