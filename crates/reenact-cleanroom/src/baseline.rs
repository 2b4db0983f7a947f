//! The baseline agents by name, and one run of one of them on one task.

use crate::agents::{self, Made, Submission};
use crate::error::CleanroomError;
use crate::rundir::RunDir;
use reenact_bundle::fsx::fs_error;
use reenact_bundle::shape::CellOptions;
use reenact_bundle::{Progress, TaskBundle, now_rfc3339, write_atomic};
use reenact_model::run::{AgentOutcome, Harness, RunTask};
use reenact_model::{Case, RunManifest};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Instant;

/// A built-in agent without a language model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Baseline {
    /// Ships a program that does nothing and exits with 0: the floor.
    Null,
    /// Ships a program that prints the reference's help text, whatever it is asked.
    Help,
    /// Probes the reference and ships a lookup table of its answers.
    Memorizer,
    /// Ships the reference itself, from source where the bundle has it: the ceiling, marked as an upper bound.
    Reference,
}

impl Baseline {
    /// All of them, weakest first.
    pub const ALL: [Self; 4] = [Self::Null, Self::Help, Self::Memorizer, Self::Reference];

    /// The name on the command line and in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Help => "help",
            Self::Memorizer => "memorizer",
            Self::Reference => "reference",
        }
    }

    /// Whether [`run_baseline`] makes use of `probes`.
    pub fn wants_probes(self) -> bool {
        self == Self::Memorizer
    }
}

impl std::fmt::Display for Baseline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Baseline {
    type Err = CleanroomError;

    fn from_str(name: &str) -> Result<Self, CleanroomError> {
        Self::ALL.into_iter().find(|b| b.name() == name).ok_or_else(|| {
            CleanroomError::UnknownAgent {
                name: name.to_owned(),
                known: Self::ALL.map(Self::name).join(", "),
            }
        })
    }
}

/// How a run is to be made.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The run directory; made if it does not exist.
    pub out: PathBuf,
    pub cells: CellOptions,
    /// Cells at once; at least 1.
    pub workers: usize,
    /// The harness, for a new run's manifest.
    pub harness: Harness,
    /// Settings for a new run's manifest, over the agent's own (for instance the seed of its probes).
    pub settings: BTreeMap<String, String>,
    /// Make the submission anew even if it is there already.
    pub force: bool,
}

/// Runs `agent` on `task` and records it in the run directory. `task_path` goes into the manifest as the user gave it;
/// `probes` are invocations (cases; expectations are not looked at) for agents that want them. A task that has its
/// submission already is skipped, so that the same command resumes a run.
///
/// # Errors
/// [`CleanroomError`]; the run directory then holds no submission and no entry for the task that were not there before.
pub fn run_baseline(
    task: &TaskBundle,
    task_path: &str,
    agent: &Baseline,
    probes: &[Case],
    o: &RunOptions,
    progress: &dyn Progress,
) -> Result<RunTask, CleanroomError> {
    let reference = task.manifest.reference.sha256;
    let mut run = RunDir::open(&o.out, manifest(*agent, o))?;
    if run.manifest().harness != o.harness {
        progress
            .note("the run was begun by another version of reenact; its manifest names that one");
    }
    if !o.force
        && let Some(entry) = run.finished(task.id(), task.digest, reference)?
    {
        progress.note(&format!("{}: has its submission already", task.id()));
        return Ok(entry.clone());
    }
    task.verify_reference()?;
    let started = Instant::now();
    let made = match agent {
        Baseline::Null => agents::null(),
        Baseline::Help => agents::help(task, o, progress)?,
        Baseline::Memorizer => agents::memorizer(task, probes, o, progress)?,
        Baseline::Reference => agents::reference(task)?,
    };
    let entry = RunTask {
        path: task_path.to_owned(),
        task: task.digest,
        reference,
        agent_outcome: AgentOutcome::Submitted,
        probes: made.probed.as_ref().map_or(0, |p| p.log.len() as u64),
        wall_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    write(&mut run, task.id(), made, entry.clone())?;
    Ok(entry)
}

/// Probe log, submission, manifest entry, in this order: each is there only if those before it are.
fn write(run: &mut RunDir, id: &str, made: Made, entry: RunTask) -> Result<(), CleanroomError> {
    let mut isolation = BTreeMap::new();
    if let Some(probed) = made.probed {
        write_atomic(&run.probe_log(id), probed.to_jsonl().as_bytes())?;
        isolation = probed.isolation;
    }
    let path = run.submission(id);
    let bytes = match made.submission {
        Submission::Tree(tree) => tree.to_tar_gz().map_err(fs_error(&path, "pack"))?,
        Submission::Tarball(bytes) => bytes,
    };
    write_atomic(&path, &bytes)?;
    run.record(id, entry, isolation)
}

fn manifest(agent: Baseline, o: &RunOptions) -> RunManifest {
    let mut settings = match agent {
        Baseline::Memorizer => agents::memorizer_settings(),
        Baseline::Null | Baseline::Help | Baseline::Reference => BTreeMap::new(),
    };
    settings.extend(o.settings.clone());
    RunManifest {
        schema: reenact_model::SCHEMA,
        agent: agent.name().to_owned(),
        upper_bound: agent == Baseline::Reference,
        created: now_rfc3339(),
        harness: o.harness.clone(),
        isolation: BTreeMap::new(),
        settings,
        tasks: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_back_and_an_unknown_one_lists_them() {
        for agent in Baseline::ALL {
            assert_eq!(agent.name().parse::<Baseline>().unwrap(), agent);
        }
        let error = "oracle".parse::<Baseline>().unwrap_err();
        assert!(error.is_usage());
        assert_eq!(
            error.to_string(),
            "\"oracle\" is not an agent; known agents: null, help, memorizer, reference"
        );
    }

    #[test]
    fn only_the_reference_agent_is_an_upper_bound() {
        let options = RunOptions {
            out: PathBuf::new(),
            cells: CellOptions::default(),
            workers: 1,
            harness: reenact_model::run::this_harness("0", None, false),
            settings: BTreeMap::from([("seed".to_owned(), "7".to_owned())]),
            force: false,
        };
        for agent in Baseline::ALL {
            assert_eq!(manifest(agent, &options).upper_bound, agent == Baseline::Reference);
        }
    }
}
