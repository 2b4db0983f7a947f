//! Grading a run: its tasks one after the other, under the run's lock.

use crate::error::GradeError;
use crate::journal::Journal;
use crate::lock::lock;
use crate::options::{GradeOptions, GradeReporter};
use crate::result;
use crate::rundir::RunDir;
use crate::task::TaskGrading;
use reenact_bundle::{Suite, TaskBundle};
use reenact_model::run::TaskResult;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;

/// Grades the tasks of a run and writes their results. What an earlier grading judged is not judged again; a run that is
/// finished is only read. The cases of the returned results carry no observations (see [`load_results`]).
///
/// A task whose bundle or suite is broken ends as `harness_failed` and does not keep the others from being graded.
///
/// # Errors
/// [`GradeError`]; if the bundle or suite of every selected task is broken, the first one's error, with nothing written.
pub fn grade(
    run: &Path,
    options: &GradeOptions,
    reporter: &dyn GradeReporter,
) -> Result<Vec<TaskResult>, GradeError> {
    let run = RunDir::open(run)?;
    let ids = run.select(&options.only)?;
    let _lock = lock(&run)?;
    if options.force {
        Journal::forget(&run.journal(), &ids)?;
    }
    let (mut journal, mut logs) = Journal::open(&run.journal())?;
    let mut graded = BTreeMap::new();
    let mut broken = BTreeMap::new();
    for id in &ids {
        if options.stop.load(Ordering::Relaxed) {
            return Err(GradeError::Cancelled);
        }
        // One task's suite is in memory at a time.
        let (bundle, suite) = match open_task(&run, id, options) {
            Ok(opened) => opened,
            Err(error) => {
                reporter.note(&error.to_string());
                broken.insert(id.clone(), error);
                continue;
            }
        };
        let log = logs.entry(id.clone()).or_default();
        let (run, journal, bundle, suite) = (&run, &mut journal, &bundle, &suite);
        let result = TaskGrading { run, options, reporter, journal, log, bundle, suite }.run()?;
        graded.insert(id.clone(), result);
    }
    if graded.is_empty()
        && let Some((_, error)) = broken.pop_first()
    {
        return Err(error);
    }
    for (id, error) in &broken {
        graded.insert(id.clone(), failed(&run, id, error, options, reporter)?);
    }
    Ok(graded.into_values().collect())
}

fn open_task(
    run: &RunDir,
    id: &str,
    options: &GradeOptions,
) -> Result<(TaskBundle, Suite), GradeError> {
    let bundle = run.bundle(id, options.tasks_root.as_deref())?;
    let suite = run.suite(&bundle)?;
    Ok((bundle, suite))
}

/// Writes and reports the result of a task that cannot be graded, beside others that can.
fn failed(
    run: &RunDir,
    id: &str,
    error: &GradeError,
    options: &GradeOptions,
    reporter: &dyn GradeReporter,
) -> Result<TaskResult, GradeError> {
    let bundle = run.bundle(id, options.tasks_root.as_deref()).ok();
    let digest = bundle.as_ref().map_or(run.manifest.tasks[id].task, |b| b.digest);
    let suite_dir = bundle.map(|b| b.suite_dir());
    let why = error.to_string();
    let result = result::harness_failed(id, &options.harness, digest, suite_dir.as_deref(), why);
    result::write(run, &result, None)?;
    reporter.task_finished(&result);
    Ok(result)
}

/// Reads the results of a run, observations included, in the manifest's order. Tasks that were never graded are absent.
///
/// # Errors
/// [`GradeError`] if the directory is no run or a result is malformed.
pub fn load_results(run: &Path) -> Result<Vec<TaskResult>, GradeError> {
    let run = RunDir::open(run)?;
    let mut results = Vec::new();
    for id in run.manifest.tasks.keys() {
        results.extend(run.load_result(id)?);
    }
    Ok(results)
}
