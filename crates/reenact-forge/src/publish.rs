//! A bundle appears whole or not at all: it is made in a staging directory beside its final place and renamed.

use crate::error::ForgeError;
use reenact_bundle::fsx::fs_error;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// Staging directories older than this belong to commands that were killed.
const STALE: Duration = Duration::from_secs(24 * 3600);
const PREFIX: &str = ".forge-";

/// A bundle in the making; dropped without [`Staging::publish`], it vanishes.
#[derive(Debug)]
pub(crate) struct Staging {
    dir: TempDir,
    out: PathBuf,
}

/// Fails if `out` already holds `id` and it may not be replaced.
///
/// # Errors
/// [`ForgeError::Input`] naming `--force`.
pub(crate) fn refuse_existing(out: &Path, id: &str, force: bool) -> Result<(), ForgeError> {
    let place = out.join(id);
    if force || place.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(ForgeError::input(
        format!("{}: this task exists already", place.display()),
        "use --force to replace it (its suite too), or another output directory",
    ))
}

impl Staging {
    /// Makes the output directory if need be, and a staging directory in it.
    ///
    /// # Errors
    /// [`ForgeError::Fs`], for instance if the directory is read-only.
    pub fn new(out: &Path) -> Result<Self, ForgeError> {
        use std::os::unix::fs::PermissionsExt;
        std::fs::create_dir_all(out).map_err(fs_error(out, "create"))?;
        sweep(out, SystemTime::now());
        let dir = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(out)
            .map_err(fs_error(out, "write in"))?;
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))
            .map_err(fs_error(dir.path(), "write"))?;
        Ok(Self { dir, out: out.to_path_buf() })
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Moves the finished bundle to `out/<id>`; an older one is moved aside first and removed afterwards.
    ///
    /// # Errors
    /// [`ForgeError::Input`] if it appeared meanwhile and may not be replaced; [`ForgeError::Fs`].
    pub fn publish(self, id: &str, force: bool) -> Result<PathBuf, ForgeError> {
        refuse_existing(&self.out, id, force)?;
        let place = self.out.join(id);
        let aside = self.out.join(format!(".old-{id}-{}", std::process::id()));
        let had_old = place.symlink_metadata().is_ok();
        if had_old {
            std::fs::rename(&place, &aside).map_err(fs_error(&place, "replace"))?;
        }
        let staged = self.dir.keep();
        if let Err(error) = std::fs::rename(&staged, &place) {
            if had_old {
                std::fs::rename(&aside, &place).map_err(fs_error(&place, "restore"))?;
            }
            std::fs::remove_dir_all(&staged).map_err(fs_error(&staged, "remove"))?;
            return Err(fs_error(&place, "write")(error).into());
        }
        if had_old {
            std::fs::remove_dir_all(&aside).map_err(fs_error(&aside, "remove"))?;
        }
        Ok(place)
    }
}

/// Removes what killed commands left behind. Failing to is no error: the next command tries again.
fn sweep(out: &Path, now: SystemTime) {
    let Ok(entries) = std::fs::read_dir(out) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let age = entry
            .metadata()
            .and_then(|m| m.modified())
            .ok()
            .and_then(|changed| now.duration_since(changed).ok());
        if ours && age.is_some_and(|age| age > STALE) {
            std::fs::remove_dir_all(entry.path()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut all: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        all.sort();
        all
    }

    #[test]
    fn a_bundle_appears_whole_or_not_at_all() {
        let out = tempfile::tempdir().unwrap();
        let root = out.path().join("tasks");
        let dropped = Staging::new(&root).unwrap();
        std::fs::write(dropped.path().join("x"), "half").unwrap();
        drop(dropped);
        assert!(names(&root).is_empty());

        for (text, force) in [("one", false), ("two", true)] {
            let staging = Staging::new(&root).unwrap();
            std::fs::write(staging.path().join("x"), text).unwrap();
            let place = staging.publish("t", force).unwrap();
            assert_eq!(std::fs::read_to_string(place.join("x")).unwrap(), text);
        }
        let again = Staging::new(&root).unwrap();
        let error = again.publish("t", false).unwrap_err();
        assert!(error.is_usage() && error.to_string().contains("--force"), "{error}");
        assert_eq!(names(&root), ["t"]);
    }

    #[test]
    fn what_killed_commands_left_is_swept_after_a_day() {
        let out = tempfile::tempdir().unwrap();
        std::fs::create_dir(out.path().join(".forge-dead")).unwrap();
        std::fs::create_dir(out.path().join("task")).unwrap();
        let now = SystemTime::now();
        sweep(out.path(), now);
        assert_eq!(names(out.path()), [".forge-dead", "task"]);
        sweep(out.path(), now + STALE + Duration::from_secs(60));
        assert_eq!(names(out.path()), ["task"]);
    }

    #[test]
    fn an_unwritable_place_is_an_environment_error() {
        let out = tempfile::tempdir().unwrap();
        let file = out.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = Staging::new(&file.join("tasks")).unwrap_err();
        assert!(!error.is_usage() && error.to_string().contains("file/tasks"), "{error}");
    }
}
