//! Which work may start: budgets of the run as a whole, and Ctrl-C. Work that runs is never cut short by them.

use super::runner::WorkId;
use crate::policy::Policy;
use crate::site::{Live, Stop};
use reenact_model::run::RunTask;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Watches what a run spends.
pub struct Governor {
    cost_usd: Option<f64>,
    tokens: Option<u64>,
    stop: Stop,
    spent: Mutex<BTreeMap<WorkId, Account>>,
    /// The model's provider failed for good in some work.
    provider: AtomicBool,
}

/// What one attempt at one task has cost.
#[derive(Default)]
struct Account {
    /// In sessions that are over.
    recorded: (f64, u64),
    live: Option<Arc<Live>>,
}

/// Why no further work is started.
#[derive(Clone, Debug, PartialEq)]
pub enum Closed {
    /// The user stopped the run.
    Stopped,
    /// The model's provider failed for longer than we wait: other work would only wait as long.
    Provider,
    Cost {
        spent_usd: f64,
        limit_usd: f64,
    },
    Tokens {
        spent: u64,
        limit: u64,
    },
}

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stopped => f.write_str("the run was stopped"),
            Self::Provider => f.write_str("the model's provider failed"),
            Self::Cost { spent_usd, limit_usd } => {
                write!(f, "the run's budget is spent: ${spent_usd:.4} of ${limit_usd:.4}")
            }
            Self::Tokens { spent, limit } => {
                write!(f, "the run's budget is spent: {spent} of {limit} tokens")
            }
        }
    }
}

impl Governor {
    /// A governor over the policy's budgets per run.
    pub fn new(policy: &Policy, stop: Stop) -> Self {
        Self {
            cost_usd: policy.run_cost_usd,
            tokens: policy.run_tokens,
            stop,
            spent: Mutex::default(),
            provider: AtomicBool::new(false),
        }
    }

    /// Starts nothing more because the model's provider failed.
    pub fn provider_failed(&self) {
        self.provider.store(true, Ordering::SeqCst);
    }

    /// Counts what an entry of the manifest says was spent.
    pub fn recorded(&self, id: &WorkId, entry: &RunTask) {
        if let Some(work) = &entry.work {
            let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
            spent.entry(id.clone()).or_default().recorded =
                (work.cost_usd.unwrap_or(0.0), work.tokens.total());
        }
    }

    /// Counts what this work spends from now on. `resumes`: it will itself count what earlier sessions spent.
    pub fn started(&self, id: &WorkId, live: &Arc<Live>, resumes: bool) {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let account = spent.entry(id.clone()).or_default();
        if resumes {
            account.recorded = (0.0, 0);
        }
        account.live = Some(Arc::clone(live));
    }

    /// Dollars and tokens of the run up to now.
    pub fn total(&self) -> (f64, u64) {
        let spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.values().fold((0.0, 0u64), |(cost, tokens), account| {
            let now = account.live.as_ref().map(|l| l.spent()).unwrap_or_default();
            let more = account.recorded.1.saturating_add(now.tokens.total());
            (cost + account.recorded.0 + now.cost_usd, tokens.saturating_add(more))
        })
    }

    /// Whether more work may start.
    ///
    /// # Errors
    /// Why not.
    pub fn may_start(&self) -> Result<(), Closed> {
        if self.stop.soon() {
            return Err(Closed::Stopped);
        }
        if self.provider.load(Ordering::SeqCst) {
            return Err(Closed::Provider);
        }
        let (cost, tokens) = self.total();
        if let Some(limit) = self.cost_usd.filter(|limit| cost >= *limit) {
            return Err(Closed::Cost { spent_usd: cost, limit_usd: limit });
        }
        if let Some(limit) = self.tokens.filter(|limit| tokens >= *limit) {
            return Err(Closed::Tokens { spent: tokens, limit });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reenact_model::run::Tokens;

    fn id(task: &str) -> WorkId {
        WorkId { attempt: 1, task: task.to_owned() }
    }

    #[test]
    fn spent_budgets_start_nothing_more() {
        let policy = Policy { run_cost_usd: Some(1.0), run_tokens: Some(100), ..Policy::default() };
        let governor = Governor::new(&policy, Stop::default());
        assert_eq!(governor.may_start(), Ok(()));
        let (a, b) = (Arc::new(Live::default()), Arc::new(Live::default()));
        governor.started(&id("a"), &a, false);
        governor.started(&id("b"), &b, false);
        a.spend(Tokens { input: 60, ..Tokens::default() }, Some(0.5));
        assert_eq!(governor.may_start(), Ok(()));
        b.spend(Tokens { output: 40, ..Tokens::default() }, Some(0.25));
        assert_eq!(governor.may_start(), Err(Closed::Tokens { spent: 100, limit: 100 }));
        b.spend(Tokens::default(), Some(0.25));
        let closed = governor.may_start().unwrap_err();
        assert_eq!(closed, Closed::Cost { spent_usd: 1.0, limit_usd: 1.0 });
        assert!(closed.to_string().contains("$1.0000 of $1.0000"), "{closed}");
    }

    #[test]
    fn ctrl_c_and_a_failed_provider_start_nothing_more() {
        let stop = Stop::default();
        let governor = Governor::new(&Policy::default(), stop.clone());
        governor.provider_failed();
        assert_eq!(governor.may_start(), Err(Closed::Provider));
        stop.press();
        assert_eq!(governor.may_start(), Err(Closed::Stopped));
    }
}
