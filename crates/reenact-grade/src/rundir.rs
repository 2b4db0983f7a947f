//! A run directory: where its files are, and which task bundles it speaks of.

use crate::error::GradeError;
use reenact_bundle::fsx::{fs_error, read};
use reenact_bundle::{BundleError, Suite, TaskBundle};
use reenact_model::run::{RunTask, TaskResult};
use reenact_model::{FormatError, RunManifest};
use std::path::{Path, PathBuf};

/// An opened run directory.
#[derive(Clone, Debug)]
pub(crate) struct RunDir {
    pub root: PathBuf,
    pub manifest: RunManifest,
}

impl RunDir {
    /// Opens `root` and reads its manifest.
    pub(crate) fn open(root: &Path) -> Result<Self, GradeError> {
        let file = root.join("run.toml");
        if !file.is_file() {
            return Err(GradeError::NotARun(root.to_path_buf()));
        }
        let bytes = read(&file)?;
        let text =
            std::str::from_utf8(&bytes).map_err(|_| FormatError::file(&file, "is not UTF-8"))?;
        let manifest = RunManifest::parse(&file, text)?;
        if let Some(id) = manifest.tasks.keys().find(|id| !reenact_model::task::is_valid_id(id)) {
            let what = "is not a task id: letters, digits, '.', '_', '-'";
            return Err(FormatError::field(&file, None, format!("tasks.{id}"), what).into());
        }
        Ok(Self { root: root.to_path_buf(), manifest })
    }

    /// The ids to work on: all of the run, or those of `only`, in the manifest's order.
    pub(crate) fn select(&self, only: &[String]) -> Result<Vec<String>, GradeError> {
        let known: Vec<String> = self.manifest.tasks.keys().cloned().collect();
        if let Some(task) = only.iter().find(|id| !known.contains(id)) {
            let (run, task) = (self.root.clone(), task.clone());
            return Err(GradeError::UnknownTask { run, task, known });
        }
        Ok(known.into_iter().filter(|id| only.is_empty() || only.contains(id)).collect())
    }

    /// `<run>/journal.jsonl`.
    pub(crate) fn journal(&self) -> PathBuf {
        self.root.join("journal.jsonl")
    }

    /// `<run>/<id>/submission.tar.gz`.
    pub(crate) fn submission(&self, id: &str) -> PathBuf {
        self.root.join(id).join("submission.tar.gz")
    }

    /// `<run>/<id>/<id>.reenact.json`.
    pub(crate) fn result(&self, id: &str) -> PathBuf {
        self.root.join(id).join(format!("{id}.reenact.json"))
    }

    /// `<run>/<id>/<id>.eval.json`.
    pub(crate) fn eval(&self, id: &str) -> PathBuf {
        self.root.join(id).join(format!("{id}.eval.json"))
    }

    /// `<run>/<id>/<id>.integrity.json`, which the cleanroom writes.
    pub(crate) fn integrity(&self, id: &str) -> PathBuf {
        self.root.join(id).join(format!("{id}.integrity.json"))
    }

    /// `<run>/<id>/<id>.adjudication.json`
    pub(crate) fn adjudication(&self, id: &str) -> PathBuf {
        self.root.join(id).join(format!("{id}.adjudication.json"))
    }

    /// Harness-private state of the run: the lock, and trees being built.
    pub(crate) fn private(&self) -> PathBuf {
        self.root.join(".reenact")
    }

    /// Opens the bundle of a task: under `tasks_root` by its id, else at the path that the manifest gives (absolute, or
    /// relative to the run's parent or to the current directory), else under `./tasks`. Checks that it is the task and the
    /// reference that the run was made with.
    pub(crate) fn bundle(
        &self,
        id: &str,
        tasks_root: Option<&Path>,
    ) -> Result<TaskBundle, GradeError> {
        let entry = &self.manifest.tasks[id];
        let name = self.bundle_path(id, entry, tasks_root);
        let wrap = |error| GradeError::Bundle { task: id.to_owned(), error: Box::new(error) };
        let bundle = TaskBundle::open(&name.to_string_lossy()).map_err(wrap)?;
        let wrong = |what| GradeError::WrongTask {
            task: id.to_owned(),
            path: bundle.root.join("task.toml"),
            what,
        };
        if bundle.id() != id {
            return Err(wrong(format!("is another task, {}", bundle.id())));
        }
        bundle.verify_reference().map_err(wrap)?;
        let (want, got) = (entry.reference, bundle.manifest.reference.sha256);
        if want != got {
            return Err(wrong(format!(
                "has another reference than the one the run was made with: expected {want}, found {got}"
            )));
        }
        Ok(bundle)
    }

    fn bundle_path(&self, id: &str, entry: &RunTask, tasks_root: Option<&Path>) -> PathBuf {
        let given = Path::new(&entry.path);
        let beside = self.root.canonicalize().ok().and_then(|p| Some(p.parent()?.join(given)));
        let under = Path::new("tasks").join(id);
        let candidates =
            [tasks_root.map(|root| root.join(id)), beside, Some(given.to_path_buf()), Some(under)];
        candidates
            .into_iter()
            .flatten()
            .find(|p| p.join("task.toml").is_file())
            .unwrap_or_else(|| given.to_path_buf())
    }

    /// Loads a task's suite, checked, and recorded from this reference.
    pub(crate) fn suite(&self, bundle: &TaskBundle) -> Result<Suite, GradeError> {
        let id = bundle.id();
        let wrap = |error| GradeError::Bundle { task: id.to_owned(), error: Box::new(error) };
        let dir = bundle.suite_dir();
        if !dir.join("suite.toml").is_file() {
            let what = "has no suite.toml: make a suite with `reenact suite generate`".to_owned();
            return Err(wrap(BundleError::Invalid { path: dir, what }));
        }
        let suite = Suite::load(&dir).map_err(wrap)?;
        let (want, got) = (bundle.manifest.reference.sha256, suite.manifest.reference);
        if want != got {
            return Err(GradeError::WrongTask {
                task: id.to_owned(),
                path: dir.join("suite.toml"),
                what: format!("was recorded from another reference: expected {want}, found {got}"),
            });
        }
        Ok(suite)
    }

    /// Reads a stored result, if there is one.
    pub(crate) fn load_result(&self, id: &str) -> Result<Option<TaskResult>, GradeError> {
        let path = self.result(id);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(fs_error(&path, "read")(e).into()),
        };
        let text =
            std::str::from_utf8(&bytes).map_err(|_| FormatError::file(&path, "is not UTF-8"))?;
        let result: TaskResult = reenact_model::error::parse_json(&path, None, text)?;
        if result.schema != reenact_model::run::RUN_SCHEMA {
            let what = format!("schema {} is not supported", result.schema);
            return Err(FormatError::field(&path, None, "schema", what).into());
        }
        Ok(Some(result))
    }
}
