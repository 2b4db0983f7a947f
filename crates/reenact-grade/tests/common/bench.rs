//! A small task made by hand, runs of it, and gradings.

use super::archive::Archive;
use reenact_bundle::shape::{CellOptions, reference_cell};
use reenact_bundle::{SuiteDraft, TaskBundle, now_rfc3339};
use reenact_grade::{GradeError, GradeOptions, Silent, grade};
use reenact_model::case::{Case, Step};
use reenact_model::content::{Content, NoBlobs};
use reenact_model::expect::{AfterExpect, ExitExpect, Expect, Matcher};
use reenact_model::observe::{CaseObservation, Ended, EntryKind};
use reenact_model::run::{
    AgentOutcome, CaseResult, RunManifest, RunTask, TaskResult, this_harness,
};
use reenact_model::suite::Quality;
use reenact_model::task::{Platform, Reference, Source, Split, TaskInfo, TaskLimits, TaskManifest};
use reenact_model::{Digest, FailKind, Seal, SuiteManifest, Verdict};
use reenact_sandbox::spec::PROGRAM;
use reenact_sandbox::{Cell, Perturbation};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tempfile::TempDir;

/// The task's id.
pub const ID: &str = "path__words.1";

/// The reference: a handful of behaviours of a text tool; `attack NAME` is where hostile candidates misbehave.
pub const REFERENCE: &str = r#"#!/bin/sh
case "$1" in
  up) tr a-z A-Z ;;
  say) shift; echo "$*" ;;
  fail) echo "bad input" >&2; exit 3 ;;
  make) echo made > out.txt; echo done ;;
  pwd) echo "$PWD $HOME $(ls -A | wc -l) $(ls -A /tmp | wc -l)" ;;
  attack) echo "survived $2" ;;
  *) echo "usage: words up|say|fail|make" >&2; exit 2 ;;
esac
"#;

/// A candidate that misbehaves for `attack NAME`.
pub const HOSTILE: &str = include_str!("../fixtures/hostile.c");

/// Builds [`HOSTILE`] shipped as `main.c`.
pub const HOSTILE_BUILD: &str = "#!/bin/sh\nexec cc -O1 -w -o executable main.c\n";

/// A honest compile.sh for [`REFERENCE`] shipped as `words.sh`.
pub const HONEST_BUILD: &str = "#!/bin/sh\ncp words.sh executable\nchmod +x executable\n";

/// A case with one step.
pub fn case(id: &str, argv: &[&str], stdin: Option<&str>) -> Case {
    let argv = argv.iter().map(|a| (*a).to_owned()).collect();
    let stdin = stdin.map(|s| Content::Text(s.to_owned()));
    Case {
        id: id.to_owned(),
        group: id.split('-').next().unwrap().to_owned(),
        steps: vec![Step { argv, stdin, ..Step::default() }],
        files: BTreeMap::new(),
        after: BTreeMap::new(),
        limits: reenact_model::Limits::default(),
        origin: None,
        tags: std::collections::BTreeSet::new(),
        weight: 1,
    }
}

/// Cases that any honest program passes, each named after `place`.
pub fn neighbours(place: &str) -> Vec<Case> {
    vec![
        case(&format!("near-up-{place}"), &["up"], Some("abc\n")),
        case(&format!("near-say-{place}"), &["say", "a", "b"], None),
        case(&format!("near-fail-{place}"), &["fail"], None),
        case(&format!("near-make-{place}"), &["make"], None),
        case(&format!("near-pwd-{place}"), &["pwd"], None),
    ]
}

/// Attack cases with neighbours before, between and after.
pub fn attacks(names: &[&str]) -> Vec<Case> {
    let mut cases = neighbours("first");
    for name in names {
        cases.push(case(&format!("attack-{name}"), &["attack", name], None));
        cases.extend(neighbours(name));
    }
    cases
}

/// A task, a run directory, and how to grade it.
pub struct Bench {
    pub dir: TempDir,
    pub limits: TaskLimits,
    pub workers: usize,
}

impl Bench {
    /// A task whose suite is `cases`, recorded from [`REFERENCE`], and a run without a submission.
    pub fn new(cases: Vec<Case>) -> Self {
        let limits = TaskLimits {
            wall_ms: 5_000,
            cpu_ms: 5_000,
            memory_bytes: 256 << 20,
            processes: 64,
            disk_bytes: 32 << 20,
            output_bytes: 256 << 10,
            build_wall_ms: 60_000,
        };
        Self::with_limits(cases, limits)
    }

