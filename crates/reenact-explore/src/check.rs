//! `suite check`: every gate again, on the suite as it stands on disk.

use crate::calibrate::{Verified, all_at_once, passes};
use crate::dummies::{self, HELP_SHARE, PRINT_HELP};
use crate::error::ExploreError;
use crate::finish::final_passes;
use crate::lab::{Circumstances, ExploreOptions, Lab};
use crate::surface::live;
use reenact_bundle::{Progress, Suite, TaskBundle};
use reenact_model::Case;
use serde::Serialize;
use std::collections::BTreeMap;

/// One gate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gate {
    /// Short name: `reference-digest`, `reference-passes`, `dummy:cat`, …
    pub name: String,
    pub ok: bool,
    /// What was found, one line.
    pub detail: String,
    /// Cases that failed the gate (`print-help`: passed by the dummy), with the reason where there is one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub cases: BTreeMap<String, String>,
}

/// Every gate of a suite.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SuiteCheck {
    /// The task's id.
    pub task: String,
    /// Cases in the suite.
    pub cases: u64,
    pub gates: Vec<Gate>,
    /// Share of cases that each dummy passes now, 0 to 1.
    pub dummies: BTreeMap<String, f64>,
}

impl SuiteCheck {
    /// Whether every gate holds.
    pub fn ok(&self) -> bool {
        self.gates.iter().all(|g| g.ok)
    }
}

/// Runs every gate. Digests, lines and blobs are checked by loading; the reference must pass every case plainly, under load
/// and perturbed; no dummy may pass anything beyond what `print-help` is allowed; no input may stand twice.
///
/// # Errors
/// [`ExploreError`] when the suite cannot be loaded (line and field are named) or the sandbox fails.
pub fn check(
    task: &TaskBundle,
    options: &ExploreOptions,
    progress: &dyn Progress,
) -> Result<SuiteCheck, ExploreError> {
    let suite = Suite::load(&task.suite_dir())?;
    task.verify_reference()?;
    let lab = Lab::of_reference(task, options, progress);
    let mut gates = vec![reference_digest(task, &suite), duplicates(&suite), demands(&suite)];
    gates.push(reference_passes(&lab, &suite)?);
    let surface = live::mine(task, &lab)?;
    let list: Vec<&Case> = suite.cases.iter().collect();
    let passed = dummies::measure(task, options, surface.help.as_ref(), &list, &suite, progress)?;
    let shares = dummies::shares(&passed);
    for (name, list) in &passed {
        gates.push(dummy(name, list, &suite));
    }
    Ok(SuiteCheck {
        task: task.id().to_owned(),
        cases: suite.cases.len() as u64,
        gates,
        dummies: shares,
    })
}

fn gate(name: &str, detail: String, cases: BTreeMap<String, String>) -> Gate {
    Gate { name: name.to_owned(), ok: cases.is_empty(), detail, cases }
}

fn reference_digest(task: &TaskBundle, suite: &Suite) -> Gate {
    let (have, want) = (task.manifest.reference.sha256, suite.manifest.reference);
    let ok = have == want;
    let detail = if ok {
        format!("recorded from {want}")
    } else {
        format!("recorded from {want}, but the task holds {have}")
    };
    Gate { name: "reference-digest".to_owned(), ok, detail, cases: BTreeMap::new() }
}

fn duplicates(suite: &Suite) -> Gate {
    let mut first = BTreeMap::new();
    let mut twice = BTreeMap::new();
    for case in &suite.cases {
        if let Some(other) = first.insert(case.input_digest(), case.id.clone()) {
            twice.insert(case.id.clone(), format!("has the input of {other}"));
        }
    }
    gate("distinct-inputs", format!("{} distinct inputs", first.len()), twice)
}

fn demands(suite: &Suite) -> Gate {
    let vacuous = suite
        .cases
        .iter()
        .filter(|c| {
            c.after.is_empty()
                && c.steps.iter().all(|s| s.expect.as_ref().is_none_or(|e| e.is_vacuous()))
        })
        .map(|c| (c.id.clone(), "demands nothing".to_owned()))
        .collect();
    gate("demands", "every case demands something".to_owned(), vacuous)
}

fn reference_passes(lab: &Lab<'_>, suite: &Suite) -> Result<Gate, ExploreError> {
    let list: Vec<&Case> = suite.cases.iter().collect();
    let mut failed = BTreeMap::new();
    let perturbed = Circumstances { full_limits: true, ..all_at_once() };
    let passes_to_make: Vec<(&str, Circumstances)> = ["plain", "under load", "again"]
        .into_iter()
        .zip(final_passes())
        .chain([("perturbed", perturbed)])
        .collect();
    for (name, how) in &passes_to_make {
        lab.progress.stage(&format!("gate: the reference on its own suite, {name}"));
        for (case, verdict) in list.iter().zip(passes(lab, &list, suite, how)?) {
            match verdict {
                Verified::Passed => {}
                Verified::Failed(why) | Verified::Unknown(why) => {
                    failed.insert(case.id.clone(), format!("{name}: {why}"));
                }
            }
        }
    }
    let detail = format!(
        "{} of {} cases passed {} times",
        list.len() - failed.len(),
        list.len(),
        passes_to_make.len()
    );
    Ok(gate("reference-passes", detail, failed))
}

fn dummy(name: &str, passed: &[bool], suite: &Suite) -> Gate {
    let cases: BTreeMap<String, String> = suite
        .cases
        .iter()
        .zip(passed)
        .filter(|(_, passed)| **passed)
        .map(|(case, _)| (case.id.clone(), "passed by the dummy".to_owned()))
        .collect();
    let share = cases.len() as f64 / suite.cases.len().max(1) as f64;
    let limit = if name == PRINT_HELP { HELP_SHARE } else { 0.0 };
    let detail = format!(
        "passes {} of {} cases ({:.2} %, limit {:.0} %)",
        cases.len(),
        suite.cases.len(),
        share * 100.0,
        limit * 100.0
    );
    Gate { name: format!("dummy:{name}"), ok: share <= limit, detail, cases }
}
