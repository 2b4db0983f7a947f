//! `reenact programbench eval` where steps go wrong: disks without room, result files that cannot be read, suites that start
//! pytest several times, workers that die, floods of output, an image with less Python. Needs root.

use crate::programbench_eval::{ANSWERS, ID, NAMES, Stage, copies, shell};
use crate::programbench_official::official_programbench;
use crate::support::*;
use serde_json::{Value, json};
use std::process::Command;

/// A branch whose script runs this with bash in the workspace.
fn script(stage: &Stage, branch: &str, run: &str, tests: &str) {
    let run = format!("#!/bin/bash\ncd \"$(dirname \"$0\")/..\"\n{run}\n");
    let tests = ("eval/tests/test_m.py", 0o644, tests.to_owned());
    stage.archive(branch, &[("eval/run.sh", 0o755, run), tests]);
}

fn score(strict: &Value) -> String {
    format!("{}/{}", strict["passed"], strict["total"])
}

const PYTEST: &str = "python3 -m pytest eval/tests -q";
const RESULTS: &str = "--junitxml=eval/results.xml";

#[test]
fn a_full_disk_is_no_score() {
    let stage = Stage::new(&[("b1", &NAMES)]);
    let fill = "dd if=/dev/zero of=/var/tmp/fill bs=1M 2>/dev/null";
    // While it is built, while it is tested: either way not the program's fault.
    let build = format!("#!/bin/sh\ncp executable.sh executable\n{fill} || exit 1\n");
    stage.submission("build", &[("compile.sh", 0o755, build), shell("echo $1")]);
    stage.submission("tests", &[copies(), shell("echo $1")]);
    script(&stage, "b1", &format!("{fill}; {PYTEST} {RESULTS}"), ANSWERS);
    let small = |run: &str| {
        let script = format!(
            "mount -t tmpfs -o size=64m,mode=700 none {0}/scratch && exec {REENACT} programbench eval --tasks tasks --blobs blobs {run}",
            stage.store().display()
        );
        let mut command = Command::new("unshare");
        command.args(["-m", "bash", "-c", &script]).current_dir(stage.scratch.root());
        command.env("REENACT_IMAGES", stage.store()).env("NO_COLOR", "1");
        Ran::from(command.output().unwrap())
    };
    for run in ["build", "tests"] {
        small(run).fails(3, &["no room left", "reenact image gc"]);
        let result = stage.scratch.path(&format!("{run}/{ID}/{ID}.eval.json"));
        assert!(!result.exists(), "no score of a full disk");
    }
}

#[test]
fn what_cannot_be_read_is_the_same_to_the_official_tool() {
    let Some(lib) = official_programbench() else {
        assert!(std::env::var_os("REENACT_REQUIRE_PIP").is_none(), "pip was to work");
        eprintln!("SKIPPED: no programbench 1.2.5 (no package index?)");
        return;
    };
    let branches = ["absent", "empty", "laughs", "torn", "whole"];
    let list: Vec<(&str, &[&str])> = branches.iter().map(|b| (*b, &NAMES[..])).collect();
    let stage = Stage::new(&list);
    let laughs = "<!DOCTYPE l [<!ENTITY a \"b\">]><testsuites>&a;</testsuites>";
    script(&stage, "absent", "true", "");
    script(&stage, "empty", ": > eval/results.xml", "");
    script(&stage, "laughs", &format!("echo '{laughs}' > eval/results.xml"), "");
    script(&stage, "torn", "echo '<testsuite><testcase' > eval/results.xml", "");
    script(&stage, "whole", &format!("{PYTEST} {RESULTS}"), ANSWERS);
    stage.submission("run", &[copies(), shell("echo $1")]);
    stage.eval(&["run", "--branch-retries", "0"]).expect(0);
    assert_eq!(stage.scores("run").0, "10/50");
    let ours = stage.official("run");
    let program = "\
import json, pathlib, sys
from programbench.eval.eval_batch import _summary_from_existing
iid, path, branches, tests = sys.argv[1], pathlib.Path(sys.argv[2]), json.loads(sys.argv[3]), json.loads(sys.argv[4])
lists = {b: tests for b in branches}
print(_summary_from_existing(iid, path, set(), current_branches=branches, tests_by_branch=lists, ignored_branches=set()).model_dump_json())
";
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", program, ID]).arg(stage.scratch.path(&format!("run/{ID}/{ID}.eval.json")));
    python.arg(json!(branches).to_string()).arg(json!(NAMES).to_string());
    python.env("PYTHONPATH", &lib).env("PYTHONDONTWRITEBYTECODE", "1");
    let said = Ran::from(python.output().unwrap()).expect(0);
    let summary: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        score(&json!({"passed": summary["n_resolved"], "total": summary["n_tests"]})),
        "10/50"
    );
    let theirs = stage.official("run");
    for key in ["test_results", "test_branch_errors", "error_code", "warnings"] {
        assert_eq!(theirs[key], ours[key], "{key}");
    }
    stage.eval(&["run", "--summarize-only"]).expect(0);
    assert_eq!(stage.official("run")["test_results"], ours["test_results"]);
}

