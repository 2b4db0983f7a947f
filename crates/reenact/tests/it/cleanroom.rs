//! `reenact cleanroom` as a harness from outside uses it. The task's reference is the host's `sort`, which is dynamic: these
//! tests need root.

use crate::support::*;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Generous: a loaded machine is slow, and the first audit of a host reads it.
const PATIENCE: Duration = Duration::from_secs(120);

/// A scratch directory whose cleanrooms are its own, and end with it.
struct Yard(Scratch);

impl Yard {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let yard = Self(Scratch::new());
        let dir = yard.0.path("rt");
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700)).unwrap();
        yard
    }

    fn command(&self) -> Command {
        let mut command = self.0.command();
        command.env("XDG_RUNTIME_DIR", self.0.path("rt"));
        command
    }

    fn reenact<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        Ran::from(self.command().args(args).output().unwrap())
    }

    fn start(&self, task: &str) -> String {
        self.reenact(["-q", "cleanroom", "start", task]).expect(0).trim().to_owned()
    }

    fn exec(&self, id: &str, command: &[&str]) -> Ran {
        self.reenact([&["cleanroom", "exec", id, "--"], command].concat())
    }

    fn list(&self) -> serde_json::Value {
        let listed = self.reenact(["--json", "cleanroom", "list"]).expect(0);
        serde_json::from_str(&listed).unwrap()
    }

    /// Waits until `done` gives something.
    fn until<T>(&self, what: &str, done: impl Fn() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(done) = done() {
                return done;
            }
            assert!(Instant::now() < deadline, "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn spawn(&self, args: &[&str]) -> Child {
        self.command()
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        for one in self.list().as_array().unwrap() {
            // A test that failed leaves its cleanrooms behind.
            let _stopped = self.reenact(["cleanroom", "stop", one["id"].as_str().unwrap()]);
        }
    }
}

/// Not the real thing, but honest work: it sorts lines backwards, whatever it is asked.
const COMPILE: &str = "#!/bin/sh\nset -e\ncp src/program.sh executable\nchmod 755 executable\n";
const PROGRAM: &str = "#!/usr/bin/perl\nprint reverse sort <STDIN>;\n";

#[test]
fn a_harness_from_outside_works_in_a_cleanroom_and_its_submission_is_graded() {
    let y = Yard::new();
    let task = y.0.sort_suite(20);
    let id = y.start(&task);
    assert_eq!(y.list()[0]["state"], "running");
    assert_eq!(y.list()[0]["info"]["task"], task.as_str());
    assert_eq!(y.exec(&id, &["cat", "docs/sort.txt"]).expect(0), y.0.read("docs/sort.txt"));
    let answer = y.exec(&id, &["sh", "-c", "printf 'b\\na\\n' | ./executable"]).expect(0);
    assert_eq!(answer, "a\nb\n", "the reference runs");
    let stolen = y.exec(&id, &["sh", "-c", "cmp -s executable /usr/bin/sort"]);
    assert_ne!(stolen.code, Some(0), "and cannot be read, here or where it was installed");

    y.0.write("mine/compile.sh", COMPILE);
    y.0.write("mine/src/program.sh", PROGRAM);
    for part in ["compile.sh", "src"] {
        let from = format!("mine/{part}");
        y.reenact(["cleanroom", "cp", &from, &format!("{id}:/workspace")]).expect(0);
    }
    let try_it = "cp -r /workspace /tmp/w && cd /tmp/w && rm -f executable && sh compile.sh && printf 'a\\nb\\n' | ./executable -r";
    assert_eq!(y.exec(&id, &["sh", "-c", try_it]).expect(0), "b\na\n");
    y.reenact(["cleanroom", "cp", &format!("{id}:/tmp/w/src"), "copied"]).expect(0);
    assert_eq!(y.0.read("copied/program.sh"), PROGRAM);
    let refused = y.reenact(["cleanroom", "cp", "mine", &format!("{id}:/usr/share/x")]);
    refused.fails(2, &["Read-only file system"]);

    let made = y.reenact(["-q", "cleanroom", "submit", &id, "-o", "run", "--agent", "theirs"]);
    assert_eq!(made.expect(0), "run\n");
    y.reenact(["cleanroom", "stop", &id]).expect(0);
    assert_eq!(y.list(), serde_json::json!([]));
    let after = y.exec(&id, &["true"]);
    assert_eq!(after.code, Some(125), "{}", after.stderr);
    assert!(after.stderr.contains("no such cleanroom"), "{}", after.stderr);

    let manifest = y.0.read("run/run.toml");
    assert!(manifest.contains("agent = \"theirs\""), "{manifest}");
    let log = y.0.read(&format!("run/{task}/{task}.probes.jsonl"));
    assert_eq!(log.lines().count(), 1, "{log}");
    let graded = y.reenact(["--json", "grade", "run"]).expect(0);
    let graded: serde_json::Value = serde_json::from_str(&graded).unwrap();
    let row = &graded["runs"][0]["summary"]["rows"][0];
    assert_eq!(row["outcome"], "graded", "{graded}");
    let score = row["score"].as_f64().unwrap();
    assert!(score > 0.0 && score < 1.0, "`-r` is right, the rest is not: {score}");
}

