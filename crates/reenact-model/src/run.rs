//! Runs: the manifest `run.toml`, typed outcomes, journal records, and `<id>.reenact.json`.

use crate::SCHEMA;
use crate::digest::Digest;
use crate::error::{FormatError, parse_toml};
use crate::observe::CaseObservation;
use crate::policy::Policy;
use crate::task::Seal;
use crate::verdict::Verdict;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Contents of `run.toml`: enough to rebuild any row made from the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunManifest {
    /// Format version; readers refuse another.
    pub schema: u32,
    /// Agent's name: `null`, `help`, `memorizer`, `reference`, …
    pub agent: String,
    /// The submission is the reference itself: an upper bound, graded with the reference's runtime files in place.
    #[serde(default)]
    pub upper_bound: bool,
    /// RFC 3339 time of creation, UTC.
    pub created: String,
    pub harness: Harness,
    /// Isolation layers in force, by name, when submissions were made.
    #[serde(default)]
    pub isolation: BTreeMap<String, String>,
    /// Settings of the agent, by name (for instance `probes`).
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// Under which rules and with which model the agent worked; absent where no cleanroom was used, and in manifests of
    /// versions before there were cleanrooms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<Setup>,
    /// Tasks by id.
    #[serde(default)]
    pub tasks: BTreeMap<String, RunTask>,
}

/// The rules of a run, and the model. With the agent's name and settings: what must be equal when a run is resumed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// Number of this attempt, from 1, and how many were asked for together.
    pub attempt: u32,
    pub attempts: u32,
    /// Digest of the policy's canonical JSON.
    pub policy_digest: Digest,
    /// Digest of the prompt templates, for agents that have some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompts: Option<Digest>,
    /// Digest of the price table that costs were computed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices: Option<Digest>,
    /// The language model, for agents that use one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    pub policy: Policy,
}

/// A language model as it was asked for. Neither a key nor an address: those are the user's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// `openai` or `anthropic`: the shape of its HTTP interface.
    pub api: String,
    pub name: String,
}

/// The harness that made a run or a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Harness {
    pub version: String,
    /// Commit the harness was built from, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The tree had uncommitted changes.
    #[serde(default)]
    pub dirty: bool,
}

/// One task of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunTask {
    /// The task bundle, as a path relative to the run's parent or absolute, as the user gave it.
    pub path: String,
    /// Digest of `task.toml`.
    pub task: Digest,
    /// Digest of the reference.
    pub reference: Digest,
    /// How the agent ended.
    pub agent_outcome: AgentOutcome,
    /// Invocations of the reference by the agent.
    #[serde(default)]
    pub probes: u64,
    /// Wall-clock time of the agent, milliseconds.
    #[serde(default)]
    pub wall_ms: u64,
    /// What the agent's work in a cleanroom came to; absent where no cleanroom was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<Work>,
}

/// What an agent's work in a cleanroom came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// How well the reference was kept from the agent.
    pub seal: Seal,
    /// The reference could be read by a determined agent, and the user accepted that.
    #[serde(default)]
    pub accepted_unsealed: bool,
    /// How it ended, in the words of its trajectory (`Submitted`, `LimitsExceeded`, …).
    pub exit_status: String,
    /// Why, in one line, where it did not simply submit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Replies of the model, or commands replayed.
    #[serde(default)]
    pub steps: u64,
    /// Requests to the model that were answered, those in the steps of earlier sessions included.
    #[serde(default)]
    pub calls: u64,
    /// Dollars; absent: no model, or its price is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// How many times the work was taken up again after a stop.
    #[serde(default)]
    pub resumed: u32,
    /// Invocations that the oracle refused.
    #[serde(default)]
    pub probes_refused: u64,
    /// What a reader should know (no documentation, left-overs of the audit, files left out of the submission, …).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    #[serde(default)]
    pub tokens: Tokens,
}

/// Tokens of all requests to a model together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tokens {
    /// Input that was read anew.
    pub input: u64,
    /// Input that the provider had kept.
    pub cached_input: u64,
    /// Input that the provider was asked to keep, where it counts that separately.
    pub cache_write: u64,
    /// Output, reasoning included.
    pub output: u64,
}

impl Tokens {
    /// All of them, for budgets.
    pub fn total(&self) -> u64 {
        [self.input, self.cached_input, self.cache_write, self.output]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

/// How an agent ended on a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentOutcome {
    /// It said that it was done.
    Submitted,
    /// A budget ran out; what it left is graded.
    ExhaustedBudget,
    /// It, or its model, declined the task.
    Refused,
    /// The harness failed.
    Failed,
    /// The user stopped it.
    Cancelled,
    /// The model's provider failed for longer than we wait. Nothing is submitted.
    ProviderFailed,
    /// Its cleanroom could not be started, or was lost. Nothing is submitted.
    SandboxFailed,
}

impl AgentOutcome {
    /// Whether there is something to grade. What has none is tried again when the run is resumed.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Submitted | Self::ExhaustedBudget | Self::Refused)
    }
}

