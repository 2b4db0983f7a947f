//! `reenact demo`: the main job from end to end, on a real program.

use super::{Done, doctor};
use crate::args::Demo;
use crate::commands::report;
use crate::commands::run::{probe_settings, probes_for};
use crate::context::{Context, harness, workers};
use crate::error::CommandError;
use crate::ui::Ui;
use reenact_bundle::{Suite, TaskBundle};
use reenact_cleanroom::{Baseline, RunOptions, run_baseline};
use reenact_explore::{ExploreOptions, GenerateOptions, generate};
use reenact_forge::NewTask;
use reenact_grade::GradeOptions;
use reenact_model::ExitCode;
use reenact_model::task::Split;
use reenact_report::{Summary, comparison_table, summarise};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const AGENTS: [Baseline; 4] =
    [Baseline::Null, Baseline::Help, Baseline::Memorizer, Baseline::Reference];
/// The suite's seed, and another for the memorizer's probes: it must not know the suite.
const SUITE_SEED: u64 = 1;
const PROBE_SEED: u64 = 4242;
const PROBES: usize = 500;

pub fn demo(args: &Demo, context: &Context) -> Done {
    let begun = Instant::now();
    let health = reenact_sandbox::doctor::examine();
    if !health.usable {
        context.err(&doctor::render(&health, false, false));
        return Err(CommandError::environment("no cell can be started on this host")
            .hint("see `reenact doctor`"));
    }
    if context.verbose {
        context.say(&doctor::render(&health, false, false));
    }
    let workers = workers(args.workers);
    let ui = Ui::new(context);
    let task = make_task(args, context, &ui)?;
    make_suite(&task, args, workers, context, &ui)?;
    ui.finish();
    let mut rows: Vec<(String, Summary)> = Vec::new();
    let mut runs: Vec<PathBuf> = Vec::new();
    let stop = reenact_sandbox::interrupt::stop_flag();
    for agent in AGENTS {
        let out = args.out.join("runs").join(agent.name());
        let options = RunOptions {
            settings: probe_settings(agent, PROBES, PROBE_SEED),
            out: out.clone(),
            cells: context.cells.clone(),
            // These agents are ours and do not read the reference, so the demo also runs where only root could seal it
            // (a dynamic reference, an unprivileged user). The manifests say so.
            policy: reenact_model::Policy { accept_unsealed: true, ..Default::default() },
            workers,
            harness: harness(),
            force: false,
        };
        let probes = if agent.wants_probes() {
            probes_for(
                &task,
                PROBES,
                PROBE_SEED,
                &ExploreOptions { workers, cells: context.cells.clone() },
            )?
        } else {
            Vec::new()
        };
        run_baseline(&task, &task.root.display().to_string(), &agent, &probes, &options, &ui)?;
        ui.finish();
        let grading = GradeOptions {
            workers,
            cells: context.cells.clone(),
            build_wall_ms: None,
            tasks_root: None,
            only: Vec::new(),
            force: false,
            harness: harness(),
            stop: stop.clone(),
        };
        let results = reenact_grade::grade(&out, &grading, &ui)?;
        ui.finish();
        rows.push((agent.name().to_owned(), summarise(&results)));
        runs.push(out);
    }
    drop(ui);
    let page = args.out.join("report.html");
    report::write(&runs, &page, None, context)?;
    finish(&rows, &runs, &page, begun.elapsed(), context)
}

/// Makes the task, or takes the one that an earlier demo left.
fn make_task(args: &Demo, context: &Context, ui: &Ui<'_>) -> Result<TaskBundle, CommandError> {
    let request = NewTask {
        source: args.source.parse()?,
        out: args.out.join("tasks"),
        bin: None,
        docs: args.docs.clone(),
        split: Split::Public,
        force: false,
        cells: context.cells.clone(),
    };
    let source = args.source.clone();
    let same = |task: &TaskBundle| {
        let s = &task.manifest.source;
        // A path names a file, not a name and version: it is always made anew, or refused because it is there.
        s.kind != "path"
            && [
                format!("{}:{}", s.kind, s.name),
                format!("{}:{}@{}", s.kind, s.name, s.version),
                format!("{}:{}={}", s.kind, s.name, s.version),
            ]
            .contains(&source)
    };
    for entry in std::fs::read_dir(&request.out).into_iter().flatten().flatten() {
        if let Ok(task) = TaskBundle::open(&entry.path().display().to_string())
            && same(&task)
        {
            context.say(&format!("{}: made before, used again", task.id()));
            return Ok(task);
        }
    }
    Ok(reenact_forge::new_task(&request, ui)?)
}

/// Generates the suite, or takes the one that is there.
fn make_suite(
    task: &TaskBundle,
    args: &Demo,
    workers: usize,
    context: &Context,
    ui: &Ui<'_>,
) -> Result<(), CommandError> {
    if let Ok(suite) = Suite::load(&task.suite_dir()) {
        context.say(&format!(
            "{}: suite of {} cases made before, used again",
            task.id(),
            suite.cases.len()
        ));
        return Ok(());
    }
    let options = GenerateOptions {
        budget: Duration::from_secs(60),
        cases: args.cases,
        seed: SUITE_SEED,
        explore: ExploreOptions { workers, cells: context.cells.clone() },
    };
    let suite = generate(task, &options, ui)?;
    ui.finish();
    context.say(&format!(
        "{}: {} cases in {} groups",
        task.id(),
        suite.cases.len(),
        suite.manifest.groups.len()
    ));
    Ok(())
}

fn finish(
    rows: &[(String, Summary)],
    runs: &[PathBuf],
    page: &std::path::Path,
    took: Duration,
    context: &Context,
) -> Done {
    if context.json {
        let runs: Vec<_> = rows
            .iter()
            .zip(runs)
            .map(|((agent, s), run)| serde_json::json!({"agent": agent, "run": run, "summary": s}))
            .collect();
        context.print_json(
            &serde_json::json!({"runs": runs, "report": page, "seconds": took.as_secs()}),
        );
    } else {
        let mut text = comparison_table(rows, context.color);
        text.push_str(&format!("\nTook {} s.", took.as_secs()));
        text.push_str(&what_next(rows, runs));
        text.push_str("\nReport:");
        context.made(&text, page);
    }
    let excluded = rows.iter().any(|(_, s)| s.totals.excluded_for_infrastructure > 0);
    Ok(if excluded { ExitCode::Environment } else { ExitCode::Done })
}

/// Where to look next, for the agent that has something to look at.
fn what_next(rows: &[(String, Summary)], runs: &[PathBuf]) -> String {
    let memorizer =
        rows.iter().zip(runs).find(|((agent, _), _)| agent == Baseline::Memorizer.name());
    let Some(((_, summary), run)) = memorizer else { return String::new() };
    let Some(row) = summary.rows.first() else { return String::new() };
    let (run, task) = (run.display(), &row.task);
    format!(
        "\nOne failing case:             reenact show {run} {task} --failed\n\
         What it asked the reference:  reenact probes {run} {task}\n\
         What it never asked:          reenact probes {run} {task} --coverage"
    )
}
