//! The whole engine on a real host program (`sort` of coreutils), in a bundle made here. Needs a host that gives cells.

#![expect(clippy::unwrap_used, reason = "a test; helpers outside test functions unwrap too")]

use reenact_bundle::{Progress, Quiet, Suite, TaskBundle, now_rfc3339};
use reenact_explore::{
    ExploreError, ExploreOptions, GenerateOptions, check, generate, import, propose, record,
};
use reenact_model::task::{Platform, Reference, Source, Split, TaskInfo};
use reenact_model::{Digest, Seal, TaskManifest};
use std::cell::RefCell;
use std::path::Path;
use std::time::Duration;

const DOCS: &str = "\
NAME
       sort - sort lines of text files

SYNOPSIS
       sort [OPTION]... [FILE]...

DESCRIPTION
       -b, --ignore-leading-blanks
              ignore leading blanks
       -f, --ignore-case
              fold lower case to upper case characters
       -n, --numeric-sort
              compare according to string numerical value
       -r, --reverse
              reverse the result of comparisons
       -k, --key=KEYDEF
              sort via a key; KEYDEF gives location and type
       -o, --output=FILE
              write result to FILE instead of standard output
       -t, --field-separator=SEP
              use SEP instead of non-blank to blank transition
       -u, --unique
              output only the first of lines with equal keys

EXAMPLES
       $ printf '3\\n1\\n2\\n' | sort -n
";

/// A bundle around `/usr/bin/sort` under `root`.
fn bundle(root: &Path) -> TaskBundle {
    std::fs::create_dir_all(root.join("docs")).unwrap();
    std::fs::create_dir_all(root.join("sealed")).unwrap();
    std::fs::write(root.join("docs/sort.1.txt"), DOCS).unwrap();
    let program = std::fs::read("/usr/bin/sort").unwrap();
    std::fs::copy("/usr/bin/sort", root.join("sealed/reference")).unwrap();
    let sha256 = Digest::of(&program);
    let manifest = TaskManifest {
        schema: 1,
        task: TaskInfo {
            id: "path__sort.1".into(),
            title: "sort".into(),
            split: Split::Private,
            created: now_rfc3339(),
        },
        source: Source {
            kind: "path".into(),
            name: "sort".into(),
            version: "1".into(),
            sha256,
            licence: "GPL-3.0-or-later".into(),
            homepage: None,
        },
        reference: Reference {
            sha256,
            size: program.len() as u64,
            r#static: false,
            seal: Seal::Guarded,
            findings: Vec::new(),
            runtime: false,
            masks: Vec::new(),
            source_tree: false,
            own_terminal: false,
        },
        platform: Platform { os: "linux".into(), arch: "x86_64".into(), rootfs: "host".into() },
        limits: Default::default(),
    };
    std::fs::write(root.join("task.toml"), toml::to_string(&manifest).unwrap()).unwrap();
    TaskBundle::open(root.to_str().unwrap()).unwrap()
}

fn explore() -> ExploreOptions {
    ExploreOptions { workers: 2, cells: Default::default() }
}

fn options(seed: u64) -> GenerateOptions {
    // The budget is a safety stop; it is never reached here, however slow the host.
    GenerateOptions { budget: Duration::from_secs(3600), cases: 40, seed, explore: explore() }
}

/// Keeps the notes.
#[derive(Default)]
struct Notes(RefCell<Vec<String>>);

impl Progress for Notes {
    fn stage(&self, _: &str) {}
    fn tick(&self, _: u64, _: u64) {}
    fn note(&self, text: &str) {
        self.0.borrow_mut().push(text.to_owned());
    }
}

#[test]
fn a_suite_is_a_function_of_its_seed_and_holds_its_gates() {
    let dir = tempfile::tempdir().unwrap();
    let task = bundle(dir.path());
    let first = generate(&task, &options(3), &Quiet).unwrap();
    let again = generate(&task, &options(3), &Quiet).unwrap();
    assert_eq!(first.manifest.digest, again.manifest.digest);
    let other = generate(&task, &options(4), &Quiet).unwrap();
    assert_ne!(first.manifest.digest, other.manifest.digest);

    let m = &other.manifest;
    assert!((30..=40).contains(&m.cases), "{} cases, dropped {:?}", m.cases, m.dropped);
    assert!(m.groups.len() >= 4, "{:?}", m.groups);
    assert_eq!(
        m.quality.options_documented,
        m.quality.options_exercised.max(m.quality.options_documented)
    );
    assert!(m.quality.options_exercised >= 8, "{:?}", m.quality);
    for (name, share) in &m.dummies {
        assert!(*share <= if name == "print-help" { 0.01 } else { 0.0 }, "{name} passes {share}");
    }
    assert!(other.cases.iter().any(|c| c.tags.contains("writes-files")), "no case writes a file");
    let text = reenact_explore::describe(&other);
    assert!(text.contains("dummy passes") && text.contains("writes-files"), "{text}");

    let report = check(&task, &explore(), &Quiet).unwrap();
    assert!(report.ok(), "{:?}", report.gates);
}

