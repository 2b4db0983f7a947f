//! Judging again from what was stored, without running anything.

use crate::error::GradeError;
use crate::integrity;
use crate::lock::lock;
use crate::options::GradeReporter;
use crate::result;
use crate::rundir::RunDir;
use crate::trim::{is_whole, trim_verdict};
use reenact_bundle::Suite;
use reenact_model::run::{Harness, TaskResult};
use reenact_model::{Verdict, judge};
use std::collections::BTreeMap;
use std::path::Path;

/// Judges every stored case of a run again and writes the results anew. Passes stand (a pass stores nothing but itself), and
/// so does a failure of which only a part was stored; everything else is judged from its observation.
///
/// # Errors
/// [`GradeError::NotRegradable`] for a task that was not graded, or whose suite has changed since.
pub fn regrade(
    run: &Path,
    only: &[String],
    tasks_root: Option<&Path>,
    harness: &Harness,
    reporter: &dyn GradeReporter,
) -> Result<Vec<TaskResult>, GradeError> {
    let run = RunDir::open(run)?;
    let ids = run.select(only)?;
    let _lock = lock(&run)?;
    let mut results = Vec::new();
    for id in &ids {
        let not = |why: &str| GradeError::NotRegradable { task: id.clone(), why: why.to_owned() };
        let bundle = run.bundle(id, tasks_root)?;
        let suite = run.suite(&bundle)?;
        let mut stored = run.load_result(id)?.ok_or_else(|| not("it has no result"))?;
        if stored.suite_digest != suite.manifest.digest {
            return Err(not("its suite has changed since"));
        }
        let changed = rejudge(&mut stored, &suite)?;
        stored.harness = harness.clone();
        result::recount(&mut stored);
        integrity::apply(&run, &mut stored)?;
        result::write(&run, &stored, None)?;
        reporter.note(&format!("{id}: {changed} verdicts changed"));
        reporter.task_finished(&stored);
        results.push(stored);
    }
    Ok(results)
}

fn rejudge(stored: &mut TaskResult, suite: &Suite) -> Result<u64, GradeError> {
    let cases: BTreeMap<&str, _> = suite.cases.iter().map(|c| (c.id.as_str(), c)).collect();
    let mut changed = 0;
    for result in &mut stored.cases {
        let (Some(case), Some(seen)) = (cases.get(result.id.as_str()), &result.observation) else {
            continue;
        };
        if !matches!(result.verdict, Verdict::Fail { .. }) || !is_whole(seen) {
            continue;
        }
        let verdict = judge(case, seen, suite).map_err(|missing| GradeError::NotRegradable {
            task: stored.task.clone(),
            why: missing.to_string(),
        })?;
        changed += u64::from(verdict.passed() != result.verdict.passed());
        result.verdict = trim_verdict(verdict);
    }
    Ok(changed)
}
