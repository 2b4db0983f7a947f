//! ATTACKS A: reading the sealed reference from inside the room. The reference holds a secret (`fixtures/refprog.c`); each test
//! makes the attempts of its rows and then looks for the secret in everything that the attempt printed and left behind.
//! Rows 36 to 41 (references that load libraries) are in `reenact-cleanroom/tests`: such references are refused.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use reenact_sandbox::host::HostCommand;
use reenact_sandbox::room::oracle::OracleEvent;
use reenact_sandbox::room::{Exec, ExecEnd, Input, OracleSpec, Room, RoomSpec, TreeKind};
use reenact_sandbox::spec::CellLimits;
use reenact_sandbox::{Isolation, Rootfs, Setting};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

/// In the reference's bytes, and printed by nothing.
const SECRET: &str = "SEALED-7f3a9c51e0d24b86-never-to-be-read-by-the-agent-SEALED";

/// Where the dynamic reference's private library is.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

struct Fixtures {
    _dir: tempfile::TempDir,
    fixed: PathBuf,
    dynamic: PathBuf,
    /// Dynamic, with part of its code in a private library.
    parted: PathBuf,
    layer: PathBuf,
    attack: PathBuf,
    steal: PathBuf,
}

static FIXTURES: LazyLock<Fixtures> = LazyLock::new(|| {
    let dir = tempfile::Builder::new().prefix("hostpath-").tempdir().unwrap();
    let source =
        |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let cc = |name: &str, out: &str, flags: &[&str]| {
        let path = dir.path().join(out);
        let secret = format!("-DSECRET=\"{SECRET}\"");
        let mut args = vec!["-O1", "-w", &secret];
        let (source, target) = (source(name), path.display().to_string());
        args.extend(["-o", &target, source.to_str().unwrap()]);
        args.extend(flags);
        let done = HostCommand::new("cc", args.iter().map(|a| (*a).to_owned())).run().unwrap();
        assert!(done.ok(), "cc {args:?}: {}", done.last_line());
        path
    };
    let layer = dir.path().join("layer");
    std::fs::create_dir_all(layer.join(LIBRARIES)).unwrap();
    let private = format!("layer/{LIBRARIES}/libprivate-part.so.1");
    cc("private.c", &private, &["-shared", "-fPIC", "-Wl,-soname,libprivate-part.so.1"]);
    let private = dir.path().join(private).display().to_string();
    Fixtures {
        layer,
        fixed: cc("refprog.c", "static-reference", &["-static"]),
        dynamic: cc("refprog.c", "dynamic-reference", &["-DDYNAMIC"]),
        parted: cc("refprog.c", "parted-reference", &["-DDYNAMIC", "-DPARTED", &private]),
        attack: cc("attack.c", "attack", &["-static"]),
        steal: cc("steal.c", "steal.so", &["-shared", "-fPIC"]),
        _dir: dir,
    }
});

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Static,
    /// Run with AT_SECURE.
    Dynamic,
    Parted,
}

struct Bench {
    kind: Kind,
    room: Room,
    mode: &'static str,
    events: Arc<Mutex<Vec<OracleEvent>>>,
}

fn bench(mode: &'static str, kind: Kind, force_userns: bool) -> Bench {
    let f = &*FIXTURES;
    let secure = kind != Kind::Static;
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let spec = RoomSpec {
        rootfs: Rootfs { masks: vec!["/usr/bin/cmp".to_owned()], ..Rootfs::default() },
        limits: CellLimits {
            memory_bytes: 1 << 30,
            processes: 600,
            disk_bytes: 256 << 20,
            inodes: 20_000,
            open_files: 8192,
            file_bytes: 256 << 20,
        },
        isolation: Isolation { cgroup: Setting::Auto, force_userns },
        mounts: Vec::new(),
        hostname: "localhost".to_owned(),
        env: BTreeMap::new(),
        oracle: Some(OracleSpec {
            reference: match kind {
                Kind::Static => f.fixed.clone(),
                Kind::Dynamic => f.dynamic.clone(),
                Kind::Parted => f.parted.clone(),
            },
            layers: if kind == Kind::Parted { vec![f.layer.clone()] } else { Vec::new() },
            secure,
            own_terminal: false,
        }),
    };
    let room = Room::start(&spec, Box::new(move |e| seen.lock().unwrap().push(e)))
        .unwrap_or_else(|e| panic!("these tests need root or user namespaces: {mode}: {e}"));
    for (name, path) in [("attack", &f.attack), ("steal.so", &f.steal)] {
        room.put_file(&format!("/tmp/{name}"), 0o755, &std::fs::read(path).unwrap()).unwrap();
    }
    Bench { kind, room, mode, events }
}

