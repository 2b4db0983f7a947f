//! The scores of an evaluated run directory. No task leaves the table in silence.

use super::error::SubmitError;
use super::files::{Entry, entries};
use super::score::{Evaluated, Headline, Score, total};
use crate::dataset::{Dataset, Instance};
use crate::eval::Sidecar;
use reenact_interop::programbench::Status;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// The table.
#[derive(Clone, Debug, Serialize)]
pub struct Info {
    /// By id.
    pub rows: Vec<InfoRow>,
    /// Mean official score of the tasks that have one: the official tool's "Average".
    pub average: f64,
    /// The same scores over the whole benchmark.
    pub headline: Headline,
}

/// One task's directory.
#[derive(Clone, Debug, Serialize)]
pub struct InfoRow {
    pub id: String,
    /// Whether the list of its tests is here; without it nothing can be dropped from its results.
    pub known: bool,
    #[serde(flatten)]
    pub standing: Standing,
}

/// What is known of a task.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "standing", rename_all = "snake_case")]
pub enum Standing {
    /// It has an `eval.json`.
    Evaluated {
        /// By the official arithmetic.
        official: Score,
        /// Over the names that count, each once, from the same results.
        listed: Option<Score>,
        /// From results that the submission cannot write, by today's lists; where Reenact evaluated it.
        strict: Option<Score>,
        /// Why there is no strict score.
        strict_missing: Option<String>,
        /// Why nothing was tested.
        error_code: Option<String>,
        /// Codes by branch.
        branch_errors: BTreeMap<String, Vec<String>>,
        system_errors: usize,
        warnings: usize,
    },
    /// There is a submission, and no `eval.json`.
    NotEvaluated,
    /// There is an `eval.json` that cannot be read.
    Unreadable { error: String },
}

/// Reads the scores of `run`.
///
/// # Errors
/// [`SubmitError::NoRun`], [`SubmitError::Missing`]. One task's broken `eval.json` is a row.
pub fn info(run: &Path, tasks: &Dataset) -> Result<Info, SubmitError> {
    let mut rows = Vec::new();
    for entry in entries(run)? {
        let evaluated = entry.eval_json().symlink_metadata().is_ok();
        if !evaluated && !entry.has_submission() {
            continue;
        }
        let known = tasks.get(&entry.id).is_some();
        let standing = if evaluated {
            standing(run, &entry, tasks)
                .unwrap_or_else(|e| Standing::Unreadable { error: e.to_string() })
        } else {
            Standing::NotEvaluated
        };
        rows.push(InfoRow { id: entry.id, known, standing });
    }
    if rows.is_empty() {
        return Err(SubmitError::NoRun(run.to_path_buf()));
    }
    let scores: Vec<f64> = rows.iter().filter_map(|r| r.official().map(Score::value)).collect();
    let average = if scores.is_empty() { 0.0 } else { total(&scores) / scores.len() as f64 };
    let counted: Vec<f64> = rows
        .iter()
        .filter(|r| r.known && !r.id.starts_with(crate::dataset::FIXTURE_PREFIX))
        .filter_map(|r| r.official().map(Score::value))
        .collect();
    Ok(Info { rows, average, headline: Headline::of(&counted) })
}

impl InfoRow {
    /// The official score, if it has one.
    pub fn official(&self) -> Option<Score> {
        match &self.standing {
            Standing::Evaluated { official, .. } => Some(*official),
            _ => None,
        }
    }
}

fn standing(run: &Path, entry: &Entry, tasks: &Dataset) -> Result<Standing, SubmitError> {
    let mut eval = Evaluated::read(&entry.eval_json())?;
    let instance = tasks.get(&entry.id);
    if let Some(instance) = instance {
        eval = eval.scoped(instance);
    }
    let system_errors =
        eval.test_results.iter().filter(|t| t.status == Status::SystemError).count();
    let codes = |errors: &[reenact_interop::programbench::TestBranchError]| {
        errors.iter().map(|e| e.error_code.clone()).collect()
    };
    let (strict, strict_missing) = match strict(run, entry, &eval, instance) {
        Ok(score) => (Some(score), None),
        Err(why) => (None, Some(why)),
    };
    Ok(Standing::Evaluated {
        official: eval.official(),
        listed: instance.map(|i| eval.listed(i)),
        strict,
        strict_missing,
        branch_errors: eval.test_branch_errors.iter().map(|(b, e)| (b.clone(), codes(e))).collect(),
        system_errors,
        warnings: eval.warnings.len(),
        error_code: eval.error_code,
    })
}

