//! Rooms: commands side by side, what they leave behind, limits, files in and out. In every mode of a cell.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use reenact_sandbox::room::{Exec, ExecEnd, Executed, Input, Room, RoomSpec, TreeKind};
use reenact_sandbox::spec::CellLimits;
use reenact_sandbox::{Isolation, Rootfs, Setting};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::time::Duration;

fn spec(isolation: Isolation) -> RoomSpec {
    RoomSpec {
        rootfs: Rootfs::default(),
        limits: CellLimits {
            memory_bytes: 512 << 20,
            processes: 200,
            disk_bytes: 32 << 20,
            inodes: 5000,
            ..CellLimits::default()
        },
        isolation,
        mounts: Vec::new(),
        hostname: "localhost".to_owned(),
        env: BTreeMap::new(),
        oracle: None,
    }
}

fn every_mode(test: impl Fn(&str, &Room)) {
    for (name, cgroup, force_userns) in [
        ("root", Setting::Auto, false),
        ("root, rlimits", Setting::Fallback, false),
        ("userns", Setting::Auto, true),
        ("userns, rlimits", Setting::Fallback, true),
    ] {
        let room = Room::start(&spec(Isolation { cgroup, force_userns }), Box::new(|_| {}))
            .unwrap_or_else(|e| panic!("these tests need root or user namespaces: {name}: {e}"));
        test(name, &room);
    }
}

fn sh(script: &str) -> Exec {
    Exec {
        argv: ["sh", "-c", script].map(str::to_owned).into(),
        env: BTreeMap::new(),
        cwd: None,
        stdin: Input::Null,
        merge_stderr: false,
        wall: Some(Duration::from_secs(60)),
        keep_bytes: 1 << 20,
        max_bytes: None,
    }
}

fn run(room: &Room, script: &str) -> (String, String, ExecEnd) {
    let Executed { end, stdout, stderr, .. } = room.exec(sh(script)).unwrap();
    (String::from_utf8_lossy(&stdout).into(), String::from_utf8_lossy(&stderr).into(), end)
}

#[test]
fn commands_run_as_the_user_in_the_workspace_and_their_files_stay() {
    every_mode(|mode, room| {
        let (out, err, end) = run(
            room,
            "pwd; [ $(id -u) = 0 ] && echo root; echo hi > a; mkdir d; ln -s /etc/passwd d/l; exit 7",
        );
        assert_eq!((out.as_str(), err.as_str()), ("/workspace\n", ""), "{mode}");
        assert_eq!(end, ExecEnd::Exit { code: 7 });
        assert_eq!(run(room, "cat a; echo e >&2").0, "hi\n");
        let tree = room.list_tree("/workspace", 100).unwrap();
        let paths: Vec<_> = tree.iter().map(|e| String::from_utf8_lossy(&e.path)).collect();
        assert_eq!(paths, ["a", "d", "d/l"], "{mode}");
        assert_eq!(tree[2].kind, TreeKind::Symlink { target: b"/etc/passwd".to_vec() });
        let mut text = String::new();
        room.open_file("/workspace", b"a").unwrap().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "hi\n");
        assert!(room.open_file("/workspace", b"d/l").unwrap().is_none(), "links are not followed");
    });
}

#[test]
fn what_is_left_in_the_background_lives_on_and_a_timeout_kills_its_own_session() {
    every_mode(|mode, room| {
        run(room, "setsid sleep 300 > /dev/null 2>&1 & (while :; do echo x; sleep 0.05; done) &");
        run(room, "until pgrep -fx 'sleep 300'; do :; done");
        let exec = Exec { wall: Some(Duration::from_millis(300)), ..sh("sleep 300 & sleep 301") };
        assert_eq!(room.exec(exec).unwrap().end, ExecEnd::WallLimit, "{mode}");
        let left = run(room, "pgrep -a sleep").0;
        assert!(!left.contains("301"), "{mode}: {left}");
        assert_eq!(left.lines().filter(|l| l.ends_with("sleep 300")).count(), 1, "{mode}: {left}");
    });
}

#[test]
fn many_at_once_keep_their_own_streams_and_codes() {
    every_mode(|mode, room| {
        std::thread::scope(|s| {
            for i in 0..24 {
                s.spawn(move || {
                    let exec = Exec {
                        stdin: Input::Bytes(format!("in{i}").into_bytes()),
                        ..sh(&format!("cat; echo out{i}; echo err{i} >&2; exit {i}"))
                    };
                    let done = room.exec(exec).unwrap();
                    assert_eq!(done.stdout, format!("in{i}out{i}\n").into_bytes(), "{mode}");
                    assert_eq!(done.stderr, format!("err{i}\n").into_bytes());
                    assert_eq!(done.end, ExecEnd::Exit { code: i });
                });
            }
        });
    });
}

