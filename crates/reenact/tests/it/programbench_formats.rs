//! ProgramBench's formats: tasks imported, run directories scored, packaged, verified and put together again, the leaderboard;
//! and all of it against the official tool, where pip can install it.

use crate::programbench_official::official_programbench;
use crate::support::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Writes tasks in the layout of their package's source tree.
fn tasks(s: &Scratch, tasks: &[(&str, &str, &str, Value)]) -> PathBuf {
    for (id, language, difficulty, branches) in tasks {
        let dir = format!("package/data/tasks/{id}");
        let yaml = format!("repository: o/x\ncommit: '12'\nlanguage: {language}\n{difficulty}");
        s.write(&format!("{dir}/task.yaml"), &yaml);
        s.write(&format!("{dir}/tests.json"), &json!({"branches": branches}).to_string());
    }
    s.path("package")
}

fn three_tasks(s: &Scratch) -> PathBuf {
    let branches = json!({"b1": {"ignored": false, "ignore_reason": "", "tests": ["eval.a", "eval.b", "eval.c", "eval.d"],
        "ignored_tests": [{"name": "eval.d", "reasons": [{"id": "dummy_pass"}]}]}});
    tasks(
        s,
        &[
            ("o__alpha.1", "c", "difficulty: easy\n", branches.clone()),
            ("o__beta.2", "rs", "", branches.clone()),
            (
                "testorg__calculator.abc1234",
                "bash",
                "",
                json!({"b": {"tests": ["t.x", "t.y", "t.z"]}}),
            ),
        ],
    )
}

#[test]
fn imported_tasks_are_listed_among_the_others_and_shown() {
    let s = Scratch::new();
    let package = three_tasks(&s);
    let import = |more: &[&str]| {
        let from = package.to_str().unwrap();
        s.reenact(["programbench", "import", "--from", from].iter().chain(more))
    };
    let said = import(&[]).expect(0);
    assert!(
        said.contains(
            "2 tasks (2 new, 0 updated, 0 as they were): 2 branches, 8 tests, 2 ignored, 6 count"
        ),
        "{said}"
    );
    assert!(said.contains("without the fixture's: 1 branches, 3 tests"), "{said}");
    let said = import(&["--fixture"]).expect(0);
    assert!(
        said.contains("3 tasks (1 new, 0 updated, 2 as they were): 3 branches, 11 tests"),
        "{said}"
    );
    let original = s.read("package/data/tasks/o__alpha.1/tests.json");
    assert_eq!(s.read("tasks/o__alpha.1/tests.json"), original);
    assert!(!s.read("tasks/o__alpha.1/task.toml").contains(s.root().to_str().unwrap()));

    let own = s.sort_task();
    let ids = |args: &[&str]| -> Vec<String> {
        let listed = s.reenact(["task", "list"].iter().chain(args)).expect(0);
        listed.lines().map(|l| l.split_whitespace().next().unwrap().to_owned()).collect()
    };
    let all = ids(&[]);
    assert_eq!(all.len(), 4);
    assert!(all.contains(&own) && all.contains(&"o__beta.2".to_owned()), "{all:?}");
    assert_eq!(ids(&["--language", "c", "--language", "rs"]), ["o__alpha.1", "o__beta.2"]);
    assert_eq!(ids(&["--difficulty", "easy"]), ["o__alpha.1"]);
    assert_eq!(ids(&["--filter", "o__", "--slice", "-1:"]), ["o__beta.2"]);
    s.reenact(["task", "list", "--filter", "zzz"]).fails(4, &["no task passes"]);
    s.reenact(["task", "list", "--filter", "("]).fails(2, &["--filter"]);
    s.reenact(["task", "list", "--slice", "::0"]).fails(2, &["--slice", "zero"]);
    let shown = s.reenact(["task", "show", "o__alpha.1"]).expect(0);
    assert!(shown.contains("programbench/o_1776_alpha.1:task_cleanroom_v6"), "{shown}");
    assert!(shown.contains("4 in 1 branches, 1 of them ignored, 3 count"), "{shown}");
    s.reenact(["task", "check", "o__alpha.1"]).expect(0);
    s.write("tasks/o__alpha.1/tests.json", "{}");
    let checked = s.reenact(["task", "check", "o__alpha.1"]).expect(1);
    assert!(checked.contains("FAILED") && checked.contains("tests.json"), "{checked}");
    s.reenact(["suite", "show", "o__beta.2"]).fails(2, &["ProgramBench", "programbench eval"]);
}

