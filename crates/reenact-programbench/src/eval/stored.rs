//! What is stored of an instance, and in which order that is replaced.

use super::Item;
use super::error::EvalError;
use super::official::reprocess;
use super::partial::lock_instance;
use super::row::Row;
use super::sidecar::{SCHEMA, Sidecar};
use crate::submit;
use reenact_bundle::fsx::{fs_error, write_atomic};
use reenact_interop::programbench::EvalJson;
use std::path::{Path, PathBuf};

/// `<id>.eval.json`
pub(super) fn eval_path(run: &Path, id: &str) -> PathBuf {
    run.join(id).join(format!("{id}.eval.json"))
}

/// A stored official result.
///
/// # Errors
/// [`EvalError::BadResult`] if it is none.
pub fn load(run: &Path, id: &str) -> Result<Option<EvalJson>, EvalError> {
    let path = eval_path(run, id);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(fs_error(&path, "read")(e).into()),
    };
    parse(&path, &bytes).map(Some)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<EvalJson, EvalError> {
    serde_json::from_slice(bytes).map_err(|e| EvalError::BadResult {
        path: path.to_path_buf(),
        what: format!("is no official result: {e}"),
    })
}

fn store(run: &Path, id: &str, result: &EvalJson) -> Result<(), EvalError> {
    let path = eval_path(run, id);
    let text = result
        .to_json()
        .map_err(|e| EvalError::BadResult { path: path.clone(), what: e.to_string() })?;
    Ok(write_atomic(&path, text.as_bytes())?)
}

/// A result of which some branches will stay, with the log that was split from it by packaging; `None` if that is not here.
pub(super) fn whole(run: &Path, id: &str, existing: EvalJson) -> Option<EvalJson> {
    match submit::united(run, id) {
        Ok(submit::United::Unpackaged) => Some(existing),
        Ok(submit::United::Whole(text)) => parse(&eval_path(run, id), text.as_bytes()).ok(),
        Ok(submit::United::Elsewhere) | Err(_) => None,
    }
}

/// Replaces what is stored. Whatever ends this in between leaves a sidecar that says so, and the next evaluation begins anew:
/// the official result of one submission is never taken for another's.
pub(super) fn replace(
    run: &Path,
    result: &EvalJson,
    sidecar: &mut Sidecar,
) -> Result<(), EvalError> {
    let id = sidecar.instance.clone();
    let dir = run.join(&id);
    std::fs::create_dir_all(&dir).map_err(fs_error(&dir, "create"))?;
    sidecar.unfinished = true;
    sidecar.store(run)?;
    store(run, &id, result)?;
    // The log of the result before: put together with this one it would replace this one's.
    for suffix in ["", ".url", ".sha256"] {
        let path = dir.join(format!("{id}.eval.log.json{suffix}"));
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(fs_error(&path, "remove")(e).into());
            }
            _ => {}
        }
    }
    sidecar.unfinished = false;
    sidecar.store(run)
}

/// Reads what is stored, worked out again from its log where that is possible; nothing is run.
pub(super) fn summarize(item: &Item<'_>) -> Result<Option<Row>, EvalError> {
    let _lock = lock_instance(&item.target, item.id())?;
    let Some(existing) = load(&item.target, item.id())? else { return Ok(None) };
    summary(item, existing).map(Some)
}

/// The row of a stored result, both scores by today's lists.
pub(super) fn summary(item: &Item<'_>, existing: EvalJson) -> Result<Row, EvalError> {
    let result = match reprocess(&existing, item.instance) {
        Some(again) => {
            if again != existing {
                store(&item.target, item.id(), &again)?;
            }
            again
        }
        None => existing,
    };
    let sidecar = Sidecar::of(&item.target, item.id(), result.executable_hash.as_deref());
    let sidecar = match sidecar {
        Ok(stored) => {
            let mut today = stored.clone();
            today.rework(&result, item.instance);
            // An earlier version's says more than can be worked out of it.
            if today != stored && today.schema == SCHEMA {
                today.store(&item.target)?;
            }
            Ok(today)
        }
        Err(why) => Err(why),
    };
    Ok(Row::new(item, &result, sidecar.as_ref().map_err(Clone::clone)))
}

/// The form in which a submission is there whose archive is not.
pub(super) fn elsewhere(item: &Item<'_>) -> Option<PathBuf> {
    let dir = item.source.join(item.id());
    let forms = ["submission.tar.gz.url", "submission.ref.yaml"];
    forms.iter().map(|f| dir.join(f)).find(|p| p.symlink_metadata().is_ok())
}

#[cfg(test)]
mod tests {
    use super::super::Evidence;
    use super::super::official::Score;
    use super::super::sidecar::{KIND, Policy, SidecarBranch};
    use super::super::testing::instance;
    use super::*;
    use std::collections::BTreeMap;

