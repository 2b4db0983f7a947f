//! `reenact programbench eval` where there are results: what stays, what is tested again, and what may not be mixed.

use crate::programbench_eval::{ANSWERS, ID, NAMES, Stage, copies, shell, store};
use crate::support::*;
use serde_json::{Value, json};
use std::process::Command;

fn eval_json(run: &str) -> String {
    format!("{run}/{ID}/{ID}.eval.json")
}

fn archive(run: &str) -> String {
    format!("{run}/{ID}/submission.tar.gz")
}

/// Any of its commands, with its images and test archives.
fn programbench(stage: &Stage, args: &[&str]) -> Command {
    let mut command = stage.scratch.command();
    command.env("REENACT_IMAGES", store()).env("PROGRAMBENCH_BLOB_DIR", "blobs");
    command.arg("programbench").args(args).args(["--tasks", "tasks"]);
    command
}

fn ran(mut command: Command) -> Ran {
    Ran::from(command.output().unwrap())
}

fn answers() -> Stage {
    let stage = Stage::new(&[("b1", &NAMES)]);
    stage.blob("b1", "", ANSWERS);
    stage
}

#[test]
fn results_stay_where_the_submission_is_not() {
    let stage = answers();
    let s = &stage.scratch;
    stage.submission("run", &[copies(), shell("echo $1")]);
    stage.eval(&["run"]).expect(0);
    let before = s.read(&eval_json("run"));
    // As after `submit package --upload-to`.
    std::fs::remove_file(s.path(&archive("run"))).unwrap();
    s.write(&format!("{}.url", archive("run")), "https://127.0.0.1:9/submission.tar.gz");
    for more in [&["run"][..], &["run", "--force"]] {
        let said = stage.eval(more);
        assert!(said.stderr.contains("its submission.tar.gz is not here"), "{}", said.stderr);
        assert!(said.expect(0).contains("10/10 100.00%"));
        assert_eq!(s.read(&eval_json("run")), before);
    }
    assert_eq!(stage.scores("run"), ("10/10".into(), "10/10".into()));
    // Without a result nothing is made up, and it is told.
    for (run, file) in [("url", "submission.tar.gz.url"), ("git", "submission.ref.yaml")] {
        s.write(&format!("{run}/{ID}/{file}"), "x");
        stage.eval(&[run]).fails(2, &[file, "kept elsewhere", "--tier1"]);
        stage.eval(&["run", "-o", "out"]).fails(2, &["kept elsewhere"]);
        assert!(!s.path(&eval_json(run)).exists() && !s.path(&eval_json("out/run")).exists());
    }
}

#[test]
fn a_kill_between_the_two_files_means_another_evaluation() {
    let stage = answers();
    let s = &stage.scratch;
    stage.submission("run", &[copies(), shell("echo 3")]);
    stage.eval(&["run"]).expect(0);
    let old = s.read(&eval_json("run"));
    stage.submission("run", &[copies(), shell("echo $1")]);
    stage.eval(&["run"]).expect(0);
    let sidecar = format!("run/{ID}/{ID}.reenact.json");
    let new = s.json(&sidecar);
    assert_eq!(new.get("unfinished"), None);
    let mut cut = new.clone();
    cut["unfinished"] = json!(true);
    // The last: another tool's result, of the same submission.
    for state in [cut, new] {
        s.write(&eval_json("run"), &old);
        s.write(&sidecar, &state.to_string());
        let shown = stage.eval(&["run", "--summarize-only"]);
        assert!(shown.stderr.contains("no strict score: "), "{}", shown.stderr);
        assert!(shown.expect(0).contains("1/10 10.00%"));
        let said = stage.eval(&["run"]);
        assert!(said.stderr.contains("evaluated anew"), "{}", said.stderr);
        said.expect(0);
        assert_eq!(stage.scores("run"), ("10/10".into(), "10/10".into()));
    }
}

