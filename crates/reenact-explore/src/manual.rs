//! `suite record` and `suite import`: cases written by people, through the same calibration and gates.

use crate::calibrate::{all_at_once, calibrate, passes};
use crate::dummies;
use crate::error::ExploreError;
use crate::facts::unusable;
use crate::finish::{Finished, Tally, finish};
use crate::lab::{Circumstances, ExploreOptions, Lab, Seen};
use crate::record::Recorded;
use crate::surface::{Surface, live};
use reenact_bundle::fsx::read;
use reenact_bundle::suite::parse_cases;
use reenact_bundle::{Progress, Suite, TaskBundle};
use reenact_model::{Case, CaseObservation, Digest, FormatError};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

/// Makes a suite of invocations: cases without expectations, one JSON object a line. An `id` may be left out. Blobs are
/// looked for in `blobs/` beside the file.
///
/// # Errors
/// [`ExploreError`]: file, line and field of what is malformed; [`ExploreError::NothingLeft`] when every case was dropped.
pub fn record(
    task: &TaskBundle,
    invocations: &Path,
    seed: u64,
    options: &ExploreOptions,
    progress: &dyn Progress,
) -> Result<Suite, ExploreError> {
    task.verify_reference()?;
    let mut cases = parse_invocations(invocations)?;
    for case in &mut cases {
        if case.origin.is_none() {
            case.origin = Some(reenact_model::Origin {
                kind: "manual".to_owned(),
                from: None,
                seed: Some(seed),
            });
        }
    }
    let blobs = read_blobs(invocations, &cases)?;
    let lab = Lab::of_reference(task, options, progress);
    let surface = live::mine(task, &lab)?;
    let mut tally = Tally { candidates: cases.len() as u64, ..Tally::default() };
    progress.stage(&format!("recording {} cases from the reference", cases.len()));
    let seen =
        lab.observe(&cases.iter().collect::<Vec<_>>(), &blobs, &Circumstances::default(), None)?;
    let end = Instant::now();
    let usable = usable(&cases, &seen, &mut tally, progress);
    let calibrated = calibrate(&lab, &usable, &blobs, end)?;
    tally.calibrated = usable.len() as u64;
    tally.stable = calibrated.stable;
    let mut recorded = Vec::new();
    for ((case, _), outcome) in usable.iter().zip(calibrated.outcomes) {
        match outcome {
            Ok(one) => recorded.push(one),
            Err(reason) => drop_named(case, &reason, &mut tally, progress),
        }
    }
    let cases = gate(task, options, &surface, recorded, &blobs, &mut tally, progress)?;
    finish(
        task,
        &lab,
        options,
        Finished { kind: "recorded", seed: Some(seed), cases, inputs: blobs, surface: &surface },
        tally,
    )
}

/// Makes a suite of complete cases. Those that the reference fails, plainly or under perturbation, are refused by name, and
/// so are those that a dummy passes.
///
/// # Errors
/// As [`record`]; also a case that demands nothing.
pub fn import(
    task: &TaskBundle,
    file: &Path,
    options: &ExploreOptions,
    progress: &dyn Progress,
) -> Result<Suite, ExploreError> {
    task.verify_reference()?;
    let cases = parse_cases(file, &read(file)?)?;
    for case in &cases {
        demands_something(file, case)?;
    }
    let blobs = read_blobs(file, &cases)?;
    let lab = Lab::of_reference(task, options, progress);
    let surface = live::mine(task, &lab)?;
    let mut tally = Tally {
        candidates: cases.len() as u64,
        calibrated: cases.len() as u64,
        ..Tally::default()
    };
    let list: Vec<&Case> = cases.iter().collect();
    progress.stage(&format!("running {} imported cases on the reference", cases.len()));
    let plain = passes(
        &lab,
        &list,
        &blobs,
        &Circumstances { full_limits: true, ..Circumstances::default() },
    )?;
    let changed =
        passes(&lab, &list, &blobs, &Circumstances { full_limits: true, ..all_at_once() })?;
    let mut kept = Vec::new();
    for ((case, plain), changed) in cases.iter().zip(&plain).zip(&changed) {
        match (plain.passed(), changed.passed()) {
            (true, true) => {
                tally.stable += 1;
                let masked = is_masked(case);
                kept.push(Recorded { case: case.clone(), blobs: BTreeMap::new(), masked });
            }
            (false, _) => {
                progress.note(&format!("{}: refused, the reference fails it: {plain:?}", case.id));
                tally.drop("reference-fails");
            }
            (true, false) => {
                progress.note(&format!(
                    "{}: refused, the reference fails it under perturbation: {changed:?}",
                    case.id
                ));
                tally.drop("unstable");
            }
        }
    }
    let cases = gate(task, options, &surface, kept, &blobs, &mut tally, progress)?;
    finish(
        task,
        &lab,
        options,
        Finished { kind: "imported", seed: None, cases, inputs: blobs, surface: &surface },
        tally,
    )
}

