//! A line of the table: one instance of one run.

use super::Item;
use super::official::{Score, score};
use super::sidecar::Sidecar;
use reenact_interop::programbench::{EvalJson, Status};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// An instance's scores, or why it has none.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub run: PathBuf,
    pub instance: String,
    /// `None`: the harness failed, and `error` says how.
    pub official: Option<Score>,
    /// `None`: it cannot be told, and `strict_missing` says why.
    pub strict: Option<Score>,
    pub strict_missing: Option<String>,
    pub error_code: Option<String>,
    /// The first line of what the code's step said.
    pub error_details: Option<String>,
    /// Codes of branches that could not be tested.
    pub branch_errors: BTreeMap<String, Vec<String>>,
    pub system_errors: u64,
    pub warnings: u64,
    /// Tests for which the two scores differ.
    pub differences: u64,
    pub notes: Vec<String>,
    /// Why it was not evaluated; never a score.
    pub error: Option<String>,
    /// The error is one of the input rather than of the machine.
    pub error_is_usage: bool,
}

impl Row {
    /// Of a stored result and what lies beside it, worked out by today's lists; or why that does not belong to it.
    pub(super) fn new(
        item: &Item<'_>,
        result: &EvalJson,
        sidecar: Result<&Sidecar, String>,
    ) -> Self {
        let (sidecar, strict_missing) = match sidecar {
            Ok(s) => (Some(s), s.strict_missing.clone()),
            Err(why) => (None, Some(why)),
        };
        let codes = |errors: &Vec<reenact_interop::programbench::TestBranchError>| {
            errors.iter().map(|e| e.error_code.clone()).collect()
        };
        let active = item.instance.active_branches();
        let mut notes = sidecar.map(|s| s.notes.clone()).unwrap_or_default();
        for (branch, side) in sidecar.iter().flat_map(|s| &s.branches) {
            notes.extend(side.notes.iter().map(|n| format!("{branch}: {n}")));
            if let Some(alias) =
                side.strict.as_ref().and_then(|s| s.alias.as_ref()).filter(|a| !a.accepted)
            {
                notes.push(format!("{branch}: {} (--accept-aliases)", prefixes(alias)));
            }
        }
        Self {
            run: item.target.clone(),
            instance: item.id().to_owned(),
            official: Some(score(result, item.instance)),
            strict: sidecar.and_then(|s| s.strict),
            strict_missing,
            error_code: result.error_code.clone(),
            error_details: result.error_details.as_deref().and_then(first_line),
            branch_errors: result
                .test_branch_errors
                .iter()
                .filter(|(b, _)| active.contains(&b.as_str()))
                .map(|(b, e)| (b.clone(), codes(e)))
                .collect(),
            system_errors: result
                .test_results
                .iter()
                .filter(|t| t.status == Status::SystemError)
                .count() as u64,
            warnings: result.warnings.len() as u64,
            differences: sidecar.map_or(0, |s| s.differences.len() as u64),
            notes,
            error: None,
            error_is_usage: false,
        }
    }

    /// An instance that the harness failed on.
    pub(super) fn failed(item: &Item<'_>, error: &super::EvalError) -> Self {
        Self {
            run: item.target.clone(),
            instance: item.id().to_owned(),
            official: None,
            strict: None,
            strict_missing: None,
            error_code: None,
            error_details: None,
            branch_errors: BTreeMap::new(),
            system_errors: 0,
            warnings: 0,
            differences: 0,
            notes: Vec::new(),
            error: Some(error.to_string()),
            error_is_usage: error.is_usage(),
        }
    }
}

/// How the suite's names differ from the listed ones.
fn prefixes(alias: &super::Alias) -> String {
    let (told, listed, tests) = (&alias.told, &alias.listed, alias.tests);
    match (told.is_empty(), listed.is_empty()) {
        (true, _) => {
            format!("the suite's names lack the {listed:?} that {tests} listed tests begin with")
        }
        (false, true) => {
            format!("the suite's names begin with {told:?}, which {tests} listed tests lack")
        }
        (false, false) => {
            format!(
                "the suite's names begin with {told:?} where {tests} listed tests begin with {listed:?}"
            )
        }
    }
}

fn first_line(text: &str) -> Option<String> {
    text.lines().find(|l| !l.trim().is_empty()).map(|l| l.trim().to_owned())
}
