//! Runs: the manifest `run.toml`, typed outcomes, journal records, and `<id>.reenact.json`.

use crate::SCHEMA;
use crate::digest::Digest;
use crate::error::{FormatError, parse_toml};
use crate::observe::CaseObservation;
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
    /// Tasks by id.
    #[serde(default)]
    pub tasks: BTreeMap<String, RunTask>,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// How an agent ended on a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentOutcome {
    Submitted,
    ExhaustedBudget,
    Refused,
    Failed,
    Cancelled,
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

/// Schema of [`TaskResult`] and [`RunManifest`].
pub const RUN_SCHEMA: u32 = SCHEMA;
