//! One process at a time: a locked file that says who holds it.

use crate::fsx::{FsError, fs_error};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Holds a lock until dropped. The kernel lets go of it when the process dies, however it dies.
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it; its id, where it could be read.
    #[error("another process holds the lock")]
    Held { pid: Option<u32> },
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// A process forked for a cell shares the lock until it executes its program. One that outlives its killed parent by that
/// moment is waited for this long before the lock counts as held.
const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(10);

impl FileLock {
    /// Locks `path`, making it and its directory where they are missing.
    ///
    /// # Errors
    /// [`LockError::Held`]; [`LockError::Fs`] if the file cannot be made, locked or written.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(fs_error(dir, "create"))?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(fs_error(path, "open"))?;
        match patiently(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Who holds it is a courtesy; that it is held is the fact.
                file.read_to_string(&mut text).ok();
                return Err(LockError::Held { pid: text.trim().parse().ok() });
            }
            Err(TryLockError::Error(e)) => return Err(fs_error(path, "lock")(e).into()),
        }
        file.set_len(0).map_err(fs_error(path, "write"))?;
        file.write_all(format!("{}\n", std::process::id()).as_bytes())
            .map_err(fs_error(path, "write"))?;
        Ok(Self { file })
    }
}

fn patiently(file: &File) -> Result<(), TryLockError> {
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => {
                std::thread::sleep(PAUSE);
            }
            other => return other,
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing would do, but for a process that is being forked at this moment and shares the lock. If it cannot be
        // unlocked, closing it has to do.
        self.file.unlock().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time_and_it_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("private/lock");
        let first = FileLock::take(&path).unwrap();
        match FileLock::take(&path) {
            Err(LockError::Held { pid }) => assert_eq!(pid, Some(std::process::id())),
            other => panic!("{other:?}"),
        }
        drop(first);
        FileLock::take(&path).unwrap();
    }
}
