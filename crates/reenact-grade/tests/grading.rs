//! Gradings from tarball to result: outcomes, files, reloading, locks, bad input.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod common;

use common::archive::Archive;
use common::bench::{Bench, ID, REFERENCE, find, kinds, neighbours};
use reenact_grade::{GradeError, GradeReporter, Silent, grade, load_results, regrade};
use reenact_interop::programbench::{EvalJson, Status};
use reenact_model::observe::Ended;
use reenact_model::run::{AgentOutcome, Outcome, Standing, TaskResult};
use reenact_model::{FailKind, Verdict};
use std::sync::Mutex;
use std::sync::atomic::Ordering;

#[test]
fn an_honest_submission_resolves_the_task_and_both_result_files_agree() {
    let bench = Bench::new(neighbours("x"));
    bench.submit_script(REFERENCE);
    let result = bench.grade();
    assert_eq!(result.outcome, Outcome::Graded, "{result:#?}");
    assert_eq!((result.passed, result.total), (5, 5), "{result:#?}");
    assert!(result.resolved && result.almost_resolved);
    assert_eq!(result.why, None);
    assert!(result.build.ok && result.build.executable.is_some());
    assert_eq!(result.groups["near"].passed, 5);
    assert!(!result.isolation.is_empty());
    assert_eq!(load_results(&bench.run_dir()).unwrap(), std::slice::from_ref(&result));
    let eval: EvalJson =
        serde_json::from_slice(&std::fs::read(bench.eval_file()).unwrap()).unwrap();
    assert_eq!(eval.score(), (5, 5));
    assert_eq!(eval.executable_hash, result.build.executable.map(|d| d.hex()));
    let private = std::fs::read_dir(bench.run_dir().join(".reenact").join(ID)).unwrap();
    assert_eq!(private.count(), 0, "built trees and work in progress are gone");
}

#[test]
fn a_wrong_submission_fails_with_reasons_and_stored_observations() {
    let bench = Bench::new(neighbours("x"));
    bench.submit_script("#!/bin/sh\necho same; echo noise > left.txt\n");
    let result = bench.grade_fully();
    assert_eq!((result.passed, result.failed, result.total), (0, 5, 5));
    assert_eq!(kinds(&result, "near-say-x"), [FailKind::Stdout, FailKind::Files]);
    let seen = find(&result, "near-say-x").observation.as_ref().unwrap();
    assert_eq!(seen.steps[0].stdout.inline_bytes(), b"same\n");
    assert!(seen.files.contains_key("left.txt"));
    let eval: EvalJson =
        serde_json::from_slice(&std::fs::read(bench.eval_file()).unwrap()).unwrap();
    assert!(eval.test_results.iter().all(|t| t.status == Status::Failure));
    let again = regrade(&bench.run_dir(), &[], None, &bench.options().harness, &Silent).unwrap();
    assert_eq!(again[0].verdicts_digest, result.verdicts_digest);
    assert_eq!(load_results(&bench.run_dir()).unwrap()[0].cases, result.cases);
}

#[derive(Default)]
struct Counting(Mutex<(u64, u64)>);

impl GradeReporter for Counting {
    fn task_started(&self, _: &str, _: u64, _: u64) {}
    fn building(&self, _: &str) {
        self.0.lock().unwrap().0 += 1;
    }
    fn judged(&self, _: &str, _: u64, _: u64, _: u64) {
        self.0.lock().unwrap().1 += 1;
    }
    fn task_finished(&self, _: &TaskResult) {}
    fn note(&self, _: &str) {}
}

#[test]
fn a_finished_run_is_only_read_and_force_starts_over() {
    let bench = Bench::new(neighbours("x"));
    bench.submit_script(REFERENCE);
    let first = bench.grade();
    let counting = Counting::default();
    let again = grade(&bench.run_dir(), &bench.options(), &counting).unwrap();
    assert_eq!(*counting.0.lock().unwrap(), (0, 0));
    assert_eq!(again, std::slice::from_ref(&first));
    let mut options = bench.options();
    options.force = true;
    let forced = grade(&bench.run_dir(), &options, &counting).unwrap();
    assert_eq!(*counting.0.lock().unwrap(), (1, 5));
    assert_eq!(forced[0].verdicts_digest, first.verdicts_digest);
}