fn is_masked(case: &Case) -> bool {
    case.steps
        .iter()
        .filter_map(|s| s.expect.as_ref())
        .flat_map(|e| e.matchers())
        .any(|m| matches!(m, reenact_model::Matcher::Masked(_)))
}

/// Parses cases without expectations; lines without an `id` get the one of their input.
fn parse_invocations(file: &Path) -> Result<Vec<Case>, ExploreError> {
    let bytes = read(file)?;
    let mut cases = Vec::new();
    let mut ids = BTreeSet::new();
    for (i, line) in bytes.split(|b| *b == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let number = i + 1;
        let text = std::str::from_utf8(line).map_err(|_| FormatError {
            line: Some(number),
            ..FormatError::file(file, "is not UTF-8")
        })?;
        let mut value: serde_json::Value =
            reenact_model::error::parse_json(file, Some(number), text)?;
        let unnamed = value.as_object().is_some_and(|o| !o.contains_key("id"));
        if unnamed && let Some(object) = value.as_object_mut() {
            object.insert("id".to_owned(), "unnamed".into());
        }
        let mut case = Case::parse(file, number, &value.to_string())?;
        if let Some(at) = case.steps.iter().position(|s| s.expect.is_some()) {
            let what = "is given, but `suite record` records expectations; use `suite import` for complete cases";
            return Err(FormatError::field(
                file,
                Some(number),
                format!("steps[{at}].expect"),
                what,
            )
            .into());
        }
        if unnamed {
            case.id = case.generated_id();
        }
        if !ids.insert(case.id.clone()) {
            let what = format!("{:?} stands on an earlier line already", case.id);
            return Err(FormatError::field(file, Some(number), "id", what).into());
        }
        cases.push(case);
    }
    Ok(cases)
}

fn demands_something(file: &Path, case: &Case) -> Result<(), ExploreError> {
    let vacuous = case.after.is_empty()
        && case.steps.iter().all(|s| s.expect.as_ref().is_none_or(|e| e.is_vacuous()));
    if vacuous {
        let what = "demands nothing: give `expect` in at least one step, or `after`";
        return Err(
            FormatError::field(file, None, format!("steps (of case {})", case.id), what).into()
        );
    }
    Ok(())
}

/// The blobs that cases refer to, from `blobs/` beside the file.
fn read_blobs(file: &Path, cases: &[Case]) -> Result<BTreeMap<Digest, Vec<u8>>, ExploreError> {
    let dir = file.parent().unwrap_or(Path::new(".")).join("blobs");
    let mut blobs = BTreeMap::new();
    for digest in cases.iter().flat_map(Case::blobs) {
        let path = dir.join(digest.hex());
        let bytes = read(&path)?;
        let got = Digest::of(&bytes);
        if got != digest {
            return Err(reenact_bundle::BundleError::Digest {
                path,
                manifest: "its name",
                want: digest,
                got,
            }
            .into());
        }
        blobs.insert(digest, bytes);
    }
    Ok(blobs)
}

fn drop_named(case: &Case, reason: &str, tally: &mut Tally, progress: &dyn Progress) {
    progress.note(&format!("{}: dropped: {reason}", case.id));
    tally.drop(reason);
}

fn usable<'a>(
    cases: &'a [Case],
    seen: &'a [Seen],
    tally: &mut Tally,
    progress: &dyn Progress,
) -> Vec<(&'a Case, &'a CaseObservation)> {
    let mut usable = Vec::new();
    for (case, seen) in cases.iter().zip(seen) {
        match seen {
            Seen::Ran(seen) => match unusable(case, seen) {
                Some(reason) => drop_named(case, &reason, tally, progress),
                None => usable.push((case, seen.as_ref())),
            },
            Seen::Harness(_) | Seen::NotRun => drop_named(case, "harness", tally, progress),
        }
    }
    usable
}

/// Drops what a dummy passes.
fn gate(
    task: &TaskBundle,
    options: &ExploreOptions,
    surface: &Surface,
    recorded: Vec<Recorded>,
    inputs: &BTreeMap<Digest, Vec<u8>>,
    tally: &mut Tally,
    progress: &dyn Progress,
) -> Result<Vec<Recorded>, ExploreError> {
    let list: Vec<&Case> = recorded.iter().map(|r| &r.case).collect();
    let mut blobs = inputs.clone();
    blobs.extend(recorded.iter().flat_map(|r| r.blobs.clone()));
    let passed = dummies::measure(task, options, surface.help.as_ref(), &list, &blobs, progress)?;
    let gated = dummies::gate(&passed, list.len(), &mut dummies::help_allowance(list.len()));
    let mut kept = Vec::new();
    for (one, gate) in recorded.into_iter().zip(gated) {
        match gate {
            Some(reason) => drop_named(&one.case, &reason, tally, progress),
            None => kept.push(one),
        }
    }
    Ok(kept)
}
