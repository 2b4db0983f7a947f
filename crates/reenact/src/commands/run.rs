//! `reenact run`.

use super::Done;
use crate::args::Run;
use crate::context::{Context, harness, workers};
use crate::error::CommandError;
use crate::ui::Ui;
use reenact_bundle::{Progress, TaskBundle};
use reenact_cleanroom::{Baseline, RunOptions, first_probes, run_baseline};
use reenact_explore::{ExploreOptions, propose};
use reenact_model::{Case, ExitCode};
use std::collections::BTreeMap;

/// The memorizer's probes: what anybody would try first, then what the documentation suggests, `n` in all.
pub fn probes_for(
    task: &TaskBundle,
    n: usize,
    seed: u64,
    explore: &ExploreOptions,
) -> Result<Vec<Case>, CommandError> {
    let mut probes = first_probes();
    probes.extend(propose(task, n, seed, explore)?);
    probes.truncate(n);
    Ok(probes)
}

/// What a rebuilt run would need to know of the probes, for the manifest.
pub fn probe_settings(agent: Baseline, probes: usize, seed: u64) -> BTreeMap<String, String> {
    if !agent.wants_probes() {
        return BTreeMap::new();
    }
    [("probes", probes.to_string()), ("seed", seed.to_string())]
        .map(|(k, v)| (k.to_owned(), v))
        .into()
}

pub fn run(args: &Run, context: &Context) -> Done {
    let agent: Baseline = args.agent.parse()?;
    // Every task is opened before the first is run: a typing error must not cost an hour.
    let tasks = args
        .tasks
        .iter()
        .map(|name| Ok((name, TaskBundle::open(name)?)))
        .collect::<Result<Vec<_>, CommandError>>()?;
    let ui = Ui::new(context);
    let workers = workers(args.workers);
    let options = RunOptions {
        settings: probe_settings(agent, args.probes, args.seed),
        out: args.out.clone(),
        cells: context.cells.clone(),
        workers,
        harness: harness(),
        force: args.force,
    };
    for (name, task) in &tasks {
        let probes = if agent.wants_probes() {
            ui.stage(&format!("{}: looking for things to try", task.id()));
            let explore = ExploreOptions { workers, cells: context.cells.clone() };
            probes_for(task, args.probes, args.seed, &explore)?
        } else {
            Vec::new()
        };
        let path = std::path::Path::new(name);
        let path = path.canonicalize().unwrap_or_else(|_| task.root.clone());
        let ran = run_baseline(task, &path.display().to_string(), &agent, &probes, &options, &ui)?;
        ui.finish();
        context.say(
            &format!(
                "{}: {:?}, {} probes, {} ms",
                task.id(),
                ran.agent_outcome,
                ran.probes,
                ran.wall_ms
            )
            .to_lowercase(),
        );
    }
    drop(ui);
    if context.json {
        let ids: Vec<&str> = tasks.iter().map(|(_, t)| t.id()).collect();
        context
            .print_json(&serde_json::json!({"run": args.out, "agent": args.agent, "tasks": ids}));
    } else {
        context.made("", &args.out);
    }
    Ok(ExitCode::Done)
}