#[test]
fn another_submission_or_suite_is_graded_anew() {
    let bench = Bench::new(neighbours("x"));
    bench.submit_script(REFERENCE);
    assert!(bench.grade().resolved);
    bench.submit_script("#!/bin/sh\n:\n");
    assert_eq!(bench.grade().passed, 0);
    bench.submit_script(REFERENCE);
    bench.write_suite(neighbours("y"));
    let result = bench.grade();
    assert!(result.resolved && result.cases[0].id == "near-up-y");
}

#[test]
fn a_missing_submission_is_a_valid_zero() {
    let bench = Bench::new(neighbours("x"));
    let result = bench.grade();
    assert_eq!(result.outcome, Outcome::SubmissionMissing);
    assert_eq!(result.outcome.standing(), Standing::Valid);
    assert_eq!((result.passed, result.not_run, result.total), (0, 5, 5));
    assert_eq!(result.score, 0.0);
    let eval: EvalJson =
        serde_json::from_slice(&std::fs::read(bench.eval_file()).unwrap()).unwrap();
    assert_eq!(eval.error_code.as_deref(), Some("no_submission"));
    assert_eq!(eval.test_results.len(), 5);
    bench.submit_script(REFERENCE);
    assert!(bench.grade().resolved, "a submission that arrives later is graded");
}

#[test]
fn how_the_agent_ended_shows_in_the_outcome() {
    let bench = Bench::new(neighbours("x"));
    let with = |outcome| {
        bench.write_run("hand", false, outcome);
        let mut options = bench.options();
        options.force = true;
        grade(&bench.run_dir(), &options, &Silent).unwrap()[0].outcome
    };
    assert_eq!(with(AgentOutcome::Failed), Outcome::HarnessFailed);
    assert_eq!(with(AgentOutcome::Cancelled), Outcome::Cancelled);
    assert_eq!(with(AgentOutcome::Refused), Outcome::AgentRefused);
    assert_eq!(with(AgentOutcome::ExhaustedBudget), Outcome::SubmissionMissing);
    bench.submit_script(REFERENCE);
    assert_eq!(with(AgentOutcome::ExhaustedBudget), Outcome::AgentExhaustedBudget);
    assert_eq!(with(AgentOutcome::Submitted), Outcome::Graded);
}

/// Code and reason of a build that failed, after checking that it is a valid zero with every case listed.
fn build_failure(bench: &Bench) -> (String, String) {
    let result = bench.grade();
    assert_eq!(result.outcome, Outcome::BuildFailed, "{result:#?}");
    assert_eq!((result.not_run, result.total), (5, 5));
    assert!(!result.build.ok);
    assert!(matches!(result.cases[0].verdict, Verdict::NotRun { .. }));
    (result.build.error_code.unwrap(), result.build.error.unwrap())
}

