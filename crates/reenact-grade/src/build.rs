//! From a tarball to a candidate: unpack, run `compile.sh` in a cell without network, take the built tree out.

use crate::executable::{self, NoCandidate};
use crate::unpack::{UnpackError, UnpackLimits, UnpackReport, unpack};
use reenact_bundle::fsx::fs_error;
use reenact_bundle::shape::{CellOptions, build_cell, candidate_cell};
use reenact_bundle::{FsError, TaskBundle};
use reenact_model::observe::Ended;
use reenact_model::run::BuildResult;
use reenact_model::{Digest, Limits, Observation};
use reenact_sandbox::spec::{PROGRAM, WORKSPACE};
use reenact_sandbox::{Cell, CellSpec, ExportLimits, Invocation, SandboxError};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Output of `compile.sh` that ends it, bytes.
const OUTPUT_LIMIT: u64 = 64 << 20;
/// Output of `compile.sh` that is kept, from the end, bytes.
const OUTPUT_KEPT: usize = 64 << 10;
/// Caps on the built tree; above what the cell's scratch holds, so only sparse files can pass them.
const EXPORT: ExportLimits = ExportLimits { bytes: 8 << 30, entries: 600_000 };
/// The candidate is started once before the suite, to learn whether the kernel accepts it; milliseconds.
const TRIAL_WALL_MS: u64 = 500;
/// Notes of one kind that are kept.
const NOTES_KEPT: usize = 20;

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
struct Failure {
    code: &'static str,
    why: String,
}

