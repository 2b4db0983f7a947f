//! What became of a run, for people, for machines, and as an exit code.

use crate::commands::Done;
use crate::context::Context;
use crate::error::CommandError;
use reenact_cleanroom::run::governor::Closed;
use reenact_cleanroom::run::{Finished, RunReport, WorkId};
use reenact_model::ExitCode;
use reenact_model::run::{AgentOutcome, RunTask};
use reenact_report::visible;
use serde_json::json;
use std::path::Path;

/// Prints the report and decides the exit code: 0 if all work has something to grade; 130 if the user stopped it; 3 if the
/// harness, the sandbox or the provider failed; 1 if the run's budget was spent before all work was started.
pub fn finish(report: &RunReport, out: &Path, agent: &str, context: &Context) -> Done {
    if context.json {
        context.print_json(&as_json(report, out, agent));
    }
    let undone = undone(report);
    match undone {
        None => {
            if !context.json {
                context.made("", out);
            }
            Ok(ExitCode::Done)
        }
        // With --json, the report has said it all.
        Some(error) if context.json => Ok(error.code()),
        Some(error) => Err(error),
    }
}

/// Why the run is not done, if it is not.
pub fn undone(report: &RunReport) -> Option<CommandError> {
    let mut lines: Vec<String> = Vec::new();
    let failed = |f: &&Finished| !f.entry.agent_outcome.is_final();
    let cancelled = |f: &&Finished| f.entry.agent_outcome == AgentOutcome::Cancelled;
    let fault = report.faults.first();
    let broken: Vec<&Finished> =
        report.finished.iter().filter(failed).filter(|f| !cancelled(f)).collect();
    lines.extend(report.faults.iter().skip(1).map(|(id, e)| format!("{}: {e}", name(id))));
    lines.extend(
        broken
            .iter()
            .skip(usize::from(fault.is_none()))
            .map(|f| format!("{}: {}", name(&f.id), why(&f.entry))),
    );
    lines.truncate(20);
    let left = left_over(report);
    let error = if let Some((id, error)) = fault {
        let what = format!("{}: {error}", name(id));
        if error.is_usage() { CommandError::usage(what) } else { CommandError::environment(what) }
    } else if let Some(first) = broken.first() {
        CommandError::environment(format!("{}: {}", name(&first.id), why(&first.entry)))
    } else if report.finished.iter().any(|f| cancelled(&f)) || is_stopped(report) {
        CommandError::cancelled("stopped; everything is saved")
    } else {
        let closed = report.not_started.first()?;
        CommandError::check_failed(closed.why.to_string())
    };
    let error = lines.into_iter().fold(error, CommandError::hint);
    let error = if left > 0 { error.hint(format!("{left} not started")) } else { error };
    Some(error.hint("the same command resumes the run"))
}

fn left_over(report: &RunReport) -> usize {
    report.not_started.len()
}

fn is_stopped(report: &RunReport) -> bool {
    report.not_started.iter().any(|n| n.why == Closed::Stopped)
}

/// The exit status and the reason, which may hold what a provider said.
fn why(entry: &RunTask) -> String {
    let work = entry.work.as_ref();
    let why = work.and_then(|w| w.why.as_deref()).unwrap_or("no reason was recorded");
    let status = match entry.agent_outcome {
        AgentOutcome::ProviderFailed => "the model's provider failed",
        AgentOutcome::SandboxFailed => "the sandbox failed",
        AgentOutcome::Failed => "the harness failed",
        AgentOutcome::Submitted
        | AgentOutcome::ExhaustedBudget
        | AgentOutcome::Refused
        | AgentOutcome::Cancelled => "ended",
    };
    format!("{status}: {}", visible::text(why.as_bytes()))
}

/// `task`, or `task (attempt 2)`.
pub fn name(id: &WorkId) -> String {
    if id.attempt == 1 { id.task.clone() } else { format!("{} (attempt {})", id.task, id.attempt) }
}

/// One line about finished work.
pub fn line(id: &WorkId, entry: &RunTask) -> String {
    let mut text = format!("{}: {}", name(id), outcome(entry));
    if let Some(work) = &entry.work {
        if work.steps > 0 {
            text += &format!(", {} steps", work.steps);
        }
        if work.tokens.total() > 0 {
            text += &format!(", {} tokens", work.tokens.total());
        }
        if let Some(cost) = work.cost_usd {
            text += &format!(", ${cost:.4}");
        }
    }
    text += &format!(", {} probes, {:.1} s", entry.probes, entry.wall_ms as f64 / 1000.0);
    if let Some(why) = entry.work.as_ref().and_then(|w| w.why.as_deref()) {
        text += &format!(" ({})", visible::text(why.as_bytes()));
    }
    text
}

fn outcome(entry: &RunTask) -> &'static str {
    match entry.agent_outcome {
        AgentOutcome::Submitted => "submitted",
        AgentOutcome::ExhaustedBudget => "out of budget, submitted as it was",
        AgentOutcome::Refused => "refused by the model",
        AgentOutcome::Failed => "harness failed",
        AgentOutcome::Cancelled => "stopped",
        AgentOutcome::ProviderFailed => "model provider failed",
        AgentOutcome::SandboxFailed => "sandbox failed",
    }
}

fn as_json(report: &RunReport, out: &Path, agent: &str) -> serde_json::Value {
    let work: Vec<_> = report
        .finished
        .iter()
        .map(|f| {
            json!({
                "task": f.id.task, "attempt": f.id.attempt, "earlier": f.earlier,
                "outcome": f.entry.agent_outcome, "probes": f.entry.probes,
                "wall_ms": f.entry.wall_ms, "work": f.entry.work,
            })
        })
        .collect();
    let faults: Vec<_> = report
        .faults
        .iter()
        .map(|(id, e)| json!({"task": id.task, "attempt": id.attempt, "error": e.to_string()}))
        .collect();
    let left: Vec<_> = report
        .not_started
        .iter()
        .map(|n| json!({"task": n.id.task, "attempt": n.id.attempt, "why": n.why.to_string()}))
        .collect();
    let tasks: std::collections::BTreeSet<&str> =
        report.finished.iter().map(|f| f.id.task.as_str()).collect();
    json!({
        "run": out, "agent": agent, "tasks": tasks, "runs": report.dirs,
        "finished": work, "faults": faults, "not_started": left,
    })
}
