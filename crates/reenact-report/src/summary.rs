//! Figures of a run over its tasks.

use reenact_model::Outcome;
use reenact_model::run::{Standing, TaskResult, UNSEALED_NOTE};
use serde::Serialize;

/// A run's results in figures; what `--json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// In the order of the results.
    pub rows: Vec<Row>,
    pub totals: Totals,
}

/// One task of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub task: String,
    /// passed / total, 0 to 1; absent when the outcome is no score.
    pub score: Option<f64>,
    pub passed: u64,
    pub failed: u64,
    pub not_run: u64,
    /// Cases that the harness could not judge.
    pub harness_errors: u64,
    /// Cases in the suite.
    pub total: u64,
    pub resolved: bool,
    pub almost_resolved: bool,
    pub outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Wall-clock time of the build and of the suite, milliseconds.
    pub build_ms: u64,
    pub suite_ms: u64,
    /// The agent could have read the reference (`--accept-unsealed`).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub accepted_unsealed: bool,
}

/// The three totals, and figures over the valid results alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Totals {
    /// Results that are scores.
    pub valid: u64,
    /// Results that the harness or its environment spoiled: no scores.
    pub excluded_for_infrastructure: u64,
    /// Results that wait for a person's decision.
    pub adjudicated: u64,
    /// Tasks with every case passed, and with at least 95 %.
    pub resolved: u64,
    pub almost_resolved: u64,
    /// Mean of the valid scores; absent without any.
    pub mean_score: Option<f64>,
}

/// The figures of `results`.
pub fn summarise(results: &[TaskResult]) -> Summary {
    let rows: Vec<Row> = results.iter().map(row).collect();
    let mut totals = Totals::default();
    for row in &rows {
        match row.outcome.standing() {
            Standing::Valid => totals.valid += 1,
            Standing::ExcludedForInfrastructure => totals.excluded_for_infrastructure += 1,
            Standing::Adjudicated => totals.adjudicated += 1,
        }
        totals.resolved += u64::from(row.resolved);
        totals.almost_resolved += u64::from(row.almost_resolved);
    }
    let scores: Vec<f64> = rows.iter().filter_map(|r| r.score).collect();
    if !scores.is_empty() {
        totals.mean_score = Some(scores.iter().sum::<f64>() / scores.len() as f64);
    }
    Summary { rows, totals }
}

fn row(result: &TaskResult) -> Row {
    let valid = result.outcome.standing() == Standing::Valid;
    Row {
        task: result.task.clone(),
        score: valid.then_some(result.score),
        passed: result.passed,
        failed: result.failed,
        not_run: result.not_run,
        harness_errors: result.harness_errors,
        total: result.total,
        resolved: valid && result.resolved,
        almost_resolved: valid && result.almost_resolved,
        outcome: result.outcome,
        why: result.why.clone(),
        build_ms: result.build.wall_ms,
        suite_ms: result.suite_ms,
        accepted_unsealed: result.notes.iter().any(|n| n == UNSEALED_NOTE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::result;

    #[test]
    fn spoiled_and_adjudicated_results_are_totals_of_their_own_and_never_scores() {
        let mut results =
            vec![result("a", 4, 4), result("b", 1, 4), result("c", 4, 4), result("d", 4, 4)];
        results[2].outcome = Outcome::SandboxFailed;
        results[3].outcome = Outcome::TamperingDetected;
        let summary = summarise(&results);
        assert_eq!(
            summary.totals,
            Totals {
                valid: 2,
                excluded_for_infrastructure: 1,
                adjudicated: 1,
                resolved: 1,
                almost_resolved: 1,
                mean_score: Some(0.625),
            }
        );
        assert_eq!(summary.rows[2].score, None);
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(json["rows"][1]["score"], 0.25);
        assert_eq!(json["rows"][2]["score"], serde_json::Value::Null);
        assert_eq!(json["rows"][3]["outcome"], "tampering_detected");
    }

    #[test]
    fn no_results_have_no_mean() {
        assert_eq!(summarise(&[]).totals, Totals::default());
    }
}
