//! Many tasks and attempts under one policy: what is done is skipped, what was begun is resumed, a fault of one spoils no
//! other.

use super::attempt::{self, Ended};
use super::governor::{Closed, Governor};
use super::layout::{self, NOT_STARTED, UNFINISHED};
use crate::error::CleanroomError;
use crate::open;
use crate::policy::Policy;
use crate::rundir::RunDir;
use crate::site::{Agent, Live, Stop};
use reenact_bundle::TaskBundle;
use reenact_bundle::shape::CellOptions;
use reenact_model::Digest;
use reenact_model::run::{AgentOutcome, Harness, Model, RunTask};
use reenact_model::task::Seal;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

/// What is to be run, and how. `agent`, `model`, `prompts`, `prices`, `settings` and `policy` must be the same when a run is
/// resumed (budgets of the run as a whole may change).
#[derive(Clone, Debug)]
pub struct RunPlan {
    pub tasks: Vec<PlannedTask>,
    /// The agent's name for the manifest.
    pub agent: String,
    pub policy: Policy,
    /// The model, for agents that use one.
    pub model: Option<Model>,
    /// Digest of the prompt templates.
    pub prompts: Option<Digest>,
    /// Digest of the price table.
    pub prices: Option<Digest>,
    /// Further settings of the agent, for the manifest.
    pub settings: BTreeMap<String, String>,
    /// Attempts at each task; above 1, each has a run directory `attempt-K` of its own under `out`.
    pub attempts: u32,
    /// Attempts at work at once; at least 1.
    pub workers: usize,
    pub out: PathBuf,
    pub cells: CellOptions,
    /// What rooms have beside their task's own (variables, mounts).
    pub room: open::Setup,
    pub harness: Harness,
    /// Begin anew, whatever is there.
    pub force: bool,
}

/// A task, and its path as it goes into the manifest.
#[derive(Clone, Debug)]
pub struct PlannedTask {
    pub bundle: TaskBundle,
    pub path: String,
}

/// One attempt at one task.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkId {
    /// From 1.
    pub attempt: u32,
    pub task: String,
}

/// Hears of a run's progress, from several threads.
pub trait RunReporter: Sync {
    /// Work begins; `resumed`: where a stopped session left off.
    fn began(&self, id: &WorkId, live: &Arc<Live>, resumed: bool);
    /// Work has ended, and is recorded.
    fn ended(&self, id: &WorkId, entry: &RunTask);
    /// Work could not be done; the error is the harness's or its environment's.
    fn failed(&self, id: &WorkId, error: &CleanroomError);
    /// Something worth a line.
    fn note(&self, text: &str);
}

/// Makes the agent for a task.
pub type AgentMaker<'a> = dyn Fn(&TaskBundle) -> Result<Box<dyn Agent>, CleanroomError> + Sync + 'a;

/// What became of a plan.
#[derive(Debug, Default)]
pub struct RunReport {
    /// Run directories, one per attempt; each can be graded.
    pub dirs: Vec<PathBuf>,
    /// Sorted.
    pub finished: Vec<Finished>,
    pub faults: Vec<(WorkId, CleanroomError)>,
    pub not_started: Vec<NotStarted>,
}

/// Work with an entry in the manifest.
#[derive(Debug)]
pub struct Finished {
    pub id: WorkId,
    pub entry: RunTask,
    /// It was done by an earlier session.
    pub earlier: bool,
}

/// Work that was left for later: the same command takes it up.
#[derive(Debug)]
pub struct NotStarted {
    pub id: WorkId,
    pub why: Closed,
}

/// Where a piece of work stands before the run.
enum Standing {
    New,
    Begun,
    Finished(Box<RunTask>),
}

struct Shared<'a> {
    plan: &'a RunPlan,
    maker: &'a AgentMaker<'a>,
    reporter: &'a dyn RunReporter,
    stop: &'a Stop,
    governor: Governor,
    dirs: Vec<Mutex<RunDir>>,
    queue: Mutex<VecDeque<(u32, usize)>>,
    report: Mutex<RunReport>,
}

