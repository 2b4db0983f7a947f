//! Errors of suite making.

use reenact_bundle::{BundleError, FsError};
use reenact_model::FormatError;
use reenact_sandbox::SandboxError;
use std::collections::BTreeMap;

/// Why a suite could not be made or checked.
#[derive(Debug, thiserror::Error)]
pub enum ExploreError {
    /// The bundle or the suite on disk is wrong.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The host or the sandbox failed; never the reference's fault.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// A file could not be read or written.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// An input file is malformed.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Every candidate was dropped.
    #[error(
        "{task}: no case survived of {candidates} candidates ({}): see whether the reference runs at all, raise --budget, or \
         record cases by hand with `suite record`",
        reasons(dropped)
    )]
    NothingLeft {
        /// The task's id.
        task: String,
        /// Candidates there were.
        candidates: u64,
        /// How many each reason took away.
        dropped: BTreeMap<String, u64>,
    },
    /// An option makes no sense.
    #[error("{option}: {what}")]
    Option {
        /// The option as typed on the command line.
        option: &'static str,
        /// What is wrong and what to give instead.
        what: String,
    },
}

/// `name 3, other 1`, most frequent first.
pub(crate) fn reasons(dropped: &BTreeMap<String, u64>) -> String {
    if dropped.is_empty() {
        return "none was proposed".to_owned();
    }
    let mut rows: Vec<(&String, &u64)> = dropped.iter().collect();
    rows.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    rows.iter().map(|(name, n)| format!("{name} {n}")).collect::<Vec<_>>().join(", ")
}

impl ExploreError {
    /// Whether the user's input is at fault (exit code 2) rather than the environment (exit code 3).
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Bundle(BundleError::Fs(_)) | Self::Sandbox(_) | Self::Fs(_) => false,
            Self::Bundle(_) | Self::Format(_) | Self::NothingLeft { .. } | Self::Option { .. } => {
                true
            }
        }
    }
}