#[test]
fn branches_stay_only_beside_what_was_made_alike_and_packaging_again_keeps_their_log() {
    let names = ["eval.tests.test_m.test_a"];
    let stage = Stage::new(&[("b1", &names), ("b2", &names)]);
    let s = &stage.scratch;
    let fine = || stage.blob("b2", "", "def test_a(): pass\n");
    let broken = || {
        let run = "#!/bin/bash\ntrue\n".to_owned();
        stage.archive("b2", &[("eval/run.sh", 0o755, run)]);
    };
    let walls = || {
        let branches = stage.sidecar("run")["branches"].clone();
        ["b1", "b2"].map(|b| branches[b]["wall_s"].to_string())
    };
    // Of how many evaluations there is something left.
    let builds = || {
        let log = stage.official("run")["log"].clone();
        log.as_array().unwrap().iter().filter(|e| e["step"] == "compile").count()
    };
    stage.blob("b1", "", "def test_a():\n    print('said by b1')\n    assert 0\n");
    broken();
    stage.submission("run", &[copies(), shell("true")]);
    let eval = |more: &[&str]| stage.eval(&[&["run", "--branch-retries", "0"], more].concat());
    eval(&[]).expect(0);
    assert_eq!(stage.scores("run"), ("0/2".into(), "0/2".into()));
    let first = walls();
    // Packaged, tested again in part, and packaged again.
    ran(programbench(&stage, &["submit", "package", "run"])).expect(0);
    let log = s.path(&format!("run/{ID}/{ID}.eval.log.json"));
    assert!(log.exists());
    fine();
    eval(&[]).expect(0);
    assert_eq!(stage.scores("run"), ("1/2".into(), "1/2".into()));
    let second = walls();
    assert!(first[0] == second[0] && first[1] != second[1], "{first:?} {second:?}");
    assert!(!log.exists(), "the log is whole again, and in its place");
    let whole = stage.official("run");
    assert!(whole.to_string().contains("said by b1"));
    assert_eq!(builds(), 2);
    ran(programbench(&stage, &["submit", "package", "run"])).expect(0);
    s.reenact(["programbench", "submit", "recombine", "run"]).expect(0);
    assert_eq!(stage.official("run"), whole);
    // Other settings: nothing stays.
    broken();
    eval(&["--force"]).expect(0);
    fine();
    let said = eval(&["--accept-aliases"]);
    assert!(said.stderr.contains("with other settings: evaluated anew"), "{}", said.stderr);
    said.expect(0);
    assert_eq!(builds(), 1);
    // Another executable from the same submission: neither.
    let random =
        "#!/bin/sh\n(echo '#!/bin/sh'; echo \"# $(od -An -N8 -tx1 /dev/urandom)\") > executable\n";
    stage.submission("run", &[("compile.sh", 0o755, random.to_owned())]);
    broken();
    eval(&[]).expect(0);
    fine();
    let said = eval(&[]);
    assert!(said.stderr.contains("another executable than before"), "{}", said.stderr);
    said.expect(0);
    assert_eq!(builds(), 1);
}

#[test]
fn both_scores_follow_todays_lists() {
    let stage = answers();
    stage.submission("run", &[copies(), shell("echo 3")]);
    stage.eval(&["run"]).expect(0);
    let ignored: Vec<Value> =
        NAMES[4..].iter().map(|n| json!({"name": n, "reasons": []})).collect();
    let lists = json!({"branches": {"b1": {"tests": NAMES, "ignored_tests": ignored}}});
    let before = stage.scratch.read(&format!("tasks/{ID}/tests.json"));
    stage.scratch.write(&format!("tasks/{ID}/tests.json"), &lists.to_string());
    let info = ran(programbench(&stage, &["info", "run"])).expect(0);
    assert_eq!(info.lines().nth(1).unwrap().matches("25.0 %").count(), 2, "{info}");
    let table = stage.eval(&["run", "--summarize-only"]).expect(0);
    assert_eq!(table.matches("1/4 25.00%").count(), 2, "{table}");
    stage.scratch.write(&format!("tasks/{ID}/tests.json"), &before);
    let table = stage.eval(&["run", "--summarize-only"]).expect(0);
    assert_eq!(table.matches("1/10 10.00%").count(), 2, "{table}");
}

