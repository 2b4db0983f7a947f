//! `reenact doctor`.

use crate::context::Context;
use owo_colors::OwoColorize;
use reenact_model::ExitCode;
use reenact_sandbox::doctor::{Report, Status, examine};

/// Prints each layer as yes, degraded or no, with the remedy.
pub fn doctor(context: &Context) -> ExitCode {
    let report = examine();
    if context.json {
        context.print_json(&report);
    } else {
        context.out(&render(&report, context.color, true));
    }
    if report.usable { ExitCode::Done } else { ExitCode::Environment }
}

/// The report as lines; without `all`, only what is not `yes`.
pub fn render(report: &Report, color: bool, all: bool) -> String {
    let mut lines = Vec::new();
    for check in report.checks.iter().filter(|c| all || c.status != Status::Yes) {
        let word = match check.status {
            Status::Yes => "yes",
            Status::Degraded => "degraded",
            Status::No => "no",
        };
        let padded = format!("{word:<8}");
        let shown = match (color, check.status) {
            (false, _) => padded,
            (true, Status::Yes) => padded.green().to_string(),
            (true, Status::Degraded) => padded.yellow().to_string(),
            (true, Status::No) => padded.red().to_string(),
        };
        lines.push(format!("{shown} {:<16} {}", check.name, check.found));
        if let Some(remedy) = &check.remedy {
            lines.push(format!("{:25} -> {remedy}", ""));
        }
    }
    lines.push(if report.usable {
        "Cells can be started here: tasks can be made and submissions graded.".to_owned()
    } else {
        "No cell can be started here: nothing can be graded until that is mended.".to_owned()
    });
    lines.join("\n")
}
