//! One agent on one task: room, probe log, agent, submission, integrity report.

use super::runner::{RunPlan, outcome};
use crate::error::CleanroomError;
use crate::open::{Opened, open_room};
use crate::probes::log::ProbeLog;
use crate::record::{integrity, submission};
use crate::site::{Agent, Live, Site, Stop};
use reenact_bundle::fsx::fs_error;
use reenact_bundle::{Progress, TaskBundle};
use reenact_model::run::{AgentOutcome, Tokens, Work};
use reenact_sandbox::SandboxError;
use reenact_sandbox::room::OracleSink;
use reenact_sandbox::room::oracle::OracleEvent;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// One piece of work.
pub(super) struct Job<'a> {
    pub plan: &'a RunPlan,
    pub task: &'a TaskBundle,
    pub agent: &'a dyn Agent,
    /// RUN/<id>
    pub dir: &'a Path,
    /// How many times the work was taken up again, this time included.
    pub resumed: u32,
    pub live: &'a Arc<Live>,
    pub stop: &'a Stop,
}

/// How it ended.
pub(super) struct Ended {
    pub outcome: AgentOutcome,
    /// Without what [`Live`] knows.
    pub work: Work,
    pub probes: u64,
    pub wall: Duration,
    pub isolation: BTreeMap<String, String>,
}

impl Ended {
    /// Work that has no end yet. It has an entry all the same: a task without one would be missing from every total.
    pub(super) fn open(task: &TaskBundle, status: &str, why: &str, resumed: u32) -> Self {
        let mut work = work(task, status, Some(why.to_owned()));
        work.resumed = resumed;
        Self {
            outcome: AgentOutcome::Cancelled,
            work,
            probes: 0,
            wall: Duration::ZERO,
            isolation: BTreeMap::new(),
        }
    }

    /// A fault of the harness or the sandbox.
    pub(super) fn fault(task: &TaskBundle, error: &CleanroomError, resumed: u32) -> Self {
        let sandbox = matches!(error, CleanroomError::Sandbox(_));
        let outcome = if sandbox { AgentOutcome::SandboxFailed } else { AgentOutcome::Failed };
        let status = if sandbox { "SandboxFailed" } else { "HarnessFailed" };
        let mut work = work(task, status, Some(error.to_string().replace('\n', " ")));
        work.resumed = resumed;
        Self { outcome, work, probes: 0, wall: Duration::ZERO, isolation: BTreeMap::new() }
    }
}

fn work(task: &TaskBundle, status: &str, why: Option<String>) -> Work {
    Work {
        seal: task.manifest.reference.seal,
        accepted_unsealed: false,
        exit_status: status.to_owned(),
        why,
        steps: 0,
        calls: 0,
        cost_usd: None,
        resumed: 0,
        probes_refused: 0,
        notes: Vec::new(),
        tokens: Tokens::default(),
    }
}

/// Whether `agent` would take up what is in `dir`.
pub(super) fn resumes(agent: &dyn Agent, dir: &Path, task: &str) -> bool {
    agent.resumable() && dir.join(format!("{task}.traj.json")).is_file()
}

/// Does the work. What it leaves in the directory is there in this order: trajectory, snapshots and probe log while the
/// agent works; then the submission; the caller records the entry last.
pub(super) fn run(job: &Job<'_>) -> Result<Ended, CleanroomError> {
    let id = job.task.id();
    std::fs::create_dir_all(job.dir).map_err(fs_error(job.dir, "create"))?;
    let probes = ProbeLog::open(&job.dir.join(format!("{id}.probes.jsonl")), BTreeMap::new())?;
    job.live.probes.store(probes.count(), Ordering::Relaxed);
    job.live.doing("opening the cleanroom");
    let Opened { room, seal, accepted_unsealed, notes, audit: _ } = open_room(
        job.task,
        &job.plan.policy,
        &job.plan.cells,
        &job.plan.room,
        counting(probes.sink(), job.live),
        &Doing(job.live),
    )?;
    probes.set_base_env(room.base_env());
    let site = Site {
        task: job.task,
        room: &room,
        policy: &job.plan.policy,
        probes: &probes,
        dir: job.dir,
        live: job.live,
        stop: job.stop,
    };
    let begun = Instant::now();
    let end = job.agent.drive(&site)?;
    let wall = begun.elapsed();
    if let Some(why) = probes.never_executed() {
        // What the agent learned are the oracle's errors: nothing of it is a score.
        let what = format!("the oracle could not execute the reference: {why}");
        return Err(SandboxError::Lost(what).into());
    }
    let mut work = work(job.task, end.exit_status(), end.why());
    work.seal = seal;
    work.accepted_unsealed = accepted_unsealed;
    work.notes = notes;
    work.notes.extend(job.live.notes());
    work.resumed = job.resumed;
    if outcome(&end).is_final() {
        job.live.doing("packing the submission");
        work.notes.extend(submission::make(site.room, site.task, site.dir)?.notes);
        // After the room has been read, before the entry that says the work is done.
        let breaches = integrity::report(site.task, site.dir)?.breaches();
        if breaches > 0 {
            work.notes.push(format!(
                "integrity: {breaches} finding(s) that a person must judge (`reenact adjudicate`)"
            ));
        }
    }
    let isolation = room.layers();
    drop(room);
    work.probes_refused = probes.refused();
    probes.close()?;
    Ok(Ended { outcome: outcome(&end), work, probes: probes.count(), wall, isolation })
}

/// Removes what an earlier session left, for an agent that starts over.
pub(super) fn clear(dir: &Path) -> Result<(), CleanroomError> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(fs_error(dir, "remove")(e).into())
        }
        _ => Ok(()),
    }
}

/// Counts probes for the live table on their way into the log.
fn counting(mut sink: OracleSink, live: &Arc<Live>) -> OracleSink {
    let live = Arc::clone(live);
    Box::new(move |event| {
        if matches!(event, OracleEvent::Began(_)) {
            live.probes.fetch_add(1, Ordering::Relaxed);
        }
        sink(event);
    })
}

/// Shows stages of opening in the live table.
struct Doing<'a>(&'a Live);

impl Progress for Doing<'_> {
    fn stage(&self, text: &str) {
        self.0.doing(text);
    }

    fn tick(&self, _: u64, _: u64) {}

    fn note(&self, text: &str) {
        self.0.doing(text);
    }
}
