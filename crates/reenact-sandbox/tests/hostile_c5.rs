//! ATTACKS C5: programs that flood, fork, eat, fill, hide and litter. Each is bounded and typed, and the next case in the
//! same cell is unaffected.

mod support;
use reenact_model::{CaseObservation, Ended};
use reenact_sandbox::{Cell, CellSpec, Isolation, Setting};
use support::*;

/// Runs a hostile script in every mode and then checks that a neighbour is well.
fn held(script: &str, check: impl Fn(&CaseObservation)) {
    for (mode, mut spec) in every_mode() {
        spec.limits.memory_bytes = 256 << 20;
        spec.limits.processes = 40;
        let mut cell = start(&spec);
        let case = parse(
            serde_json::json!({"id":"c","steps":[{"argv":["-c",script]}],"limits":{"wall_ms":1500,"output_bytes":100_000}}),
        );
        for round in 0..2 {
            let seen = run(&mut cell, "/bin/sh", &case);
            eprintln!("{mode} {round}: {:?} {:?}", seen.steps[0].ended, seen.steps[0].resources);
            check(&seen);
            neighbour(&mut cell, mode);
        }
    }
}

fn neighbour(cell: &mut Cell, mode: &str) {
    let seen = run(
        cell,
        "/bin/sh",
        &shell_case(
            "ls -A . /tmp $HOME /dev/shm; ps ax -o comm= | grep -vcE '^(init|sh|ps|grep)$'; echo neighbour > f; cat f",
        ),
    );
    assert_eq!(
        out(&seen.steps[0]),
        ".:\n\n/dev/shm:\n\n/home/user:\n\n/tmp:\n0\nneighbour\n",
        "{mode}"
    );
    assert_eq!(seen.files.keys().collect::<Vec<_>>(), ["f"], "{mode}");
}

#[test]
fn c5_output_flood() {
    held("yes", |s| assert!(matches!(s.steps[0].ended, Ended::OutputLimit { .. })));
}

#[test]
fn c5_fork_bomb() {
    held("f() { f | f & }; f; sleep 99", |s| {
        // Its first shell may be the one that cannot fork, and then says so and exits.
        assert!(
            matches!(s.steps[0].ended, Ended::WallLimit { .. } | Ended::Exit { code: 2 }),
            "{:?}",
            s.steps[0].ended
        );
    });
}

#[test]
fn c5_memory_eater() {
    held("exec tail /dev/zero", |s| {
        assert!(s.steps[0].ended != Ended::Exit { code: 0 }, "{:?}", s.steps[0].ended)
    });
}

#[test]
fn c5_disk_and_inode_filler() {
    held("cat /dev/zero > big; cat /dev/zero > /tmp/big; echo; echo status $?", |s| {
        assert!(matches!(s.steps[0].ended, Ended::Exit { .. }), "{:?}", s.steps[0].ended);
    });
    let inodes = "exec python3 -c 'import itertools, os\ntry:\n for i in itertools.count(): os.close(os.open(str(i), 65))\nexcept OSError as e: print(e.errno)'";
    held(inodes, |s| {
        // ENOSPC at the limit, unless the wall limit comes first on a slow machine.
        let full = out(&s.steps[0]) == "28\n" && s.steps[0].ended == Ended::Exit { code: 0 };
        assert!(
            full || s.steps[0].ended == Ended::WallLimit { limit_ms: 1500 },
            "{:?}",
            s.steps[0]
        );
        assert!(s.files.len() > 1000);
    });
}

#[test]
fn c5_ignores_sigterm_and_closes_its_pipes() {
    held("trap '' TERM HUP INT QUIT; exec >&- 2>&- <&-; while :; do sleep 1; done", |s| {
        assert_eq!(s.steps[0].ended, Ended::WallLimit { limit_ms: 1500 });
    });
}

#[test]
fn c5_double_fork_daemon() {
    held(
        "(setsid sh -c 'trap \"\" HUP TERM; while :; do echo late > /tmp/late; sleep 0.01; done' </dev/null >/dev/null 2>&1 &) ; echo parent gone",
        |s| {
            assert_eq!(s.steps[0].ended, Ended::Exit { code: 0 });
            assert!(s.steps[0].resources.leftovers >= 1);
        },
    );
}

#[test]
fn c5_deep_tree() {
    let script = "exec python3 -c 'import os\nfor i in range(3000): os.mkdir(\"d\"); os.chdir(\"d\")\nprint(\"deep\")'";
    held(script, |s| {
        assert_eq!(out(&s.steps[0]), "deep\n");
        assert!(s.files.len() > 100 && s.files_truncated, "{}", s.files.len());
    });
}

#[test]
fn c5_odd_files() {
    let script = r#"truncate -s 60M sparse; mkfifo fifo; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("sock")'
        echo s > secret; chmod 000 secret; mkdir shut; echo t > shut/in; chmod 000 shut; touch "$(printf 'new\nline')" "$(printf 'bad\377utf')" ./-rf '*'; ln -s / root; ln secret hard; mkdir nodel; touch nodel/x; chmod 555 nodel"#;
    held(script, |s| {
        for name in [
            "sparse",
            "fifo",
            "sock",
            "secret",
            "shut",
            "shut/in",
            "new\nline",
            "bad\\xffutf",
            "-rf",
            "*",
            "root",
            "hard",
            "nodel/x",
        ] {
            assert!(s.files.contains_key(name), "{name}: {:?}", s.files.keys());
        }
    });
}

