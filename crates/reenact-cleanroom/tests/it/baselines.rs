//! The four baseline agents on a real (small) reference, built and run in real cells.

use crate::common::{behaviour, build, bundle, cases, observe, options, reference};
use reenact_bundle::Quiet;
use reenact_cleanroom::{Baseline, ProbeRecord, run_baseline};
use reenact_model::{Case, Ended};
use std::path::Path;

/// A program with options, stdin, files, errors, binary output and a signal.
const TOY: &str = r#"#!/bin/sh
case "$1" in
  --help) printf 'usage: toy COMMAND [FILE]\n\ncommands: upper, write, edit, bin, ask, die\n' ;;
  upper) tr a-z A-Z ;;
  write) mkdir -p out/deep; printf 'made %s\n' "$2" >out/deep/file; chmod 600 out/deep/file; ln -s deep/file out/link ;;
  edit) printf 'more\n' >>"$2"; rm -r old ;;
  bin) printf 'a\000b\377\\"?\n\t' ;;
  ask) printf 'name? '; read name; printf 'hi %s\n' "$name" ;;
  die) kill -SEGV $$ ;;
  '') exit 0 ;;
  *) echo "toy: unknown command: $1" >&2; exit 64 ;;
esac
"#;

fn probes() -> Vec<Case> {
    cases(&[
        r#"{"id":"p1","steps":[{"argv":["upper"],"stdin":{"text":"hello\n"}}]}"#,
        r#"{"id":"p2","steps":[{"argv":["upper"],"stdin":{"hex":"00ff0a61"}}]}"#,
        r#"{"id":"p3","steps":[{"argv":["upper"]}]}"#,
        r#"{"id":"p4","steps":[{"argv":["write","x y"]}]}"#,
        r#"{"id":"p5","steps":[{"argv":["edit","in.txt"]}],"files":{"in.txt":{"text":"one\n"},"old/a/b":{"text":"x"}}}"#,
        r#"{"id":"p6","steps":[{"argv":["bin"]}]}"#,
        r#"{"id":"p7","steps":[{"argv":["die"]}]}"#,
        r#"{"id":"p8","steps":[{"argv":["nope"]}]}"#,
        r#"{"id":"p9","steps":[{"argv":["bin"]},{"argv":["nope"]}]}"#,
        r#"{"id":"p10","steps":[{"argv":["--help"]}]}"#,
        r#"{"id":"p12","steps":[{"argv":["edit","in.txt"]}]}"#,
        r#"{"id":"p11","steps":[{"argv":["edit","in.txt"]}],"files":{"in.txt":{"text":"two\n"},"old":{"dir":true}}}"#,
    ])
}

