//! ATTACKS C5: candidates that flood, fork, fill, hang and leave things behind. Each attack ends as a typed failure (or
//! passes, where it did what the reference does and merely left dirt), and no neighbouring case is spoiled.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod common;

use common::bench::{
    Bench, HOSTILE, HOSTILE_BUILD, assert_neighbours_pass, attacks, find, kinds, neighbours,
};
use reenact_model::FailKind::{self, Exit, Files, Memory, OutputFlood, Script, Timeout};
use reenact_model::case::Tty;
use reenact_model::observe::Ended;
use reenact_model::run::{Outcome, TaskResult};

fn grade(names: &[&str]) -> TaskResult {
    let mut cases = attacks(names);
    for case in &mut cases {
        if case.id.starts_with("attack-") {
            case.limits.wall_ms = Some(if case.id.contains("memory") { 8_000 } else { 1_500 });
        }
    }
    let bench = Bench::new(cases);
    bench.submit_build(HOSTILE_BUILD, &[("main.c", HOSTILE)]);
    let result = bench.grade_fully();
    assert_eq!(result.outcome, Outcome::Graded, "{:?} {:?}", result.why, result.build);
    assert_neighbours_pass(&result);
    result
}

fn held(result: &TaskResult, name: &str, expected: &[FailKind]) {
    let id = format!("attack-{name}");
    let mut got = kinds(result, &id);
    got.dedup();
    assert_eq!(got, expected, "{name}: {:#?}", find(result, &id).verdict);
}

#[test]
fn c5_output_floods() {
    let result = grade(&["flood", "flood-err"]);
    held(&result, "flood", &[OutputFlood, FailKind::Stdout]);
    held(&result, "flood-err", &[OutputFlood, FailKind::Stdout, FailKind::Stderr]);
    let seen = find(&result, "attack-flood").observation.as_ref().unwrap();
    assert!(seen.steps[0].stdout.inline_bytes().len() <= reenact_grade::trim::KEPT_BYTES);
}

#[test]
fn c5_fork_bomb() {
    let result = grade(&["fork-bomb"]);
    // It goes on until its time is up, unless the page tables of so many processes reach the memory limit first and the
    // control group ends the first of them: which comes first depends on the machine's memory and load.
    let kind = kinds(&result, "attack-fork-bomb")[0];
    assert!(matches!(kind, Timeout | Memory), "{kind:?}");
}

#[test]
fn c5_memory_eaters() {
    let result = grade(&["memory", "memory-children"]);
    // Ended by the cgroup, or, where there is none, refused more memory by its rlimit, upon which it exits.
    let kind = kinds(&result, "attack-memory")[0];
    assert!(matches!(kind, Memory | Exit), "{kind:?}");
    // The program itself lived to the end and said what the reference says; its children were killed at the limit.
    held(&result, "memory-children", &[]);
}

#[test]
fn c5_disk_and_inode_fillers() {
    let result = grade(&["disk", "inodes", "shm", "sparse"]);
    held(&result, "disk", &[Files]);
    held(&result, "inodes", &[Files]);
    held(&result, "shm", &[]);
    held(&result, "sparse", &[Files]);
}

#[test]
fn c5_programs_that_will_not_end() {
    let result = grade(&["ignore-signals", "close-pipes", "stop", "spin"]);
    for name in ["ignore-signals", "close-pipes", "stop", "spin"] {
        let id = format!("attack-{name}");
        assert_eq!(kinds(&result, &id)[0], Timeout, "{name}");
        let seen = find(&result, &id).observation.as_ref().unwrap();
        assert_eq!(seen.steps[0].ended, Ended::WallLimit { limit_ms: 1_500 }, "{name}");
    }
}

#[test]
fn c5_processes_left_behind_and_killed_neighbours() {
    let result = grade(&["double-fork", "kill-all"]);
    held(&result, "double-fork", &[]);
    held(&result, "kill-all", &[]);
}

#[test]
fn c5_an_exit_code_is_not_taken_for_our_limit() {
    let result = grade(&["exit-137"]);
    held(&result, "exit-137", &[Exit, FailKind::Stdout]);
}

#[test]
fn c5_workspaces_that_are_hard_to_read_or_remove() {
    let names = ["deep", "fifo", "socket", "unreadable", "names", "remove-cwd"];
    let result = grade(&names);
    for name in ["deep", "fifo", "socket", "unreadable", "names"] {
        held(&result, name, &[Files]);
    }
    let seen = find(&result, "attack-names").observation.as_ref().unwrap();
    for key in ["new\nline", "bad\\xff\\xfe", "-rf", "back\\\\slash"] {
        assert!(seen.files.contains_key(key), "{key:?} in {:?}", seen.files.keys());
    }
}

#[test]
fn c5_holding_the_terminal() {
    let names = ["hold-tty", "hold-tty-open"];
    let mut cases = attacks(&names);
    for case in &mut cases {
        if case.id.starts_with("attack-") {
            case.steps[0].tty = Some(Tty { rows: 5, cols: 40, keys: Vec::new() });
            case.limits.wall_ms = Some(3_000);
        }
    }
    let bench = Bench::new(cases);
    bench.submit_build(HOSTILE_BUILD, &[("main.c", HOSTILE)]);
    let result = bench.grade_fully();
    assert_neighbours_pass(&result);
    for name in names {
        let got = kinds(&result, &format!("attack-{name}"));
        assert!(got.is_empty() || got[0] == Script || got[0] == Timeout, "{name}: {got:?}");
    }
}

#[test]
fn c5_builds_that_misbehave_are_typed_and_the_next_grading_is_unharmed() {
    let bench = Bench::new(neighbours("x"));
    let build = |body: &str| format!("#!/bin/sh\n{body}\n");
    let deep = "i=0; while [ $i -lt 3000 ]; do mkdir deep-directory-name && cd deep-directory-name || break; i=$((i+1)); done";
    for (body, code) in [
        ("yes flood".to_owned(), "compile_failed"),
        // Ends at the limit, or at once if its own shell is the one that can fork no more.
        ("bomb() { bomb | bomb & }; bomb; sleep 600".to_owned(), "compile_"),
        ("trap '' TERM INT HUP; exec >&- 2>&- <&-; sleep 600".to_owned(), "compile_timeout"),
        (format!("{deep}; true"), "compile_failed"),
        ("mkfifo f; ln -s / root; mkdir d; : > d/x; chmod 0 d/x d .".to_owned(), "no_executable"),
        ("truncate -s 1T huge; truncate -s 300000000 large; exit 0".to_owned(), "no_executable"),
        (
            "head -c 300000000 /dev/zero > fill; : > $(printf 'new\\nline\\377'); exit 0"
                .to_owned(),
            "no_executable",
        ),
        ("rm -rf /workspace /home /tmp; rm compile.sh; exit 0".to_owned(), "no_executable"),
    ] {
        bench.submit_build(&build(&body), &[]);
        let mut options = bench.options();
        options.build_wall_ms = Some(6_000);
        let result = reenact_grade::grade(&bench.run_dir(), &options, &reenact_grade::Silent)
            .unwrap()
            .remove(0);
        assert_eq!(result.outcome, Outcome::BuildFailed, "{body}: {:?}", result.why);
        let got = result.build.error_code.unwrap();
        assert!(got.starts_with(code), "{body}: {got}: {:?}", result.build.error);
    }
    bench.submit_build(HOSTILE_BUILD, &[("main.c", HOSTILE)]);
    assert!(bench.grade().resolved);
}
