//! An `eval.json` split into a light one and its heavy part (`<id>.eval.log.json`), and made whole again.
//!
//! The heavy part is `{"log": […], "failures": {"branch/name": {"message", "text"}}}`, as the official tool writes it. That
//! form cannot tell results of the same name apart; where they differ we add `reenact_repeated`, which the official tool does
//! not read, so that what *we* put together again is what was there.

use super::error::SubmitError;
use super::fetch::{self, Expected};
use super::files::{EVAL_MAX, Entry, SMALL_MAX, entries, json, parse, plain_text};
use reenact_bundle::fsx::{fs_error, write_atomic};
use reenact_interop::programbench::python::Value;
use std::collections::HashMap;
use std::path::Path;

/// What moves out of a result's `extra`.
const HEAVY: [&str; 2] = ["message", "text"];
/// Our addition: `[{"index": place in test_results, "extra": {…}}]`.
const REPEATED: &str = "reenact_repeated";

/// What was put together.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Recombined {
    /// Tasks whose `eval.json` is whole again.
    pub tasks: Vec<String>,
    /// Of these, those whose heavy part was downloaded without a digest to check it with.
    pub unchecked: Vec<String>,
}

/// The light document and the heavy one; `None` if nothing in it is heavy.
pub(super) fn split(mut eval: Value) -> Option<(Value, Value)> {
    let log = eval.get("log").filter(|l| l.is_truthy()).cloned();
    let tests = eval.get("test_results").and_then(Value::as_list).unwrap_or_default();
    let is_heavy = |t: &Value| {
        t.get("extra").is_some_and(|extra| HEAVY.iter().any(|key| extra.get(key).is_some()))
    };
    if log.is_none() && !tests.iter().any(is_heavy) {
        return None;
    }
    let mut moved: Vec<(String, Value)> = Vec::new();
    if let Some(Value::List(tests)) = eval.get_mut("test_results") {
        for test in tests {
            let name = full_name(test);
            let mut out = Vec::new();
            if let Some(extra) = test.get_mut("extra") {
                for key in HEAVY {
                    out.extend(extra.pop(key).map(|value| (key.to_owned(), value)));
                }
            }
            moved.push((name, Value::Dict(out)));
        }
    }
    let mut failures: HashMap<&str, &Value> = HashMap::new();
    let mut order: Vec<&str> = Vec::new();
    for (name, extra) in moved.iter().filter(|(_, extra)| extra.is_truthy()) {
        if failures.insert(name, extra).is_none() {
            order.push(name);
        }
    }
    let repeated: Vec<Value> = moved
        .iter()
        .enumerate()
        .filter(|(_, (name, extra))| failures.get(name.as_str()).is_some_and(|f| *f != extra))
        .map(|(i, (_, extra))| {
            let index = Value::Int(i128::try_from(i).unwrap_or(i128::MAX));
            Value::Dict(vec![("index".to_owned(), index), ("extra".to_owned(), extra.clone())])
        })
        .collect();
    let failures = order.iter().map(|n| ((*n).to_owned(), failures[n].clone())).collect();
    let mut heavy = Value::Dict(vec![
        ("log".to_owned(), log.unwrap_or(Value::List(Vec::new()))),
        ("failures".to_owned(), Value::Dict(failures)),
    ]);
    if !repeated.is_empty() {
        heavy.set(REPEATED, Value::List(repeated));
    }
    eval.set("log", Value::List(Vec::new()));
    Some((eval, heavy))
}

/// The whole document.
pub(super) fn unite(mut light: Value, heavy: &Value) -> Value {
    light.set("log", heavy.get("log").cloned().unwrap_or(Value::List(Vec::new())));
    let failures: HashMap<&str, &Value> = heavy
        .get("failures")
        .and_then(Value::as_dict)
        .unwrap_or_default()
        .iter()
        .map(|(name, extra)| (name.as_str(), extra))
        .collect();
    let own: HashMap<i128, &Value> = heavy
        .get(REPEATED)
        .and_then(Value::as_list)
        .unwrap_or_default()
        .iter()
        .filter_map(|r| match (r.get("index"), r.get("extra")) {
            (Some(Value::Int(i)), Some(extra)) => Some((*i, extra)),
            _ => None,
        })
        .collect();
    if let Some(Value::List(tests)) = light.get_mut("test_results") {
        for (i, test) in (0..).zip(tests) {
            let name = full_name(test);
            let Some(added) = own.get(&i).or_else(|| failures.get(name.as_str())) else { continue };
            if test.get("extra").is_none() {
                test.set("extra", Value::Dict(Vec::new()));
            }
            if let Some(extra) = test.get_mut("extra") {
                for (key, value) in added.as_dict().unwrap_or_default() {
                    extra.set(key, value.clone());
                }
            }
        }
    }
    light
}

