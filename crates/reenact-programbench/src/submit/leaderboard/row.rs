//! One entry: its row and its details.

use crate::dataset::BENCHMARK_SIZE;
use crate::submit::error::SubmitError;
use crate::submit::files::{SMALL_MAX, STATS_MAX, json, plain, plain_text};
use crate::submit::score::{NEAR_RESOLVED, RESOLVED};
use reenact_bundle::fsx::write_atomic;
use reenact_interop::programbench::python::{Value, round, sum};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

/// Statistics that are copied beside the scores.
const COPIED: [&str; 4] = ["cost", "calls", "tokens", "languages"];

/// A row that keeps its details; its headline is computed from them, and tokens are added.
pub(super) fn preserved(
    id: &str,
    dir: &Path,
    data: &Path,
    row: Option<&Value>,
    notes: &mut Vec<String>,
) -> Result<Option<Value>, SubmitError> {
    let Some(mut row) = row.cloned() else {
        notes.push(format!("{id}: is to be skipped, and there is no earlier row to keep"));
        return Ok(None);
    };
    let details = data.join("details").join(id);
    let scores = json(&details.join("score.json"), STATS_MAX)?;
    for (key, value) in headline(&details.join("score.json"), &scores)? {
        row.set(key, value);
    }
    let tokens = dir.join("_stats/tokens.json");
    if tokens.symlink_metadata().is_ok() {
        row.set("tokens", stat_total(dir, "tokens")?);
        write_atomic(&details.join("tokens.json"), &plain(&tokens, STATS_MAX)?)?;
    }
    notes.push(format!("{id}: is to be skipped; its earlier details were kept"));
    Ok(Some(row))
}

/// A row from an entry's own files, and its details.
pub(super) fn compiled(
    id: &str,
    dir: &Path,
    data: &Path,
    ignore: &HashMap<String, BTreeSet<String>>,
    notes: &mut Vec<String>,
) -> Result<Option<Value>, SubmitError> {
    let (manifest, score) = (dir.join("submission.yaml"), dir.join("_stats/score.json"));
    if !(manifest.exists() && score.exists()) {
        notes.push(format!("{id}: left out: no submission.yaml or no _stats/score.json"));
        return Ok(None);
    }
    let system = System::read(&manifest)?;
    let stored = json(&score, STATS_MAX)?;
    let tasks =
        stored.as_dict().ok_or_else(|| SubmitError::file(&score, "is no object of tasks"))?;
    let mut scores = Vec::with_capacity(tasks.len());
    for (task, value) in tasks {
        scores.push((task.clone(), task_score(&score, value, ignore.get(task))?));
    }
    let scores = Value::Dict(scores);
    let [resolved, near, mean] = headline(&score, &scores)?;
    let details = data.join("details").join(id);
    let row = vec![
        ("model", system.model),
        ("provider", system.provider),
        ("logo", system.logo),
        ("agent", system.agent),
        resolved,
        near,
        ("cost", stat_total(dir, "cost")?),
        ("calls", stat_total(dir, "calls")?),
        ("tokens", stat_total(dir, "tokens")?),
        ("details", Value::Str(format!("data/details/{id}"))),
        mean,
    ];
    write_atomic(&details.join("score.json"), scores.sorted().dumps_indented().as_bytes())?;
    for name in COPIED {
        let from = dir.join(format!("_stats/{name}.json"));
        if from.symlink_metadata().is_ok() {
            write_atomic(&details.join(format!("{name}.json")), &plain(&from, STATS_MAX)?)?;
        }
    }
    Ok(Some(Value::Dict(row.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())))
}

/// What a row says of the system. A value that is no text is shown as YAML has it.
struct System {
    model: Value,
    provider: Value,
    agent: Value,
    logo: Value,
}

impl System {
    fn read(path: &Path) -> Result<Self, SubmitError> {
        let text = plain_text(path, SMALL_MAX)?;
        let manifest: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text)
            .map_err(|e| SubmitError::file(path, format!("is no YAML: {e}")))?;
        let get = |key: &str| {
            let system = manifest.as_mapping().and_then(|m| m.get("system"));
            let value = system.and_then(|s| s.as_mapping()?.get(key));
            let value = value.and_then(|v| serde_json::to_string(v).ok());
            let value = value.and_then(|text| Value::parse(&text).ok());
            value.ok_or_else(|| SubmitError::file(path, format!("has no system.{key}")))
        };
        let provider = get("provider")?;
        let logo = match provider.as_str().unwrap_or_default() {
            "Anthropic" => "anthropic.svg",
            "Google" => "google.svg",
            "Meta" => "meta.svg",
            "OpenAI" => "openai.svg",
            "Z.ai (Zhipu AI)" => "zai.svg",
            _ => "",
        };
        Ok(Self { model: get("model")?, agent: get("agent")?, logo: logo.into(), provider })
    }
}

/// A task's score: passed ÷ tests that are not struck out; or a number of old, as it is.
fn task_score(
    path: &Path,
    value: &Value,
    ignore: Option<&BTreeSet<String>>,
) -> Result<Value, SubmitError> {
    let bad =
        || SubmitError::file(path, "holds a score that is neither a map of tests nor a number");
    let Some(tests) = value.as_dict() else {
        return value.as_f64().map(|_| value.clone()).ok_or_else(bad);
    };
    let struck = |name: &str| ignore.is_some_and(|set| set.contains(name));
    let kept: Vec<&Value> = tests.iter().filter(|(n, _)| !struck(n)).map(|(_, v)| v).collect();
    if kept.is_empty() {
        return Ok(Value::Float(0.0));
    }
    let passed = sum(kept.iter().copied()).and_then(|s| s.as_f64()).ok_or_else(bad)?;
    Ok(Value::Float(passed / kept.len() as f64))
}

/// Resolved, nearly resolved and mean, in percent of the benchmark.
fn headline(path: &Path, scores: &Value) -> Result<[(&'static str, Value); 3], SubmitError> {
    let bad = || SubmitError::file(path, "is no object of scores");
    let scores = scores.as_dict().ok_or_else(bad)?;
    let total = sum(scores.iter().map(|(_, v)| v)).and_then(|s| s.as_f64()).ok_or_else(bad)?;
    let n = BENCHMARK_SIZE as f64;
    let share = |least: f64| {
        let count = scores.iter().filter(|(_, v)| v.as_f64().is_some_and(|s| s >= least)).count();
        Value::Float(round(100.0 * count as f64 / n, 1))
    };
    Ok([
        ("resolved", share(RESOLVED)),
        ("near_resolved", share(NEAR_RESOLVED)),
        ("mean_score", Value::Float(round(100.0 * total / n, 1))),
    ])
}

/// The sum of a statistic, to two decimals; whole if all its values are; 0 if there is none.
fn stat_total(dir: &Path, name: &str) -> Result<Value, SubmitError> {
    let path = dir.join(format!("_stats/{name}.json"));
    if path.symlink_metadata().is_err() {
        return Ok(Value::Int(0));
    }
    let bad = || SubmitError::file(&path, "is no {task: number} map");
    let stats = json(&path, STATS_MAX)?;
    let values = stats.as_dict().ok_or_else(bad)?.iter().map(|(_, v)| v);
    match sum(values).ok_or_else(bad)? {
        Value::Float(x) => Ok(Value::Float(round(x, 2))),
        whole => Ok(whole),
    }
}
