//! A run directory: `run.toml`, and a directory for each task (DESIGN 10).
//!
//! One agent per run directory; tasks accumulate. `run.toml` is written before anything else, so that a directory that
//! a killed run left behind is still recognised, and the submission stands before its entry, so that an entry in the
//! manifest always has its submission.

use crate::error::CleanroomError;
use reenact_bundle::fsx::{fs_error, read};
use reenact_bundle::{FsError, write_atomic};
use reenact_model::run::RunTask;
use reenact_model::{Digest, FormatError, RunManifest};
use std::fs::File;
use std::path::{Path, PathBuf};

/// An opened run directory. While it is open, no other process writes to it.
#[derive(Debug)]
pub struct RunDir {
    root: PathBuf,
    manifest: RunManifest,
    /// Holds the lock on the directory itself, so that no lock file is left behind.
    _lock: File,
}

impl RunDir {
    /// Opens `root` for `fresh.agent`, or makes it with `fresh` as its manifest.
    ///
    /// # Errors
    /// Another agent's directory, a directory that is no run directory, a broken `run.toml`, a busy directory, I/O.
    pub fn open(root: &Path, fresh: RunManifest) -> Result<Self, CleanroomError> {
        std::fs::create_dir_all(root).map_err(fs_error(root, "create"))?;
        let lock = lock(root)?;
        let file = root.join("run.toml");
        let manifest = if file.exists() {
            let bytes = read(&file)?;
            let text = std::str::from_utf8(&bytes)
                .map_err(|_| FormatError::file(&file, "is not UTF-8"))?;
            let found = RunManifest::parse(&file, text)?;
            if found.agent != fresh.agent {
                return Err(CleanroomError::OtherAgent {
                    path: root.to_path_buf(),
                    found: found.agent,
                    wanted: fresh.agent,
                });
            }
            found
        } else {
            let mut entries = std::fs::read_dir(root).map_err(fs_error(root, "read"))?;
            if entries.next().is_some() {
                return Err(CleanroomError::NotARunDirectory { path: root.to_path_buf() });
            }
            write_manifest(&file, &fresh)?;
            fresh
        };
        Ok(Self { root: root.to_path_buf(), manifest, _lock: lock })
    }

    /// The manifest as it stands on disk.
    pub fn manifest(&self) -> &RunManifest {
        &self.manifest
    }

    /// Where everything about a task is.
    pub fn task_dir(&self, task: &str) -> PathBuf {
        self.root.join(task)
    }

    /// Records other rules than those the run was begun with.
    ///
    /// # Errors
    /// I/O.
    pub fn set_rules(
        &mut self,
        setup: Option<reenact_model::run::Setup>,
        settings: std::collections::BTreeMap<String, String>,
    ) -> Result<(), CleanroomError> {
        self.manifest.setup = setup;
        self.manifest.settings = settings;
        Ok(write_manifest(&self.root.join("run.toml"), &self.manifest)?)
    }

    /// Where the submission of a task is.
    pub fn submission(&self, task: &str) -> PathBuf {
        self.root.join(task).join("submission.tar.gz")
    }

    /// Where the probe log of a task is.
    pub fn probe_log(&self, task: &str) -> PathBuf {
        self.root.join(task).join(format!("{task}.probes.jsonl"))
    }

    /// The entry of a task that is done already: it has an entry and a submission, or a listing that says why there is none.
    ///
    /// # Errors
    /// [`CleanroomError::OtherTask`] if it was made for another `task.toml` or another reference.
    pub fn finished(
        &self,
        task: &str,
        digest: Digest,
        reference: Digest,
    ) -> Result<Option<&RunTask>, CleanroomError> {
        let Some(entry) = self.manifest.tasks.get(task) else { return Ok(None) };
        let listing = self.task_dir(task).join(format!("{task}.submission.json"));
        if !self.submission(task).is_file() && !listing.is_file() {
            return Ok(None);
        }
        if entry.task != digest || entry.reference != reference {
            return Err(CleanroomError::OtherTask {
                path: self.root.clone(),
                task: task.to_owned(),
            });
        }
        Ok(Some(entry))
    }

    /// Records a task; `isolation` are the layers its agent was held by, if cells were used.
    ///
    /// # Errors
    /// I/O.
    pub fn record(
        &mut self,
        task: &str,
        entry: RunTask,
        isolation: std::collections::BTreeMap<String, String>,
    ) -> Result<(), CleanroomError> {
        self.manifest.tasks.insert(task.to_owned(), entry);
        self.manifest.isolation.extend(isolation);
        Ok(write_manifest(&self.root.join("run.toml"), &self.manifest)?)
    }
}

