//! `task.toml`: the manifest of a task bundle.

use crate::SCHEMA;
use crate::digest::Digest;
use crate::error::{FormatError, parse_toml};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Contents of `task.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskManifest {
    /// Format version; readers refuse another.
    pub schema: u32,
    pub task: TaskInfo,
    pub source: Source,
    pub reference: Reference,
    pub platform: Platform,
    #[serde(default)]
    pub limits: TaskLimits,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskInfo {
    /// Instance id: `source__name.version`, letters, digits and `._-` only.
    pub id: String,
    pub title: String,
    pub split: Split,
    /// RFC 3339 time of creation, UTC.
    pub created: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    Public,
    Private,
}

/// Provenance of the reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// `crate`, `deb` or `path`.
    pub kind: String,
    pub name: String,
    pub version: String,
    /// Digest of the fetched archive (crate file, .deb, or the executable for `path`).
    pub sha256: Digest,
    /// SPDX expression where the source states one; "unknown" otherwise.
    pub licence: String,
    /// Upstream's page, if stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub homepage: Option<String>,
}

/// The sealed executable. Paths are relative to the bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// Digest of `sealed/reference`.
    pub sha256: Digest,
    /// Bytes.
    pub size: u64,
    /// No program interpreter and no shared libraries.
    pub r#static: bool,
    pub seal: Seal,
    /// What the seal check found, one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<String>,
    /// `sealed/runtime` holds files (libraries, data) laid over the root filesystem when the reference runs.
    #[serde(default)]
    pub runtime: bool,
    /// Absolute paths of the reference's own package files, hidden from builds and candidates wherever the host has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masks: Vec<String>,
    /// `sealed/source.tar.gz` holds a source tree whose `compile.sh` builds the reference offline.
    #[serde(default)]
    pub source_tree: bool,
    /// It needs job control of its own (an interactive shell): in a cleanroom it gets a terminal of its own where it is called
    /// on one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_terminal: bool,
}

/// How well the reference's bytes can be kept from an agent that may run it (DESIGN 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seal {
    /// Static, loads no code.
    Sealed,
    /// Dynamic; needs the AT_SECURE route.
    Guarded,
    /// Can load code or read raw memory for its caller.
    Unsealable,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `x86_64`.
    pub arch: String,
    /// Root filesystem the reference was recorded on: `host` or a description such as `debian-12`.
    pub rootfs: String,
}

/// Default limits of the task's cases and builds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TaskLimits {
    /// Wall-clock limit of one step, milliseconds.
    pub wall_ms: u64,
    /// CPU limit of one process, milliseconds.
    pub cpu_ms: u64,
    /// Memory of one cell, bytes.
    pub memory_bytes: u64,
    /// Processes and threads at once.
    pub processes: u32,
    /// Workspace size, bytes.
    pub disk_bytes: u64,
    /// Bytes of stdout, and of stderr.
    pub output_bytes: u64,
    /// Wall-clock limit of `compile.sh`, milliseconds.
    pub build_wall_ms: u64,
}

impl Default for TaskLimits {
    fn default() -> Self {
        Self {
            wall_ms: 10_000,
            cpu_ms: 10_000,
            memory_bytes: 1 << 30,
            processes: 128,
            disk_bytes: 64 << 20,
            output_bytes: 1 << 20,
            build_wall_ms: 15 * 60 * 1000,
        }
    }
}

impl TaskManifest {
    /// Parses and checks `task.toml`.
    ///
    /// # Errors
    /// [`FormatError`] that names line and field.
    pub fn parse(file: &Path, text: &str) -> Result<Self, FormatError> {
        /// Tasks of ProgramBench's have a `task.toml` of another shape, which says so.
        #[derive(Deserialize)]
        struct Kind {
            kind: Option<String>,
        }
        if let Ok(Kind { kind: Some(kind) }) = parse_toml::<Kind>(file, text) {
            let what = match kind.as_str() {
                "programbench" => {
                    "is a task of ProgramBench's, without a reference and a suite of cases: \
                     `reenact programbench eval` evaluates its submissions"
                }
                _ => "is not known to this version",
            };
            return Err(FormatError::field(file, None, "kind", what));
        }
        let manifest: Self = parse_toml(file, text)?;
        if manifest.schema != SCHEMA {
            let what =
                format!("schema {} is not supported; this version reads {SCHEMA}", manifest.schema);
            return Err(FormatError::field(file, None, "schema", what));
        }
        if !is_valid_id(&manifest.task.id) {
            return Err(FormatError::field(
                file,
                None,
                "task.id",
                "must be 1 to 150 of letters, digits, '.', '_', '-'",
            ));
        }
        if let Some(mask) =
            manifest.reference.masks.iter().find(|m| !m.starts_with('/') || m.contains("/../"))
        {
            return Err(FormatError::field(
                file,
                None,
                "reference.masks",
                format!("{mask:?} is not an absolute path"),
            ));
        }
        Ok(manifest)
    }
}

/// Whether `id` can name a task: a file name without surprises.
pub fn is_valid_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 150
        && !id.starts_with(['.', '-'])
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}
