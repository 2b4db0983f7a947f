//! Tasks in their place: each written beside it and renamed.

use super::{ImportError, ImportOptions, Imported, Item, Origin, pack};
use crate::dataset::instance::{Counts, Instance, Place};
use crate::dataset::manifest::{About, TaskToml, file_digest};
use reenact_bundle::fsx::{fs_error, read};
use reenact_bundle::lock::{FileLock, LockError};
use reenact_model::Digest;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Staging directories begin with this; no reader takes a dot name for a task.
const STAGING: &str = ".import-";

/// A task that is being replaced, for the moment between two renames.
const ASIDE: &str = ".import-old";

/// What became of one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    New,
    Updated,
    Unchanged,
}

/// The directory of tasks, held by a lock while we write.
pub(super) struct Tasks {
    root: PathBuf,
    _lock: FileLock,
}

impl Item {
    pub(super) fn counts(&self) -> Counts {
        self.instance().counts()
    }

    fn instance(&self) -> Instance {
        let branches = self.tests.branches.clone();
        Instance::new(
            self.id.clone(),
            PathBuf::new(),
            self.task.clone(),
            branches,
            &Place::default(),
        )
    }

    fn about(&self) -> About {
        let image = self.instance().image("");
        About {
            id: self.id.clone(),
            repository: self.task.repository.clone(),
            commit: self.task.commit.clone(),
            language: self.task.language.clone(),
            difficulty: self.task.difficulty.clone(),
            image: image.trim_end_matches(':').to_owned(),
        }
    }
}

impl Tasks {
    pub(super) fn open(root: &Path) -> Result<Self, ImportError> {
        std::fs::create_dir_all(root).map_err(fs_error(root, "create"))?;
        let path = root.join(".import.lock");
        let lock = FileLock::take(&path).map_err(|e| match e {
            LockError::Held { .. } => ImportError::Locked(root.to_path_buf()),
            LockError::Fs(e) => e.into(),
        })?;
        restore(root)?;
        // Whoever left these was killed: the lock is ours.
        for entry in std::fs::read_dir(root).map_err(fs_error(root, "list"))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(STAGING) {
                let stale = entry.path();
                std::fs::remove_dir_all(&stale).map_err(fs_error(&stale, "remove"))?;
            }
        }
        Ok(Self { root: root.to_path_buf(), _lock: lock })
    }

    /// Writes a task unless it is there with the same contents. Blobs that are attached stay.
    pub(super) fn put(
        &self,
        item: &Item,
        origin: &Origin,
        options: &ImportOptions,
        done: &mut Imported,
    ) -> Result<Made, ImportError> {
        let place = self.root.join(&item.id);
        let copies = copies(item);
        let files: BTreeMap<String, Digest> =
            copies.iter().map(|(n, d)| ((*n).to_owned(), Digest::of(d))).collect();
        let old = self.old(&place, &files, options.force)?;
        let staging = self.root.join(format!("{STAGING}{}", item.id));
        let blobs_dir = staging.join("tests");
        std::fs::create_dir(&staging).map_err(fs_error(&staging, "create"))?;
        let mut blobs = BTreeMap::new();
        for (branch, from) in blob_sources(item, &place, options, done)? {
            std::fs::create_dir_all(&blobs_dir).map_err(fs_error(&blobs_dir, "create"))?;
            let digest = from.place(&blobs_dir.join(format!("{branch}.tar.gz")))?;
            blobs.insert(branch, digest);
        }
        done.blobs += blobs.len() as u64;
        let origin = match &old {
            // Taken from elsewhere, but the same bytes: where they came from first stays true.
            Some(old) if old.files == files => old.source.clone(),
            _ => origin.clone(),
        };
        let manifest = TaskToml::new(item.about(), origin, item.counts(), files, blobs);
        if old.as_ref() == Some(&manifest) && is_whole(&place, &manifest) {
            std::fs::remove_dir_all(&staging).map_err(fs_error(&staging, "remove"))?;
            return Ok(Made::Unchanged);
        }
        for (name, data) in copies {
            let path = staging.join(name);
            std::fs::write(&path, data).map_err(fs_error(&path, "write"))?;
        }
        let path = staging.join("task.toml");
        std::fs::write(&path, manifest.render()).map_err(fs_error(&path, "write"))?;
        self.publish(&staging, &place)?;
        Ok(if old.is_some() { Made::Updated } else { Made::New })
    }

    /// The manifest of the task that is at `place`, if one is, and if it may be replaced.
    fn old(
        &self,
        place: &Path,
        files: &BTreeMap<String, Digest>,
        force: bool,
    ) -> Result<Option<TaskToml>, ImportError> {
        if place.symlink_metadata().is_err() {
            return Ok(None);
        }
        let Some(old) = TaskToml::read(place)? else {
            return Err(ImportError::NotOurs(place.to_path_buf()));
        };
        if old.files != *files && !force {
            let other = files.keys().filter(|k| old.files.get(*k) != files.get(*k));
            let what = other.cloned().collect::<Vec<_>>().join(", ");
            return Err(ImportError::Differs { path: place.to_path_buf(), what });
        }
        Ok(Some(old))
    }

    fn publish(&self, staging: &Path, place: &Path) -> Result<(), ImportError> {
        let aside = self.root.join(ASIDE);
        let had_old = place.symlink_metadata().is_ok();
        if had_old {
            std::fs::rename(place, &aside).map_err(fs_error(place, "replace"))?;
        }
        std::fs::rename(staging, place).map_err(fs_error(place, "write"))?;
        if had_old {
            std::fs::remove_dir_all(&aside).map_err(fs_error(&aside, "remove"))?;
        }
        Ok(())
    }
}