/// Runs the plan. The same plan again does what is left: what is finished is skipped, what was begun is resumed.
///
/// # Errors
/// Before anything is started: another agent's or another policy's run directory, a task that cannot be used. Later faults
/// are in the report, each with its work.
pub fn run(
    plan: &RunPlan,
    maker: &AgentMaker<'_>,
    stop: &Stop,
    reporter: &dyn RunReporter,
) -> Result<RunReport, CleanroomError> {
    check_tasks(plan)?;
    let paths = layout::attempt_dirs(&plan.out, plan.attempts)?;
    let mut dirs = Vec::new();
    for (attempt, path) in (1..).zip(&paths) {
        dirs.push(Mutex::new(layout::open(plan, attempt, path)?));
    }
    let shared = Shared {
        plan,
        maker,
        reporter,
        stop,
        governor: Governor::new(&plan.policy, stop.clone()),
        dirs,
        queue: Mutex::default(),
        report: Mutex::new(RunReport { dirs: paths, ..RunReport::default() }),
    };
    shared.fill_queue()?;
    let waiting = locked(&shared.queue).len();
    std::thread::scope(|scope| {
        for _ in 0..plan.workers.clamp(1, waiting.max(1)) {
            scope.spawn(|| shared.worker());
        }
    });
    let mut report = shared.report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.finished.sort_by(|a, b| a.id.cmp(&b.id));
    report.faults.sort_by(|a, b| a.0.cmp(&b.0));
    report.not_started.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(report)
}

/// What can be refused before an hour of work is: seals that are not accepted, references that are not the manifest's.
fn check_tasks(plan: &RunPlan) -> Result<(), CleanroomError> {
    for task in &plan.tasks {
        let reference = &task.bundle.manifest.reference;
        if reference.seal == Seal::Unsealable && !plan.policy.accept_unsealed {
            return Err(CleanroomError::Unsealable {
                task: task.bundle.id().to_owned(),
                findings: reference.findings.join("; "),
            });
        }
        task.bundle.verify_reference()?;
    }
    Ok(())
}