#[test]
fn what_cannot_be_imported_is_one_clear_error() {
    let s = Scratch::new();
    let import = |from: &str| s.reenact(["programbench", "import", "--from", from]);
    import("nothing.whl").fails(2, &["nothing.whl", "no such file"]);
    s.write("broken.whl", "PK\x03\x04 and then nothing");
    import("broken.whl").fails(2, &["broken.whl", "cut short"]);
    s.write("text.whl", "hello");
    import("text.whl").fails(2, &["neither a wheel"]);
    std::fs::create_dir(s.path("empty")).unwrap();
    import("empty").fails(2, &["no ProgramBench tasks"]);
    tasks(&s, &[("o__twice.1", "c", "", json!({"b": {"tests": ["x", "x"]}}))]);
    import("package").fails(2, &["o__twice.1", "twice"]);
    s.reenact(["programbench", "import", "--version", "../x"]).fails(2, &["--version"]);
    assert!(!s.path("tasks/o__twice.1").exists());
}

fn result(branch: &str, name: &str, status: &str, extra: Value) -> Value {
    json!({"name": name, "branch": branch, "status": status, "extra": extra})
}

fn eval_json(branches: &[&str], results: Vec<Value>) -> Value {
    json!({
        "test_results": results, "error_code": null, "error_details": null,
        "log": [{"step": "compile", "command": "./compile.sh", "wall_time": 0.05150229099672288, "output": "naïve \u{1f98a}\n\u{7f}",
                 "returncode": 0, "exception_info": ""}],
        "solution_branch": "submission", "test_branches": branches, "test_branch_errors": {},
        "executable_hash": "ab".repeat(32), "warnings": [],
    })
}

fn put_eval(s: &Scratch, run: &str, id: &str, eval: &Value) {
    let text = serde_json::to_string_pretty(eval).unwrap();
    s.write(&format!("{run}/{id}/{id}.eval.json"), &text);
}

#[test]
fn a_run_is_packaged_verified_and_put_together_again_without_loss() {
    let s = Scratch::new();
    three_tasks(&s);
    let reenact = |args: &[&str]| {
        s.reenact(["programbench"].iter().chain(args).chain(&["--tasks", "package"]))
    };
    let eval = eval_json(
        &["b1"],
        vec![
            result("b1", "eval.a", "passed", json!({"time": 0.1})),
            result("b1", "eval.b", "failure", json!({"message": "first", "text": "t"})),
            result("b1", "eval.b", "failure", json!({"message": "second", "text": "t"})),
            result("b1", "eval.c", "passed", json!({})),
            result("b1", "eval.d", "passed", json!({})),
        ],
    );
    put_eval(&s, "run", "o__alpha.1", &eval);
    s.write("run/o__alpha.1/submission.tar.gz", "a submission");
    s.write("run/o__beta.2/submission.tar.gz", "another");
    let info = reenact(&["info", "run"]).expect(0);
    assert!(info.contains("50.0 %") && info.contains("66.7 % over the names"), "{info}");
    assert!(
        info.lines().any(|l| l.starts_with("o__beta.2") && l.contains("not evaluated")),
        "{info}"
    );

    let refused = reenact(&["submit", "package", "run", "--upload-to", "org"]);
    refused.fails(2, &["--upload-to", "uploads nothing", ".sha256"]);
    let packaged = reenact(&["submit", "package", "run"]);
    assert!(packaged.stderr.contains("o__beta.2: not evaluated"), "{}", packaged.stderr);
    assert!(packaged.stderr.contains("submitter.name"), "{}", packaged.stderr);
    packaged.expect(0);
    assert_eq!(
        s.read("run/_stats/score.json"),
        "{\n  \"o__alpha.1\": {\n    \"b1/eval.a\": true,\n    \"b1/eval.b\": false,\n    \"b1/eval.c\": true\n  }\n}"
    );
    for file in ["submission.yaml", "README.md"] {
        assert!(!s.read(&format!("run/{file}")).contains(s.root().to_str().unwrap()), "{file}");
    }
    let light = s.json("run/o__alpha.1/o__alpha.1.eval.json");
    assert_eq!(light["log"], json!([]));
    assert_eq!(light["test_results"][1]["extra"], json!({}));
    let verified = reenact(&["submit", "verify", "run"]);
    assert!(verified.stderr.contains("o__beta.2"), "{}", verified.stderr);
    verified.expect(0);

    // What its author fills in stays, and packaging again changes nothing else.
    let manifest = s.read("run/submission.yaml").replacen("TODO", "Ada \\\"L\\\" <a@b>", 1);
    s.write("run/submission.yaml", &manifest);
    s.write("run/README.md", "mine");
    let before = s.read("run/o__alpha.1/o__alpha.1.eval.log.json");
    reenact(&["submit", "package", "run"]).expect(0);
    assert_eq!(s.read("run/submission.yaml"), manifest);
    assert_eq!(s.read("run/README.md"), "mine");
    assert_eq!(s.read("run/o__alpha.1/o__alpha.1.eval.log.json"), before);

    let stats = s.read("run/_stats/score.json");
    s.write("run/_stats/score.json", &stats.replace("b\": false", "b\": true"));
    let found = reenact(&["submit", "verify", "run"]).expect(1);
    assert!(found.contains("claimed 3/3 passed, found 2/3 passed"), "{found}");
    s.write("run/_stats/score.json", &stats);
    s.write("run/o__alpha.1/submission.tar.gz.sha256", &"0".repeat(64));
    assert!(reenact(&["submit", "verify", "run"]).expect(1).contains("SHA-256"));

    s.reenact(["programbench", "submit", "recombine", "run"]).expect(0);
    assert_eq!(s.json("run/o__alpha.1/o__alpha.1.eval.json"), eval);
    assert!(!s.path("run/o__alpha.1/o__alpha.1.eval.log.json").exists());
    s.reenact(["programbench", "submit", "recombine", "run"]).expect(0);
}

