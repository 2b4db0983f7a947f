//! Who ended the program: every way, told apart, in every mode of a cell.

mod support;
use reenact_model::{Ended, Stream};
use support::*;

#[test]
fn exits_and_signals_are_the_programs_own() {
    for (mode, spec) in every_mode() {
        let mut cell = start(&spec);
        assert_eq!(shell(&mut cell, "exit 7").ended, Ended::Exit { code: 7 }, "{mode}");
        assert_eq!(shell(&mut cell, "exit 137").ended, Ended::Exit { code: 137 }, "{mode}");
        assert_eq!(shell(&mut cell, "kill -9 $$").ended, Ended::Signal { signal: 9 }, "{mode}");
        assert_eq!(shell(&mut cell, "kill -XCPU $$").ended, Ended::Signal { signal: 24 }, "{mode}");
        assert_eq!(shell(&mut cell, "kill -SEGV $$").ended, Ended::Signal { signal: 11 }, "{mode}");
        assert_eq!(shell(&mut cell, "kill -TERM $$").ended, Ended::Signal { signal: 15 }, "{mode}");
    }
}

#[test]
fn a_missing_program_is_not_an_exit_code() {
    let mut cell = cell();
    let seen = run(&mut cell, "/no/such/program", &shell_case("true"));
    assert!(
        matches!(seen.steps[0].ended, Ended::ExecFailed { errno: libc::ENOENT, .. }),
        "{:?}",
        seen.steps[0].ended
    );
    assert_eq!(shell(&mut cell, "exit 127").ended, Ended::Exit { code: 127 });
}

#[test]
fn the_wall_limit_ends_a_sleeper_and_its_children() {
    for (mode, spec) in every_mode() {
        let mut cell = start(&spec);
        let case = parse(
            serde_json::json!({"id":"c","steps":[{"argv":["-c","sleep 99 & sleep 99"]}],"limits":{"wall_ms":200}}),
        );
        let seen = run(&mut cell, "/bin/sh", &case);
        assert_eq!(seen.steps[0].ended, Ended::WallLimit { limit_ms: 200 }, "{mode}");
        assert!(seen.steps[0].resources.leftovers >= 1, "{mode}");
        assert_eq!(out(&shell(&mut cell, "ps ax | grep -c '[s]leep'")), "0\n", "{mode}");
    }
}

#[test]
fn the_cpu_limit_is_told_from_its_signals() {
    let mut cell = cell();
    let case = parse(
        serde_json::json!({"id":"c","steps":[{"argv":["-c","while :; do :; done"]}],"limits":{"wall_ms":20000,"cpu_ms":1000}}),
    );
    assert_eq!(run(&mut cell, "/bin/sh", &case).steps[0].ended, Ended::CpuLimit { limit_ms: 1000 });
    let stubborn = "trap '' XCPU; while :; do :; done";
    let case = parse(
        serde_json::json!({"id":"c","steps":[{"argv":["-c",stubborn]}],"limits":{"wall_ms":20000,"cpu_ms":1000}}),
    );
    assert_eq!(run(&mut cell, "/bin/sh", &case).steps[0].ended, Ended::CpuLimit { limit_ms: 1000 });
}

#[test]
fn the_memory_limit_is_told_by_who_enforces_it() {
    for (mode, mut spec) in every_mode() {
        spec.limits.memory_bytes = 64 << 20;
        let mut cell = start(&spec);
        let seen = python(
            &mut cell,
            "import mmap\nm=mmap.mmap(-1,1<<29)\nfor i in range(0,1<<29,4096): m[i]=1\nprint('done')",
        );
        let layers = cell.layers();
        if layers["memory"].starts_with("cgroup") {
            assert_eq!(seen.steps[0].ended, Ended::MemoryLimit { limit_bytes: 64 << 20 }, "{mode}");
            assert!(seen.steps[0].resources.oom_kills >= 1, "{mode}");
        } else {
            // Without control groups: polling ends shared memory, RLIMIT_DATA refuses private memory.
            assert!(
                matches!(seen.steps[0].ended, Ended::MemoryLimit { .. }),
                "{mode}: {:?}",
                seen.steps[0]
            );
            let seen = python(&mut cell, "x=bytearray(1<<29)");
            assert_eq!(seen.steps[0].ended, Ended::Exit { code: 1 }, "{mode}: MemoryError");
        }
        assert_eq!(shell(&mut cell, "echo fine").ended, Ended::Exit { code: 0 }, "{mode}");
    }
}

#[test]
fn output_is_bounded_and_complete_up_to_the_bound() {
    let mut cell = cell();
    let limit = serde_json::json!({"output_bytes": 10_000, "wall_ms": 10_000});
    let case = |script: &str| {
        parse(serde_json::json!({"id":"c","steps":[{"argv":["-c",script]}],"limits":limit}))
    };
    let seen = run(&mut cell, "/bin/sh", &case("yes")).steps.remove(0);
    assert_eq!(seen.ended, Ended::OutputLimit { stream: Stream::Stdout, limit_bytes: 10_000 });
    assert_eq!(seen.stdout.inline_bytes().len(), 10_000);
    assert!(seen.stdout.truncated && seen.stdout.len > 10_000);
    let seen = run(&mut cell, "/bin/sh", &case("yes >&2")).steps.remove(0);
    assert_eq!(seen.ended, Ended::OutputLimit { stream: Stream::Stderr, limit_bytes: 10_000 });
    let seen =
        run(&mut cell, "/bin/sh", &case("head -c 10000 /dev/zero; head -c 10000 /dev/zero >&2"))
            .steps
            .remove(0);
    assert_eq!(seen.ended, Ended::Exit { code: 0 });
    assert_eq!((seen.stdout.len, seen.stderr.len, seen.stdout.truncated), (10_000, 10_000, false));
}

#[test]
fn resources_are_per_invocation() {
    let mut cell = cell();
    let big = python(&mut cell, "x=bytearray(100<<20)").steps.remove(0);
    assert!(big.resources.max_rss_kib > 100 << 10, "{:?}", big.resources);
    let small = shell(&mut cell, "true");
    assert!(
        small.resources.max_rss_kib < 50 << 10,
        "a later child must not inherit the peak: {:?}",
        small.resources
    );
    let busy = shell(&mut cell, "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done");
    assert!(busy.resources.user_us > 10_000, "{:?}", busy.resources);
}