/// Puts a task back that a killed import had moved aside, with the blobs that are attached to it.
fn restore(root: &Path) -> Result<(), ImportError> {
    let aside = root.join(ASIDE);
    if let Some(old) = TaskToml::read(&aside)? {
        let place = root.join(&old.task.id);
        if reenact_model::task::is_valid_id(&old.task.id) && place.symlink_metadata().is_err() {
            std::fs::rename(&aside, &place).map_err(fs_error(&place, "restore"))?;
        }
    }
    Ok(())
}

/// The files that are copied, byte by byte.
fn copies(item: &Item) -> Vec<(&'static str, &[u8])> {
    ["task.yaml", "tests.json"]
        .into_iter()
        .filter_map(|n| item.files.get(n).map(|d| (n, d.as_slice())))
        .collect()
}

/// Whether the files at `place` are those of its manifest. Blobs are there or not: their bytes were checked when they came.
fn is_whole(place: &Path, manifest: &TaskToml) -> bool {
    let same = |(name, digest): (&String, &Digest)| {
        read(&place.join(name)).is_ok_and(|bytes| Digest::of(&bytes) == *digest)
    };
    manifest.files.iter().all(same)
        && manifest.blobs.keys().all(|b| place.join("tests").join(format!("{b}.tar.gz")).is_file())
}

/// Where a blob's bytes are.
enum Blob {
    File(PathBuf),
    Bytes(Vec<u8>),
}

impl Blob {
    /// Puts it at `to`: linked where that is possible, else copied.
    fn place(&self, to: &Path) -> Result<Digest, ImportError> {
        let from = match self {
            Self::Bytes(bytes) => {
                std::fs::write(to, bytes).map_err(fs_error(to, "write"))?;
                return Ok(Digest::of(bytes));
            }
            // Caches of downloads are full of links: it is the file behind them that counts.
            Self::File(path) => path.canonicalize().map_err(fs_error(path, "read"))?,
        };
        if std::fs::hard_link(&from, to).is_err() {
            std::fs::copy(&from, to).map_err(fs_error(to, "write"))?;
        }
        Ok(file_digest(to)?)
    }
}