#[test]
fn commands_have_their_streams_variables_and_exit_codes() {
    let y = Yard::new();
    let id = y.start(&y.0.sort_task());
    let ran = y.exec(&id, &["sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(7), "out\n", "err\n"));
    assert_eq!(y.exec(&id, &["sh", "-c", "kill -KILL $$"]).code, Some(137));
    assert_eq!(y.exec(&id, &["no-such-program"]).code, Some(127));
    assert_eq!(y.exec(&id, &["/workspace/docs/sort.txt"]).code, Some(126));
    let flags = ["cleanroom", "exec", "-e", "WHAT=ever", "-w", "/tmp", "--timeout", "60s", &id];
    let ran = y.reenact([&flags[..], &["--", "sh", "-c", "echo $WHAT; pwd"]].concat());
    assert_eq!(ran.expect(0), "ever\n/tmp\n");
    let late = y.reenact(["cleanroom", "exec", "--timeout", "200ms", &id, "--", "sleep", "1000"]);
    assert_eq!(late.code, Some(124));
    let bad = y.reenact(["cleanroom", "exec", "-e", "nonsense", &id, "--", "true"]);
    assert_eq!(bad.code, Some(125));
    assert!(bad.stderr.contains("NAME=VALUE"), "{}", bad.stderr);

    let input: Vec<u8> = (0..5_000_000u32).flat_map(|i| i.to_le_bytes()).collect();
    let mut child = y.spawn(&["cleanroom", "exec", "-i", &id, "--", "cat"]);
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut stdin = stdin;
            stdin.write_all(&input).unwrap();
        });
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success() && output.stdout == input, "20 MB through and back");

    stdin = y.spawn(&["cleanroom", "exec", "-i", &id, "--", "true"]).stdin.take().unwrap();
    drop(stdin);
    let open = y.spawn(&["cleanroom", "exec", "-i", &id, "--", "true"]);
    assert!(open.wait_with_output().unwrap().status.success(), "an open input does not matter");
}

#[test]
fn many_commands_run_at_once_and_a_client_that_goes_away_ends_its_own() {
    let y = Yard::new();
    let id = y.start(&y.0.sort_task());
    let numbers: Vec<String> = (0..20).map(|i| i.to_string()).collect();
    let children: Vec<Child> = numbers
        .iter()
        .map(|n| y.spawn(&["cleanroom", "exec", &id, "--", "sh", "-c", "sleep 0.2; echo $0", n]))
        .collect();
    for (child, n) in children.into_iter().zip(&numbers) {
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), n);
    }

    let count = |name: &str| {
        let ran = y.exec(
            &id,
            &["sh", "-c", &format!("grep -l '^Name:.{name}$' /proc/[0-9]*/status | wc -l")],
        );
        ran.expect(0).trim().parse::<u32>().unwrap()
    };
    let mut doomed = y.spawn(&["cleanroom", "exec", &id, "--", "sleep", "1000"]);
    let mut other = y.spawn(&["cleanroom", "exec", &id, "--", "tail", "-f", "/dev/null"]);
    y.until("both to run", || (count("sleep") == 1 && count("tail") == 1).then_some(()));
    doomed.kill().unwrap();
    doomed.wait().unwrap();
    y.until("its command to end", || (count("sleep") == 0).then_some(()));
    assert_eq!(count("tail"), 1, "the other one's goes on");
    y.reenact(["cleanroom", "stop", &id]).expect(0);
    assert_eq!(other.wait().unwrap().code(), Some(125), "and ends with the cleanroom");
}