/// The strict score, from what `eval` left beside its `eval.json`, by today's lists.
///
/// # Errors
/// Why it is not known: there is nothing beside it, or that is about another program.
fn strict(
    run: &Path,
    entry: &Entry,
    eval: &Evaluated,
    instance: Option<&Instance>,
) -> Result<Score, String> {
    let sidecar = Sidecar::of(run, &entry.id, eval.executable_hash.as_deref())?;
    let Some(instance) = instance else {
        return Err("the list of its tests is not here".to_owned());
    };
    sidecar.strict_today(instance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Place, Select};

    #[test]
    fn no_task_with_a_submission_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        for id in ["o__a.1", "o__b.2"] {
            write(&format!("tasks/{id}/task.yaml"), "repository: o/a\ncommit: a\nlanguage: c\n");
            write(
                &format!("tasks/{id}/tests.json"),
                r#"{"branches": {"b1": {"tests": ["x", "y"]}}}"#,
            );
        }
        let open = || {
            let tasks = dir.path().join("tasks");
            Dataset::open_selected(&tasks, &Select::default(), &Place::default()).unwrap()
        };
        let run = dir.path().join("run");
        assert!(matches!(info(&run, &open()), Err(SubmitError::Missing(_))));
        write("run/_stats/score.json", "{}");
        assert!(matches!(info(&run, &open()), Err(SubmitError::NoRun(_))));
        write("run/o__a.1/submission.tar.gz", "x");
        write(
            "run/o__b.2/o__b.2.eval.json",
            r#"{"executable_hash": "aa", "test_branches": ["b1"], "test_results": [{"name": "x", "branch": "b1", "status": "passed", "extra": {}}]}"#,
        );
        let sidecar = |hash: &str| {
            let harness = reenact_model::run::this_harness("0", None, false);
            serde_json::json!({
                "schema": 2, "kind": "programbench-eval", "instance": "o__b.2", "harness": harness,
                "evaluated_at": "", "official": {"passed": 1, "total": 1}, "strict": {"passed": 1, "total": 2},
                "executable": hash, "policy": {"network": "none", "image_tag": "", "cpus": 1, "compile_timeout_s": 1,
                "test_timeout_s": 1, "branch_retries": 1, "accept_aliases": false}, "isolation": {},
                "separate_runs": [], "branches": {"b1": {"strict": null, "session": {"tests": {"x": "passed", "z": "passed"},
                "begun": true, "ended": true, "hidden": true, "foreign": 0, "not_collected": [], "versions": null},
                "separate_run": false, "wall_s": 0.0, "notes": []}}, "differences": [], "build_s": 0.0, "wall_s": 0.0, "notes": [],
            })
            .to_string()
        };
        write("run/o__b.2/o__b.2.reenact.json", &sidecar("aa"));
        write("run/o__c.3/o__c.3.eval.json", r#"{"error_code": "compile_failed"}"#);
        write("run/o__d.4/o__d.4.eval.json", "{");
        write("run/notes/readme.txt", "x");
        let got = info(&run, &open()).unwrap();
        let ids: Vec<_> = got.rows.iter().map(|r| (r.id.as_str(), r.known)).collect();
        assert_eq!(ids, [("o__a.1", true), ("o__b.2", true), ("o__c.3", false), ("o__d.4", false)]);
        assert!(matches!(got.rows[0].standing, Standing::NotEvaluated));
        let Standing::Evaluated { official, listed, strict, .. } = &got.rows[1].standing else {
            panic!("{got:?}")
        };
        let half = Some(Score { passed: 1, total: 2 });
        assert_eq!((official.value(), *listed, *strict), (1.0, half, half));
        assert!(
            matches!(&got.rows[3].standing, Standing::Unreadable { error } if error.contains("o__d.4.eval.json"))
        );
        // Another list of tests, and what was told gives another score.
        let lists = |tests: &str| {
            write("tasks/o__b.2/tests.json", &format!(r#"{{"branches": {{"b1": {tests}}}}}"#));
            match info(&run, &open()).unwrap().rows.remove(1).standing {
                Standing::Evaluated { strict, strict_missing, .. } => (strict, strict_missing),
                other => panic!("{other:?}"),
            }
        };
        let off = r#"{"tests": ["x", "y", "z"], "ignored_tests": [{"name": "y", "reasons": []}]}"#;
        assert_eq!(lists(off), (Some(Score { passed: 2, total: 2 }), None));
        let more = r#"{"tests": ["x"]}, "b2": {"tests": ["x"]}"#;
        assert_eq!(lists(more), (None, Some("b2: not tested yet; evaluate it".to_owned())));
        lists(r#"{"tests": ["x", "y"]}"#);
        let unfinished = sidecar("aa").replacen('{', r#"{"unfinished": true,"#, 1);
        write("run/o__b.2/o__b.2.reenact.json", &unfinished);
        let cut = lists(r#"{"tests": ["x", "y"]}"#);
        assert!(cut.0.is_none() && cut.1.unwrap().contains("cut short"));
        write("run/o__b.2/o__b.2.reenact.json", &sidecar("bb"));
        let stale = info(&run, &open()).unwrap();
        assert!(matches!(stale.rows[1].standing, Standing::Evaluated { strict: None, .. }));
        assert_eq!((got.average, got.headline.mean_score, got.headline.attempted), (0.5, 0.005, 1));
    }
}
