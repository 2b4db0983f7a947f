//! A running cell.

use crate::error::SandboxError;
use crate::spec::{CellSpec, Perturbation};
use reenact_model::{BlobSource, Case, CaseObservation, Limits, Observation};
use std::collections::BTreeMap;
use std::path::Path;

/// A running cell. Dropping it kills everything in it.
pub struct Cell {
    spec: CellSpec,
}

/// One invocation outside any case (builds, probes, tools).
#[derive(Clone, Debug, Default)]
pub struct Invocation {
    /// Absolute path of the program in the cell.
    pub program: String,
    /// Arguments after argv[0]; argv[0] is `program`.
    pub args: Vec<String>,
    /// Variables over the cell's base environment.
    pub env: BTreeMap<String, String>,
    /// Standard input; `None` is `/dev/null`.
    pub stdin: Option<Vec<u8>>,
    /// Working directory; `None` is the cell's cwd.
    pub cwd: Option<String>,
    pub limits: Limits,
    /// stderr goes into stdout's stream, in order (build logs); stderr is then empty.
    pub merge_stderr: bool,
}

/// Caps on what [`Cell::export_tree`] takes out.
#[derive(Clone, Copy, Debug)]
pub struct ExportLimits {
    pub bytes: u64,
    pub entries: u64,
}

/// What [`Cell::export_tree`] did.
#[derive(Clone, Debug, Default)]
pub struct ExportReport {
    pub files: u64,
    pub bytes: u64,
    /// Paths left behind, with the reason (fifo, socket, device, setuid bit dropped, …).
    pub skipped: Vec<String>,
}

impl Cell {
    /// Starts a cell. Takes single-digit milliseconds.
    ///
    /// # Errors
    /// [`SandboxError`] naming the layer or set-up step that failed.
    pub fn start(_spec: &CellSpec) -> Result<Self, SandboxError> {
        todo!()
    }

    /// The spec it was started from.
    pub fn spec(&self) -> &CellSpec {
        &self.spec
    }

    /// Isolation layers in force, by name (`mount`, `pid`, `network`, `memory`, `processes`, `seccomp`, `uid`, …) with the
    /// form each one takes (`namespace`, `cgroup-v1`, `cgroup-v2`, `rlimit`, …). Goes into manifests.
    pub fn layers(&self) -> BTreeMap<String, String> {
        todo!()
    }

    /// Runs a case on `program` (a path in the cell): empties the workspace, places the case's files, runs its steps, lists
    /// the workspace. Expectations in `case` are not looked at.
    ///
    /// # Errors
    /// [`SandboxError`]; the cell is then unusable and must be restarted from its spec.
    pub fn run_case(
        &mut self,
        _program: &str,
        _case: &Case,
        _blobs: &dyn BlobSource,
        _perturb: &Perturbation,
    ) -> Result<CaseObservation, SandboxError> {
        todo!()
    }

    /// Runs one invocation in the workspace as it is (nothing is emptied or listed).
    ///
    /// # Errors
    /// As [`Cell::run_case`].
    pub fn run(&mut self, _invocation: &Invocation) -> Result<Observation, SandboxError> {
        todo!()
    }

    /// Empties cwd, HOME and /tmp.
    ///
    /// # Errors
    /// As [`Cell::run_case`].
    pub fn reset(&mut self) -> Result<(), SandboxError> {
        todo!()
    }

    /// Copies the host directory `from` (regular files, directories, symlinks; special files refused) into `target`, a
    /// directory of a [`crate::Scratch`] or of the workspace; files become owned by the cell's user.
    ///
    /// # Errors
    /// As [`Cell::run_case`]; [`SandboxError::Spec`] for a special file.
    pub fn import_tree(&mut self, _from: &Path, _target: &str) -> Result<(), SandboxError> {
        todo!()
    }

    /// Copies the cell's directory `from` to the new host directory `to`. Regular files (mode bits 0777), directories and
    /// symlinks (verbatim) are taken; everything else is skipped and reported. Hostile trees cannot write outside `to`.
    ///
    /// # Errors
    /// As [`Cell::run_case`]; [`SandboxError::Spec`] when a cap is passed.
    pub fn export_tree(
        &mut self,
        _from: &str,
        _to: &Path,
        _limits: ExportLimits,
    ) -> Result<ExportReport, SandboxError> {
        todo!()
    }
}
