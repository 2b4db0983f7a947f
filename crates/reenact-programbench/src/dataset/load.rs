//! A directory of tasks, read.

use super::error::DatasetError;
use super::instance::{Instance, Place};
use super::select::Select;
use reenact_bundle::fsx::{fs_error, read};
use reenact_interop::programbench::{TaskYaml, TestsJson};
use reenact_model::FormatError;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of `task.yaml`, at most; the largest there is has a few hundred.
pub(super) const TASK_YAML_MAX: u64 = 1 << 20;
/// Bytes of `tests.json`, at most; the largest there is has 2.9 MB.
pub(super) const TESTS_JSON_MAX: u64 = 256 << 20;

/// Tasks of one directory, by id.
#[derive(Clone, Debug)]
pub struct Dataset {
    root: PathBuf,
    instances: Vec<Instance>,
}

impl Dataset {
    /// Reads every task under `dir`: a directory that `import` wrote, the package's `data/tasks`, or the package itself.
    ///
    /// # Errors
    /// [`DatasetError`], for the first task by id that cannot be read.
    pub fn open(dir: &Path) -> Result<Self, DatasetError> {
        Self::open_selected(dir, &Select::default(), &Place::from_env())
    }

    /// Reads the tasks that are selected; the lists of tests of others are not even opened.
    ///
    /// # Errors
    /// As [`Dataset::open`]. An empty selection is none.
    pub fn open_selected(dir: &Path, select: &Select, place: &Place) -> Result<Self, DatasetError> {
        let root = tasks_root(dir)?;
        let mut chosen = Vec::new();
        for path in task_dirs(&root)? {
            let id = id_of(&path)?;
            if !select.matches_id(&id) {
                continue;
            }
            let file = path.join("task.yaml");
            let task = TaskYaml::parse(&file, &text(&file, TASK_YAML_MAX)?)?;
            if select.matches_kind(&task.language, task.difficulty.as_deref()) {
                chosen.push((id, path, task));
            }
        }
        let instances = load(select.cut(chosen), place)?;
        Ok(Self { root, instances })
    }

    /// The directory that holds the tasks.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// By id, unless a slice with a negative step asked for another order.
    pub fn instances(&self) -> &[Instance] {
        &self.instances
    }

    /// A task by its id.
    pub fn get(&self, id: &str) -> Option<&Instance> {
        self.instances.iter().find(|i| i.id == id)
    }
}

impl Instance {
    /// Reads the task at `dir` alone.
    ///
    /// # Errors
    /// As [`Dataset::open`].
    pub fn open(dir: &Path, place: &Place) -> Result<Self, DatasetError> {
        let file = dir.join("task.yaml");
        let task = TaskYaml::parse(&file, &text(&file, TASK_YAML_MAX)?)?;
        instance(&id_of(dir)?, dir, &task, place)
    }
}

/// Where tasks are when the user names a directory (`--tasks`), or none: `tasks/` here, which `import` writes.
///
/// # Errors
/// [`DatasetError::Missing`] or [`DatasetError::Empty`], with what to do.
pub fn locate(asked: Option<&Path>) -> Result<PathBuf, DatasetError> {
    tasks_root(asked.unwrap_or(Path::new("tasks")))
}

/// `dir`, or the package's task directory within it.
pub(super) fn tasks_root(dir: &Path) -> Result<PathBuf, DatasetError> {
    if !dir.is_dir() {
        return Err(DatasetError::Missing(dir.to_path_buf()));
    }
    for inside in ["", "data/tasks", "programbench/data/tasks"] {
        let root = if inside.is_empty() { dir.to_path_buf() } else { dir.join(inside) };
        if root.is_dir() && !task_dirs(&root)?.is_empty() {
            return Ok(root);
        }
    }
    Err(DatasetError::Empty(dir.to_path_buf()))
}

/// Directories with a `task.yaml`, by name. Dot names are staging directories of running commands.
pub(super) fn task_dirs(root: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let mut dirs = Vec::new();
    for entry in std::fs::read_dir(root).map_err(fs_error(root, "list"))? {
        let entry = entry.map_err(fs_error(root, "list"))?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        let path = entry.path();
        if !hidden && path.join("task.yaml").is_file() {
            dirs.push(path);
        }
    }
    dirs.sort();
    Ok(dirs)
}

fn id_of(path: &Path) -> Result<String, DatasetError> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    if reenact_model::task::is_valid_id(name) {
        Ok(name.to_owned())
    } else {
        Err(DatasetError::BadId(path.to_path_buf()))
    }
}

/// A file's text, if it is UTF-8 and no larger than `limit` bytes.
fn text(path: &Path, limit: u64) -> Result<String, DatasetError> {
    let size = std::fs::metadata(path).map_err(fs_error(path, "read"))?.len();
    if size > limit {
        return Err(DatasetError::TooLarge { path: path.to_path_buf(), size, limit });
    }
    String::from_utf8(read(path)?).map_err(|_| FormatError::file(path, "is not UTF-8").into())
}

/// Reads the lists of tests, which are 39 MB for the whole benchmark, on all cores.
fn load(
    chosen: Vec<(String, PathBuf, TaskYaml)>,
    place: &Place,
) -> Result<Vec<Instance>, DatasetError> {
    let next = AtomicUsize::new(0);
    let slots: Vec<Mutex<Option<Result<Instance, DatasetError>>>> =
        chosen.iter().map(|_| Mutex::new(None)).collect();
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(chosen.len());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some((id, dir, task)) = chosen.get(i) else { return };
                    let made = instance(id, dir, task, place);
                    *slots[i].lock().unwrap_or_else(|e| e.into_inner()) = Some(made);
                }
            });
        }
    });
    // Every slot is filled once the threads are joined; a panic in one of them has ended us before.
    slots.into_iter().filter_map(|s| s.into_inner().unwrap_or_else(|e| e.into_inner())).collect()
}

