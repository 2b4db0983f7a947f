//! Our results in ProgramBench's words.

use super::eval_json::{EvalJson, Extra, LogEntry, Status, TestBranchError, TestResult, step};
use reenact_model::run::{BuildResult, CaseResult, Outcome, TaskResult};
use reenact_model::verdict::Verdict;
use std::collections::BTreeMap;

/// The name of a case's test: `eval.<group>.<case id>`, unique within a task.
pub fn test_name(group: &str, id: &str) -> String {
    format!("eval.{group}.{id}")
}

/// Translates a result. One branch per case group; a case that the harness could not judge is a `system_error` and marks
/// its branch, so that ProgramBench's own tools evaluate that branch again rather than believe it.
pub fn to_eval(result: &TaskResult) -> EvalJson {
    let not_run_code = error_code(result);
    EvalJson {
        test_results: result
            .cases
            .iter()
            .map(|case| test_result(case, not_run_code.as_deref()))
            .collect(),
        error_details: not_run_code.as_ref().map(|_| error_details(result)),
        error_code: not_run_code,
        log: compile_log(&result.build).into_iter().collect(),
        solution_branch: (result.outcome != Outcome::SubmissionMissing)
            .then(|| "submission".to_owned()),
        test_branches: result.groups.keys().cloned().collect(),
        test_branch_errors: branch_errors(&result.cases),
        executable_hash: result.build.executable.map(|digest| digest.hex()),
        warnings: Vec::new(),
    }
}

/// ProgramBench's code for a result without tested cases, `None` for one that was tested. Where ProgramBench has a code for
/// what happened it is that one (an absent, failing or hanging `compile.sh` are all `compile_failed` there, and a missing or
/// unusable executable is `copy_executable_failed`); otherwise it is our outcome's name.
pub fn error_code(result: &TaskResult) -> Option<String> {
    let code = match result.outcome {
        Outcome::Graded | Outcome::TamperingDetected => return None,
        Outcome::AgentExhaustedBudget | Outcome::AgentRefused if result.build.ok => return None,
        Outcome::SubmissionMissing => "no_submission",
        Outcome::BuildFailed => match result.build.error_code.as_deref() {
            Some("no_compile_sh" | "compile_failed" | "compile_timeout") => "compile_failed",
            Some("no_executable" | "bad_executable") => "copy_executable_failed",
            Some(other) => other,
            None => "compile_failed",
        },
        other => other.name(),
    };
    Some(code.to_owned())
}

fn error_details(result: &TaskResult) -> String {
    let mut parts = Vec::new();
    if let (Outcome::BuildFailed, Some(code)) = (result.outcome, &result.build.error_code) {
        parts.push(code.clone());
    }
    parts.extend(result.build.error.clone().or_else(|| result.why.clone()));
    parts.join(": ")
}

fn test_result(case: &CaseResult, not_run_code: Option<&str>) -> TestResult {
    let mut extra = Extra { time: Some(micros_to_seconds(case.wall_us)), ..Extra::default() };
    let status = match &case.verdict {
        Verdict::Pass => Status::Passed,
        Verdict::Fail { reasons } => {
            extra.message = reasons.first().map(|r| r.detail.clone());
            extra.text = Some(
                reasons
                    .iter()
                    .map(|r| match r.step {
                        Some(step) => format!("step {}: {}", step + 1, r.detail),
                        None => r.detail.clone(),
                    })
                    .collect::<Vec<_>>()
                    .join("\n"),
            );
            Status::Failure
        }
        Verdict::NotRun { why } => {
            extra = Extra {
                error_code: Some(not_run_code.unwrap_or("not_run").to_owned()),
                error_details: Some(why.clone()),
                ..Extra::default()
            };
            Status::NotRun
        }
        Verdict::HarnessError { what } => {
            extra = Extra {
                error_code: Some("harness_error".to_owned()),
                error_details: Some(what.clone()),
                ..Extra::default()
            };
            Status::SystemError
        }
    };
    TestResult { name: test_name(&case.group, &case.id), branch: case.group.clone(), status, extra }
}

fn branch_errors(cases: &[CaseResult]) -> BTreeMap<String, Vec<TestBranchError>> {
    let mut first: BTreeMap<&str, (u64, &str)> = BTreeMap::new();
    for case in cases {
        if let Verdict::HarnessError { what } = &case.verdict {
            first.entry(&case.group).or_insert((0, what)).0 += 1;
        }
    }
    first
        .into_iter()
        .map(|(group, (count, what))| {
            let error = TestBranchError {
                error_code: "harness_error".to_owned(),
                error_details: format!("{count} cases could not be judged; the first: {what}"),
            };
            (group.to_owned(), vec![error])
        })
        .collect()
}

/// The build as the step `compile`; nothing if `compile.sh` was never started.
fn compile_log(build: &BuildResult) -> Option<LogEntry> {
    let started = build.ok
        || matches!(
            build.error_code.as_deref(),
            Some("compile_failed" | "compile_timeout" | "no_executable" | "bad_executable")
        );
    started.then(|| LogEntry {
        step: step::COMPILE.to_owned(),
        command: "chmod +x ./compile.sh && ./compile.sh".to_owned(),
        wall_time: build.wall_ms as f64 / 1000.0,
        output: build.output.clone(),
        returncode: build.returncode.unwrap_or(-1),
        exception_info: match (&build.returncode, &build.error) {
            (None, Some(error)) => error.clone(),
            _ => String::new(),
        },
        branch: None,
        other: BTreeMap::new(),
    })
}

fn micros_to_seconds(us: u64) -> f64 {
    us as f64 / 1e6
}
