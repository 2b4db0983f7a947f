//! Verdicts: the judgement of one case, computed from its observation.

use serde::{Deserialize, Serialize};

/// The judgement of one case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    /// Every demand was met.
    Pass,
    /// At least one demand was not met.
    Fail { reasons: Vec<FailReason> },
    /// It was not run, because the submission never got so far (no build). Counts in the denominator.
    NotRun { why: String },
    /// We could not run it. Never a pass or a fail; excluded and reported.
    HarnessError { what: String },
}

impl Verdict {
    /// Whether it is a pass.
    pub fn passed(&self) -> bool {
        matches!(self, Self::Pass)
    }
}

/// One demand that was not met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailReason {
    /// Index of the step, from 0; `None` for the workspace after the last step.
    pub step: Option<usize>,
    /// What differed.
    pub kind: FailKind,
    /// One line for people.
    pub detail: String,
}

/// The kind of a failure. Order is severity: the first kind present names the failure in summaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailKind {
    /// It could not be executed.
    ExecFailed,
    /// It died of a signal where an exit (or another signal) was expected.
    Crash,
    /// A wall or CPU limit.
    Timeout,
    /// The memory limit.
    Memory,
    /// An output limit.
    OutputFlood,
    /// A tty script could not go on.
    Script,
    /// Another exit code.
    Exit,
    /// Another standard output.
    Stdout,
    /// Another standard error.
    Stderr,
    /// Another screen.
    Screen,
    /// Another workspace.
    Files,
    /// Another harness says that it failed; what differed is not known (imported results only).
    Reported,
}

/// A channel on which expected and actual can be shown side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    Exit,
    Stdout,
    Stderr,
    Screen,
    Files,
}