fn instance(
    id: &str,
    dir: &Path,
    task: &TaskYaml,
    place: &Place,
) -> Result<Instance, DatasetError> {
    let file = dir.join("tests.json");
    // The official loader takes a task without the file for one without branches.
    let tests = if file.exists() {
        TestsJson::parse(&file, &text(&file, TESTS_JSON_MAX)?)?
    } else {
        TestsJson::default()
    };
    Ok(Instance::new(id.to_owned(), dir.to_path_buf(), task.clone(), tests.branches, place))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(root: &Path, id: &str, language: &str, tests: &str) {
        let dir = root.join(id);
        std::fs::create_dir_all(dir.join("tests")).unwrap();
        let yaml = format!("repository: a/b\ncommit: abc\nlanguage: {language}\n");
        std::fs::write(dir.join("task.yaml"), yaml).unwrap();
        std::fs::write(dir.join("tests.json"), tests).unwrap();
    }

    const TESTS: &str = r#"{"branches": {
        "b2": {"ignored": false, "tests": ["x", "y", "z"], "ignored_tests": [{"name": "y", "reasons": []}]},
        "b1": {"ignored": true, "tests": ["x"]}}}"#;

    #[test]
    fn tasks_are_sorted_and_say_what_counts() {
        let root = tempfile::tempdir().unwrap();
        let tasks = root.path().join("data/tasks");
        task(&tasks, "o__b.2", "c", TESTS);
        task(&tasks, "o__a.1", "go", "{}");
        std::fs::create_dir(tasks.join("not-a-task")).unwrap();
        std::fs::write(tasks.join("o__b.2/tests/b2.tar.gz"), "x").unwrap();
        let place = Place { org: "elsewhere".into(), blobs: None };
        let all = Dataset::open_selected(root.path(), &Select::default(), &place).unwrap();
        assert_eq!(all.root(), tasks);
        let ids: Vec<&str> = all.instances().iter().map(|i| i.id.as_str()).collect();
        assert_eq!(ids, ["o__a.1", "o__b.2"]);
        let b = all.get("o__b.2").unwrap();
        assert_eq!(b.active_branches(), ["b2"]);
        assert_eq!(b.ignored_branches().into_iter().collect::<Vec<_>>(), ["b1"]);
        assert_eq!(b.ignored_tests().into_iter().collect::<Vec<_>>(), ["b2/y"]);
        assert_eq!(b.active_tests(), ["b2/x", "b2/z"]);
        assert_eq!(b.image("task_v6"), "elsewhere/o_1776_b.2:task_v6");
        assert!(b.blob("b2").is_some() && b.blob("b1").is_none());
        let counts = b.counts();
        assert_eq!((counts.branches, counts.tests, counts.ignored, counts.active), (2, 4, 1, 2));

        let go = Select::new("", &["go".into()], &[], "").unwrap();
        assert_eq!(Dataset::open_selected(&tasks, &go, &place).unwrap().instances().len(), 1);
        let last = Select::new("o__", &[], &[], "-1:").unwrap();
        let last = Dataset::open_selected(&tasks, &last, &place).unwrap();
        assert_eq!(last.instances()[0].id, "o__b.2");
    }

    #[test]
    fn blobs_of_the_environment_take_the_place_of_others() {
        let root = tempfile::tempdir().unwrap();
        task(root.path(), "o__a.1", "c", TESTS);
        let blobs = root.path().join("elsewhere");
        let place = Place { blobs: Some(blobs.clone()), ..Place::default() };
        let open = || Dataset::open_selected(root.path(), &Select::default(), &place).unwrap();
        // What is attached does not stand in for what the asked-for directory lacks.
        std::fs::write(root.path().join("o__a.1/tests/b1.tar.gz"), "x").unwrap();
        let here = open();
        assert_eq!(here.instances()[0].blob("b1"), None);
        assert_eq!(here.instances()[0].blob_path("b1"), blobs.join("o__a.1/tests/b1.tar.gz"));
        std::fs::create_dir_all(blobs.join("o__a.1/tests")).unwrap();
        std::fs::write(blobs.join("o__a.1/tests/b1.tar.gz"), "x").unwrap();
        let found = open().instances()[0].blob("b1").unwrap();
        assert_eq!(found, blobs.join("o__a.1/tests/b1.tar.gz"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_file() {
        let root = tempfile::tempdir().unwrap();
        let open = |dir: &Path| Dataset::open(dir).unwrap_err().to_string();
        assert!(open(&root.path().join("none")).contains("no such directory"));
        assert!(open(root.path()).contains("reenact programbench import"));
        task(root.path(), "o__a.1", "c", "{");
        assert!(open(root.path()).contains("o__a.1/tests.json"));
        std::fs::write(root.path().join("o__a.1/task.yaml"), "- 1\n").unwrap();
        assert!(open(root.path()).contains("o__a.1/task.yaml"));
        task(root.path(), "bad id", "c", "{}");
        std::fs::remove_dir_all(root.path().join("o__a.1")).unwrap();
        assert!(open(root.path()).contains("no task id"));
    }
}