/// The modes in which a reference may be given to an agent. The dynamic one needs root.
fn every_mode(test: impl Fn(&Bench)) {
    for (mode, kind, userns) in [
        ("root, static", Kind::Static, false),
        ("root, dynamic", Kind::Dynamic, false),
        ("root, dynamic with a private library", Kind::Parted, false),
        ("user namespace, static", Kind::Static, true),
    ] {
        let bench = bench(mode, kind, userns);
        test(&bench);
        bench.nothing_lies_about();
        assert_eq!(
            bench.run("./executable is still there").out,
            "is still there\n",
            "{mode}: the oracle still serves"
        );
    }
}

struct Done {
    out: String,
    err: String,
    end: ExecEnd,
}

impl Done {
    fn code(&self) -> i32 {
        match self.end {
            ExecEnd::Exit { code } => code,
            _ => -1,
        }
    }
}

fn holds_secret(bytes: &[u8]) -> bool {
    bytes.windows(16).any(|w| SECRET.as_bytes().windows(16).any(|s| s == w))
}

impl Bench {
    /// Runs a script as the agent; whatever it prints must not hold the secret.
    fn run(&self, script: &str) -> Done {
        let exec = Exec {
            argv: ["bash", "-c", script].map(str::to_owned).into(),
            env: BTreeMap::new(),
            cwd: None,
            stdin: Input::Null,
            merge_stderr: false,
            wall: Some(Duration::from_secs(120)),
            keep_bytes: 64 << 20,
            max_bytes: None,
        };
        let done = self.room.exec(exec).unwrap();
        assert_ne!(done.end, ExecEnd::WallLimit, "{}: {script}", self.mode);
        assert!(!holds_secret(&done.stdout), "{}: leaked to stdout: {script}", self.mode);
        assert!(!holds_secret(&done.stderr), "{}: leaked to stderr: {script}", self.mode);
        Done {
            out: String::from_utf8_lossy(&done.stdout).into_owned(),
            err: String::from_utf8_lossy(&done.stderr).into_owned(),
            end: done.end,
        }
    }

    /// As [`Bench::run`], for an attempt that must fail for the reason given (part of stderr).
    fn refused(&self, script: &str, why: &str) {
        let done = self.run(script);
        assert!(
            done.code() != 0 && done.err.contains(why),
            "{}: {script}: {:?} {:?} {:?}",
            self.mode,
            done.end,
            done.out,
            done.err
        );
    }

    /// No file in a writable place holds the secret.
    fn nothing_lies_about(&self) {
        for dir in ["/workspace", "/tmp", "/home/user", "/dev/shm"] {
            for entry in self.room.list_tree(dir, 20_000).unwrap() {
                if entry.kind != TreeKind::File {
                    continue;
                }
                if let Some(mut file) = self.room.open_file(dir, &entry.path).unwrap() {
                    let mut bytes = Vec::new();
                    file.read_to_end(&mut bytes).unwrap();
                    let path = String::from_utf8_lossy(&entry.path).into_owned();
                    assert!(!holds_secret(&bytes), "{}: leaked to {dir}/{path}", self.mode);
                }
            }
        }
    }

