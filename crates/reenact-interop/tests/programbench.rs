//! ProgramBench's format: what we write is what its tools accept, and what its tools write we read.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use proptest::prelude::*;
use reenact_interop::programbench::{EvalJson, Status, TestResult, to_eval};
use reenact_model::Digest;
use reenact_model::run::{BuildResult, CaseResult, GroupScore, Outcome, TaskResult, this_harness};
use reenact_model::verdict::{FailKind, FailReason, Verdict};
use std::collections::BTreeMap;

fn case(id: &str, group: &str, verdict: Verdict) -> CaseResult {
    CaseResult {
        id: id.to_owned(),
        group: group.to_owned(),
        verdict,
        wall_us: 1500,
        retries: 0,
        observation: None,
    }
}

fn result(outcome: Outcome, build: BuildResult, cases: Vec<CaseResult>) -> TaskResult {
    let mut groups: BTreeMap<String, GroupScore> = BTreeMap::new();
    for c in &cases {
        let group = groups.entry(c.group.clone()).or_default();
        group.total += 1;
        group.passed += u64::from(c.verdict.passed());
    }
    let count = |f: fn(&Verdict) -> bool| cases.iter().filter(|c| f(&c.verdict)).count() as u64;
    TaskResult {
        schema: 1,
        task: "crate__x.1".to_owned(),
        outcome,
        why: Some("the reason".to_owned()),
        task_digest: Digest::of(b"t"),
        suite_digest: Digest::of(b"s"),
        harness: this_harness("0", None, false),
        build,
        total: cases.len() as u64,
        passed: count(Verdict::passed),
        failed: count(|v| matches!(v, Verdict::Fail { .. })),
        not_run: count(|v| matches!(v, Verdict::NotRun { .. })),
        harness_errors: count(|v| matches!(v, Verdict::HarnessError { .. })),
        score: 0.0,
        resolved: false,
        almost_resolved: false,
        groups,
        isolation: BTreeMap::new(),
        verdicts_digest: Digest::of(b"v"),
        suite_ms: 1,
        cases,
        notes: Vec::new(),
        integrity: None,
    }
}

fn built() -> BuildResult {
    BuildResult {
        ok: true,
        returncode: Some(0),
        executable: Some(Digest::of(b"exe")),
        wall_ms: 250,
        output: "cc -o executable\n".to_owned(),
        ..BuildResult::default()
    }
}

fn fail() -> Verdict {
    let reason = |step, kind, detail: &str| FailReason { step, kind, detail: detail.to_owned() };
    Verdict::Fail {
        reasons: vec![
            reason(Some(0), FailKind::Exit, "exit 1, expected 0"),
            reason(None, FailKind::Files, "out.txt: is missing"),
        ],
    }
}

#[test]
fn a_graded_result_has_one_branch_per_group_and_every_key_of_the_format() {
    let cases = vec![case("c-1", "options", Verdict::Pass), case("c-2", "errors", fail())];
    let eval = to_eval(&result(Outcome::Graded, built(), cases));
    assert_eq!(eval.test_branches, ["errors", "options"]);
    assert_eq!(eval.score(), (1, 2));
    let value: serde_json::Value = serde_json::from_str(&eval.to_json().unwrap()).unwrap();
    let keys: Vec<&String> = value.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "error_code",
            "error_details",
            "executable_hash",
            "log",
            "solution_branch",
            "test_branch_errors",
            "test_branches",
            "test_results",
            "warnings"
        ]
    );
    assert_eq!(value["error_code"], serde_json::Value::Null);
    assert_eq!(value["executable_hash"], Digest::of(b"exe").hex());
    assert_eq!(
        value["test_results"][0],
        serde_json::json!({"name": "eval.options.c-1", "branch": "options", "status": "passed", "extra": {"time": 0.0015}})
    );
    let failed = &value["test_results"][1];
    assert_eq!(failed["status"], "failure");
    assert_eq!(failed["extra"]["message"], "exit 1, expected 0");
    assert_eq!(failed["extra"]["text"], "step 1: exit 1, expected 0\nout.txt: is missing");
    assert_eq!(
        value["log"][0],
        serde_json::json!({"step": "compile", "command": "chmod +x ./compile.sh && ./compile.sh", "wall_time": 0.25,
            "output": "cc -o executable\n", "returncode": 0, "exception_info": ""})
    );
}

