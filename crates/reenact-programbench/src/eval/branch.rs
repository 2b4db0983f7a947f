//! One branch: its suite run in a container of its own, again where workers died, and once more for the strict score where
//! the submission could have a hand in pytest.

use super::channel::{Evidence, Told};
use super::clean::Clean;
use super::error::EvalError;
use super::images::{Base, Images};
use super::meddling::Protected;
use super::official::{error, inject_not_run, process, unreadable};
use super::options::Options;
use super::station::StepError;
use super::suite::{Attempt, How, attempt};
use crate::dataset::Instance;
use reenact_interop::programbench::{LogEntry, TestBranchError, TestResult};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

/// What all branches of an instance share.
pub(super) struct Job<'a> {
    pub instance: &'a Instance,
    pub base: &'a Base,
    /// What the build changed.
    pub layer: PathBuf,
    pub executable: &'a str,
    pub clean: &'a Clean<'a>,
    pub images: &'a dyn Images,
    pub options: &'a Options,
}

/// A branch's result, and what it rests on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct BranchResult {
    pub branch: String,
    /// SHA-256 of the branch's archive.
    pub blob: String,
    pub results: Vec<TestResult>,
    pub errors: Vec<TestBranchError>,
    pub warnings: Vec<String>,
    pub log: Vec<LogEntry>,
    /// What the strict score rests on; `None`: nothing that the submission had no hand in.
    pub evidence: Option<Evidence>,
    /// Why the strict score has a run of its own.
    pub separate_run: bool,
    pub notes: Vec<String>,
    pub wall_s: f64,
}

/// Runs a branch.
pub(super) fn run(job: &Job<'_>, branch: &str) -> Result<BranchResult, EvalError> {
    let began = Instant::now();
    let blob = super::submission::digest(&job.instance.blob_path(branch))?;
    let mut out = BranchResult { branch: branch.to_owned(), blob, ..BranchResult::default() };
    let protected = Protected::new(&job.instance.blob_path(branch), &job.base.config.env)?;
    let (mut last, history) = attempts(job, branch, &protected, &mut out.log)?;
    if history.len() > 1 {
        let seen: Vec<String> =
            history.iter().map(|(crashes, tests)| format!("{crashes}/{tests}")).collect();
        out.notes.push(format!(
            "run {} times; workers that died / tests of each run: {}",
            seen.len(),
            seen.join(", ")
        ));
    }
    let mut errors = BTreeMap::new();
    match std::mem::replace(&mut last.junit, Err(StepError::default())) {
        Ok(Ok(junit)) => (out.results, out.warnings) = process(junit, branch, job.instance),
        Ok(Err(problem)) => {
            failed(job, branch, unreadable(&problem, branch), &mut errors, &mut out)
        }
        Err(e) => failed(job, branch, error(&e.code, e.details), &mut errors, &mut out),
    }
    out.errors = errors.remove(branch).unwrap_or_default();
    out.notes.extend(super::packages::wanted(&out.log, &out.results));
    out.evidence = judge(job, branch, &protected, last, &mut out)?;
    out.wall_s = began.elapsed().as_secs_f64();
    Ok(out)
}

fn failed(
    job: &Job<'_>,
    branch: &str,
    problem: TestBranchError,
    errors: &mut BTreeMap<String, Vec<TestBranchError>>,
    out: &mut BranchResult,
) {
    let code = problem.error_code.clone();
    errors.insert(branch.to_owned(), vec![problem]);
    out.results = inject_not_run(job.instance, branch, &code, errors);
}

/// The official rules of trying again: a step that failed, or workers that died; the run with the most tests that were not
/// lost counts, and two runs alike end it.
fn attempts(
    job: &Job<'_>,
    branch: &str,
    protected: &Protected,
    log: &mut Vec<LogEntry>,
) -> Result<(Attempt, Vec<(usize, usize)>), EvalError> {
    let mut left = job.options.branch_retries;
    let mut best: Option<(Attempt, usize)> = None;
    let mut history: Vec<(usize, usize)> = Vec::new();
    let mut serial = false;
    loop {
        let how = How { branch, layer: &job.layer, serial, read_only: None };
        let mut attempt = attempt(job, protected, how)?;
        log.append(&mut attempt.log);
        let (crashes, tests) = match &attempt.junit {
            Err(_) => match best {
                Some((best, _)) => return Ok((best, history)),
                None if left == 0 => return Ok((attempt, history)),
                None => {
                    left -= 1;
                    continue;
                }
            },
            Ok(Ok(junit)) => (junit.worker_crashes, junit.testcases),
            Ok(Err(_)) => (0, 0),
        };
        let alike = history.last() == Some(&(crashes, tests));
        history.push((crashes, tests));
        let useful = tests.saturating_sub(crashes);
        let kept = match best {
            Some((best, most)) if useful <= most => (best, most),
            _ => (attempt, useful),
        };
        if crashes == 0 || left == 0 || alike {
            return Ok((kept.0, history));
        }
        best = Some(kept);
        serial = true;
        left -= 1;
    }
}

/// What the strict score rests on: the official run, if the submission had no hand in it; else one on a clean layer; and if
/// what the tests rest on was changed while they ran, one in which that cannot be.
fn judge(
    job: &Job<'_>,
    branch: &str,
    protected: &Protected,
    official: Attempt,
    out: &mut BranchResult,
) -> Result<Option<Evidence>, EvalError> {
    let how = |layer| How { branch, layer, serial: false, read_only: None };
    let (layer, mut run) = match job.clean {
        Clean::Unsure { .. } => return Ok(None),
        Clean::Same => (job.layer.as_path(), official),
        Clean::Layer { layer, .. } => {
            out.separate_run = true;
            let run = strict_run(job, protected, how(layer))?;
            if let Err(e) = &run.junit {
                let note = format!("the run for the strict score: {}: {}", e.code, e.details);
                out.notes.push(note);
            }
            (layer.as_path(), run)
        }
    };
    if !run.meddled.is_empty() {
        out.separate_run = true;
        out.notes.push(format!(
            "changed while the tests ran, and so run once more for the strict score, without a way to change it: {}",
            run.meddled
        ));
        let read_only = protected.read_only(&run.meddled.homes);
        run = strict_run(job, protected, How { read_only: Some(&read_only), ..how(layer) })?;
        if !run.meddled.is_empty() {
            out.notes.push(format!(
                "nothing counts for the strict score: changed all the same: {}",
                run.meddled
            ));
            run.evidence.tests.clear();
        }
    }
    if let Some(first) = run.evidence.changed.first() {
        out.notes.push(format!(
            "for the strict score, nothing counts that was told after pytest had loaded {first}, which was changed while the tests ran"
        ));
    }
    Ok(Some(run.evidence))
}

/// A run for the strict score, again with one worker where one died.
fn strict_run(job: &Job<'_>, protected: &Protected, how: How<'_>) -> Result<Attempt, EvalError> {
    let first = attempt(job, protected, how)?;
    let late = first.evidence.tests.values().any(|t| *t == Told::LateWorker);
    if late && job.options.branch_retries > 0 {
        return attempt(job, protected, How { serial: true, ..how });
    }
    Ok(first)
}