impl Shared<'_> {
    /// Queues what is not finished, first attempts first. All of it gets an entry at once: a task without one would be
    /// missing from every total when the run is graded before it is done.
    fn fill_queue(&self) -> Result<(), CleanroomError> {
        for (attempt, dir) in (1..).zip(&self.dirs) {
            let mut dir = locked(dir);
            if dir.manifest().harness != self.plan.harness {
                self.reporter.note(
                    "the run was begun by another version of reenact; its manifest names that one",
                );
            }
            for (index, task) in self.plan.tasks.iter().enumerate() {
                let id = WorkId { attempt, task: task.bundle.id().to_owned() };
                match self.standing(&dir, &id, &task.bundle)? {
                    Standing::Finished(entry) => {
                        let entry = *entry;
                        locked(&self.report).finished.push(Finished { id, entry, earlier: true });
                        continue;
                    }
                    Standing::Begun => {}
                    Standing::New => {
                        // What a session left that came to nothing may be of other rules.
                        attempt::clear(&dir.task_dir(&id.task))?;
                        let why = "it was not started before the run was stopped";
                        let open = Ended::open(&task.bundle, NOT_STARTED, why, 0);
                        let entry = self.entry(task, &Live::default(), &open);
                        dir.record(&id.task, entry, BTreeMap::new())?;
                    }
                }
                locked(&self.queue).push_back((attempt, index));
            }
        }
        Ok(())
    }

    fn standing(
        &self,
        dir: &RunDir,
        id: &WorkId,
        task: &TaskBundle,
    ) -> Result<Standing, CleanroomError> {
        let Some(entry) = dir.manifest().tasks.get(&id.task) else { return Ok(Standing::New) };
        self.governor.recorded(id, entry);
        if self.plan.force {
            return Ok(Standing::Begun);
        }
        let reference = task.manifest.reference.sha256;
        if !layout::has_begun(entry) {
            return Ok(Standing::New);
        }
        if entry.task != task.digest || entry.reference != reference {
            let path = self.plan.out.clone();
            return Err(CleanroomError::OtherTask { path, task: id.task.clone() });
        }
        match dir.finished(task.id(), task.digest, reference)? {
            Some(entry) if entry.agent_outcome.is_final() => {
                Ok(Standing::Finished(Box::new(entry.clone())))
            }
            _ => Ok(Standing::Begun),
        }
    }

    fn worker(&self) {
        loop {
            let Some((attempt, index)) = locked(&self.queue).pop_front() else { return };
            let task = &self.plan.tasks[index];
            let id = WorkId { attempt, task: task.bundle.id().to_owned() };
            if let Err(why) = self.governor.may_start() {
                locked(&self.report).not_started.push(NotStarted { id, why });
                continue;
            }
            match self.one(&id, task) {
                Ok(entry) => {
                    if entry.agent_outcome == AgentOutcome::ProviderFailed {
                        self.governor.provider_failed();
                    }
                    self.reporter.ended(&id, &entry);
                    locked(&self.report).finished.push(Finished { id, entry, earlier: false });
                }
                Err(error) => {
                    self.reporter.failed(&id, &error);
                    locked(&self.report).faults.push((id, error));
                }
            }
        }
    }

    /// Does one piece of work and records it; a fault is recorded too.
    fn one(&self, id: &WorkId, task: &PlannedTask) -> Result<RunTask, CleanroomError> {
        let live = Arc::new(Live::default());
        let done = catch_unwind(AssertUnwindSafe(|| self.attempt(id, task, &live)));
        let done =
            done.unwrap_or_else(|panic| Err(CleanroomError::Panicked { what: said(&panic) }));
        let (ended, error) = match done {
            Ok(ended) => (ended, None),
            Err(error) => (Ended::fault(&task.bundle, &error, self.times_resumed(id)), Some(error)),
        };
        let entry = self.entry(task, &live, &ended);
        locked(self.run_dir(id)).record(&id.task, entry.clone(), ended.isolation)?;
        error.map_or(Ok(entry), Err)
    }

    fn attempt(
        &self,
        id: &WorkId,
        task: &PlannedTask,
        live: &Arc<Live>,
    ) -> Result<Ended, CleanroomError> {
        let agent = (self.maker)(&task.bundle)?;
        let dir = locked(self.run_dir(id)).task_dir(&id.task);
        let resumes = !self.plan.force && attempt::resumes(agent.as_ref(), &dir, &id.task);
        let resumed = if resumes { self.times_resumed(id) + 1 } else { 0 };
        if !resumes {
            attempt::clear(&dir)?;
        }
        let why = "the harness was stopped while the agent worked";
        let open = Ended::open(&task.bundle, UNFINISHED, why, resumed);
        let entry = self.entry(task, live, &open);
        locked(self.run_dir(id)).record(&id.task, entry, BTreeMap::new())?;
        self.governor.started(id, live, resumes);
        self.reporter.began(id, live, resumes);
        attempt::run(&attempt::Job {
            plan: self.plan,
            task: &task.bundle,
            agent: agent.as_ref(),
            dir: &dir,
            resumed,
            live,
            stop: self.stop,
        })
    }

    fn times_resumed(&self, id: &WorkId) -> u32 {
        let dir = locked(self.run_dir(id));
        let work = dir.manifest().tasks.get(&id.task).and_then(|e| e.work.as_ref());
        work.map_or(0, |w| w.resumed)
    }

    fn run_dir(&self, id: &WorkId) -> &Mutex<RunDir> {
        &self.dirs[id.attempt as usize - 1]
    }

    fn entry(&self, task: &PlannedTask, live: &Live, ended: &Ended) -> RunTask {
        let spent = live.spent();
        let mut work = ended.work.clone();
        work.steps = live.step.load(Ordering::Relaxed);
        work.calls = spent.calls;
        work.tokens = spent.tokens;
        work.cost_usd = spent.cost();
        RunTask {
            path: task.path.clone(),
            task: task.bundle.digest,
            reference: task.bundle.manifest.reference.sha256,
            agent_outcome: ended.outcome,
            probes: ended.probes.max(live.probes.load(Ordering::Relaxed)),
            wall_ms: u64::try_from((spent.wall_before + ended.wall).as_millis())
                .unwrap_or(u64::MAX),
            work: Some(work),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panic of an agent is caught outside any of these locks; what they guard is set in whole values.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a panic said, if it said something.
fn said(panic: &Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "nothing".to_owned())
}

/// The outcome in manifests of an agent's end.
pub(super) fn outcome(end: &crate::site::AgentEnd) -> AgentOutcome {
    use crate::site::AgentEnd as E;
    match end {
        E::Submitted => AgentOutcome::Submitted,
        E::ExhaustedBudget { .. } => AgentOutcome::ExhaustedBudget,
        E::Refused { .. } => AgentOutcome::Refused,
        E::ProviderFailed { .. } => AgentOutcome::ProviderFailed,
        E::Interrupted => AgentOutcome::Cancelled,
    }
}

#[cfg(test)]
pub(super) mod tests;
