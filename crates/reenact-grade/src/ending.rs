//! How the grading of a task ends: its outcome, its result, its last record.

use crate::error::GradeError;
use crate::integrity;
use crate::journal::TaskLog;
use crate::result::{self, Head, assemble, case_results};
use crate::suite_run::Undone;
use crate::task::TaskGrading;
use reenact_model::Verdict;
use reenact_model::run::{
    AgentOutcome, BuildResult, JournalRecord, Outcome, Standing, TaskResult, UNSEALED_NOTE,
};
use std::collections::BTreeMap;

/// Where a task stands after its last stage.
pub(crate) struct Ending {
    pub outcome: Outcome,
    pub why: Option<String>,
    pub build: BuildResult,
    pub isolation: BTreeMap<String, String>,
    pub notes: Vec<String>,
    pub undone: Undone,
    /// Whether the verdicts in the log are verdicts on this very build.
    pub verdicts_count: bool,
    /// Verdict of cases that were neither judged nor tried.
    pub otherwise: Verdict,
    pub suite_ms: u64,
}

impl Ending {
    /// An end before the first case was run.
    pub(crate) fn early(outcome: Outcome, why: String, build: BuildResult) -> Self {
        let otherwise = if outcome.standing() == Standing::ExcludedForInfrastructure {
            Verdict::HarnessError { what: why.clone() }
        } else {
            Verdict::NotRun { why: why.clone() }
        };
        Self {
            outcome,
            why: Some(why),
            build,
            isolation: BTreeMap::new(),
            notes: Vec::new(),
            undone: Undone::default(),
            verdicts_count: false,
            otherwise,
            suite_ms: 0,
        }
    }
}

/// The end of a task for which nothing was submitted. Only what the agent is answerable for is a score.
pub(crate) fn without_submission(agent: AgentOutcome) -> Ending {
    let (outcome, why) = match agent {
        AgentOutcome::Submitted | AgentOutcome::ExhaustedBudget => {
            (Outcome::SubmissionMissing, "there is no submission.tar.gz")
        }
        AgentOutcome::Refused => (Outcome::AgentRefused, "the agent refused the task"),
        AgentOutcome::Failed => {
            (Outcome::HarnessFailed, "the agent failed before it submitted anything")
        }
        AgentOutcome::Cancelled => {
            (Outcome::Cancelled, "the agent was stopped before it submitted anything")
        }
        AgentOutcome::ProviderFailed => (
            Outcome::ModelProviderFailed,
            "the model's provider failed before the agent submitted anything",
        ),
        AgentOutcome::SandboxFailed => {
            (Outcome::SandboxFailed, "the agent's cleanroom failed before it submitted anything")
        }
    };
    Ending::early(outcome, why.to_owned(), BuildResult::default())
}

/// The outcome of a suite that was judged to its end, and why it is not plainly `graded`.
pub(crate) fn graded_outcome(agent: AgentOutcome) -> (Outcome, Option<String>) {
    match agent {
        AgentOutcome::ExhaustedBudget => (
            Outcome::AgentExhaustedBudget,
            Some("the agent's budget ran out; what it left was graded".to_owned()),
        ),
        AgentOutcome::Refused => (
            Outcome::AgentRefused,
            Some("the agent refused the task; what it left was graded".to_owned()),
        ),
        AgentOutcome::Submitted
        | AgentOutcome::Failed
        | AgentOutcome::Cancelled
        | AgentOutcome::ProviderFailed
        | AgentOutcome::SandboxFailed => (Outcome::Graded, None),
    }
}

/// Writes the task's results, then says so in the journal.
pub(crate) fn finish(
    grading: &mut TaskGrading<'_>,
    ending: Ending,
) -> Result<TaskResult, GradeError> {
    let Ending { outcome, why, build, isolation, mut notes, suite_ms, .. } = ending;
    let id = grading.bundle.id();
    if grading.run.manifest.upper_bound {
        notes.insert(0, "upper bound: the submission is the reference itself".to_owned());
    }
    if grading.run.manifest.tasks[id].work.as_ref().is_some_and(|w| w.accepted_unsealed) {
        notes.push(UNSEALED_NOTE.to_owned());
    }
    if grading.run.manifest.tasks[id].task != grading.bundle.digest {
        notes.push("task.toml has changed since the run was made".to_owned());
    }
    let empty = TaskLog::default();
    let log = if ending.verdicts_count { &*grading.log } else { &empty };
    let cases = case_results(grading.suite, log, &ending.undone.errors, &ending.otherwise);
    let head = Head {
        task: grading.bundle,
        suite: grading.suite,
        harness: &grading.options.harness,
        outcome,
        why,
        build,
        isolation,
        notes,
        suite_ms,
    };
    let mut result = assemble(head, cases);
    integrity::apply(grading.run, &mut result)?;
    result::write(grading.run, &result, Some((grading.journal, log)))?;
    grading.journal.append(&JournalRecord::Finished { task: id.to_owned(), outcome })?;
    Ok(result)
}
