//! Why a run directory could not be read, packaged, verified or compiled.

use crate::dataset::DatasetError;
use reenact_bundle::FsError;
use std::path::{Path, PathBuf};

/// What is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    #[error(transparent)]
    Fs(#[from] FsError),
    #[error("{0}: no such directory")]
    Missing(PathBuf),
    #[error(
        "{0}: no submissions and no results in it (<id>/submission.tar.gz, <id>/<id>.eval.json)"
    )]
    NoRun(PathBuf),
    #[error(
        "{0}: nothing to package: no task has both a submission and an eval.json\nevaluate it first: reenact programbench eval"
    )]
    NothingToPackage(PathBuf),
    /// A file whose contents are not what they should be.
    #[error("{path}: {what}")]
    File { path: PathBuf, what: String },
    #[error("{0}: is a link or no ordinary file; it is not followed")]
    NotPlain(PathBuf),
    #[error("{path}: {size} bytes are too many: at most {limit} are read")]
    TooLarge { path: PathBuf, size: u64, limit: u64 },
    /// A download that failed, or whose bytes are others.
    #[error("{url}: {what}")]
    Fetch { url: String, what: String },
    /// What the machine or the network failed on, and the submission may have no part in.
    #[error("{url}: {what}")]
    Unreachable { url: String, what: String },
    #[error("stopped")]
    Cancelled,
    /// The evaluation that was asked for could not be done.
    #[error("evaluation: {0}")]
    Evaluation(String),
}

impl SubmitError {
    pub(super) fn file(path: &Path, what: impl Into<String>) -> Self {
        Self::File { path: path.to_path_buf(), what: what.into() }
    }

    /// Whether the user's input is at fault, and not the machine or the network.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Dataset(e) => e.is_usage(),
            Self::Fs(_)
            | Self::Fetch { .. }
            | Self::Unreachable { .. }
            | Self::Evaluation(_)
            | Self::Cancelled => false,
            _ => true,
        }
    }
}
