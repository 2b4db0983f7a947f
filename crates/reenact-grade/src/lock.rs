//! One grader at a time on a run directory.

use crate::error::GradeError;
use crate::rundir::RunDir;
use reenact_bundle::fsx::fs_error;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Holds the run's lock until dropped. The kernel lets go of it when the process dies, however it dies.
#[derive(Debug)]
pub(crate) struct RunLock {
    file: File,
}

/// A process forked for a cell shares the lock until it executes its program. One that outlives its killed parent by that
/// moment is waited for this long before the lock counts as held.
const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(10);

impl RunLock {
    pub(crate) fn take(run: &RunDir) -> Result<Self, GradeError> {
        let dir = run.private();
        std::fs::create_dir_all(&dir).map_err(fs_error(&dir, "create"))?;
        let path = dir.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(fs_error(&path, "open"))?;
        match lock_patiently(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Who holds it is a courtesy; that it is held is the fact.
                file.read_to_string(&mut text).ok();
                return Err(GradeError::Locked {
                    run: run.root.clone(),
                    pid: text.trim().parse().ok(),
                });
            }
            Err(TryLockError::Error(e)) => return Err(fs_error(&path, "lock")(e).into()),
        }
        file.set_len(0).map_err(fs_error(&path, "write"))?;
        file.write_all(format!("{}\n", std::process::id()).as_bytes())
            .map_err(fs_error(&path, "write"))?;
        Ok(Self { file })
    }
}

fn lock_patiently(file: &File) -> Result<(), TryLockError> {
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => sleep(PAUSE),
            other => return other,
        }
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // Closing would do, but for a process that is being forked at this moment and shares the lock. If it cannot be
        // unlocked, closing it has to do.
        self.file.unlock().ok();
    }
}
