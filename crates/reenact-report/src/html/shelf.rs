//! The failing cases of a task, in full as long as there is room on the page, then as a list.

use super::SuiteView;
use crate::channel::{Channel, channels};
use crate::failures::FailureGroup;
use crate::recipe::{one_line, recipe};
use crate::show::{WorkEntry, reasons, verdict, workspace};
use crate::visible::text;
use crate::words;
use reenact_model::Case;
use reenact_model::run::CaseResult;
use serde::Serialize;
use std::collections::BTreeMap;

/// Failing cases of a task that are shown in full.
const MAX_FULL: usize = 300;
/// Failing cases of a task that are listed at all.
const MAX_LISTED: usize = 5000;
/// Rough size of all differences of a page, bytes of HTML.
const DIFF_BUDGET: usize = 10 << 20;
/// Rough size of all lists of cases of a page, bytes of HTML.
const LIST_BUDGET: usize = 6 << 20;

#[derive(Serialize)]
pub(super) struct Failure {
    kinds: Vec<&'static str>,
    why: String,
    count: usize,
    cases: Vec<CaseItem>,
}

#[derive(Serialize)]
struct CaseItem {
    id: String,
    anchor: String,
    group: String,
    command: String,
    full: Option<Full>,
}

#[derive(Serialize)]
struct Full {
    verdict: String,
    recipe: String,
    workspace: Vec<WorkEntry>,
    reasons: Vec<String>,
    channels: Vec<Channel>,
}

/// Rough size of all sections on probes of a page, bytes of HTML.
const PROBE_BUDGET: usize = 3 << 20;

/// What is left of the page's size.
pub(super) struct Budget {
    diffs: usize,
    lists: usize,
    probes: usize,
}

impl Budget {
    /// A whole page.
    pub(super) fn whole() -> Self {
        Self { diffs: DIFF_BUDGET, lists: LIST_BUDGET, probes: PROBE_BUDGET }
    }

    /// Takes room for a row on a probe with so many bytes of text; `false` if there is none.
    pub(super) fn take_probe(&mut self, text: usize) -> bool {
        // A quote becomes five bytes; hardly anything else grows.
        let size = 220 + text * 2;
        let fits = size <= self.probes;
        self.probes -= if fits { size } else { 0 };
        fits
    }
}

/// Hands out the cases of one task as long as there is room.
pub(super) struct Shelf<'a, 's> {
    /// Anchor of the task's section.
    pub anchor: &'a str,
    pub suite: Option<&'a SuiteView<'s>>,
    pub cases: BTreeMap<&'a str, &'a Case>,
    pub by_id: BTreeMap<&'a str, &'a CaseResult>,
    pub budget: &'a mut Budget,
    /// Cases shown in full, and cases listed at all, so far.
    pub full: usize,
    pub listed: usize,
}

impl Shelf<'_, '_> {
    /// A group of failures with as many of its cases as there is room for.
    pub(super) fn failure(&mut self, group: &FailureGroup) -> Failure {
        Failure {
            kinds: group.kinds.iter().map(|k| words::kind(*k)).collect(),
            why: text(group.why.as_bytes()),
            count: group.cases.len(),
            cases: group.cases.iter().filter_map(|id| self.case(id)).collect(),
        }
    }

    fn case(&mut self, id: &str) -> Option<CaseItem> {
        let result = self.by_id.get(id)?;
        let case = self.cases.get(id).copied();
        let command = case.map(|c| one_line(c, 120)).unwrap_or_default();
        let size = 300 + 2 * id.len() + command.len() + result.group.len();
        if self.listed >= MAX_LISTED || size > self.budget.lists {
            return None;
        }
        self.budget.lists -= size;
        let full = match (case, self.suite) {
            // Below the smallest size of a case in full, nothing need be compared any more.
            (Some(case), Some(suite)) if self.full < MAX_FULL && self.budget.diffs > 2000 => {
                let full = full(case, result, suite);
                let size = full.size();
                let fits = size <= self.budget.diffs;
                self.budget.diffs -= if fits { size } else { 0 };
                fits.then_some(full)
            }
            _ => None,
        };
        self.full += usize::from(full.is_some());
        self.listed += 1;
        Some(CaseItem {
            id: text(id.as_bytes()),
            anchor: format!("{}-c{}", self.anchor, self.listed),
            group: text(result.group.as_bytes()),
            command,
            full,
        })
    }
}

fn full(case: &Case, result: &CaseResult, suite: &SuiteView<'_>) -> Full {
    Full {
        verdict: verdict(&result.verdict).1,
        recipe: recipe(case),
        workspace: workspace(case, result.observation.as_ref()),
        reasons: reasons(&result.verdict),
        channels: channels(case, result, suite.blobs),
    }
}

impl Full {
    /// Rough bytes of HTML: text at one and a half for its escapes, and the tags around it.
    fn size(&self) -> usize {
        let spans = self.channels.iter().flat_map(|c| &c.lines).flat_map(|l| &l.spans);
        let lines: usize = self.channels.iter().map(|c| c.lines.len()).sum();
        let text: usize = spans.clone().map(|s| s.text.len()).sum::<usize>()
            + self.recipe.len()
            + self.verdict.len()
            + self.reasons.iter().map(|r| r.len() + 10).sum::<usize>()
            + self.workspace.iter().map(|w| w.path.len() + w.what.len() + 60).sum::<usize>();
        600 + text * 3 / 2 + spans.filter(|s| s.emph || s.sign).count() * 14 + lines * 24
    }
}
