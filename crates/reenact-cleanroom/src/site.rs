//! Where an agent works: one attempt at one task.

use crate::error::CleanroomError;
use crate::policy::Policy;
use crate::probes::log::ProbeLog;
use reenact_bundle::TaskBundle;
use reenact_sandbox::room::Room;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Everything an agent is given. The room is started, audited, and has the documentation and the oracle in place.
pub struct Site<'a> {
    pub task: &'a TaskBundle,
    pub room: &'a Room,
    pub policy: &'a Policy,
    /// The probe log; agents tell it the number of their step.
    pub probes: &'a ProbeLog,
    /// The attempt's directory for this task: RUN/<id>.
    pub dir: &'a Path,
    pub live: &'a Live,
    pub stop: &'a Stop,
}

/// How an agent ended. What it submits is /workspace as it left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentEnd {
    /// It said that it is done.
    Submitted,
    /// A limit of the policy (named) stopped it; the workspace is graded as it is.
    ExhaustedBudget { which: String },
    /// It (or its model) declined the task.
    Refused { why: String },
    /// The model's provider failed for longer than we wait: nothing to grade; the run can be resumed.
    ProviderFailed { why: String },
    /// Ctrl-C, or the run's budget: everything is saved, and the run can be resumed.
    Interrupted,
}

/// An agent of `reenact run`.
pub trait Agent: Send + Sync {
    /// Its name in manifests (`bash`, `command`, `replay`, …).
    fn name(&self) -> &str;

    /// Works on the task until it is done or must stop.
    ///
    /// # Errors
    /// [`CleanroomError`] for faults of the harness only.
    fn drive(&self, site: &Site<'_>) -> Result<AgentEnd, CleanroomError>;
}

/// What the live table shows of one attempt. Agents update it; reading is cheap.
#[derive(Debug, Default)]
pub struct Live {
    pub step: AtomicU64,
    pub probes: AtomicU64,
    pub tokens: AtomicU64,
    /// Millionths of a dollar.
    pub cost_micro: AtomicU64,
    last: Mutex<String>,
}

impl Live {
    /// What the agent does now: its last command, or a state (`waiting for the model`).
    pub fn doing(&self, what: &str) {
        let line: String = what.lines().next().unwrap_or_default().chars().take(200).collect();
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = line;
    }

    /// See [`Live::doing`].
    pub fn last(&self) -> String {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How urgently the user wants an end: Ctrl-C once finishes the step and saves, twice stops.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicU8>);

impl Stop {
    /// One more Ctrl-C; gives how many there were.
    pub fn press(&self) -> u8 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Finish the step, save, and end.
    pub fn soon(&self) -> bool {
        self.0.load(Ordering::SeqCst) >= 1
    }

    /// End at once.
    pub fn now(&self) -> bool {
        self.0.load(Ordering::SeqCst) >= 2
    }
}
