//! `result.json` of a trial: what was run, how it ended, what it scored.
//!
//! Fields that are not needed are not looked at, and nearly all may be missing: trials that failed early have few, and other
//! versions have others.

use reenact_model::FormatError;
use reenact_model::error::parse_json;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Files above this many bytes are refused (rollout details with token ids can be large).
pub const MAX_BYTES: u64 = 256 << 20;

/// A trial.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Trial {
    /// `org/name`, or the task directory's name.
    pub task_name: String,
    #[serde(default)]
    pub trial_name: String,
    /// Where the task came from (a data set), if from one.
    #[serde(default)]
    pub source: Option<String>,
    #[serde(default)]
    pub task_checksum: String,
    #[serde(default)]
    pub agent_info: Option<AgentInfo>,
    #[serde(default)]
    pub agent_result: Option<AgentContext>,
    #[serde(default)]
    pub verifier_result: Option<VerifierResult>,
    /// `shared` or `separate`.
    #[serde(default)]
    pub verifier_environment_mode: Option<String>,
    #[serde(default)]
    pub exception_info: Option<ExceptionInfo>,
    #[serde(default)]
    pub started_at: Option<String>,
    #[serde(default)]
    pub finished_at: Option<String>,
    #[serde(default)]
    pub agent_execution: Option<Timing>,
    #[serde(default)]
    pub verifier: Option<Timing>,
    /// Only of tasks with several steps.
    #[serde(default)]
    pub step_results: Option<Vec<StepResult>>,
}

/// Who worked.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct AgentInfo {
    pub name: String,
    #[serde(default)]
    pub version: String,
    #[serde(default)]
    pub model_info: Option<ModelInfo>,
}

/// With which model.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct ModelInfo {
    pub name: String,
    #[serde(default)]
    pub provider: Option<String>,
}

/// What the agent used.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct AgentContext {
    /// All input, cached or not.
    #[serde(default)]
    pub n_input_tokens: Option<u64>,
    #[serde(default)]
    pub n_cache_tokens: Option<u64>,
    #[serde(default)]
    pub n_output_tokens: Option<u64>,
    #[serde(default)]
    pub cost_usd: Option<f64>,
}

/// What the verifier said. `None` and an empty map: nothing.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct VerifierResult {
    #[serde(default)]
    pub rewards: Option<BTreeMap<String, f64>>,
}

/// What went wrong.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct ExceptionInfo {
    pub exception_type: String,
    #[serde(default)]
    pub exception_message: String,
}

/// Beginning and end of a phase.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Timing {
    #[serde(default)]
    pub started_at: Option<String>,
    #[serde(default)]
    pub finished_at: Option<String>,
}

/// One step of a task with several.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct StepResult {
    #[serde(default)]
    pub step_name: String,
    #[serde(default)]
    pub agent_result: Option<AgentContext>,
    #[serde(default)]
    pub verifier_result: Option<VerifierResult>,
    #[serde(default)]
    pub exception_info: Option<ExceptionInfo>,
    #[serde(default)]
    pub agent_execution: Option<Timing>,
    #[serde(default)]
    pub verifier: Option<Timing>,
}

/// Parses a trial's `result.json`. `None`: it is a job's.
///
/// # Errors
/// [`FormatError`] with the field that does not fit.
pub fn read_trial(file: &Path, bytes: &[u8]) -> Result<Option<Trial>, FormatError> {
    if bytes.len() as u64 > MAX_BYTES {
        let what = format!("is larger than {} MiB, the most that is read", MAX_BYTES >> 20);
        return Err(FormatError::file(file, what));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| FormatError::file(file, "is not UTF-8"))?;
    if text.trim().is_empty() {
        return Err(FormatError::file(
            file,
            "is empty: the trial was stopped while it was written",
        ));
    }
    match parse_json::<Trial>(file, None, text) {
        Ok(trial) => Ok(Some(trial)),
        Err(error) => match serde_json::from_str::<Value>(text) {
            Ok(value) if value.get("n_total_trials").is_some() => Ok(None),
            _ => Err(error),
        },
    }
}

/// Tokens and cost over all steps; absent where no step says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    pub input: Option<u64>,
    pub cached: Option<u64>,
    pub output: Option<u64>,
    pub cost_usd: Option<f64>,
}

impl Trial {
    /// The trial's exception, else the first one of its steps.
    pub fn exceptions(&self) -> impl Iterator<Item = &ExceptionInfo> {
        let steps = self.step_results.iter().flatten();
        self.exception_info.iter().chain(steps.filter_map(|s| s.exception_info.as_ref()))
    }

    /// Rewards, if there are any.
    pub fn rewards(&self) -> Option<&BTreeMap<String, f64>> {
        self.verifier_result.as_ref()?.rewards.as_ref().filter(|r| !r.is_empty())
    }

