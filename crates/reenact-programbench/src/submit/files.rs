//! The layout of a run directory, and reading files that others wrote.

use super::error::SubmitError;
use reenact_bundle::fsx::fs_error;
use reenact_interop::programbench::python::Value;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes of an `eval.json` or of its log, at most. Weak submissions have 2 MB, and logs of the registry some hundreds.
pub(super) const EVAL_MAX: u64 = 1 << 30;
/// Bytes of `score.json` and of the other statistics, at most. All of the benchmark's tests are about 25 MB.
pub(super) const STATS_MAX: u64 = 256 << 20;
/// Bytes of a manifest, a `.url`, a `.sha256`, at most.
pub(super) const SMALL_MAX: u64 = 1 << 20;

/// One task's directory in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The directory's name.
    pub id: String,
    pub dir: PathBuf,
}

impl Entry {
    pub(super) fn eval_json(&self) -> PathBuf {
        self.dir.join(format!("{}.eval.json", self.id))
    }

    /// Holds what is heavy of the `eval.json`, once it is packaged.
    pub(super) fn log_json(&self) -> PathBuf {
        self.dir.join(format!("{}.eval.log.json", self.id))
    }

    /// Whether there is a submission, in any of the three forms it may have.
    pub(super) fn has_submission(&self) -> bool {
        ["submission.tar.gz", "submission.tar.gz.url", "submission.ref.yaml"]
            .iter()
            .any(|f| self.dir.join(f).is_file())
    }
}

/// The directories in `run`, by name. Dot names and `_stats` are none of a task.
///
/// # Errors
/// [`SubmitError::Missing`], or what reading the directory gives.
pub(super) fn entries(run: &Path) -> Result<Vec<Entry>, SubmitError> {
    if !run.is_dir() {
        return Err(SubmitError::Missing(run.to_path_buf()));
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(run).map_err(fs_error(run, "list"))? {
        let entry = entry.map_err(fs_error(run, "list"))?;
        let Ok(id) = entry.file_name().into_string() else { continue };
        if entry.path().is_dir() && !id.starts_with(['.', '_']) {
            found.push(Entry { id, dir: entry.path() });
        }
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(found)
}

/// A whole ordinary file of at most `limit` bytes; links are not followed.
///
/// # Errors
/// [`SubmitError::NotPlain`], [`SubmitError::TooLarge`], [`SubmitError::Fs`].
pub(super) fn plain(path: &Path, limit: u64) -> Result<Vec<u8>, SubmitError> {
    let meta = path.symlink_metadata().map_err(fs_error(path, "read"))?;
    if !meta.is_file() {
        return Err(SubmitError::NotPlain(path.to_path_buf()));
    }
    let too_large = |size| SubmitError::TooLarge { path: path.to_path_buf(), size, limit };
    if meta.len() > limit {
        return Err(too_large(meta.len()));
    }
    let file = std::fs::File::open(path).map_err(fs_error(path, "read"))?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(fs_error(path, "read"))?;
    if bytes.len() as u64 > limit {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}

/// As [`plain`], as text.
///
/// # Errors
/// As [`plain`], and for what is not UTF-8.
pub(super) fn plain_text(path: &Path, limit: u64) -> Result<String, SubmitError> {
    String::from_utf8(plain(path, limit)?).map_err(|_| SubmitError::file(path, "is not UTF-8"))
}

/// A JSON document.
///
/// # Errors
/// As [`plain_text`], and for what is no JSON.
pub(super) fn json(path: &Path, limit: u64) -> Result<Value, SubmitError> {
    parse(path, &plain_text(path, limit)?)
}

/// The document in `text`, which is called `path` in errors.
///
/// # Errors
/// [`SubmitError::File`] with the place.
pub(super) fn parse(path: &Path, text: &str) -> Result<Value, SubmitError> {
    Value::parse(text).map_err(|e| SubmitError::file(path, format!("is no JSON: {e}")))
}