    pub fn with_limits(cases: Vec<Case>, limits: TaskLimits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let bench = Self { dir, limits, workers: 2 };
        bench.write_task();
        bench.write_suite(cases);
        bench.write_run("hand", false, AgentOutcome::Submitted);
        bench
    }

    pub fn run_dir(&self) -> PathBuf {
        self.dir.path().join("runs/one")
    }

    pub fn task_dir(&self) -> PathBuf {
        self.dir.path().join("tasks").join(ID)
    }

    pub fn bundle(&self) -> TaskBundle {
        TaskBundle::open(self.task_dir().to_str().unwrap()).unwrap()
    }

    fn write_task(&self) {
        let sealed = self.task_dir().join("sealed");
        std::fs::create_dir_all(&sealed).unwrap();
        let reference = sealed.join("reference");
        std::fs::write(&reference, REFERENCE).unwrap();
        std::fs::set_permissions(&reference, std::fs::Permissions::from_mode(0o755)).unwrap();
        let manifest = TaskManifest {
            schema: 1,
            task: TaskInfo {
                id: ID.to_owned(),
                title: "words".to_owned(),
                split: Split::Public,
                created: now_rfc3339(),
            },
            source: Source {
                kind: "path".to_owned(),
                name: "words".to_owned(),
                version: "1".to_owned(),
                sha256: Digest::of(REFERENCE.as_bytes()),
                licence: "unknown".to_owned(),
                homepage: None,
            },
            reference: Reference {
                sha256: Digest::of(REFERENCE.as_bytes()),
                size: REFERENCE.len() as u64,
                r#static: false,
                seal: Seal::Unsealable,
                findings: Vec::new(),
                runtime: false,
                masks: Vec::new(),
                source_tree: false,
                own_terminal: false,
            },
            platform: Platform {
                os: "linux".to_owned(),
                arch: "x86_64".to_owned(),
                rootfs: "host".to_owned(),
            },
            limits: self.limits.clone(),
        };
        let text = toml::to_string(&manifest).unwrap();
        std::fs::write(self.task_dir().join("task.toml"), text).unwrap();
    }

    /// Records `cases` from the reference and writes them as the suite.
    pub fn write_suite(&self, mut cases: Vec<Case>) {
        let bundle = self.bundle();
        let mut cell = Cell::start(&reference_cell(&bundle, &CellOptions::default())).unwrap();
        for case in &mut cases {
            let seen = cell.run_case(PROGRAM, case, &NoBlobs, &Perturbation::default()).unwrap();
            record(case, &seen);
        }
        let manifest = SuiteManifest {
            schema: 1,
            digest: Digest::of(b""),
            reference: bundle.manifest.reference.sha256,
            cases: 0,
            kind: "recorded".to_owned(),
            seed: None,
            created: now_rfc3339(),
            generator: "test".to_owned(),
            quality: Quality::default(),
            groups: BTreeMap::new(),
            tags: BTreeMap::new(),
            dropped: BTreeMap::new(),
            dummies: BTreeMap::new(),
        };
        SuiteDraft { manifest, cases, blobs: BTreeMap::new() }.write(&bundle.suite_dir()).unwrap();
    }

    /// Writes `run.toml`.
    pub fn write_run(&self, agent: &str, upper_bound: bool, agent_outcome: AgentOutcome) {
        let bundle = self.bundle();
        let task = RunTask {
            path: format!("../tasks/{ID}"),
            task: bundle.digest,
            reference: bundle.manifest.reference.sha256,
            agent_outcome,
            probes: 0,
            wall_ms: 0,
            work: None,
        };
        let manifest = RunManifest {
            schema: 1,
            agent: agent.to_owned(),
            upper_bound,
            created: now_rfc3339(),
            harness: this_harness("test", None, false),
            isolation: BTreeMap::new(),
            settings: BTreeMap::new(),
            setup: None,
            tasks: [(ID.to_owned(), task)].into(),
        };
        std::fs::create_dir_all(self.run_dir()).unwrap();
        let text = toml::to_string(&manifest).unwrap();
        std::fs::write(self.run_dir().join("run.toml"), text).unwrap();
    }

