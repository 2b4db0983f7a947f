//! Running the cases that are still to be judged. Programs run in cells; comparison happens out here, on the workers'
//! threads, so that the thread that writes the journal has almost nothing to do.

use crate::doubt::{Doubts, Prepared, load_could_explain};
use crate::error::GradeError;
use crate::journal::{Journal, TaskLog, render};
use crate::options::GradeReporter;
use crate::trim::{trim, trim_verdict};
use reenact_bundle::{FsError, Suite};
use reenact_model::run::{CaseResult, JournalRecord};
use reenact_model::{BlobSource, Case, CaseObservation, Limits, Verdict, judge};
use reenact_sandbox::spec::PROGRAM;
use reenact_sandbox::{Cell, CellSpec, Perturbation, SandboxError, pool};
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

impl Undone {
    /// Why the suite was not judged to its end, in one line; `None` if it was.
    pub(crate) fn trouble(&self) -> Option<String> {
        if let Some(why) = &self.no_cell {
            return Some(format!("no cell could be started: {why}"));
        }
        let first = self.errors.values().next()?;
        let what = match &first.verdict {
            Verdict::HarnessError { what } => what.as_str(),
            _ => "",
        };
        Some(format!("{} cases could not be judged; the first: {what}", self.errors.len()))
    }
}

/// What is known of the cases so far, and where it is recorded.
struct Tally<'a> {
    run: &'a SuiteRun<'a>,
    journal: &'a mut Journal,
    log: &'a mut TaskLog,
    undone: Undone,
    done: u64,
    passed: u64,
    total: u64,
}

impl SuiteRun<'_> {
    /// Runs every case that `log` has no verdict for, recording each in `journal` and `log` as it comes. Timeouts that load
    /// could explain are run once more, at the end, before they count (see [`crate::doubt`]).
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
        let (done, passed) = (total - todo.len() as u64, passed(self.suite, log));
        let undone = Undone::default();
        let mut tally = Tally { run: self, journal, log, undone, done, passed, total };
        let mut doubts = Doubts::default();
        let mut trouble: Option<FsError> = None;
        let layers = OnceLock::new();
        let judging = self.judging();
        let work = |cell: &mut Cell, case: &&Case| {
            let prepared = judging.judge(cell, case, case.limits)?;
            layers.get_or_init(|| cell.layers());
            Ok(prepared)
        };
        let ran = pool::run_all(self.spec, self.workers.max(1), &todo, work, |item| {
            let case = todo[item.index];
            let recorded = match item.result {
                Ok(prepared) => match doubts.hold(case, prepared, item.retries) {
                    None => Ok(()),
                    Some(prepared) => tally.judged(prepared, item.retries),
                },
                Err(error) => tally.errored(case, item.retries, &error),
            };
            self.go_on(recorded, &mut trouble)
        });
        tally.undone.no_cell = ran.err().map(|e| e.to_string());
        tally.undone.layers = layers.into_inner();
        if trouble.is_none() && !self.stopped() {
            trouble = self.settle(doubts, &mut tally).err();
        }
        match trouble {
            Some(e) => Err(e.into()),
            None if tally.done < total && tally.undone.no_cell.is_none() => {
                Err(GradeError::Cancelled)
            }
            None => Ok(tally.undone),
        }
    }

    /// Runs the doubtful cases again, one at a time and with more time, and records what then counts.
    fn settle(&self, mut doubts: Doubts<'_>, tally: &mut Tally<'_>) -> Result<(), FsError> {
        let mut trouble = None;
        let again = doubts.again(self.spec.step_limits.wall_ms);
        let judging = self.judging();
        let work =
            |cell: &mut Cell, (case, limits): &(&Case, Limits)| judging.judge(cell, case, *limits);
        // If no cell can be started now, what was seen before stands.
        pool::run_all(self.spec, 1, &again, work, |item| {
            let (prepared, retries) = doubts.settle(item.index, item.result.ok());
            let recorded = tally.judged(prepared, retries);
            let flow = self.go_on(recorded, &mut trouble);
            if doubts.believed() { ControlFlow::Break(()) } else { flow }
        })
        .ok();
        if let Some(e) = trouble {
            return Err(e);
        }
        if !self.stopped() {
            for (prepared, retries) in doubts.rest() {
                tally.judged(prepared, retries)?;
            }
        }
        Ok(())
    }

    fn judging(&self) -> Judging<'_> {
        Judging { task: self.task, suite: self.suite }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn go_on(
        &self,
        recorded: Result<(), FsError>,
        trouble: &mut Option<FsError>,
    ) -> ControlFlow<()> {
        *trouble = recorded.err();
        if trouble.is_some() || self.stopped() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

/// What a worker needs to run and judge a case.
#[derive(Clone, Copy)]
struct Judging<'a> {
    task: &'a str,
    suite: &'a Suite,
}

impl Judging<'_> {
    fn judge(self, cell: &mut Cell, case: &Case, limits: Limits) -> Result<Prepared, SandboxError> {
        let seen = if limits == case.limits {
            cell.run_case(PROGRAM, case, self.suite, &Perturbation::default())?
        } else {
            let case = Case { limits, ..case.clone() };
            cell.run_case(PROGRAM, &case, self.suite, &Perturbation::default())?
        };
        Ok(prepare(self.task, case, seen, self.suite)?)
    }
}

impl Tally<'_> {
    fn judged(&mut self, prepared: Prepared, retries: u32) -> Result<(), FsError> {
        let (result, line) = with_retries(prepared, retries);
        let pass = result.verdict.passed();
        let span = self.journal.append_line(&line)?;
        self.log.judge(result, span);
        self.passed += u64::from(pass);
        self.ended();
        Ok(())
    }

    fn errored(&mut self, case: &Case, retries: u32, error: &SandboxError) -> Result<(), FsError> {
        let result = CaseResult {
            id: case.id.clone(),
            group: case.group.clone(),
            verdict: Verdict::HarnessError { what: error.to_string() },
            wall_us: 0,
            retries,
            observation: None,
        };
        self.journal.append(&judged(self.run.task, result.clone()))?;
        self.undone.errors.insert(case.id.clone(), result);
        self.ended();
        Ok(())
    }

    fn ended(&mut self) {
        self.done += 1;
        self.run.reporter.judged(self.run.task, self.done, self.total, self.passed);
    }
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
    let verdict = trim_verdict(judge(case, &seen, blobs)?);
    let doubtful = !verdict.passed() && seen.steps.iter().any(|s| load_could_explain(&s.ended));
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
    Ok(Prepared { case: CaseResult { observation: None, ..full }, line, doubtful })
}

/// The number of retries is known only to the pool; in the common case there were none and the line stands.
fn with_retries(mut prepared: Prepared, retries: u32) -> (CaseResult, Vec<u8>) {
    prepared.case.retries = retries;
    if retries > 0
        && let Ok(JournalRecord::Judged { task, mut case }) = serde_json::from_slice(&prepared.line)
    {
        case.retries = retries;
        prepared.line = render(&JournalRecord::Judged { task, case });
    }
    (prepared.case, prepared.line)
}
