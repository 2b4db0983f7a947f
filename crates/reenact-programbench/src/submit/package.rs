//! A run directory made into a leaderboard submission, in place; it stays a run directory.

use super::error::SubmitError;
use super::files::entries;
use super::manifest::Manifest;
use super::recombine::split_in_place;
use super::score::{Evaluated, Headline, map_score};
use super::words;
use crate::dataset::Dataset;
use reenact_bundle::fsx::{fs_error, write_atomic};
use reenact_interop::programbench::python::Value;
use serde::Serialize;
use std::path::Path;

/// What was packaged, and what was not.
#[derive(Clone, Debug, Serialize)]
pub struct Packaged {
    pub tasks: Vec<String>,
    /// With results, but no task that is known here.
    pub unknown: Vec<String>,
    /// With a submission, but without results: they count as 0 in the headline.
    pub not_evaluated: Vec<String>,
    /// With results, but without a submission: they are left out.
    pub no_submission: Vec<String>,
    /// Fields of `submission.yaml` that are still to be filled in.
    pub to_fill_in: Vec<String>,
    pub headline: Headline,
}

/// Packages `run`: splits every `eval.json`, writes `_stats/score.json`, `submission.yaml` and, once, `README.md`.
///
/// Everything is read before anything is written.
///
/// # Errors
/// [`SubmitError::NothingToPackage`]; [`SubmitError`] for what cannot be read or written.
pub fn package(run: &Path, tasks: &Dataset) -> Result<Packaged, SubmitError> {
    let mut out = Packaged {
        tasks: Vec::new(),
        unknown: Vec::new(),
        not_evaluated: Vec::new(),
        no_submission: Vec::new(),
        to_fill_in: Vec::new(),
        headline: Headline::of(&[]),
    };
    let (mut maps, mut scores, mut chosen) = (Vec::new(), Vec::new(), Vec::new());
    for entry in entries(run)? {
        let evaluated = entry.eval_json().is_file();
        match (evaluated, entry.has_submission()) {
            (true, true) => {}
            (true, false) => {
                out.no_submission.push(entry.id);
                continue;
            }
            (false, true) => {
                out.not_evaluated.push(entry.id);
                continue;
            }
            (false, false) => continue,
        }
        let Some(instance) = tasks.get(&entry.id).filter(|i| !i.is_fixture()) else {
            out.unknown.push(entry.id);
            continue;
        };
        let map = Evaluated::read(&entry.eval_json())?.scoped(instance).test_map();
        scores.push(map_score(&map).value());
        let tests = map.into_iter().map(|(name, passed)| (name, Value::Bool(passed))).collect();
        maps.push((entry.id.clone(), Value::Dict(tests)));
        out.tasks.push(entry.id.clone());
        chosen.push(entry);
    }
    if chosen.is_empty() {
        return Err(SubmitError::NothingToPackage(run.to_path_buf()));
    }
    let manifest = Manifest::read(run)?;
    for entry in &chosen {
        split_in_place(entry)?;
    }
    let scores_json = Value::Dict(maps).sorted().dumps_indented();
    write_atomic(&run.join("_stats/score.json"), scores_json.as_bytes())?;
    out.headline = Headline::of(&scores);
    let id = id_of(run)?;
    write_atomic(&run.join("submission.yaml"), manifest.render(&id).as_bytes())?;
    let readme = run.join("README.md");
    if readme.symlink_metadata().is_err() {
        write_atomic(&readme, words::readme(&id, &out.headline).as_bytes())?;
    }
    out.to_fill_in = manifest.missing();
    Ok(out)
}

/// The submission's id: the directory's name, wherever it lies.
fn id_of(run: &Path) -> Result<String, SubmitError> {
    let full = run.canonicalize().map_err(fs_error(run, "open"))?;
    let name = full.file_name().map(|n| n.to_string_lossy().into_owned());
    name.ok_or_else(|| SubmitError::file(run, "has no name that could be the submission's id"))
}
