//! Where an agent works: one attempt at one task.

use crate::error::CleanroomError;
use crate::policy::Policy;
use crate::probes::log::ProbeLog;
use reenact_bundle::TaskBundle;
use reenact_model::run::Tokens;
use reenact_sandbox::room::Room;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Everything an agent is given. The room is started, audited, and has the documentation and the oracle in place.
///
/// What a resumed agent finds: `dir` as the stopped session left it (trajectory, snapshots, probe log), and a *fresh* room;
/// it restores what it needs. An agent that is not [`Agent::resumable`] finds `dir` empty but for the probe log.
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

impl Site<'_> {
    /// Where the trajectory is: RUN/<id>/<id>.traj.json.
    pub fn trajectory_path(&self) -> std::path::PathBuf {
        self.dir.join(format!("{}.traj.json", self.task.id()))
    }
}

/// How an agent ended. What it submits is /workspace as it left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentEnd {
    /// It said that it is done.
    Submitted,
    /// A limit of the policy stopped it; the workspace is graded as it is.
    ExhaustedBudget { which: Budget },
    /// It (or its model) declined the task.
    Refused { why: String },
    /// The model's provider failed for longer than we wait: nothing to grade; the run can be resumed.
    ProviderFailed { why: String },
    /// Ctrl-C: everything is saved, and the run can be resumed.
    Interrupted,
}

/// What ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    Steps,
    Wall,
    Cost,
    Tokens,
    /// The conversation no longer fits into the model's context.
    Context,
    /// Several replies in a row could not be carried out.
    FormatErrors,
}

impl Budget {
    /// In words, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Steps => "steps",
            Self::Wall => "wall-clock time",
            Self::Cost => "dollars",
            Self::Tokens => "tokens",
            Self::Context => "the model's context",
            Self::FormatErrors => "replies without a usable command",
        }
    }
}

impl AgentEnd {
    /// The exit status in trajectories and manifests: mini-SWE-agent's names where it has one (FORMATS B2).
    pub fn exit_status(&self) -> &'static str {
        match self {
            Self::Submitted => "Submitted",
            Self::ExhaustedBudget { which } => match which {
                Budget::Steps | Budget::Cost | Budget::Tokens => "LimitsExceeded",
                Budget::Wall => "TimeExceeded",
                Budget::Context => "ContextWindowExceededError",
                Budget::FormatErrors => "RepeatedFormatError",
            },
            Self::Refused { .. } => "Refused",
            Self::ProviderFailed { .. } => "ModelProviderFailed",
            Self::Interrupted => "Interrupted",
        }
    }

    /// Why, in one line, where it did not simply submit.
    pub fn why(&self) -> Option<String> {
        match self {
            Self::Submitted => None,
            Self::ExhaustedBudget { which } => Some(format!("out of {}", which.name())),
            Self::Refused { why } | Self::ProviderFailed { why } => Some(why.clone()),
            Self::Interrupted => Some("stopped by the user".to_owned()),
        }
    }
}

/// An agent of `reenact run`.
pub trait Agent: Send + Sync {
    /// Its name in manifests (`bash`, `command`, `replay`, …).
    fn name(&self) -> &str;

    /// Whether it can go on where a stopped session left off. Others start over, in an emptied directory.
    fn resumable(&self) -> bool {
        false
    }

    /// Works on the task until it is done or must stop.
    ///
    /// # Errors
    /// [`CleanroomError`] for faults of the harness only.
    fn drive(&self, site: &Site<'_>) -> Result<AgentEnd, CleanroomError>;
}

/// What the live table shows of one attempt, and what the manifest records. Agents update it; reading is cheap.
#[derive(Debug, Default)]
pub struct Live {
    pub step: AtomicU64,
    pub probes: AtomicU64,
    pub tokens: AtomicU64,
    /// Millionths of a dollar.
    pub cost_micro: AtomicU64,
    last: Mutex<String>,
    notes: Mutex<Vec<String>>,
    spent: Mutex<Spent>,
}

/// What was used of a model, and of time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// Requests that were answered.
    pub calls: u64,
    pub tokens: Tokens,
    /// Dollars, of the requests whose price is known.
    pub cost_usd: f64,
    /// Requests whose price is not known.
    pub unpriced: u64,
    /// The agent's wall-clock time in earlier sessions.
    pub wall_before: Duration,
}

impl Spent {
    /// Dollars in all; `None` if no request was made, or the price of one is not known.
    pub fn cost(&self) -> Option<f64> {
        (self.calls > 0 && self.unpriced == 0).then_some(self.cost_usd)
    }
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

    /// Something that a reader of the run should know; it goes into the manifest.
    pub fn note(&self, what: &str) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(what.to_owned());
    }

    /// See [`Live::note`].
    pub fn notes(&self) -> Vec<String> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds one answered request to a model (of this session, or recorded in an earlier one).
    pub fn spend(&self, tokens: Tokens, cost_usd: Option<f64>) {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.calls += 1;
        let sum = &mut spent.tokens;
        for (sum, more) in [
            (&mut sum.input, tokens.input),
            (&mut sum.cached_input, tokens.cached_input),
            (&mut sum.cache_write, tokens.cache_write),
            (&mut sum.output, tokens.output),
        ] {
            *sum = sum.saturating_add(more);
        }
        match cost_usd {
            Some(cost) => spent.cost_usd += cost,
            None => spent.unpriced += 1,
        }
        self.tokens.store(spent.tokens.total(), Ordering::Relaxed);
        // A float cast saturates: nonsense from a provider is a large number, not a crash.
        self.cost_micro.store((spent.cost_usd * 1e6).round() as u64, Ordering::Relaxed);
    }

    /// Says how long the agent had worked before this session.
    pub fn worked_before(&self, wall: Duration) {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner).wall_before = wall;
    }

    /// What was used up to now.
    pub fn spent(&self) -> Spent {
        *self.spent.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spending_adds_up_and_an_unknown_price_makes_the_sum_unknown() {
        let live = Live::default();
        assert_eq!(live.spent().cost(), None, "no model, no cost");
        live.spend(Tokens { input: 10, output: 5, ..Tokens::default() }, Some(0.5));
        live.spend(Tokens { cached_input: 7, ..Tokens::default() }, Some(0.25));
        assert_eq!((live.spent().calls, live.spent().cost()), (2, Some(0.75)));
        assert_eq!(live.tokens.load(Ordering::Relaxed), 22);
        assert_eq!(live.cost_micro.load(Ordering::Relaxed), 750_000);
        live.spend(Tokens::default(), None);
        assert_eq!(live.spent().cost(), None);
    }
}
