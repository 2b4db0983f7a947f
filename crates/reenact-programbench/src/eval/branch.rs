//! One branch: its suite run in a container of its own, again where workers died, and once more for the strict score where
//! the submission could have a hand in pytest.

use super::build::{STASH, UNPACK, first_word};
use super::channel::{Channel, Evidence, Told};
use super::clean::Clean;
use super::error::EvalError;
use super::images::{Base, Images};
use super::official::{error, inject_not_run, process, unreadable};
use super::options::Options;
use super::plugin;
use super::station::{Halt, Station, StepError, text};
use crate::dataset::Instance;
use reenact_bundle::fsx::fs_error;
use reenact_interop::junit::{Junit, JunitError, Limits, parse};
use reenact_interop::programbench::{LogEntry, TestBranchError, TestResult, step};
use reenact_sandbox::container::Network;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const RESULTS: &str = "/workspace/eval/results.xml";

/// What all branches of an instance share.
pub(super) struct Job<'a> {
    pub instance: &'a Instance,
    pub base: &'a Base,
    /// What the build changed.
    pub layer: PathBuf,
    pub executable: &'a str,
    pub clean: &'a Clean<'a>,
    pub images: &'a dyn Images,
    pub options: &'a Options,
}

/// A branch's result, and what it rests on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct BranchResult {
    pub branch: String,
    /// SHA-256 of the branch's archive.
    pub blob: String,
    pub results: Vec<TestResult>,
    pub errors: Vec<TestBranchError>,
    pub warnings: Vec<String>,
    pub log: Vec<LogEntry>,
    /// What the strict score rests on; `None`: nothing that the submission had no hand in.
    pub evidence: Option<Evidence>,
    /// Why the strict score has a run of its own.
    pub separate_run: bool,
    pub notes: Vec<String>,
    pub wall_s: f64,
}

/// One run of the suite.
struct Attempt {
    log: Vec<LogEntry>,
    evidence: Evidence,
    junit: Result<Result<Junit, JunitError>, StepError>,
}

/// Runs a branch.
pub(super) fn run(job: &Job<'_>, branch: &str) -> Result<BranchResult, EvalError> {
    let began = Instant::now();
    let blob = super::submission::digest(&job.instance.blob_path(branch))?;
    let mut out = BranchResult { branch: branch.to_owned(), blob, ..BranchResult::default() };
    let (last, history) = attempts(job, branch, &mut out.log)?;
    if history.len() > 1 {
        let seen: Vec<String> =
            history.iter().map(|(crashes, tests)| format!("{crashes}/{tests}")).collect();
        out.notes.push(format!(
            "run {} times; workers that died / tests of each run: {}",
            seen.len(),
            seen.join(", ")
        ));
    }
    let mut errors = BTreeMap::new();
    match last.junit {
        Ok(Ok(junit)) => (out.results, out.warnings) = process(junit, branch, job.instance),
        Ok(Err(problem)) => {
            failed(job, branch, unreadable(&problem, branch), &mut errors, &mut out)
        }
        Err(e) => failed(job, branch, error(&e.code, e.details), &mut errors, &mut out),
    }
    out.errors = errors.remove(branch).unwrap_or_default();
    out.notes.extend(super::packages::wanted(&out.log, &out.results));
    match job.clean {
        Clean::Same => out.evidence = Some(last.evidence),
        Clean::Layer { layer, .. } => {
            out.separate_run = true;
            out.evidence = Some(strict_run(job, branch, layer, &mut out.notes)?);
        }
        Clean::Unsure { .. } => {}
    }
    out.wall_s = began.elapsed().as_secs_f64();
    Ok(out)
}

fn failed(
    job: &Job<'_>,
    branch: &str,
    problem: TestBranchError,
    errors: &mut BTreeMap<String, Vec<TestBranchError>>,
    out: &mut BranchResult,
) {
    let code = problem.error_code.clone();
    errors.insert(branch.to_owned(), vec![problem]);
    out.results = inject_not_run(job.instance, branch, &code, errors);
}

