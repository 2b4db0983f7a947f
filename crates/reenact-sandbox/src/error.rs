//! Sandbox errors: always the harness's or the host's, never the program's.

use std::path::PathBuf;

/// Why a cell could not be started or an invocation not be observed.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A set-up step failed in the cell; `step` names it.
    #[error("sandbox set-up failed at {step}: {error}")]
    Setup { step: String, error: std::io::Error },
    /// A host-side step failed.
    #[error("{what}: {error}")]
    Host { what: String, error: std::io::Error },
    /// A layer was demanded that this host does not give.
    #[error("isolation layer `{layer}` is not available: {why}")]
    Layer { layer: &'static str, why: String },
    /// The spec is impossible (for instance a mount source that does not exist).
    #[error("{path}: {what}")]
    Spec { path: PathBuf, what: String },
    /// The zygote died or spoke out of turn.
    #[error("the cell was lost: {0}")]
    Lost(String),
    /// A blob that the case refers to is missing.
    #[error(transparent)]
    Blob(#[from] reenact_model::content::MissingBlob),
    /// A tool on the host is missing or failed.
    #[error("{program}: {what}")]
    Tool { program: String, what: String },
}

impl SandboxError {
    /// A host-side failure.
    pub fn host(what: impl Into<String>, error: std::io::Error) -> Self {
        Self::Host { what: what.into(), error }
    }
}
