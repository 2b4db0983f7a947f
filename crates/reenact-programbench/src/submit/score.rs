//! The official arithmetic over an `eval.json`, and ours over the same file.
//!
//! Official (`eval/eval.py`, `submission.py`): of all results, listed or not and each as often as it is there, drop those of
//! branches that do not count and those that are ignored by name; the score is passed ÷ left. Listed: of the names that
//! `tests.json` lists and that count, each once, those that passed every time they are in the file.

use super::error::SubmitError;
use super::files::{EVAL_MAX, plain};
use crate::dataset::{BENCHMARK_SIZE, Instance};
pub use crate::eval::Score;
use reenact_interop::programbench::python::{Value, round, sum};
use reenact_interop::programbench::{Status, TestBranchError};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::Path;

/// A score at or above this is a resolved task.
pub const RESOLVED: f64 = 1.0;
/// A score at or above this is a nearly resolved one.
pub const NEAR_RESOLVED: f64 = 0.95;

/// What scores need of an `eval.json`. Unknown keys are refused, as by the official models; logs and texts are skipped.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Evaluated {
    pub test_results: Vec<Tested>,
    pub error_code: Option<String>,
    pub error_details: Option<String>,
    log: Vec<Skipped>,
    pub solution_branch: Option<String>,
    pub test_branches: Vec<String>,
    pub test_branch_errors: BTreeMap<String, Vec<TestBranchError>>,
    pub executable_hash: Option<String>,
    pub warnings: Vec<String>,
}

/// One result.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tested {
    pub name: String,
    #[serde(default)]
    pub branch: String,
    pub status: Status,
    // Demanded, as by the official models, but not read.
    #[serde(rename = "extra")]
    _extra: Skipped,
}

impl Tested {
    /// `branch/name`, or the name alone where there is no branch.
    pub fn full_name(&self) -> String {
        match self.branch.as_str() {
            "" => self.name.clone(),
            branch => format!("{branch}/{}", self.name),
        }
    }

    fn passed(&self) -> bool {
        self.status == Status::Passed
    }
}

/// Some object.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Skipped;

impl<'de> Deserialize<'de> for Skipped {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        struct Skip;
        impl<'de> Visitor<'de> for Skip {
            type Value = Skipped;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Skipped, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Skipped)
            }
        }
        de.deserialize_map(Skip)
    }
}

impl Evaluated {
    /// Reads an `eval.json`, full or light.
    ///
    /// # Errors
    /// [`SubmitError`] naming the file and what in it is not as the official models want it.
    pub fn read(path: &Path) -> Result<Self, SubmitError> {
        let bytes = plain(path, EVAL_MAX)?;
        // serde would take a list for an object whose keys are left out.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(SubmitError::file(path, "is no eval.json: it holds no object"));
        }
        serde_json::from_slice(&bytes)
            .map_err(|e| SubmitError::file(path, format!("is no eval.json: {e}")))
    }

    /// Without what does not count for `instance`: other branches, ignored tests, and warnings about ignored branches.
    pub fn scoped(mut self, instance: &Instance) -> Self {
        let active = instance.active_branches();
        let stale: Vec<String> = self
            .test_branches
            .iter()
            .filter(|b| !active.contains(&b.as_str()))
            .map(|b| format!("branch {b}"))
            .collect();
        let (mut had, mut want) = (self.test_branches.clone(), active.clone());
        had.sort();
        want.sort();
        if had != want {
            let set: BTreeSet<&str> = active.iter().copied().collect();
            self.test_results.retain(|t| set.contains(t.branch.as_str()));
            self.test_branch_errors.retain(|b, _| set.contains(b.as_str()));
            self.test_branches = active.iter().map(|b| (*b).to_owned()).collect();
        }
        let ignored = instance.ignored_tests();
        self.test_results.retain(|t| !ignored.contains(&t.full_name()));
        self.warnings.retain(|w| !stale.iter().any(|b| w.contains(b)));
        self
    }

    /// The official score of what is here.
    pub fn official(&self) -> Score {
        let passed = self.test_results.iter().filter(|t| t.passed()).count();
        Score { passed: passed as u64, total: self.test_results.len() as u64 }
    }

    /// The score over the names that count, each once.
    pub fn listed(&self, instance: &Instance) -> Score {
        let mut seen: HashMap<String, bool> = HashMap::new();
        for test in &self.test_results {
            *seen.entry(test.full_name()).or_insert(true) &= test.passed();
        }
        let names = instance.active_tests();
        let passed = names.iter().filter(|n| seen.get(*n) == Some(&true)).count();
        Score { passed: passed as u64, total: names.len() as u64 }
    }

    /// `{branch/name: passed}`, by name: what `_stats/score.json` holds. Of results with the same name the last one counts.
    pub fn test_map(&self) -> BTreeMap<String, bool> {
        self.test_results.iter().map(|t| (t.full_name(), t.passed())).collect()
    }
}

/// The score of a [`Evaluated::test_map`]. It is not always the official one: the map holds every name once.
pub fn map_score(map: &BTreeMap<String, bool>) -> Score {
    Score { passed: map.values().filter(|p| **p).count() as u64, total: map.len() as u64 }
}

/// A run's headline. The denominator is always the whole benchmark: a task that was not attempted counts as 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Headline {
    /// From 0 to 1, four decimals.
    pub mean_score: f64,
    /// Percent of the benchmark, one decimal.
    pub resolved_pct: f64,
    pub near_resolved_pct: f64,
    pub attempted: usize,
    pub benchmark: usize,
}

