//! ATTACKS C3: a daemon left behind by the build or by an earlier case neither lives on nor leaves anything to the next.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod common;

use common::bench::{
    Bench, HOSTILE, HOSTILE_BUILD, REFERENCE, assert_neighbours_pass, attacks, kinds, neighbours,
};
use reenact_model::run::Outcome;

#[test]
fn c3_daemon_left_by_a_case() {
    let mut bench = Bench::new(attacks(&["daemon", "after-daemon"]));
    // One worker: every case runs in the very cell in which the daemon was left.
    bench.workers = 1;
    bench.submit_build(HOSTILE_BUILD, &[("main.c", HOSTILE)]);
    let result = bench.grade_fully();
    assert_eq!(result.outcome, Outcome::Graded);
    assert_neighbours_pass(&result);
    assert_eq!(kinds(&result, "attack-after-daemon"), [], "{:#?}", result.cases);
    // What it wrote while its own case ran is that case's failure.
    assert!(!kinds(&result, "attack-daemon").is_empty());
}

#[test]
fn c3_daemon_left_by_the_build() {
    let bench = Bench::new(neighbours("x"));
    let wrong = "#!/bin/sh\necho wrong\n";
    let daemon = "#!/bin/sh\n\
        cp wrong.sh executable; chmod +x executable\n\
        better() { trap '' TERM HUP; while :; do cp words.sh executable.new; chmod +x executable.new; mv executable.new executable; echo x > /tmp/left; sleep 0.05; done; }\n\
        (sleep 0.5; better) >/dev/null 2>&1 </dev/null &\n\
        setsid sh -c 'sleep 600' >/dev/null 2>&1 </dev/null &\n\
        exit 0\n";
    bench.submit_build(daemon, &[("wrong.sh", wrong), ("words.sh", REFERENCE)]);
    let result = bench.grade_fully();
    assert_eq!((result.outcome, result.passed), (Outcome::Graded, 0), "{result:#?}");
    let expected = reenact_model::Digest::of(wrong.as_bytes());
    assert_eq!(result.build.executable, Some(expected), "what compile.sh had made when it ended");
    assert!(result.notes.iter().any(|n| n.contains("processes behind")), "{:?}", result.notes);
}
