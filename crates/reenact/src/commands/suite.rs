//! `reenact suite …`.

use super::Done;
use crate::args::Suite as Args;
use crate::context::{Context, workers};
use crate::ui::Ui;
use reenact_bundle::{Suite, TaskBundle};
use reenact_explore::{ExploreOptions, GenerateOptions};
use reenact_model::ExitCode;

pub fn suite(args: &Args, context: &Context) -> Done {
    let explore = |asked: Option<usize>| ExploreOptions {
        workers: workers(asked),
        cells: context.cells.clone(),
    };
    match args {
        Args::Generate(a) => {
            let task = TaskBundle::open(&a.task)?;
            let options = GenerateOptions {
                budget: a.budget,
                cases: a.cases,
                seed: a.seed,
                explore: explore(a.workers),
            };
            let ui = Ui::new(context);
            let suite = reenact_explore::generate(&task, &options, &ui)?;
            drop(ui);
            made(&suite, &task, context)
        }
        Args::Record { task, invocations, seed, workers } => {
            let task = TaskBundle::open(task)?;
            let ui = Ui::new(context);
            let suite =
                reenact_explore::record(&task, invocations, *seed, &explore(*workers), &ui)?;
            drop(ui);
            made(&suite, &task, context)
        }
        Args::Import { task, cases, workers } => {
            let task = TaskBundle::open(task)?;
            let ui = Ui::new(context);
            let suite = reenact_explore::import(&task, cases, &explore(*workers), &ui)?;
            drop(ui);
            made(&suite, &task, context)
        }
        Args::Check { task, workers } => {
            let task = TaskBundle::open(task)?;
            let ui = Ui::new(context);
            let check = reenact_explore::check(&task, &explore(*workers), &ui)?;
            drop(ui);
            if context.json {
                context.print_json(&check);
            } else {
                for gate in &check.gates {
                    context.out(&format!(
                        "{:<7} {:<20} {}",
                        if gate.ok { "ok" } else { "FAILED" },
                        gate.name,
                        gate.detail
                    ));
                    for (case, why) in gate.cases.iter().take(if gate.ok { 0 } else { 10 }) {
                        context.out(&format!("        {case} {why}"));
                    }
                }
            }
            Ok(if check.ok() { ExitCode::Done } else { ExitCode::CheckFailed })
        }
        Args::Show { task } => {
            let task = TaskBundle::open(task)?;
            let suite = Suite::load(&task.suite_dir())?;
            if context.json {
                context.print_json(&suite.manifest);
            } else {
                context.out(reenact_explore::describe(&suite).trim_end());
            }
            Ok(ExitCode::Done)
        }
    }
}

fn made(suite: &Suite, task: &TaskBundle, context: &Context) -> Done {
    if context.json {
        context
            .print_json(&serde_json::json!({"path": task.suite_dir(), "manifest": suite.manifest}));
    } else {
        context.made(&reenact_explore::describe(suite), &task.suite_dir());
    }
    Ok(ExitCode::Done)
}