    const ID: &str = "o__n.1234567";

    fn sidecar(executable: &str) -> Sidecar {
        let session = Some(Evidence::default());
        let branch = SidecarBranch { session, ..SidecarBranch::default() };
        Sidecar {
            schema: SCHEMA,
            kind: KIND.to_owned(),
            instance: ID.to_owned(),
            unfinished: false,
            harness: reenact_model::run::this_harness("0", None, false),
            evaluated_at: String::new(),
            official: Score::default(),
            strict: None,
            strict_missing: None,
            error_code: None,
            policy: Policy {
                network: "none".to_owned(),
                image_tag: String::new(),
                cpus: 1,
                compile_timeout_s: 1,
                test_timeout_s: 1,
                branch_retries: 1,
                accept_aliases: false,
            },
            isolation: BTreeMap::new(),
            image: None,
            submission: Some("the new one".to_owned()),
            executable: Some(executable.to_owned()),
            separate_runs: Vec::new(),
            branches: BTreeMap::from([("b".to_owned(), branch)]),
            differences: Vec::new(),
            build_s: 0.0,
            wall_s: 0.0,
            notes: Vec::new(),
        }
    }

    #[test]
    fn what_is_cut_short_between_the_two_files_belongs_to_neither() {
        let run = tempfile::tempdir().unwrap();
        let result = EvalJson { executable_hash: Some("e".to_owned()), ..EvalJson::default() };
        replace(run.path(), &result, &mut sidecar("e")).unwrap();
        assert!(Sidecar::of(run.path(), ID, Some("e")).is_ok());
        assert!(
            Sidecar::of(run.path(), ID, Some("other")).unwrap_err().contains("another program")
        );
        let heavy = run.path().join(ID).join(format!("{ID}.eval.log.json"));
        std::fs::write(&heavy, "{}").unwrap();
        replace(run.path(), &result, &mut sidecar("e")).unwrap();
        assert!(!heavy.exists(), "it is the log of the result before");
        // Here the second file cannot be written: a directory is in its place.
        let path = eval_path(run.path(), ID);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir_all(path.join("x")).unwrap();
        assert!(replace(run.path(), &result, &mut sidecar("e")).is_err());
        let cut = Sidecar::load(run.path(), ID).unwrap().unwrap();
        assert_eq!(cut.foreign(Some("e")), Some("storing its result was cut short"));
        assert_eq!(cut.submission.as_deref(), Some("the new one"));
    }

    #[test]
    fn a_row_follows_todays_lists() {
        use super::super::Told;
        let run = tempfile::tempdir().unwrap();
        let row = |lists: &[(&str, &[&str], &[&str])]| {
            let instance = instance(lists);
            let (source, target) = (run.path().to_path_buf(), run.path().to_path_buf());
            let item = Item { instance: &instance, source, target };
            summarize(&item).unwrap().unwrap()
        };
        let mut stored = sidecar("e");
        let told = [("m.a", Told::Passed), ("m.b", Told::Failed), ("m.c", Told::Passed)];
        let tests = told.map(|(n, t)| (n.to_owned(), t)).into();
        stored.branches.get_mut("b").unwrap().session =
            Some(Evidence { tests, ..Evidence::default() });
        let result = EvalJson {
            executable_hash: Some("e".to_owned()),
            test_branches: vec!["b".to_owned()],
            ..EvalJson::default()
        };
        replace(run.path(), &result, &mut stored).unwrap();
        let all = ["m.a", "m.b", "m.c"];
        assert_eq!(row(&[("b", &all, &[])]).strict, Some(Score { passed: 2, total: 3 }));
        // What was ignored then and is not now was told all the same.
        assert_eq!(row(&[("b", &all, &["m.b"])]).strict, Some(Score { passed: 2, total: 2 }));
        assert_eq!(row(&[("b", &all, &["m.a"])]).strict, Some(Score { passed: 1, total: 2 }));
        let kept = Sidecar::load(run.path(), ID).unwrap().unwrap();
        assert_eq!(kept.strict, Some(Score { passed: 1, total: 2 }));
        let more = row(&[("b", &all, &[]), ("new", &["m.x"], &[])]);
        assert_eq!(more.strict, None);
        assert_eq!(more.strict_missing.as_deref(), Some("new: not tested yet; evaluate it"));
        // The first form kept no tests.
        let first = Sidecar { schema: 1, ..stored };
        first.store(run.path()).unwrap();
        let old = row(&[("b", &all, &[])]);
        assert!(old.strict.is_none() && old.strict_missing.unwrap().contains("earlier version"));
        assert_eq!(Sidecar::load(run.path(), ID).unwrap().unwrap().schema, 1, "it stays as it is");
    }
}
