//! The types of `<id>.eval.json`.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Names of the pipeline's steps, in their order; a step that fails gives the code `<step>_failed`.
pub mod step {
    /// Empties `/workspace`.
    pub const WIPE_WORKSPACE: &str = "wipe_workspace";
    /// Deletes copies of the reference by digest.
    pub const REMOVE_HASHED_FILES: &str = "remove_hashed_files";
    /// Deletes a shipped `./executable`.
    pub const CLEAR_STALE_EXECUTABLE: &str = "clear_stale_executable";
    /// Makes a synthetic git repository.
    pub const SEED_GIT: &str = "seed_git";
    /// Runs `compile.sh`.
    pub const COMPILE: &str = "compile";
    /// Takes `./executable` out of the tree.
    pub const COPY_EXECUTABLE: &str = "copy_executable";
    /// SHA-256 of the executable.
    pub const HASH_EXECUTABLE: &str = "hash_executable";
    /// Runs one branch of tests.
    pub const RUN_TESTS: &str = "run_tests";
    /// Reads a branch's JUnit file.
    pub const RESULTS_READ: &str = "results_read";
}

/// Contents of `<id>.eval.json`. Missing keys take ProgramBench's defaults; unknown keys are an error, as there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvalJson {
    pub test_results: Vec<TestResult>,
    /// Why nothing could be tested; `None` if it could.
    pub error_code: Option<String>,
    pub error_details: Option<String>,
    pub log: Vec<LogEntry>,
    /// ProgramBench writes `submission` when it graded a tarball.
    pub solution_branch: Option<String>,
    pub test_branches: Vec<String>,
    pub test_branch_errors: BTreeMap<String, Vec<TestBranchError>>,
    /// SHA-256 of the built executable, bare hex digits.
    pub executable_hash: Option<String>,
    pub warnings: Vec<String>,
}

impl EvalJson {
    /// Passed and total, over everything listed: what ProgramBench's own table shows before it drops ignored tests.
    pub fn score(&self) -> (u64, u64) {
        let passed = self.test_results.iter().filter(|t| t.status == Status::Passed).count();
        (passed as u64, self.test_results.len() as u64)
    }

    /// The document with its two-space indentation and no newline at the end, as ProgramBench writes it.
    ///
    /// # Errors
    /// A number that JSON cannot hold (a time that is not finite).
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }
}

/// One test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestResult {
    pub name: String,
    #[serde(default)]
    pub branch: String,
    pub status: Status,
    pub extra: Extra,
}

/// ProgramBench's statuses. Only `passed` counts as a pass; everything else counts in the denominator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Passed,
    Skipped,
    Failure,
    Error,
    SystemError,
    NotRun,
}

/// What a test result may carry beside its status. ProgramBench accepts any key here, so unknown ones are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Extra {
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<f64>,
    /// One line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The whole story.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_details: Option<String>,
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// An error of a whole branch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestBranchError {
    pub error_code: String,
    pub error_details: String,
}

/// One step of the log. ProgramBench's log is a list of free dictionaries, so unknown keys are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogEntry {
    /// One of [`step`].
    pub step: String,
    #[serde(default)]
    pub command: String,
    /// Seconds.
    #[serde(default)]
    pub wall_time: f64,
    #[serde(default)]
    pub output: String,
    /// -1 when the command did not end by itself (a timeout).
    #[serde(default)]
    pub returncode: i32,
    #[serde(default)]
    pub exception_info: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}
