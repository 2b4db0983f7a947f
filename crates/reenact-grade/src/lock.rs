//! One grader at a time on a run directory.

use crate::error::GradeError;
use crate::rundir::RunDir;
use reenact_bundle::lock::{FileLock, LockError};

/// Locks a run until what is given back is dropped.
pub(crate) fn lock(run: &RunDir) -> Result<FileLock, GradeError> {
    FileLock::take(&run.private().join("lock")).map_err(|e| match e {
        LockError::Held { pid } => GradeError::Locked { run: run.root.clone(), pid },
        LockError::Fs(e) => e.into(),
    })
}
