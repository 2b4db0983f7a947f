//! `reenact probes`.

use super::Done;
use super::report::{manifest, open_task};
use crate::args::Probes;
use crate::context::Context;
use crate::error::CommandError;
use reenact_model::ExitCode;
use reenact_model::probe::Probe;
use reenact_report::probes::{coverage, coverage_text, missing, probe_table};
use std::path::{Path, PathBuf};

pub fn probes(args: &Probes, context: &Context) -> Done {
    let manifest = manifest(&args.run)?;
    if !manifest.tasks.contains_key(&args.task) && log(&args.run, &args.task).is_none() {
        let known: Vec<&str> = manifest.tasks.keys().map(String::as_str).collect();
        return Err(CommandError::usage(format!(
            "{}: the run has no task {:?}",
            args.run.display(),
            args.task
        ))
        .hint(format!("tasks of the run: {}", known.join(", "))));
    }
    let probes = read(&args.run, &args.task)?.unwrap_or_default();
    let held = if args.coverage {
        let task = open_task(&manifest, &args.task, args.tasks.as_deref())?;
        Some(coverage(&reenact_explore::documented(&task)?, &probes))
    } else {
        None
    };
    match (&held, context.json) {
        (None, true) => context.print_json(&serde_json::json!({"probes": probes})),
        (Some(held), true) => context
            .print_json(&serde_json::json!({"coverage": held, "never_probed": missing(held)})),
        (None, false) => context.out(probe_table(&probes, context.color).trim_end()),
        (Some(held), false) => context.out(coverage_text(held, context.color).trim_end()),
    }
    Ok(if probes.is_empty() { ExitCode::NothingToDo } else { ExitCode::Done })
}

/// The probes of a run's task; `None` if the agent left no probe log.
pub fn read(run: &Path, task: &str) -> Result<Option<Vec<Probe>>, CommandError> {
    match log(run, task) {
        Some(path) => Ok(Some(reenact_cleanroom::probes::read(&path)?)),
        None => Ok(None),
    }
}

fn log(run: &Path, task: &str) -> Option<PathBuf> {
    let path = run.join(task).join(format!("{task}.probes.jsonl"));
    path.is_file().then_some(path)
}
