//! One branch: its suite run in a container of its own, again where workers died, and once more for the strict score where
//! the submission could have a hand in pytest.

use super::attempts::{Attempts, attempts, has_late_workers};
use super::channel::Evidence;
use super::clean::{Clean, forced};
use super::error::EvalError;
use super::images::{Base, Images};
use super::meddling::Protected;
use super::official::{error, inject_not_run, process, unreadable};
use super::options::Options;
use super::station::StepError;
use super::suite::{Attempt, How, attempt};
use crate::dataset::Instance;
use reenact_interop::programbench::{LogEntry, Status, TestBranchError, TestResult};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
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
    /// Why there is none.
    #[serde(default)]
    pub unjudged: Option<String>,
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
    let Attempts { kept: mut last, serial, history } =
        attempts(job, branch, &protected, &mut out.log)?;
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
    out.evidence = judge(job, branch, &protected, (last, serial), &mut out)?;
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

/// What the strict score rests on: the official run, if the submission had no hand in it; else one on a clean layer; and if
/// what the tests rest on was changed while they ran, one in which that cannot be.
fn judge(
    job: &Job<'_>,
    branch: &str,
    protected: &Protected,
    official: (Attempt, Option<Attempt>),
    out: &mut BranchResult,
) -> Result<Option<Evidence>, EvalError> {
    let how = |layer| How { branch, layer, serial: false, read_only: None };
    // Kept as long as its layer is used.
    let made;
    let (layer, mut run) = match job.clean {
        Clean::Unsure { reasons } => {
            out.unjudged = reasons.last().cloned();
            return Ok(None);
        }
        Clean::Same => {
            let run = without_late_workers(job, protected, how(&job.layer), official, out)?;
            if can_be_read(&run) {
                // Perhaps the build has made it so, in a way that was not found.
                made = forced(&job.layer, job.base, job.images, job.options)?;
                out.notes.push("others of its user could look into pytest's process, and so the branch was run once more for the strict score, on the image's own layers".to_owned());
                match clean_run(job, protected, &how, &made, out)? {
                    Some(again) => again,
                    None => (job.layer.as_path(), run),
                }
            } else {
                (job.layer.as_path(), run)
            }
        }
        clean @ Clean::Layer { .. } => match clean_run(job, protected, &how, clean, out)? {
            Some(run) => run,
            None => return Ok(None),
        },
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
    out.unjudged = unheard(job, branch, &run, &out.results);
    Ok(out.unjudged.is_none().then_some(run.evidence))
}

/// A run on a clean layer.
fn clean_run<'a>(
    job: &Job<'_>,
    protected: &Protected,
    how: &impl Fn(&'a Path) -> How<'a>,
    clean: &'a Clean<'_>,
    out: &mut BranchResult,
) -> Result<Option<(&'a Path, Attempt)>, EvalError> {
    let Clean::Layer { layer, .. } = clean else { return Ok(None) };
    out.separate_run = true;
    let run = strict_run(job, protected, how(layer))?;
    if let Err(e) = &run.junit {
        let note = format!("the run for the strict score: {}: {}", e.code, e.details);
        out.notes.push(note);
    }
    Ok(Some((layer, run)))
}

/// Whether others of its user could look into the process that told, and so speak for it.
fn can_be_read(run: &Attempt) -> bool {
    run.evidence.begun && !run.evidence.hidden
}

/// Why nothing can be said by what pytest told.
fn unheard(job: &Job<'_>, branch: &str, run: &Attempt, official: &[TestResult]) -> Option<String> {
    if can_be_read(run) {
        return Some("pytest cannot keep its key from the program under test: the image's Python has no ctypes, and its user may not change its group (or fs.suid_dumpable is 1)".to_owned());
    }
    told_later(&run.evidence, &job.instance.branch(branch)?.tests, official)
}

/// Why what a later pytest would have told is missing. Anybody can call himself one, and so it excuses nothing where pytest
/// was broken off or its words were spoilt: what is not told then has not passed.
fn told_later(told: &Evidence, listed: &[String], official: &[TestResult]) -> Option<String> {
    if told.later == 0 || told.foreign > 0 || !matches!(told.status, Some(0 | 1)) {
        return None;
    }
    let passed = |name: &str| official.iter().any(|t| t.name == name && t.status == Status::Passed);
    let missing = listed.iter().filter(|t| !told.tests.contains_key(*t) && passed(t)).count();
    (missing > 0).then(|| {
        format!("run.sh starts pytest again after tests were collected or run, and only the first can be believed: {missing} listed tests that passed by results.xml were not told")
    })
}

/// The official run; where a worker died in it, the one with a single worker, as in [`strict_run`].
fn without_late_workers(
    job: &Job<'_>,
    protected: &Protected,
    how: How<'_>,
    (official, serial): (Attempt, Option<Attempt>),
    out: &mut BranchResult,
) -> Result<Attempt, EvalError> {
    if official.serial || !has_late_workers(&official) {
        return Ok(official);
    }
    match serial {
        Some(serial) => Ok(serial),
        None if job.options.branch_retries == 0 => Ok(official),
        None => {
            out.separate_run = true;
            attempt(job, protected, How { serial: true, ..how })
        }
    }
}

/// A run for the strict score, again with one worker where one died.
fn strict_run(job: &Job<'_>, protected: &Protected, how: How<'_>) -> Result<Attempt, EvalError> {
    let first = attempt(job, protected, how)?;
    if has_late_workers(&first) && job.options.branch_retries > 0 {
        return attempt(job, protected, How { serial: true, ..how });
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_later_pytest_excuses_what_was_not_told() {
        let listed = ["a".to_owned()];
        let passed = serde_json::json!([{"name": "a", "status": "passed", "extra": {}}]);
        let official: Vec<TestResult> = serde_json::from_value(passed).unwrap();
        let told = Evidence { later: 1, status: Some(0), ..Evidence::default() };
        let why = |told: &Evidence| told_later(told, &listed, &official);
        assert!(why(&told).unwrap().contains("1 listed tests"));
        for broken in [
            Evidence { later: 0, ..told.clone() },
            Evidence { foreign: 1, ..told.clone() },
            Evidence { status: Some(2), ..told.clone() },
            Evidence { status: None, ..told.clone() },
        ] {
            assert_eq!(why(&broken), None, "{broken:?}");
        }
    }
}
