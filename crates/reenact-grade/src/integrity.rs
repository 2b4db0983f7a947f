//! Results held back by the evidence of the integrity report, and a person's verdict on it.
//!
//! Grading itself does not look at evidence: what it gave is kept in [`IntegrityStanding::graded`], and the outcome that counts
//! is computed from it, the report and the verdict whenever a result is written. So a verdict needs no second grading.

use crate::error::GradeError;
use crate::lock::lock;
use crate::result;
use crate::rundir::RunDir;
use reenact_bundle::fsx::{fs_error, write_atomic};
use reenact_bundle::now_rfc3339;
use reenact_model::error::parse_json;
use reenact_model::integrity::{Adjudication, IntegrityReport, IntegrityStanding, Judgement};
use reenact_model::run::{Outcome, TaskResult};
use reenact_model::{Digest, FormatError};
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// The outcome that grading gave, and why, whatever is held against the result.
pub(crate) fn graded(result: &TaskResult) -> (Outcome, Option<String>) {
    match &result.integrity {
        Some(standing) => (standing.graded, standing.graded_why.clone()),
        None => (result.outcome, result.why.clone()),
    }
}

/// Sets outcome and standing of a result by the report and the verdict as they are now; gives whether that changed it.
pub(crate) fn apply(run: &RunDir, result: &mut TaskResult) -> Result<bool, GradeError> {
    let before = (result.outcome, result.why.clone(), result.integrity.clone());
    let (outcome, why) = graded(result);
    let report: Option<(IntegrityReport, Digest)> = load(&run.integrity(&result.task))?;
    let adjudication: Option<(Adjudication, Digest)> = load(&run.adjudication(&result.task))?;
    let digest = report.as_ref().map(|(_, digest)| *digest);
    // A verdict on another report says nothing of this one.
    let adjudication = adjudication.map(|(a, _)| a).filter(|a| a.report == digest);
    result.integrity = (report.is_some() || adjudication.is_some()).then(|| IntegrityStanding {
        report: digest,
        breaches: report.as_ref().map_or(0, |(r, _)| r.breaches()),
        notes: report.as_ref().map_or(0, |(r, _)| r.notes()),
        adjudication,
        graded: outcome,
        graded_why: why.clone(),
    });
    (result.outcome, result.why) =
        result.integrity.as_ref().map_or((outcome, why), IntegrityStanding::outcome);
    Ok(before != (result.outcome, result.why.clone(), result.integrity.clone()))
}

/// A JSON file of the run with the digest of its bytes, if it is there.
fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<(T, Digest)>, GradeError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(fs_error(path, "read")(e).into()),
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| FormatError::file(path, "is not UTF-8"))?;
    Ok(Some((parse_json(path, None, text)?, Digest::of(&bytes))))
}

/// What a verdict led to.
#[derive(Clone, Debug)]
pub struct Adjudicated {
    /// `<id>.adjudication.json`
    pub path: PathBuf,
    pub adjudication: Adjudication,
    /// The report that was judged.
    pub report: Option<IntegrityReport>,
    /// The result as it stands now, if the task was graded already.
    pub result: Option<TaskResult>,
}

/// Records a person's verdict on a task of a run, and sets the outcome of its result accordingly. Nothing is run or judged
/// again.
///
/// # Errors
/// [`GradeError`]: no such run or task, malformed files, another process at work.
pub fn adjudicate(
    run: &Path,
    task: &str,
    verdict: Judgement,
    why: &str,
    by: &str,
) -> Result<Adjudicated, GradeError> {
    let run = RunDir::open(run)?;
    run.select(std::slice::from_ref(&task.to_owned()))?;
    let _lock = lock(&run)?;
    let report: Option<(IntegrityReport, Digest)> = load(&run.integrity(task))?;
    let adjudication = Adjudication {
        schema: 1,
        task: task.to_owned(),
        verdict,
        why: why.to_owned(),
        by: by.to_owned(),
        time: now_rfc3339(),
        report: report.as_ref().map(|(_, digest)| *digest),
    };
    let path = run.adjudication(task);
    let json = serde_json::to_vec_pretty(&adjudication)
        .map_err(|e| fs_error(&path, "write")(std::io::Error::other(e)))?;
    write_atomic(&path, &json)?;
    let mut result = run.load_result(task)?;
    if let Some(result) = &mut result
        && apply(&run, result)?
    {
        result::write(&run, result, None)?;
    }
    Ok(Adjudicated { path, adjudication, report: report.map(|(r, _)| r), result })
}
