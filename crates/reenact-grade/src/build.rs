//! From a tarball to a candidate: unpack, compile in a cell without network, take the built tree out, find the executable.

use crate::candidate::{self, NoCandidate};
use crate::compile::{compile, trial};
use crate::trees::{WorkDir, open_modes, remove_tree};
use crate::unpack::{UnpackError, UnpackLimits, UnpackReport, unpack};
use reenact_bundle::fsx::fs_error;
use reenact_bundle::shape::CellOptions;
use reenact_bundle::{FsError, TaskBundle};
use reenact_model::Digest;
use reenact_model::run::BuildResult;
use reenact_sandbox::SandboxError;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

/// Notes of one kind that are kept.
pub(crate) const NOTES_KEPT: usize = 20;

/// What is to be built.
pub(crate) struct Request<'a> {
    pub task: &'a TaskBundle,
    pub submission: &'a Path,
    /// Of the tarball.
    pub digest: Digest,
    pub upper_bound: bool,
    pub wall_ms: u64,
    pub cells: &'a CellOptions,
    /// Directory for work in progress, on the file system of the built tree.
    pub work: &'a Path,
    /// Where the built tree goes. Replaced.
    pub tree: &'a Path,
}

/// How a build ended, as a fact for the journal.
#[derive(Debug, Default)]
pub(crate) struct Built {
    pub build: BuildResult,
    pub isolation: BTreeMap<String, String>,
    pub notes: Vec<String>,
}

/// Why we do not know how the build ends. Never the submission's fault.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildTrouble {
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// The submission's own failure: typed code and one line.
pub(crate) struct Failure {
    pub code: &'static str,
    pub why: String,
}

impl Failure {
    pub(crate) fn new(code: &'static str, why: impl Into<String>) -> Self {
        Self { code, why: why.into() }
    }
}

/// What ends a build early: the submission's failure, or ours. The two are told apart from the first step on.
pub(crate) enum Stop {
    Failure(Failure),
    Trouble(BuildTrouble),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<FsError> for Stop {
    fn from(error: FsError) -> Self {
        Self::Trouble(error.into())
    }
}

impl From<SandboxError> for Stop {
    fn from(error: SandboxError) -> Self {
        Self::Trouble(error.into())
    }
}

/// Builds a submission. `Ok` holds the submission's success or its own failure.
///
/// # Errors
/// [`BuildTrouble`] when the sandbox or the disk failed.
pub(crate) fn build(request: &Request<'_>) -> Result<Built, BuildTrouble> {
    let mut built = Built::default();
    built.build.submission = Some(request.digest);
    let work = WorkDir::new(request.work)?;
    match stages(request, &work.path, &mut built) {
        Ok(()) => built.build.ok = true,
        Err(Stop::Failure(failure)) => {
            built.build.error_code = Some(failure.code.to_owned());
            built.build.error = Some(failure.why);
        }
        Err(Stop::Trouble(trouble)) => return Err(trouble),
    }
    Ok(built)
}

fn stages(request: &Request<'_>, work: &Path, built: &mut Built) -> Result<(), Stop> {
    let source = work.join("source");
    unpack_submission(request.submission, &source, &mut built.notes)?;
    let exported = work.join("tree");
    compile(request, &source, &exported, built)?;
    open_modes(&exported)?;
    let found = candidate::find(&exported)?.map_err(|why| match why {
        NoCandidate::Absent => Failure::new("no_executable", why.to_string()),
        _ => Failure::new("bad_executable", why.to_string()),
    })?;
    built.build.executable = Some(candidate::digest_file(&found)?);
    trial(request, &exported, &found, built)?;
    remove_tree(request.tree)?;
    std::fs::rename(&exported, request.tree).map_err(fs_error(request.tree, "create"))?;
    Ok(())
}

fn unpack_submission(tarball: &Path, source: &Path, notes: &mut Vec<String>) -> Result<(), Stop> {
    let file = File::open(tarball).map_err(fs_error(tarball, "read"))?;
    let reader = std::io::BufReader::with_capacity(1 << 16, file);
    let report = unpack(reader, source, &UnpackLimits::default()).map_err(|error| match error {
        UnpackError::Fs(e) => Stop::from(e),
        UnpackError::Read(e) => fs_error(tarball, "read")(e).into(),
        fault => Failure::new("bad_submission", format!("submission.tar.gz: {fault}")).into(),
    })?;
    note_contents(&report, notes);
    if remove_shipped(source)? {
        notes.push("a shipped ./executable was deleted before the build".to_owned());
    }
    // Links were checked to stay inside the tree, so following one is safe here.
    let why = match std::fs::metadata(source.join("compile.sh")) {
        Ok(meta) if meta.is_file() => return Ok(()),
        Ok(_) => "compile.sh is not a regular file",
        Err(_) if report.files == 0 => "the submission is empty: it has no compile.sh",
        Err(_) => {
            "there is no compile.sh at the top of the submission; archive the tree with `-C <tree> .`"
        }
    };
    Err(Failure::new("no_compile_sh", why).into())
}

fn note_contents(report: &UnpackReport, notes: &mut Vec<String>) {
    notes.extend(
        report.notable.iter().take(NOTES_KEPT).map(|what| format!("the submission holds {what}")),
    );
    if report.notable.len() > NOTES_KEPT {
        let more = report.notable.len() - NOTES_KEPT;
        notes.push(format!("the submission holds {more} more programs, archives or large files"));
    }
}

/// Deletes what stands at `./executable`, so that only the build can have made what is there afterwards.
fn remove_shipped(source: &Path) -> Result<bool, FsError> {
    let shipped = source.join(candidate::NAME);
    let Ok(meta) = std::fs::symlink_metadata(&shipped) else { return Ok(false) };
    let removed = if meta.is_dir() {
        std::fs::remove_dir_all(&shipped)
    } else {
        std::fs::remove_file(&shipped)
    };
    removed.map_err(fs_error(&shipped, "remove"))?;
    Ok(true)
}