#[test]
fn unknown_dead_and_expired_cleanrooms_are_told_apart() {
    let y = Yard::new();
    for args in [
        &["cleanroom", "stop", "room-nope"][..],
        &["cleanroom", "submit", "../../etc", "-o", "run"],
        &["cleanroom", "cp", "room-nope:/workspace", "x"],
    ] {
        y.reenact(args).fails(2, &["no such cleanroom"]);
    }
    y.reenact(["cleanroom", "cp", "a", "b"]).fails(2, &["one side must be"]);
    y.reenact(["cleanroom", "start", "no-such-task"]).fails(2, &["no such task"]);

    let task = y.0.sort_task();
    let id = y.start(&task);
    let pid = y.list()[0]["info"]["pid"].as_u64().unwrap().to_string();
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    y.until("its death to show", || {
        let ran = y.exec(&id, &["true"]);
        ran.stderr.contains("has died").then(|| assert_eq!(ran.code, Some(125)))
    });
    y.reenact(["cleanroom", "submit", &id, "-o", "run"]).fails(3, &["has died"]);
    assert_eq!(y.list()[0]["state"], "dead");
    assert_eq!(y.list(), serde_json::json!([]), "and is gone then");

    let brief = ["-q", "cleanroom", "start", "--ttl", "300ms", &task];
    let id = y.reenact(brief).expect(0).trim().to_owned();
    y.until("its time to be up", || {
        y.exec(&id, &["true"]).stderr.contains("no such cleanroom").then_some(())
    });
}

#[test]
fn a_reference_without_a_seal_needs_a_word_from_the_user() {
    let y = Yard::new();
    let task = y.0.sort_task();
    let file = format!("tasks/{task}/task.toml");
    let sealed = y.0.read(&file);
    let level = sealed.lines().find(|l| l.starts_with("seal = ")).unwrap();
    y.0.write(&file, &sealed.replace(level, "seal = \"unsealable\""));
    y.reenact(["cleanroom", "start", &task]).fails(2, &["--accept-unsealed", "PT_INTERP"]);
    assert_eq!(y.list(), serde_json::json!([]), "nothing is left behind");
    let started = y.reenact(["--json", "cleanroom", "start", "--accept-unsealed", &task]).expect(0);
    let info: serde_json::Value = serde_json::from_str(&started).unwrap();
    assert!(info["notes"][0].as_str().unwrap().contains("without a seal"), "{info}");
    let id = info["id"].as_str().unwrap();
    y.reenact(["cleanroom", "submit", id, "-o", "run"]).expect(0);
    assert!(y.0.read("run/run.toml").contains("accepted_unsealed = true"));
}

#[test]
fn a_reference_that_can_be_read_in_the_room_is_refused_with_its_place() {
    let y = Yard::new();
    let task = y.0.sort_task();
    let file = format!("tasks/{task}/task.toml");
    let text = y.0.read(&file);
    let masks = text.lines().find(|l| l.starts_with("masks = ")).unwrap();
    y.0.write(&file, &text.replace(masks, "masks = []"));
    let bare = y.reenact(["cleanroom", "start", &task]);
    bare.fails(3, &["/usr/bin/sort is a copy of the reference", "masks"]);
    y.0.write(&file, &text);
    let id = y.start(&task);
    y.reenact(["cleanroom", "stop", &id]).expect(0);

    let mut reference = std::fs::read(y.0.path(&format!("tasks/{task}/sealed/reference"))).unwrap();
    reference.splice(0..0, b"a tar header, say".iter().copied());
    std::fs::create_dir(y.0.path("agent")).unwrap();
    std::fs::write(y.0.path("agent/notes.bin"), reference).unwrap();
    let model = ["--model", "openai/x", "--base-url", "http://127.0.0.1:9"];
    let run = ["run", &task, "--agent", "command:true", "--agent-dir", "agent", "-o", "run"];
    let ran = y.reenact([&run[..], &model].concat());
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert!(ran.stderr.contains("/opt/agent/notes.bin holds 100 %"), "{}", ran.stderr);
}
