//! Tasks of ProgramBench's made into tasks here: byte-exact copies with their digests and their provenance.

mod error;
mod fetch;
mod pack;
mod source;
mod write;
pub(super) mod zip;

pub use error::ImportError;

use super::FIXTURE_PREFIX;
use super::instance::Counts;
use super::manifest::Origin;
use super::select::Select;
use reenact_bundle::Progress;
use reenact_interop::programbench::{TaskYaml, TestsJson};
use reenact_model::FormatError;
use source::Files;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use write::{Made, Tasks};

/// What to import, and how.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// A wheel, a source archive, or a directory; the index's, if there is none.
    pub from: Option<PathBuf>,
    /// Version to download; the latest, if there is none.
    pub version: Option<String>,
    /// Directory for the tasks.
    pub out: PathBuf,
    /// `<id>/tests/<branch>.tar.gz`, to be attached.
    pub blobs: Option<PathBuf>,
    pub select: Select,
    /// With the package's fixture, which is no part of the benchmark.
    pub fixture: bool,
    /// Replace tasks whose contents differ.
    pub force: bool,
}

/// What an import did.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Imported {
    pub source: Origin,
    /// Newly written.
    pub made: u64,
    /// Replaced, or given blobs.
    pub updated: u64,
    /// There already, with the same contents.
    pub unchanged: u64,
    /// The fixture's share of the totals is in here if it was imported.
    pub totals: Counts,
    /// The fixture's own counts, whether it was imported or not; zero if the source has none.
    pub fixture: Counts,
    /// Whether it was imported.
    pub fixture_imported: bool,
    /// Branches with tests attached, and those that `--blobs` had none for.
    pub blobs: u64,
    pub blobs_missing: Vec<String>,
}

/// One task of the source, checked.
pub(super) struct Item {
    pub id: String,
    pub task: TaskYaml,
    pub tests: TestsJson,
    pub files: Files,
}

/// Imports. Everything is read and checked before the first task is written; a task appears whole or not at all, and one that
/// is there already is left alone, so that the same command goes on where it was stopped.
///
/// # Errors
/// [`ImportError`].
pub fn import(
    options: &ImportOptions,
    stop: &AtomicBool,
    progress: &impl Progress,
) -> Result<Imported, ImportError> {
    let source = obtain(options, progress)?;
    let mut done = Imported { source: source.origin.clone(), ..Imported::default() };
    let items = check(source.tasks, options, &mut done)?;
    if items.is_empty() {
        return Err(ImportError::NothingSelected);
    }
    progress.stage(&format!("writing {} tasks", items.len()));
    let tasks = Tasks::open(&options.out)?;
    for (i, item) in items.iter().enumerate() {
        if stop.load(Ordering::Relaxed) {
            return Err(ImportError::Cancelled);
        }
        match tasks.put(item, &source.origin, options, &mut done)? {
            Made::New => done.made += 1,
            Made::Updated => done.updated += 1,
            Made::Unchanged => done.unchanged += 1,
        }
        progress.tick(i as u64 + 1, items.len() as u64);
    }
    match &options.blobs {
        Some(dir) if done.blobs == 0 => Err(ImportError::NoBlobs(dir.clone())),
        _ => Ok(done),
    }
}

fn obtain(
    options: &ImportOptions,
    progress: &impl Progress,
) -> Result<source::Source, ImportError> {
    if let Some(from) = &options.from {
        progress.stage(&format!("reading {}", from.display()));
        return source::read_source(from);
    }
    progress.stage("downloading programbench");
    let dir = tempfile::tempdir()
        .map_err(|e| ImportError::Fetch(format!("no temporary directory: {e}")))?;
    let wheel = fetch::fetch(options.version.as_deref(), dir.path())?;
    source::read_source(&wheel)
}

/// The tasks that are selected, each parsed.
fn check(
    tasks: std::collections::BTreeMap<String, Files>,
    options: &ImportOptions,
    done: &mut Imported,
) -> Result<Vec<Item>, ImportError> {
    let mut chosen = Vec::new();
    for (id, files) in tasks {
        let Some(yaml) = files.get("task.yaml") else { continue };
        let task = TaskYaml::parse(&name(&id, "task.yaml"), text(&id, "task.yaml", yaml)?)
            .map_err(super::DatasetError::from)?;
        let tests = match files.get("tests.json") {
            Some(json) => {
                TestsJson::parse(&name(&id, "tests.json"), text(&id, "tests.json", json)?)
                    .map_err(super::DatasetError::from)?
            }
            None => TestsJson::default(),
        };
        let item = Item { id, task, tests, files };
        if item.id.starts_with(FIXTURE_PREFIX) {
            done.fixture += item.counts();
            if !options.fixture {
                continue;
            }
            done.fixture_imported = true;
        }
        let kind =
            options.select.matches_kind(&item.task.language, item.task.difficulty.as_deref());
        if kind && options.select.matches_id(&item.id) {
            chosen.push(item);
        }
    }
    let chosen = options.select.cut(chosen);
    chosen.iter().for_each(|item| done.totals += item.counts());
    done.fixture_imported &= chosen.iter().any(|i| i.id.starts_with(FIXTURE_PREFIX));
    Ok(chosen)
}

/// How a file within the source is called in messages.
fn name(id: &str, file: &str) -> PathBuf {
    Path::new(id).join(file)
}

fn text<'a>(id: &str, file: &str, bytes: &'a [u8]) -> Result<&'a str, ImportError> {
    std::str::from_utf8(bytes).map_err(|_| {
        let error = FormatError::file(&name(id, file), "is not UTF-8");
        super::DatasetError::from(error).into()
    })
}