#[test]
fn every_way_a_build_can_fail_has_its_code_and_reason() {
    let bench = Bench::new(neighbours("x"));
    let sh = |body: &str| format!("#!/bin/sh\n{body}\n");
    let exe = |text: &str| sh(&format!("printf '{text}' > executable; chmod +x executable"));
    for (compile, code, part) in [
        (
            sh("echo 'main.c:1: error'; exit 7"),
            "compile_failed",
            "exited with 7; its last line: main.c:1: error",
        ),
        (sh("kill -SEGV $$"), "compile_failed", "signal 11"),
        ("#!/no/such/interpreter\n".to_owned(), "compile_failed", "compile.sh exited with 12"),
        (sh("true"), "no_executable", "left no ./executable"),
        (sh("mkdir executable"), "bad_executable", "is a directory"),
        (sh("ln -s nowhere executable"), "bad_executable", "not there"),
        (sh("ln -s /bin/cat executable"), "bad_executable", "out of the tree"),
        (sh("mkfifo executable"), "no_executable", "left no ./executable"),
        (sh("echo x > executable"), "bad_executable", "chmod +x"),
        (exe("#!/opt/no/python\\n"), "bad_executable", "/opt/no/python"),
        (exe(""), "bad_executable", "is empty"),
        (exe("plain text"), "bad_executable", "neither a program nor a script"),
    ] {
        bench.submit_build(&compile, &[]);
        let (got, why) = build_failure(&bench);
        assert_eq!(got, code, "{compile}: {why}");
        assert!(why.contains(part), "{compile}: {why}");
    }
}

#[test]
fn a_build_that_hangs_is_ended_at_its_limit() {
    let bench = Bench::new(neighbours("x"));
    bench.submit_build("#!/bin/sh\ntrap '' TERM\nsleep 600\n", &[]);
    let mut options = bench.options();
    options.build_wall_ms = Some(1_000);
    let result = grade(&bench.run_dir(), &options, &Silent).unwrap().remove(0);
    assert_eq!(result.build.error_code.as_deref(), Some("compile_timeout"));
    assert_eq!(result.build.returncode, None);
}

#[test]
fn archives_that_cannot_be_built_are_valid_zeros_too() {
    let bench = Bench::new(neighbours("x"));
    bench.submit(&Archive::new().gz());
    assert_eq!(build_failure(&bench).0, "no_compile_sh");
    bench.submit(&Archive::new().dir("workspace").script("workspace/compile.sh", "x").gz());
    assert_eq!(build_failure(&bench).0, "no_compile_sh");
    bench.submit(b"");
    assert_eq!(build_failure(&bench).0, "bad_submission");
    let whole = Archive::new().script("compile.sh", "x").gz();
    bench.submit(&whole[..whole.len() / 2]);
    let (code, why) = build_failure(&bench);
    assert_eq!(code, "bad_submission");
    assert!(why.contains("truncated"), "{why}");
    bench.submit(&Archive::new().script("compile.sh", "x").file("../evil", "x").gz());
    let (code, why) = build_failure(&bench);
    assert_eq!(code, "bad_submission");
    assert!(why.contains("../evil"), "{why}");
}

#[test]
fn a_shipped_executable_does_not_count() {
    let bench = Bench::new(neighbours("x"));
    let archive =
        Archive::new().script("compile.sh", "#!/bin/sh\nexit 0\n").script("executable", REFERENCE);
    bench.submit(&archive.gz());
    assert_eq!(build_failure(&bench).0, "no_executable");
    let result = load_results(&bench.run_dir()).unwrap().remove(0);
    assert!(result.notes.iter().any(|n| n.contains("shipped ./executable")), "{:?}", result.notes);
}

#[test]
fn what_a_submission_may_rely_on_at_run_time_works() {
    // An interpreted submission with a data file, found by its own path; the tree is read-only and the cwd is elsewhere.
    let bench = Bench::new(neighbours("x"));
    let program = "#!/bin/sh\nhere=$(dirname \"$0\")\ntouch \"$here/x\" 2>/dev/null && exit 9\n. \"$here/lib/words.sh\"\n";
    let compile = "#!/bin/bash\nset -e\numask 077\nmkdir lib\nmv words.sh lib/\nmkdir -p out\nmv main.sh out/tool\nchmod 700 out/tool\nln -s out/tool executable\n[[ $PWD == /workspace ]]\n";
    // dirname of /workspace/executable is /workspace, link or not.
    bench.submit_build(compile, &[("words.sh", REFERENCE), ("main.sh", program)]);
    let result = bench.grade_fully();
    assert!(result.resolved, "{result:#?}");
}

