//! Running the cases that are still to be judged. Programs run in cells; comparison happens out here, on the workers'
//! threads, so that the thread that writes the journal has almost nothing to do.

use crate::error::GradeError;
use crate::journal::{Journal, TaskLog, render};
use crate::options::GradeReporter;
use crate::trim::trim;
use reenact_bundle::{FsError, Suite};
use reenact_model::run::{CaseResult, JournalRecord};
use reenact_model::{BlobSource, Case, CaseObservation, Verdict, judge};
use reenact_sandbox::spec::PROGRAM;
use reenact_sandbox::{CellSpec, Perturbation, SandboxError, pool};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// The suite of one task, about to be run.
pub(crate) struct SuiteRun<'a> {
    pub task: &'a str,
    pub suite: &'a Suite,
    pub spec: &'a CellSpec,
    pub workers: usize,
    pub stop: &'a AtomicBool,
    pub reporter: &'a dyn GradeReporter,
}

/// What a run left undone.
#[derive(Debug, Default)]
pub(crate) struct Undone {
    /// Cases that ended in a harness error, by id.
    pub errors: BTreeMap<String, CaseResult>,
    /// Why no cell could be started at all.
    pub no_cell: Option<String>,
    /// Isolation layers of the cells that ran; `None` if none did.
    pub layers: Option<BTreeMap<String, String>>,
}

/// A verdict and its line for the journal.
struct Prepared {
    case: CaseResult,
    line: Vec<u8>,
}

impl SuiteRun<'_> {
    /// Runs every case that `log` has no verdict for, recording each in `journal` and `log` as it comes.
    ///
    /// # Errors
    /// [`GradeError::Fs`] if the journal cannot be written, [`GradeError::Cancelled`] if `stop` was set; the verdicts
    /// recorded so far stay.
    pub(crate) fn run(
        &self,
        journal: &mut Journal,
        log: &mut TaskLog,
    ) -> Result<Undone, GradeError> {
        let todo: Vec<&Case> =
            self.suite.cases.iter().filter(|c| !log.judged.contains_key(&c.id)).collect();
        let total = self.suite.cases.len() as u64;
        let mut done = total - todo.len() as u64;
        let mut passed = passed(self.suite, log);
        let mut undone = Undone::default();
        let mut trouble: Option<FsError> = None;
        let layers = OnceLock::new();
        let work = |cell: &mut reenact_sandbox::Cell, case: &&Case| {
            let seen = cell.run_case(PROGRAM, case, self.suite, &Perturbation::default())?;
            layers.get_or_init(|| cell.layers());
            Ok(prepare(self.task, case, seen, self.suite)?)
        };
        let ran = pool::run_all(self.spec, self.workers.max(1), &todo, work, |item| {
            let case = todo[item.index];
            done += 1;
            match self.record(case, item.retries, item.result, journal, log) {
                Ok(Recorded::Judged { pass }) => passed += u64::from(pass),
                Ok(Recorded::Error(error)) => {
                    undone.errors.insert(case.id.clone(), *error);
                }
                Err(e) => {
                    trouble = Some(e);
                    return ControlFlow::Break(());
                }
            }
            self.reporter.judged(self.task, done, total, passed);
            if self.stop.load(Ordering::Relaxed) && done < total {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        undone.no_cell = ran.err().map(|e| e.to_string());
        undone.layers = layers.into_inner();
        match trouble {
            Some(e) => Err(e.into()),
            None if done < total && undone.no_cell.is_none() => Err(GradeError::Cancelled),
            None => Ok(undone),
        }
    }

    fn record(
        &self,
        case: &Case,
        retries: u32,
        result: Result<Prepared, SandboxError>,
        journal: &mut Journal,
        log: &mut TaskLog,
    ) -> Result<Recorded, FsError> {
        match result {
            Ok(prepared) => {
                let (result, line) = with_retries(prepared, retries);
                let pass = result.verdict.passed();
                let span = journal.append_line(&line)?;
                log.judge(result, span);
                Ok(Recorded::Judged { pass })
            }
            Err(error) => {
                let result = CaseResult {
                    id: case.id.clone(),
                    group: case.group.clone(),
                    verdict: Verdict::HarnessError { what: error.to_string() },
                    wall_us: 0,
                    retries,
                    observation: None,
                };
                journal.append(&judged(self.task, result.clone()))?;
                Ok(Recorded::Error(Box::new(result)))
            }
        }
    }
}

enum Recorded {
    Judged { pass: bool },
    Error(Box<CaseResult>),
}

/// Cases of `suite` that `log` holds a pass for.
pub(crate) fn passed(suite: &Suite, log: &TaskLog) -> u64 {
    let pass = |c: &&Case| log.judged.get(&c.id).is_some_and(|j| j.case.verdict.passed());
    suite.cases.iter().filter(pass).count() as u64
}

fn judged(task: &str, case: CaseResult) -> JournalRecord {
    JournalRecord::Judged { task: task.to_owned(), case }
}

/// Judges an observation and renders its journal line. What was seen is stored only if the case did not pass.
fn prepare(
    task: &str,
    case: &Case,
    seen: CaseObservation,
    blobs: &dyn BlobSource,
) -> Result<Prepared, reenact_model::content::MissingBlob> {
    let verdict = judge(case, &seen, blobs)?;
    let wall_us = seen.steps.iter().map(|s| s.resources.wall_us).sum();
    let observation = (!verdict.passed()).then(|| trim(seen));
    let full = CaseResult {
        id: case.id.clone(),
        group: case.group.clone(),
        verdict,
        wall_us,
        retries: 0,
        observation,
    };
    let record = judged(task, full);
    let line = render(&record);
    let JournalRecord::Judged { case: full, .. } = record else {
        unreachable!("the record was made as Judged above")
    };
    Ok(Prepared { case: CaseResult { observation: None, ..full }, line })
}

/// The number of retries is known only to the pool; in the common case there were none and the line stands.
fn with_retries(mut prepared: Prepared, retries: u32) -> (CaseResult, Vec<u8>) {
    prepared.case.retries = retries;
    if retries > 0
        && let Ok(JournalRecord::Judged { task, mut case }) =
            serde_json::from_slice(&prepared.line)
    {
        case.retries = retries;
        prepared.line = render(&JournalRecord::Judged { task, case });
    }
    (prepared.case, prepared.line)
}
