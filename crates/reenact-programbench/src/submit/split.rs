//! An `eval.json` split into a light one and its heavy part (`<id>.eval.log.json`), and made whole again.
//!
//! The heavy part is `{"log": […], "failures": {"branch/name": {"message", "text"}}}`, as the official tool writes it. That
//! form cannot tell results of the same name apart; where they differ we add `reenact_repeated`, which the official tool does
//! not read, so that what *we* put together again is what was there.

use reenact_interop::programbench::python::Value;
use std::collections::{HashMap, HashSet};

/// What moves out of a result's `extra`.
const HEAVY: [&str; 2] = ["message", "text"];
/// Our addition: `[{"index": place in test_results, "name": "branch/name", "nth": which of this name, "extra": {…}}]`.
const REPEATED: &str = "reenact_repeated";

/// Whether anything is in it that packaging moves out.
pub(super) fn is_heavy(eval: &Value) -> bool {
    let tests = eval.get("test_results").and_then(Value::as_list).unwrap_or_default();
    let has = |t: &Value| {
        t.get("extra").is_some_and(|extra| HEAVY.iter().any(|key| extra.get(key).is_some()))
    };
    eval.get("log").is_some_and(Value::is_truthy) || tests.iter().any(has)
}

/// The light document and the heavy one; `None` if nothing in it is heavy.
pub(super) fn split(mut eval: Value) -> Option<(Value, Value)> {
    if !is_heavy(&eval) {
        return None;
    }
    let log = eval.get("log").filter(|l| l.is_truthy()).cloned();
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
    let mut counts: HashMap<&str, i128> = HashMap::new();
    let repeated: Vec<Value> = (0..)
        .zip(&moved)
        .map(|(i, (name, extra))| (i, name, extra, counted(&mut counts, name)))
        .filter(|(_, name, extra, _)| failures.get(name.as_str()).is_some_and(|f| f != extra))
        .map(|(i, name, extra, nth)| {
            Value::Dict(vec![
                ("index".to_owned(), Value::Int(i)),
                ("name".to_owned(), Value::Str(name.clone())),
                ("nth".to_owned(), Value::Int(nth)),
                ("extra".to_owned(), extra.clone()),
            ])
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

/// What a heavy part tells of failing tests, by name.
fn failures(heavy: &Value) -> HashMap<&str, &Value> {
    let told = heavy.get("failures").and_then(Value::as_dict).unwrap_or_default();
    told.iter().map(|(name, extra)| (name.as_str(), extra)).collect()
}

/// The whole document, of a light one and its own heavy part.
fn unite(mut light: Value, heavy: &Value) -> Value {
    light.set("log", heavy.get("log").cloned().unwrap_or(Value::List(Vec::new())));
    let failures = failures(heavy);
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

/// The whole document, of whatever an `eval.json` is now and the heavy part that it was split from once. Where it has a log of
/// its own, branches were evaluated again since: the heavy part is about the others only, and where there are no others, or
/// nothing was tested, about nothing.
pub(super) fn together(mut eval: Value, heavy: &Value) -> Value {
    if !is_heavy(&eval) {
        return unite(eval, heavy);
    }
    let list = |doc: &Value, key: &str| -> Vec<Value> {
        doc.get(key).and_then(Value::as_list).unwrap_or_default().to_vec()
    };
    let (own, old) = (list(&eval, "log"), list(heavy, "log"));
    let kept = without_log(&eval);
    if kept.is_empty() || own.starts_with(&old) {
        return eval;
    }
    carry(&mut eval, heavy, &kept);
    // Where it was split before and that was cut short, the heavy part has it all.
    let log = if old.ends_with(&own) { old } else { [old, own].concat() };
    eval.set("log", Value::List(log));
    eval
}

/// Branches that were tested, and have no results in the log: that of an earlier evaluation has them.
pub(super) fn without_log(eval: &Value) -> HashSet<String> {
    let list = |key: &str| eval.get(key).and_then(Value::as_list).unwrap_or_default();
    let logged: HashSet<&str> =
        list("log").iter().filter_map(|e| e.get("branch").and_then(Value::as_str)).collect();
    let errors = eval.get("test_branch_errors");
    let untested = |b: &str| errors.is_some_and(|e| e.get(b).is_some());
    if eval.get("error_code").is_some_and(Value::is_truthy) {
        return HashSet::new();
    }
    let branches = list("test_branches").iter().filter_map(Value::as_str);
    branches.filter(|b| !logged.contains(b) && !untested(b)).map(str::to_owned).collect()
}

/// Puts texts of failures back into results of these branches.
fn carry(eval: &mut Value, heavy: &Value, branches: &HashSet<String>) {
    let failures = failures(heavy);
    // By name: places have changed since.
    let own: HashMap<(&str, i128), &Value> = heavy
        .get(REPEATED)
        .and_then(Value::as_list)
        .unwrap_or_default()
        .iter()
        .filter_map(|r| match (r.get("name"), r.get("nth"), r.get("extra")) {
            (Some(Value::Str(name)), Some(Value::Int(nth)), Some(extra)) => {
                Some(((name.as_str(), *nth), extra))
            }
            _ => None,
        })
        .collect();
    let Some(Value::List(tests)) = eval.get_mut("test_results") else { return };
    let names: Vec<String> = tests.iter().map(full_name).collect();
    let mut counts: HashMap<&str, i128> = HashMap::new();
    for (test, name) in tests.iter_mut().zip(&names) {
        let nth = counted(&mut counts, name);
        let branch = test.get("branch").and_then(Value::as_str).unwrap_or_default();
        if !branches.contains(branch) {
            continue;
        }
        if HEAVY.iter().any(|key| test.get("extra").is_some_and(|e| e.get(key).is_some())) {
            continue;
        }
        let added = own.get(&(name.as_str(), nth)).or_else(|| failures.get(name.as_str()));
        if let (Some(added), Some(extra)) = (added, test.get_mut("extra")) {
            for (key, value) in added.as_dict().unwrap_or_default() {
                extra.set(key, value.clone());
            }
        }
    }
}

/// How many of this name came before.
fn counted<'a>(counts: &mut HashMap<&'a str, i128>, name: &'a str) -> i128 {
    let count = counts.entry(name).or_default();
    *count += 1;
    *count - 1
}

fn full_name(test: &Value) -> String {
    let text = |key| test.get(key).and_then(Value::as_str).unwrap_or_default();
    match text("branch") {
        "" => text("name").to_owned(),
        branch => format!("{branch}/{}", text("name")),
    }
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
