//! Made-up results for the tests of this crate.

use reenact_model::run::{BuildResult, CaseResult, GroupScore, TaskResult, this_harness};
use reenact_model::{
    Captured, Case, CaseObservation, Digest, Ended, FailKind, FailReason, NoBlobs, Observation,
    Outcome, Resources, Verdict,
};
use std::collections::BTreeMap;

/// A graded result with `passed` of `total` cases, without the cases.
pub(crate) fn result(task: &str, passed: u64, total: u64) -> TaskResult {
    TaskResult {
        schema: reenact_model::SCHEMA,
        task: task.to_owned(),
        outcome: Outcome::Graded,
        why: None,
        task_digest: Digest::of(b"task"),
        suite_digest: Digest::of(b"suite"),
        harness: this_harness("0.1.0", None, false),
        build: BuildResult { ok: true, wall_ms: 1200, ..BuildResult::default() },
        total,
        passed,
        failed: total - passed,
        not_run: 0,
        harness_errors: 0,
        score: passed as f64 / total as f64,
        resolved: passed == total,
        almost_resolved: passed * 100 >= total * 95,
        groups: [("options".to_owned(), GroupScore { passed, total })].into(),
        isolation: BTreeMap::new(),
        verdicts_digest: Digest::of(b"verdicts"),
        suite_ms: 3400,
        cases: Vec::new(),
        notes: Vec::new(),
        integrity: None,
    }
}

/// A case from its JSON line.
pub(crate) fn case(json: &str) -> Case {
    serde_json::from_str(json).unwrap()
}

/// One step that ended so.
pub(crate) fn step(ended: Ended, out: &[u8], err: &[u8]) -> Observation {
    Observation {
        ended,
        stdout: Captured::whole(out),
        stderr: Captured::whole(err),
        screen: None,
        resources: Resources { wall_us: 1500, ..Resources::default() },
    }
}

/// The verdict of the real judge on `seen`.
pub(crate) fn judged(case: &Case, seen: CaseObservation) -> CaseResult {
    let verdict = reenact_model::judge(case, &seen, &NoBlobs).unwrap();
    CaseResult {
        id: case.id.clone(),
        group: case.group.clone(),
        verdict,
        wall_us: 1500,
        retries: 0,
        observation: Some(seen),
    }
}

/// A verdict without an observation.
pub(crate) fn unseen(id: &str, verdict: Verdict) -> CaseResult {
    CaseResult {
        id: id.into(),
        group: "g".into(),
        verdict,
        wall_us: 0,
        retries: 0,
        observation: None,
    }
}

/// A failure for one reason.
pub(crate) fn fail(kind: FailKind, detail: &str) -> Verdict {
    Verdict::Fail { reasons: vec![FailReason { step: Some(0), kind, detail: detail.into() }] }
}

/// A case with one step, and what was seen of it.
pub(crate) fn seen(steps: Vec<Observation>) -> CaseObservation {
    CaseObservation { steps, ..CaseObservation::default() }
}
