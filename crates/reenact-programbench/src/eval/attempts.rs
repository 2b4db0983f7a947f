//! The official runs of a branch: again where a step failed or workers died.

use super::branch::Job;
use super::channel::Told;
use super::error::EvalError;
use super::meddling::Protected;
use super::suite::{Attempt, How, attempt};
use reenact_interop::programbench::{LogEntry, step};

/// The official runs of a branch.
pub(super) struct Attempts {
    /// The one that counts.
    pub kept: Attempt,
    /// The one with a single worker, where it is another.
    pub serial: Option<Attempt>,
    /// Workers that died, and tests, of each.
    pub history: Vec<(usize, usize)>,
}

/// The official rules of trying again: a step that failed, or workers that died; the run with the most tests that were not
/// lost counts, and two runs alike end it.
pub(super) fn attempts(
    job: &Job<'_>,
    branch: &str,
    protected: &Protected,
    log: &mut Vec<LogEntry>,
) -> Result<Attempts, EvalError> {
    let mut left = job.options.branch_retries;
    let mut best: Option<(Attempt, usize)> = None;
    let mut history: Vec<(usize, usize)> = Vec::new();
    let mut serial = false;
    // Where each run's result file is in the log.
    let mut read: Vec<Option<usize>> = Vec::new();
    let mut kept_at = 0;
    loop {
        let how = How { branch, layer: &job.layer, serial, read_only: None };
        let mut attempt = attempt(job, protected, how)?;
        log.append(&mut attempt.log);
        let last = log.len().checked_sub(1).filter(|i| log[*i].step == step::RESULTS_READ);
        read.push(last);
        let (crashes, tests) = match &attempt.junit {
            Err(_) => match best {
                Some((kept, _)) => {
                    only(log, &read, kept_at);
                    return Ok(Attempts { kept, serial: None, history });
                }
                None if left == 0 => return Ok(Attempts { kept: attempt, serial: None, history }),
                None => {
                    left -= 1;
                    continue;
                }
            },
            Ok(Ok(junit)) => (junit.worker_crashes, junit.testcases),
            Ok(Err(_)) => (0, 0),
        };
        let alike = history.last() == Some(&(crashes, tests));
        history.push((crashes, tests));
        let useful = tests.saturating_sub(crashes);
        let (kept, most, other) = match best {
            Some((best, most)) if useful <= most => (best, most, Some(attempt)),
            _ => {
                kept_at = read.len() - 1;
                (attempt, useful, None)
            }
        };
        if crashes == 0 || left == 0 || alike {
            only(log, &read, kept_at);
            return Ok(Attempts { kept, serial: other.filter(|a| a.serial), history });
        }
        best = Some((kept, most));
        serial = true;
        left -= 1;
    }
}

/// Of several runs, the log names the branch at the result file that counts alone: whoever reads it takes the last that does.
fn only(log: &mut [LogEntry], read: &[Option<usize>], kept: usize) {
    for (i, at) in read.iter().enumerate() {
        if let Some(at) = at.filter(|_| i != kept) {
            log[at].branch = None;
        }
    }
}

/// Whether a worker replaced one that died, and so was started after the program under test.
pub(super) fn has_late_workers(run: &Attempt) -> bool {
    run.evidence.tests.values().any(|t| *t == Told::LateWorker)
}