fn lock(root: &Path) -> Result<File, CleanroomError> {
    let dir = File::open(root).map_err(fs_error(root, "open"))?;
    match dir.try_lock() {
        Ok(()) => Ok(dir),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(CleanroomError::Busy { path: root.to_path_buf() })
        }
        Err(std::fs::TryLockError::Error(e)) => Err(fs_error(root, "lock")(e).into()),
    }
}

fn write_manifest(file: &Path, manifest: &RunManifest) -> Result<(), FsError> {
    let text = toml::to_string(manifest)
        .map_err(|e| fs_error(file, "write")(std::io::Error::other(e.to_string())))?;
    write_atomic(file, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use reenact_model::run::{AgentOutcome, this_harness};
    use std::collections::BTreeMap;

    fn manifest(agent: &str) -> RunManifest {
        RunManifest {
            schema: reenact_model::SCHEMA,
            agent: agent.to_owned(),
            upper_bound: false,
            created: "2026-01-01T00:00:00Z".to_owned(),
            harness: this_harness("0.0.0", None, false),
            isolation: BTreeMap::new(),
            settings: BTreeMap::new(),
            setup: None,
            tasks: BTreeMap::new(),
        }
    }

    fn entry(task: Digest) -> RunTask {
        RunTask {
            path: "tasks/t".to_owned(),
            task,
            reference: Digest::of(b"ref"),
            agent_outcome: AgentOutcome::Submitted,
            probes: 0,
            wall_ms: 1,
            work: None,
        }
    }

    #[test]
    fn tasks_accumulate_and_survive_reopening() {
        let temp = tempfile::tempdir().unwrap();
        let out = temp.path().join("run");
        for id in ["t1", "t2"] {
            let mut dir = RunDir::open(&out, manifest("null")).unwrap();
            let layers = [("network".to_owned(), "namespace".to_owned())].into();
            dir.record(id, entry(Digest::of(b"task")), layers).unwrap();
        }
        let dir = RunDir::open(&out, manifest("null")).unwrap();
        assert_eq!(dir.manifest().tasks.keys().collect::<Vec<_>>(), ["t1", "t2"]);
        assert_eq!(dir.manifest().isolation["network"], "namespace");
    }

    #[test]
    fn another_agent_a_foreign_directory_and_a_second_writer_are_refused() {
        let temp = tempfile::tempdir().unwrap();
        let out = temp.path().join("run");
        let open = RunDir::open(&out, manifest("null")).unwrap();
        let busy = RunDir::open(&out, manifest("null")).unwrap_err();
        assert!(matches!(busy, CleanroomError::Busy { .. }), "{busy}");
        drop(open);

        let other = RunDir::open(&out, manifest("help")).unwrap_err();
        assert!(other.is_usage());
        let text = other.to_string();
        assert!(text.contains("`null`") && text.contains("`help`"), "{text}");

        let foreign = temp.path().join("foreign");
        std::fs::create_dir(&foreign).unwrap();
        std::fs::write(foreign.join("thesis.txt"), "precious").unwrap();
        let error = RunDir::open(&foreign, manifest("null")).unwrap_err();
        assert!(matches!(error, CleanroomError::NotARunDirectory { .. }) && error.is_usage());
        assert!(!foreign.join("run.toml").exists(), "nothing half-written");

        std::fs::write(out.join("run.toml"), "schema = 1\nagent = 7\n").unwrap();
        let broken = RunDir::open(&out, manifest("null")).unwrap_err();
        assert!(broken.is_usage());
        assert!(broken.to_string().contains("run.toml, line 2, field `agent`"), "{broken}");
    }

    #[test]
    fn a_task_is_finished_only_with_its_submission_and_for_the_same_task() {
        let temp = tempfile::tempdir().unwrap();
        let out = temp.path().join("run");
        let (task, reference) = (Digest::of(b"task"), Digest::of(b"ref"));
        let mut dir = RunDir::open(&out, manifest("null")).unwrap();
        dir.record("t", entry(task), BTreeMap::new()).unwrap();
        assert_eq!(dir.finished("t", task, reference).unwrap(), None, "no submission yet");
        write_atomic(&dir.submission("t"), b"x").unwrap();
        assert!(dir.finished("t", task, reference).unwrap().is_some());
        assert_eq!(dir.finished("u", task, reference).unwrap(), None);
        let error = dir.finished("t", Digest::of(b"rebuilt"), reference).unwrap_err();
        assert!(error.is_usage() && error.to_string().contains("--force"), "{error}");
    }
}
