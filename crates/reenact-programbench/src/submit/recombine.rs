//! Packaged results in their files: split in place, and put together again.

use super::error::SubmitError;
use super::fetch::{self, Expected};
use super::files::{EVAL_MAX, Entry, SMALL_MAX, entries, json, parse, plain_text};
use super::split::{is_heavy, split, together, without_log};
use reenact_bundle::fsx::{fs_error, write_atomic};
use std::path::Path;

/// What was put together.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Recombined {
    /// Tasks whose `eval.json` is whole again.
    pub tasks: Vec<String>,
    /// Of these, those whose heavy part was downloaded without a digest to check it with.
    pub unchecked: Vec<String>,
}

/// Splits a task's `eval.json` in place. The heavy file is written first, so that a kill between the two loses nothing; what it
/// holds of branches that were not evaluated again since stays in it.
///
/// # Errors
/// [`SubmitError`].
pub(super) fn split_in_place(entry: &Entry) -> Result<bool, SubmitError> {
    let path = entry.eval_json();
    let mut eval = json(&path, EVAL_MAX)?;
    if !is_heavy(&eval) {
        return Ok(false);
    }
    if entry.log_json().symlink_metadata().is_ok() {
        eval = together(eval, &json(&entry.log_json(), EVAL_MAX)?);
    } else if beside(entry, ".url").symlink_metadata().is_ok() && !without_log(&eval).is_empty() {
        let what = "says where the log of branches is that were not evaluated again since\nput them together first: reenact programbench submit recombine";
        return Err(SubmitError::file(&beside(entry, ".url"), what));
    }
    let Some((light, heavy)) = split(eval) else { return Ok(false) };
    write_atomic(&entry.log_json(), heavy.dumps().as_bytes())?;
    write_atomic(&path, light.dumps_indented().as_bytes())?;
    Ok(true)
}

fn beside(entry: &Entry, suffix: &str) -> std::path::PathBuf {
    entry.dir.join(format!("{}.eval.log.json{suffix}", entry.id))
}

/// An `eval.json` and what was split from it.
pub(crate) enum United {
    /// Nothing was split from it.
    Unpackaged,
    /// The whole document.
    Whole(String),
    /// What was split from it is at some address.
    Elsewhere,
}

/// Reads a task's `eval.json` with what was split from it; writes nothing.
///
/// # Errors
/// [`SubmitError`] for a file that is no such document.
pub(crate) fn united(run: &Path, id: &str) -> Result<United, SubmitError> {
    let entry = Entry { id: id.to_owned(), dir: run.join(id) };
    if entry.log_json().symlink_metadata().is_ok() {
        let heavy = json(&entry.log_json(), EVAL_MAX)?;
        return Ok(United::Whole(together(json(&entry.eval_json(), EVAL_MAX)?, &heavy).dumps()));
    }
    let packaged = beside(&entry, ".url").symlink_metadata().is_ok();
    Ok(if packaged { United::Elsewhere } else { United::Unpackaged })
}

