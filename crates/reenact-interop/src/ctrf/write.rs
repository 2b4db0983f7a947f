//! Our results as CTRF.

use crate::junit_out::Graded;
use crate::story::{Whose, story};
use reenact_model::run::{CaseResult, Outcome, Standing, TaskResult};
use reenact_model::verdict::Verdict;
use serde_json::{Map, Value, json};

/// The specification's version, which stands in every document.
const SPEC: &str = "0.0.0";

/// When the tests ran, milliseconds since the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub start_ms: i64,
    pub stop_ms: i64,
}

/// Results as one CTRF document. A case that the harness could not judge is `other`, never `failed`; a case that was not run because
/// there was no build is `failed`, as it is in the score. A result's outcome and score are under `results.extra.tasks`.
pub fn to_ctrf(graded: &[Graded<'_>], span: Span, harness_version: &str) -> Value {
    let mut counts = [0_u64; 3];
    let mut tests = Vec::new();
    for one in graded {
        for case in &one.result.cases {
            let (test, status) = test(&one.name, case, one.result.outcome);
            counts[status] += 1;
            tests.push(test);
        }
    }
    let tasks: Vec<Value> = graded.iter().map(|g| task(&g.name, g.result)).collect();
    json!({
        "reportFormat": "CTRF",
        "specVersion": SPEC,
        "generatedBy": format!("reenact {harness_version}"),
        "results": {
            "tool": {"name": "reenact", "version": harness_version},
            "summary": {
                "tests": tests.len(),
                "passed": counts[PASSED],
                "failed": counts[FAILED],
                "skipped": 0,
                "pending": 0,
                "other": counts[OTHER],
                "suites": graded.len(),
                "start": span.start_ms,
                "stop": span.stop_ms,
            },
            "tests": tests,
            "extra": {"tasks": tasks},
        },
    })
}

const PASSED: usize = 0;
const FAILED: usize = 1;
const OTHER: usize = 2;
const NAMES: [&str; 3] = ["passed", "failed", "other"];

fn test(suite: &str, case: &CaseResult, outcome: Outcome) -> (Value, usize) {
    let told = story(case, outcome);
    let status = match told.as_ref().map(|t| t.whose) {
        None => PASSED,
        Some(Whose::Program) => FAILED,
        Some(Whose::Harness) => OTHER,
    };
    let raw = match &case.verdict {
        Verdict::Pass => "pass",
        Verdict::Fail { .. } => "fail",
        Verdict::NotRun { .. } => "not_run",
        Verdict::HarnessError { .. } => "harness_error",
    };
    let mut extra = Map::from_iter([("wall_us".to_owned(), Value::from(case.wall_us))]);
    let mut test = Map::from_iter([
        ("name".to_owned(), Value::from(case.id.as_str())),
        ("status".to_owned(), Value::from(NAMES[status])),
        ("rawStatus".to_owned(), Value::from(raw)),
        // Whole milliseconds; the exact time is in `extra`.
        ("duration".to_owned(), Value::from(case.wall_us.saturating_add(500) / 1000)),
        ("suite".to_owned(), json!([suite, case.group])),
    ]);
    if case.retries > 0 {
        test.insert("retries".to_owned(), Value::from(case.retries));
    }
    if let Some(told) = told {
        extra.insert("kind".to_owned(), Value::from(told.kind));
        test.insert("message".to_owned(), Value::from(told.message));
        test.insert("trace".to_owned(), Value::from(told.text));
    }
    test.insert("extra".to_owned(), Value::Object(extra));
    (Value::Object(test), status)
}

fn task(name: &str, result: &TaskResult) -> Value {
    let valid = result.outcome.standing() == Standing::Valid;
    json!({
        "name": name,
        "task": result.task,
        "outcome": result.outcome.name(),
        "why": result.why,
        "score": valid.then_some(result.score),
        "resolved": valid && result.resolved,
        "almost_resolved": valid && result.almost_resolved,
        "passed": result.passed,
        "total": result.total,
        "task_digest": result.task_digest,
        "suite_digest": result.suite_digest,
        "verdicts_digest": result.verdicts_digest,
        "submission": result.build.submission,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctrf::{Status, read_ctrf};
    use crate::story::tests::{case, fail, result};
    use reenact_model::verdict::FailKind;
    use std::path::Path;

    #[test]
    fn counts_add_up_and_what_is_written_is_read_back() {
        let graded = result(
            "a.1",
            Outcome::Graded,
            vec![
                case("c1", "options", Verdict::Pass),
                case("c2", "errors", fail(FailKind::Exit, "exit code 1 instead of 0")),
                case("c3", "errors", Verdict::HarnessError { what: "no cell".into() }),
                case("c4", "errors", Verdict::NotRun { why: "no build".into() }),
            ],
        );
        let span = Span { start_ms: 1000, stop_ms: 4000 };
        let document = to_ctrf(&[Graded { name: "a.1".into(), result: &graded }], span, "0.1.0");
        let summary = &document["results"]["summary"];
        let counts = ["tests", "passed", "failed", "other", "skipped", "pending", "suites"];
        assert_eq!(counts.map(|n| summary[n].as_u64().unwrap()), [4, 1, 2, 1, 0, 0, 1]);
        assert_eq!((&summary["start"], &summary["stop"]), (&json!(1000), &json!(4000)));
        assert_eq!(document["results"]["tests"][0]["duration"], 2);
        assert_eq!(document["results"]["extra"]["tasks"][0]["score"], 0.25);

        let text = serde_json::to_string(&document).unwrap();
        let read = read_ctrf(Path::new("ctrf.json"), text.as_bytes()).unwrap();
        let told: Vec<_> = read
            .iter()
            .map(|t| (t.name.as_str(), t.status, t.raw_status.as_deref(), t.kind.as_deref()))
            .collect();
        assert_eq!(
            told,
            [
                ("c1", Status::Passed, Some("pass"), None),
                ("c2", Status::Failed, Some("fail"), Some("exit")),
                ("c3", Status::Other, Some("harness_error"), Some("harness_error")),
                ("c4", Status::Failed, Some("not_run"), Some("not_run")),
            ]
        );
        assert_eq!(read[1].suite, ["a.1", "errors"]);
        assert_eq!(read[1].wall_us, 1500);
    }

    #[test]
    fn a_spoiled_result_has_no_score() {
        let spoiled = result("a.1", Outcome::SandboxFailed, Vec::new());
        let one = Graded { name: "a.1".into(), result: &spoiled };
        let document = to_ctrf(&[one], Span::default(), "0.1.0");
        assert_eq!(document["results"]["extra"]["tasks"][0]["score"], Value::Null);
    }

    /// Every edition of the schema refuses fields that it does not know.
    #[test]
    fn only_fields_of_the_schema_are_written() {
        let cases = vec![
            CaseResult { retries: 2, ..case("c1", "g", fail(FailKind::Files, "x")) },
            case("c2", "g", Verdict::Pass),
        ];
        let graded = result("t", Outcome::Graded, cases);
        let one = Graded { name: "t".into(), result: &graded };
        let document = to_ctrf(&[one], Span::default(), "0.1.0");
        let known: [(&str, &[&str]); 6] = [
            ("", &["reportFormat", "specVersion", "generatedBy", "results"]),
            ("/results", &["tool", "summary", "tests", "extra"]),
            ("/results/tool", &["name", "version"]),
            (
                "/results/summary",
                &[
                    "tests", "passed", "failed", "skipped", "pending", "other", "suites", "start",
                    "stop",
                ],
            ),
            (
                "/results/tests/0",
                &[
                    "name",
                    "status",
                    "duration",
                    "suite",
                    "message",
                    "trace",
                    "rawStatus",
                    "retries",
                    "extra",
                ],
            ),
            ("/results/tests/1", &["name", "status", "duration", "suite", "rawStatus", "extra"]),
        ];
        for (at, fields) in known {
            let object = document.pointer(at).unwrap().as_object().unwrap();
            let mut found: Vec<&str> = object.keys().map(String::as_str).collect();
            let mut want = fields.to_vec();
            found.sort_unstable();
            want.sort_unstable();
            assert_eq!(found, want, "{at}");
        }
        assert!(document.pointer("/results/tests/0/duration").unwrap().is_u64());
    }
}
