//! What a case's verdict says, in the terms that test reports share: whose failure it is, a line, and a text.

use reenact_model::run::{CaseResult, Outcome, Standing};
use reenact_model::verdict::{FailKind, Verdict};
use std::fmt::Write as _;

/// Bytes of a message (one line, an attribute) and of a text (a block) in reports; what is longer is cut, and says so.
pub const MAX_MESSAGE: usize = 512;
/// See [`MAX_MESSAGE`].
pub const MAX_TEXT: usize = 16 << 10;

/// Whose failure it is. A harness's failure is never a program's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    Program,
    Harness,
}

/// Why a case did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Story {
    pub whose: Whose,
    /// `stdout`, `exit`, …; `not_run`; `harness_error`.
    pub kind: String,
    pub message: String,
    pub text: String,
}

/// The story of a case; `None` if it passed. A case that was not run counts against the submission exactly if the result as a
/// whole is a score.
pub(crate) fn story(case: &CaseResult, outcome: Outcome) -> Option<Story> {
    let (whose, kind, lines) = match &case.verdict {
        Verdict::Pass => return None,
        Verdict::Fail { reasons } => {
            let worst = reasons.iter().map(|r| r.kind).min();
            let lines = reasons
                .iter()
                .map(|r| match r.step {
                    Some(step) => format!("step {}: {}", step + 1, r.detail),
                    None => r.detail.clone(),
                })
                .collect();
            (Whose::Program, worst.map_or_else(|| "failed".to_owned(), kind_name), lines)
        }
        Verdict::NotRun { why } if outcome.standing() == Standing::Valid => {
            (Whose::Program, "not_run".to_owned(), vec![why.clone()])
        }
        Verdict::NotRun { why } => (Whose::Harness, "not_run".to_owned(), vec![why.clone()]),
        Verdict::HarnessError { what } => {
            (Whose::Harness, "harness_error".to_owned(), vec![what.clone()])
        }
    };
    let first = lines.first().and_then(|l: &String| l.lines().next()).unwrap_or_default();
    Some(Story {
        whose,
        kind,
        message: bounded(first, MAX_MESSAGE),
        text: bounded(&lines.join("\n"), MAX_TEXT),
    })
}

/// A kind's name in the formats.
pub(crate) fn kind_name(kind: FailKind) -> String {
    match serde_json::to_value(kind) {
        Ok(serde_json::Value::String(name)) => name,
        _ => "failed".to_owned(),
    }
}

/// A kind by its name in the formats.
pub(crate) fn kind_named(name: &str) -> Option<FailKind> {
    serde_json::from_value(serde_json::Value::from(name)).ok()
}

/// At most about `most` bytes of `text`, cut between characters, with a note of what is missing.
pub(crate) fn bounded(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let mut cut = most;
    while !text.is_char_boundary(cut) {
        cut -= 1;
    }
    let mut short = text[..cut].to_owned();
    // Writing to a string cannot fail.
    let _infallible = write!(short, " … ({} more bytes)", text.len() - cut);
    short
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use reenact_model::run::{BuildResult, RUN_SCHEMA, TaskResult, this_harness, verdicts_digest};
    use reenact_model::{Digest, verdict::FailReason};
    use std::collections::BTreeMap;

    pub(crate) fn fail(kind: FailKind, detail: &str) -> Verdict {
        Verdict::Fail { reasons: vec![FailReason { step: Some(0), kind, detail: detail.into() }] }
    }

    pub(crate) fn case(id: &str, group: &str, verdict: Verdict) -> CaseResult {
        let (id, group) = (id.to_owned(), group.to_owned());
        CaseResult { id, group, verdict, wall_us: 1500, retries: 0, observation: None }
    }

    pub(crate) fn result(task: &str, outcome: Outcome, cases: Vec<CaseResult>) -> TaskResult {
        let passed = cases.iter().filter(|c| c.verdict.passed()).count() as u64;
        let total = cases.len() as u64;
        TaskResult {
            schema: RUN_SCHEMA,
            task: task.to_owned(),
            outcome,
            why: (outcome != Outcome::Graded).then(|| "because".to_owned()),
            task_digest: Digest::of(b"t"),
            suite_digest: Digest::of(b"s"),
            harness: this_harness("0.0.0", None, false),
            build: BuildResult { wall_ms: 1000, ..BuildResult::default() },
            total,
            passed,
            failed: total - passed,
            not_run: 0,
            harness_errors: 0,
            score: if total == 0 { 0.0 } else { passed as f64 / total as f64 },
            resolved: total > 0 && passed == total,
            almost_resolved: false,
            groups: BTreeMap::new(),
            isolation: BTreeMap::new(),
            verdicts_digest: verdicts_digest(std::iter::empty()),
            suite_ms: 2000,
            cases,
            notes: Vec::new(),
            integrity: None,
        }
    }

    #[test]
    fn a_harness_failure_is_never_the_programs() {
        let error = case("a", "g", Verdict::HarnessError { what: "no cell".into() });
        assert_eq!(story(&error, Outcome::Graded).unwrap().whose, Whose::Harness);
        let skipped = case("a", "g", Verdict::NotRun { why: "no build".into() });
        assert_eq!(story(&skipped, Outcome::BuildFailed).unwrap().whose, Whose::Program);
        assert_eq!(story(&skipped, Outcome::SandboxFailed).unwrap().whose, Whose::Harness);
        assert_eq!(story(&case("a", "g", Verdict::Pass), Outcome::Graded), None);
    }

    #[test]
    fn the_worst_reason_names_the_failure_and_long_texts_are_cut_between_characters() {
        let mut verdict = fail(FailKind::Stdout, "stdout: line 1\nmore");
        if let Verdict::Fail { reasons } = &mut verdict {
            let detail = "é".repeat(MAX_TEXT);
            reasons.push(FailReason { step: None, kind: FailKind::Crash, detail });
        }
        let told = story(&case("a", "g", verdict), Outcome::Graded).unwrap();
        assert_eq!(
            (told.kind.as_str(), told.message.as_str()),
            ("crash", "step 1: stdout: line 1")
        );
        assert!(told.text.len() < MAX_TEXT + 64 && told.text.ends_with("more bytes)"));
        for kind in [FailKind::ExecFailed, FailKind::OutputFlood, FailKind::Files] {
            assert_eq!(kind_named(&kind_name(kind)), Some(kind));
        }
        assert_eq!(kind_named("bogus"), None);
    }
}