impl Failure {
    fn new(code: &'static str, why: impl Into<String>) -> Self {
        Self { code, why: why.into() }
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
    let failure = match stages(request, &work.path, &mut built)? {
        Ok(()) => None,
        Err(failure) => Some(failure),
    };
    built.build.ok = failure.is_none();
    if let Some(failure) = failure {
        built.build.error_code = Some(failure.code.to_owned());
        built.build.error = Some(failure.why);
    }
    Ok(built)
}

fn stages(
    request: &Request<'_>,
    work: &Path,
    built: &mut Built,
) -> Result<Result<(), Failure>, BuildTrouble> {
    let source = work.join("source");
    if let Err(failure) = unpack_submission(request.submission, &source, &mut built.notes)? {
        return Ok(Err(failure));
    }
    let exported = work.join("tree");
    if let Err(failure) = compile(request, &source, &exported, built)? {
        return Ok(Err(failure));
    }
    executable::open_modes(&exported)?;
    let candidate = match executable::find(&exported)? {
        Ok(path) => path,
        Err(NoCandidate::Absent) => {
            return Ok(Err(Failure::new("no_executable", NoCandidate::Absent.to_string())));
        }
        Err(why) => return Ok(Err(Failure::new("bad_executable", why.to_string()))),
    };
    built.build.executable = Some(executable::digest_file(&candidate)?);
    let spec = candidate_cell(request.task, &exported, request.upper_bound, request.cells);
    if let Err(failure) = trial(&spec, &candidate, built)? {
        return Ok(Err(failure));
    }
    executable::remove_tree(request.tree)?;
    std::fs::rename(&exported, request.tree).map_err(fs_error(request.tree, "create"))?;
    Ok(Ok(()))
}

fn unpack_submission(
    tarball: &Path,
    source: &Path,
    notes: &mut Vec<String>,
) -> Result<Result<(), Failure>, FsError> {
    let file = File::open(tarball).map_err(fs_error(tarball, "read"))?;
    let reader = std::io::BufReader::with_capacity(1 << 16, file);
    let report = match unpack(reader, source, &UnpackLimits::default()) {
        Ok(report) => report,
        Err(UnpackError::Fs(e)) => return Err(e),
        Err(UnpackError::Read(e)) => return Err(fs_error(tarball, "read")(e)),
        Err(fault) => {
            return Ok(Err(Failure::new("bad_submission", format!("submission.tar.gz: {fault}"))));
        }
    };
    note_contents(&report, notes);
    if remove_shipped(source)? {
        notes.push("a shipped ./executable was deleted before the build".to_owned());
    }
    let compile = source.join("compile.sh");
    // Links were checked to stay inside the tree, so following one is safe here.
    Ok(match std::fs::metadata(&compile) {
        Ok(meta) if meta.is_file() => Ok(()),
        Ok(_) => Err(Failure::new("no_compile_sh", "compile.sh is not a regular file")),
        Err(_) if report.files == 0 => {
            Err(Failure::new("no_compile_sh", "the submission is empty: it has no compile.sh"))
        }
        Err(_) => Err(Failure::new(
            "no_compile_sh",
            "there is no compile.sh at the top of the submission; archive the tree with `-C <tree> .`",
        )),
    })
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
    let shipped = source.join(executable::NAME);
    let Ok(meta) = std::fs::symlink_metadata(&shipped) else { return Ok(false) };
    let removed = if meta.is_dir() {
        std::fs::remove_dir_all(&shipped)
    } else {
        std::fs::remove_file(&shipped)
    };
    removed.map_err(fs_error(&shipped, "remove"))?;
    Ok(true)
}

fn compile(
    request: &Request<'_>,
    source: &Path,
    exported: &Path,
    built: &mut Built,
) -> Result<Result<(), Failure>, BuildTrouble> {
    let none = Vec::new();
    let masks = if request.upper_bound { &none } else { &request.task.manifest.reference.masks };
    let mut cell = Cell::start(&build_cell(masks, request.wall_ms, request.cells))?;
    built.isolation = cell.layers();
    cell.import_tree(source, WORKSPACE)?;
    let seen = cell.run(&Invocation {
        program: "/bin/sh".to_owned(),
        args: vec!["-c".to_owned(), "chmod +x ./compile.sh && exec ./compile.sh".to_owned()],
        cwd: Some(WORKSPACE.to_owned()),
        limits: Limits {
            wall_ms: Some(request.wall_ms),
            cpu_ms: Some(request.wall_ms),
            output_bytes: Some(OUTPUT_LIMIT),
        },
        merge_stderr: true,
        ..Invocation::default()
    })?;
    record_compile(&seen, built);
    if let Err(failure) = judge_compile(&seen.ended)? {
        return Ok(Err(with_last_line(failure, &built.build.output)));
    }
    match cell.export_tree(WORKSPACE, exported, EXPORT) {
        Ok(report) => {
            let skipped = report.skipped.len();
            built.notes.extend(
                report
                    .skipped
                    .into_iter()
                    .take(NOTES_KEPT)
                    .map(|what| format!("not taken from the build: {what}")),
            );
            if skipped > NOTES_KEPT {
                let more = skipped - NOTES_KEPT;
                built.notes.push(format!("not taken from the build: {more} more files"));
            }
            Ok(Ok(()))
        }
        Err(SandboxError::Spec { what, .. }) => Ok(Err(Failure::new(
            "compile_failed",
            format!("the built tree is too large to take over: {what}"),
        ))),
        Err(other) => Err(other.into()),
    }
}

fn record_compile(seen: &Observation, built: &mut Built) {
    built.build.wall_ms = seen.resources.wall_us / 1000;
    built.build.output = tail(seen.stdout.inline_bytes());
    built.build.returncode = match seen.ended {
        Ended::Exit { code } => Some(code),
        _ => None,
    };
    let left = seen.resources.leftovers;
    if left > 0 {
        built.notes.push(format!("compile.sh left {left} processes behind; they were killed"));
    }
}

fn judge_compile(ended: &Ended) -> Result<Result<(), Failure>, SandboxError> {
    let failed = |why: String| Err(Failure::new("compile_failed", why));
    Ok(match ended {
        Ended::Exit { code: 0 } => Ok(()),
        Ended::Exit { code } => failed(format!("compile.sh exited with {code}")),
        Ended::Signal { signal } => failed(format!("compile.sh died of signal {signal}")),
        Ended::WallLimit { limit_ms } | Ended::CpuLimit { limit_ms } => Err(Failure::new(
            "compile_timeout",
            format!("compile.sh was still running after {} s", limit_ms / 1000),
        )),
        Ended::MemoryLimit { limit_bytes } => {
            failed(format!("compile.sh needed more than {} MiB of memory", limit_bytes >> 20))
        }
        Ended::OutputLimit { limit_bytes, .. } => {
            failed(format!("compile.sh printed more than {} MiB", limit_bytes >> 20))
        }
        Ended::ScriptEnded { .. } => failed("compile.sh did not end".to_owned()),
        // The shell is the root filesystem's, not the submission's.
        Ended::ExecFailed { what, .. } => {
            let path = PathBuf::from("/bin/sh");
            return Err(SandboxError::Spec { path, what: format!("cannot be executed: {what}") });
        }
    })
}

fn with_last_line(failure: Failure, output: &str) -> Failure {
    match output.lines().rev().find(|l| !l.trim().is_empty()) {
        Some(line) => {
            let line: String = line.trim().chars().take(200).collect();
            Failure { why: format!("{}; its last line: {line}", failure.why), ..failure }
        }
        None => failure,
    }
}

/// The end of a build log as text.
fn tail(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(OUTPUT_KEPT)..]).into_owned()
}

