//! A submission checked against its own artifacts: that its scores follow from its results (tier 0), and its results from its
//! submissions (tier 1).

use super::artifact;
use super::error::SubmitError;
use super::fetch::{Expected, sha256};
use super::files::{Entry, STATS_MAX, entries, json};
use super::score::{Evaluated, map_score};
use crate::dataset::{Dataset, Instance, Select};
use reenact_interop::programbench::python::{Value, round};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Scores of tier 1 may differ by this, for the sake of their representation.
const TOLERANCE: f64 = 1e-6;

/// One claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The task's id.
    pub task: String,
    pub claimed: String,
    pub found: String,
    pub ok: bool,
    /// It could not be checked, for reasons that are not the submission's; then it is not `ok` either.
    pub undone: bool,
}

/// What was checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    pub tier: u8,
    pub checks: Vec<Check>,
    /// What is not wrong, but should be known.
    pub notes: Vec<String>,
}

impl Verified {
    /// Whether there were checks, and all of them held.
    pub fn ok(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|c| c.ok)
    }

    /// Whether all that could be checked held, and something could not be.
    pub fn undone(&self) -> bool {
        self.checks.iter().any(|c| c.undone) && self.checks.iter().all(|c| c.ok || c.undone)
    }
}

/// Evaluates a run directory anew, in place: how tier 1 reaches the evaluation engine. Gives, by id, why tasks could not be
/// evaluated; an error is what ends it all.
pub type Evaluate<'a> = &'a mut dyn FnMut(&Path) -> Result<BTreeMap<String, String>, SubmitError>;

/// Tier 0: every task of `_stats/score.json` is computed again from its `eval.json`; digests of submissions are checked.
///
/// # Errors
/// [`SubmitError`] if the submission cannot be read at all. One task's trouble is a check that failed.
pub fn verify(dir: &Path, tasks: &Dataset) -> Result<Verified, SubmitError> {
    let present = entries(dir)?;
    let path = dir.join("_stats/score.json");
    if path.symlink_metadata().is_err() {
        let what = "is not there: package the run first (reenact programbench submit package)";
        return Err(SubmitError::file(&path, what));
    }
    let stored = json(&path, STATS_MAX)?;
    let Some(stored) = stored.as_dict() else {
        return Err(SubmitError::file(&path, "is no object of tasks"));
    };
    let mut out = Verified::default();
    let stored: BTreeMap<&str, &Value> = stored.iter().map(|(k, v)| (k.as_str(), v)).collect();
    for (id, claim) in &stored {
        let entry = present.iter().find(|e| e.id == *id);
        out.checks.push(tier0(id, claim, entry, tasks));
        out.checks.extend(entry.and_then(digest_check));
    }
    for entry in &present {
        if !stored.contains_key(entry.id.as_str()) && entry.has_submission() {
            let why = if entry.eval_json().is_file() { "" } else { ", and was not evaluated" };
            out.notes.push(format!("{}: is not in score.json{why}", entry.id));
        }
    }
    Ok(out)
}

fn tier0(id: &str, claim: &Value, entry: Option<&Entry>, tasks: &Dataset) -> Check {
    let map = claimed_map(claim);
    let claimed = match &map {
        Some(map) => passed(map),
        None => "no map of tests".to_owned(),
    };
    let check = |found: String, ok| Check {
        task: id.to_owned(),
        claimed: claimed.clone(),
        found,
        ok,
        undone: false,
    };
    let Some(entry) = entry.filter(|e| e.eval_json().symlink_metadata().is_ok()) else {
        return check("no eval.json".to_owned(), false);
    };
    let Some(instance) = tasks.get(id).filter(|i| !i.is_fixture()) else {
        return check("no task of the benchmark, or not imported here".to_owned(), false);
    };
    match Evaluated::read(&entry.eval_json()) {
        Err(e) => check(e.to_string(), false),
        Ok(eval) => {
            let computed = eval.scoped(instance).test_map();
            let ok = map.as_ref() == Some(&computed);
            check(passed(&computed), ok)
        }
    }
}

fn claimed_map(claim: &Value) -> Option<BTreeMap<String, bool>> {
    // In Python 1 is True.
    let flag = |value: &Value| match value {
        Value::Bool(b) => Some(*b),
        Value::Int(0) => Some(false),
        Value::Int(1) => Some(true),
        _ => None,
    };
    claim.as_dict()?.iter().map(|(name, v)| Some((name.clone(), flag(v)?))).collect()
}

fn passed(map: &BTreeMap<String, bool>) -> String {
    let score = map_score(map);
    format!("{}/{} passed", score.passed, score.total)
}

/// That a submission's bytes are those of its `.sha256`, where both are here.
fn digest_check(entry: &Entry) -> Option<Check> {
    let archive = entry.dir.join("submission.tar.gz");
    if !archive.is_file() {
        return None;
    }
    let check = |claimed: String, found: String, ok| {
        Some(Check { task: entry.id.clone(), claimed, found, ok, undone: false })
    };
    let expected = match Expected::read(&entry.dir.join("submission.tar.gz.sha256")) {
        Ok(expected) => expected?,
        Err(e) => return check("submission.tar.gz.sha256".to_owned(), e.to_string(), false),
    };
    match sha256(&archive) {
        Err(e) => check("submission.tar.gz".to_owned(), e.to_string(), false),
        Ok(got) => expected
            .mismatch(&got)
            .and_then(|what| check("submission.tar.gz".to_owned(), what, false)),
    }
}

