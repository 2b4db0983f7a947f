//! Where tasks are taken from: a wheel, a source archive, or a directory.

use super::zip::Zip;
use super::{ImportError, Origin};
use crate::dataset::load::{TASK_YAML_MAX, TESTS_JSON_MAX, task_dirs, tasks_root};
use reenact_bundle::fsx::{fs_error, read};
use reenact_model::Digest;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// Bytes of an archive, of all its task files unpacked, and of its entries, at most. 1.2.5 has 3.4 MB and 37 MB.
const ARCHIVE_MAX: u64 = 256 << 20;
const TOTAL_MAX: u64 = 2 << 30;
const ENTRIES_MAX: usize = 1_000_000;
/// What is above the tasks, in the wheel and in the source archive.
const ABOVE: &str = "programbench/data/tasks/";

/// The files of tasks, by task and by path within it, and where they came from.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub origin: Origin,
    pub tasks: BTreeMap<String, Files>,
}

/// Files of one task by their relative path.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// Reads the task files that are under `from`.
///
/// # Errors
/// [`ImportError`] for what cannot be read, is hostile, or holds no tasks.
pub(super) fn read_source(from: &Path) -> Result<Source, ImportError> {
    let source = if from.is_dir() {
        from_dir(from)?
    } else if !from.exists() {
        return Err(ImportError::Missing(from.to_path_buf()));
    } else {
        from_archive(from)?
    };
    if source.tasks.is_empty() {
        return Err(ImportError::NoTasks(from.to_path_buf()));
    }
    Ok(source)
}

fn from_archive(path: &Path) -> Result<Source, ImportError> {
    let size = std::fs::metadata(path).map_err(fs_error(path, "read"))?.len();
    if size > ARCHIVE_MAX {
        let what = format!("{size} bytes are too many for an archive of ProgramBench's");
        return Err(ImportError::archive(path, what));
    }
    let bytes = read(path)?;
    let mut source = if bytes.starts_with(b"PK") {
        from_wheel(path, &bytes)?
    } else if bytes.starts_with(&[0x1f, 0x8b]) {
        from_tar(path, &bytes)?
    } else {
        let what = "is neither a wheel (.whl) nor a source archive (.tar.gz)";
        return Err(ImportError::archive(path, what));
    };
    source.origin.archive = path.file_name().map(|n| n.to_string_lossy().into_owned());
    source.origin.sha256 = Some(Digest::of(&bytes));
    Ok(source)
}

fn from_wheel(path: &Path, bytes: &[u8]) -> Result<Source, ImportError> {
    let fail = |e: super::zip::ZipError| ImportError::archive(path, e.to_string());
    let zip = Zip::open(bytes).map_err(fail)?;
    let mut collect = Collect::new(path);
    for member in zip.members() {
        if let Some(limit) = collect.wants(&member.name) {
            let data = zip.read(member, limit).map_err(fail)?;
            collect.take(&member.name, data)?;
        }
    }
    Ok(collect.source)
}

fn from_tar(path: &Path, bytes: &[u8]) -> Result<Source, ImportError> {
    let fail = |e: std::io::Error| ImportError::archive(path, format!("is broken: {e}"));
    // What is read of the archive is bounded, wanted or not.
    let unpacked = flate2::read::MultiGzDecoder::new(bytes).take(TOTAL_MAX);
    let mut archive = tar::Archive::new(unpacked);
    let mut collect = Collect::new(path);
    for (i, entry) in archive.entries().map_err(fail)?.enumerate() {
        if i > ENTRIES_MAX {
            return Err(ImportError::archive(path, "has too many entries"));
        }
        let mut entry = entry.map_err(fail)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let Some(limit) = collect.wants(&name) else { continue };
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let mut data = Vec::new();
        entry.by_ref().take(limit + 1).read_to_end(&mut data).map_err(fail)?;
        if data.len() as u64 > limit {
            let what = format!("entry {name:?} would be larger than {limit} bytes");
            return Err(ImportError::archive(path, what));
        }
        collect.take(&name, data)?;
    }
    Ok(collect.source)
}

fn from_dir(dir: &Path) -> Result<Source, ImportError> {
    let root = tasks_root(dir)?;
    let mut collect = Collect::new(dir);
    // programbench/data/tasks → beside programbench, pip keeps its metadata.
    if let Some(beside) = root.ancestors().nth(3).filter(|p| p.is_dir()) {
        for entry in std::fs::read_dir(beside).map_err(fs_error(beside, "list"))?.flatten() {
            let name = format!("{}/METADATA", entry.file_name().to_string_lossy());
            let file = entry.path().join("METADATA");
            if collect.wants(&name).is_some() && file.is_file() {
                collect.take(&name, read(&file)?)?;
            }
        }
    }
    for task in task_dirs(&root)? {
        let id = task.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut todo = vec![String::new()];
        while let Some(sub) = todo.pop() {
            let at = task.join(&sub);
            for entry in std::fs::read_dir(&at).map_err(fs_error(&at, "list"))? {
                let entry = entry.map_err(fs_error(&at, "list"))?;
                let rel = format!("{sub}{}", entry.file_name().to_string_lossy());
                let kind = entry.file_type().map_err(fs_error(&entry.path(), "read"))?;
                let name = format!("{ABOVE}{id}/{rel}");
                if kind.is_dir() {
                    todo.push(format!("{rel}/"));
                } else if let (true, Some(limit)) = (kind.is_file(), collect.wants(&name)) {
                    let size = entry.metadata().map_err(fs_error(&entry.path(), "read"))?.len();
                    if size > limit {
                        let what = format!("{size} bytes are too many: at most {limit} are read");
                        return Err(ImportError::archive(&entry.path(), what));
                    }
                    collect.take(&name, read(&entry.path())?)?;
                }
            }
        }
    }
    Ok(collect.source)
}