impl Headline {
    /// Of one score for each task that was attempted.
    pub fn of(scores: &[f64]) -> Self {
        let n = BENCHMARK_SIZE as f64;
        let share = |least: f64| {
            let count = scores.iter().filter(|s| **s >= least).count();
            round(100.0 * count as f64 / n, 1)
        };
        Self {
            mean_score: round(total(scores) / n, 4),
            resolved_pct: share(RESOLVED),
            near_resolved_pct: share(NEAR_RESOLVED),
            attempted: scores.len(),
            benchmark: BENCHMARK_SIZE,
        }
    }
}

/// Python's `sum` of floats.
pub(super) fn total(scores: &[f64]) -> f64 {
    let values: Vec<Value> = scores.iter().map(|s| Value::Float(*s)).collect();
    sum(&values).and_then(|v| v.as_f64()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Place;

    fn instance(tests: &str) -> (tempfile::TempDir, Instance) {
        let dir = tempfile::tempdir().unwrap();
        let task = dir.path().join("o__a.1");
        std::fs::create_dir(&task).unwrap();
        std::fs::write(task.join("task.yaml"), "repository: o/a\ncommit: a\nlanguage: c\n")
            .unwrap();
        std::fs::write(task.join("tests.json"), tests).unwrap();
        let instance = Instance::open(&task, &Place::default()).unwrap();
        (dir, instance)
    }

    fn read(text: &str) -> Result<Evaluated, SubmitError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.eval.json");
        std::fs::write(&path, text).unwrap();
        Evaluated::read(&path)
    }

    fn result(branch: &str, name: &str, status: &str) -> String {
        format!(
            r#"{{"name": "{name}", "branch": "{branch}", "status": "{status}", "extra": {{"text": [1]}}}}"#
        )
    }

    fn evaluated(branches: &str, results: &[String]) -> Evaluated {
        let results = results.join(",");
        read(&format!(
            r#"{{"test_results": [{results}], "test_branches": {branches}, "log": [{{"any": {{}}}}],
                "warnings": ["Branch b1: x", "[i] branch b9: y"], "test_branch_errors": {{"b9": [{{"error_code": "c", "error_details": "d"}}]}}}}"#
        ))
        .unwrap()
    }

    const TESTS: &str = r#"{"branches": {
        "b1": {"ignored": false, "tests": ["x", "y", "z"], "ignored_tests": [{"name": "z", "reasons": []}]},
        "b9": {"ignored": true, "tests": ["x"]}}}"#;

    #[test]
    fn what_does_not_count_is_dropped() {
        let (_dir, instance) = instance(TESTS);
        let results = [
            result("b1", "x", "passed"),
            result("b1", "y", "not_run"),
            result("b1", "z", "passed"),
            result("b9", "x", "failure"),
        ];
        let eval = evaluated(r#"["b1", "b9"]"#, &results).scoped(&instance);
        assert_eq!(eval.official(), Score { passed: 1, total: 2 });
        assert_eq!(eval.listed(&instance), Score { passed: 1, total: 2 });
        assert_eq!(eval.warnings, ["Branch b1: x"]);
        assert!(eval.test_branch_errors.is_empty());
        let names: Vec<_> = eval.test_map().into_iter().collect();
        assert_eq!(names, [("b1/x".to_owned(), true), ("b1/y".to_owned(), false)]);
    }

    /// The three cases of docs: unlisted names, repeated names, a prefix.
    #[test]
    fn unlisted_and_repeated_results_move_the_official_score_only() {
        let (_dir, instance) = instance(TESTS);
        let score = |results: &[String]| {
            let eval = evaluated(r#"["b1"]"#, results).scoped(&instance);
            (
                eval.official().value(),
                eval.listed(&instance).value(),
                map_score(&eval.test_map()).value(),
            )
        };
        let mut padded: Vec<String> =
            (0..18).map(|i| result("b1", &format!("u{i}"), "passed")).collect();
        padded.extend(["x", "y"].map(|n| result("b1", n, "failure")));
        assert_eq!(score(&padded), (0.9, 0.0, 0.9));
        let repeated = [
            result("b1", "x", "passed"),
            result("b1", "y", "failure"),
            result("b1", "y", "failure"),
        ];
        assert_eq!(score(&repeated), (1.0 / 3.0, 0.5, 0.5));
        let flaky = [
            result("b1", "x", "failure"),
            result("b1", "x", "passed"),
            result("b1", "y", "passed"),
        ];
        assert_eq!(score(&flaky), (2.0 / 3.0, 0.5, 1.0));
        assert_eq!(score(&[]), (0.0, 0.0, 0.0));
    }

    #[test]
    fn what_the_official_models_refuse_is_refused() {
        for bad in [
            r#"{"extra_key": 1}"#,
            r#"{"test_results": [{"name": "x", "status": "passed"}]}"#,
            r#"{"test_results": [{"name": "x", "status": "ok", "extra": {}}]}"#,
            r#"{"test_results": [{"name": "x", "status": "passed", "extra": {}, "more": 1}]}"#,
            r#"{"log": [1]}"#,
            r#"{"test_branch_errors": {"b": [{"error_code": "x"}]}}"#,
            "[]",
            "",
        ] {
            let error = read(bad).unwrap_err().to_string();
            assert!(error.contains("x.eval.json"), "{bad}: {error}");
        }
        assert_eq!(read("{}").unwrap(), Evaluated::default());
    }

    #[test]
    fn headlines_are_over_the_whole_benchmark() {
        let h = Headline::of(&[1.0, 0.95, 0.5]);
        assert_eq!((h.mean_score, h.resolved_pct, h.near_resolved_pct), (0.0123, 0.5, 1.0));
        assert_eq!((h.attempted, h.benchmark), (3, 200));
        assert_eq!(Headline::of(&[]).mean_score, 0.0);
    }
}
