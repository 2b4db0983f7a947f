//! `reenact programbench eval` on tasks of our own: scores, repetitions, hostile submissions, bad input, resumption. The image is
//! made of this host's packages; needs root.

use crate::support::*;
use reenact_testkit::image::{Calculator, PROGRAMBENCH_PACKAGES, debian_root, gzip_tar};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

pub const ID: &str = "reenact__answers.0000000";
const TAG: &str = "task_cleanroom_v6";
const LONG: Duration = Duration::from_secs(120);

/// The store with the images of [`ID`] and of ProgramBench's fixture, made once: they are one layer of 400 MB.
pub fn store() -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let root = debian_root(PROGRAMBENCH_PACKAGES).unwrap();
    let key = root.file_stem().unwrap().to_string_lossy().into_owned();
    let store = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("eval-images-{key}"));
    let image = |args: &[&str]| {
        let mut image = Command::new(REENACT);
        image.arg("image").args(args).env("REENACT_IMAGES", &store).output().unwrap()
    };
    let own = format!("programbench/{}:{TAG}", ID.replace("__", "_1776_"));
    for name in [own.as_str(), Calculator::IMAGE] {
        if !image(&["inspect", name]).status.success() {
            let made = image(&["import", root.to_str().unwrap(), "--name", name]);
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
    }
    store
}

pub type File<'a> = (&'a str, u32, String);

/// A scratch directory with a task; its runs and test archives come with each test.
pub struct Stage {
    pub scratch: Scratch,
    store: PathBuf,
}

impl Stage {
    pub fn new(branches: &[(&str, &[&str])]) -> Self {
        let stage = Self { scratch: Scratch::new(), store: store() };
        let list: serde_json::Map<String, Value> = branches
            .iter()
            .map(|(b, tests)| ((*b).to_owned(), json!({"ignored": false, "ignore_reason": "", "tests": tests, "ignored_tests": []})))
            .collect();
        stage.scratch.write(
            &format!("tasks/{ID}/task.yaml"),
            "repository: reenact/answers\ncommit: '0000000'\nlanguage: bash\n",
        );
        stage
            .scratch
            .write(&format!("tasks/{ID}/tests.json"), &json!({"branches": list}).to_string());
        stage
    }

    /// The store with the image.
    pub fn store(&self) -> &Path {
        &self.store
    }