impl RunManifest {
    /// Parses and checks `run.toml`.
    ///
    /// # Errors
    /// [`FormatError`] that names line and field.
    pub fn parse(file: &Path, text: &str) -> Result<Self, FormatError> {
        let manifest: Self = parse_toml(file, text)?;
        if manifest.schema != SCHEMA {
            let what =
                format!("schema {} is not supported; this version reads {SCHEMA}", manifest.schema);
            return Err(FormatError::field(file, None, "schema", what));
        }
        Ok(manifest)
    }
}

/// Typed outcome of a run on a task. The first five give a valid score; `tampering_detected` waits for a person; the rest
/// never count as a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Graded,
    BuildFailed,
    SubmissionMissing,
    AgentExhaustedBudget,
    AgentRefused,
    TamperingDetected,
    SandboxFailed,
    ModelProviderFailed,
    HarnessFailed,
    Cancelled,
}

/// Which of the three totals an outcome belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    Valid,
    ExcludedForInfrastructure,
    Adjudicated,
}

impl Outcome {
    /// The total it belongs to.
    pub fn standing(self) -> Standing {
        match self {
            Self::Graded
            | Self::BuildFailed
            | Self::SubmissionMissing
            | Self::AgentExhaustedBudget
            | Self::AgentRefused => Standing::Valid,
            Self::TamperingDetected => Standing::Adjudicated,
            Self::SandboxFailed
            | Self::ModelProviderFailed
            | Self::HarnessFailed
            | Self::Cancelled => Standing::ExcludedForInfrastructure,
        }
    }

    /// The name in the formats.
    pub fn name(self) -> &'static str {
        match self {
            Self::Graded => "graded",
            Self::BuildFailed => "build_failed",
            Self::SubmissionMissing => "submission_missing",
            Self::AgentExhaustedBudget => "agent_exhausted_budget",
            Self::AgentRefused => "agent_refused",
            Self::TamperingDetected => "tampering_detected",
            Self::SandboxFailed => "sandbox_failed",
            Self::ModelProviderFailed => "model_provider_failed",
            Self::HarnessFailed => "harness_failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// `<id>.reenact.json`: the graded result of one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    pub schema: u32,
    pub task: String,
    pub outcome: Outcome,
    /// Why, in one line, for every outcome but `graded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    pub task_digest: Digest,
    pub suite_digest: Digest,
    pub harness: Harness,
    pub build: BuildResult,
    /// Cases in the suite: the fixed denominator.
    pub total: u64,
    pub passed: u64,
    pub failed: u64,
    pub not_run: u64,
    pub harness_errors: u64,
    /// passed / total, 0 to 1.
    pub score: f64,
    pub resolved: bool,
    pub almost_resolved: bool,
    /// Passed and total by group.
    pub groups: BTreeMap<String, GroupScore>,
    /// Isolation layers in force while grading.
    pub isolation: BTreeMap<String, String>,
    /// Digest over all (case id, verdict) pairs, in suite order: equal digests, equal verdicts.
    pub verdicts_digest: Digest,
    /// Wall-clock time of the suite and of the build, milliseconds.
    pub suite_ms: u64,
    /// One per case, in suite order.
    pub cases: Vec<CaseResult>,
    /// Things a reader should know (an executable that was shipped, files that were left behind, …).
    #[serde(default)]
    pub notes: Vec<String>,
    /// Where the result stands with its integrity report; absent where there is neither a report nor a verdict on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integrity: Option<crate::integrity::IntegrityStanding>,
}

impl TaskResult {
    /// A result without cases yet: every figure is 0, and there is no suite.
    pub fn without_cases(
        task: &str,
        outcome: Outcome,
        task_digest: Digest,
        harness: &Harness,
    ) -> Self {
        Self {
            schema: RUN_SCHEMA,
            task: task.to_owned(),
            outcome,
            why: None,
            task_digest,
            suite_digest: Digest::of(b""),
            harness: harness.clone(),
            build: BuildResult::default(),
            total: 0,
            passed: 0,
            failed: 0,
            not_run: 0,
            harness_errors: 0,
            score: 0.0,
            resolved: false,
            almost_resolved: false,
            groups: BTreeMap::new(),
            isolation: BTreeMap::new(),
            verdicts_digest: verdicts_digest(std::iter::empty()),
            suite_ms: 0,
            cases: Vec::new(),
            notes: Vec::new(),
            integrity: None,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupScore {
    pub passed: u64,
    pub total: u64,
}

/// What happened when the submission was built.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BuildResult {
    pub ok: bool,
    /// Why not, if not: one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Typed reason: `no_compile_sh`, `compile_failed`, `compile_timeout`, `no_executable`, `bad_executable`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// Exit code of `compile.sh`, if it exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returncode: Option<i32>,
    /// Digest of the fresh executable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<Digest>,
    /// Digest of the submission tarball.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submission: Option<Digest>,
    pub wall_ms: u64,
    /// Last part of the build's output, at most 64 KiB.
    #[serde(default)]
    pub output: String,
}

/// One case of a result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaseResult {
    pub id: String,
    pub group: String,
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Wall-clock time over all steps, microseconds.
    pub wall_us: u64,
    /// Attempts that ended in a harness error before this verdict.
    #[serde(default)]
    pub retries: u32,
    /// What was seen; kept for every case that did not pass, streams cut at 64 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observation: Option<CaseObservation>,
}

/// One line of `journal.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum JournalRecord {
    /// Grading of a task began against this build; earlier verdicts of the task with another key no longer count.
    Started {
        task: String,
        /// Digest of `task.toml`, which sets the limits.
        task_digest: Digest,
        suite: Digest,
        submission: Digest,
        executable: Digest,
    },
    /// The build ended (successfully or not).
    Built {
        task: String,
        submission: Digest,
        build: BuildResult,
        /// Isolation layers in force, by name.
        #[serde(default)]
        isolation: BTreeMap<String, String>,
        /// What a reader of the result should know about the submission and its build.
        #[serde(default)]
        notes: Vec<String>,
    },
    /// A case was judged, once.
    Judged { task: String, case: CaseResult },
    /// The task's results were written.
    Finished { task: String, outcome: Outcome },
}

/// A [`Harness`] for this build.
pub fn this_harness(version: &str, commit: Option<&str>, dirty: bool) -> Harness {
    Harness { version: version.to_owned(), commit: commit.map(str::to_owned), dirty }
}

/// Digest over verdicts: equal exactly when every case has the same verdict kind.
pub fn verdicts_digest<'a>(cases: impl Iterator<Item = (&'a str, &'a Verdict)>) -> Digest {
    let mut hasher = crate::digest::Hasher::default();
    for (id, verdict) in cases {
        let word = match verdict {
            Verdict::Pass => "pass",
            Verdict::Fail { .. } => "fail",
            Verdict::NotRun { .. } => "not_run",
            Verdict::HarnessError { .. } => "harness_error",
        };
        hasher.update(format!("{id} {word}\n").as_bytes());
    }
    hasher.finish()
}

