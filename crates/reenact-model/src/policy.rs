//! What an agent may use: part of a run's manifest, and of its identity when it is resumed.

use crate::digest::Digest;
use crate::error::{FormatError, parse_toml};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// Limits and rules of a run. Defaults are mini-SWE-agent's for ProgramBench (FORMATS B2) where it has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Always `none`: the cleanroom's network namespace is empty, but for the relay of `command:` agents.
    pub network: String,
    /// Steps (replies of the model) per task.
    pub steps: u64,
    /// Wall-clock time per task, seconds.
    pub wall_s: u64,
    /// Wall-clock time of one command, seconds.
    pub command_s: u64,
    /// Dollars per task; absent: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// Tokens (input, cached input and output together) per task; absent: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Dollars over all tasks and attempts of the run: when they are spent, no further work is started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_cost_usd: Option<f64>,
    /// Tokens over all tasks and attempts of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_tokens: Option<u64>,
    /// Memory of the cleanroom's processes, bytes.
    pub memory_bytes: u64,
    /// Size of /workspace, HOME and /tmp together, bytes. Held in memory.
    pub disk_bytes: u64,
    /// Processes and threads at once.
    pub processes: u32,
    /// Characters of one command's output that the model is shown: the first and the last half of them.
    pub shown_chars: usize,
    /// Bytes of one command's output that are kept.
    pub kept_bytes: u64,
    /// A snapshot of the workspace is taken every so many steps.
    pub snapshot_every: u64,
    /// References that can be read by a determined agent are accepted.
    pub accept_unsealed: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            network: "none".to_owned(),
            steps: 1000,
            wall_s: 6 * 3600,
            command_s: 180,
            cost_usd: None,
            tokens: None,
            run_cost_usd: None,
            run_tokens: None,
            memory_bytes: 4 << 30,
            disk_bytes: 2 << 30,
            processes: 512,
            shown_chars: 10_000,
            kept_bytes: 64 << 20,
            snapshot_every: 1,
            accept_unsealed: false,
        }
    }
}

impl Policy {
    /// Parses a policy file; fields that it leaves out have their defaults.
    ///
    /// # Errors
    /// [`FormatError`] that names line and field.
    pub fn parse(file: &Path, text: &str) -> Result<Self, FormatError> {
        let policy: Self = parse_toml(file, text)?;
        policy.check().map_err(|what| FormatError::file(file, what))?;
        Ok(policy)
    }

    /// Whether an agent could do anything at all under it.
    ///
    /// # Errors
    /// What is wrong, with the field's name.
    pub fn check(&self) -> Result<(), String> {
        if self.network != "none" {
            return Err(format!("network = {:?} is not supported; only \"none\" is", self.network));
        }
        let zero = [
            ("steps", self.steps == 0),
            ("wall_s", self.wall_s == 0),
            ("command_s", self.command_s == 0),
            ("memory_bytes", self.memory_bytes == 0),
            ("disk_bytes", self.disk_bytes == 0),
            ("processes", self.processes == 0),
            ("shown_chars", self.shown_chars == 0),
            ("kept_bytes", self.kept_bytes == 0),
            ("snapshot_every", self.snapshot_every == 0),
        ];
        if let Some((name, _)) = zero.into_iter().find(|(_, zero)| *zero) {
            return Err(format!("{name} must be above 0"));
        }
        let dollars = [("cost_usd", self.cost_usd), ("run_cost_usd", self.run_cost_usd)];
        match dollars.into_iter().find(|(_, d)| d.is_some_and(|d| !d.is_finite() || d < 0.0)) {
            Some((name, _)) => Err(format!("{name} must be zero or more dollars")),
            None => Ok(()),
        }
    }

    /// Digest of its canonical JSON, budgets of the whole run left out: these say when to stop starting work, not how an
    /// agent works, and may be raised when a run is resumed.
    pub fn digest(&self) -> Digest {
        let rules = Self { run_cost_usd: None, run_tokens: None, ..self.clone() };
        // Serialising plain numbers and strings cannot fail; an empty text would only make digests differ.
        Digest::of(serde_json::to_string(&rules).unwrap_or_default().as_bytes())
    }

    /// Wall-clock limit of one command.
    pub fn command_wall(&self) -> Duration {
        Duration::from_secs(self.command_s)
    }

    /// Fields that differ, as `name: ours -> theirs`, for the refusal to resume under another policy.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let fields = |p: &Self| match serde_json::to_value(p) {
            Ok(serde_json::Value::Object(map)) => map,
            _ => serde_json::Map::new(),
        };
        let (a, b) = (fields(self), fields(other));
        let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        let show = |v: Option<&serde_json::Value>| {
            v.map_or_else(|| "none".to_owned(), ToString::to_string)
        };
        names
            .into_iter()
            .filter(|n| a.get(*n) != b.get(*n))
            .map(|n| format!("{n}: {} -> {}", show(a.get(n)), show(b.get(n))))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_name_the_fields() {
        let a = Policy::default();
        let b = Policy { steps: 5, cost_usd: Some(1.5), ..Policy::default() };
        assert_eq!(a.differences(&a), Vec::<String>::new());
        assert_eq!(a.differences(&b), ["cost_usd: none -> 1.5", "steps: 1000 -> 5"]);
        assert_ne!(a.digest(), b.digest());
        let raised = Policy { run_tokens: Some(1), run_cost_usd: Some(1.0), ..Policy::default() };
        assert_eq!(a.digest(), raised.digest());
    }
}
