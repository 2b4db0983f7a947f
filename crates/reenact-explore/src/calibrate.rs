//! Calibration: every case is run again under other circumstances; what varies is masked or dropped.
//!
//! All circumstances are changed at once first. Only the few cases that then differ are run under each circumstance alone,
//! which names the culprit and gives the masks more observations to rest on.

use crate::environment::Environment;
use crate::error::ExploreError;
use crate::facts::{difference, unusable};
use crate::lab::{Circumstances, Lab, Seen};
use crate::record::{Recorded, record};
use reenact_model::{Case, CaseObservation, Digest};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A repetition for the perturbation `time` comes at least this long after the first run.
const LATER: Duration = Duration::from_millis(1_100);

/// Names of the perturbations, as they stand in `suite.toml` and in drop reasons.
pub const PERTURBATIONS: [&str; 7] =
    ["time", "pid", "cwd", "hostname", "aslr", "load", "stdin-chunks"];

/// The circumstances that one perturbation changes.
pub fn circumstances(name: &str) -> Circumstances {
    // A case that was quick when it was tried must not fall out because the machine is busy now.
    let mut how = Circumstances { full_limits: true, ..Circumstances::default() };
    change(&mut how, name);
    how
}

fn change(how: &mut Circumstances, name: &str) {
    match name {
        "pid" => how.perturb.skip_pids = 11,
        "cwd" => how.cwd = Some("/home/elsewhere/much/deeper".to_owned()),
        "hostname" => how.hostname = Some("elsewhere".to_owned()),
        "aslr" => how.perturb.no_aslr = true,
        "load" => how.load = true,
        "stdin-chunks" => how.perturb.stdin_chunk = Some(7),
        // `time` changes nothing but when.
        _ => {}
    }
}

/// Everything changed at once.
pub fn all_at_once() -> Circumstances {
    let mut how = Circumstances { full_limits: true, ..Circumstances::default() };
    for name in PERTURBATIONS {
        change(&mut how, name);
    }
    how
}

/// The outcome for one case: recorded, or why not.
pub type Outcome = Result<Recorded, String>;

/// What calibration found.
pub struct Calibrated {
    pub outcomes: Vec<Outcome>,
    /// How many cases gave the same observation every time.
    pub stable: u64,
}

/// Calibrates cases that were observed once, `first_end` being when that pass ended.
///
/// # Errors
/// [`ExploreError`] when the sandbox fails.
pub fn calibrate(
    lab: &Lab<'_>,
    cases: &[(&Case, &CaseObservation)],
    blobs: &BTreeMap<Digest, Vec<u8>>,
    first_end: Instant,
) -> Result<Calibrated, ExploreError> {
    let environment = Environment::today();
    let list: Vec<&Case> = cases.iter().map(|(case, _)| *case).collect();
    lab.progress.stage(&format!(
        "calibrating {} cases under {} perturbations",
        list.len(),
        PERTURBATIONS.len()
    ));
    // No pause where the pass itself already lies in the past.
    std::thread::sleep(LATER.saturating_sub(first_end.elapsed()));
    let later = lab.observe(
        &list,
        blobs,
        &Circumstances { full_limits: true, ..Circumstances::default() },
        None,
    )?;
    let changed = lab.observe(&list, blobs, &all_at_once(), None)?;
    let mut runs: Vec<Vec<(&'static str, Seen)>> = Vec::with_capacity(cases.len());
    let mut restless = Vec::new();
    for (i, (later, changed)) in later.into_iter().zip(changed).enumerate() {
        let (case, plain) = cases[i];
        let same = |seen: &Seen| seen.ran().is_some_and(|s| difference(case, plain, s).is_none());
        if !same(&later) || !same(&changed) {
            restless.push(i);
        }
        runs.push(vec![("time", later), ("combined", changed)]);
    }
    lab.progress.stage(&format!("looking into {} cases that varied", restless.len()));
    for name in PERTURBATIONS.into_iter().chain(["time"]).skip(1) {
        let picked: Vec<&Case> = restless.iter().map(|&i| list[i]).collect();
        for (k, seen) in
            lab.observe(&picked, blobs, &circumstances(name), None)?.into_iter().enumerate()
        {
            // The named runs come before the combined one, so that the culprit is found by name.
            let at = runs[restless[k]].len() - 1;
            runs[restless[k]].insert(at, (name, seen));
        }
    }
    let stable = (cases.len() - restless.len()) as u64;
    let outcomes = cases
        .iter()
        .zip(&runs)
        .map(|((case, plain), runs)| settle(case, plain, runs, &environment))
        .collect();
    Ok(Calibrated { outcomes, stable })
}

fn settle(
    case: &Case,
    plain: &CaseObservation,
    runs: &[(&'static str, Seen)],
    environment: &Environment,
) -> Outcome {
    let mut observations = vec![plain];
    for (name, seen) in runs {
        match seen {
            Seen::Ran(seen) => match unusable(case, seen) {
                Some(reason) => return Err(format!("unstable:{reason}:{name}")),
                None => observations.push(seen),
            },
            Seen::Harness(_) | Seen::NotRun => return Err("harness".to_owned()),
        }
    }
    // What varies on a screen varies by timing, and would do so in more ways than were seen: no masks there.
    let screens = case.steps.iter().any(|s| s.tty.is_some());
    let recorded = match observations.iter().find_map(|s| difference(case, plain, s)) {
        Some(channel) if screens => Err(channel),
        _ => record(case, &observations, environment),
    };
    recorded.map_err(|channel| {
        if !matches!(channel, "exit" | "stdout" | "stderr" | "screen" | "files") {
            return channel.to_owned();
        }
        let culprit = runs
            .iter()
            .find(|(_, seen)| seen.ran().is_some_and(|s| difference(case, plain, s).is_some()));
        format!("unstable:{channel}:{}", culprit.map_or("time", |(name, _)| name))
    })
}

/// Runs recorded cases once more; `true` where the reference passes.
///
/// # Errors
/// [`ExploreError`] when the sandbox fails.
pub fn passes(
    lab: &Lab<'_>,
    cases: &[&Case],
    blobs: crate::lab::Blobs<'_>,
    how: &Circumstances,
) -> Result<Vec<Verified>, ExploreError> {
    let seen = lab.observe(cases, blobs, how, None)?;
    Ok(cases.iter().zip(seen).map(|(case, seen)| Verified::of(case, &seen, blobs)).collect())
}

/// Whether a program met a case's expectations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verified {
    Passed,
    /// The first reason.
    Failed(String),
    /// No verdict: the harness failed.
    Unknown(String),
}

impl Verified {
    fn of(case: &Case, seen: &Seen, blobs: crate::lab::Blobs<'_>) -> Self {
        match seen {
            Seen::Ran(seen) => match reenact_model::judge(case, seen, blobs) {
                Ok(reenact_model::Verdict::Pass) => Self::Passed,
                Ok(reenact_model::Verdict::Fail { reasons }) => {
                    Self::Failed(reasons.first().map(|r| r.detail.clone()).unwrap_or_default())
                }
                Ok(_) => Self::Unknown("not run".to_owned()),
                Err(missing) => Self::Unknown(missing.to_string()),
            },
            Seen::Harness(what) => Self::Unknown(what.clone()),
            Seen::NotRun => Self::Unknown("not run".to_owned()),
        }
    }

    /// Whether it is a pass.
    pub fn passed(&self) -> bool {
        *self == Self::Passed
    }
}
