//! `<id>.reenact.json`: what the official result has no place for.

use super::channel::Evidence;
use super::official::Score;
use super::strict::{Difference, StrictBranch};
use reenact_bundle::fsx::{read, write_atomic};
use reenact_model::run::Harness;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The form of this document.
pub const SCHEMA: u32 = 1;

/// What `kind` says.
pub const KIND: &str = "programbench-eval";

/// Contents of `<id>.reenact.json` of an evaluated ProgramBench instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sidecar {
    pub schema: u32,
    /// [`KIND`].
    pub kind: String,
    pub instance: String,
    pub harness: Harness,
    /// RFC 3339.
    pub evaluated_at: String,
    pub official: Score,
    /// `None`: it cannot be told; `strict_missing` says why.
    pub strict: Option<Score>,
    pub strict_missing: Option<String>,
    /// The official result's code, where there is one.
    pub error_code: Option<String>,
    pub policy: Policy,
    pub isolation: BTreeMap<String, String>,
    /// Image name, and `sha256:…` of its configuration.
    pub image: Option<(String, String)>,
    /// SHA-256 of submission.tar.gz, hex.
    pub submission: Option<String>,
    pub executable: Option<String>,
    /// Why the strict score has runs of its own.
    pub separate_runs: Vec<String>,
    pub branches: BTreeMap<String, SidecarBranch>,
    pub differences: Vec<Difference>,
    /// Seconds.
    pub build_s: f64,
    pub wall_s: f64,
    pub notes: Vec<String>,
}

/// Settings that a score depends on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// `none` or `host`.
    pub network: String,
    pub image_tag: String,
    pub cpus: u32,
    pub compile_timeout_s: u64,
    pub test_timeout_s: u64,
    pub branch_retries: u32,
    pub accept_aliases: bool,
}

/// One branch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SidecarBranch {
    pub strict: Option<StrictBranch>,
    /// What pytest told, but for the tests: those are in `strict`.
    pub session: Option<Evidence>,
    pub separate_run: bool,
    pub wall_s: f64,
    pub notes: Vec<String>,
}

impl Sidecar {
    /// Where it is, beside `<id>.eval.json`.
    pub fn path(run: &Path, id: &str) -> PathBuf {
        run.join(id).join(format!("{id}.reenact.json"))
    }

    /// Reads one; `None` if there is none, or what is there is something else.
    pub fn load(run: &Path, id: &str) -> Option<Self> {
        let bytes = read(&Self::path(run, id)).ok()?;
        let sidecar: Self = serde_json::from_slice(&bytes).ok()?;
        (sidecar.kind == KIND && sidecar.schema == SCHEMA).then_some(sidecar)
    }

    pub(super) fn store(&self, run: &Path) -> Result<(), super::EvalError> {
        // Plain data with string keys: it cannot fail.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        Ok(write_atomic(&Self::path(run, &self.instance), &bytes)?)
    }
}