fn lines(path: &Path) -> Vec<ProbeRecord> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[test]
fn the_memorizer_replays_what_it_probed_and_answers_the_rest_with_an_error() {
    let temp = tempfile::tempdir().unwrap();
    let task = bundle(&temp.path().join("task"), TOY);
    let o = options(&temp.path().join("run"));
    let entry = run_baseline(&task, "task", &Baseline::Memorizer, &probes(), &o, &Quiet).unwrap();
    assert_eq!(entry.probes, 11, "twelve probes, of which two have the same first step");

    let dir = o.out.join("path__toy.1");
    let candidate = build(&task, &dir.join("submission.tar.gz"), &temp.path().join("built"), false);
    let reference = reference(&task);
    for probe in probes().iter().filter(|p| p.steps.len() == 1) {
        let (want, got) = (observe(&reference, probe), observe(&candidate, probe));
        assert!(behaviour(&want) == behaviour(&got), "{}: {want:#?}\n{got:#?}", probe.id);
    }
    let unknown =
        cases(&[r#"{"id":"u","steps":[{"argv":["upper"],"stdin":{"text":"hello there\n"}}]}"#]);
    let seen = observe(&candidate, &unknown[0]);
    assert_eq!(seen.steps[0].ended, Ended::Exit { code: 64 });
    assert_eq!(seen.steps[0].stderr.inline_bytes(), b"toy: unknown command: nope\n");

    let log = lines(&dir.join("path__toy.1.probes.jsonl"));
    assert_eq!(log.len(), 11);
    assert_eq!((log[0].argv[0].as_str(), log[0].stdin.unwrap().size), ("upper", 6));
    assert_eq!(log[3].files_changed.keys().collect::<Vec<_>>(), ["out/deep/file"]);
    assert_eq!(log[4].files_before, ["in.txt", "old/a/b"]);
    assert_eq!(log[6].ended, Some(Ended::Signal { signal: 11 }));
    let manifest = std::fs::read_to_string(o.out.join("run.toml")).unwrap();
    assert!(
        manifest.contains("agent = \"memorizer\"") && manifest.contains("[isolation]"),
        "{manifest}"
    );
}

#[test]
fn help_prints_the_help_text_whatever_it_is_asked() {
    let temp = tempfile::tempdir().unwrap();
    let task = bundle(&temp.path().join("task"), TOY);
    let o = options(&temp.path().join("run"));
    let entry = run_baseline(&task, "task", &Baseline::Help, &[], &o, &Quiet).unwrap();
    assert_eq!(entry.probes, 4);
    let tarball = o.out.join("path__toy.1/submission.tar.gz");
    let candidate = build(&task, &tarball, &temp.path().join("built"), false);
    let seen = observe(&candidate, &probes()[3]);
    assert_eq!(seen.steps[0].ended, Ended::Exit { code: 0 });
    assert!(seen.steps[0].stdout.inline_bytes().starts_with(b"usage: toy COMMAND"));
    assert!(seen.files.is_empty());
}

#[test]
fn null_does_nothing_and_exits_with_0() {
    let temp = tempfile::tempdir().unwrap();
    let task = bundle(&temp.path().join("task"), TOY);
    let o = options(&temp.path().join("run"));
    run_baseline(&task, "task", &Baseline::Null, &[], &o, &Quiet).unwrap();
    let dir = o.out.join("path__toy.1");
    let candidate = build(&task, &dir.join("submission.tar.gz"), &temp.path().join("built"), false);
    let seen = observe(&candidate, &probes()[0]);
    assert_eq!(seen.steps[0].ended, Ended::Exit { code: 0 });
    assert_eq!((seen.steps[0].stdout.len, seen.steps[0].stderr.len), (0, 0));
    assert!(!dir.join("path__toy.1.probes.jsonl").exists(), "it does not probe");
}

#[test]
fn the_reference_agent_behaves_as_the_reference_and_is_marked() {
    let temp = tempfile::tempdir().unwrap();
    let task = bundle(&temp.path().join("task"), TOY);
    let o = options(&temp.path().join("run"));
    run_baseline(&task, "task", &Baseline::Reference, &[], &o, &Quiet).unwrap();
    let manifest = std::fs::read_to_string(o.out.join("run.toml")).unwrap();
    assert!(manifest.contains("upper_bound = true"), "{manifest}");
    let tarball = o.out.join("path__toy.1/submission.tar.gz");
    let candidate = build(&task, &tarball, &temp.path().join("built"), true);
    let reference = reference(&task);
    for probe in probes() {
        let (want, got) = (observe(&reference, &probe), observe(&candidate, &probe));
        assert!(behaviour(&want) == behaviour(&got), "{}", probe.id);
    }
}

#[test]
fn a_source_tree_is_shipped_verbatim_by_the_reference_agent() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("task");
    bundle(&root, TOY);
    let toml = root.join("task.toml");
    let text = std::fs::read_to_string(&toml).unwrap();
    std::fs::write(&toml, text.replace("static = true", "static = true\nsource_tree = true"))
        .unwrap();
    std::fs::write(root.join("sealed/source.tar.gz"), b"the very bytes").unwrap();
    let task = reenact_bundle::TaskBundle::open(root.to_str().unwrap()).unwrap();
    let o = options(&temp.path().join("run"));
    run_baseline(&task, "task", &Baseline::Reference, &[], &o, &Quiet).unwrap();
    let shipped = std::fs::read(o.out.join("path__toy.1/submission.tar.gz")).unwrap();
    assert_eq!(shipped, b"the very bytes");
}

#[test]
fn the_same_command_resumes_and_force_makes_the_same_bytes_again() {
    let temp = tempfile::tempdir().unwrap();
    let task = bundle(&temp.path().join("task"), TOY);
    let mut o = options(&temp.path().join("run"));
    let tarball = o.out.join("path__toy.1/submission.tar.gz");
    let run = |o: &_| run_baseline(&task, "task", &Baseline::Memorizer, &probes(), o, &Quiet);
    let first = run(&o).unwrap();
    let bytes = std::fs::read(&tarball).unwrap();

    std::fs::write(&tarball, b"kept").unwrap();
    assert_eq!(run(&o).unwrap(), first);
    assert_eq!(std::fs::read(&tarball).unwrap(), b"kept", "a finished task is not run again");

    o.force = true;
    run(&o).unwrap();
    assert_eq!(std::fs::read(&tarball).unwrap(), bytes, "same probes, same submission");

    // A run that was killed before its entry was written has a submission without an entry: it is made again.
    o.force = false;
    std::fs::remove_file(&tarball).unwrap();
    run(&o).unwrap();
    assert_eq!(std::fs::read(&tarball).unwrap(), bytes);
}

#[test]
fn a_tampered_reference_is_refused_before_anything_is_written() {
    let temp = tempfile::tempdir().unwrap();
    let task = bundle(&temp.path().join("task"), TOY);
    std::fs::write(task.reference(), "#!/bin/sh\necho other\n").unwrap();
    let o = options(&temp.path().join("run"));
    let error = run_baseline(&task, "task", &Baseline::Null, &[], &o, &Quiet).unwrap_err();
    assert!(error.is_usage() && error.to_string().contains("does not match the digest"), "{error}");
    assert!(!o.out.join("path__toy.1").exists());
}

#[test]
fn a_terminal_is_replayed_without_waiting_for_keys() {
    let temp = tempfile::tempdir().unwrap();
    let task = bundle(&temp.path().join("task"), TOY);
    let o = options(&temp.path().join("run"));
    let probes = cases(&[
        r#"{"id":"t1","steps":[{"argv":["ask"],"tty":{"rows":5,"cols":20,"keys":[{"send":"bob\r","wait_for":"name?"}]}}]}"#,
        r#"{"id":"t2","steps":[{"argv":["ask"],"stdin":{"text":"eve\n"}}]}"#,
    ]);
    run_baseline(&task, "task", &Baseline::Memorizer, &probes, &o, &Quiet).unwrap();
    let tarball = o.out.join("path__toy.1/submission.tar.gz");
    let candidate = build(&task, &tarball, &temp.path().join("built"), false);
    let last = |case| {
        let seen = observe(&candidate, case);
        let screen = seen.steps[0].screen.clone().unwrap_or_default();
        (seen.steps[0].ended.clone(), screen.contains("hi bob"))
    };
    assert_eq!(last(&probes[0]), (Ended::Exit { code: 0 }, true));
    let piped = observe(&candidate, &probes[1]);
    assert_eq!(piped.steps[0].stdout.inline_bytes(), b"name? hi eve\n");
}