    /// Starts the reference in the background and runs `script` with `$P` its process (and `$S` the stub's).
    fn beside_a_running_reference(&self, script: &str) -> Done {
        // The stub is the shell's child; the reference has no parent in the room.
        let start = "./executable sleep 60 > /tmp/log 2>&1 & S=$!
            for i in $(seq 600); do grep -q sleeping /tmp/log && break; sleep 0.05; done
            for p in $(pgrep -f 'executable sleep 60'); do [ $p = $S ] || P=$p; done
            [ -n \"$P\" ] || { echo 'no reference to attack' >&2; exit 9; }\n";
        let done = self.run(&format!("{start}{script}\nr=$?; kill -9 $S; exit $r"));
        assert_ne!(done.code(), 9, "{}: {}", self.mode, done.err);
        done
    }
}

#[test]
fn a00_the_secret_is_in_the_reference_and_the_search_finds_it() {
    let f = &*FIXTURES;
    for path in [&f.fixed, &f.dynamic, &f.parted] {
        assert!(holds_secret(&std::fs::read(path).unwrap()));
    }
    assert!(!holds_secret(&std::fs::read(&f.attack).unwrap()));
}

#[test]
fn a01_04_tools_that_read_the_path_meet_the_stub() {
    every_mode(|b| {
        b.run("cat executable | wc -c; cp executable /tmp/copy; xxd executable | head -c 100000; strings -a executable; \
               readelf -a executable; objdump -d executable | head -c 1000000; dd if=executable of=/tmp/copy2; \
               python3 -c \"open('/tmp/c3','wb').write(open('/workspace/executable','rb').read())\"; base64 executable");
        // The copy is the stub, and so works as the oracle does.
        assert_eq!(b.run("/tmp/copy a b").out, "a b\n", "{}", b.mode);
    });
}

#[test]
fn a05_08_the_reference_cannot_read_itself() {
    every_mode(|b| {
        b.refused("./executable cat /proc/self/exe", "Permission denied");
        b.run("./executable cat /workspace/executable > /tmp/seen; ls -l /tmp/seen");
        b.run("./executable fork cat /proc/self/exe | wc -c");
        b.run("./executable cat < /workspace/executable");
    });
}

#[test]
fn a09_12_its_own_memory_and_process_files_are_closed_to_it() {
    every_mode(|b| {
        for file in ["mem", "auxv", "environ"] {
            b.refused(&format!("./executable cat /proc/self/{file}"), "Permission denied");
        }
        // The layout may be seen; it names the path as the agent knows it.
        let maps = b.run("./executable cat /proc/self/maps").out;
        assert!(maps.is_empty() || maps.contains("/workspace/executable"), "{}: {maps}", b.mode);
    });
}

#[test]
fn a13_18_its_process_files_are_closed_to_others() {
    every_mode(|b| {
        let done = b.beside_a_running_reference(
            "cat /proc/$P/exe; cat /proc/$P/mem; cat /proc/$P/maps; ls -l /proc/$P/root/ /proc/$P/cwd/ /proc/$P/fd/ /proc/$P/map_files/; \
             readlink /proc/$P/exe; cp /proc/$P/exe /tmp/got; /tmp/attack mem $P; \
             ./executable fork cat /proc/$P/exe; ./executable cat /proc/$P/exe; \
             unshare -Ur cat /proc/$P/exe; for t in /proc/$P/task/*; do cat $t/mem; cat $t/exe; done; true",
        );
        assert!(done.err.matches("Permission denied").count() >= 6, "{}: {}", b.mode, done.err);
        assert!(!done.out.contains("/workspace/executable"), "{}: {}", b.mode, done.out);
    });
}

#[test]
fn a19_21_it_cannot_be_traced() {
    every_mode(|b| {
        for by in ["/tmp/attack attach $P", "./executable fork /tmp/attack attach $P"] {
            let done = b.beside_a_running_reference(by);
            assert!(done.err.contains("Operation not permitted"), "{}: {}", b.mode, done.err);
            assert!(!done.out.contains("attached"), "{}: {}", b.mode, done.out);
        }
        // Debuggers, where they are installed, go the same way.
        b.beside_a_running_reference(
            "gdb -batch -p $P -ex 'dump memory /tmp/d 0x400000 0x410000'; gcore -o /tmp/core $P; strace -p $P & sleep 0.2; kill $! 2>/dev/null; true",
        );
    });
}

#[test]
fn a22_25_calls_that_reach_into_other_processes_are_refused() {
    every_mode(|b| {
        let done = b.beside_a_running_reference(
            "/tmp/attack readv $P; /tmp/attack pidfd $P; /tmp/attack calls $P",
        );
        assert!(!done.out.contains("allowed"), "{}: {}", b.mode, done.out);
        for call in [
            "process_vm_readv",
            "pidfd_getfd",
            "kcmp",
            "perf_event_open",
            "move_pages",
            "process_madvise",
        ] {
            assert!(
                done.err.contains(&format!("{call}: Operation not permitted")),
                "{}: {call}: {}",
                b.mode,
                done.err
            );
        }
    });
}

#[test]
fn a26_29_the_loader_and_the_c_library_take_no_orders() {
    every_mode(|b| {
        b.run(
            "mkdir -p /tmp/g; printf 'module FOO// INTERNAL ../steal 1\\n' > /tmp/g/gconv-modules",
        );
        for order in [
            "LD_PRELOAD=/tmp/steal.so",
            "LD_AUDIT=/tmp/steal.so",
            "LD_LIBRARY_PATH=/tmp",
            "LD_DEBUG=all LD_DEBUG_OUTPUT=/tmp/debug",
            "GLIBC_TUNABLES=glibc.malloc.check=3",
            "GCONV_PATH=/tmp/g",
            "LD_BIND_NOW=1 LD_PROFILE=executable LD_PROFILE_OUTPUT=/tmp",
        ] {
            let done = b.run(&format!("{order} KEPT=1 ./executable env"));
            assert!(done.out.contains("KEPT=1\n"), "{}: {}", b.mode, done.out);
            for name in ["LD_", "GLIBC_TUNABLES", "GCONV_PATH"] {
                assert!(!done.out.contains(name), "{}: {order}: {}", b.mode, done.out);
            }
        }
        assert_eq!(b.run("ls /tmp/stolen /tmp/debug* 2>/dev/null").out, "", "{}", b.mode);
    });
}

#[test]
fn a30_the_loader_called_with_the_path_gets_the_stub() {
    every_mode(|b| {
        b.run("/lib64/ld-linux-x86-64.so.2 /workspace/executable hello; \
               /lib64/ld-linux-x86-64.so.2 --preload /tmp/steal.so /workspace/executable hello; \
               ./executable fork /lib64/ld-linux-x86-64.so.2 --preload /tmp/steal.so /workspace/executable x");
        assert_eq!(b.run("cat /tmp/stolen 2>/dev/null").out, "", "{}", b.mode);
    });
}

#[test]
fn a31_a_child_that_preloads_the_path_meets_the_stub() {
    every_mode(|b| {
        let done = b.run("./executable fork env LD_PRELOAD=/tmp/steal.so /workspace/executable x; \
               ./executable fork sh -c 'LD_PRELOAD=/tmp/steal.so exec /workspace/executable y'; \
               ./executable fork cat /workspace/executable > /tmp/seen; [ $(wc -c < /tmp/seen) = $(wc -c < executable) ] && echo same");
        assert!(done.out.contains("x\ny\nsame\n"), "{}: {:?} {:?}", b.mode, done.out, done.err);
        // `env` and `sh` themselves may have loaded it: what counts is that they are not the reference.
    });
}

#[test]
fn a32_a_child_that_hijacks_the_path_meets_the_stub_or_is_refused() {
    every_mode(|b| {
        // From a child of the reference: no tracing at all.
        b.refused(
            "./executable fork /tmp/attack hijack /workspace/executable x",
            "Operation not permitted",
        );
        // From the agent: it may trace its own programs, and the stub is one.
        b.run("/tmp/attack hijack /workspace/executable x > /tmp/hijacked; true");
    });
}

#[test]
fn a33_34_43_44_there_are_no_new_namespaces_and_no_mounts() {
    every_mode(|b| {
        for script in [
            "unshare -Ur true",
            "unshare -Urm mount -t binfmt_misc none /proc/sys/fs/binfmt_misc",
            "unshare -Urm umount /workspace/executable",
            "unshare -Urm mount --bind /workspace/executable /tmp/attack",
            "./executable fork unshare -Urm cat /workspace/executable",
        ] {
            b.refused(script, "Operation not permitted");
        }
        let done = b.run("/tmp/attack calls $$; ./executable fork /tmp/attack calls 1");
        assert!(!done.out.contains("allowed"), "{}: {}", b.mode, done.out);
        for call in [
            "unshare user",
            "unshare mount",
            "mount",
            "umount",
            "clone user",
            "open_tree",
            "setns",
            "chroot",
        ] {
            let refusals = done.err.matches(&format!("{call}: Operation not permitted")).count();
            assert!(refusals >= 2, "{}: {call}: {}", b.mode, done.err);
        }
    });
}

#[test]
fn a35_executing_itself_again_with_orders_for_the_loader() {
    every_mode(|b| {
        // However it is called: in a pipe, in the background, on a terminal, as its own child.
        let mut calls =
            vec!["./executable secure", "./executable secure | cat", "./executable secure & wait"];
        calls.push("script -qec './executable secure' /dev/null");
        if b.kind != Kind::Parted {
            calls.push("./executable exec /proc/self/exe secure");
        }
        for call in calls.iter().filter(|_| b.kind != Kind::Static) {
            // At the end of its own input, script(1) types a NUL, which the terminal may echo.
            let out = b.run(call).out;
            let seen = out.trim_end().trim_start_matches("^@");
            assert_eq!(seen, "AT_SECURE 1", "{}: {call}", b.mode);
        }
        b.run("script -qec './executable reexec LD_PRELOAD=/tmp/steal.so reexec' /dev/null");
        let done = b.run("./executable reexec LD_PRELOAD=/tmp/steal.so reexec");
        if b.kind == Kind::Parted {
            // Its library is covered by then: it does not start again.
            assert_eq!(done.code(), 127, "{}: {}", b.mode, done.err);
        } else {
            assert_eq!(
                (done.out.as_str(), done.code()),
                ("again\n", 0),
                "{}: {}",
                b.mode,
                done.err
            );
        }
        b.run("./executable reexec LD_AUDIT=/tmp/steal.so reexec; ./executable reexec LD_DEBUG=all reexec");
        assert_eq!(b.run("cat /tmp/stolen 2>/dev/null").out, "", "{}", b.mode);
    });
}

#[test]
fn a42_no_core_is_dumped() {
    every_mode(|b| {
        for (how, code) in [("abort", 134), ("segv", 139), ("quit", 131)] {
            let done = b.run(&format!(
                "ulimit -c unlimited; cd /tmp; /workspace/executable {how}; echo $?"
            ));
            assert!(done.out.ends_with(&format!("{code}\n")), "{}: {how}: {:?}", b.mode, done.out);
        }
        let done = b.run("find / -xdev \\( -name 'core*' -o -name '*.core' \\) -size +8k -newer /tmp/attack -type f 2>/dev/null; ls /tmp /workspace");
        assert!(!done.out.contains("core"), "{}: {}", b.mode, done.out);
    });
}

#[test]
fn a45_46_the_path_cannot_be_reopened_linked_removed_or_changed() {
    every_mode(|b| {
        let done = b.run("/tmp/attack reopen /workspace/executable | strings");
        for word in ["linked", "unlinked", "renamed", "chmod"] {
            assert!(!done.out.lines().any(|l| l == word), "{}: {word}: {}", b.mode, done.err);
        }
        assert!(
            done.err.contains("unlink: ") && done.err.contains("rename: "),
            "{}: {}",
            b.mode,
            done.err
        );
        b.run("rm -rf /workspace/* /workspace/.??*; mv /workspace /tmp/w; echo x > executable; ls -la /workspace");
        assert_eq!(b.run("./executable here").out, "here\n", "{}", b.mode);
    });
}

#[test]
fn a47_48_devices_kernel_memory_and_other_doors() {
    every_mode(|b| {
        let done = b.run("ls /dev; for f in /dev/mem /dev/kmem /proc/kcore /dev/sda /dev/vda; do head -c 10 $f; done; \
               echo '|/tmp/attack' > /proc/sys/kernel/core_pattern; echo 1 > /proc/sys/kernel/sysrq; \
               /tmp/attack calls $$");
        assert!(!done.out.contains("allowed"), "{}: {}", b.mode, done.out);
        for device in ["mem", "kmem", "kcore", "sda", "vda", "loop0"] {
            assert!(!done.out.lines().any(|l| l == device), "{}: {}", b.mode, done.out);
        }
        assert!(done.err.contains("core_pattern: "), "{}: {}", b.mode, done.err);
        for call in [
            "io_uring_setup: Function not implemented",
            "userfaultfd: Op",
            "fanotify_init: Op",
            "name_to_handle_at: Op",
            "mknod: Op",
        ] {
            assert!(done.err.contains(call), "{}: {call}: {}", b.mode, done.err);
        }
        // inotify watches the stub and nothing else.
        b.run("command -v inotifywait && timeout 2 inotifywait -m executable & ./executable x; wait; true");
    });
}

#[test]
fn a49_forged_requests_run_the_reference_or_nothing() {
    every_mode(|b| {
        for seed in 1..4 {
            assert_eq!(b.run(&format!("/tmp/attack forge {seed}")).code(), 0, "{}", b.mode);
        }
        b.refused("cd /proc/1/root && /workspace/executable x", "Permission denied");
        let done = b.run("mkdir /tmp/d; cd /tmp/d; rmdir /tmp/d; /workspace/executable gone; cd /workspace; ./executable after");
        assert!(done.out.ends_with("after\n"), "{}: {} {}", b.mode, done.out, done.err);
    });
}

#[test]
fn a50_floods_of_descriptors_and_of_idle_connections_are_served() {
    every_mode(|b| {
        b.run("/tmp/attack idle 1500 > /tmp/idle & for i in $(seq 600); do grep -q idle /tmp/idle && break; sleep 0.05; done");
        let idle = b.run("cat /tmp/idle").out;
        assert_eq!(idle, "1500 idle\n", "{}", b.mode);
        assert_eq!(b.run("./executable beside them").out, "beside them\n", "{}", b.mode);
        let script = "for i in $(seq 3 190); do eval \"exec $i</dev/null\"; done; ./executable many; pkill attack; true";
        assert_eq!(b.run(script).out, "many\n", "{}", b.mode);
    });
}

#[test]
fn a51_a_descriptor_that_lingers_holds_nobody_else() {
    every_mode(|b| {
        b.run("/tmp/attack linger ./executable x & sleep 0.3");
        assert_eq!(b.run("./executable beside it; pkill attack").out, "beside it\n", "{}", b.mode);
    });
}

#[test]
fn a52_the_mount_table_names_no_path_of_the_host() {
    every_mode(|b| {
        let done = b.run("cat /proc/self/mountinfo; ./executable cat /proc/self/mountinfo; ./executable cat /proc/self/maps");
        assert!(done.out.contains("/workspace/executable"), "{}", b.mode);
        assert!(
            !done.out.contains("hostpath-")
                && !done.out.contains("-reference")
                && !done.out.contains("/layer"),
            "{}: {}",
            b.mode,
            done.out
        );
    });
}

#[test]
fn a53_nothing_can_be_typed_into_a_terminal() {
    every_mode(|b| {
        let done = b.run(
            "script -qec '/tmp/attack tiocsti; ./executable fork /tmp/attack tiocsti' /dev/null",
        );
        assert!(
            done.out.matches("Operation not permitted").count() == 2,
            "{}: {:?} {:?}",
            b.mode,
            done.out,
            done.err
        );
        assert!(!done.out.contains("typed"), "{}", b.mode);
    });
}

#[test]
fn a54_private_libraries_are_gone_once_they_are_loaded() {
    every_mode(|b| {
        assert_eq!(b.run("./executable answer").out, "42\n", "{}", b.mode);
        let library = format!("/{LIBRARIES}/libprivate-part.so.1");
        b.run(&format!("cat {library}"));
        let done = b.run(&format!(
            "./executable cat {library}; ./executable fork cat {library}; ./executable fork sh -c 'cat < {library}'; \
             ./executable cat < {library}; ./executable fork find /usr/lib -name '*private-part*' -size +0; \
             LD_PRELOAD={library} ./executable x; ./executable fork ls -l {library}"
        ));
        assert!(!done.out.contains("private-part.so.1\n/"), "{}: {}", b.mode, done.out);
        // Many at once: each has its own cover.
        let many = b.run(&format!(
            "for i in $(seq 40); do ./executable cat {library} 2>/dev/null & ./executable answer & done; wait"
        ));
        assert_eq!(many.out.matches("42\n").count(), 40, "{}", b.mode);
        // Through a terminal, with signals blocked and ignored, and ended before it begins.
        b.run(&format!("script -qec './executable cat {library}; ./executable answer' /dev/null"));
        b.run(&format!("trap '' TRAP INT; ./executable answer; ./executable cat {library}; timeout -s KILL 0.001 ./executable answer"));
    });
}

#[test]
fn a55_a_namespace_that_has_died_shows_nothing_more() {
    // Directories held open in a reference's child's view of the file system, and looked into when that child, and with it perhaps
    // its mount namespace, is gone: what lay under a mount there would now be seen.
    every_mode(|b| {
        let script = format!(
            "python3 - <<'E'
import os, subprocess, time, signal
libraries = '{LIBRARIES}'
for wrap in (['./executable', 'fork', 'sleep', '77'], ['script', '-qec', './executable fork sleep 78', '/dev/null']):
    run = subprocess.Popen(wrap, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pid = None
    for _ in range(600):
        found = subprocess.run(['pgrep', '-x', 'sleep'], capture_output=True, text=True).stdout.split()
        if found:
            pid = found[0]
            break
        time.sleep(0.05)
    held = []
    for top in ('', 'usr', 'usr/bin', libraries, 'workspace', 'run', 'run/.v', 'run/.p'):
        try:
            held.append((top, os.open(f'/proc/{{pid}}/root/{{top}}', os.O_RDONLY | os.O_DIRECTORY)))
        except OSError as e:
            print('closed', top, e.strerror)
    run.kill()
    subprocess.run(['pkill', '-9', '-x', 'sleep'])
    run.wait()
    time.sleep(1)
    for top, fd in held:
        for name in ('libprivate-part.so.1', libraries + '/libprivate-part.so.1', 'executable', 'workspace/executable', '0', '.v/0', 'run/.v/0', 'cmp', 'bin/cmp'):
            try:
                data = os.read(os.open(name, os.O_RDONLY, dir_fd=fd), 1 << 20)
                os.write(1, data)
                if name.endswith('cmp') and data[:4] == b'\\x7fELF':
                    print('unmasked', top, name, flush=True)
            except OSError:
                pass
print('looked')
E"
        );
        let done = b.run(&script);
        assert!(done.out.ends_with("looked\n"), "{}: {:?} {}", b.mode, done.end, done.err);
        // The host's `cmp` is masked in these rooms.
        assert!(!done.out.contains("unmasked"), "{}", b.mode);
    });
}

#[test]
fn a56_a_working_directory_cannot_lead_into_the_reference_s_own_view() {
    every_mode(|b| {
        let done = b.beside_a_running_reference(&format!(
            "for d in /proc/$P/root /proc/$P/root/{LIBRARIES} /proc/$P/cwd /proc/1/root/tmp; do \
               (cd $d 2>/dev/null && echo in $d); \
               python3 -c \"import os, subprocess
try:
    os.chdir('$d')
    print('in $d')
except OSError as e:
    print('out', e.strerror)\"; done"
        ));
        assert!(!done.out.contains("in /proc"), "{}: {}", b.mode, done.out);
    });
}

#[test]
fn a57_signals_that_make_go_programs_print_their_code_cannot_be_sent() {
    every_mode(|b| {
        for signal in ["ILL", "FPE"] {
            b.refused(&format!("kill -{signal} $$"), "Operation not permitted");
            b.refused(
                &format!("./executable fork sh -c 'kill -{signal} $$'"),
                "Operation not permitted",
            );
            let done = b.beside_a_running_reference(&format!("kill -{signal} $P $S"));
            assert!(done.err.contains("Operation not permitted"), "{}: {}", b.mode, done.err);
        }
    });
}

#[test]
fn the_agents_own_programs_can_be_debugged() {
    every_mode(|b| {
        // PTRACE_ATTACH to a child of one's own, and reading it: what a debugger does.
        let done = b.run("sleep 30 & /tmp/attack attach $!; kill %1");
        assert!(done.out.contains("attached"), "{}: {:?} {:?}", b.mode, done.out, done.err);
    });
}

#[test]
fn every_probe_is_reported_whatever_the_agent_does() {
    every_mode(|b| {
        b.run("./executable one; for i in 1 2 3 4 5; do ./executable x$i & kill -9 $!; done; wait; ./executable last");
        for _ in 0..600 {
            let events = b.events.lock().unwrap();
            let began = events.iter().filter(|e| matches!(e, OracleEvent::Began(_))).count();
            let ended = events.iter().filter(|e| matches!(e, OracleEvent::Ended(_))).count();
            let named = |word: &str| {
                events.iter().any(|e| matches!(e, OracleEvent::Began(p) if p.argv.last().is_some_and(|a| a == word.as_bytes())))
            };
            if began == ended && named("one") && named("last") {
                return;
            }
            drop(events);
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{}: {:?}", b.mode, b.events.lock().unwrap());
    });
}