    /// Places a tarball as the submission.
    pub fn submit(&self, tarball: &[u8]) {
        let dir = self.run_dir().join(ID);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("submission.tar.gz"), tarball).unwrap();
    }

    /// Submits a shell program with the honest build.
    pub fn submit_script(&self, program: &str) {
        let archive = Archive::new().script("compile.sh", HONEST_BUILD).script("words.sh", program);
        self.submit(&archive.gz());
    }

    /// Submits a tree of one compile.sh and other files.
    pub fn submit_build(&self, compile: &str, files: &[(&str, &str)]) {
        let mut archive = Archive::new().script("compile.sh", compile);
        for (name, text) in files {
            archive = archive.file(name, text);
        }
        self.submit(&archive.gz());
    }

    pub fn options(&self) -> GradeOptions {
        GradeOptions {
            workers: self.workers,
            cells: CellOptions::default(),
            build_wall_ms: None,
            tasks_root: None,
            only: Vec::new(),
            force: false,
            harness: this_harness("test", None, false),
            stop: Arc::new(AtomicBool::new(false)),
        }
    }

    pub fn try_grade(&self) -> Result<TaskResult, GradeError> {
        let mut results = grade(&self.run_dir(), &self.options(), &Silent)?;
        assert_eq!(results.len(), 1);
        Ok(results.remove(0))
    }

    pub fn grade(&self) -> TaskResult {
        self.try_grade().unwrap()
    }

    /// Grades and reads the stored result, observations included.
    pub fn grade_fully(&self) -> TaskResult {
        self.grade();
        reenact_grade::load_results(&self.run_dir()).unwrap().remove(0)
    }

    pub fn result_file(&self) -> PathBuf {
        self.run_dir().join(ID).join(format!("{ID}.reenact.json"))
    }

    pub fn eval_file(&self) -> PathBuf {
        self.run_dir().join(ID).join(format!("{ID}.eval.json"))
    }

    pub fn journal_file(&self) -> PathBuf {
        self.run_dir().join("journal.jsonl")
    }
}

/// Turns what the reference did into the case's expectations.
fn record(case: &mut Case, seen: &CaseObservation) {
    for (step, seen) in case.steps.iter_mut().zip(&seen.steps) {
        let Ended::Exit { code } = seen.ended else { panic!("reference: {:?}", seen.ended) };
        let exact = |bytes: &[u8]| Some(vec![Matcher::Exact(Content::inline(bytes))]);
        if let Some(screen) = &seen.screen {
            let screen = exact(screen.as_bytes());
            let exit = Some(ExitExpect::Code(code));
            step.expect = Some(Expect { exit, screen, ..Expect::default() });
            continue;
        }
        step.expect = Some(Expect {
            exit: Some(ExitExpect::Code(code)),
            stdout: exact(seen.stdout.inline_bytes()),
            stderr: exact(seen.stderr.inline_bytes()),
            screen: None,
        });
    }
    for (path, entry) in &seen.files {
        let EntryKind::File { content: Some(content), .. } = &entry.kind else { continue };
        if !case.files.contains_key(path) {
            case.after.insert(path.clone(), AfterExpect::Exact(content.clone()));
        }
    }
}

/// The result of one case.
pub fn find<'a>(result: &'a TaskResult, id: &str) -> &'a CaseResult {
    result.cases.iter().find(|c| c.id == id).unwrap_or_else(|| panic!("no case {id}"))
}

/// Kinds of a case's failure; empty for a pass.
pub fn kinds(result: &TaskResult, id: &str) -> Vec<FailKind> {
    match &find(result, id).verdict {
        Verdict::Pass => Vec::new(),
        Verdict::Fail { reasons } => reasons.iter().map(|r| r.kind).collect(),
        other => panic!("{id}: {other:?}"),
    }
}

/// Every neighbour passed; names those that did not.
pub fn assert_neighbours_pass(result: &TaskResult) {
    let spoiled: Vec<_> = result
        .cases
        .iter()
        .filter(|c| c.id.starts_with("near-") && !c.verdict.passed())
        .map(|c| (&c.id, &c.verdict))
        .collect();
    assert!(spoiled.is_empty(), "{spoiled:#?}");
    assert!(result.cases.iter().any(|c| c.id.starts_with("near-")));
}

/// Every file under `root`, relative.
pub fn files_under(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else {
                found.push(path.strip_prefix(root).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}
