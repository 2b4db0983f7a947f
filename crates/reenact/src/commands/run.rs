//! `reenact run`.

mod choice;
mod rules;
mod summary;

use super::Done;
use crate::args::{Grade, Run};
use crate::context::{Context, harness, workers};
use crate::error::CommandError;
use crate::live::LiveTable;
use crate::ui::Ui;
use choice::{Chosen, Named};
use reenact_bundle::TaskBundle;
use reenact_cleanroom::agents::command::AGENT_DIR;
use reenact_cleanroom::mounts;
use reenact_cleanroom::open::Setup;
use reenact_cleanroom::run::{PlannedTask, RunPlan, RunReport, WorkId};
use reenact_cleanroom::site::Stop;
use reenact_cleanroom::{Baseline, RunOptions, first_probes, run_baseline};
use reenact_explore::{ExploreOptions, propose};
use reenact_model::{Case, ExitCode, Policy};
use reenact_sandbox::Mount;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;
pub use summary::{line, name};

pub fn run(args: &Run, context: &Context) -> Done {
    let named = Named::parse(&args.agent)?;
    let policy = rules::policy(&args.rules)?;
    choice::refuse_model(&args.model, &named, &args.agent)?;
    // Every task is opened before the first is run: a typing error must not cost an hour.
    let tasks = open_tasks(&args.tasks)?;
    let chosen = match &named {
        Named::Baseline(Baseline::Reference) => return reference(args, &policy, &tasks, context),
        Named::Baseline(agent) => Chosen::baseline(args, *agent, context),
        Named::Bash => Chosen::bash(args, &policy, context)?,
        Named::Replay(file) => Chosen::replay(file)?,
        Named::Command(command) => Chosen::command(args, command, &policy, context)?,
    };
    let report = in_rooms(args, &policy, tasks, &chosen, context)?;
    if !args.grade {
        return summary::finish(&report, &args.out, &chosen.name, context);
    }
    // The grading's output is the command's; what is left to do of the run comes first.
    if let Some(error) = summary::undone(&report) {
        return Err(error);
    }
    grade(&report.dirs, args.workers, context)
}

/// `--grade`: what `reenact grade` does with the run directories just made.
fn grade(runs: &[PathBuf], workers: Option<usize>, context: &Context) -> Done {
    let args = Grade {
        runs: runs.to_vec(),
        workers,
        tasks: None,
        only: Vec::new(),
        build_timeout: None,
        force: false,
        fail_under: None,
        junit: None,
        ctrf: None,
    };
    super::grade::grade(&args, context)
}

fn open_tasks(names: &[String]) -> Result<Vec<PlannedTask>, CommandError> {
    let mut seen = BTreeSet::new();
    let mut tasks = Vec::new();
    for name in names {
        let bundle = TaskBundle::open(name)?;
        if !seen.insert(bundle.id().to_owned()) {
            continue;
        }
        let path = Path::new(name).canonicalize().unwrap_or_else(|_| bundle.root.clone());
        tasks.push(PlannedTask { path: path.display().to_string(), bundle });
    }
    Ok(tasks)
}

/// What the room shows of the host beside the task's own.
fn room_setup(args: &Run) -> Result<Setup, CommandError> {
    let Some(dir) = &args.agent_dir else { return Ok(Setup::default()) };
    if !dir.is_dir() {
        return Err(CommandError::usage(format!("{}: no such directory", dir.display())));
    }
    let mount = Mount { source: dir.clone(), target: AGENT_DIR.to_owned() };
    Ok(Setup { mounts: vec![mount], ..Setup::default() })
}

/// Runs the plan with a live table and Ctrl-C.
fn in_rooms(
    args: &Run,
    policy: &Policy,
    tasks: Vec<PlannedTask>,
    chosen: &Chosen,
    context: &Context,
) -> Result<RunReport, CommandError> {
    let longest = tasks.iter().map(|t| t.bundle.id().len()).max().unwrap_or(0);
    // ` (attempt 12)`
    let width = if args.attempts > 1 { longest + 13 } else { longest };
    let room = room_setup(args)?;
    let mut settings = chosen.settings.clone();
    settings.extend(mounts::digests(&room.mounts)?);
    let plan = RunPlan {
        tasks,
        agent: chosen.name.clone(),
        policy: policy.clone(),
        model: chosen.model.clone(),
        prompts: chosen.prompts,
        prices: chosen.prices,
        settings,
        attempts: args.attempts,
        workers: workers(args.workers),
        out: args.out.clone(),
        cells: context.cells.clone(),
        room,
        harness: harness(),
        force: args.force,
    };
    let table = LiveTable::new(context, width);
    let stop = stop_by_ctrl_c(&table);
    let report = reenact_cleanroom::run::run(&plan, &|task| chosen.make(task), &stop, &table)?;
    table.finish();
    Ok(report)
}

/// A [`Stop`] that the first Ctrl-C presses. The second ends the process, which loses nothing.
fn stop_by_ctrl_c(table: &LiveTable) -> Stop {
    let stop = Stop::default();
    let (flag, pressed, say) =
        (reenact_sandbox::interrupt::stop_flag(), stop.clone(), table.speaker());
    std::thread::spawn(move || {
        while !flag.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(50));
        }
        pressed.press();
        say("stopping when the steps under way are done; Ctrl-C again stops at once");
    });
    stop
}

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

/// The upper bound works in no room.
fn reference(args: &Run, policy: &Policy, tasks: &[PlannedTask], context: &Context) -> Done {
    if args.attempts > 1 {
        return Err(CommandError::usage(
            "agent \"reference\" submits the same each time; leave --attempts out",
        ));
    }
    let ui = Ui::new(context);
    let options = RunOptions {
        settings: BTreeMap::new(),
        out: args.out.clone(),
        cells: context.cells.clone(),
        policy: policy.clone(),
        workers: workers(args.workers),
        harness: harness(),
        force: args.force,
    };
    for task in tasks {
        let id = WorkId { attempt: 1, task: task.bundle.id().to_owned() };
        let entry =
            run_baseline(&task.bundle, &task.path, &Baseline::Reference, &[], &options, &ui)?;
        context.say(&line(&id, &entry));
    }
    drop(ui);
    if args.grade {
        return grade(std::slice::from_ref(&args.out), args.workers, context);
    }
    if context.json {
        let ids: Vec<&str> = tasks.iter().map(|t| t.bundle.id()).collect();
        context
            .print_json(&serde_json::json!({"run": args.out, "agent": args.agent, "tasks": ids}));
    } else {
        context.made("", &args.out);
    }
    Ok(ExitCode::Done)
}
