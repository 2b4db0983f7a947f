//! Benches of runs: what a step costs on disk, and many agents at once.

use super::{Line, make_task, median, us};
use crate::context::{Context, harness};
use crate::error::CommandError;
use reenact_bundle::TaskBundle;
use reenact_cleanroom::agents::replay::ReplayAgent;
use reenact_cleanroom::record::trajectory::{Header, Trajectory};
use reenact_cleanroom::run::{PlannedTask, RunPlan, RunReporter, WorkId, run};
use reenact_cleanroom::site::{Agent, Live, Stop};
use reenact_cleanroom::{CleanroomError, open};
use reenact_interop::trajectory::Message;
use reenact_model::Policy;
use reenact_model::run::RunTask;
use serde_json::json;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Steps of the scripted agents.
const STEPS: usize = 20;
/// Agents at once.
const AGENTS: u32 = 8;

/// (g) Appending one step (a reply and its result, 2 KiB each) to a trajectory of a thousand steps, against appending the same
/// bytes to a plain file.
pub fn trajectory() -> Result<Line, CommandError> {
    const APPENDS: usize = 1000;
    let dir = tempfile::tempdir().map_err(CommandError::environment)?;
    let text = "what a model says, or what a command prints. ".repeat(45);
    let message = |role: &str| -> Result<Message, CommandError> {
        serde_json::from_value(json!({"role": role, "content": text}))
            .map_err(CommandError::environment)
    };
    let messages = [message("assistant")?, message("tool")?];
    let bytes = serde_json::to_vec(&messages).map_err(CommandError::environment)?;
    let mut plain =
        std::fs::File::create(dir.path().join("plain")).map_err(CommandError::environment)?;
    let mut trajectory =
        Trajectory::create(&dir.path().join("bench.traj.json"), &Header::default())?;
    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..APPENDS {
        let begun = Instant::now();
        plain.write_all(&bytes).map_err(CommandError::environment)?;
        floor.push(begun.elapsed());
        let begun = Instant::now();
        trajectory.append(&messages)?;
        ours.push(begun.elapsed());
    }
    let (floor, ours) = (median(floor), median(ours));
    Ok(Line {
        what: format!("append of one step (4 KiB) to a trajectory, median of {APPENDS}"),
        floor: format!("{:.0} us (plain file)", us(floor)),
        ours: format!("{:.0} us", us(ours)),
        ratio: us(ours) / us(floor),
    })
}

/// (h) Eight scripted agents of twenty steps (each: three probes, a file written), one after the other and all at once. Rooms,
/// audit, trajectory, snapshots, submission and integrity report included.
pub fn agents(context: &Context) -> Result<Vec<Line>, CommandError> {
    let dir = tempfile::tempdir().map_err(CommandError::environment)?;
    let task = make_task(dir.path(), 1)?;
    let script = dir.path().join("script.traj.json");
    write_script(&script)?;
    // The first room of a host reads the whole root file system for its audit; later ones do not.
    attempt(&task, &script, &dir.path().join("warm"), 1, 1, context)?;
    let mut rates = Vec::new();
    for workers in [1, AGENTS as usize] {
        let out = dir.path().join(format!("run{workers}"));
        let begun = Instant::now();
        attempt(&task, &script, &out, AGENTS, workers, context)?;
        rates.push((AGENTS as usize * STEPS) as f64 / begun.elapsed().as_secs_f64());
    }
    Ok(vec![Line {
        what: format!("{AGENTS} scripted agents of {STEPS} steps at once, steps a second"),
        floor: format!("{:.0}/s (one at a time)", rates[0]),
        ours: format!("{:.0}/s", rates[1]),
        ratio: rates[1] / rates[0],
    }])
}

fn write_script(path: &Path) -> Result<(), CommandError> {
    let mut messages =
        vec![json!({"role": "system", "content": "s"}), json!({"role": "user", "content": "u"})];
    for i in 0..STEPS {
        let command = format!(
            "./executable %s {i}; ./executable --help | head -3; ./executable '%d\\n' 1 2 3 > out{i}; wc -c out{i}"
        );
        messages.push(json!({
            "role": "assistant", "content": "",
            "extra": {"actions": [{"command": command, "tool_call_id": format!("c{i}")}]}
        }));
        messages.push(json!({"role": "tool", "tool_call_id": format!("c{i}"), "content": ""}));
    }
    let trajectory = json!({
        "info": {"exit_status": "Submitted", "submission": ""},
        "messages": messages, "trajectory_format": "mini-swe-agent-1.1", "instance_id": "bench"
    });
    std::fs::write(path, trajectory.to_string()).map_err(CommandError::environment)
}

/// Reports nothing.
struct Silent;

impl RunReporter for Silent {
    fn began(&self, _: &WorkId, _: &Arc<Live>, _: bool) {}
    fn ended(&self, _: &WorkId, _: &RunTask) {}
    fn failed(&self, _: &WorkId, _: &CleanroomError) {}
    fn note(&self, _: &str) {}
}

fn attempt(
    task: &TaskBundle,
    script: &Path,
    out: &Path,
    attempts: u32,
    workers: usize,
    context: &Context,
) -> Result<(), CommandError> {
    let plan = RunPlan {
        tasks: vec![PlannedTask { bundle: task.clone(), path: task.root.display().to_string() }],
        agent: "replay".to_owned(),
        // Without root a dynamic reference has no seal.
        policy: Policy { accept_unsealed: true, ..Policy::default() },
        model: None,
        prompts: None,
        prices: None,
        settings: Default::default(),
        attempts,
        workers,
        out: out.to_path_buf(),
        cells: context.cells.clone(),
        room: open::Setup::default(),
        harness: harness(),
        force: false,
    };
    let maker = |_: &TaskBundle| -> Result<Box<dyn Agent>, CleanroomError> {
        Ok(Box::new(ReplayAgent::load(script)?))
    };
    let report = run(&plan, &maker, &Stop::default(), &Silent)?;
    if let Some((id, error)) = report.faults.into_iter().next() {
        return Err(CommandError::environment(format!("{id:?}: {error}")));
    }
    Ok(())
}
