//! The branches of an instance, some at once.

use super::branch::{self, BranchResult, Job};
use super::error::EvalError;
use super::partial::Partial;
use super::{Reporter, submission};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Runs branches; those of an evaluation that was stopped are in `done` already.
pub(super) fn test(
    job: &Job<'_>,
    branches: &[String],
    done: Vec<BranchResult>,
    partial: &Partial,
    reporter: &dyn Reporter,
) -> Result<Vec<BranchResult>, EvalError> {
    let id = job.instance.id.as_str();
    let unchanged = |r: &BranchResult| {
        submission::digest(&job.instance.blob_path(&r.branch)).is_ok_and(|d| d == r.blob)
    };
    let done: Vec<BranchResult> = done.into_iter().filter(unchanged).collect();
    let had: BTreeSet<String> = done.iter().map(|d| d.branch.clone()).collect();
    let todo: Vec<&String> = branches.iter().filter(|b| !had.contains(*b)).collect();
    let (total, resumed) = (branches.len(), branches.len() - todo.len());
    reporter.testing(id, total, resumed);
    let results = Mutex::new(done);
    let failed: Mutex<Option<EvalError>> = Mutex::new(None);
    let next = AtomicUsize::new(0);
    let finished = AtomicUsize::new(resumed);
    let worker = || {
        while let Some(branch) = todo.get(next.fetch_add(1, Ordering::SeqCst)) {
            if lock(&failed).is_some() {
                return;
            }
            match branch::run(job, branch).and_then(|r| partial.add(&r).map(|()| r)) {
                Ok(result) => {
                    lock(&results).push(result);
                    let n = finished.fetch_add(1, Ordering::SeqCst) + 1;
                    reporter.tested(id, branch, n, total);
                }
                Err(e) => {
                    lock(&failed).get_or_insert(e);
                    return;
                }
            }
        }
    };
    let workers = job.options.branch_workers.clamp(1, todo.len().max(1));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(worker);
        }
    });
    if let Some(e) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(e);
    }
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let order: BTreeMap<&String, usize> =
        branches.iter().enumerate().map(|(i, b)| (b, i)).collect();
    results.retain(|r| order.contains_key(&r.branch));
    results.sort_by_key(|r| order[&r.branch]);
    Ok(results)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