/// For each branch: the new blob, else the one that is attached already, else the one that the package ships.
fn blob_sources(
    item: &Item,
    place: &Path,
    options: &ImportOptions,
    done: &mut Imported,
) -> Result<BTreeMap<String, Blob>, ImportError> {
    let shipped = pack::pack(&item.files).map_err(fs_error(Path::new(&item.id), "pack"))?;
    let mut sources = BTreeMap::new();
    for (branch, _) in &item.tests.branches {
        let file = format!("{branch}.tar.gz");
        let given = options.blobs.as_ref().map(|d| d.join(&item.id).join("tests").join(&file));
        let attached = place.join("tests").join(&file);
        let found = given.into_iter().chain([attached]).find(|p| p.is_file());
        match (found, shipped.get(branch)) {
            (Some(path), _) => sources.insert(branch.clone(), Blob::File(path)),
            (None, Some(bytes)) => sources.insert(branch.clone(), Blob::Bytes(bytes.clone())),
            (None, None) => {
                if options.blobs.is_some() {
                    done.blobs_missing.push(format!("{}/{branch}", item.id));
                }
                continue;
            }
        };
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::super::zip::tests::archive;
    use super::super::{ImportOptions, import};
    use super::*;
    use crate::dataset::{Dataset, Select};
    use reenact_bundle::Quiet;
    use std::sync::atomic::AtomicBool;

    const YAML: &str = "repository: o/a\ncommit: abc\nlanguage: c\n";
    const TESTS: &str =
        r#"{"branches": {"b2": {"ignored": false, "tests": ["x", "y"]}, "b1": {"tests": ["x"]}}}"#;

    fn wheel(dir: &Path, tests: &str) -> PathBuf {
        let above = "programbench/data/tasks";
        let file = |name: String, text: &str| (name, text.as_bytes().to_vec(), true);
        let bytes = archive(&[
            file(format!("{above}/o__a.1/task.yaml"), YAML),
            file(format!("{above}/o__a.1/tests.json"), tests),
            file(format!("{above}/testorg__c.2/task.yaml"), YAML),
            file(format!("{above}/testorg__c.2/tests.json"), TESTS),
            file(format!("{above}/testorg__c.2/tests/b1/eval/run.sh"), "#!/bin/sh\n"),
            file("programbench-9.9.dist-info/METADATA".into(), "Version: 9.9\n"),
        ]);
        let path = dir.join("programbench-9.9-py3-none-any.whl");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn run(options: &ImportOptions) -> Result<Imported, ImportError> {
        import(options, &AtomicBool::new(false), &Quiet)
    }

    #[test]
    fn importing_twice_is_importing_once() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("tasks");
        let from = Some(wheel(dir.path(), TESTS));
        let options = ImportOptions { from, out: out.clone(), ..Default::default() };
        let first = run(&options).unwrap();
        assert_eq!((first.made, first.unchanged, first.fixture_imported), (1, 0, false));
        assert_eq!((first.totals.branches, first.totals.tests, first.fixture.tests), (2, 3, 3));
        assert_eq!(std::fs::read_to_string(out.join("o__a.1/tests.json")).unwrap(), TESTS);
        let manifest = TaskToml::read(&out.join("o__a.1")).unwrap().unwrap();
        assert_eq!(manifest.source.programbench.as_deref(), Some("9.9"));
        assert_eq!(manifest.task.image, "programbench/o_1776_a.1");
        assert!(!manifest.render().contains(&dir.path().display().to_string()));
        assert_eq!(run(&options).unwrap().unchanged, 1);
        // What was damaged or left by a kill is made good.
        std::fs::write(out.join("o__a.1/tests.json"), "{").unwrap();
        std::fs::create_dir(out.join(".import-o__a.1")).unwrap();
        assert_eq!(run(&options).unwrap().updated, 1);
        std::fs::rename(out.join("o__a.1"), out.join(".import-old")).unwrap();
        assert_eq!(run(&options).unwrap().unchanged, 1);
        assert_eq!(Dataset::open(&out).unwrap().instances()[0].counts(), first.totals);
    }

    #[test]
    fn other_contents_and_other_tasks_are_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("tasks");
        let from = Some(wheel(dir.path(), TESTS));
        let mut options = ImportOptions { from, out: out.clone(), ..Default::default() };
        run(&options).unwrap();
        wheel(dir.path(), "{}");
        let error = run(&options).unwrap_err().to_string();
        assert!(error.contains("tests.json") && error.contains("--force"), "{error}");
        options.force = true;
        assert_eq!(run(&options).unwrap().updated, 1);
        std::fs::write(out.join("o__a.1/task.toml"), "schema = 1\n").unwrap();
        assert!(run(&options).unwrap_err().to_string().contains("not ProgramBench's"));
    }

    #[test]
    fn blobs_are_attached_and_the_fixtures_suite_is_packed() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("tasks");
        let blobs = dir.path().join("blobs");
        std::fs::create_dir_all(blobs.join("o__a.1/tests")).unwrap();
        std::fs::write(dir.path().join("cached"), "the tests").unwrap();
        std::os::unix::fs::symlink(dir.path().join("cached"), blobs.join("o__a.1/tests/b2.tar.gz"))
            .unwrap();
        let from = Some(wheel(dir.path(), TESTS));
        let mut options =
            ImportOptions { from, out: out.clone(), fixture: true, ..Default::default() };
        run(&options).unwrap();
        options.blobs = Some(blobs);
        let second = run(&options).unwrap();
        assert_eq!((second.updated, second.unchanged, second.blobs), (1, 1, 2));
        assert_eq!(second.blobs_missing, ["o__a.1/b1", "testorg__c.2/b2"]);
        let tasks = Dataset::open_selected(&out, &Select::default(), &Place::default()).unwrap();
        let blob = tasks.get("o__a.1").unwrap().blob("b2").unwrap();
        assert_eq!(std::fs::read_to_string(&blob).unwrap(), "the tests");
        assert!(!blob.symlink_metadata().unwrap().file_type().is_symlink());
        assert!(tasks.get("testorg__c.2").unwrap().blob("b1").is_some());
        // Without --blobs they stay.
        options.blobs = None;
        assert_eq!(run(&options).unwrap().unchanged, 2);
    }

    #[test]
    fn an_import_that_is_stopped_or_selects_nothing_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let from = Some(wheel(dir.path(), TESTS));
        let select = Select::new("zzz", &[], &[], "").unwrap();
        let mut options =
            ImportOptions { from, out: dir.path().join("tasks"), select, ..Default::default() };
        assert!(matches!(run(&options), Err(ImportError::NothingSelected)));
        options.select = Select::default();
        let stopped = import(&options, &AtomicBool::new(true), &Quiet);
        assert!(matches!(stopped, Err(ImportError::Cancelled)));
    }
}
