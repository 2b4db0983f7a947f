//! What the template is given: everything already visible text, sized, and within the page's budget.

use super::facts::{self, Fact};
use super::integrity::IntegritySection;
use super::probes::ProbesSection;
use super::shelf::{Budget, Failure, Shelf};
use super::{RunView, SuiteView};
use crate::failures::group_failures;
use crate::summary::{Row, Totals, summarise};
use crate::visible::{block, text};
use crate::words;
use reenact_model::Case;
use reenact_model::run::{CaseResult, GroupScore, RunTask, Standing, TaskResult};
use serde::Serialize;
use std::collections::BTreeMap;

/// Bytes of a build log's end.
const MAX_LOG: usize = 8 << 10;

/// The page.
#[derive(Serialize)]
pub(super) struct Page {
    title: String,
    subtitle: String,
    runs: Vec<Run>,
    matrix: Vec<MatrixRow>,
}

#[derive(Serialize)]
struct Run {
    name: String,
    agent: String,
    upper_bound: bool,
    /// Name and value of everything the manifest says.
    facts: Vec<Fact>,
    mean: String,
    totals: Totals,
    tasks: Vec<Task>,
}

/// One task over all runs.
#[derive(Serialize)]
struct MatrixRow {
    task: String,
    /// One per run; `None` where a run lacks the task.
    cells: Vec<Option<Score>>,
}

#[derive(Clone, Serialize)]
struct Score {
    /// Anchor of the task's section.
    anchor: String,
    /// `41.3 %`, or a dash where the outcome is no score.
    percent: String,
    /// 0 to 100, for the bar.
    bar: f64,
    passed: u64,
    total: u64,
    resolved: bool,
    almost_resolved: bool,
    valid: bool,
    outcome: &'static str,
    why: Option<String>,
}

#[derive(Serialize)]
struct Task {
    id: String,
    anchor: String,
    score: Score,
    time: String,
    facts: Vec<Fact>,
    /// What the manifest says of the agent's work.
    agent: Vec<Fact>,
    /// The reference had no seal, and the user accepted that.
    unsealed: bool,
    notes: Vec<String>,
    build: Build,
    groups: Vec<Group>,
    failures: Vec<Failure>,
    failing: usize,
    probes: Option<ProbesSection>,
    integrity: Option<IntegritySection>,
    /// Cases that are listed without their differences, and cases not even listed.
    without_diff: usize,
    unlisted: usize,
}

#[derive(Serialize)]
struct Build {
    ok: bool,
    error: Option<String>,
    error_code: Option<String>,
    time: String,
    log: String,
    cut: bool,
}

#[derive(Serialize)]
struct Group {
    name: String,
    passed: u64,
    total: u64,
    percent: String,
    bar: f64,
}

impl Page {
    pub(super) fn new<'s>(
        runs: &[RunView<'_>],
        suites: &dyn Fn(&str) -> Option<SuiteView<'s>>,
    ) -> Self {
        let mut budget = Budget::whole();
        let runs: Vec<Run> =
            runs.iter().enumerate().map(|(i, run)| Run::new(i, run, suites, &mut budget)).collect();
        let matrix = matrix(&runs);
        let title = match runs.as_slice() {
            [one] => one.name.clone(),
            _ => format!("{} runs side by side", runs.len()),
        };
        let subtitle = format!(
            "{} · {} · program reconstruction, graded by reenact",
            words::count(runs.len() as u64, "run"),
            words::count(matrix.len() as u64, "task"),
        );
        Self { title, subtitle, runs, matrix }
    }
}

fn matrix(runs: &[Run]) -> Vec<MatrixRow> {
    let mut rows: Vec<MatrixRow> = Vec::new();
    for task in runs.iter().flat_map(|r| &r.tasks) {
        if rows.iter().any(|r| r.task == task.id) {
            continue;
        }
        let cell = |run: &Run| run.tasks.iter().find(|t| t.id == task.id).map(|t| t.score.clone());
        rows.push(MatrixRow { task: task.id.clone(), cells: runs.iter().map(cell).collect() });
    }
    rows
}