/// Ten tests that pass, but for one that kills its worker, once, where there may be several.
const DIES_ONCE: &str = "\
import os, pytest
@pytest.mark.parametrize('i', range(10))
def test_case(i):
    if i == 3 and os.environ['PYTEST_XDIST_AUTO_NUM_WORKERS'] != '1' and not os.path.exists('/tmp/died'):
        open('/tmp/died', 'w').close()
        os._exit(1)
";

#[test]
fn suites_that_start_pytest_often_lose_workers_or_print_without_end() {
    let branches = ["again", "collected", "floods", "late", "twice"];
    let list: Vec<(&str, &[&str])> = branches.iter().map(|b| (*b, &NAMES[..])).collect();
    let stage = Stage::new(&list);
    let again =
        format!("python3 -m pytest --version\n{PYTEST} --help >/dev/null\n{PYTEST} {RESULTS}");
    script(&stage, "again", &again, ANSWERS);
    // What it loads could have started the program, which could read a key that comes later.
    let collected = format!("{PYTEST} --collect-only\n{PYTEST} {RESULTS}");
    script(&stage, "collected", &collected, ANSWERS);
    let floods = format!("echo first\nhead -c 40M /dev/zero\necho last\n{PYTEST} {RESULTS}");
    script(&stage, "floods", &floods, ANSWERS);
    script(&stage, "late", &format!("{PYTEST} -n 1 {RESULTS}"), DIES_ONCE);
    script(&stage, "twice", &format!("{PYTEST} -k 'not 9'\n{PYTEST} {RESULTS}"), ANSWERS);
    stage.submission("run", &[copies(), shell("echo $1")]);
    stage.eval(&["run", "--docker-cpus", "2"]).expect(0);
    assert_eq!(stage.scores("run"), ("50/50".into(), "null/null".into()));
    let sidecar = stage.sidecar("run");
    let missing = sidecar["strict_missing"].as_str().unwrap();
    for branch in ["collected", "twice"] {
        let why = format!("{branch}: run.sh starts pytest again");
        assert!(missing.contains(&why), "{missing}");
    }
    for branch in ["again", "floods", "late"] {
        let part = &sidecar["branches"][branch];
        assert_eq!(score(&part["strict"]), "10/10", "{part}");
        assert_eq!(part["separate_run"], branch == "late", "{part}");
    }
    let text = stage.scratch.read(&format!("run/{ID}/{ID}.eval.json"));
    assert!(text.len() < 8 << 20, "{} bytes", text.len());
    let log = stage.official("run")["log"].clone();
    let outputs = log.as_array().unwrap().iter().map(|e| e["output"].as_str().unwrap());
    let flood = outputs.into_iter().find(|o| o.starts_with("first\n\0")).unwrap();
    assert!(flood.contains("bytes were left out here]") && flood.contains("10 passed"));
}

#[test]
fn an_image_without_ctypes() {
    let stage = Stage::new(&[("b1", &NAMES)]);
    stage.blob("b1", "", ANSWERS);
    stage.submission("run", &[copies(), shell("echo $1")]);
    let image = |tag: &str| format!("programbench/{}:{tag}", ID.replace("__", "_1776_"));
    let docker = |args: &[&str]| {
        let mut docker = stage.scratch.command();
        docker.env("REENACT_IMAGES", stage.store());
        docker.env("REENACT_DOCKER_STATE", stage.scratch.path("state"));
        Ran::from(docker.arg("docker").args(args).output().unwrap()).expect(0);
    };
    let remove = "rm -rf $(python3 -c 'import ctypes, os; print(os.path.dirname(os.path.realpath(ctypes.__file__)))')";
    docker(&["run", "-d", "--name", "less", &image("task_cleanroom_v6"), "sleep", "1h"]);
    docker(&["exec", "less", "sh", "-c", &format!("{remove} && chown agent /opt /workspace")]);
    docker(&["commit", "less", &image("task_less_v1")]);
    docker(&["commit", "-c", "USER agent", "less", &image("task_less_user_v1")]);
    docker(&["rm", "-f", "less"]);
    // Root can close its process without it.
    stage.eval(&["run", "--image-tag", "task_less_v1"]).expect(0);
    assert_eq!(stage.scores("run"), ("10/10".into(), "10/10".into()));
    assert_eq!(stage.sidecar("run")["branches"]["b1"]["separate_run"], false);
    stage.eval(&["run", "--force", "--image-tag", "task_less_user_v1"]).expect(0);
    assert_eq!(stage.scores("run"), ("10/10".into(), "null/null".into()));
    let missing = stage.sidecar("run")["strict_missing"].as_str().unwrap().to_owned();
    assert!(missing.contains("has no ctypes"), "{missing}");
}