#[test]
fn c5_descriptor_hidden_in_a_socket_queue() {
    // The write end of stdout outlives every process, in a cycle that only the kernel's collector frees: the drain must
    // not wait for end of file.
    let script = r#"exec python3 -c '
import socket, array
a, b = socket.socketpair()
send = lambda s, f: s.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [f]))])
send(a, 1); send(a, b.fileno()); send(b, a.fileno()); print("queued", flush=True)
'"#;
    held(script, |s| {
        assert_eq!(
            (s.steps[0].ended.clone(), out(&s.steps[0]).as_str()),
            (Ended::Exit { code: 0 }, "queued\n")
        )
    });
}

#[test]
fn c5_nonblocking_flag_on_pipes_does_not_persist() {
    held(
        r#"exec python3 -c 'import os; [os.set_blocking(f, False) for f in (0, 1, 2)]; print(1)'"#,
        |s| {
            assert_eq!(out(&s.steps[0]), "1\n");
        },
    );
}

#[test]
fn c5_holds_the_terminal() {
    let mut cell = cell();
    let case = parse(
        serde_json::json!({"id":"c","limits":{"wall_ms":3000},"steps":[{"argv":["-c","trap '' HUP TERM INT; (setsid sh -c 'trap \"\" HUP; while :; do sleep 1; done' &) ; echo up; exit 3"],"tty":{"rows":5,"cols":20}}]}),
    );
    for _ in 0..2 {
        let seen = run(&mut cell, "/bin/sh", &case);
        assert_eq!(seen.steps[0].ended, Ended::Exit { code: 3 });
        neighbour(&mut cell, "tty");
    }
}

#[test]
fn c5_a_tty_flood_is_bounded() {
    let mut cell = cell();
    let case = parse(
        serde_json::json!({"id":"c","limits":{"wall_ms":5000,"output_bytes":50_000},"steps":[{"argv":["-c","yes"],"tty":{"rows":5,"cols":20}}]}),
    );
    let seen = run(&mut cell, "/bin/sh", &case);
    assert!(matches!(seen.steps[0].ended, Ended::OutputLimit { .. }), "{:?}", seen.steps[0].ended);
    neighbour(&mut cell, "tty");
}

#[test]
fn c5_attacks_on_the_zygote() {
    for (mode, spec) in every_mode() {
        let mut cell = start(&spec);
        let script = "import ctypes, os, resource, signal\n\
            c = ctypes.CDLL(None, use_errno=True)\n\
            def t(f):\n  try: f(); return 'yes'\n  except OSError as e: return 'no'\n\
            print(t(lambda: resource.prlimit(1, resource.RLIMIT_NOFILE, (0, 0))))\n\
            print(t(lambda: open('/proc/1/mem', 'rb').read(1)), t(lambda: os.listdir('/proc/1/fd')), t(lambda: os.readlink('/proc/1/exe')))\n\
            print(c.ptrace(16, 1, 0, 0), c.ptrace(0, 0, 0, 0))\n\
            for s in (9, 19, 15): t(lambda: os.kill(1, s))";
        let seen = python(&mut cell, script);
        assert_eq!(out(&seen.steps[0]), "no\nno no no\n-1 -1\n", "{mode} {:?}", seen.steps[0]);
        neighbour(&mut cell, mode);
    }
}

#[test]
fn c5_many_processes_at_the_limit_leave_the_cell_usable() {
    let mut spec = CellSpec {
        isolation: Isolation { cgroup: Setting::Auto, ..Default::default() },
        ..CellSpec::host()
    };
    spec.limits.processes = 20;
    let mut cell = start(&spec);
    let seen = shell(
        &mut cell,
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do sleep 50 & done 2>/dev/null; exit 0",
    );
    assert!(seen.resources.leftovers <= 24, "{:?}", seen.resources);
    neighbour(&mut cell, "limit");
}

#[test]
fn c5_signals_to_the_own_group_stay_in_the_cell() {
    // The outer process of a cell must not be in reach: killing it would turn a bad program into a lost cell.
    held("trap '' TERM; kill -TERM 0; kill -HUP 0; kill -KILL 0; echo not reached", |s| {
        assert_eq!(s.steps[0].ended, Ended::Signal { signal: 1 }, "{:?}", s.steps[0]);
    });
    held("kill -KILL 0", |s| {
        assert_eq!(s.steps[0].ended, Ended::Signal { signal: 9 }, "{:?}", s.steps[0])
    });
    held("kill -KILL -1; sleep 5", |s| {
        assert!(
            matches!(s.steps[0].ended, Ended::Exit { .. } | Ended::WallLimit { .. }),
            "{:?}",
            s.steps[0]
        )
    });
}