#[test]
fn a_tampered_line_is_refused_with_line_and_field() {
    let dir = tempfile::tempdir().unwrap();
    let task = bundle(dir.path());
    let lines = concat!(
        r#"{"steps":[{"argv":["-r"],"stdin":{"text":"a\nb\n"}}]}"#,
        "\n",
        r#"{"id":"by-hand","steps":[{"argv":["-n"],"stdin":{"text":"10\n9\n"}}]}"#,
        "\n",
    );
    let file = dir.path().join("invocations.jsonl");
    std::fs::write(&file, lines).unwrap();
    let suite = record(&task, &file, 1, &explore(), &Quiet).unwrap();
    assert_eq!(suite.cases.len(), 2);
    assert!(suite.cases.iter().any(|c| c.id == "by-hand"));

    let path = task.suite_dir().join("cases.jsonl");
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, good.replacen("\"exit\":0", "\"exit\":\"zero\"", 1)).unwrap();
    let error = check(&task, &explore(), &Quiet).unwrap_err();
    let text = error.to_string();
    assert!(error.is_usage() && text.contains("line 1") && text.contains("expect"), "{text}");
    // Well-formed, but other bytes than those that suite.toml binds.
    std::fs::write(&path, good.replacen("\"exit\":0", "\"exit\":7", 1)).unwrap();
    let text = check(&task, &explore(), &Quiet).unwrap_err().to_string();
    assert!(text.contains("digest"), "{text}");
}

#[test]
fn imported_cases_must_hold_for_the_reference_and_mean_something() {
    let dir = tempfile::tempdir().unwrap();
    let task = bundle(dir.path());
    let file = dir.path().join("cases.jsonl");
    let good = r#"{"id":"good","steps":[{"argv":["-u"],"stdin":{"text":"b\na\nb\n"},"expect":{"exit":0,"stdout":[{"exact":{"text":"a\nb\n"}}],"stderr":[{"exact":{"text":""}}]}}]}"#;
    let wrong = good.replace("good", "wrong").replace(r"a\nb\n", r"b\na\n");
    std::fs::write(&file, format!("{good}\n{wrong}\n")).unwrap();
    let notes = Notes::default();
    let suite = import(&task, &file, &explore(), &notes).unwrap();
    assert_eq!((suite.cases.len(), suite.cases[0].id.as_str()), (1, "good"));
    assert_eq!(suite.manifest.dropped["reference-fails"], 1);
    assert!(
        notes.0.borrow().iter().any(|n| n.starts_with("wrong: refused")),
        "{:?}",
        notes.0.borrow()
    );

    std::fs::write(&file, r#"{"id":"empty","steps":[{"argv":[]}]}"#).unwrap();
    let error = import(&task, &file, &explore(), &Quiet).unwrap_err();
    assert!(error.is_usage() && error.to_string().contains("empty"), "{error}");
    // The suite that was there is untouched by a failed import.
    assert_eq!(Suite::load(&task.suite_dir()).unwrap().cases.len(), 1);
}

#[test]
fn a_suite_without_cases_is_an_error_that_tells_why() {
    let dir = tempfile::tempdir().unwrap();
    let task = bundle(dir.path());
    let file = dir.path().join("invocations.jsonl");
    // Sorting nothing prints nothing: the dummy `true` does that as well.
    std::fs::write(&file, r#"{"steps":[{"argv":[]}]}"#).unwrap();
    let error = record(&task, &file, 1, &explore(), &Quiet).unwrap_err();
    assert!(
        matches!(error, ExploreError::NothingLeft { .. }) && error.to_string().contains("dummy:"),
        "{error}"
    );
    assert!(!task.suite_dir().exists());
}

#[test]
fn proposals_depend_on_the_seed_alone_and_expect_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let task = bundle(dir.path());
    let ids = |seed| {
        propose(&task, 30, seed, &explore()).unwrap().into_iter().map(|c| c.id).collect::<Vec<_>>()
    };
    let first = ids(5);
    assert_eq!(first.len(), 30);
    assert_eq!(first, ids(5));
    assert_ne!(first, ids(6));
    let all = propose(&task, 30, 5, &explore()).unwrap();
    assert!(all.iter().all(|c| c.steps.iter().all(|s| s.expect.is_none())));
}