    /// What the agent used: the trial's figures, or those of its steps together.
    pub fn totals(&self) -> Totals {
        let steps = self.step_results.iter().flatten().filter_map(|s| s.agent_result.as_ref());
        let contexts: Vec<&AgentContext> = match &self.agent_result {
            Some(context) => vec![context],
            None => steps.collect(),
        };
        let sum = |f: fn(&AgentContext) -> Option<u64>| {
            contexts.iter().filter_map(|c| f(c)).reduce(u64::saturating_add)
        };
        Totals {
            input: sum(|c| c.n_input_tokens),
            cached: sum(|c| c.n_cache_tokens),
            output: sum(|c| c.n_output_tokens),
            cost_usd: contexts
                .iter()
                .filter_map(|c| c.cost_usd)
                .filter(|c| c.is_finite() && *c >= 0.0)
                .reduce(|a, b| a + b),
        }
    }

    /// How long the agent worked, milliseconds.
    pub fn agent_ms(&self) -> u64 {
        let steps = self.step_results.iter().flatten().filter_map(|s| s.agent_execution.as_ref());
        self.agent_execution.iter().chain(steps).map(Timing::ms).fold(0, u64::saturating_add)
    }

    /// How long the verifier worked, milliseconds.
    pub fn verifier_ms(&self) -> u64 {
        let steps = self.step_results.iter().flatten().filter_map(|s| s.verifier.as_ref());
        self.verifier.iter().chain(steps).map(Timing::ms).fold(0, u64::saturating_add)
    }
}

impl Timing {
    /// Milliseconds; 0 where one end is missing or they are in the wrong order.
    pub fn ms(&self) -> u64 {
        let ends = (self.started_at.as_deref(), self.finished_at.as_deref());
        let (Some(from), Some(to)) = (ends.0.and_then(millis), ends.1.and_then(millis)) else {
            return 0;
        };
        u64::try_from(to.saturating_sub(from)).unwrap_or(0)
    }
}

/// A time as milliseconds: with an offset, or without one, as Python's `datetime.now()` has it (then as if it were UTC: only
/// differences matter).
fn millis(text: &str) -> Option<i64> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(time.as_millisecond());
    }
    let civil: jiff::civil::DateTime = text.parse().ok()?;
    Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_trial_that_failed_early_and_a_job_are_told_apart() {
        let early =
            br#"{"task_name": "t", "exception_info": {"exception_type": "CancelledError"}}"#;
        let trial = read_trial(Path::new("r"), early).unwrap().unwrap();
        assert_eq!(trial.exceptions().count(), 1);
        assert_eq!((trial.rewards(), trial.totals()), (None, Totals::default()));
        let job = br#"{"id": "x", "n_total_trials": 3, "stats": {}}"#;
        assert_eq!(read_trial(Path::new("r"), job).unwrap(), None);
        let bad = br#"{"task_name": "t", "verifier_result": {"rewards": {"reward": "high"}}}"#;
        let error = read_trial(Path::new("x/result.json"), bad).unwrap_err().to_string();
        assert!(
            error.contains("x/result.json") && error.contains("verifier_result.rewards"),
            "{error}"
        );
        assert!(
            read_trial(Path::new("r"), b"").is_err() && read_trial(Path::new("r"), b"[]").is_err()
        );
    }

    #[test]
    fn times_with_and_without_offset_give_a_duration() {
        let timing = |a: &str, b: &str| {
            Timing { started_at: Some(a.into()), finished_at: Some(b.into()) }.ms()
        };
        assert_eq!(timing("2026-01-01T00:00:00.500000Z", "2026-01-01T00:00:02+00:00"), 1500);
        assert_eq!(timing("2026-01-01T00:00:00.25", "2026-01-01T00:01:00"), 59_750);
        assert_eq!(timing("2026-01-01T00:00:02Z", "2026-01-01T00:00:00Z"), 0);
        assert_eq!(timing("soon", "later"), 0);
    }

    #[test]
    fn steps_add_up_where_the_trial_itself_says_nothing() {
        let text = br#"{"task_name": "t", "step_results": [
            {"step_name": "a", "agent_result": {"n_input_tokens": 10, "cost_usd": 0.5}},
            {"step_name": "b", "agent_result": {"n_input_tokens": 5, "n_output_tokens": 2, "cost_usd": null},
             "exception_info": {"exception_type": "AgentTimeoutError", "exception_message": "late"}}]}"#;
        let trial = read_trial(Path::new("r"), text).unwrap().unwrap();
        let want = Totals { input: Some(15), cached: None, output: Some(2), cost_usd: Some(0.5) };
        assert_eq!(trial.totals(), want);
        assert_eq!(trial.exceptions().next().unwrap().exception_type, "AgentTimeoutError");
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "[\\[\\]{}:,\"a-z0-9_ .-]{0,200}") {
            if let Err(e) = read_trial(Path::new("r"), text.as_bytes()) {
                prop_assert!(e.to_string().starts_with('r'));
            }
        }
    }
}
