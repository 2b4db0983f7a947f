//! `sealed/provenance.toml`: where the reference came from and how it was made.

use crate::error::ForgeError;
use reenact_model::Digest;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Everything needed to make the reference again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Provenance {
    /// The source as asked for, with the version that was resolved.
    pub source: String,
    /// RFC 3339 time, UTC.
    pub created: String,
    /// Version of reenact.
    pub forge: String,
    pub licence: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub homepage: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Path of the executable in its package or tree.
    pub executable: String,
    /// Command that built the reference, in the cell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_command: Option<String>,
    /// First line of `rustc -V`, or of another compiler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toolchain: Option<String>,
    /// What formatted the manual pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub man_renderer: Option<String>,
    /// Decisions a reader should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Every fetched archive.
    #[serde(default, rename = "archive", skip_serializing_if = "Vec::is_empty")]
    pub archives: Vec<ArchiveRecord>,
}

/// One fetched archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ArchiveRecord {
    /// File name as the registry or mirror gives it.
    pub name: String,
    pub version: String,
    pub sha256: Digest,
    /// `reference`, `library`, `data` or `dependency`.
    pub role: String,
}

impl Provenance {
    /// The TOML text.
    ///
    /// # Errors
    /// [`ForgeError::Malformed`] if a value has no TOML form.
    pub fn to_toml(&self, path: &Path) -> Result<String, ForgeError> {
        toml::to_string(self).map_err(|e| ForgeError::Malformed {
            path: path.to_path_buf(),
            what: format!("cannot be serialised: {e}"),
        })
    }
}
