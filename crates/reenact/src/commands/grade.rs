//! `reenact grade` and `reenact regrade`.

use super::Done;
use super::export::reports;
use crate::args::{Grade, Regrade};
use crate::context::{Context, harness, workers};
use crate::error::CommandError;
use crate::ui::Ui;
use reenact_grade::{GradeOptions, GradeReporter as _};
use reenact_model::ExitCode;
use reenact_model::run::TaskResult;
use reenact_report::{Summary, comparison_table, summarise, table};
use std::path::{Path, PathBuf};

pub fn grade(args: &Grade, context: &Context) -> Done {
    let options = GradeOptions {
        workers: workers(args.workers),
        cells: context.cells.clone(),
        build_wall_ms: args.build_timeout.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
        tasks_root: args.tasks.clone(),
        only: args.only.clone(),
        force: args.force,
        harness: harness(),
        stop: reenact_sandbox::interrupt::stop_flag(),
    };
    let mut graded = Vec::new();
    let mut reported = Vec::new();
    for run in &args.runs {
        let ui = Ui::new(context);
        let results = reenact_grade::grade(run, &options, &ui)?;
        if results.is_empty() {
            ui.note(&format!("{}: no tasks", run.display()));
        }
        graded.push((run.clone(), summarise(&results)));
        if args.junit.is_some() || args.ctrf.is_some() {
            reported.push((run.clone(), results));
        }
    }
    if graded.iter().all(|(_, s)| s.rows.is_empty()) {
        return Err(CommandError::nothing("no task to grade")
            .hint("`reenact run` puts submissions into a run directory"));
    }
    reports::write(&reported, args.junit.as_deref(), args.ctrf.as_deref())?;
    print(&graded, context);
    Ok(verdict(&graded, args.fail_under))
}

pub fn regrade(args: &Regrade, context: &Context) -> Done {
    let ui = Ui::new(context);
    let results =
        reenact_grade::regrade(&args.run, &args.only, args.tasks.as_deref(), &harness(), &ui)?;
    drop(ui);
    let graded = [(args.run.clone(), summarise(&results))];
    print(&graded, context);
    Ok(verdict(&graded, None))
}

/// The summary of each run, or of all side by side.
fn print(graded: &[(PathBuf, Summary)], context: &Context) {
    if context.json {
        let runs: Vec<_> =
            graded.iter().map(|(run, s)| serde_json::json!({"run": run, "summary": s})).collect();
        context.print_json(&serde_json::json!({"runs": runs}));
        return;
    }
    if !context.quiet {
        let text = match graded {
            [(run, summary)] => table(summary, &run.display().to_string(), context.color),
            several => {
                let rows: Vec<_> = several.iter().map(|(run, s)| (name(run), s.clone())).collect();
                comparison_table(&rows, context.color)
            }
        };
        context.out(text.trim_end());
    }
    for (run, _) in graded {
        context.out(&run.display().to_string());
    }
}

/// A run's name: the last part of its path.
pub fn name(run: &Path) -> String {
    run.file_name().map_or_else(|| run.display().to_string(), |n| n.to_string_lossy().into_owned())
}

fn verdict(graded: &[(PathBuf, Summary)], fail_under: Option<f64>) -> ExitCode {
    if graded.iter().any(|(_, s)| s.totals.excluded_for_infrastructure > 0) {
        return ExitCode::Environment;
    }
    let below = |s: &Summary| {
        s.rows.iter().any(|r| r.score.is_some_and(|score| fail_under.is_some_and(|f| score < f)))
    };
    if graded.iter().any(|(_, s)| below(s)) { ExitCode::CheckFailed } else { ExitCode::Done }
}

/// Results of a run, or an error that names `grade`.
pub fn results(run: &Path) -> Result<Vec<TaskResult>, CommandError> {
    let results = reenact_grade::load_results(run)?;
    if results.is_empty() {
        return Err(CommandError::nothing(format!("{}: no results yet", run.display()))
            .hint(format!("grade it first: reenact grade {}", run.display())));
    }
    Ok(results)
}
