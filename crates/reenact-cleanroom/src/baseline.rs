//! The baseline agents by name, and one run of one of them on one task.

use crate::agents::{Help, Memorizer, Null, memorizer_settings, reference_submission};
use crate::error::CleanroomError;
use crate::open::Setup;
use crate::policy::Policy;
use crate::run::{PlannedTask, RunPlan, RunReporter, WorkId, run};
use crate::rundir::RunDir;
use crate::site::{Agent, Live, Stop};
use reenact_bundle::shape::CellOptions;
use reenact_bundle::{Progress, TaskBundle, now_rfc3339, write_atomic};
use reenact_model::run::{AgentOutcome, Harness, RunTask};
use reenact_model::{Case, RunManifest};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

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

    /// Whether it makes use of probes from outside.
    pub fn wants_probes(self) -> bool {
        self == Self::Memorizer
    }

    /// The agent for a cleanroom; `None` for [`Baseline::Reference`], which needs none. `workers`: questions at once.
    pub fn agent(self, probes: Vec<Case>, workers: usize) -> Option<Box<dyn Agent>> {
        match self {
            Self::Null => Some(Box::new(Null)),
            Self::Help => Some(Box::new(Help)),
            Self::Memorizer => Some(Box::new(Memorizer { probes, workers })),
            Self::Reference => None,
        }
    }

    /// Its own settings, for manifests.
    pub fn settings(self) -> BTreeMap<String, String> {
        match self {
            Self::Memorizer => memorizer_settings(),
            Self::Null | Self::Help | Self::Reference => BTreeMap::new(),
        }
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
    pub policy: Policy,
    /// Questions to the reference at once; at least 1.
    pub workers: usize,
    /// The harness, for a new run's manifest.
    pub harness: Harness,
    /// Settings for a new run's manifest, over the agent's own (for instance the seed of its probes).
    pub settings: BTreeMap<String, String>,
    /// Make the submission anew even if it is there already.
    pub force: bool,
}

/// Runs `agent` on `task` in a cleanroom and records it in the run directory. `task_path` goes into the manifest as the user
/// gave it; `probes` are invocations (cases; expectations are not looked at) for agents that want them. A task that has its
/// submission already is skipped, so that the same command resumes a run.
///
/// # Errors
/// [`CleanroomError`]; the run directory then holds no submission that was not there before.
pub fn run_baseline(
    task: &TaskBundle,
    task_path: &str,
    agent: &Baseline,
    probes: &[Case],
    o: &RunOptions,
    progress: &dyn Progress,
) -> Result<RunTask, CleanroomError> {
    if *agent == Baseline::Reference {
        return run_reference(task, task_path, o, progress);
    }
    let mut settings = agent.settings();
    settings.extend(o.settings.clone());
    let plan = RunPlan {
        tasks: vec![PlannedTask { bundle: task.clone(), path: task_path.to_owned() }],
        agent: agent.name().to_owned(),
        policy: o.policy.clone(),
        model: None,
        prompts: None,
        prices: None,
        settings,
        attempts: 1,
        workers: 1,
        out: o.out.clone(),
        cells: o.cells.clone(),
        room: Setup::default(),
        harness: o.harness.clone(),
        force: o.force,
    };
    let (sender, receiver) = channel();
    let reporter = Telling(Mutex::new(sender));
    let maker = |_: &TaskBundle| {
        // The reference has gone another way above.
        Ok(agent.agent(probes.to_vec(), o.workers).unwrap_or_else(|| Box::new(Null)))
    };
    let report = std::thread::scope(|scope| {
        let running = scope.spawn(move || run(&plan, &maker, &Stop::default(), &reporter));
        show(&receiver, progress);
        running.join()
    });
    let mut report = report.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    if let Some((_, error)) = report.faults.pop() {
        return Err(error);
    }
    match report.finished.pop() {
        Some(finished) if finished.earlier => {
            progress.note(&format!("{}: has its submission already", task.id()));
            Ok(finished.entry)
        }
        Some(finished) => {
            for note in finished.entry.work.iter().flat_map(|w| &w.notes) {
                progress.note(&format!("{}: {note}", task.id()));
            }
            Ok(finished.entry)
        }
        // A plan of one task without a budget for the run either does it or fails.
        None => Err(CleanroomError::Panicked { what: "the run did nothing".to_owned() }),
    }
}