/// Tier 1: submissions are fetched or copied, evaluated anew, and scored; only those whose id passes `select`. One task's
/// trouble is a check that failed, or one that could not be done.
///
/// # Errors
/// [`SubmitError`] if there is nothing to check, or the evaluation as a whole could not be done.
pub fn verify_tier1(
    dir: &Path,
    tasks: &Dataset,
    select: &Select,
    evaluate: Evaluate<'_>,
) -> Result<Verified, SubmitError> {
    let mut out = Verified { tier: 1, ..Verified::default() };
    let work = tempfile::tempdir()
        .map_err(|e| SubmitError::Evaluation(format!("no temporary directory: {e}")))?;
    let mut targets = Vec::new();
    for entry in entries(dir)? {
        let Some(instance) = tasks.get(&entry.id).filter(|i| !i.is_fixture()) else { continue };
        if !entry.eval_json().is_file() || !select.matches_id(&entry.id) {
            continue;
        }
        match claim(&entry, instance, work.path(), &mut out.notes) {
            Ok(claimed) => targets.push((entry, instance, claimed)),
            Err(SubmitError::Cancelled) => return Err(SubmitError::Cancelled),
            Err(e) => out.checks.push(Check {
                task: entry.id,
                claimed: "its eval.json and its submission".to_owned(),
                found: e.to_string(),
                ok: false,
                undone: !e.is_usage() && !matches!(e, SubmitError::Fetch { .. }),
            }),
        }
    }
    if targets.is_empty() && out.checks.is_empty() {
        return Err(SubmitError::NoRun(dir.to_path_buf()));
    }
    let failed = if targets.is_empty() { BTreeMap::new() } else { evaluate(work.path())? };
    for (entry, instance, claimed) in targets {
        let again = work.path().join(&entry.id).join(format!("{}.eval.json", entry.id));
        let (found, ok) = match (failed.get(&entry.id), Evaluated::read(&again)) {
            (Some(why), _) => (why.clone(), false),
            (None, Err(_)) if !again.exists() => ("no result".to_owned(), false),
            (None, Err(e)) => (e.to_string(), false),
            (None, Ok(eval)) => {
                let score = map_score(&eval.scoped(instance).test_map()).value();
                (round(score, 4).to_string(), (score - claimed).abs() <= TOLERANCE)
            }
        };
        let (claimed, undone) =
            (round(claimed, 4).to_string(), failed.contains_key(&entry.id) || !again.exists());
        out.checks.push(Check { task: entry.id, claimed, found, ok, undone });
    }
    out.checks.sort_by(|a, b| a.task.cmp(&b.task));
    Ok(out)
}

