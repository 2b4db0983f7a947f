//! Run directories: which instances they have, evaluated by several workers.

use super::error::EvalError;
use super::images::Images;
use super::instance::evaluate;
use super::options::Options;
use super::row::Row;
use super::stored::summarize;
use super::{Item, Reporter};
use crate::dataset::Instance;
use reenact_bundle::fsx::fs_error;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// What to do with instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Evaluate,
    /// Read what is stored.
    Summarize,
}

/// Instances of a run directory, and directories that no task is known for.
pub struct Selected<'a> {
    pub items: Vec<Item<'a>>,
    /// Directories with a submission that belong to no known task.
    pub unknown: Vec<String>,
}

/// Looks into a run directory. Every directory that is named as a selected task counts, with a submission or without one.
///
/// # Errors
/// [`EvalError::NotARun`].
pub fn select<'a>(
    run: &Path,
    output: Option<&Path>,
    selected: &'a [Instance],
    is_known: &dyn Fn(&str) -> bool,
) -> Result<Selected<'a>, EvalError> {
    // An instance's own directory is none either.
    if !run.is_dir() || run.join("submission.tar.gz").exists() {
        return Err(EvalError::NotARun(run.to_path_buf()));
    }
    let target = match output {
        Some(output) => output.join(name(run)),
        None => run.to_path_buf(),
    };
    let entries = std::fs::read_dir(run)
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .map_err(fs_error(run, "list"))?;
    let mut dirs: Vec<String> = entries
        .iter()
        .filter(|e| e.path().is_dir())
        .filter_map(|e| e.file_name().into_string().ok())
        .collect();
    dirs.sort();
    let (mut items, mut unknown) = (Vec::new(), Vec::new());
    for id in dirs {
        match selected.iter().find(|i| i.id == id) {
            Some(instance) => {
                items.push(Item { instance, source: run.to_path_buf(), target: target.clone() });
            }
            None if run.join(&id).join("submission.tar.gz").exists() && !is_known(&id) => {
                unknown.push(id)
            }
            None => {}
        }
    }
    Ok(Selected { items, unknown })
}

/// The last part of a path, of its real place where it is `.` or such.
fn name(run: &Path) -> PathBuf {
    let named = run.file_name().map(PathBuf::from);
    named
        .or_else(|| run.canonicalize().ok().and_then(|p| p.file_name().map(PathBuf::from)))
        .unwrap_or_else(|| PathBuf::from("run"))
}

/// Works on all items; gives their rows in the items' order. What the harness fails on is a row with an error, and the others go on.
///
/// # Errors
/// [`EvalError::Cancelled`].
pub fn run(
    items: &[Item<'_>],
    mode: Mode,
    workers: usize,
    images: &dyn Images,
    options: &Options,
    reporter: &dyn Reporter,
) -> Result<Vec<Row>, EvalError> {
    let rows: Mutex<Vec<(usize, Row)>> = Mutex::new(Vec::new());
    let cancelled = AtomicBool::new(false);
    let next = AtomicUsize::new(0);
    let worker = || {
        loop {
            let index = next.fetch_add(1, Ordering::SeqCst);
            let Some(item) = items.get(index) else { return };
            if options.stop.load(Ordering::SeqCst) {
                cancelled.store(true, Ordering::SeqCst);
                return;
            }
            let done = match mode {
                Mode::Evaluate => evaluate(item, images, options, reporter).map(Some),
                Mode::Summarize => summarize(item),
            };
            let row = match done {
                Ok(Some(row)) => row,
                Ok(None) => continue,
                Err(EvalError::Cancelled) => {
                    cancelled.store(true, Ordering::SeqCst);
                    return;
                }
                Err(error) => {
                    reporter.failed(item.id(), &error);
                    Row::failed(item, &error)
                }
            };
            reporter.finished(&row);
            rows.lock().unwrap_or_else(PoisonError::into_inner).push((index, row));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..workers.clamp(1, items.len().max(1)) {
            scope.spawn(worker);
        }
    });
    if cancelled.load(Ordering::SeqCst) {
        return Err(EvalError::Cancelled);
    }
    let mut rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    rows.sort_by_key(|(index, _)| *index);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}