#[test]
fn a_build_has_no_network_and_no_root() {
    let bench = Bench::new(neighbours("x"));
    let compile = "#!/bin/sh\nid -u\nls /sys/class/net 2>/dev/null\ngrep -v lo: /proc/net/dev | tail -n +3\n[ $(id -u) != 0 ] || exit 5\n[ -z \"$(grep -v lo: /proc/net/dev | tail -n +3)\" ] || exit 6\nexit 9\n";
    bench.submit_build(compile, &[]);
    let (code, why) = build_failure(&bench);
    assert_eq!(code, "compile_failed");
    assert!(why.contains("exited with 9"), "{why}");
}

#[test]
fn the_upper_bound_is_marked() {
    let bench = Bench::new(neighbours("x"));
    bench.write_run("reference", true, AgentOutcome::Submitted);
    bench.submit_script(REFERENCE);
    let result = bench.grade();
    assert!(result.resolved && result.notes[0].contains("upper bound"));
}

#[test]
fn a_crash_and_a_timeout_are_named() {
    let bench = Bench::new(neighbours("x"));
    bench.submit_script(
        "#!/bin/sh\ncase $1 in up) kill -SEGV $$;; say) exec /no/such;; *) while :; do sleep 1; done;; esac\n",
    );
    let mut cases = neighbours("x");
    for case in &mut cases {
        case.limits.wall_ms = Some(700);
    }
    bench.write_suite(cases);
    let result = bench.grade_fully();
    assert_eq!(kinds(&result, "near-up-x")[0], FailKind::Crash);
    assert_eq!(kinds(&result, "near-make-x")[0], FailKind::Timeout);
    let seen = find(&result, "near-make-x").observation.as_ref().unwrap();
    assert_eq!(seen.steps[0].ended, Ended::WallLimit { limit_ms: 700 });
}

#[test]
fn two_gradings_of_one_run_exclude_each_other() {
    let bench = Bench::new(neighbours("x"));
    bench.submit_script(REFERENCE);
    let private = bench.run_dir().join(".reenact");
    std::fs::create_dir_all(&private).unwrap();
    let held = std::fs::File::create(private.join("lock")).unwrap();
    held.lock().unwrap();
    std::fs::write(private.join("lock"), "4242\n").unwrap();
    match bench.try_grade() {
        Err(e @ GradeError::Locked { pid: Some(4242), .. }) => assert!(!e.is_usage()),
        other => panic!("{other:?}"),
    }
    assert!(!bench.journal_file().exists());
    drop(held);
    assert!(bench.grade().resolved);
}

#[test]
fn a_stopped_grading_resumes() {
    let bench = Bench::new(neighbours("x"));
    bench.submit_script(REFERENCE);
    let options = bench.options();
    options.stop.store(true, Ordering::Relaxed);
    match grade(&bench.run_dir(), &options, &Silent) {
        Err(GradeError::Cancelled) => {}
        other => panic!("{other:?}"),
    }
    assert!(bench.grade().resolved);
}

fn usage(bench: &Bench, part: &str) {
    match bench.try_grade() {
        Err(e) => {
            assert!(e.is_usage(), "{e}");
            assert!(e.to_string().contains(part), "{e}");
        }
        Ok(result) => panic!("{result:#?}"),
    }
    assert!(!bench.result_file().exists() && !bench.eval_file().exists());
}

#[test]
fn broken_bundles_and_suites_are_named_and_nothing_is_judged() {
    let break_it = |file: &str, edit: &dyn Fn(&str) -> String, part: &str| {
        let bench = Bench::new(neighbours("x"));
        bench.submit_script(REFERENCE);
        let path = bench.task_dir().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, edit(&text)).unwrap();
        usage(&bench, part);
    };
    break_it("suite/cases.jsonl", &|t| t.replace("abc", "abd"), "does not match the digest");
    break_it("suite/cases.jsonl", &|t| t.replacen("steps", "stops", 1), "line 1");
    break_it("suite/suite.toml", &|t| t.replace("kind =", "kin ="), "kin");
    break_it("sealed/reference", &|t| format!("{t}#\n"), "sealed/reference");
    break_it("task.toml", &|t| t.replace("schema = 1", "schema = 9"), "schema 9");
    break_it("task.toml", &|t| t.replace(ID, "path__other.1"), "is another task, path__other.1");
}

