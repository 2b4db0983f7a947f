//! The four baseline agents on a real (small) reference, built and run in real cells.

use crate::common::{behaviour, build, bundle, cases, observe, options, reference};
use reenact_bundle::Quiet;
use reenact_cleanroom::probes::read;
use reenact_cleanroom::{Baseline, run_baseline};
use reenact_model::probe::{FileChange, Probe, StreamKind};
use reenact_model::{Case, Digest, Ended};

pub fn probes() -> Vec<Case> {
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

#[test]
fn the_memorizer_replays_what_it_probed_and_answers_the_rest_with_an_error() {
    let temp = tempfile::tempdir().unwrap();
    let task = bundle(&temp.path().join("task"));
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

    let log = read(&dir.join("path__toy.1.probes.jsonl")).unwrap();
    assert_eq!(log.len(), 11, "the oracle has seen every question");
    let of = |args: &str| -> Vec<&Probe> {
        log.iter().filter(|p| p.argv[1..].join(" ") == args).collect()
    };
    let mut inputs: Vec<_> = of("upper").iter().map(|p| (p.stdin.kind, p.stdin.bytes)).collect();
    inputs.sort();
    assert_eq!(inputs, [(StreamKind::Null, 0), (StreamKind::Pipe, 4), (StreamKind::Pipe, 6)]);
    let hello = of("upper").into_iter().find(|p| p.stdin.bytes == 6).unwrap();
    assert_eq!(hello.stdin.sha256, Some(Digest::of(b"hello\n")));
    assert_eq!(hello.stdout.sha256, Some(Digest::of(b"HELLO\n")));
    let edited = of("edit in.txt");
    assert!(
        edited.iter().any(|p| p.files.get("in.txt") == Some(&FileChange::Changed)),
        "{edited:#?}"
    );
    assert_eq!(of("die")[0].ended, Some(Ended::Signal { signal: 11 }));
    assert_eq!(of("nope")[0].ended, Some(Ended::Exit { code: 64 }));
    assert!(log.iter().all(|p| p.step.is_none() && p.argv[0] == "/workspace/executable"));
    let manifest = std::fs::read_to_string(o.out.join("run.toml")).unwrap();
    assert!(
        manifest.contains("agent = \"memorizer\"") && manifest.contains("[isolation]"),
        "{manifest}"
    );
}

#[test]
fn help_prints_the_help_text_whatever_it_is_asked() {
    let temp = tempfile::tempdir().unwrap();
    let task = bundle(&temp.path().join("task"));
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
    let task = bundle(&temp.path().join("task"));
    let o = options(&temp.path().join("run"));
    run_baseline(&task, "task", &Baseline::Null, &[], &o, &Quiet).unwrap();
    let dir = o.out.join("path__toy.1");
    let candidate = build(&task, &dir.join("submission.tar.gz"), &temp.path().join("built"), false);
    let seen = observe(&candidate, &probes()[0]);
    assert_eq!(seen.steps[0].ended, Ended::Exit { code: 0 });
    assert_eq!((seen.steps[0].stdout.len, seen.steps[0].stderr.len), (0, 0));
    assert!(read(&dir.join("path__toy.1.probes.jsonl")).unwrap().is_empty(), "it does not probe");
}

#[test]
fn the_reference_agent_behaves_as_the_reference_and_is_marked() {
    let temp = tempfile::tempdir().unwrap();
    let task = bundle(&temp.path().join("task"));
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
    bundle(&root);
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
    let task = bundle(&temp.path().join("task"));
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

    // An entry without a submission and its listing is not finished: it is made again.
    o.force = false;
    std::fs::remove_file(&tarball).unwrap();
    std::fs::remove_file(tarball.with_file_name("path__toy.1.submission.json")).unwrap();
    run(&o).unwrap();
    assert_eq!(std::fs::read(&tarball).unwrap(), bytes);
}

#[test]
fn a_tampered_reference_is_refused_before_anything_is_written() {
    let temp = tempfile::tempdir().unwrap();
    let task = bundle(&temp.path().join("task"));
    std::fs::write(task.reference(), "other bytes").unwrap();
    let o = options(&temp.path().join("run"));
    let error = run_baseline(&task, "task", &Baseline::Null, &[], &o, &Quiet).unwrap_err();
    assert!(error.is_usage() && error.to_string().contains("does not match the digest"), "{error}");
    assert!(!o.out.join("path__toy.1").exists());
}

#[test]
fn probes_on_a_terminal_are_left_out_and_the_manifest_says_so() {
    let temp = tempfile::tempdir().unwrap();
    let task = bundle(&temp.path().join("task"));
    let o = options(&temp.path().join("run"));
    let probes = cases(&[
        r#"{"id":"t1","steps":[{"argv":["ask"],"tty":{"rows":5,"cols":20,"keys":[{"send":"bob\r","wait_for":"name?"}]}}]}"#,
        r#"{"id":"t2","steps":[{"argv":["ask"],"stdin":{"text":"eve\n"}}]}"#,
    ]);
    let entry = run_baseline(&task, "task", &Baseline::Memorizer, &probes, &o, &Quiet).unwrap();
    assert_eq!(entry.probes, 1);
    let notes = entry.work.unwrap().notes;
    assert!(notes.iter().any(|n| n.starts_with("1 probes need a terminal")), "{notes:?}");
    let tarball = o.out.join("path__toy.1/submission.tar.gz");
    let candidate = build(&task, &tarball, &temp.path().join("built"), false);
    let piped = observe(&candidate, &probes[1]);
    assert_eq!(piped.steps[0].stdout.inline_bytes(), b"name? hi eve\n");
}