/// Collects the files that matter, by the names they have in archives.
struct Collect<'a> {
    from: &'a Path,
    source: Source,
    total: u64,
}

impl<'a> Collect<'a> {
    fn new(from: &'a Path) -> Self {
        Self { from, source: Source::default(), total: 0 }
    }

    /// How many bytes `name` may have, if it is wanted.
    fn wants(&self, name: &str) -> Option<u64> {
        if is_metadata(name) {
            return Some(1 << 20);
        }
        let (_, file) = split(name)?;
        match file {
            "task.yaml" => Some(TASK_YAML_MAX),
            "tests.json" => Some(TESTS_JSON_MAX),
            // Suites that are shipped unpacked: the fixture's.
            _ => (file.starts_with("tests/") && !file.contains("__pycache__")).then_some(1 << 20),
        }
    }

    fn take(&mut self, name: &str, data: Vec<u8>) -> Result<(), ImportError> {
        self.total += data.len() as u64;
        if self.total > TOTAL_MAX {
            return Err(ImportError::archive(self.from, "holds too much"));
        }
        if is_metadata(name) {
            self.source.origin.programbench =
                version(&data).or(self.source.origin.programbench.take());
        } else if let Some((id, file)) = split(name) {
            let files = self.source.tasks.entry(id.to_owned()).or_default();
            if files.insert(file.to_owned(), data).is_some() {
                let what = format!("holds {id}/{file} twice");
                return Err(ImportError::archive(self.from, what));
            }
        }
        Ok(())
    }
}

/// The package's own metadata, in a wheel, in site-packages, or in a source archive.
fn is_metadata(name: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    matches!(parts[..], [dir, "METADATA"] if dir.starts_with("programbench-") && dir.ends_with(".dist-info"))
        || matches!(parts[..], [dir, "PKG-INFO"] if dir.starts_with("programbench-"))
}

fn version(metadata: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(metadata);
    let line = text.lines().take_while(|l| !l.is_empty()).find_map(|l| l.strip_prefix("Version: "));
    line.map(|v| v.trim().chars().filter(|c| !c.is_control()).take(40).collect())
}

/// Task and path within the task of a name that is under [`ABOVE`]; `None` for others, and for those that lead elsewhere.
fn split(name: &str) -> Option<(&str, &str)> {
    let at = name.find(ABOVE).filter(|at| *at == 0 || name[..*at].ends_with('/'))?;
    let (id, file) = name[at + ABOVE.len()..].split_once('/')?;
    let plain = |p: &str| !p.is_empty() && p != "." && p != ".." && !p.contains(['\\', '\0']);
    (reenact_model::task::is_valid_id(id) && file.split('/').all(plain)).then_some((id, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_only_where_they_are_tasks() {
        let id = "o__a.1";
        let split = |name: &str| split(name).map(|(i, f)| (i.to_owned(), f.to_owned()));
        let want = Some((id.to_owned(), "task.yaml".to_owned()));
        assert_eq!(split("programbench/data/tasks/o__a.1/task.yaml"), want);
        assert_eq!(split("programbench-1.2.5/src/programbench/data/tasks/o__a.1/task.yaml"), want);
        for other in [
            "notprogrambench/data/tasks/o__a.1/task.yaml",
            "programbench/data/tasks/../task.yaml",
            "programbench/data/tasks/o__a.1/../x",
            "programbench/data/tasks/o__a.1/",
            "programbench/data/tasks/task.yaml",
            "programbench/data/tasks/.hidden/task.yaml",
        ] {
            assert_eq!(split(other), None, "{other}");
        }
    }

    #[test]
    fn a_version_is_the_header_field() {
        assert_eq!(version(b"Name: x\nVersion: 1.2.5\n\nVersion: 9\n").as_deref(), Some("1.2.5"));
        assert_eq!(version(b"Name: x\n\nVersion: 9\n"), None);
        assert!(is_metadata("programbench-1.2.5.dist-info/METADATA"));
        assert!(is_metadata("programbench-1.2.5/PKG-INFO"));
        assert!(!is_metadata("other-1.dist-info/METADATA") && !is_metadata("a/b/METADATA"));
    }
}