#[test]
fn missing_things_are_named() {
    let bench = Bench::new(neighbours("x"));
    let mut options = bench.options();
    options.only = vec!["nope".to_owned()];
    match grade(&bench.run_dir(), &options, &Silent) {
        Err(e @ GradeError::UnknownTask { .. }) => assert!(e.to_string().contains(ID)),
        other => panic!("{other:?}"),
    }
    std::fs::remove_dir_all(bench.task_dir().join("suite")).unwrap();
    usage(&bench, "reenact suite generate");
    std::fs::remove_dir_all(bench.task_dir()).unwrap();
    usage(&bench, ID);
    std::fs::write(bench.run_dir().join("run.toml"), "schema = 1\nagent = 3\n").unwrap();
    usage(&bench, "line 2");
    std::fs::remove_file(bench.run_dir().join("run.toml")).unwrap();
    usage(&bench, "not a run directory");
}

#[test]
fn one_broken_task_does_not_keep_the_others_from_being_graded() {
    let bench = Bench::new(neighbours("x"));
    bench.submit_script(REFERENCE);
    let path = bench.run_dir().join("run.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let at = text.find("[tasks.").unwrap();
    let other = text[at..].replace(ID, "a__broken.1");
    std::fs::write(&path, format!("{text}\n{other}")).unwrap();
    let results = grade(&bench.run_dir(), &bench.options(), &Silent).unwrap();
    assert_eq!(results.len(), 2);
    assert_eq!(results[0].outcome, Outcome::HarnessFailed);
    assert!(results[0].why.as_ref().unwrap().contains("a__broken.1"));
    assert!(results[1].resolved);
    assert_eq!(load_results(&bench.run_dir()).unwrap(), results);
}

#[test]
fn a_sandbox_that_cannot_start_is_never_a_score() {
    let bench = Bench::new(neighbours("x"));
    bench.submit_script(REFERENCE);
    let mut options = bench.options();
    options.cells.base = reenact_sandbox::RootBase::Dir(bench.dir.path().join("no/such/root"));
    let result = grade(&bench.run_dir(), &options, &Silent).unwrap().remove(0);
    assert_eq!(result.outcome, Outcome::SandboxFailed, "{result:#?}");
    assert_eq!((result.harness_errors, result.failed, result.not_run), (5, 0, 0));
    let eval: EvalJson =
        serde_json::from_slice(&std::fs::read(bench.eval_file()).unwrap()).unwrap();
    assert!(eval.test_results.iter().all(|t| t.status == Status::SystemError));
    assert!(bench.grade().resolved, "and the next grading tries again");
}

#[test]
fn a_timeout_is_believed_only_after_a_second_run_with_more_time() {
    let bench = Bench::new(neighbours("x"));
    bench.submit_script(
        &REFERENCE
            .replace("#!/bin/sh\n", "#!/bin/sh\ncase $1 in up) sleep 1;; say) sleep 600;; esac\n"),
    );
    let mut cases = neighbours("x");
    for case in &mut cases {
        case.limits.wall_ms = Some(700);
    }
    bench.write_suite(cases);
    let result = bench.grade_fully();
    // Slower than its limit, faster than twice its limit: what a starved program looks like.
    assert!(find(&result, "near-up-x").verdict.passed(), "{result:#?}");
    assert_eq!(kinds(&result, "near-say-x")[0], FailKind::Timeout);
    assert_eq!(result.passed, 4);
    let journal = std::fs::read_to_string(bench.journal_file()).unwrap();
    assert_eq!(journal.matches("\"judged\"").count(), 5, "each case is judged once");
}
