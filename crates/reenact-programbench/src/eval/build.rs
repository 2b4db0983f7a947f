//! A submission, built: the official steps in the official order, in a container that ends with the build.

use super::error::EvalError;
use super::images::{Base, Images, Scratch};
use super::options::Options;
use super::station::{Halt, Station, StepError, WORKSPACE};
use reenact_bundle::fsx::fs_error;
use reenact_interop::programbench::{LogEntry, step};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the executable is kept between build and tests.
pub(super) const STASH: &str = "/opt/programbench-stashed-executable-do-not-modify";
/// Time for a tarball to be unpacked.
pub(super) const UNPACK: Duration = Duration::from_secs(300);
const SHORT: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(300);

/// A synthetic repository, for builds that ask git who they are; the same tree gives the same commit.
const SEED_GIT: &str = "if [ ! -d .git ]; then \
    export GIT_AUTHOR_DATE='2000-01-01T00:00:00Z' GIT_COMMITTER_DATE='2000-01-01T00:00:00Z' && \
    git -c init.defaultBranch=gold init -q && \
    git -c user.email=gold@local -c user.name=gold -c commit.gpgsign=false add -A && \
    git -c user.email=gold@local -c user.name=gold -c commit.gpgsign=false commit -q --allow-empty -m gold; \
    fi";

/// What a build left.
pub(super) struct Built<'a> {
    /// What lies over the image in containers of its tests; kept as long as they run.
    scratch: Scratch<'a>,
    /// SHA-256 of the executable, hex.
    pub executable: String,
    /// Isolation layers that were in force.
    pub isolation: BTreeMap<String, String>,
}

impl Built<'_> {
    /// The layer of what the build changed.
    pub(super) fn layer(&self) -> PathBuf {
        self.scratch.upper()
    }
}

/// How a build ended; the log is complete either way.
pub(super) enum Outcome<'a> {
    Built(Box<Built<'a>>),
    Failed(StepError),
}

/// Builds. Every entry of the log is there, whatever stopped it.
pub(super) fn build<'a>(
    base: &Base,
    submission: &Path,
    hashes: &[String],
    images: &'a dyn Images,
    options: &'a Options,
    log: &mut Vec<LogEntry>,
) -> Result<Outcome<'a>, EvalError> {
    let station = Station::start(base, &[], images, options, false)?;
    let isolation = station.layers();
    match steps(&station, submission, hashes, options, log) {
        Ok(executable) => {
            let scratch = station.finish();
            Ok(Outcome::Built(Box::new(Built { scratch, executable, isolation })))
        }
        Err(Halt::Step(error)) => Ok(Outcome::Failed(error)),
        Err(Halt::Harness(error)) => Err(error),
    }
}

fn steps(
    station: &Station<'_>,
    submission: &Path,
    hashes: &[String],
    options: &Options,
    log: &mut Vec<LogEntry>,
) -> Result<String, Halt> {
    wipe(station, log)?;
    let archive = std::fs::File::open(submission).map_err(fs_error(submission, "read"))?;
    if let Err(why) = station.unpack(Box::new(archive), "-xzf", UNPACK)? {
        return Err(Halt::Step(StepError { code: "bad_submission".to_owned(), details: why }));
    }
    if !hashes.is_empty() {
        let command = format!(
            "find {WORKSPACE} -type f -exec sha256sum {{}} + 2>/dev/null | grep -E \"^({})  \" | cut -c67- | xargs -I% rm -fv %",
            hashes.join("|")
        );
        log.push(station.step(step::REMOVE_HASHED_FILES, &command, SHORT)?.entry);
    }
    station.must(log, step::CLEAR_STALE_EXECUTABLE, "rm -f ./executable", SHORT)?;
    station.must(log, step::SEED_GIT, SEED_GIT, SHORT)?;
    let command = "chmod +x ./compile.sh && ./compile.sh";
    station.must(log, step::COMPILE, command, options.compile_timeout)?;
    station.must(log, step::COPY_EXECUTABLE, &format!("mv ./executable {STASH}"), LONG)?;
    let output = station.must(log, step::HASH_EXECUTABLE, &format!("sha256sum {STASH}"), LONG)?;
    // Nothing is installed: what runs tests again comes with us, and is put beside each branch.
    let command = "python3 -B -c 'import pytest; print(\"pytest\", pytest.__version__)'";
    log.push(station.step("install_rerunfailures", command, Duration::from_secs(120))?.entry);
    Ok(first_word(&output))
}

/// Empties the workspace.
pub(super) fn wipe(station: &Station<'_>, log: &mut Vec<LogEntry>) -> Result<(), Halt> {
    let command = format!("rm -rf {WORKSPACE}/* {WORKSPACE}/.[!.]*");
    match station.must(log, step::WIPE_WORKSPACE, &command, LONG) {
        Ok(_) => Ok(()),
        // Nothing of the submission is there yet.
        Err(Halt::Step(e)) => Err(station.unfit(&format!("{}: {}", e.code, e.details)).into()),
        Err(other) => Err(other),
    }
}

pub(super) fn first_word(text: &str) -> String {
    text.split_whitespace().next().unwrap_or_default().to_owned()
}
