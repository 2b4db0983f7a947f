//! Finished branches of an evaluation that has not finished: `<run>/.reenact/<id>.branches.jsonl`, one `write` a line. A line
//! without its newline never happened; lines of another submission, image, build, policy or isolation do not count.

use super::branch::BranchResult;
use super::error::EvalError;
use reenact_bundle::fsx::fs_error;
use reenact_bundle::lock::{FileLock, LockError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// What finished branches depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Key {
    pub submission: String,
    pub image: String,
    pub executable: String,
    /// The harness, the policy, and the list of tests.
    pub settings: String,
    /// The layers and limits in force: the result says once for all branches what they were.
    pub isolation: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    key: Key,
    result: BranchResult,
}

/// The file, open for appending.
pub(super) struct Partial {
    path: PathBuf,
    key: Key,
    file: Mutex<File>,
}

/// Harness-private state of a run.
pub(super) fn private(run: &Path) -> PathBuf {
    run.join(".reenact")
}

impl Partial {
    /// Opens it, with the finished branches that count.
    pub(super) fn open(
        run: &Path,
        id: &str,
        key: Key,
    ) -> Result<(Self, Vec<BranchResult>), EvalError> {
        let path = private(run).join(format!("{id}.branches.jsonl"));
        // Whatever else a read fails with is not "empty", which would cut off every finished branch.
        let text = match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(fs_error(&path, "read"))?,
        };
        let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let mut done: Vec<BranchResult> = Vec::new();
        for line in text[..whole].split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
            match serde_json::from_slice::<Line>(line) {
                Ok(line) if line.key == key => done.push(line.result),
                _ => {}
            }
        }
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .map_err(fs_error(&path, "open"))?;
        file.set_len(whole as u64).map_err(fs_error(&path, "write"))?;
        Ok((Self { path, key, file: Mutex::new(file) }, done))
    }

    /// Records a finished branch.
    pub(super) fn add(&self, result: &BranchResult) -> Result<(), EvalError> {
        let line = Line { key: self.key.clone(), result: result.clone() };
        // Plain data with string keys: it cannot fail.
        let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
        bytes.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(file.write_all(&bytes).map_err(fs_error(&self.path, "write"))?)
    }

    /// The whole is stored: the parts are not needed any more.
    pub(super) fn finish(self) {
        // What stays is ignored by its key, or taken for what it is.
        let _removed = std::fs::remove_file(&self.path);
    }
}

/// One evaluation at a time of an instance.
pub(super) fn lock_instance(run: &Path, id: &str) -> Result<FileLock, EvalError> {
    FileLock::take(&private(run).join(format!("{id}.lock"))).map_err(|e| match e {
        LockError::Held { pid } => EvalError::Locked { instance: id.to_owned(), pid },
        LockError::Fs(e) => e.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(executable: &str) -> Key {
        Key {
            submission: "s".into(),
            image: "i".into(),
            executable: executable.into(),
            settings: String::new(),
            isolation: BTreeMap::from([("memory".into(), "cgroup".into())]),
        }
    }

    fn result(branch: &str) -> BranchResult {
        BranchResult { branch: branch.to_owned(), ..BranchResult::default() }
    }

    #[test]
    fn every_cut_keeps_the_whole_lines_of_the_same_build() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(private(dir.path())).unwrap();
        let (partial, none) = Partial::open(dir.path(), "t", key("e")).unwrap();
        assert!(none.is_empty());
        partial.add(&result("a")).unwrap();
        partial.add(&result("b")).unwrap();
        let bytes = std::fs::read(&partial.path).unwrap();
        for cut in 0..=bytes.len() {
            std::fs::write(&partial.path, &bytes[..cut]).unwrap();
            let (again, done) = Partial::open(dir.path(), "t", key("e")).unwrap();
            assert_eq!(
                done.len(),
                bytes[..cut].iter().filter(|b| **b == b'\n').count(),
                "cut at {cut}"
            );
            again.add(&result("c")).unwrap();
            assert_eq!(Partial::open(dir.path(), "t", key("e")).unwrap().1.len(), done.len() + 1);
            assert!(Partial::open(dir.path(), "t", key("other")).unwrap().1.is_empty());
            let without = Key { isolation: BTreeMap::new(), ..key("e") };
            assert!(Partial::open(dir.path(), "t", without).unwrap().1.is_empty());
        }
        partial.finish();
        assert!(Partial::open(dir.path(), "t", key("e")).unwrap().1.is_empty());
    }

    #[test]
    fn parts_that_cannot_be_read_are_not_taken_for_none() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(private(dir.path())).unwrap();
        // No part, and not "not found" either.
        let path = private(dir.path()).join("t.branches.jsonl");
        std::os::unix::fs::symlink(&path, &path).unwrap();
        let error = match Partial::open(dir.path(), "t", key("e")) {
            Err(e) => e.to_string(),
            Ok(_) => panic!("it was opened"),
        };
        assert!(error.contains("cannot read"), "{error}");
    }

    #[test]
    fn a_second_evaluation_of_an_instance_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock_instance(dir.path(), "t").unwrap();
        match lock_instance(dir.path(), "t") {
            Err(EvalError::Locked { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
            _ => panic!("not refused"),
        }
        lock_instance(dir.path(), "another").unwrap();
        drop(held);
        lock_instance(dir.path(), "t").unwrap();
    }
}