/// Starts the candidate once, without arguments. Only whether the kernel accepts it matters.
fn trial(
    spec: &CellSpec,
    candidate: &Path,
    built: &mut Built,
) -> Result<Result<(), Failure>, BuildTrouble> {
    let mut cell = Cell::start(spec)?;
    built.isolation = cell.layers();
    let seen = cell.run(&Invocation {
        program: PROGRAM.to_owned(),
        limits: Limits { wall_ms: Some(TRIAL_WALL_MS), ..Limits::default() },
        ..Invocation::default()
    })?;
    Ok(match seen.ended {
        Ended::ExecFailed { what, .. } => {
            Err(Failure::new("bad_executable", executable::exec_problem(candidate, &what)))
        }
        _ => Ok(()),
    })
}

/// A directory for work in progress, removed at the end however deep it has become.
struct WorkDir {
    path: PathBuf,
}

/// Prefix of work in progress; whatever carries it is left over from a killed process and may be removed under the lock.
pub(crate) const WORK_PREFIX: &str = "tmp-";

impl WorkDir {
    fn new(parent: &Path) -> Result<Self, FsError> {
        std::fs::create_dir_all(parent).map_err(fs_error(parent, "create"))?;
        let dir = tempfile::Builder::new()
            .prefix(WORK_PREFIX)
            .tempdir_in(parent)
            .map_err(fs_error(parent, "write in"))?;
        Ok(Self { path: dir.keep() })
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next grading of the task.
        executable::remove_tree(&self.path).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_of_a_build_has_a_code() {
        let code = |ended| judge_compile(&ended).unwrap().err().map(|f| f.code);
        assert_eq!(code(Ended::Exit { code: 0 }), None);
        assert_eq!(code(Ended::Exit { code: 127 }), Some("compile_failed"));
        assert_eq!(code(Ended::Signal { signal: 9 }), Some("compile_failed"));
        assert_eq!(code(Ended::WallLimit { limit_ms: 1 }), Some("compile_timeout"));
        assert_eq!(code(Ended::MemoryLimit { limit_bytes: 1 }), Some("compile_failed"));
        let stream = reenact_model::Stream::Stdout;
        assert_eq!(code(Ended::OutputLimit { stream, limit_bytes: 1 }), Some("compile_failed"));
        let missing = Ended::ExecFailed { errno: 2, what: "ENOENT".to_owned() };
        assert!(judge_compile(&missing).is_err(), "a missing shell is our failure");
    }

    #[test]
    fn the_last_line_of_the_log_is_shown() {
        let failure = with_last_line(Failure::new("compile_failed", "x"), "cc main.c\nerror: no main\n\n");
        assert_eq!(failure.why, "x; its last line: error: no main");
        assert_eq!(tail(&[b"a".repeat(OUTPUT_KEPT), b"end".to_vec()].concat()).len(), OUTPUT_KEPT);
    }
}
