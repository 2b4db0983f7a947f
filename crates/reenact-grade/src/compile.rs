//! Running `compile.sh`, and the candidate's first start, in cells.

use crate::build::{Built, Failure, NOTES_KEPT, Request, Stop};
use crate::candidate;
use reenact_bundle::fsx::fs_error;
use reenact_bundle::shape::{build_cell, candidate_cell};
use reenact_model::observe::Ended;
use reenact_model::{Limits, Observation};
use reenact_sandbox::spec::{PROGRAM, WORKSPACE};
use reenact_sandbox::{Cell, ExportLimits, ExportReport, Invocation, SandboxError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Output of `compile.sh` that ends it, bytes.
const OUTPUT_LIMIT: u64 = 64 << 20;
/// Output of `compile.sh` that is kept, from the end, bytes.
const OUTPUT_KEPT: usize = 64 << 10;
/// Caps on the built tree; above what the cell's scratch holds, so only sparse files can pass them.
const EXPORT: ExportLimits = ExportLimits { bytes: 8 << 30, entries: 600_000 };
/// The candidate is started once before the suite, to learn whether the kernel accepts it; milliseconds.
const TRIAL_WALL_MS: u64 = 500;

/// Runs `compile.sh` on the tree `source` and exports what it built to the new directory `exported`.
pub(crate) fn compile(
    request: &Request<'_>,
    source: &Path,
    exported: &Path,
    built: &mut Built,
) -> Result<(), Stop> {
    let masks = &request.task.manifest.reference.masks;
    // The upper bound builds the reference itself, from its own package's files where it needs them.
    let masks = if request.upper_bound { &[] } else { masks.as_slice() };
    let mut cell = Cell::start(&build_cell(masks, request.wall_ms, request.cells))?;
    built.isolation = cell.layers();
    cell.import_tree(source, WORKSPACE)?;
    let seen = cell.run(&Invocation {
        program: "/bin/sh".to_owned(),
        // As ProgramBench runs it: made executable, then by its own `#!` line, or by the shell if it has none.
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
    if let Some(failure) = judge_compile(&seen.ended)? {
        return Err(with_last_line(failure, &built.build.output).into());
    }
    match cell.export_tree(WORKSPACE, exported, EXPORT) {
        Ok(report) => note_skipped(report, &mut built.notes),
        Err(SandboxError::Spec { what, .. }) => {
            let why = format!("the built tree cannot be taken over: {what}");
            return Err(Failure::new("compile_failed", why).into());
        }
        Err(SandboxError::Host { error, .. }) if is_our_disk(&error) => {
            return Err(fs_error(exported, "write")(error).into());
        }
        // A path that no file system of ours can hold.
        Err(SandboxError::Host { what, error }) if error.kind() == ErrorKind::InvalidFilename => {
            let why = format!("the built tree cannot be taken over: {what}: {error}");
            return Err(Failure::new("compile_failed", why).into());
        }
        Err(other) => return Err(other.into()),
    }
    Ok(())
}

/// Whether the run directory's file system is to blame.
fn is_our_disk(error: &std::io::Error) -> bool {
    use ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem)
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

fn note_skipped(report: ExportReport, notes: &mut Vec<String>) {
    let skipped = report.skipped.len();
    notes.extend(
        report
            .skipped
            .into_iter()
            .take(NOTES_KEPT)
            .map(|what| format!("not taken from the build: {what}")),
    );
    if skipped > NOTES_KEPT {
        notes.push(format!("not taken from the build: {} more files", skipped - NOTES_KEPT));
    }
}

/// The failure that an end of `compile.sh` means, if any. A shell that cannot be started is the root filesystem's fault.
fn judge_compile(ended: &Ended) -> Result<Option<Failure>, SandboxError> {
    let failed = |why: String| Some(Failure::new("compile_failed", why));
    Ok(match ended {
        Ended::Exit { code: 0 } => None,
        Ended::Exit { code } => failed(format!("compile.sh exited with {code}")),
        Ended::Signal { signal } => failed(format!("compile.sh died of signal {signal}")),
        Ended::WallLimit { limit_ms } | Ended::CpuLimit { limit_ms } => Some(Failure::new(
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

/// Starts the candidate once, without arguments, in the cell it will be graded in. Only whether the kernel accepts it
/// matters: a script with a missing interpreter is a build that failed, not a suite that failed.
pub(crate) fn trial(
    request: &Request<'_>,
    tree: &Path,
    found: &Path,
    built: &mut Built,
) -> Result<(), Stop> {
    let spec = candidate_cell(request.task, tree, request.upper_bound, request.cells);
    let mut cell = Cell::start(&spec)?;
    built.isolation = cell.layers();
    let seen = cell.run(&Invocation {
        program: PROGRAM.to_owned(),
        limits: Limits { wall_ms: Some(TRIAL_WALL_MS), ..Limits::default() },
        ..Invocation::default()
    })?;
    match seen.ended {
        Ended::ExecFailed { what, .. } => {
            Err(Failure::new("bad_executable", candidate::exec_problem(found, &what)).into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_of_a_build_has_a_code() {
        let code = |ended| judge_compile(&ended).unwrap().map(|f| f.code);
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
        let failure =
            with_last_line(Failure::new("compile_failed", "x"), "cc main.c\nerror: no main\n\n");
        assert_eq!(failure.why, "x; its last line: error: no main");
        assert_eq!(tail(&[b"a".repeat(OUTPUT_KEPT), b"end".to_vec()].concat()).len(), OUTPUT_KEPT);
    }
}
