//! A branch's suite: laid out in a layer of its own, and run on it.

use super::branch::Job;
use super::build::{STASH, UNPACK, first_word};
use super::channel::{Channel, Evidence};
use super::error::EvalError;
use super::images::Scratch;
use super::meddling::{Meddled, Protected};
use super::output::{excerpt, text};
use super::plugin;
use super::station::{Halt, Station, StepError};
use reenact_bundle::fsx::fs_error;
use reenact_interop::junit::{Junit, JunitError, Limits, parse};
use reenact_interop::programbench::{LogEntry, step};
use reenact_sandbox::container::Network;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

const RESULTS: &str = "/workspace/eval/results.xml";

/// One run of the suite.
pub(super) struct Attempt {
    /// With one worker of pytest-xdist.
    pub serial: bool,
    pub log: Vec<LogEntry>,
    pub evidence: Evidence,
    /// What was changed of what the tests rest on.
    pub meddled: Meddled,
    /// `Err`: a step failed.
    pub junit: Result<Result<Junit, JunitError>, StepError>,
}

/// How to run it.
#[derive(Clone, Copy)]
pub(super) struct How<'a> {
    pub branch: &'a str,
    /// What the build left.
    pub layer: &'a Path,
    /// One worker of pytest-xdist.
    pub serial: bool,
    /// Places that nobody can change then, and no result file: for the strict score alone.
    pub read_only: Option<&'a [String]>,
}

/// Runs the suite once. A step that fails is part of the result.
pub(super) fn attempt(
    job: &Job<'_>,
    protected: &Protected,
    how: How<'_>,
) -> Result<Attempt, EvalError> {
    let (mut log, mut evidence, mut meddled) =
        (Vec::new(), Evidence::default(), Meddled::default());
    let junit = match steps(job, protected, how, &mut log, &mut evidence, &mut meddled) {
        Ok(junit) => Ok(junit),
        Err(Halt::Step(e)) => Err(e),
        Err(Halt::Harness(e)) => return Err(e),
    };
    if let Some(entry) =
        log.last_mut().filter(|e| e.step == step::RESULTS_READ && e.returncode == 0)
    {
        entry.branch = Some(how.branch.to_owned());
    }
    Ok(Attempt { serial: how.serial, log, evidence, meddled, junit })
}

fn steps(
    job: &Job<'_>,
    protected: &Protected,
    how: How<'_>,
    log: &mut Vec<LogEntry>,
    evidence: &mut Evidence,
    meddled: &mut Meddled,
) -> Result<Result<Junit, JunitError>, Halt> {
    let suite = lay_out(job, how, log)?;
    let station = Station::start_read_only(
        job.base,
        &[suite.upper(), how.layer.to_path_buf()],
        how.read_only.map(<[String]>::to_vec).unwrap_or_default(),
        job.images,
        job.options,
        how.serial,
    )?;
    let (channel, theirs) = Channel::open()?;
    let offline = job.options.network == Network::None;
    let command = plugin::run_command(offline, how.read_only.is_some());
    let ran = station.step_with(step::RUN_TESTS, &command, job.options.test_timeout, vec![theirs]);
    *evidence = channel.close();
    log.push(ran?.entry);
    let junit = read_results(&station, log);
    // Everything in it ends here, so that nothing changes while it is looked at.
    let changes = station.finish();
    if let Some(began) = evidence.began {
        *meddled = protected.look(&changes.upper(), began);
    }
    junit
}

/// Puts suite, executable and plugin where they belong, in a container of its own: what the tests then change is in another
/// layer, and can be told from it.
fn lay_out<'a>(job: &Job<'a>, how: How<'_>, log: &mut Vec<LogEntry>) -> Result<Scratch<'a>, Halt> {
    let layers = [how.layer.to_path_buf()];
    let station = Station::start(job.base, &layers, job.images, job.options, how.serial)?;
    let blob = job.instance.blob_path(how.branch);
    let archive = std::fs::File::open(&blob).map_err(fs_error(&blob, "read"))?;
    if let Err(why) = station.unpack(Box::new(archive), "-xzf", UNPACK)? {
        return Err(not_unpacked(job, &blob, why));
    }
    restore(job, &station, log)?;
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
    put_plugin(&station)?;
    if how.read_only.is_some() {
        // Later nobody can; a suite without the script fails by its absence.
        station.step("", "chmod +x ./eval/run.sh", Duration::from_secs(10))?;
    }
    Ok(station.finish())
}

/// Whose fault it is that an archive could not be unpacked: its own, if the image alone cannot do it either.
fn not_unpacked(job: &Job<'_>, blob: &Path, why: String) -> Halt {
    let alone = || -> Result<Result<(), String>, EvalError> {
        let station = Station::start(job.base, &[], job.images, job.options, false)?;
        let archive = std::fs::File::open(blob).map_err(fs_error(blob, "read"))?;
        station.unpack(Box::new(archive), "-xzf", UNPACK)
    };
    match alone() {
        Err(e) => e.into(),
        Ok(Err(what)) => EvalError::BadBlob { blob: blob.to_path_buf(), what }.into(),
        Ok(Ok(())) => {
            let details = format!("the tests cannot be unpacked on what the build left: {why}");
            Halt::Step(StepError { code: "copy_tests_failed".to_owned(), details })
        }
    }
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

fn put_plugin(station: &Station<'_>) -> Result<(), Halt> {
    let made = station
        .container()
        .create(plugin::FILE, 0o644, 0, 0)
        .and_then(|mut file| file.write_all(plugin::SOURCE.as_bytes()));
    let Err(error) = made else { return Ok(()) };
    station.has_room()?;
    // Its directory was just made there: somebody has removed it.
    let details = format!("{}: {error}", plugin::FILE);
    let code = "install_pytest_timeout_retry_failed".to_owned();
    Err(Halt::Step(StepError { code, details }))
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
    let (result, kept) = match read() {
        Err(why) => {
            station.has_room()?;
            let details = format!("{RESULTS}: {why}");
            let code = "results_read_failed".to_owned();
            (Err(StepError { code, details: details.clone() }), details)
        }
        Ok(None) => (Ok(Err(too_large())), String::new()),
        Ok(Some(bytes)) => understood(&bytes, &limits),
    };
    entry.wall_time = began.elapsed().as_secs_f64();
    entry.output = kept;
    if let Ok(Err(problem)) = &result {
        station.has_room()?;
        // The official tool takes an entry that succeeded for a result file that it can read, and ends the whole instance
        // where it cannot; without one it goes by the branch's error.
        entry.returncode = 1;
        entry.output = format!("{RESULTS} {problem}\n{}", excerpt(&entry.output));
    } else if result.is_err() {
        entry.returncode = 1;
    }
    log.push(entry);
    result.map_err(Halt::Step)
}

/// What a result file says, and its text.
fn understood(
    bytes: &[u8],
    limits: &Limits,
) -> (Result<Result<Junit, JunitError>, StepError>, String) {
    let text = text(bytes);
    let junit = match std::str::from_utf8(bytes) {
        Ok(_) => parse(&text, limits),
        Err(e) => Err(JunitError::Malformed {
            at: e.valid_up_to() as u64,
            what: "is not UTF-8".to_owned(),
        }),
    };
    (Ok(junit), text)
}