/// Makes every packaged `eval.json` of `run` whole, and removes its heavy part, with its `.url` and `.sha256`.
///
/// # Errors
/// [`SubmitError`] for the first task that cannot be; those before it are whole.
pub fn recombine(run: &Path) -> Result<Recombined, SubmitError> {
    let mut done = Recombined::default();
    for entry in entries(run)? {
        let (light, log) = (entry.eval_json(), entry.log_json());
        if !light.is_file() {
            continue;
        }
        let beside = |suffix: &str| beside(&entry, suffix);
        let heavy = if log.symlink_metadata().is_ok() {
            json(&log, EVAL_MAX)?
        } else if beside(".url").is_file() {
            let url = plain_text(&beside(".url"), SMALL_MAX)?;
            let expected = Expected::read(&beside(".sha256"))?;
            if expected.is_none() {
                done.unchecked.push(entry.id.clone());
            }
            let bytes = fetch::bytes(&url, expected.as_ref(), EVAL_MAX)?;
            let text = String::from_utf8(bytes)
                .map_err(|_| SubmitError::file(&beside(".url"), "gave a file that is not UTF-8"))?;
            parse(&beside(".url"), &text)?
        } else {
            continue;
        };
        let whole = together(json(&light, EVAL_MAX)?, &heavy);
        write_atomic(&light, whole.dumps_indented().as_bytes())?;
        for path in [log, beside(".url"), beside(".sha256")] {
            if path.symlink_metadata().is_ok() {
                std::fs::remove_file(&path).map_err(fs_error(&path, "remove"))?;
            }
        }
        done.tasks.push(entry.id);
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use reenact_interop::programbench::python::Value;

    fn value(text: &str) -> Value {
        Value::parse(text).unwrap()
    }

    #[test]
    fn a_heavy_part_that_was_uploaded_is_fetched_and_checked() {
        let run = tempfile::tempdir().unwrap();
        let dir = run.path().join("o__a.1");
        std::fs::create_dir(&dir).unwrap();
        let at = |suffix: &str| dir.join(format!("o__a.1.eval{suffix}"));
        let eval = value(r#"{"test_results": [], "log": [{"step": "compile"}]}"#);
        let (light, heavy) = split(eval.clone()).unwrap();
        let bytes = heavy.dumps().into_bytes();
        std::fs::write(at(".json"), light.dumps_indented()).unwrap();
        std::fs::write(at(".log.json.url"), fetch::stub::server(fetch::stub::ok(b"{}"))).unwrap();
        std::fs::write(at(".log.json.sha256"), fetch::hex_of(&bytes)).unwrap();
        let error = recombine(run.path()).unwrap_err().to_string();
        assert!(error.contains("SHA-256"), "{error}");
        assert!(at(".log.json.url").exists());
        std::fs::write(at(".log.json.url"), fetch::stub::server(fetch::stub::ok(&bytes))).unwrap();
        let done = recombine(run.path()).unwrap();
        assert_eq!((done.tasks.len(), done.unchecked.len()), (1, 0));
        assert_eq!(json(&at(".json"), EVAL_MAX).unwrap().sorted(), eval.sorted());
        assert!(!at(".log.json.url").exists() && !at(".log.json.sha256").exists());
    }

    /// Branches `a` and `b`; what `a` said is `text`.
    fn evaluated(text: &str) -> Value {
        value(&format!(
            r#"{{"test_results": [
                {{"name": "x", "branch": "b", "status": "failure", "extra": {{"message": "first"}}}},
                {{"name": "x", "branch": "a", "status": "failure", "extra": {{"message": "{text}"}}}},
                {{"name": "x", "branch": "b", "status": "failure", "extra": {{"message": "second", "text": "t"}}}}],
              "log": [{{"step": "compile"}}, {{"step": "run", "branch": "a", "output": "{text}"}}, {{"step": "run", "branch": "b"}}],
              "error_code": null, "test_branches": ["a", "b"]}}"#
        ))
    }

    #[test]
    fn what_is_packaged_again_keeps_the_log_of_branches_that_stayed() {
        let run = tempfile::tempdir().unwrap();
        let entry = Entry { id: "o__a.1".into(), dir: run.path().join("o__a.1") };
        let put = |eval: &Value| {
            std::fs::create_dir_all(&entry.dir).unwrap();
            std::fs::write(entry.eval_json(), eval.dumps_indented()).unwrap();
        };
        put(&evaluated("old"));
        assert!(split_in_place(&entry).unwrap());
        // Another tool evaluates `a` again, on the light document: it has no texts of `b`, and other places for its results.
        let again = r#"{"test_results": [
                {"name": "x", "branch": "b", "status": "failure", "extra": {}},
                {"name": "x", "branch": "b", "status": "failure", "extra": {}},
                {"name": "x", "branch": "a", "status": "passed", "extra": {}}],
              "log": [{"step": "compile"}, {"step": "run", "branch": "a", "output": "new"}],
              "error_code": null, "test_branches": ["a", "b"]}"#;
        put(&value(again));
        assert!(split_in_place(&entry).unwrap());
        // Cut short between the two files, and done again.
        put(&value(again));
        assert!(split_in_place(&entry).unwrap());
        assert!(!split_in_place(&entry).unwrap(), "nothing heavy is left");
        assert_eq!(recombine(run.path()).unwrap().tasks, ["o__a.1"]);
        let whole = json(&entry.eval_json(), EVAL_MAX).unwrap();
        let results = whole.get("test_results").unwrap().as_list().unwrap();
        let extras: Vec<String> = results.iter().map(|t| t.get("extra").unwrap().dumps()).collect();
        assert_eq!(
            extras,
            [r#"{"message": "first"}"#, r#"{"message": "second", "text": "t"}"#, "{}"]
        );
        let log = whole.get("log").unwrap().dumps();
        assert_eq!(log.matches("compile").count(), 2, "{log}");
        assert!(log.contains(r#""branch": "b""#) && log.contains("new"), "{log}");
        // What was evaluated wholly anew has nothing to do with what was split before.
        put(&evaluated("old"));
        split_in_place(&entry).unwrap();
        put(&evaluated("anew"));
        split_in_place(&entry).unwrap();
        assert!(!std::fs::read_to_string(entry.log_json()).unwrap().contains("old"));
        put(&evaluated("last"));
        recombine(run.path()).unwrap();
        assert_eq!(
            json(&entry.eval_json(), EVAL_MAX).unwrap().sorted(),
            evaluated("last").sorted()
        );
        // A branch that was tested again and gave nothing has nothing of before either.
        put(&evaluated("old"));
        split_in_place(&entry).unwrap();
        put(&value(
            r#"{"test_results": [
                {"name": "x", "branch": "b", "status": "failure", "extra": {}},
                {"name": "x", "branch": "b", "status": "failure", "extra": {}},
                {"name": "x", "branch": "a", "status": "not_run", "extra": {}}],
              "log": [{"step": "compile"}], "test_branches": ["a", "b"], "test_branch_errors": {"a": [{"error_code": "e"}]}}"#,
        ));
        split_in_place(&entry).unwrap();
        let heavy = json(&entry.log_json(), EVAL_MAX).unwrap();
        let failures = heavy.get("failures").unwrap();
        assert!(failures.get("b/x").is_some() && failures.get("a/x").is_none());
        std::fs::remove_file(entry.log_json()).unwrap();
        // And what is at an address is asked for first.
        put(&value(again));
        std::fs::write(beside(&entry, ".url"), "http://127.0.0.1:9/x").unwrap();
        let error = split_in_place(&entry).unwrap_err().to_string();
        assert!(error.contains("recombine"), "{error}");
    }
}
