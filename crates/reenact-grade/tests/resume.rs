//! A grading that was cut off anywhere goes on to the same result and judges nothing twice.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod common;

use common::bench::{Bench, ID, REFERENCE, attacks};
use reenact_model::run::{JournalRecord, TaskResult};
use std::collections::BTreeMap;

/// How often each case was judged in the journal.
fn judgements(bench: &Bench) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for line in std::fs::read_to_string(bench.journal_file()).unwrap().lines() {
        if let JournalRecord::Judged { case, .. } = serde_json::from_str(line).unwrap() {
            *counts.entry(case.id).or_default() += 1;
        }
    }
    counts
}

fn verdicts(result: &TaskResult) -> Vec<(&str, bool)> {
    result.cases.iter().map(|c| (c.id.as_str(), c.verdict.passed())).collect()
}

fn remove_results(bench: &Bench) {
    std::fs::remove_file(bench.result_file()).ok();
    std::fs::remove_file(bench.eval_file()).ok();
}

#[test]
fn every_cut_of_the_journal_resumes_to_the_same_result() {
    let bench = Bench::new(attacks(&["a"]));
    // Wrong for one case, so that observations are in the journal too.
    bench.submit_script(&REFERENCE.replace("echo made >", "echo mode >"));
    let whole = bench.grade_fully();
    assert_eq!((whole.passed, whole.failed), (9, 2));
    let journal = std::fs::read(bench.journal_file()).unwrap();
    let mut cuts: Vec<usize> = vec![0];
    for (at, _) in journal.iter().enumerate().filter(|(_, b)| **b == b'\n') {
        cuts.extend([at, at + 1, (at + 40).min(journal.len())]);
    }
    for cut in cuts {
        std::fs::write(bench.journal_file(), &journal[..cut]).unwrap();
        remove_results(&bench);
        let again = bench.grade_fully();
        assert_eq!(verdicts(&again), verdicts(&whole), "cut at {cut}");
        assert_eq!(again.verdicts_digest, whole.verdicts_digest);
        let counts = judgements(&bench);
        assert_eq!(counts.len(), whole.cases.len(), "cut at {cut}");
        assert!(counts.values().all(|n| *n == 1), "cut at {cut}: {counts:?}");
        for (a, b) in again.cases.iter().zip(&whole.cases) {
            assert_eq!(a.observation.is_some(), b.observation.is_some(), "cut at {cut}: {}", a.id);
        }
    }
}

#[test]
fn results_are_written_again_from_the_journal_without_running_anything() {
    let bench = Bench::new(attacks(&["a"]));
    bench.submit_script(REFERENCE);
    let whole = bench.grade_fully();
    for broken in ["", "{\"schema\": 1}", "not json"] {
        std::fs::write(bench.result_file(), broken).unwrap();
        let journal = std::fs::read(bench.journal_file()).unwrap();
        assert_eq!(bench.grade_fully().cases, whole.cases);
        let grown = std::fs::read(bench.journal_file()).unwrap();
        let added = String::from_utf8(grown[journal.len()..].to_vec()).unwrap();
        assert!(!added.contains("\"judged\"") && !added.contains("\"built\""), "{added}");
    }
}

#[test]
fn leftovers_of_a_killed_grading_are_removed() {
    let bench = Bench::new(attacks(&["a"]));
    bench.submit_script(REFERENCE);
    let private = bench.run_dir().join(".reenact").join(ID);
    std::fs::create_dir_all(private.join("tmp-abc/source/d")).unwrap();
    std::fs::create_dir_all(private.join("build-0123456789ab")).unwrap();
    assert!(bench.grade().resolved);
    assert!(!private.join("tmp-abc").exists());
    assert!(!private.join("build-0123456789ab").exists(), "a tree of another submission");
}

#[test]
fn a_damaged_journal_is_refused_and_left_alone() {
    let bench = Bench::new(attacks(&["a"]));
    bench.submit_script(REFERENCE);
    bench.grade();
    let mut journal = std::fs::read_to_string(bench.journal_file()).unwrap();
    journal.insert_str(journal.find('\n').unwrap() + 1, "garbage\n");
    std::fs::write(bench.journal_file(), &journal).unwrap();
    let error = bench.try_grade().unwrap_err();
    assert!(error.is_usage() && error.to_string().contains("line 2"), "{error}");
    assert_eq!(std::fs::read_to_string(bench.journal_file()).unwrap(), journal);
}

#[test]
fn grading_three_times_gives_the_same_verdicts() {
    let bench = Bench::new(attacks(&["a", "b"]));
    bench.submit_script(&REFERENCE.replace("exit 3", "exit 4"));
    let mut digests = Vec::new();
    for workers in [1, 2, 4] {
        let mut options = bench.options();
        options.force = true;
        options.workers = workers;
        let result =
            reenact_grade::grade(&bench.run_dir(), &options, &reenact_grade::Silent).unwrap();
        digests.push(result[0].verdicts_digest);
    }
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[0], digests[2]);
}