impl Run {
    fn new<'s>(
        index: usize,
        run: &RunView<'_>,
        suites: &dyn Fn(&str) -> Option<SuiteView<'s>>,
        budget: &mut Budget,
    ) -> Self {
        let summary = summarise(run.results);
        let task = |(n, (result, row)): (usize, (&TaskResult, &Row))| {
            let anchor = format!("r{index}-t{n}");
            Task::new(anchor, (result, row), run, suites(&result.task).as_ref(), budget)
        };
        Self {
            name: text(run.name.as_bytes()),
            agent: text(run.manifest.agent.as_bytes()),
            upper_bound: run.manifest.upper_bound,
            facts: facts::of_run(run.manifest),
            mean: summary.totals.mean_score.map_or("–".to_owned(), words::percent),
            tasks: run.results.iter().zip(&summary.rows).enumerate().map(task).collect(),
            totals: summary.totals,
        }
    }
}

impl Score {
    fn new(anchor: &str, row: &Row) -> Self {
        Self {
            anchor: anchor.to_owned(),
            percent: row.score.map_or("–".to_owned(), words::percent),
            bar: row.score.unwrap_or(0.0).clamp(0.0, 1.0) * 100.0,
            passed: row.passed,
            total: row.total,
            resolved: row.resolved,
            almost_resolved: row.almost_resolved,
            valid: row.outcome.standing() == Standing::Valid,
            outcome: row.outcome.name(),
            why: row.why.as_ref().map(|w| text(w.as_bytes())),
        }
    }
}

impl Task {
    fn new(
        anchor: String,
        (result, row): (&TaskResult, &Row),
        run: &RunView<'_>,
        suite: Option<&SuiteView<'_>>,
        budget: &mut Budget,
    ) -> Self {
        let entry = run.manifest.tasks.get(&result.task);
        let left = run.left.get(&result.task);
        let probes = left.and_then(|l| {
            let probes = l.probes.as_deref()?;
            Some(ProbesSection::new(probes, l.surface.as_ref(), budget))
        });
        let cases: BTreeMap<&str, &Case> =
            suite.iter().flat_map(|s| s.cases).map(|c| (c.id.as_str(), c)).collect();
        let groups = group_failures(result, &|id| cases.get(id).copied());
        let by_id: BTreeMap<&str, &CaseResult> =
            result.cases.iter().map(|c| (c.id.as_str(), c)).collect();
        let mut shelf = Shelf { anchor: &anchor, suite, cases, by_id, budget, full: 0, listed: 0 };
        let failing: usize = groups.iter().map(|g| g.cases.len()).sum();
        let failures: Vec<Failure> = groups.iter().map(|g| shelf.failure(g)).collect();
        let (full, listed) = (shelf.full, shelf.listed);
        Self {
            id: text(result.task.as_bytes()),
            score: Score::new(&anchor, row),
            time: words::duration_ms(result.suite_ms),
            facts: facts::of_task(result, suite),
            agent: entry.map(facts::of_work).unwrap_or_default(),
            unsealed: entry.and_then(|e| e.work.as_ref()).is_some_and(|w| w.accepted_unsealed),
            integrity: left.and_then(IntegritySection::new),
            probes,
            notes: notes(result, entry),
            build: build(result),
            groups: result.groups.iter().map(|(name, score)| group(name, *score)).collect(),
            failures,
            failing,
            without_diff: listed - full,
            unlisted: failing - listed,
            anchor,
        }
    }
}

/// What a reader should know of the grading and of the agent's work.
fn notes(result: &TaskResult, entry: Option<&RunTask>) -> Vec<String> {
    let work = entry.and_then(|e| e.work.as_ref());
    let all = result.notes.iter().chain(work.iter().flat_map(|w| &w.notes));
    all.map(|n| text(n.as_bytes())).collect()
}

fn build(result: &TaskResult) -> Build {
    let b = &result.build;
    let bytes = b.output.as_bytes();
    let from = bytes.len().saturating_sub(MAX_LOG);
    let visible = |s: &Option<String>| s.as_ref().map(|s| text(s.as_bytes()));
    Build {
        ok: b.ok,
        error: visible(&b.error),
        error_code: visible(&b.error_code),
        time: words::duration_ms(b.wall_ms),
        log: block(bytes[from..].trim_ascii_end()),
        cut: from > 0,
    }
}

fn group(name: &str, score: GroupScore) -> Group {
    let share = if score.total == 0 { 0.0 } else { score.passed as f64 / score.total as f64 };
    Group {
        name: text(name.as_bytes()),
        passed: score.passed,
        total: score.total,
        percent: words::percent(share),
        bar: share * 100.0,
    }
}