#[test]
fn floods_are_counted_and_cut_and_stopped() {
    every_mode(|mode, room| {
        let exec = Exec { keep_bytes: 1000, ..sh("head -c 5000000 /dev/zero; echo done >&2") };
        let done = room.exec(exec).unwrap();
        assert_eq!((done.stdout.len(), done.stdout_len), (1000, 5_000_000), "{mode}");
        let exec = Exec { keep_bytes: 10, max_bytes: Some(1 << 20), ..sh("yes") };
        assert_eq!(room.exec(exec).unwrap().end, ExecEnd::OutputLimit, "{mode}");
        let exec = Exec { argv: vec!["no-such-program".to_owned()], ..sh("") };
        assert_eq!(room.exec(exec).unwrap().end, ExecEnd::NotFound { errno: libc::ENOENT });
    });
}

#[test]
fn stop_ends_what_runs_now() {
    every_mode(|mode, room| {
        std::thread::scope(|s| {
            let run = s.spawn(|| room.exec(sh("echo started; sleep 300")).unwrap());
            while run_count(room) == 0 {
                std::thread::sleep(Duration::from_millis(10));
            }
            room.stopper().stop();
            assert_eq!(run.join().unwrap().end, ExecEnd::Stopped, "{mode}");
        });
        assert_eq!(run(room, "echo again").0, "again\n");
    });
}

fn run_count(room: &Room) -> usize {
    run(room, "pgrep -x sleep || true").0.lines().count()
}

#[test]
fn files_go_in_with_their_modes_and_no_link_leads_out() {
    every_mode(|mode, room| {
        let host = tempfile::tempdir().unwrap();
        std::fs::create_dir(host.path().join("sub")).unwrap();
        std::fs::write(host.path().join("sub/x"), "x").unwrap();
        std::os::unix::fs::symlink("sub/x", host.path().join("l")).unwrap();
        room.put_tree(host.path(), "/workspace/docs").unwrap();
        room.put_file("/workspace/docs/new/run.sh", 0o755, b"#!/bin/sh\necho ran\n").unwrap();
        let script = "cat docs/l; docs/new/run.sh; stat -c %u docs docs/sub docs/sub/x docs/new docs/new/run.sh | grep -cvx $(id -u)";
        let (out, err, _) = run(room, script);
        assert_eq!(out, "xran\n0\n", "{mode}: {err}");
        run(room, "rm -rf docs; ln -s /etc docs; ln -s / /tmp/root");
        let refused = room.put_file("/workspace/docs/evil", 0o644, b"x");
        assert!(refused.is_err(), "{mode}: a link in the way is not followed");
        assert!(room.list_tree("/tmp/root", 10).is_err(), "{mode}");
        assert!(room.open_file("/tmp", b"root/etc/passwd").unwrap().is_none());
        assert!(room.open_file("/workspace", b"../proc/1/environ").unwrap().is_none());
    });
}

#[test]
fn disk_and_processes_are_bounded_and_the_room_goes_on() {
    every_mode(|mode, room| {
        let (_, err, end) = run(room, "head -c 100M /dev/zero > big");
        assert!(
            err.contains("No space") || matches!(end, ExecEnd::Signal { .. }),
            "{mode}: {err} {end:?}"
        );
        run(room, "rm -f big");
        let exec =
            Exec { wall: Some(Duration::from_secs(2)), ..sh("f() { f | f & }; f; sleep 99") };
        room.exec(exec).unwrap();
        assert_eq!(run_until(room, "echo alive"), "alive\n", "{mode}");
    });
}

/// While a fork bomb dies, a new process may not be had: again until it is.
fn run_until(room: &Room, script: &str) -> String {
    for _ in 0..300 {
        let (out, _, end) = run(room, script);
        if end == (ExecEnd::Exit { code: 0 }) {
            return out;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{script}: no process to be had for 30 s");
}

#[test]
fn a_listener_in_the_room_is_served_from_outside_and_there_is_no_other_network() {
    every_mode(|mode, room| {
        let listener = room.listen(0).unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"from outside").unwrap();
        });
        let script = format!(
            "python3 -c \"import socket; print(socket.create_connection(('127.0.0.1', {port})).recv(99))\""
        );
        let (out, err, _) = run(room, &script);
        assert_eq!(out, "b'from outside'\n", "{mode}: {err}");
        served.join().unwrap();
        let (out, _, _) = run(room, "cat /proc/net/dev | tail -n +3 | cut -d: -f1 | tr -d ' '");
        assert_eq!(out, "lo\n", "{mode}");
    });
}

#[test]
fn the_end_of_the_room_ends_everything() {
    let room = Room::start(&spec(Isolation::default()), Box::new(|_| {})).unwrap();
    let marker = format!("{}", 3_000_000 + std::process::id());
    run(
        &room,
        &format!(
            "setsid sleep {marker} > /dev/null 2>&1 & until pgrep -fx 'sleep {marker}'; do :; done"
        ),
    );
    let seen = || {
        std::fs::read_dir("/proc").unwrap().flatten().any(|e| {
            std::fs::read(e.path().join("cmdline")).is_ok_and(|c| {
                c.windows(marker.len()).any(|w| w == marker.as_bytes()) && c.starts_with(b"sleep")
            })
        })
    };
    assert!(seen());
    drop(room);
    for _ in 0..300 {
        if !seen() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("a process outlived its room");
}
