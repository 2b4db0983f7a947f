//! Ways to build a crate, tried in turn.

use super::build::{self, Outcome, Plan};
use super::fetch::{self, Fetched};
use super::metadata::{self, Target};
use super::prune;
use crate::error::ForgeError;
use crate::provenance::ArchiveRecord;
use reenact_bundle::Progress;
use reenact_bundle::shape::CellOptions;
use reenact_sandbox::host::HostCommand;
use std::path::Path;

/// A build that worked, and what it was made from.
pub(super) struct Built {
    pub reference: Vec<u8>,
    pub log: String,
    pub dependencies: Vec<ArchiveRecord>,
    pub notes: Vec<String>,
    pub findings: Vec<String>,
}

/// Everything an attempt needs that does not change between attempts.
struct Bench<'a> {
    fetched: &'a Fetched,
    target: &'a Target,
    host: String,
    masks: &'a [String],
    work: &'a Path,
    cells: &'a CellOptions,
    progress: &'a dyn Progress,
}

/// Builds statically with the shipped lock file; then with a fresh resolution, because old lock files name crates that new
/// compilers refuse; then both again with a dynamic C library, unless it was the source that the compiler refused.
///
/// # Errors
/// [`ForgeError::Build`] if no way works; those of fetching and of the sandbox.
pub(super) fn build(
    fetched: &Fetched,
    target: &Target,
    masks: &[String],
    work: &Path,
    cells: &CellOptions,
    progress: &dyn Progress,
) -> Result<Built, ForgeError> {
    let bench = Bench { fetched, target, host: host_triple()?, masks, work, cells, progress };
    let fresh_or_not: &[bool] = if fetched.ships_lock { &[false, true] } else { &[true] };
    let mut log = String::new();
    let mut last = String::new();
    for static_link in [true, false] {
        let before = log.len();
        for fresh in fresh_or_not {
            match attempt(&bench, static_link, *fresh, &mut log)? {
                Ok(mut built) => {
                    if !static_link {
                        let text = format!("static build failed ({last}); built dynamically");
                        built.findings.push(text);
                    }
                    built.log = log;
                    return Ok(built);
                }
                Err(how) => last = how,
            }
        }
        if build::is_source_error(&log[before..]) {
            break;
        }
    }
    Err(ForgeError::Build {
        name: format!("crate:{}@{}", fetched.name, fetched.version),
        how: last,
        tail: build::telling_lines(&log),
    })
}

/// One attempt; the inner error says how the build ended.
fn attempt(
    bench: &Bench<'_>,
    static_link: bool,
    fresh: bool,
    log: &mut String,
) -> Result<Result<Built, String>, ForgeError> {
    let Bench { fetched, target, host, progress, .. } = bench;
    let (dependencies, obeyed, emptied) = provide(fetched, fresh, host, target, *progress)?;
    let plan =
        Plan { bin: target.name.clone(), features: target.required_features.clone(), static_link };
    let lock = if obeyed { "shipped" } else { "fresh" };
    let tree = &fetched.tree;
    match build::build(tree, &plan, bench.masks, bench.cells, bench.work, log, *progress)? {
        Outcome::Built(reference) => {
            let mut notes = vec![format!("lock file: {lock}")];
            if emptied > 0 {
                notes.push(format!(
                    "{emptied} vendored packages not compiled for {host} were emptied"
                ));
            }
            let (log, findings) = (String::new(), Vec::new());
            Ok(Ok(Built { reference, log, dependencies, notes, findings }))
        }
        Outcome::Failed(how) => {
            progress.note(&format!("build with {lock} lock file failed: {how}"));
            Ok(Err(how))
        }
    }
}

/// Vendored dependencies with the unused ones emptied, unless cargo then refuses the tree: then nothing is emptied.
/// Returns the archives, whether the shipped lock file was obeyed, and how many packages were emptied.
fn provide(
    fetched: &Fetched,
    fresh: bool,
    host: &str,
    target: &Target,
    progress: &dyn Progress,
) -> Result<(Vec<ArchiveRecord>, bool, u64), ForgeError> {
    let features = &target.required_features;
    let (dependencies, obeyed) = fetch::vendor(fetched, fresh)?;
    let emptied = prune::prune(&fetched.tree, host, features)
        .and_then(|n| metadata::used(&fetched.tree, host, features).map(|_| n));
    match emptied {
        Ok(emptied) => Ok((dependencies, obeyed, emptied)),
        Err(error) => {
            progress.note(&format!("unused dependencies stay in the source tree: {error}"));
            let (dependencies, obeyed) = fetch::vendor(fetched, fresh)?;
            Ok((dependencies, obeyed, 0))
        }
    }
}

fn host_triple() -> Result<String, ForgeError> {
    let command = HostCommand::new("rustc", ["-vV"]);
    let output = crate::tool::run_ok(&command, "asking the compiler for its platform")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().find_map(|l| l.strip_prefix("host: ")).map(str::to_owned).ok_or_else(|| {
        ForgeError::host("`rustc -vV` names no host platform", "check the Rust installation")
    })
}
