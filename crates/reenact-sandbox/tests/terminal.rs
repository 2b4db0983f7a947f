//! Terminal steps: screens before each key and at the end, keys that wait, programs that never end.

mod support;
use reenact_model::Ended;
use support::*;

fn tty(script: &str, keys: serde_json::Value) -> reenact_model::Case {
    parse(
        serde_json::json!({"id":"c","limits":{"wall_ms":8000},"steps":[{"argv":["-c",script],"tty":{"rows":6,"cols":30,"keys":keys}}]}),
    )
}

#[test]
fn a_program_on_a_terminal_sees_one() {
    for (mode, spec) in every_mode() {
        let mut cell = start(&spec);
        let seen = run(
            &mut cell,
            "/bin/sh",
            &tty(
                "test -t 0 && test -t 1 && test -t 2 && stty size && tty && echo $TERM && : > /dev/tty && echo ok",
                serde_json::json!([]),
            ),
        );
        let step = &seen.steps[0];
        assert_eq!(step.ended, Ended::Exit { code: 0 }, "{mode}: {step:?}");
        assert_eq!(
            step.screen.as_deref(),
            Some("6 30\n/dev/pts/0\nxterm-256color\nok\n\n"),
            "{mode}"
        );
    }
}

#[test]
fn keys_are_sent_when_the_program_waits_for_them() {
    let mut cell = cell();
    let script = "printf 'name? '; read n; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; printf 'hello %s\\nmore? ' $n; read m; echo bye";
    let keys = serde_json::json!([{"send": "Ada\r"}, {"send": "x\r", "wait_for": "more?"}]);
    let seen = run(&mut cell, "/bin/sh", &tty(script, keys));
    let screens: Vec<&str> =
        seen.steps[0].screen.as_deref().unwrap().split("\n\x0c\n").map(str::trim_end).collect();
    assert_eq!(
        screens,
        ["name?", "name? Ada\nhello Ada\nmore?", "name? Ada\nhello Ada\nmore? x\nbye"]
    );
    assert_eq!(seen.steps[0].ended, Ended::Exit { code: 0 });
}

#[test]
fn a_program_that_outlives_its_keys_is_ended_by_us() {
    let mut cell = cell();
    let seen =
        run(&mut cell, "/bin/sh", &tty("echo on; cat", serde_json::json!([{"send": "hi\r"}])));
    assert_eq!(seen.steps[0].ended, Ended::ScriptEnded { waiting_for: None });
    assert!(
        seen.steps[0].screen.as_deref().unwrap().ends_with("on\nhi\nhi\n\n\n"),
        "{:?}",
        seen.steps[0].screen
    );
    let seen = run(
        &mut cell,
        "/bin/sh",
        &tty("cat", serde_json::json!([{"send": "x", "wait_for": "never"}])),
    );
    assert_eq!(seen.steps[0].ended, Ended::ScriptEnded { waiting_for: Some("never".into()) });
    let seen = run(&mut cell, "/bin/sh", &tty("while :; do :; done", serde_json::json!([])));
    assert_eq!(seen.steps[0].ended, Ended::WallLimit { limit_ms: 8000 });
}

#[test]
fn interrupt_and_job_control_keys_reach_the_program() {
    let mut cell = cell();
    let seen = run(&mut cell, "/bin/sh", &tty("cat", serde_json::json!([{"send": "\u{3}"}])));
    assert_eq!(seen.steps[0].ended, Ended::Signal { signal: 2 });
    let seen = run(
        &mut cell,
        "/bin/sh",
        &tty(
            "trap 'echo caught; exit 5' INT; echo ready; cat",
            serde_json::json!([{"send": "\u{3}", "wait_for": "ready"}]),
        ),
    );
    assert_eq!(seen.steps[0].ended, Ended::Exit { code: 5 });
}

#[test]
fn terminal_cases_leave_files_like_any_other() {
    let mut cell = cell();
    let seen = run(
        &mut cell,
        "/bin/sh",
        &tty("read x; echo $x > out; stty -a > modes", serde_json::json!([{"send": "v\r"}])),
    );
    assert_eq!(seen.files.keys().collect::<Vec<_>>(), ["modes", "out"]);
}

#[test]
fn a_terminal_program_has_a_parent_that_is_not_init() {
    for (mode, spec) in every_mode() {
        let mut cell = start(&spec);
        let seen = run(
            &mut cell,
            "/bin/sh",
            &tty("test $PPID -ne 1 && echo parented; exit 4", serde_json::json!([])),
        );
        assert_eq!(seen.steps[0].ended, Ended::Exit { code: 4 }, "{mode}");
        assert!(seen.steps[0].screen.as_deref().unwrap().starts_with("parented"), "{mode}");
        assert!(seen.steps[0].resources.max_rss_kib > 0, "{mode}");
        // Killing that parent is the program's own doing, whatever it makes of it.
        let seen = run(
            &mut cell,
            "/bin/sh",
            &tty("kill -9 $PPID; sleep 5; echo late", serde_json::json!([])),
        );
        assert!(!seen.steps[0].ended.is_limit(), "{mode}: {:?}", seen.steps[0]);
        assert_eq!(shell(&mut cell, "exit 6").ended, Ended::Exit { code: 6 }, "{mode}");
    }
}
