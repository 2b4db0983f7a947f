//! The end of every way to a suite: final passes of the reference, the dummies measured again, `suite.toml`.

use crate::calibrate::{PERTURBATIONS, Verified, passes};
use crate::dummies;
use crate::error::ExploreError;
use crate::lab::{Circumstances, ExploreOptions, Lab};
use crate::record::Recorded;
use crate::surface::Surface;
use reenact_bundle::{Suite, SuiteDraft, TaskBundle, now_rfc3339};
use reenact_model::suite::Quality;
use reenact_model::{Case, Digest, SCHEMA, SuiteManifest};
use std::collections::{BTreeMap, BTreeSet};

/// Times that the reference must pass the whole suite.
pub const REFERENCE_PASSES: u64 = 3;

/// Counts kept on the way.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub candidates: u64,
    pub calibrated: u64,
    pub stable: u64,
    pub dropped: BTreeMap<String, u64>,
}

impl Tally {
    /// Counts one dropped candidate.
    pub fn drop(&mut self, reason: &str) {
        *self.dropped.entry(reason.to_owned()).or_default() += 1;
    }
}

/// Cases that are through, and where they came from.
pub struct Finished<'a> {
    /// `generated`, `recorded` or `imported`.
    pub kind: &'static str,
    pub seed: Option<u64>,
    pub cases: Vec<Recorded>,
    /// Blobs of the cases' inputs.
    pub inputs: BTreeMap<Digest, Vec<u8>>,
    pub surface: &'a Surface,
}

/// The circumstances of the final passes: plain, under load, plain again.
pub fn final_passes() -> [Circumstances; REFERENCE_PASSES as usize] {
    let plain = Circumstances { full_limits: true, ..Circumstances::default() };
    [plain.clone(), Circumstances { load: true, ..plain.clone() }, plain]
}

/// Runs the last gates and writes the suite.
///
/// # Errors
/// [`ExploreError::NothingLeft`] when no case is left; otherwise as the sandbox and the disk give.
pub fn finish(
    task: &TaskBundle,
    lab: &Lab<'_>,
    options: &ExploreOptions,
    finished: Finished<'_>,
    mut tally: Tally,
) -> Result<Suite, ExploreError> {
    let Finished { kind, seed, mut cases, inputs, surface } = finished;
    let mut blobs = inputs;
    for recorded in &mut cases {
        blobs.append(&mut recorded.blobs);
    }
    // Named groups first, so that reading the file is pleasant; the order is a function of the set.
    cases.sort_by(|a, b| (&a.case.group, &a.case.id).cmp(&(&b.case.group, &b.case.id)));
    let masked: BTreeSet<String> =
        cases.iter().filter(|r| r.masked).map(|r| r.case.id.clone()).collect();
    let mut cases: Vec<Case> = cases.into_iter().map(|r| r.case).collect();
    reference_passes(lab, &mut cases, &blobs, &mut tally)?;
    let list: Vec<&Case> = cases.iter().collect();
    let mut passed =
        dummies::measure(task, options, surface.help.as_ref(), &list, &blobs, lab.progress)?;
    let gated = dummies::gate(&passed, cases.len(), &mut dummies::help_allowance(cases.len()));
    for reason in gated.iter().flatten() {
        tally.drop(reason);
    }
    let mut keep = gated.iter();
    cases.retain(|_| keep.next().is_none_or(Option::is_none));
    for list in passed.values_mut() {
        let mut keep = gated.iter();
        list.retain(|_| keep.next().is_none_or(Option::is_none));
    }
    if cases.is_empty() {
        return Err(ExploreError::NothingLeft {
            task: task.id().to_owned(),
            candidates: tally.candidates,
            dropped: tally.dropped,
        });
    }
    let manifest =
        manifest(task, kind, seed, &cases, &masked, surface, &tally, dummies::shares(&passed));
    lab.progress.stage("writing the suite");
    Ok(SuiteDraft { manifest, cases, blobs }.write(&task.suite_dir())?)
}

/// The reference must pass every case every time; what it does not is dropped as flaky.
fn reference_passes(
    lab: &Lab<'_>,
    cases: &mut Vec<Case>,
    blobs: &BTreeMap<Digest, Vec<u8>>,
    tally: &mut Tally,
) -> Result<(), ExploreError> {
    for (i, how) in final_passes().iter().enumerate() {
        lab.progress.stage(&format!(
            "gate: the reference on its own suite, {} of {REFERENCE_PASSES}",
            i + 1
        ));
        reference_pass(lab, cases, blobs, how, tally, |_| true)?;
    }
    let on_terminal = |case: &Case| case.steps.iter().any(|s| s.tty.is_some());
    if cases.iter().any(on_terminal) {
        lab.progress.stage("gate: the terminal cases twice more, under load");
        for how in [&final_passes()[1], &final_passes()[1]] {
            reference_pass(lab, cases, blobs, how, tally, on_terminal)?;
        }
    }
    Ok(())
}

/// One pass over the cases that `which` picks; those that the reference fails are removed.
fn reference_pass(
    lab: &Lab<'_>,
    cases: &mut Vec<Case>,
    blobs: &BTreeMap<Digest, Vec<u8>>,
    how: &Circumstances,
    tally: &mut Tally,
    which: impl Fn(&Case) -> bool,
) -> Result<(), ExploreError> {
    let list: Vec<&Case> = cases.iter().filter(|c| which(c)).collect();
    let verdicts = passes(lab, &list, blobs, how)?;
    let mut failed = BTreeSet::new();
    for (case, verdict) in list.iter().zip(&verdicts) {
        let reason = match verdict {
            Verified::Passed => continue,
            Verified::Failed(why) => {
                lab.progress.note(&format!("{}: flaky, dropped: {why}", case.id));
                "flaky"
            }
            Verified::Unknown(_) => "harness",
        };
        tally.drop(reason);
        failed.insert(case.id.clone());
    }
    cases.retain(|c| !failed.contains(&c.id));
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "one call; every argument is a figure of its own")]
fn manifest(
    task: &TaskBundle,
    kind: &str,
    seed: Option<u64>,
    cases: &[Case],
    masked: &BTreeSet<String>,
    surface: &Surface,
    tally: &Tally,
    dummies: BTreeMap<String, f64>,
) -> SuiteManifest {
    let documented = surface.documented();
    let exercised: BTreeSet<String> =
        cases.iter().flat_map(|c| &c.steps).flat_map(|s| surface.exercised(&s.argv)).collect();
    let quality = Quality {
        candidates: tally.candidates,
        masked: cases.iter().filter(|c| masked.contains(&c.id)).count() as u64,
        stability: if tally.calibrated == 0 {
            1.0
        } else {
            tally.stable as f64 / tally.calibrated as f64
        },
        perturbations: PERTURBATIONS.map(str::to_owned).into(),
        reference_passes: REFERENCE_PASSES,
        options_documented: documented.len() as u64,
        options_exercised: exercised.intersection(&documented).count() as u64,
    };
    SuiteManifest {
        schema: SCHEMA,
        // `SuiteDraft::write` sets digest, counts, groups and tags.
        digest: Digest::of(b""),
        reference: task.manifest.reference.sha256,
        cases: 0,
        kind: kind.to_owned(),
        seed,
        created: now_rfc3339(),
        generator: format!("reenact {}", env!("CARGO_PKG_VERSION")),
        quality,
        groups: BTreeMap::new(),
        tags: BTreeMap::new(),
        dropped: tally.dropped.clone(),
        dummies,
    }
}