#[test]
fn test_archives_are_those_that_were_asked_for() {
    let stage = answers();
    let s = &stage.scratch;
    stage.submission("run", &[copies(), shell("echo $1")]);
    let attached = s.path(&format!("tasks/{ID}/tests/b1.tar.gz"));
    std::fs::create_dir_all(attached.parent().unwrap()).unwrap();
    let blob = s.path(&format!("blobs/{ID}/tests/b1.tar.gz"));
    std::fs::copy(&blob, &attached).unwrap();
    std::fs::create_dir(s.path("others")).unwrap();
    let eval = |dir: &str| {
        let mut command = programbench(&stage, &["eval", "run", "--force"]);
        ran({
            command.env("PROGRAMBENCH_BLOB_DIR", dir);
            command
        })
    };
    eval("others").fails(2, &["1 of 1 test archives are missing", &format!("others/{ID}/tests")]);
    eval("nowhere").fails(2, &["PROGRAMBENCH_BLOB_DIR nowhere: no such directory"]);
    // Empty is unset.
    assert!(eval("").expect(0).contains("10/10"));
    s.write("package/data/tasks/o__a.1/task.yaml", "repository: o/a\ncommit: a\nlanguage: c\n");
    s.write("package/data/tasks/o__a.1/tests.json", r#"{"branches": {"b": {"tests": ["x"]}}}"#);
    let mut import = s.command();
    import.env("PROGRAMBENCH_BLOB_DIR", "").args(["programbench", "import", "--from", "package"]);
    ran(import).expect(0);
    // Cut short, and no archive at all.
    let whole = std::fs::read(&blob).unwrap();
    for bad in [&whole[..whole.len() / 2], b"not gzip"] {
        std::fs::write(&blob, bad).unwrap();
        stage.eval(&["run", "--force"]).fails(2, &[&format!("blobs/{ID}/tests/b1.tar.gz")]);
    }
    assert_eq!(stage.scores("run").0, "10/10", "what was stored stays");
}

#[test]
fn tier_1_checks_every_task_that_it_can() {
    let stage = answers();
    let s = &stage.scratch;
    stage.submission("run", &[copies(), shell("echo $1")]);
    stage.eval(&["run"]).expect(0);
    // A task that no image is here for.
    let other = "reenact__imageless.0000000";
    s.write(&format!("tasks/{other}/task.yaml"), "repository: o/a\ncommit: a\nlanguage: c\n");
    s.write(&format!("tasks/{other}/tests.json"), &s.read(&format!("tasks/{ID}/tests.json")));
    s.write(&format!("run/{other}/{other}.eval.json"), &s.read(&eval_json("run")));
    let here = s.path(&format!("run/{other}/submission.tar.gz"));
    std::fs::copy(s.path(&archive("run")), &here).unwrap();
    for dir in [ID, other] {
        let tests = s.path(&format!("tasks/{dir}/tests"));
        std::fs::create_dir_all(&tests).unwrap();
        let blob = s.path(&format!("blobs/{ID}/tests/b1.tar.gz"));
        std::fs::copy(blob, tests.join("b1.tar.gz")).unwrap();
    }
    let verify = || {
        let mut command = programbench(&stage, &["submit", "verify", "--tier1", "run"]);
        command.env_remove("PROGRAMBENCH_BLOB_DIR");
        ran(command)
    };
    let found = verify().expect(3);
    assert!(found.contains(&format!("NOT DONE  {other}")), "{found}");
    assert!(found.contains("1 of 2 checks hold: not wholly checked"), "{found}");
    // A submission with other bytes than it says is a check that failed.
    s.write(&format!("{}.sha256", here.display()), &"0".repeat(64));
    let found = verify().expect(1);
    assert!(found.contains(&format!("FAILED  {other}")), "{found}");
    assert!(found.contains("1 of 2 checks hold: NOT consistent"), "{found}");
}