fn full_name(test: &Value) -> String {
    let text = |key| test.get(key).and_then(Value::as_str).unwrap_or_default();
    match text("branch") {
        "" => text("name").to_owned(),
        branch => format!("{branch}/{}", text("name")),
    }
}

/// Splits a task's `eval.json` in place. The heavy file is written first, so that a kill between the two loses nothing; one
/// that is there already is never written over by an `eval.json` that is light.
///
/// # Errors
/// [`SubmitError`].
pub(super) fn split_in_place(entry: &Entry) -> Result<bool, SubmitError> {
    let path = entry.eval_json();
    let Some((light, heavy)) = split(json(&path, EVAL_MAX)?) else { return Ok(false) };
    write_atomic(&entry.log_json(), heavy.dumps().as_bytes())?;
    write_atomic(&path, light.dumps_indented().as_bytes())?;
    Ok(true)
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
        let beside = |suffix: &str| entry.dir.join(format!("{}.eval.log.json{suffix}", entry.id));
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
        let whole = unite(json(&light, EVAL_MAX)?, &heavy);
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
    use proptest::prelude::*;

    fn value(text: &str) -> Value {
        Value::parse(text).unwrap()
    }

    #[test]
    fn the_two_parts_look_as_the_official_tool_writes_them() {
        let eval = value(
            r#"{"test_results": [{"name": "x", "branch": "b", "status": "failure", "extra": {"time": 0.5, "text": "t", "message": "m"}},
                {"name": "y", "branch": "", "status": "error", "extra": {"message": "é"}},
                {"name": "z", "branch": "b", "status": "passed", "extra": {}}], "log": [{"step": "compile"}], "warnings": []}"#,
        );
        let (light, heavy) = split(eval).unwrap();
        assert_eq!(
            heavy.dumps(),
            r#"{"log": [{"step": "compile"}], "failures": {"b/x": {"message": "m", "text": "t"}, "y": {"message": "\u00e9"}}}"#
        );
        assert_eq!(
            light.dumps(),
            r#"{"test_results": [{"name": "x", "branch": "b", "status": "failure", "extra": {"time": 0.5}}, {"name": "y", "branch": "", "status": "error", "extra": {}}, {"name": "z", "branch": "b", "status": "passed", "extra": {}}], "log": [], "warnings": []}"#
        );
        assert!(split(light).is_none(), "nothing heavy is left");
        assert!(split(value("{}")).is_none());
    }

    #[test]
    fn results_of_one_name_are_told_apart() {
        let eval = value(
            r#"{"test_results": [{"name": "x", "extra": {"message": "first"}}, {"name": "x", "extra": {}},
                {"name": "x", "extra": {"message": "last"}}], "log": []}"#,
        );
        let (light, heavy) = split(eval.clone()).unwrap();
        assert_eq!(heavy.get("failures").unwrap().dumps(), r#"{"x": {"message": "last"}}"#);
        assert_eq!(unite(light, &heavy).sorted(), eval.sorted());
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

    fn result() -> impl Strategy<Value = Value> {
        let extra = prop::collection::hash_map(
            prop::sample::select(vec!["time", "message", "text", "error_code"]),
            "\\PC{0,6}",
            0..4,
        );
        ("[xyz]", "[ab]?", extra).prop_map(|(name, branch, extra)| {
            let extra = extra.into_iter().map(|(k, v)| (k.to_owned(), Value::Str(v))).collect();
            Value::Dict(vec![
                ("name".into(), Value::Str(name)),
                ("branch".into(), Value::Str(branch)),
                ("status".into(), "failure".into()),
                ("extra".into(), Value::Dict(extra)),
            ])
        })
    }

    proptest! {
        #[test]
        fn nothing_is_lost(results in prop::collection::vec(result(), 0..8), logged in any::<bool>()) {
            let log = if logged { vec![value(r#"{"step": "compile", "output": "é\n"}"#)] } else { vec![] };
            let eval = Value::Dict(vec![
                ("test_results".into(), Value::List(results)),
                ("log".into(), Value::List(log)),
                ("warnings".into(), Value::List(vec![])),
            ]);
            if let Some((light, heavy)) = split(eval.clone()) {
                // Through their files, as they would be.
                let (light, heavy) = (value(&light.dumps_indented()), value(&heavy.dumps()));
                prop_assert!(split(light.clone()).is_none());
                prop_assert_eq!(unite(light, &heavy).sorted(), eval.sorted());
            }
        }
    }
}
