//! `reenact adjudicate`.

use super::Done;
use crate::args::{Adjudicate, Judgement as Word};
use crate::context::Context;
use crate::error::CommandError;
use reenact_model::ExitCode;
use reenact_model::integrity::{IntegrityReport, Judgement, Severity};
use reenact_report::visible;

/// Findings that are shown beside a verdict.
const SHOWN: usize = 20;

pub fn adjudicate(args: &Adjudicate, context: &Context) -> Done {
    if args.why.trim().is_empty() {
        return Err(
            CommandError::usage("--why is empty").hint("say in a sentence what you looked at")
        );
    }
    let verdict = match args.verdict {
        Word::Clean => Judgement::Clean,
        Word::Tampered => Judgement::Tampered,
    };
    let done = reenact_grade::adjudicate(&args.run, &args.task, verdict, &args.why, &args.by)?;
    if context.json {
        let outcome = done.result.as_ref().map(|r| r.outcome);
        context.print_json(&serde_json::json!({
            "adjudication": done.adjudication, "file": done.path, "outcome": outcome,
        }));
        return Ok(ExitCode::Done);
    }
    let mut prose = done.report.as_ref().map_or_else(
        || format!("{}: there is no integrity report; the verdict stands by itself\n", args.task),
        findings,
    );
    match &done.result {
        Some(result) => prose.push_str(&format!("{}: {}\n", args.task, result.outcome.name())),
        None => prose.push_str(&format!(
            "{}: not graded yet; `reenact grade` will take the verdict into account\n",
            args.task
        )),
    }
    context.made(&prose, &done.path);
    Ok(ExitCode::Done)
}

/// The findings that the verdict is about, escaped: they are the agent's text.
fn findings(report: &IntegrityReport) -> String {
    let mut text =
        format!("{}: {} breaches, {} notes\n", report.task, report.breaches(), report.notes());
    for finding in report.findings.iter().filter(|f| f.severity == Severity::Breach).take(SHOWN) {
        let place = match (finding.step, &finding.path) {
            (Some(step), _) => format!("step {step}"),
            (None, Some(path)) => visible::text(path.as_bytes()),
            (None, None) => "the attempt".to_owned(),
        };
        let evidence = visible::text(finding.evidence.as_bytes());
        text.push_str(&format!("  {}, {place}: {evidence}\n", finding.rule));
    }
    text
}
