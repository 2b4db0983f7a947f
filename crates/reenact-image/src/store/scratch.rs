//! Writable layers of containers.

use super::Store;
use super::files::{OWNER, age, is_free, is_old, locked_file, private_dir};
use crate::error::{ImageError, io_error};
use reenact_sandbox::unpack::remove_tree;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// In a scratch directory that outlives its owner.
const KEEP: &str = ".keep";
/// How long a kept one outlives its owner.
pub const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// Owners' locks of this process.
static OWNED: Mutex<BTreeMap<PathBuf, File>> = Mutex::new(BTreeMap::new());

impl Store {
    /// An empty directory on the store's file system for a container's changes. It stays until [`Store::remove_scratch`];
    /// [`Store::gc`] removes those whose owner, this process, has gone.
    ///
    /// # Errors
    /// [`ImageError::Io`].
    pub fn scratch(&self) -> Result<PathBuf, ImageError> {
        let parent = self.scratches();
        let dir = tempfile::Builder::new()
            .prefix("s-")
            .tempdir_in(&parent)
            .map_err(io_error(parent.display()))?;
        let held = locked_file(dir.path(), OWNER, b"")?;
        let path = dir.keep();
        OWNED.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone(), held);
        Ok(path)
    }

    /// Makes this process the owner of a scratch directory: for one that another process made.
    ///
    /// # Errors
    /// [`ImageError::Io`].
    pub fn own_scratch(&self, scratch: &Path) -> Result<(), ImageError> {
        let held = locked_file(scratch, OWNER, b"")?;
        OWNED.lock().unwrap_or_else(PoisonError::into_inner).insert(scratch.to_path_buf(), held);
        Ok(())
    }

    /// Keeps a scratch directory when its owner has gone (a stopped container's), for a week.
    ///
    /// # Errors
    /// [`ImageError::Io`].
    pub fn keep_scratch(&self, scratch: &Path) -> Result<(), ImageError> {
        let path = scratch.join(KEEP);
        File::create(&path).map(drop).map_err(io_error(path.display()))
    }

    /// Removes a scratch directory, whatever a container has made of it.
    ///
    /// # Errors
    /// [`ImageError::Io`]; [`ImageError::Other`] if it is none of this store's.
    pub fn remove_scratch(&self, scratch: &Path) -> Result<(), ImageError> {
        if scratch.parent() != Some(self.scratches().as_path()) {
            let what = format!("{} is no scratch directory of this store", scratch.display());
            return Err(ImageError::Other(what));
        }
        OWNED.lock().unwrap_or_else(PoisonError::into_inner).remove(scratch);
        // By one of those who want it removed: two removing the same would stop at what the other one has removed.
        let Some(gone) = self.set_aside(scratch)? else { return Ok(()) };
        remove_tree(&gone).map_err(io_error(scratch.display()))
    }

    /// Scratch directories that nobody needs any more.
    pub(super) fn abandoned(&self) -> Result<Vec<PathBuf>, ImageError> {
        let dir = self.scratches();
        private_dir(&dir)?;
        let fail = || io_error(dir.display());
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&dir).map_err(fail())? {
            let path = entry.map_err(fail())?.path();
            let over = match is_free(&path.join(OWNER)) {
                Some(free) => free,
                // Just made, or half removed.
                None => is_old(&path),
            };
            let kept = age(&path.join(KEEP)).is_some_and(|age| age < KEPT_FOR);
            if over && !kept {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }
}
