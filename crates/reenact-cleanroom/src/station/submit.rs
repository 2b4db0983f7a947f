//! A station's workspace as the submission of a run directory.

use super::StationError;
use super::server::Station;
use super::wire::Answer;
use crate::record::submission;
use crate::rundir::RunDir;
use reenact_bundle::fsx::fs_error;
use reenact_bundle::now_rfc3339;
use reenact_model::RunManifest;
use reenact_model::run::{AgentOutcome, Harness, RunTask, Setup, Tokens, Work};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::PoisonError;

/// Writes submission, probe log and manifest entry. The station goes on, and may submit again.
pub(crate) fn submit(
    station: &Station,
    run: &Path,
    agent: &str,
    harness: Harness,
) -> Result<Answer, StationError> {
    let _one = station.submitting.lock().unwrap_or_else(PoisonError::into_inner);
    let task = &station.plan.task;
    let id = task.id();
    let mut out = RunDir::open(run, manifest(station, agent, harness))?;
    let dir = out.task_dir(id);
    std::fs::create_dir_all(&dir).map_err(fs_error(&dir, "create"))?;
    let mut notes = station.info.notes.clone();
    notes.extend(submission::make(&station.room, task, &dir)?.notes);
    copy_log(&station.plan.place.file("probes.jsonl"), &out.probe_log(id))?;
    let entry = RunTask {
        path: task.root.display().to_string(),
        task: task.digest,
        reference: task.manifest.reference.sha256,
        agent_outcome: AgentOutcome::Submitted,
        probes: station.probes.count(),
        wall_ms: u64::try_from(station.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        work: Some(Work {
            seal: task.manifest.reference.seal,
            accepted_unsealed: station.accepted_unsealed,
            exit_status: "Submitted".to_owned(),
            why: None,
            steps: 0,
            calls: 0,
            cost_usd: None,
            resumed: 0,
            probes_refused: station.probes.refused(),
            notes: notes.clone(),
            tokens: Tokens::default(),
        }),
    };
    out.record(id, entry, station.room.layers())?;
    Ok(Answer::Done { notes })
}

/// The log as it is now: whole lines, for a probe's line is written at once.
fn copy_log(from: &Path, to: &Path) -> Result<(), StationError> {
    let beside = to.with_extension("part");
    std::fs::copy(from, &beside).map_err(fs_error(&beside, "write"))?;
    std::fs::rename(&beside, to).map_err(fs_error(to, "write"))?;
    Ok(())
}

fn manifest(station: &Station, agent: &str, harness: Harness) -> RunManifest {
    let policy = station.plan.policy.clone();
    RunManifest {
        schema: reenact_model::SCHEMA,
        agent: agent.to_owned(),
        upper_bound: false,
        created: now_rfc3339(),
        harness,
        isolation: BTreeMap::new(),
        settings: BTreeMap::new(),
        setup: Some(Setup {
            attempt: 1,
            attempts: 1,
            policy_digest: policy.digest(),
            prompts: None,
            prices: None,
            model: None,
            policy,
        }),
        tasks: BTreeMap::new(),
    }
}