/// The score that a task's `eval.json` claims, and its submission put into a directory of its own in `work`.
fn claim(
    entry: &Entry,
    instance: &Instance,
    work: &Path,
    notes: &mut Vec<String>,
) -> Result<f64, SubmitError> {
    let claimed = Evaluated::read(&entry.eval_json())?.scoped(instance).test_map();
    let fresh = work.join(&entry.id);
    std::fs::create_dir(&fresh).map_err(reenact_bundle::fsx::fs_error(&fresh, "create"))?;
    let archive = fresh.join("submission.tar.gz");
    let made = artifact::materialise(entry, &archive);
    if made.is_err() {
        // A part of it would be evaluated.
        let _removed = std::fs::remove_dir_all(&fresh);
    }
    notes.extend(made?);
    Ok(map_score(&claimed).value())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Place;
    use crate::submit::fetch::hex_of;

    const EVAL: &str = r#"{"test_branches": ["b"], "test_results": [
        {"name": "x", "branch": "b", "status": "passed", "extra": {}}, {"name": "y", "branch": "b", "status": "failure", "extra": {}}]}"#;

    struct Stage {
        dir: tempfile::TempDir,
        tasks: Dataset,
    }

    impl Stage {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let write = |path: &str, text: &str| {
                let path = dir.path().join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            };
            for id in ["o__a.1", "o__b.2"] {
                write(
                    &format!("tasks/{id}/task.yaml"),
                    "repository: o/a\ncommit: a\nlanguage: c\n",
                );
                write(
                    &format!("tasks/{id}/tests.json"),
                    r#"{"branches": {"b": {"tests": ["x", "y"]}}}"#,
                );
                write(&format!("sub/{id}/{id}.eval.json"), EVAL);
                write(&format!("sub/{id}/submission.tar.gz"), id);
            }
            let map = r#"{"b/x": true, "b/y": false}"#;
            write("sub/_stats/score.json", &format!(r#"{{"o__a.1": {map}, "o__b.2": {map}}}"#));
            let tasks = dir.path().join("tasks");
            let tasks =
                Dataset::open_selected(&tasks, &Select::default(), &Place::default()).unwrap();
            Self { dir, tasks }
        }

        fn sub(&self) -> std::path::PathBuf {
            self.dir.path().join("sub")
        }
    }

    #[test]
    fn claims_are_computed_again_and_digests_checked() {
        let s = Stage::new();
        assert!(verify(&s.sub(), &s.tasks).unwrap().ok());
        std::fs::write(s.sub().join("o__a.1/submission.tar.gz.sha256"), hex_of(b"o__a.1")).unwrap();
        assert!(verify(&s.sub(), &s.tasks).unwrap().ok());
        std::fs::write(s.sub().join("o__a.1/submission.tar.gz"), "another").unwrap();
        std::fs::remove_file(s.sub().join("o__b.2/o__b.2.eval.json")).unwrap();
        let found = verify(&s.sub(), &s.tasks).unwrap();
        let bad: Vec<_> = found.checks.iter().filter(|c| !c.ok).map(|c| c.found.clone()).collect();
        assert_eq!(bad.len(), 2, "{bad:?}");
        assert!(bad[0].contains("SHA-256") && bad[1] == "no eval.json", "{bad:?}");
        let score = s.sub().join("_stats/score.json");
        std::fs::write(&score, r#"{"o__a.1": 0.5, "o__z.9": {}}"#).unwrap();
        let found = verify(&s.sub(), &s.tasks).unwrap();
        assert_eq!(found.checks[0].claimed, "no map of tests");
        assert!(found.checks.iter().all(|c| !c.ok), "{found:?}");
        assert_eq!(found.notes, ["o__b.2: is not in score.json, and was not evaluated"]);
        std::fs::write(&score, "{}").unwrap();
        assert!(!verify(&s.sub(), &s.tasks).unwrap().ok(), "nothing was checked");
    }

    #[test]
    fn submissions_are_evaluated_anew_in_a_directory_of_their_own() {
        let s = Stage::new();
        let mut evaluate = |run: &Path| {
            for id in ["o__a.1", "o__b.2"] {
                let archive =
                    std::fs::read_to_string(run.join(id).join("submission.tar.gz")).unwrap();
                assert_eq!(archive, id);
                let eval = if id == "o__a.1" {
                    EVAL.to_owned()
                } else {
                    EVAL.replace("failure", "passed")
                };
                std::fs::write(run.join(id).join(format!("{id}.eval.json")), eval).unwrap();
            }
            Ok(BTreeMap::new())
        };
        let found = verify_tier1(&s.sub(), &s.tasks, &Select::default(), &mut evaluate).unwrap();
        let checks: Vec<_> =
            found.checks.iter().map(|c| (c.claimed.as_str(), c.found.as_str(), c.ok)).collect();
        assert_eq!(checks, [("0.5", "0.5", true), ("0.5", "1", false)]);

        let only = Select::new("o__a", &[], &[], "").unwrap();
        let nothing =
            verify_tier1(&s.sub(), &s.tasks, &only, &mut |_| Ok(BTreeMap::new())).unwrap();
        assert_eq!(nothing.checks.len(), 1);
        assert_eq!(nothing.checks[0].found, "no result");
        assert!(nothing.undone());
        let failed = verify_tier1(&s.sub(), &s.tasks, &only, &mut |_| {
            Err(SubmitError::Evaluation("no store".to_owned()))
        });
        assert!(failed.unwrap_err().to_string().contains("no store"));
    }

    #[test]
    fn one_tasks_trouble_does_not_discard_the_others() {
        let s = Stage::new();
        let mut evaluate = |run: &Path| {
            std::fs::write(run.join("o__a.1/o__a.1.eval.json"), EVAL).unwrap();
            Ok(BTreeMap::from([("o__b.2".to_owned(), "no image".to_owned())]))
        };
        let mut brief = || {
            let found =
                verify_tier1(&s.sub(), &s.tasks, &Select::default(), &mut evaluate).unwrap();
            let brief: Vec<_> =
                found.checks.iter().map(|c| (c.found.clone(), c.ok, c.undone)).collect();
            (brief, found.undone())
        };
        let undone = ("no image".to_owned(), false, true);
        assert_eq!(brief(), (vec![("0.5".to_owned(), true, false), undone.clone()], true));
        // A submission whose bytes are others is its own fault, and the other one is checked all the same.
        std::fs::write(s.sub().join("o__a.1/submission.tar.gz.sha256"), hex_of(b"x")).unwrap();
        let mut evaluate = |run: &Path| {
            assert!(!run.join("o__a.1").exists(), "it would be evaluated");
            Ok(BTreeMap::from([("o__b.2".to_owned(), "no image".to_owned())]))
        };
        let found = verify_tier1(&s.sub(), &s.tasks, &Select::default(), &mut evaluate).unwrap();
        assert!(found.checks[0].found.contains("SHA-256") && !found.checks[0].undone);
        assert!(found.checks[1].undone && !found.undone() && !found.ok());
        let stopped = verify_tier1(&s.sub(), &s.tasks, &Select::default(), &mut |_| {
            Err(SubmitError::Cancelled)
        });
        assert!(matches!(stopped, Err(SubmitError::Cancelled)));
    }
}