    pub fn pack(&self, path: &str, files: &[File<'_>]) {
        let path = self.scratch.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let files: Vec<_> =
            files.iter().map(|(n, m, t)| ((*n).to_owned(), *m, t.clone().into_bytes())).collect();
        gzip_tar(&path, &files).unwrap();
    }

    /// A branch: tests of one module, run by pytest with these options.
    pub fn blob(&self, branch: &str, options: &str, tests: &str) {
        let run = format!(
            "#!/bin/bash\ncd \"$(dirname \"$0\")/..\"\npython3 -m pytest eval/tests -q --timeout=60 --timeout-method=thread --junitxml=eval/results.xml {options}\n"
        );
        self.script(branch, &run, tests);
    }

    fn script(&self, branch: &str, run: &str, tests: &str) {
        let tests = ("eval/tests/test_m.py", 0o644, tests.to_owned());
        self.archive(branch, &[("eval/run.sh", 0o755, run.to_owned()), tests]);
    }

    /// A branch of any files.
    pub fn archive(&self, branch: &str, files: &[File<'_>]) {
        self.pack(&format!("blobs/{ID}/tests/{branch}.tar.gz"), files);
    }

    pub fn submission(&self, run: &str, files: &[File<'_>]) {
        self.pack(&format!("{run}/{ID}/submission.tar.gz"), files);
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.scratch.command();
        command.env("REENACT_IMAGES", &self.store).env_remove("PROGRAMBENCH_BLOB_DIR");
        command.args(["programbench", "eval", "--tasks", "tasks", "--blobs", "blobs"]).args(args);
        command
    }

    pub fn eval(&self, args: &[&str]) -> Ran {
        Ran::from(self.command(args).output().unwrap())
    }

    pub fn official(&self, run: &str) -> Value {
        self.scratch.json(&format!("{run}/{ID}/{ID}.eval.json"))
    }

    pub fn sidecar(&self, run: &str) -> Value {
        self.scratch.json(&format!("{run}/{ID}/{ID}.reenact.json"))
    }

    /// `passed/total` of both scores.
    pub fn scores(&self, run: &str) -> (String, String) {
        let sidecar = self.sidecar(run);
        let show = |s: &Value| format!("{}/{}", s["passed"], s["total"]);
        (show(&sidecar["official"]), show(&sidecar["strict"]))
    }

    /// Statuses by test, in order.
    fn statuses(&self, run: &str) -> Vec<(String, String)> {
        let text = |v: &Value| v.as_str().unwrap().to_owned();
        self.official(run)["test_results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| (text(&t["name"]), text(&t["status"])))
            .collect()
    }

    fn steps(&self, run: &str) -> Vec<String> {
        let log = self.official(run)["log"].as_array().unwrap().clone();
        log.iter().map(|e| e["step"].as_str().unwrap().to_owned()).collect()
    }
}

pub fn shell(script: &str) -> File<'_> {
    ("executable.sh", 0o755, format!("#!/bin/sh\n{script}\n"))
}

pub fn copies() -> File<'static> {
    ("compile.sh", 0o755, "#!/bin/sh\ncp executable.sh executable\n".to_owned())
}

/// Ten tests; the right answer to i is i.
pub const ANSWERS: &str = "\
import subprocess, pytest
@pytest.mark.parametrize('i', range(10))
def test_case(i):
    assert subprocess.run(['./executable', str(i)], capture_output=True, text=True).stdout == f'{i}\\n'
";

pub const NAMES: [&str; 10] = [
    "eval.tests.test_m.test_case[0]",
    "eval.tests.test_m.test_case[1]",
    "eval.tests.test_m.test_case[2]",
    "eval.tests.test_m.test_case[3]",
    "eval.tests.test_m.test_case[4]",
    "eval.tests.test_m.test_case[5]",
    "eval.tests.test_m.test_case[6]",
    "eval.tests.test_m.test_case[7]",
    "eval.tests.test_m.test_case[8]",
    "eval.tests.test_m.test_case[9]",
];

fn answers() -> Stage {
    let stage = Stage::new(&[("b1", &NAMES)]);
    stage.blob("b1", "", ANSWERS);
    stage
}

#[test]
fn steps_scores_and_a_second_call_that_runs_nothing() {
    let stage = answers();
    stage.submission("gold", &[copies(), shell("echo $1")]);
    stage.submission("weak", &[copies(), shell("echo 3")]);
    let table = stage.eval(&["gold", "weak"]).expect(0);
    assert!(table.contains("10/10 100.00%") && table.contains("1/10 10.00%"), "{table}");
    assert_eq!(stage.scores("gold"), ("10/10".into(), "10/10".into()));
    assert_eq!(stage.scores("weak"), ("1/10".into(), "1/10".into()));
    assert_eq!(
        stage.steps("gold"),
        [
            "wipe_workspace",
            "clear_stale_executable",
            "seed_git",
            "compile",
            "copy_executable",
            "hash_executable",
            "install_rerunfailures",
            "restore_executable",
            "verify_executable_hash",
            "clean_stale_results",
            "patch_timeout_method",
            "install_pytest_timeout_retry",
            "run_tests",
            "results_read",
        ]
    );
    // What is honest is tested once.
    stage.submission("nothing", &[copies(), shell("exit 0")]);
    stage.eval(&["nothing"]).expect(0);
    for run in ["gold", "weak", "nothing"] {
        let branch = stage.sidecar(run)["branches"]["b1"].clone();
        assert_eq!(branch["separate_run"], false, "{run}: {branch}");
        assert_eq!(branch["session"]["changed"], json!([]), "{run}: {branch}");
    }
    let failed = stage.official("weak")["test_results"][0].clone();
    assert!(failed["extra"]["text"].as_str().unwrap().contains("assert"), "{failed}");
    let sidecar = stage.sidecar("gold");
    assert_eq!(sidecar["policy"]["network"], "none");
    assert_eq!(sidecar["branches"]["b1"]["session"]["hidden"], true);
    // Nothing is run again, and what is stored stays byte for byte.
    let before = stage.scratch.read(&format!("weak/{ID}/{ID}.eval.json"));
    stage.eval(&["weak"]).expect(0);
    stage.eval(&["weak", "--summarize-only", "-o", "elsewhere"]).fails(4, &["no results yet"]);
    assert_eq!(stage.scratch.read(&format!("weak/{ID}/{ID}.eval.json")), before);
    // Another submission is.
    stage.submission("weak", &[copies(), shell("echo $1")]);
    stage.eval(&["weak", "-o", "elsewhere"]).expect(0);
    assert_eq!(stage.scores("elsewhere/weak").0, "10/10");
    stage.eval(&["weak"]).expect(0);
    assert_eq!(stage.scores("weak").0, "10/10");
}

#[test]
fn a_failing_test_has_three_attempts_and_is_told_once() {
    let tests = "\
import os, pytest
seen = {}
def count(k):
    seen[k] = seen.get(k, 0) + 1
    return seen[k]
def test_second(): assert count('second') == 2
def test_third(): assert count('third') == 3
def test_fourth(): assert count('fourth') == 4
@pytest.fixture
def torn():
    yield
    raise RuntimeError('teardown')
def test_torn(torn): pass
def test_clean_environment():
    assert not [k for k in os.environ if 'REENACT' in k or k in ('PYTHONPATH', 'PIP_RETRIES')]
    assert os.environ['PYTEST_ADDOPTS'] == '--max-worker-restart=4'
";
    let names: Vec<String> = ["second", "third", "fourth", "torn", "clean_environment"]
        .iter()
        .map(|n| format!("eval.tests.test_m.test_{n}"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let stage = Stage::new(&[("serial", &names), ("xdist", &names)]);
    stage.blob("serial", "", tests);
    stage.blob("xdist", "-n 2 --dist loadfile", tests);
    stage.submission("run", &[copies(), shell("true")]);
    stage.eval(&["run", "-b", "2"]).expect(0);
    // pytest-rerunfailures tells of each torn attempt, and the first two are passes to the official arithmetic.
    assert_eq!(stage.scores("run"), ("10/14".into(), "6/10".into()));
    let differences = stage.sidecar("run")["differences"].clone();
    assert_eq!(differences.as_array().unwrap().len(), 2, "{differences}");
    assert!(differences[0]["why"].as_str().unwrap().contains("several times"), "{differences}");
}

/// Replaces results.xml while pytest writes it: pytest writes into a fifo, and the file is another by then.
pub const FORGER: &str = r#"#!/usr/bin/python3
import fcntl, os, select, sys
if not os.path.exists("/tmp/once"):
    open("/tmp/once", "w").close()
    os.mkfifo("/workspace/eval/results.xml")
    pipe = os.open("/workspace/eval/results.xml", os.O_RDONLY | os.O_NONBLOCK)
    if os.fork() == 0:
        os.setsid()
        for fd in range(3):
            os.close(fd)
        fcntl.fcntl(pipe, 1031, 4096)
        with open("/workspace/forged", "w") as out:
            out.write("<testsuite>" + "".join('<testcase classname="eval.tests.test_m" name="test_case[%d]"/>' % i for i in range(10)) + "</testsuite>")
        select.poll
        p = select.poll()
        p.register(pipe, select.POLLIN)
        p.poll()
        os.rename("/workspace/forged", "/workspace/eval/results.xml")
        os.set_blocking(pipe, True)
        while os.read(pipe, 65536):
            pass
        os._exit(0)
"#;

/// Looks for the channel in every process, and says that all is well on whatever it gets hold of.
const SCANNER: &str = r#"
import ctypes, json
libc = ctypes.CDLL(None, use_errno=True)
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        fds = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        continue
    for fd in fds:
        try:
            if "socket" not in os.readlink(f"/proc/{pid}/fd/{fd}"):
                continue
            got = libc.syscall(438, libc.syscall(434, int(pid), 0), int(fd), 0)
            for i in range(10):
                said = {"event": "test", "name": f"eval.tests.test_m.test_case[{i}]", "phases": {"call": "passed"}, "late": False}
                os.write(got, b"\n" + b"0" * 64 + b" 7 " + json.dumps(said).encode() + b"\n")
        except OSError:
            pass
sys.exit(1)
"#;

#[test]
fn submissions_that_judge_themselves_fool_the_official_score_alone() {
    let stage = answers();
    let wrong = || shell("exit 1");
    stage.submission(
        "forged",
        &[
            ("compile.sh", 0o755, "#!/bin/sh\ncp forger.py executable\n".to_owned()),
            ("forger.py", 0o755, format!("{FORGER}sys.exit(1)\n")),
        ],
    );
    stage.submission(
        "scanned",
        &[
            ("compile.sh", 0o755, "#!/bin/sh\ncp forger.py executable\n".to_owned()),
            ("forger.py", 0o755, format!("{FORGER}{SCANNER}")),
        ],
    );
    let hook = "\
import pytest
@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    report.outcome, report.longrepr = 'passed', None
";
    stage.submission("conftest", &[copies(), wrong(), ("conftest.py", 0o644, hook.to_owned())]);
    let site = "\
import sys
if any('pytest' in a for a in sys.orig_argv):
    import _pytest.reports as reports
    old = reports.TestReport.from_item_and_call.__func__
    def new(cls, item, call):
        report = old(cls, item, call)
        report.outcome, report.longrepr = 'passed', None
        return report
    reports.TestReport.from_item_and_call = classmethod(new)
";
    let plant = "#!/bin/sh\ncp executable.sh executable\n\
        cp evil.txt $(python3 -c 'import os; print(os.path.dirname(os.path.realpath(os.__file__)))')/sitecustomize.py\n";
    stage.submission(
        "planted",
        &[("compile.sh", 0o755, plant.to_owned()), wrong(), ("evil.txt", 0o644, site.to_owned())],
    );
    stage.submission("shadowed", &[copies(), wrong(), (
        "subprocess.py",
        0o644,
        "class R:\n    def __init__(self, i): self.stdout = i + '\\n'\ndef run(argv, **k): return R(argv[1])\nPIPE = -1\nclass Popen: pass\nclass TimeoutExpired(Exception): pass\nclass CalledProcessError(Exception): pass\ndef check_output(*a, **k): return b''\nDEVNULL = -3\nSTDOUT = -2\n".to_owned(),
    )]);
    let runs = ["forged", "scanned", "conftest", "planted", "shadowed"];
    stage.eval(&runs).expect(0);
    for run in runs {
        assert_eq!(stage.scores(run), ("10/10".into(), "0/10".into()), "{run}");
        let sidecar = stage.sidecar(run);
        assert_eq!(sidecar["differences"].as_array().unwrap().len(), 10, "{run}");
        let separate = !sidecar["separate_runs"].as_array().unwrap().is_empty();
        assert_eq!(
            separate,
            !["forged", "scanned"].contains(&run),
            "{run}: {}",
            sidecar["separate_runs"]
        );
    }
}

#[test]
fn result_files_that_are_none_have_codes_and_names_that_differ_have_reasons() {
    let listed = ["eval.tests.test_m.test_case[0]", "eval.tests.test_m.test_case[1]"];
    let branches = ["absent", "empty", "laughs", "huge", "twice", "prefix"];
    let list: Vec<(&str, &[&str])> = branches.iter().map(|b| (*b, &listed[..])).collect();
    let stage = Stage::new(&list);
    let run = |script: &str| format!("#!/bin/bash\ncd \"$(dirname \"$0\")/..\"\n{script}\n");
    let laughs = "echo '<!DOCTYPE l [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]><testsuites>&b;</testsuites>' > eval/results.xml";
    stage.script("absent", &run("echo ERROR: No matching distribution found for pexpect"), "");
    stage.script("empty", &run(": > eval/results.xml"), "");
    stage.script("laughs", &run(laughs), "");
    stage.script("huge", &run("truncate -s 2G eval/results.xml"), "");
    let case = |n: &str| format!("<testcase classname=\"eval.tests.test_m\" name=\"{n}\"/>");
    let twice = [case("test_case[0]"), case("test_case[0]"), case("other")].concat();
    stage.script(
        "twice",
        &run(&format!("echo '<testsuite>{twice}</testsuite>' > eval/results.xml")),
        "",
    );
    let prefix = run("cd eval && python3 -m pytest tests --rootdir=. -q --junitxml=results.xml");
    stage.script(
        "prefix",
        &prefix,
        "import pytest\n@pytest.mark.parametrize('i', range(2))\ndef test_case(i): pass\n",
    );
    stage.submission("run", &[copies(), shell("true")]);
    stage.eval(&["run", "--branch-retries", "0", "-b", "2"]).expect(0);
    let official = stage.official("run");
    let code = |b: &str| {
        official["test_branch_errors"][b][0]["error_code"].as_str().unwrap_or("").to_owned()
    };
    let codes: Vec<String> = branches.iter().map(|b| code(b)).collect();
    assert_eq!(
        codes,
        ["results_read_failed", "empty_test_results", "xml_parse_error", "xml_parse_error", "", ""]
    );
    // Four branches of two tests that were not run; one with a repetition, an unlisted test and a missing one; one all unlisted.
    assert_eq!(stage.scores("run"), ("5/16".into(), "0/12".into()));
    let sidecar = stage.sidecar("run");
    let note = sidecar["branches"]["absent"]["notes"][0].as_str().unwrap().to_owned();
    assert!(note.contains("pexpect (pip)") && note.contains("docker commit"), "{note}");
    let alias = &sidecar["branches"]["prefix"]["strict"]["alias"];
    assert_eq!(
        (&alias["told"], &alias["listed"], &alias["tests"]),
        (&json!(""), &json!("eval."), &json!(2))
    );
    stage.eval(&["run", "--force", "--branch-retries", "0", "--accept-aliases"]).expect(0);
    assert_eq!(stage.scores("run"), ("5/16".into(), "2/12".into()));
}

#[test]
fn bad_input_is_named_and_never_a_score_unless_it_is_the_submissions() {
    let stage = answers();
    std::fs::create_dir_all(stage.scratch.path(&format!("none/{ID}"))).unwrap();
    stage.scratch.write(&format!("cut/{ID}/submission.tar.gz"), "not gzip");
    stage.submission(
        "fails",
        &[("compile.sh", 0o755, "#!/bin/sh\necho no such compiler >&2\nexit 3\n".to_owned())],
    );
    stage.submission("nothing", &[("compile.sh", 0o755, "#!/bin/sh\ntrue\n".to_owned())]);
    stage.submission(
        "hangs",
        &[("compile.sh", 0o755, "#!/bin/sh\necho begun\nsleep 600\n".to_owned())],
    );
    let table = stage
        .eval(&["none", "cut", "fails", "nothing", "hangs", "--compile-timeout", "5s"])
        .expect(0);
    for (run, code, details) in [
        ("none", "no_submission", "is not there"),
        ("cut", "bad_submission", "truncated"),
        ("fails", "compile_failed", "no such compiler"),
        ("nothing", "copy_executable_failed", "cannot stat"),
        ("hangs", "compile_failed", "begun"),
    ] {
        let official = stage.official(run);
        assert_eq!(official["error_code"], code, "{run}");
        assert!(
            official["error_details"].as_str().unwrap().contains(details),
            "{run}: {}",
            official["error_details"]
        );
        assert_eq!(stage.statuses(run).iter().filter(|(_, s)| s == "not_run").count(), 10, "{run}");
        assert!(table.contains(code), "{code} is not in:\n{table}");
        assert_eq!(stage.scores(run), ("0/10".into(), "0/10".into()));
    }
    stage.submission("gold", &[copies(), shell("echo $1")]);
    stage.eval(&["gold", "--image-tag", "another"]).fails(3, &["reenact image pull", "another"]);
    std::fs::remove_file(stage.scratch.path(&format!("blobs/{ID}/tests/b1.tar.gz"))).unwrap();
    stage.eval(&["gold"]).fails(2, &["1 of 1 test archives are missing", "--blobs"]);
    assert!(
        !stage.scratch.path(&format!("gold/{ID}/{ID}.eval.json")).exists(),
        "no score of a harness failure"
    );
    stage.pack("gold/zzz__unknown.1234567/submission.tar.gz", &[]);
    stage.blob("b1", "", ANSWERS);
    stage.eval(&["gold"]).fails(2, &["zzz__unknown.1234567", "no such task"]);
    assert_eq!(stage.scores("gold").0, "10/10", "the others are evaluated all the same");
    stage.eval(&["nowhere"]).fails(2, &["nowhere is no run directory"]);
    let instance = format!("gold/{ID}");
    stage.eval(&[&instance]).fails(2, &["is no run directory"]);
    stage
        .eval(&["fails", "--filter", "nothing"])
        .fails(4, &["no instance to evaluate", "--filter"]);
    let mut command = stage.scratch.command();
    command.args(["programbench", "eval", "gold", "--tasks", "tasks", "--blobs", "elsewhere"]);
    Ran::from(command.output().unwrap()).fails(2, &["--blobs elsewhere: no such directory"]);
    let zero = Ran::from(stage.command(&["gold", "-w", "0"]).output().unwrap());
    zero.fails(2, &["--workers"]);
}

#[test]
fn when_the_time_is_up_the_strict_score_keeps_what_was_told() {
    let names = ["eval.tests.test_m.test_a", "eval.tests.test_m.test_b"];
    let stage = Stage::new(&[("b1", &names)]);
    stage.blob("b1", "", "import time\ndef test_a(): pass\ndef test_b(): time.sleep(50)\n");
    stage.submission("run", &[copies(), shell("true")]);
    stage.eval(&["run", "--test-timeout", "30s", "--branch-retries", "0"]).expect(0);
    assert_eq!(
        stage.official("run")["test_branch_errors"]["b1"][0]["error_code"],
        "results_read_failed"
    );
    assert_eq!(stage.scores("run"), ("0/2".into(), "1/2".into()));
}

#[test]
fn a_worker_that_dies_costs_its_test_alone() {
    let names = [
        "eval.tests.test_m.test_dies",
        "eval.tests.test_m.test_fine[0]",
        "eval.tests.test_m.test_fine[1]",
    ];
    let stage = Stage::new(&[("b1", &names)]);
    let tests = "import os, pytest\ndef test_dies(): os._exit(3)\n@pytest.mark.parametrize('i', range(2))\ndef test_fine(i): pass\n";
    stage.blob("b1", "-n 2", tests);
    stage.submission("run", &[copies(), shell("true")]);
    stage.eval(&["run"]).expect(0);
    let statuses = stage.statuses("run");
    let of = |n: &str| {
        statuses.iter().find(|(name, _)| name == n).map(|(_, s)| s.as_str()).unwrap_or("")
    };
    assert_eq!((of(names[1]), of(names[2])), ("passed", "passed"), "{statuses:?}");
    assert!(of(names[0]) != "passed", "{statuses:?}");
    let note = stage.sidecar("run")["branches"]["b1"]["notes"][0].as_str().unwrap().to_owned();
    assert!(note.contains("run 2 times"), "{note}");
    let log = stage.official("run")["log"].clone();
    let read = log.as_array().unwrap().iter().filter(|e| e["step"] == "results_read");
    let named = read.clone().filter(|e| e["branch"] == "b1").count();
    assert_eq!((read.count(), named), (2, 1), "what counts is told from what does not");
}

#[test]
fn stopped_after_a_branch_it_goes_on_with_the_next() {
    let names = ["eval.tests.test_m.test_a"];
    let stage = Stage::new(&[("first", &names), ("second", &names)]);
    stage.blob("first", "", "def test_a(): pass\n");
    stage.blob("second", "", "import time\ndef test_a(): time.sleep(600)\n");
    stage.submission("run", &[copies(), shell("true")]);
    let mut child = stage.command(&["run"]).spawn().unwrap();
    let parts = stage.scratch.path(&format!("run/.reenact/{ID}.branches.jsonl"));
    let began = Instant::now();
    while std::fs::read(&parts).map_or(true, |b| !b.ends_with(b"\n")) {
        assert!(
            began.elapsed() < LONG && child.try_wait().unwrap().is_none(),
            "the first branch did not end"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let interrupted =
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(
        !stage.scratch.path(&format!("run/{ID}/{ID}.eval.json")).exists(),
        "half a result looks like a whole one"
    );
    let first = std::fs::read(&parts).unwrap();
    stage.blob("second", "", "def test_a(): pass\n");
    let said = stage.eval(&["run"]);
    assert!(said.stderr.contains("1 of 2 branches were tested before"), "{}", said.stderr);
    said.expect(0);
    assert_eq!(stage.scores("run"), ("2/2".into(), "2/2".into()));
    let log = stage.official("run")["log"].clone();
    let kept: Value = serde_json::from_slice(&first).unwrap();
    let kept = kept["result"]["log"].as_array().unwrap();
    assert!(
        log.as_array().unwrap().windows(kept.len()).any(|w| w == kept),
        "the first branch's log is the first run's"
    );
    assert!(!parts.exists(), "nothing is left over");
}

#[test]
fn known_files_are_removed_and_policy_is_recorded() {
    let stage = answers();
    let gold = "#!/bin/sh\necho $1\n";
    let digest = reenact_model::Digest::of(gold.as_bytes()).to_string();
    let digest = digest.rsplit(':').next().unwrap();
    let task = format!("tasks/{ID}/task.yaml");
    let text = stage.scratch.read(&task);
    stage.scratch.write(&task, &format!("{text}eval_clean_hashes:\n- {digest}\n"));
    // The original, shipped under another name: then there is nothing to be executed.
    let wrap = "#!/bin/sh\ncp vendor/lib.bin executable || cp executable.sh executable\n";
    stage.submission(
        "wraps",
        &[
            ("compile.sh", 0o755, wrap.to_owned()),
            ("vendor/lib.bin", 0o755, gold.to_owned()),
            shell("echo 3"),
        ],
    );
    stage.eval(&["wraps", "--network", "host"]).expect(0);
    assert_eq!(stage.scores("wraps"), ("1/10".into(), "1/10".into()));
    let log = stage.official("wraps")["log"].clone();
    let steps = log.as_array().unwrap();
    assert_eq!(steps[0]["step"], "wipe_workspace");
    let (step, said) = (&steps[1]["step"], steps[1]["output"].as_str().unwrap());
    assert_eq!(step, "remove_hashed_files");
    assert!(said.contains("removed") && said.contains("/workspace/vendor/lib.bin"), "{said}");
    let sidecar = stage.sidecar("wraps");
    assert_eq!(sidecar["policy"]["network"], "host");
    assert!(sidecar["isolation"]["network"].as_str().unwrap().contains("host"), "{sidecar}");
}

#[test]
fn an_image_whose_user_is_not_root() {
    let stage = answers();
    let image = |tag: &str| format!("programbench/{}:{tag}", ID.replace("__", "_1776_"));
    let (root, user) = (image(TAG), image("task_user_v1"));
    let docker = |args: &[&str]| {
        let mut docker = stage.scratch.command();
        docker.env("REENACT_IMAGES", &stage.store);
        docker.env("REENACT_DOCKER_STATE", stage.scratch.path("state"));
        Ran::from(docker.arg("docker").args(args).output().unwrap()).expect(0);
    };
    docker(&["run", "-d", "--name", "user", &root, "sleep", "1h"]);
    docker(&["exec", "user", "chown", "agent", "/opt", "/workspace"]);
    docker(&["commit", "-c", "USER agent", "user", &user]);
    docker(&["rm", "-f", "user"]);
    let tests = "\
import os, subprocess
def test_who():
    assert os.getuid() == 1000 and os.path.expanduser('~') == '/home/agent'
    assert subprocess.run(['./executable'], capture_output=True, text=True).stdout == 'agent 1000\\n'
";
    let stage = Stage::new(&[("b1", &["eval.tests.test_m.test_who"])]);
    stage.blob("b1", "", tests);
    stage.submission("run", &[copies(), shell("echo $(id -un) $(id -u)")]);
    stage.eval(&["run", "--image-tag", "task_user_v1"]).expect(0);
    assert_eq!(stage.scores("run"), ("1/1".into(), "1/1".into()));
    assert_eq!(stage.sidecar("run")["branches"]["b1"]["separate_run"], false);
}

#[test]
fn the_fixture_of_theirs_and_the_prefix_that_its_names_lack() {
    let Some(lib) = crate::programbench_official::official_programbench() else {
        assert!(std::env::var_os("REENACT_REQUIRE_PIP").is_none(), "pip was to work");
        eprintln!("SKIPPED: no programbench 1.2.5 (no package index?)");
        return;
    };
    let scratch = Scratch::new();
    let data = lib.join("programbench/data");
    let fixture = Calculator::lay_out(&data, scratch.root()).unwrap();
    let images = store();
    let eval = |more: &[&str]| {
        let mut eval = scratch.command();
        eval.env("REENACT_IMAGES", &images).args(["programbench", "eval", "correct", "incorrect"]);
        eval.arg("--tasks").arg(data.join("tasks")).arg("--blobs").arg(&fixture.blobs);
        Ran::from(eval.args(more).output().unwrap())
    };
    let scores = |run: &str| {
        let path = format!("{run}/{0}/{0}.reenact.json", Calculator::INSTANCE);
        let sidecar = scratch.json(&path);
        let show = |s: &Value| format!("{}/{}", s["passed"], s["total"]);
        (show(&sidecar["official"]), show(&sidecar["strict"]), sidecar)
    };
    let ran = eval(&[]);
    let note =
        "the suite's names begin with \"eval.\", which 3 listed tests lack (--accept-aliases)";
    assert!(ran.stderr.contains(note), "{}", ran.stderr);
    let table = ran.expect(0);
    assert!(table.contains("3/6 50.00%") && table.contains("0/3 0.00%"), "{table}");
    let (official, strict, sidecar) = scores("correct");
    assert_eq!((official.as_str(), strict.as_str()), ("3/6", "0/3"));
    let branch = sidecar["branches"].as_object().unwrap().values().next().unwrap().clone();
    let alias = &branch["strict"]["alias"];
    assert_eq!((&alias["tests"], &alias["accepted"]), (&json!(3), &json!(false)), "{branch}");
    assert_eq!(branch["separate_run"], false, "{branch}");
    eval(&["--force", "--accept-aliases"]).expect(0);
    let (official, strict, _) = scores("correct");
    assert_eq!((official.as_str(), strict.as_str()), ("3/6", "3/3"));
    let (_, strict, _) = scores("incorrect");
    assert_eq!(strict, "0/3");
}

/// `pytest_timeout.py` of 1.4.2, the last without a hook for its timer. `None`: there is no package index here.
fn old_timeout() -> Option<String> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pytest-timeout-1.4.2");
    let file = dir.join("pytest_timeout.py");
    for _ in 0..3 {
        if let Ok(text) = std::fs::read_to_string(&file) {
            return Some(text);
        }
        let mut pip = Command::new("pip3");
        pip.args(["--python", "/usr/bin/python3", "--disable-pip-version-check", "install", "-q"])
            .args(["--no-deps", "--no-compile", "--target"])
            .arg(&dir)
            .arg("pytest-timeout==1.4.2");
        match pip.output() {
            Ok(done) if done.status.success() => {}
            Ok(done) => eprintln!("pip: {}", String::from_utf8_lossy(&done.stderr)),
            Err(e) => eprintln!("pip3 cannot be started: {e}"),
        }
    }
    assert!(std::env::var_os("REENACT_REQUIRE_PIP").is_none(), "pip was to work");
    eprintln!("SKIPPED: no pytest-timeout 1.4.2 (no package index?)");
    None
}

#[test]
fn every_attempt_has_the_whole_time_under_an_old_pytest_timeout_too() {
    let Some(plugin) = old_timeout() else { return };
    let stage = Stage::new(&[("b1", &["eval.tests.test_m.test_slow"])]);
    let tests = "\
import os, time
attempts = []
def test_slow():
    assert 'reenact' not in os.environ['PYTHONPATH'] and '/workspace/eval/vendor' in os.environ['PYTHONPATH']
    attempts.append(1)
    if len(attempts) < 3:
        time.sleep(600)
";
    let run = "#!/bin/bash\ncd \"$(dirname \"$0\")/..\"\nexport PYTHONPATH=/workspace/eval/vendor:$PYTHONPATH\n\
        python3 -c 'import pytest_timeout; assert not hasattr(pytest_timeout, \"TimeoutHooks\")' || exit 9\n\
        python3 -m pytest eval/tests -q --timeout=4 --junitxml=eval/results.xml\n";
    stage.archive(
        "b1",
        &[
            ("eval/run.sh", 0o755, run.to_owned()),
            ("eval/tests/test_m.py", 0o644, tests.to_owned()),
            ("eval/vendor/pytest_timeout.py", 0o644, plugin),
        ],
    );
    stage.submission("run", &[copies(), shell("true")]);
    stage.eval(&["run", "--test-timeout", "300s"]).expect(0);
    assert_eq!(stage.scores("run"), ("1/1".into(), "1/1".into()));
    // The script's own Python left compiled code beside the suite, before the tests: that is the suite's doing.
    assert_eq!(stage.sidecar("run")["branches"]["b1"]["separate_run"], false);
}
