//! The report as one offline HTML file: no external request, readable without script, hostile text escaped.
//!
//! Two walls stand between candidate output and the reader's browser: the template escapes everything, and the page's
//! content security policy runs no script but the one whose hash it names, so that a hole in the first wall stays without
//! effect.

mod base64;
mod facts;
mod integrity;
mod page;
mod probes;
mod shelf;

use minijinja::Environment;
use page::Page;
use reenact_model::integrity::{Adjudication, IntegrityReport};
use reenact_model::probe::Probe;
use reenact_model::run::TaskResult;
use reenact_model::surface::DocumentedSurface;
use reenact_model::{BlobSource, Case, Digest, RunManifest, Seal};
use std::collections::BTreeMap;

const TEMPLATE: &str = include_str!("report.html.j2");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("filter.js");

/// One run of a report.
pub struct RunView<'a> {
    /// What the run is called: its directory, or the agent's name.
    pub name: &'a str,
    pub manifest: &'a RunManifest,
    /// In the order to be shown.
    pub results: &'a [TaskResult],
    /// What agents left beside their submissions, by task.
    pub left: &'a BTreeMap<String, Left>,
}

/// What an agent left beside its submission. Any part may be absent.
#[derive(Clone, Debug, Default)]
pub struct Left {
    /// Its probes, if it was given the reference.
    pub probes: Option<Vec<Probe>>,
    /// What the documentation says, for the coverage of the probes.
    pub surface: Option<DocumentedSurface>,
    pub integrity: Option<IntegrityReport>,
    /// A person's verdict on the integrity report.
    pub adjudication: Option<Adjudication>,
}

/// What a report may say of a task's suite and source.
pub struct SuiteView<'a> {
    pub cases: &'a [Case],
    /// The suite's blob store.
    pub blobs: &'a dyn BlobSource,
    /// How well the reference is sealed, if known.
    pub seal: Option<Seal>,
    /// Licence of the reference, if known.
    pub licence: Option<&'a str>,
    /// Where the reference came from, for instance `crate hexyl 0.16.0`.
    pub source: Option<String>,
}

/// Why a report could not be made: always our own fault.
#[derive(Debug, thiserror::Error)]
#[error("the report's template failed: {0}; please report this with the run directory")]
pub struct ReportError(#[from] minijinja::Error);

/// A report of one or several runs. `suites` gives the suite of a task by its id; without one, failing cases are listed
/// by their reasons alone. About 20 MiB at most: past a budget, cases are listed without their differences, and it says so.
///
/// # Errors
/// [`ReportError`] if the template fails.
pub fn html<'s>(
    runs: &[RunView<'_>],
    suites: &dyn Fn(&str) -> Option<SuiteView<'s>>,
) -> Result<String, ReportError> {
    let page = Page::new(runs, suites);
    let mut env = Environment::new();
    env.set_auto_escape_callback(|_| minijinja::AutoEscape::Html);
    env.set_trim_blocks(true);
    env.set_lstrip_blocks(true);
    env.add_template("report.html", TEMPLATE)?;
    let context = minijinja::context! {
        page => page,
        style => STYLE,
        script => SCRIPT,
        style_hash => csp_hash(STYLE),
        script_hash => csp_hash(SCRIPT),
    };
    Ok(env.get_template("report.html")?.render(context)?)
}

/// The hash source of a content security policy for an inline element.
fn csp_hash(text: &str) -> String {
    let raw = reenact_model::digest::from_hex(&Digest::of(text.as_bytes()).hex());
    format!("sha256-{}", base64::encode(&raw.unwrap_or_default()))
}

#[cfg(test)]
mod tests;
