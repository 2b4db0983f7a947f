//! File helpers: atomic writes, errors that name the path.

use std::io::Write;
use std::path::{Path, PathBuf};

/// An I/O error with the path and what was attempted.
#[derive(Debug, thiserror::Error)]
#[error("{path}: cannot {action}: {error}")]
pub struct FsError {
    pub path: PathBuf,
    /// `read`, `write`, `create`, …
    pub action: &'static str,
    pub error: std::io::Error,
}

/// Builds an [`FsError`] from an [`std::io::Error`]; for `map_err`.
pub fn fs_error(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> FsError {
    let path = path.to_path_buf();
    move |error| FsError { path, action, error }
}

/// Writes a whole file by a temporary file beside it and a rename, so that no reader ever sees a part.
///
/// # Errors
/// [`FsError`].
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), FsError> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(fs_error(parent, "create"))?;
    let mut temp = tempfile::Builder::new()
        .prefix(".tmp-")
        .tempfile_in(parent)
        .map_err(fs_error(path, "write"))?;
    temp.write_all(bytes).map_err(fs_error(path, "write"))?;
    use std::os::unix::fs::PermissionsExt;
    temp.as_file()
        .set_permissions(std::fs::Permissions::from_mode(0o644))
        .map_err(fs_error(path, "write"))?;
    temp.persist(path).map_err(|e| FsError {
        path: path.to_path_buf(),
        action: "write",
        error: e.error,
    })?;
    Ok(())
}

/// Reads a whole file.
///
/// # Errors
/// [`FsError`].
pub fn read(path: &Path) -> Result<Vec<u8>, FsError> {
    std::fs::read(path).map_err(fs_error(path, "read"))
}

/// A time from now, UTC, RFC 3339, whole seconds.
pub fn rfc3339_in(from_now: std::time::Duration) -> String {
    let now = jiff::Timestamp::now().as_second();
    let then = now.saturating_add(i64::try_from(from_now.as_secs()).unwrap_or(i64::MAX));
    jiff::Timestamp::from_second(then).unwrap_or(jiff::Timestamp::MAX).to_string()
}

/// Now, UTC, RFC 3339, whole seconds.
pub fn now_rfc3339() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}
