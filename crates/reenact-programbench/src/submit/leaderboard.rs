//! The leaderboard from a registry of submissions, as the registry's own script compiles it (`scripts/compile_leaderboard.py`
//! of ProgramBench/submissions, as of efd5587; Python 3.12 or later).

use super::error::SubmitError;
use super::files::{SMALL_MAX, STATS_MAX, json, plain, plain_text};
use super::score::{NEAR_RESOLVED, RESOLVED};
use crate::dataset::BENCHMARK_SIZE;
use reenact_bundle::fsx::{fs_error, write_atomic};
use reenact_interop::programbench::python::{Value, round, sum};
use serde::Serialize;
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// What to compile.
#[derive(Clone, Debug)]
pub struct LeaderboardOptions {
    /// Directory of `<id>/` entries; or the registry's root, which holds it as `submissions/`.
    pub registry: PathBuf,
    /// `{task: [test]}`, tests that are struck out; the root's own, if there is none here.
    pub ignore: Option<PathBuf>,
    /// Ids, one a line, whose details of an earlier compilation stay; the root's own, if there is none here.
    pub skip: Option<PathBuf>,
    /// The website's root: everything is written under its `data/`.
    pub out: PathBuf,
    /// `YYYY-MM-DD`.
    pub updated: String,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Compiled {
    pub path: PathBuf,
    pub entries: usize,
    /// Entries that were left out or kept as they were, and why.
    pub notes: Vec<String>,
}

/// Statistics that are copied beside the scores.
const COPIED: [&str; 4] = ["cost", "calls", "tokens", "languages"];

/// Compiles `data/leaderboard.json` and `data/details/<id>/`.
///
/// # Errors
/// [`SubmitError`] naming the file of the entry that cannot be compiled.
pub fn compile(options: &LeaderboardOptions) -> Result<Compiled, SubmitError> {
    let root = options.registry.join("submissions");
    let (entries_dir, beside) = if root.is_dir() {
        (root, Some(options.registry.clone()))
    } else {
        (options.registry.clone(), options.registry.parent().map(Path::to_path_buf))
    };
    if !entries_dir.is_dir() {
        return Err(SubmitError::Missing(entries_dir));
    }
    let beside = |given: &Option<PathBuf>, name: &str| {
        given.clone().or_else(|| beside.as_ref().map(|b| b.join(name)).filter(|p| p.is_file()))
    };
    let ignore = ignored(beside(&options.ignore, "ignored_tests.json").as_deref())?;
    let skip = skipped(beside(&options.skip, ".compile_skip").as_deref())?;
    let data = options.out.join("data");
    let path = data.join("leaderboard.json");
    let earlier = if skip.is_empty() { HashMap::new() } else { earlier_rows(&path)? };
    let mut out = Compiled { path: path.clone(), ..Compiled::default() };
    let mut rows = Vec::new();
    for (id, dir) in entry_dirs(&entries_dir)? {
        let row = if skip.contains(&id) {
            preserved(&id, &dir, &data, earlier.get(&id), &mut out.notes)?
        } else {
            compiled(&id, &dir, &data, &ignore, &mut out.notes)?
        };
        rows.extend(row);
    }
    // Stable, and the best first.
    rows.sort_by(|a, b| standing(b).partial_cmp(&standing(a)).unwrap_or(Ordering::Equal));
    out.entries = rows.len();
    let document = Value::Dict(vec![
        ("updated".to_owned(), Value::Str(options.updated.clone())),
        ("entries".to_owned(), Value::List(rows)),
    ]);
    write_atomic(&path, document.dumps_indented().as_bytes())?;
    Ok(out)
}

fn standing(row: &Value) -> [f64; 3] {
    ["resolved", "near_resolved", "mean_score"]
        .map(|key| row.get(key).and_then(Value::as_f64).unwrap_or(0.0))
}

/// Directories by name.
fn entry_dirs(root: &Path) -> Result<Vec<(String, PathBuf)>, SubmitError> {
    let mut dirs = Vec::new();
    for entry in std::fs::read_dir(root).map_err(fs_error(root, "list"))? {
        let entry = entry.map_err(fs_error(root, "list"))?;
        let is_dir = entry.file_type().is_ok_and(|t| t.is_dir());
        if let (true, Ok(id)) = (is_dir, entry.file_name().into_string()) {
            dirs.push((id, entry.path()));
        }
    }
    dirs.sort();
    Ok(dirs)
}

fn ignored(path: Option<&Path>) -> Result<HashMap<String, BTreeSet<String>>, SubmitError> {
    let Some(path) = path else { return Ok(HashMap::new()) };
    let map = json(path, STATS_MAX)?;
    let bad = || SubmitError::file(path, "is no {task: [test]} map");
    let mut out = HashMap::new();
    for (task, tests) in map.as_dict().ok_or_else(bad)? {
        let tests = tests.as_list().ok_or_else(bad)?;
        let names = tests.iter().map(|t| t.as_str().map(str::to_owned).ok_or_else(bad));
        out.insert(task.clone(), names.collect::<Result<_, _>>()?);
    }
    Ok(out)
}

fn skipped(path: Option<&Path>) -> Result<BTreeSet<String>, SubmitError> {
    let Some(path) = path else { return Ok(BTreeSet::new()) };
    let text = plain_text(path, SMALL_MAX)?;
    let ids = text.lines().map(|l| l.split('#').next().unwrap_or_default().trim());
    Ok(ids.filter(|id| !id.is_empty()).map(str::to_owned).collect())
}

/// Rows of the leaderboard that is there, by the last part of `details`.
fn earlier_rows(path: &Path) -> Result<HashMap<String, Value>, SubmitError> {
    if !path.exists() {
        return Ok(HashMap::new());
    }
    let old = json(path, STATS_MAX)?;
    let rows = match &old {
        Value::List(rows) => rows.as_slice(),
        dict => dict.get("entries").and_then(Value::as_list).unwrap_or_default(),
    };
    let id = |row: &Value| {
        let details = row.get("details")?.as_str()?.trim_end_matches('/');
        details.rsplit('/').next().filter(|n| !n.is_empty()).map(str::to_owned)
    };
    Ok(rows.iter().filter_map(|row| Some((id(row)?, row.clone()))).collect())
}

/// A row that keeps its details; its headline is computed from them, and tokens are added.
fn preserved(
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
fn compiled(
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
    let tasks = stored.as_dict().ok_or_else(|| SubmitError::file(&score, "is no object of tasks"))?;
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
    let bad = || SubmitError::file(path, "holds a score that is neither a map of tests nor a number");
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