#[test]
fn failures_before_the_first_case_carry_programbench_codes() {
    let not_run = || vec![case("c-1", "g", Verdict::NotRun { why: "no build".to_owned() })];
    let failed = |code: &str| BuildResult {
        error_code: Some(code.to_owned()),
        error: Some("what happened".to_owned()),
        ..BuildResult::default()
    };
    for (ours, theirs) in [
        ("no_compile_sh", "compile_failed"),
        ("compile_failed", "compile_failed"),
        ("compile_timeout", "compile_failed"),
        ("no_executable", "copy_executable_failed"),
        ("bad_executable", "copy_executable_failed"),
        ("bad_submission", "bad_submission"),
    ] {
        let eval = to_eval(&result(Outcome::BuildFailed, failed(ours), not_run()));
        assert_eq!(eval.error_code.as_deref(), Some(theirs), "{ours}");
        assert_eq!(eval.error_details, Some(format!("{ours}: what happened")));
        assert_eq!(eval.test_results[0].status, Status::NotRun);
        assert_eq!(eval.test_results[0].extra.error_code.as_deref(), Some(theirs));
        assert_eq!(eval.executable_hash, None);
    }
    let missing = to_eval(&result(Outcome::SubmissionMissing, BuildResult::default(), not_run()));
    assert_eq!(missing.error_code.as_deref(), Some("no_submission"));
    assert_eq!(missing.solution_branch, None);
}

#[test]
fn a_harness_error_is_a_system_error_and_marks_its_branch() {
    let lost = Verdict::HarnessError { what: "the cell was lost".to_owned() };
    let cases = vec![case("c-1", "a", Verdict::Pass), case("c-2", "b", lost)];
    let eval = to_eval(&result(Outcome::SandboxFailed, built(), cases));
    assert_eq!(eval.error_code.as_deref(), Some("sandbox_failed"));
    assert_eq!(eval.test_results[1].status, Status::SystemError);
    assert_eq!(eval.test_branch_errors.keys().collect::<Vec<_>>(), ["b"]);
}

#[test]
fn budget_exhausted_but_graded_is_no_error() {
    let cases = vec![case("c-1", "a", Verdict::Pass)];
    let eval = to_eval(&result(Outcome::AgentExhaustedBudget, built(), cases));
    assert_eq!(eval.error_code, None);
}

#[test]
fn unknown_keys_are_refused_where_programbench_refuses_them_and_kept_where_it_keeps_them() {
    assert!(serde_json::from_str::<EvalJson>(r#"{"score": 1}"#).is_err());
    let test = r#"{"name":"a","status":"passed","extra":{"custom":[1]}}"#;
    let test: TestResult = serde_json::from_str(test).unwrap();
    assert_eq!(test.extra.other["custom"], serde_json::json!([1]));
    assert_eq!(test.branch, "");
    for bad in [
        r#"{"name":"a","status":"ok","extra":{}}"#,
        r#"{"name":"a","status":"passed","extra":{},"time":1}"#,
        r#"{"name":"a","status":"passed"}"#,
    ] {
        assert!(serde_json::from_str::<TestResult>(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_document_of_the_official_tool_is_read_without_loss() {
    // Shape of what programbench 1.2.5 writes for its bundled calculator, shortened.
    let text = r#"{"test_results":[
        {"name":"eval.tests.t.test_a","branch":"33128f6b8600","status":"failure","extra":{"time":0.001,"message":"m","text":"t"}},
        {"name":"tests.t.test_a","branch":"33128f6b8600","status":"not_run","extra":{"error_code":"missing_from_junit_xml"}}],
      "error_code":null,"error_details":null,
      "log":[{"step":"run_tests","command":"./eval/run.sh","wall_time":0.28,"output":"x","returncode":1,"exception_info":"","branch":"33128f6b8600","attempt":2}],
      "solution_branch":"submission","test_branches":["33128f6b8600"],
      "test_branch_errors":{"33128f6b8600":[{"error_code":"run_tests_failed","error_details":""}]},
      "executable_hash":"ea8d","warnings":["w"]}"#;
    let eval: EvalJson = serde_json::from_str(text).unwrap();
    let before: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_value(&eval).unwrap(), before);
}

fn verdicts() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::Pass),
        Just(fail()),
        ".*".prop_map(|why| Verdict::NotRun { why }),
        ".*".prop_map(|what| Verdict::HarnessError { what }),
    ]
}

proptest! {
    #[test]
    fn what_we_write_we_read_and_every_case_is_listed_once(
        cases in prop::collection::vec(("[a-z0-9.-]{1,8}", "[a-c]", verdicts()), 0..30)
    ) {
        let cases: Vec<CaseResult> = cases
            .into_iter()
            .enumerate()
            .map(|(i, (id, group, verdict))| case(&format!("{id}-{i}"), &group, verdict))
            .collect();
        let passed = cases.iter().filter(|c| c.verdict.passed()).count() as u64;
        let total = cases.len() as u64;
        let eval = to_eval(&result(Outcome::Graded, built(), cases));
        prop_assert_eq!(eval.score(), (passed, total));
        let names: std::collections::BTreeSet<_> =
            eval.test_results.iter().map(|t| (&t.branch, &t.name)).collect();
        prop_assert_eq!(names.len() as u64, total);
        let again: EvalJson = serde_json::from_str(&eval.to_json().unwrap()).unwrap();
        prop_assert_eq!(again, eval);
    }
}
