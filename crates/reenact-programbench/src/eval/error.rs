//! What stops an evaluation: never a program's failure.

use reenact_bundle::FsError;
use reenact_image::ImageError;
use reenact_sandbox::SandboxError;
use std::path::PathBuf;

/// Why an instance has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error(transparent)]
    Fs(#[from] FsError),
    #[error(transparent)]
    Dataset(#[from] crate::dataset::DatasetError),
    #[error(
        "{instance}: {missing} of {branches} test archives are missing, the first is {first}\nName the directory that holds <instance>/tests/<branch>.tar.gz with --blobs or PROGRAMBENCH_BLOB_DIR."
    )]
    MissingBlobs { instance: String, missing: usize, branches: usize, first: PathBuf },
    #[error("{blob}: {what}")]
    BadBlob { blob: PathBuf, what: String },
    #[error("{path}: {what}\nRemove the file, or evaluate with --force.")]
    BadResult { path: PathBuf, what: String },
    /// Where to, instead of its archive.
    #[error(
        "{path}: {instance} is not evaluated: its submission is kept elsewhere, and this names the place\nDownload it to submission.tar.gz, or evaluate a packaged submission with `reenact programbench submit verify --tier1`."
    )]
    SubmissionElsewhere { instance: String, path: PathBuf },
    #[error(
        "{path}: a step failed, and there is no room left on the disk\nMake some (`reenact image gc` removes images that are not used), and evaluate again."
    )]
    DiskFull { path: PathBuf },
    #[error("the image {image} cannot run the suite: {what}")]
    BadImage { image: String, what: String },
    #[error("{instance} is being evaluated by another process{}", pid.map(|p| format!(" ({p})")).unwrap_or_default())]
    Locked { instance: String, pid: Option<u32> },
    #[error("{0} is no run directory: it has no <instance>/submission.tar.gz")]
    NotARun(PathBuf),
    #[error("stopped; the same command resumes")]
    Cancelled,
}

impl EvalError {
    /// The user's input is wrong, rather than the machine.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::MissingBlobs { .. }
                | Self::BadBlob { .. }
                | Self::BadResult { .. }
                | Self::SubmissionElsewhere { .. }
                | Self::NotARun(_)
                | Self::Dataset(_)
        )
    }
}
