//! The leaderboard from a registry of submissions, as the registry's own script compiles it (`scripts/compile_leaderboard.py`
//! of ProgramBench/submissions, as of efd5587; Python 3.12 or later).

mod row;

use super::error::SubmitError;
use super::files::{SMALL_MAX, STATS_MAX, json, plain_text};
use reenact_bundle::fsx::{fs_error, write_atomic};
use reenact_interop::programbench::python::Value;
use row::{compiled, preserved};
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
