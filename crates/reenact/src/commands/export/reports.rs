//! Test reports: JUnit XML and CTRF JSON, from `grade` and from `export`.

use crate::commands::Done;
use crate::commands::grade::{name, results};
use crate::context::{Context, harness};
use crate::error::CommandError;
use reenact_bundle::write_atomic;
use reenact_interop::ctrf::{Span, to_ctrf};
use reenact_interop::junit_out::{Graded, to_junit};
use reenact_model::ExitCode;
use reenact_model::run::TaskResult;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// `reenact export junit|ctrf`
#[derive(clap::Args, Debug)]
pub struct Export {
    /// Graded run directories
    #[arg(required = true)]
    pub runs: Vec<PathBuf>,
    /// Only this task (may be repeated)
    #[arg(long, value_name = "ID")]
    pub only: Vec<String>,
    /// File to write (default: standard output)
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Which report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Junit,
    Ctrf,
}

/// A run with its results.
type Run = (PathBuf, Vec<TaskResult>);

pub fn export(args: &Export, format: Format, context: &Context) -> Done {
    let mut runs: Vec<Run> = Vec::new();
    for run in &args.runs {
        let mut found = results(run)?;
        if let Some(id) = args.only.iter().find(|id| found.iter().all(|r| r.task != **id)) {
            let known: Vec<&str> = found.iter().map(|r| r.task.as_str()).collect();
            let what = format!("{}: no result of task {id:?}", run.display());
            return Err(CommandError::usage(what).hint(format!("it has: {}", known.join(", "))));
        }
        found.retain(|r| args.only.is_empty() || args.only.contains(&r.task));
        runs.push((run.clone(), found));
    }
    let text = render(&runs, format)?;
    match &args.out {
        None => context.out(text.trim_end()),
        Some(file) => {
            write_atomic(file, text.as_bytes())?;
            if context.json {
                context.print_json(&serde_json::json!({"file": file}));
            } else {
                context.made("", file);
            }
        }
    }
    Ok(ExitCode::Done)
}

/// Writes the reports that `grade` was asked for.
pub fn write(runs: &[Run], junit: Option<&Path>, ctrf: Option<&Path>) -> Result<(), CommandError> {
    for (file, format) in [(junit, Format::Junit), (ctrf, Format::Ctrf)] {
        if let Some(file) = file {
            write_atomic(file, render(runs, format)?.as_bytes())?;
        }
    }
    Ok(())
}

fn render(runs: &[Run], format: Format) -> Result<String, CommandError> {
    let several = runs.len() > 1;
    let graded: Vec<Graded<'_>> = runs
        .iter()
        .flat_map(|(run, results)| results.iter().map(move |r| (run, r)))
        .map(|(run, result)| Graded {
            name: if several {
                format!("{}/{}", name(run), result.task)
            } else {
                result.task.clone()
            },
            result,
        })
        .collect();
    match format {
        Format::Junit => Ok(to_junit(&graded)),
        Format::Ctrf => {
            let document = to_ctrf(&graded, span(runs), &harness().version);
            let mut text =
                serde_json::to_string_pretty(&document).map_err(CommandError::environment)?;
            text.push('\n');
            Ok(text)
        }
    }
}

/// Results do not say when they were made, only how long it took: the end is the time of the newest result file, the beginning is
/// that minus the times of builds and suites. The same results give the same report.
fn span(runs: &[Run]) -> Span {
    let mut span = Span::default();
    let mut took: u64 = 0;
    for (run, results) in runs {
        for result in results {
            took = took.saturating_add(result.build.wall_ms).saturating_add(result.suite_ms);
            let file = run.join(&result.task).join(format!("{}.reenact.json", result.task));
            let written = std::fs::metadata(file).and_then(|m| m.modified()).ok();
            let since = written.and_then(|t| t.duration_since(UNIX_EPOCH).ok());
            let ms = since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(0));
            span.stop_ms = span.stop_ms.max(ms);
        }
    }
    span.start_ms = span.stop_ms.saturating_sub(i64::try_from(took).unwrap_or(0)).max(0);
    span
}