#[test]
fn bad_runs_are_one_clear_error() {
    let s = Scratch::new();
    three_tasks(&s);
    let reenact = |args: &[&str]| {
        s.reenact(["programbench"].iter().chain(args).chain(&["--tasks", "package"]))
    };
    reenact(&["info", "nowhere"]).fails(2, &["nowhere", "no such directory"]);
    std::fs::create_dir(s.path("run")).unwrap();
    reenact(&["info", "run"]).fails(4, &["run", "no submissions"]);
    s.reenact(["programbench", "info", "run"]).fails(2, &["tasks", "programbench import"]);
    reenact(&["submit", "package", "run"]).fails(4, &["nothing to package", "programbench eval"]);
    reenact(&["submit", "verify", "run"]).fails(2, &["score.json", "submit package"]);
    s.write("run/o__alpha.1/submission.tar.gz", "x");
    s.write("run/o__alpha.1/o__alpha.1.eval.json", r#"{"unknown_key": 1}"#);
    reenact(&["submit", "package", "run"]).fails(2, &["o__alpha.1.eval.json", "unknown_key"]);
    let info = reenact(&["info", "run"]).expect(1);
    assert!(info.contains("unknown_key"), "{info}");
    s.write("run/o__alpha.1/o__alpha.1.eval.json", "{}");
    s.write("run/o__alpha.1/o__alpha.1.eval.log.json.url", "file:///etc/passwd");
    s.reenact(["programbench", "submit", "recombine", "run"]).fails(3, &["not fetched"]);
}

/// A small registry in the public layout, with what is odd about it: legacy scores, a struck-out test, a tie, an unknown
/// provider, entries without scores or manifest, statistics of every kind.
fn registry(s: &Scratch) {
    let entry = |id: &str, model: &str, provider: &str, score: Value, stats: &[(&str, Value)]| {
        let dir = format!("registry/submissions/{id}");
        s.write(
            &format!("{dir}/submission.yaml"),
            &format!(
                "system:\n  agent: \"mini\"\n  model: \"{model}\"\n  provider: \"{provider}\"\n"
            ),
        );
        s.write(&format!("{dir}/_stats/score.json"), &score.to_string());
        for (name, value) in stats {
            s.write(&format!("{dir}/_stats/{name}.json"), &value.to_string());
        }
    };
    let tests = |passed: usize, of: usize| -> Value {
        (0..of)
            .map(|i| (format!("b/t{i}"), json!(i < passed)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    entry(
        "01_a",
        "Model é",
        "OpenAI",
        json!({"o__b.2": tests(19, 20), "o__a.1": tests(20, 20)}),
        &[
            ("cost", json!({"o__a.1": 0.125, "o__b.2": 1})),
            ("calls", json!({"o__a.1": 3, "o__b.2": 4})),
            ("languages", json!({"o__a.1": "c"})),
        ],
    );
    entry(
        "02_b",
        "Other",
        "Nobody",
        json!({"o__a.1": tests(20, 20), "o__b.2": tests(19, 20)}),
        &[("tokens", json!({"o__a.1": 1000})), ("cost", json!({"o__a.1": 2.675}))],
    );
    entry(
        "03_old",
        "Legacy",
        "Anthropic",
        json!({"o__a.1": 1, "o__b.2": 0.9500000000000001, "o__c.3": 0.25}),
        &[],
    );
    entry("04_none", "Empty", "Meta", json!({}), &[]);
    s.write("registry/submissions/05_half/pointer.yaml", "submission_id: 05_half\n");
    s.write("registry/ignored_tests.json", r#"{"o__b.2": ["b/t19", "b/t3"], "o__a.1": []}"#);
}

/// What the registry's own script (as of efd5587) makes of [`registry`], byte for byte.
const LEADERBOARD: &str = r#"{
  "updated": "2026-08-23",
  "entries": [
    {
      "model": "Model \u00e9",
      "provider": "OpenAI",
      "logo": "openai.svg",
      "agent": "mini",
      "resolved": 1.0,
      "near_resolved": 1.0,
      "cost": 1.12,
      "calls": 7,
      "tokens": 0,
      "details": "data/details/01_a",
      "mean_score": 1.0
    },
    {
      "model": "Other",
      "provider": "Nobody",
      "logo": "",
      "agent": "mini",
      "resolved": 1.0,
      "near_resolved": 1.0,
      "cost": 2.67,
      "calls": 0,
      "tokens": 1000,
      "details": "data/details/02_b",
      "mean_score": 1.0
    },
    {
      "model": "Legacy",
      "provider": "Anthropic",
      "logo": "anthropic.svg",
      "agent": "mini",
      "resolved": 0.5,
      "near_resolved": 1.0,
      "cost": 0,
      "calls": 0,
      "tokens": 0,
      "details": "data/details/03_old",
      "mean_score": 1.1
    },
    {
      "model": "Empty",
      "provider": "Meta",
      "logo": "meta.svg",
      "agent": "mini",
      "resolved": 0.0,
      "near_resolved": 0.0,
      "cost": 0,
      "calls": 0,
      "tokens": 0,
      "details": "data/details/04_none",
      "mean_score": 0.0
    }
  ]
}"#;

#[test]
fn the_leaderboard_is_the_registrys_own() {
    let s = Scratch::new();
    registry(&s);
    let compile = || {
        s.reenact([
            "programbench",
            "leaderboard",
            "--registry",
            "registry",
            "-o",
            "site",
            "--updated",
            "2026-08-23",
        ])
    };
    let ran = compile();
    assert!(ran.stderr.contains("05_half"), "{}", ran.stderr);
    ran.expect(0);
    assert_eq!(s.read("site/data/leaderboard.json"), LEADERBOARD);
    assert_eq!(
        s.read("site/data/details/01_a/score.json"),
        "{\n  \"o__a.1\": 1.0,\n  \"o__b.2\": 1.0\n}"
    );
    assert_eq!(
        s.read("site/data/details/03_old/score.json"),
        "{\n  \"o__a.1\": 1,\n  \"o__b.2\": 0.9500000000000001,\n  \"o__c.3\": 0.25\n}"
    );
    let copied =
        |id: &str, name: &str| s.path(&format!("site/data/details/{id}/{name}.json")).exists();
    assert!(copied("01_a", "languages") && copied("02_b", "tokens") && !copied("02_b", "calls"));

    // A row that is to be skipped keeps its details, and gets its headline from them.
    s.write("registry/.compile_skip", "01_a # by hand\n\nnone\n");
    s.write("site/data/details/01_a/score.json", r#"{"o__a.1": 0.5}"#);
    compile().expect(0);
    let board = s.json("site/data/leaderboard.json");
    let row = board["entries"]
        .as_array()
        .unwrap()
        .iter()
        .find(|e| e["details"] == "data/details/01_a")
        .unwrap();
    assert_eq!(
        (&row["resolved"], &row["mean_score"], &row["cost"]),
        (&json!(0.0), &json!(0.2), &json!(1.12))
    );

    // Nothing is read through a link, which might lead anywhere.
    let link = s.path("registry/submissions/02_b/_stats/calls.json");
    std::os::unix::fs::symlink("/etc/passwd", link).unwrap();
    compile().fails(2, &["calls.json", "not followed"]);
}

/// A run directory as the official tool leaves it, over real tasks: passed, failing, erroring, timed out, not built, partly
/// ignored (with a branch that is gone, unlisted and repeated results); one submission that was not evaluated; one directory of
/// an unknown task.
fn official_run(s: &Scratch, tasks: &Path, run: &str) -> Vec<String> {
    let ids = [
        "abishekvashok__cmatrix.5c082c6",
        "antonmedv__walk.bf802ef",
        "ariga__atlas.6d81150",
        "bootandy__dust.62bf1e1",
        "cheat__cheat.b8098dc",
        "chmln__sd.87d1ba5",
        "jqlang__jq.b33a763",
    ];
    for (kind, id) in ids.iter().enumerate() {
        let text = std::fs::read_to_string(tasks.join(id).join("tests.json")).unwrap();
        // serde_json sorts the branches, and their order does not matter here.
        let data: Value = serde_json::from_str(&text).unwrap();
        let branches = data["branches"].as_object().unwrap();
        let names: Vec<&str> = branches.keys().map(String::as_str).collect();
        let mut results = Vec::new();
        let mut eval = eval_json(&names, Vec::new());
        for (b, (branch, info)) in branches.iter().enumerate() {
            let ignored: BTreeSet<&str> = info["ignored_tests"]
                .as_array()
                .unwrap()
                .iter()
                .map(|t| t["name"].as_str().unwrap())
                .collect();
            for (i, test) in info["tests"].as_array().unwrap().iter().enumerate() {
                let test = test.as_str().unwrap();
                let ok = json!({"time": 0.001 * i as f64 + 1e-7});
                let bad = json!({"time": 0.5, "message": format!("assert {i} == 'é\u{1f98a}'"), "text": "line 1\nline 2\u{1b}[0m"});
                let (status, extra) = match kind {
                    0 => ("passed", ok),
                    1 if i % 3 == 0 => ("failure", bad),
                    2 if i % 4 == 0 => ("error", bad),
                    2 if i % 4 == 1 => {
                        ("system_error", json!({"error_details": "Expected 1 result"}))
                    }
                    2 if i % 4 == 2 => ("skipped", json!({"message": "no terminal"})),
                    3 if b == 0 => ("not_run", json!({"error_code": "run_tests_failed"})),
                    4 => ("not_run", json!({"error_code": "compile_failed"})),
                    5 if ignored.contains(test) => ("failure", bad),
                    _ => ("passed", ok),
                };
                results.push(result(branch, test, status, extra));
            }
            if kind == 5 {
                results.push(result(
                    branch,
                    "eval.tests.unlisted.test_x",
                    "passed",
                    json!({"time": 1e16}),
                ));
                results.push(result("deadbeef0000", "eval.gone", "failure", json!({})));
            }
        }
        eval["test_results"] = results.into();
        match kind {
            2 => {
                eval["warnings"] = json!([format!(
                    "[{id}] branch {}: 3 test(s) in JUnit XML not in tests.json",
                    names[0]
                )])
            }
            3 => {
                eval["test_branch_errors"] =
                    json!({names[0]: [{"error_code": "run_tests_failed", "error_details": ""}]})
            }
            4 => {
                eval["error_code"] = json!("compile_failed");
                eval["error_details"] = json!("gcc: error");
                eval["executable_hash"] = Value::Null;
            }
            5 => {
                let with_gone: Vec<&str> = names.iter().copied().chain(["deadbeef0000"]).collect();
                eval["test_branches"] = json!(with_gone);
                eval["warnings"] = json!(["[x] branch deadbeef0000: gone"]);
            }
            _ => {}
        }
        put_eval(s, run, id, &eval);
        if kind == 6 {
            std::fs::remove_file(s.path(&format!("{run}/{id}/{id}.eval.json"))).unwrap();
        }
        s.write(&format!("{run}/{id}/submission.tar.gz"), "not looked into");
    }
    put_eval(
        s,
        run,
        "unknown__task.1",
        &eval_json(&["b"], vec![result("b", "x", "passed", json!({}))]),
    );
    s.write(&format!("{run}/unknown__task.1/submission.tar.gz"), "x");
    ids[..6].iter().map(|id| (*id).to_owned()).collect()
}

/// Both tools over the same runs.
struct Both {
    s: Scratch,
    lib: PathBuf,
}

impl Both {
    fn python(&self, program: &str, args: &[&str]) -> Ran {
        let mut python = Command::new("/usr/bin/python3");
        python.args(["-c", program]).args(args).current_dir(self.s.root());
        python
            .env("PYTHONPATH", &self.lib)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("COLUMNS", "400");
        Ran::from(python.output().unwrap())
    }

    fn theirs(&self, args: &[&str]) -> Ran {
        self.python("import sys; sys.argv[0] = 'programbench'; from programbench.cli.main import app; app()", args)
    }

    fn ours(&self, args: &[&str]) -> Ran {
        let mut ours = self.s.command();
        ours.arg("programbench").args(args);
        if args[0] == "info" || ["package", "verify"].contains(&args[1]) {
            ours.arg("--tasks").arg(self.lib.join("programbench"));
        }
        Ran::from(ours.output().unwrap())
    }

    /// Every file of a run, by path.
    fn files(&self, run: &str) -> BTreeMap<String, String> {
        let (root, mut files) = (self.s.path(run), BTreeMap::new());
        let mut todo = vec![root.clone()];
        while let Some(path) = todo.pop() {
            if path.is_dir() {
                todo.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            } else {
                let name = path.strip_prefix(&root).unwrap().display().to_string();
                files.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
        files
    }
}

const THEIR_SCORES: &str = "
import json, sys
from pathlib import Path
from programbench.eval.eval import EvaluationResult
from programbench.eval.eval_batch import InstanceEvalSummary
from programbench.utils.load_data import get_active_branches, get_ignored_tests, load_all_instances
instances = {i['instance_id']: i for i in load_all_instances()}
out = {}
for p in sorted(Path(sys.argv[1]).glob('*/*.eval.json')):
    result = EvaluationResult.model_validate_json(p.read_text())
    inst = instances.get(p.parent.name)
    if inst is not None:
        active = get_active_branches(inst)
        gone = {b for b in result.test_branches if b not in set(active)}
        result = result.for_branches(active).without_ignored(get_ignored_tests(inst))
        result.warnings = [w for w in result.warnings if not any(f'branch {b}' in w for b in gone)]
    s = InstanceEvalSummary.from_eval_result(p.parent.name, result)
    out[s.instance_id] = [s.n_resolved, s.n_tests, s.error_code, s.n_system_errors, s.n_warnings, s.test_branch_errors]
print(json.dumps(out))
";

const THEIR_MANIFEST: &str =
    "import json, sys, yaml; print(json.dumps([yaml.safe_load(open(p)) for p in sys.argv[1:]]))";

fn both() -> Option<(Both, Vec<String>)> {
    let Some(lib) = official_programbench() else {
        assert!(std::env::var_os("REENACT_REQUIRE_PIP").is_none(), "pip was to work");
        eprintln!("SKIPPED: programbench cannot be installed by pip here (no package index?)");
        return None;
    };
    let s = Scratch::new();
    let mut ids = Vec::new();
    for run in ["theirs/run", "ours/run", "plain/run"] {
        ids = official_run(&s, &lib.join("programbench/data/tasks"), run);
    }
    Some((Both { s, lib }, ids))
}

#[test]
fn all_tasks_of_the_real_package_import_with_the_known_totals() {
    let Some((both, _)) = both() else { return };
    let from = both.lib.join("programbench");
    let import = |more: &[&str]| -> Value {
        let mut import = both.s.command();
        import.args(["--json", "programbench", "import", "--from"]).arg(&from).args(more);
        serde_json::from_str(&Ran::from(import.output().unwrap()).expect(0)).unwrap()
    };
    let first = import(&[]);
    assert_eq!(first["made"], 200);
    assert_eq!(
        first["totals"],
        json!({"branches": 1832, "tests": 313_289, "ignored": 65_845, "active": 247_444})
    );
    let all = import(&["--fixture"]);
    assert_eq!((&all["made"], &all["unchanged"]), (&json!(1), &json!(200)));
    assert_eq!(
        all["totals"],
        json!({"branches": 1833, "tests": 313_292, "ignored": 65_845, "active": 247_447})
    );
    assert_eq!(all["source"]["programbench"], "1.2.5");
    let listed: Value = serde_json::from_str(
        &both.s.reenact(["--json", "task", "list", "--language", "go"]).expect(0),
    )
    .unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 46);
    for entry in std::fs::read_dir(from.join("data/tasks")).unwrap().flatten() {
        let id = entry.file_name().into_string().unwrap();
        for file in ["task.yaml", "tests.json"] {
            let theirs = std::fs::read(entry.path().join(file)).unwrap();
            assert_eq!(
                std::fs::read(both.s.path(&format!("tasks/{id}/{file}"))).unwrap(),
                theirs,
                "{id}/{file}"
            );
        }
    }
}

#[test]
fn the_official_tool_and_ours_score_alike() {
    let Some((both, ids)) = both() else { return };
    let theirs: Value =
        serde_json::from_str(&both.python(THEIR_SCORES, &["plain/run"]).expect(0)).unwrap();
    let ours: Value = {
        let mut info = both.s.command();
        info.args(["--json", "programbench", "info", "plain/run", "--tasks"])
            .arg(both.lib.join("programbench"));
        serde_json::from_str(&Ran::from(info.output().unwrap()).expect(0)).unwrap()
    };
    let rows = ours["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 8, "the one without results is there too");
    let mut scores = BTreeSet::new();
    for row in rows {
        let id = row["id"].as_str().unwrap();
        if row["standing"] == "not_evaluated" {
            assert_eq!(id, "jqlang__jq.b33a763");
            continue;
        }
        let official = &row["official"];
        let mine = json!([
            official["passed"],
            official["total"],
            row["error_code"],
            row["system_errors"],
            row["warnings"],
            row["branch_errors"]
        ]);
        assert_eq!(mine, theirs[id], "{id}");
        scores.insert(official["passed"].to_string());
    }
    assert!(scores.len() > 5, "scores of all kinds: {scores:?}");
    let table = both.theirs(&["info", "plain/run"]).expect(0);
    let average = (ours["average"].as_f64().unwrap() * 100.0).round();
    assert!(ids.iter().all(|id| table.contains(id)), "{table}");
    assert!(
        table.lines().any(|l| l.contains("Average") && l.contains(&format!(" {average} "))),
        "{average}: {table}"
    );
    // The official fixture results: 3 unlisted passes and 3 names not run are one half.
    let mut info = both.s.command();
    info.args(["--json", "programbench", "info"])
        .arg(both.lib.join("programbench/data/test_runs/correct"));
    info.arg("--tasks").arg(both.lib.join("programbench"));
    let fixture: Value =
        serde_json::from_str(&Ran::from(info.output().unwrap()).expect(0)).unwrap();
    assert_eq!(fixture["rows"][0]["official"], json!({"passed": 3, "total": 6}));
    assert_eq!(fixture["rows"][0]["listed"], json!({"passed": 0, "total": 3}));
}

#[test]
fn the_official_tool_and_ours_package_verify_and_recombine_each_others_runs() {
    let Some((both, ids)) = both() else { return };
    both.theirs(&["submit", "package", "theirs/run"]).expect(0);
    both.ours(&["submit", "package", "ours/run"]).expect(0);
    let (theirs, ours) = (both.files("theirs/run"), both.files("ours/run"));
    assert_eq!(theirs.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>());
    for (name, text) in &ours {
        // Same bytes, but for what has words of its own.
        if !["README.md", "submission.yaml"].contains(&name.as_str()) {
            assert!(*text == theirs[name], "{name} differs");
        }
        assert!(!text.contains(both.s.root().to_str().unwrap()), "{name} holds a local path");
    }
    let manifests = both
        .python(THEIR_MANIFEST, &["theirs/run/submission.yaml", "ours/run/submission.yaml"])
        .expect(0);
    let manifests: Value = serde_json::from_str(&manifests).unwrap();
    assert_eq!(manifests[0], manifests[1]);

    // Each verifies the other's, and notices what was changed.
    assert!(both.theirs(&["submit", "verify", "ours/run"]).expect(0).contains("PASS"));
    assert!(
        both.ours(&["submit", "verify", "theirs/run"]).expect(0).contains("6 of 6 checks hold")
    );
    let stats = both.s.read("ours/run/_stats/score.json");
    both.s.write("ours/run/_stats/score.json", &stats.replacen("false", "true", 1));
    assert!(both.theirs(&["submit", "verify", "ours/run"]).expect(1).contains("FAIL"));
    assert!(both.ours(&["submit", "verify", "ours/run"]).expect(1).contains("FAILED"));
    both.s.write("ours/run/_stats/score.json", &stats);

    // Each packages the other's again, and keeps what its author wrote.
    for run in ["theirs/run", "ours/run"] {
        let manifest = both.s.read(&format!("{run}/submission.yaml"));
        both.s.write(
            &format!("{run}/submission.yaml"),
            &manifest
                .replacen("\"TODO\"", "\"Zoë & Co <z@x>\"", 1)
                .replacen(": false", ": true", 1),
        );
    }
    let before = (both.files("theirs/run"), both.files("ours/run"));
    both.ours(&["submit", "package", "theirs/run"]).expect(0);
    both.theirs(&["submit", "package", "ours/run"]).expect(0);
    for (before, run) in [(before.0, "theirs/run"), (before.1, "ours/run")] {
        let mut after = both.files(run);
        assert_eq!(
            after.remove("submission.yaml").is_some(),
            before.contains_key("submission.yaml")
        );
        assert!(after.iter().all(|(name, text)| before[name] == *text), "{run} changed");
    }
    let manifests = both
        .python(THEIR_MANIFEST, &["theirs/run/submission.yaml", "ours/run/submission.yaml"])
        .expect(0);
    let manifests: Value = serde_json::from_str(&manifests).unwrap();
    assert_eq!(manifests[0], manifests[1]);
    assert_eq!(manifests[0]["submitter"]["name"], "Zoë & Co <z@x>");
    assert_eq!(manifests[0]["system"]["is_os_model"], true);
    both.ours(&["submit", "package", "ours/run"]).expect(0);
    assert!(!both.s.read("ours/run/submission.yaml").contains("ours/run\n"));

    // Each puts the other's together again, and nothing is lost.
    both.ours(&["submit", "recombine", "theirs/run"]).expect(0);
    both.theirs(&["submit", "recombine", "ours/run"]).expect(0);
    for id in &ids {
        let name = format!("{id}/{id}.eval.json");
        let bytes =
            [both.s.read(&format!("theirs/run/{name}")), both.s.read(&format!("ours/run/{name}"))];
        assert!(bytes[0] == bytes[1], "{name} differs");
        assert_eq!(
            both.s.json(&format!("ours/run/{name}")),
            both.s.json(&format!("plain/run/{name}"))
        );
        assert!(!both.s.path(&format!("ours/run/{id}/{id}.eval.log.json")).exists());
    }
}

#[test]
fn python_rounds_adds_and_writes_numbers_as_we_do() {
    // Sums of Python 3.12 and later and of earlier ones agree on these.
    let script = "
import json, sys
doc = json.loads(sys.stdin.read())
print(json.dumps([round(x, n) for x, n in doc['round']]))
print(json.dumps(doc['show']))
print(json.dumps(doc['text'], indent=2, sort_keys=True))
";
    let rounds: Vec<(f64, usize)> =
        (0..4000).map(|i| (f64::from(i) * 0.125 / 3.0_f64.powi(i % 3), (i % 4) as usize)).collect();
    let show = [0.1, 1e16, 1e-5, 123456789.125, 5e-324, 1e22, 100.0 / 3.0, -0.0];
    let text = json!({"é": "\u{1f98a}\u{7f}\n", "a": [1, {"b": []}], "B": "</x>"});
    let mut python = Command::new("python3");
    let doc = json!({"round": rounds, "show": show, "text": text}).to_string();
    python
        .args(["-c", script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut child = python.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), doc.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    use reenact_interop::programbench::python;
    let value = |text: &str| python::Value::parse(text).unwrap();
    let numbers =
        |list: &[f64]| python::Value::List(list.iter().map(|x| python::Value::Float(*x)).collect());
    let rounded: Vec<f64> = rounds.iter().map(|(x, n)| python::round(*x, *n)).collect();
    let ours = [
        numbers(&rounded).dumps(),
        numbers(&show).dumps(),
        value(&text.to_string()).sorted().dumps_indented(),
    ];
    assert_eq!(said, ours.join("\n") + "\n");
}