/// The official rules of trying again: a step that failed, or workers that died; the run with the most tests that were not
/// lost counts, and two runs alike end it.
fn attempts(
    job: &Job<'_>,
    branch: &str,
    log: &mut Vec<LogEntry>,
) -> Result<(Attempt, Vec<(usize, usize)>), EvalError> {
    let mut left = job.options.branch_retries;
    let mut best: Option<(Attempt, usize)> = None;
    let mut history: Vec<(usize, usize)> = Vec::new();
    let mut serial = false;
    loop {
        let mut attempt = attempt(job, branch, &job.layer, serial)?;
        log.append(&mut attempt.log);
        let (crashes, tests) = match &attempt.junit {
            Err(_) => match best {
                Some((best, _)) => return Ok((best, history)),
                None if left == 0 => return Ok((attempt, history)),
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
        let kept = match best {
            Some((best, most)) if useful <= most => (best, most),
            _ => (attempt, useful),
        };
        if crashes == 0 || left == 0 || alike {
            return Ok((kept.0, history));
        }
        best = Some(kept);
        serial = true;
        left -= 1;
    }
}

/// The run that the strict score rests on, where the official one's container is not clean.
fn strict_run(
    job: &Job<'_>,
    branch: &str,
    layer: &Path,
    notes: &mut Vec<String>,
) -> Result<Evidence, EvalError> {
    let first = attempt(job, branch, layer, false)?;
    let late = first.evidence.tests.values().any(|t| *t == Told::LateWorker);
    let done = if late && job.options.branch_retries > 0 {
        attempt(job, branch, layer, true)?
    } else {
        first
    };
    if let Err(e) = &done.junit {
        notes.push(format!("the run for the strict score: {}: {}", e.code, e.details));
    }
    Ok(done.evidence)
}

/// Runs the suite once. A step that fails is part of the result.
fn attempt(job: &Job<'_>, branch: &str, layer: &Path, serial: bool) -> Result<Attempt, EvalError> {
    let station =
        Station::start(job.base, &[layer.to_path_buf()], job.images, job.options, serial)?;
    let mut log = Vec::new();
    let mut evidence = Evidence::default();
    let junit = match steps(job, branch, &station, &mut log, &mut evidence) {
        Ok(junit) => Ok(junit),
        Err(Halt::Step(e)) => Err(e),
        Err(Halt::Harness(e)) => return Err(e),
    };
    if let Some(entry) =
        log.last_mut().filter(|e| e.step == step::RESULTS_READ && e.returncode == 0)
    {
        entry.branch = Some(branch.to_owned());
    }
    Ok(Attempt { log, evidence, junit })
}

fn steps(
    job: &Job<'_>,
    branch: &str,
    station: &Station<'_>,
    log: &mut Vec<LogEntry>,
    evidence: &mut Evidence,
) -> Result<Result<Junit, JunitError>, Halt> {
    let blob = job.instance.blob_path(branch);
    let archive = std::fs::File::open(&blob).map_err(fs_error(&blob, "read"))?;
    if let Err(what) = station.unpack(Box::new(archive), "-xzf", UNPACK)? {
        return Err(EvalError::BadBlob { blob, what }.into());
    }
    restore(job, station, log)?;
    station.must(
        log,
        "clean_stale_results",
        "rm -f eval/results.xml results.xml",
        Duration::from_secs(120),
    )?;
    // With the method `thread`, a test that takes too long ends its whole worker, and the tests that were to follow are lost.
    let command = "test -f eval/run.sh && sed -i 's/--timeout-method=thread/--timeout-method=signal/g' eval/run.sh || true";
    log.push(station.step("patch_timeout_method", command, Duration::from_secs(10))?.entry);
    station.must(log, "install_pytest_timeout_retry", plugin::PREPARE, Duration::from_secs(10))?;
    put_plugin(station)?;
    let (channel, theirs) = Channel::open()?;
    let command = plugin::run_command(job.options.network == Network::None);
    let ran = station.step_with(step::RUN_TESTS, &command, job.options.test_timeout, vec![theirs]);
    *evidence = channel.close();
    log.push(ran?.entry);
    read_results(station, log)
}

fn restore(job: &Job<'_>, station: &Station<'_>, log: &mut Vec<LogEntry>) -> Result<(), Halt> {
    let long = Duration::from_secs(300);
    let command = format!("rm -f ./executable && mv {STASH} ./executable && chmod +x ./executable");
    station.must(log, "restore_executable", &command, long)?;
    let output = station.must(log, "verify_executable_hash", "sha256sum ./executable", long)?;
    let hash = first_word(&output);
    if hash == job.executable {
        return Ok(());
    }
    let details = format!("expected {}, got {hash}", job.executable);
    Err(Halt::Step(StepError { code: "executable_hash_mismatch".to_owned(), details }))
}

fn put_plugin(station: &Station<'_>) -> Result<(), EvalError> {
    let path = Path::new(plugin::FILE);
    station
        .container()
        .create(plugin::FILE, 0o644, 0, 0)
        .and_then(|mut file| file.write_all(plugin::SOURCE.as_bytes()))
        .map_err(fs_error(path, "write (in the container)"))?;
    Ok(())
}

/// The result file, wherever its name leads in the container; never more of it than the limit.
fn read_results(
    station: &Station<'_>,
    log: &mut Vec<LogEntry>,
) -> Result<Result<Junit, JunitError>, Halt> {
    let limits = Limits::default();
    let began = Instant::now();
    let too_large = || JunitError::TooLarge { what: "bytes", limit: limits.bytes };
    let read = || -> Result<Option<Vec<u8>>, String> {
        let file = station.container().open(RESULTS).map_err(|e| e.to_string())?;
        let meta = file.metadata().map_err(|e| e.to_string())?;
        if !meta.is_file() {
            return Err("is no regular file".to_owned());
        }
        let mut bytes = Vec::new();
        if meta.len() <= limits.bytes as u64 {
            file.take(limits.bytes as u64 + 1)
                .read_to_end(&mut bytes)
                .map_err(|e| e.to_string())?;
        }
        // What is still written to may have grown meanwhile.
        Ok((meta.len().max(bytes.len() as u64) <= limits.bytes as u64).then_some(bytes))
    };
    let mut entry = LogEntry {
        step: step::RESULTS_READ.to_owned(),
        command: format!("read {RESULTS}"),
        wall_time: 0.0,
        output: String::new(),
        returncode: 0,
        exception_info: String::new(),
        branch: None,
        other: BTreeMap::new(),
    };
    let result = match read() {
        Err(why) => {
            entry.returncode = 1;
            entry.output = format!("{RESULTS}: {why}");
            Err(StepError { code: "results_read_failed".to_owned(), details: entry.output.clone() })
        }
        Ok(None) => {
            entry.output = format!("[more than {} bytes: not kept]", limits.bytes);
            Ok(Err(too_large()))
        }
        Ok(Some(bytes)) => match std::str::from_utf8(&bytes) {
            Ok(_) => {
                entry.output = text(&bytes);
                Ok(parse(&entry.output, &limits))
            }
            Err(e) => {
                entry.output = text(&bytes);
                Ok(Err(JunitError::Malformed {
                    at: e.valid_up_to() as u64,
                    what: "is not UTF-8".to_owned(),
                }))
            }
        },
    };
    entry.wall_time = began.elapsed().as_secs_f64();
    log.push(entry);
    result.map_err(Halt::Step)
}
