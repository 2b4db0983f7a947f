//! Results held by an integrity report, and a person's verdict on it: nothing is judged again, and nothing is lost.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod common;

use common::bench::{Bench, ID, REFERENCE, neighbours};
use reenact_grade::{Adjudicated, GradeError, Silent, adjudicate, load_results, regrade};
use reenact_model::integrity::{IntegrityFinding, IntegrityReport, Judgement, Severity};
use reenact_model::run::{Outcome, TaskResult, this_harness};
use std::path::PathBuf;

fn run(bench: &Bench) -> PathBuf {
    bench.result_file().parent().unwrap().parent().unwrap().to_path_buf()
}

/// Writes the integrity report of the bench's run.
fn report(bench: &Bench, severities: &[Severity]) {
    let findings = severities.iter().enumerate().map(|(i, severity)| IntegrityFinding {
        rule: "reads_reference".to_owned(),
        severity: *severity,
        step: Some(i as u64 + 1),
        path: None,
        offset: None,
        evidence: "strings ./executable".to_owned(),
        why: "because".to_owned(),
    });
    let report = IntegrityReport {
        schema: 1,
        task: ID.to_owned(),
        commands: Some(9),
        files: Some(2),
        findings: findings.collect(),
        ..IntegrityReport::default()
    };
    let path = run(bench).join(ID).join(format!("{ID}.integrity.json"));
    std::fs::write(path, serde_json::to_vec(&report).unwrap()).unwrap();
}

fn stored(bench: &Bench) -> TaskResult {
    load_results(&run(bench)).unwrap().remove(0)
}

fn judge(bench: &Bench, verdict: Judgement) -> Adjudicated {
    adjudicate(&run(bench), ID, verdict, "looked at it", "ann").unwrap()
}

fn lines(bench: &Bench) -> usize {
    std::fs::read_to_string(bench.journal_file()).unwrap().lines().count()
}

#[test]
fn a_breach_holds_the_result_until_a_person_has_judged() {
    let bench = Bench::new(neighbours("x"));
    // Wrong for one case, so that there is an observation to keep.
    bench.submit_script(&REFERENCE.replace("bad input", "good input"));
    report(&bench, &[Severity::Note, Severity::Breach]);
    let held = bench.grade_fully();
    assert_eq!(held.outcome, Outcome::TamperingDetected);
    assert_eq!((held.passed, held.failed), (4, 1), "cases are graded all the same");
    assert!(held.why.as_ref().unwrap().contains("reenact adjudicate"), "{:?}", held.why);
    let standing = held.integrity.clone().unwrap();
    assert_eq!((standing.breaches, standing.notes, standing.graded), (1, 1, Outcome::Graded));
    let (judged, whole) = (lines(&bench), stored(&bench));

    let clean = judge(&bench, Judgement::Clean).result.unwrap();
    assert_eq!((clean.outcome, clean.why.as_deref()), (Outcome::Graded, None));
    assert_eq!(stored(&bench).outcome, Outcome::Graded);
    assert_eq!(stored(&bench).cases, whole.cases, "observations stay");

    let tampered = judge(&bench, Judgement::Tampered).result.unwrap();
    assert_eq!(tampered.outcome, Outcome::TamperingDetected);
    assert_eq!(tampered.why.as_deref(), Some("judged tampered by ann: looked at it"));
    assert_eq!(bench.grade_fully().outcome, Outcome::TamperingDetected);
    judge(&bench, Judgement::Clean);
    assert_eq!(bench.grade_fully().outcome, Outcome::Graded);
    let again = regrade(&run(&bench), &[], None, &this_harness("0", None, false), &Silent).unwrap();
    assert_eq!(again[0].outcome, Outcome::Graded);
    assert_eq!(stored(&bench).cases, whole.cases);
    assert_eq!(lines(&bench), judged, "nothing was judged again");
}

#[test]
fn a_verdict_holds_for_its_report_only_and_can_come_first() {
    let bench = Bench::new(neighbours("x"));
    bench.submit_script(REFERENCE);
    report(&bench, &[Severity::Breach]);
    let early = judge(&bench, Judgement::Clean);
    assert!(early.result.is_none() && early.report.unwrap().breaches() == 1);
    assert_eq!(bench.grade_fully().outcome, Outcome::Graded);

    report(&bench, &[Severity::Breach, Severity::Breach]);
    let held = bench.grade_fully();
    assert_eq!(
        held.outcome,
        Outcome::TamperingDetected,
        "another report waits for a verdict of its own"
    );
    assert_eq!(held.integrity.unwrap().adjudication, None);
    assert_eq!(stored(&bench).outcome, Outcome::TamperingDetected);

    std::fs::remove_file(run(&bench).join(ID).join(format!("{ID}.integrity.json"))).unwrap();
    let free = bench.grade_fully();
    assert_eq!((free.outcome, free.integrity), (Outcome::Graded, None));
    let judged = judge(&bench, Judgement::Tampered).result.unwrap();
    assert_eq!(judged.outcome, Outcome::TamperingDetected, "a person may see what no rule does");
}

#[test]
fn notes_change_nothing_and_unknown_tasks_are_named() {
    let bench = Bench::new(neighbours("x"));
    bench.submit_script(REFERENCE);
    report(&bench, &[Severity::Note, Severity::Note]);
    let result = bench.grade_fully();
    assert_eq!((result.outcome, result.resolved), (Outcome::Graded, true));
    let error = adjudicate(&run(&bench), "nosuch", Judgement::Clean, "", "").unwrap_err();
    assert!(matches!(error, GradeError::UnknownTask { .. }) && error.to_string().contains(ID));
    let path = run(&bench).join(ID).join(format!("{ID}.integrity.json"));
    std::fs::write(&path, "{\"schema\": 1,\n \"task\": 7}").unwrap();
    let error = adjudicate(&run(&bench), ID, Judgement::Clean, "", "").unwrap_err();
    assert!(error.is_usage() && error.to_string().contains("line 2, field `task`"), "{error}");
}