/// What a run says, for the thread that may show it.
enum Said {
    Began(Arc<Live>),
    Note(String),
}

/// Passes on what a run reports: [`Progress`] is told from one thread.
struct Telling(Mutex<Sender<Said>>);

impl Telling {
    fn tell(&self, said: Said) {
        // Nobody listens any more only when the run is over.
        let _told = self.0.lock().unwrap_or_else(PoisonError::into_inner).send(said);
    }
}

impl RunReporter for Telling {
    fn began(&self, _: &WorkId, live: &Arc<Live>, _: bool) {
        self.tell(Said::Began(Arc::clone(live)));
    }

    fn ended(&self, _: &WorkId, _: &RunTask) {}

    fn failed(&self, _: &WorkId, _: &CleanroomError) {}

    fn note(&self, text: &str) {
        self.tell(Said::Note(text.to_owned()));
    }
}

/// Shows what an agent does until the run has dropped its reporter.
fn show(receiver: &std::sync::mpsc::Receiver<Said>, progress: &dyn Progress) {
    let mut live: Option<Arc<Live>> = None;
    let mut last = String::new();
    loop {
        match receiver.recv_timeout(Duration::from_millis(100)) {
            Ok(Said::Began(begun)) => live = Some(begun),
            Ok(Said::Note(text)) => progress.note(&text),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let Some(now) = live.as_ref().map(|l| l.last()) else { continue };
        let (stage, ticks) = counted(&now);
        if stage != last {
            progress.stage(stage);
            stage.clone_into(&mut last);
        }
        if let Some((done, total)) = ticks {
            progress.tick(done, total);
        }
    }
}

/// `asking the reference, 4 of 12` is a stage with a count.
fn counted(text: &str) -> (&str, Option<(u64, u64)>) {
    let parts = text.rsplit_once(", ").and_then(|(stage, count)| {
        let (done, total) = count.split_once(" of ")?;
        Some((stage, (done.parse().ok()?, total.parse().ok()?)))
    });
    parts.map_or((text, None), |(stage, count)| (stage, Some(count)))
}

/// The upper bound: no cleanroom, since nothing works in it.
fn run_reference(
    task: &TaskBundle,
    task_path: &str,
    o: &RunOptions,
    progress: &dyn Progress,
) -> Result<RunTask, CleanroomError> {
    let reference = task.manifest.reference.sha256;
    let mut run = RunDir::open(&o.out, reference_manifest(o))?;
    if !o.force
        && let Some(entry) = run.finished(task.id(), task.digest, reference)?
    {
        progress.note(&format!("{}: has its submission already", task.id()));
        return Ok(entry.clone());
    }
    task.verify_reference()?;
    let started = Instant::now();
    write_atomic(&run.submission(task.id()), &reference_submission(task)?)?;
    let entry = RunTask {
        path: task_path.to_owned(),
        task: task.digest,
        reference,
        agent_outcome: AgentOutcome::Submitted,
        probes: 0,
        wall_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        work: None,
    };
    run.record(task.id(), entry.clone(), BTreeMap::new())?;
    Ok(entry)
}

fn reference_manifest(o: &RunOptions) -> RunManifest {
    RunManifest {
        schema: reenact_model::SCHEMA,
        agent: Baseline::Reference.name().to_owned(),
        upper_bound: true,
        created: now_rfc3339(),
        harness: o.harness.clone(),
        isolation: BTreeMap::new(),
        settings: o.settings.clone(),
        setup: None,
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
    fn counts_are_told_from_stages() {
        assert_eq!(counted("asking, 4 of 12"), ("asking", Some((4, 12))));
        for plain in ["opening the cleanroom", "a, b of c", ""] {
            assert_eq!(counted(plain), (plain, None));
        }
    }

    #[test]
    fn every_baseline_but_the_reference_is_an_agent_of_its_name() {
        for baseline in Baseline::ALL {
            let agent = baseline.agent(Vec::new(), 1);
            assert_eq!(agent.is_none(), baseline == Baseline::Reference);
            assert!(agent.is_none_or(|a| a.name() == baseline.name() && !a.resumable()));
        }
    }
}
