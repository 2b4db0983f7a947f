//! Why the forge could not do what was asked.

use reenact_bundle::{BundleError, FsError};
use reenact_sandbox::SandboxError;
use std::path::PathBuf;

/// An error of the forge. The message says what is wrong and where; a second line, where there is one, says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ForgeError {
    /// What the user asked for is wrong or does not exist.
    #[error("{what}\n  {remedy}")]
    Input { what: String, remedy: String },
    /// A tool or the network is missing on this host, or failed.
    #[error("{what}\n  {remedy}")]
    Host { what: String, remedy: String },
    /// The reference did not build. `tail` holds the last lines of the build's output.
    #[error(
        "{name}: the build in the sandbox failed ({how})\n  last output: {tail}\n  \
         try another version, or build it yourself and use path:FILE --docs DIR"
    )]
    Build { name: String, how: String, tail: String },
    /// A fetched file is not what its format says.
    #[error("{path}: {what}")]
    Malformed { path: PathBuf, what: String },
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Fs(#[from] FsError),
}

impl ForgeError {
    /// The input is wrong.
    pub(crate) fn input(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Input { what: what.into(), remedy: remedy.into() }
    }

    /// The host lacks something.
    pub(crate) fn host(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Host { what: what.into(), remedy: remedy.into() }
    }

    /// Whether the input was wrong (exit code 2), as opposed to the harness or its environment (exit code 3).
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Input { .. } => true,
            Self::Bundle(BundleError::Fs(_)) => false,
            Self::Bundle(_) => true,
            Self::Host { .. }
            | Self::Build { .. }
            | Self::Malformed { .. }
            | Self::Sandbox(_)
            | Self::Fs(_) => false,
        }
    }
}