/// Note of a result whose reference could be read by its agent (`--accept-unsealed`); tables and reports show it.
pub const UNSEALED_NOTE: &str =
    "the agent could have read the reference: it was accepted without a seal";

/// Schema of [`TaskResult`] and [`RunManifest`].
pub const RUN_SCHEMA: u32 = SCHEMA;

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "schema = 1\nagent = \"null\"\ncreated = \"2026-01-01T00:00:00Z\"\n\n[harness]\nversion = \"0.1.0\"\n\n\
                       [tasks.t]\npath = \"tasks/t\"\nagent_outcome = \"submitted\"\n\
                       task = \"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\n\
                       reference = \"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\n";

    #[test]
    fn manifests_from_before_cleanrooms_are_read() {
        let manifest = RunManifest::parse(Path::new("run.toml"), OLD).unwrap();
        assert_eq!((manifest.setup, manifest.tasks["t"].work.clone()), (None, None));
    }

    #[test]
    fn a_full_manifest_round_trips() {
        let mut manifest = RunManifest::parse(Path::new("run.toml"), OLD).unwrap();
        let policy = Policy { cost_usd: Some(2.5), ..Policy::default() };
        manifest.setup = Some(Setup {
            attempt: 2,
            attempts: 3,
            policy_digest: policy.digest(),
            prompts: Some(Digest::of(b"p")),
            prices: None,
            model: Some(Model { api: "openai".into(), name: "m".into() }),
            policy,
        });
        let task = manifest.tasks.get_mut("t").unwrap();
        task.agent_outcome = AgentOutcome::ProviderFailed;
        task.work = Some(Work {
            seal: Seal::Guarded,
            accepted_unsealed: false,
            exit_status: "LimitsExceeded".into(),
            why: Some("steps".into()),
            steps: 3,
            calls: 4,
            cost_usd: Some(0.25),
            resumed: 1,
            probes_refused: 0,
            notes: vec!["no documentation".into()],
            tokens: Tokens { input: 1, cached_input: 2, cache_write: 3, output: 4 },
        });
        let text = toml::to_string(&manifest).unwrap();
        assert_eq!(RunManifest::parse(Path::new("run.toml"), &text).unwrap(), manifest, "{text}");
        assert_eq!(manifest.tasks["t"].work.as_ref().unwrap().tokens.total(), 10);
    }
}
