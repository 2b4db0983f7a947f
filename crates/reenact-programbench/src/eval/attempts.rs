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
        read.push(append(log, &mut attempt.log));
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

/// Puts a run's log behind those before it. Where its result file is in the whole, if it came to that.
fn append(log: &mut Vec<LogEntry>, run: &mut Vec<LogEntry>) -> Option<usize> {
    let read = run.last().is_some_and(|e| e.step == step::RESULTS_READ);
    log.append(run);
    log.len().checked_sub(1).filter(|_| read)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(step: &str, branch: Option<&str>) -> LogEntry {
        serde_json::from_value(serde_json::json!({"step": step, "branch": branch})).unwrap()
    }

    #[test]
    fn a_run_without_a_log_takes_no_branch_from_the_one_before() {
        let whole = || vec![entry(step::RUN_TESTS, None), entry(step::RESULTS_READ, Some("b"))];
        let named = |runs: &mut [Vec<LogEntry>], kept| {
            let mut log = vec![entry("compile", None)];
            let read: Vec<_> = runs.iter_mut().map(|run| append(&mut log, run)).collect();
            only(&mut log, &read, kept);
            log.iter().map(|e| e.branch.is_some()).collect::<Vec<_>>()
        };
        // The second failed before its first step.
        assert_eq!(named(&mut [whole(), Vec::new()], 0), [false, false, true]);
        assert_eq!(named(&mut [whole(), whole()], 0), [false, false, true, false, false]);
        assert_eq!(named(&mut [whole(), whole()], 1), [false, false, false, false, true]);
    }
}
