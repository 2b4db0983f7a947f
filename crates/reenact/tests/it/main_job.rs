//! The main job: task, suite, agents, grading, showing, reporting.

use crate::support::*;

#[test]
fn a_program_becomes_a_task_and_agents_are_graded_on_it() {
    let s = Scratch::new();
    let id = s.sort_task();
    assert!(s.reenact(["task", "check", &id]).expect(0).contains("ok"));
    assert!(s.reenact(["task", "list"]).expect(0).contains(&id));
    let made = s
        .reenact(["suite", "generate", &id, "--cases", "60", "--budget", "60s", "--seed", "3"])
        .expect(0);
    assert_eq!(made.lines().last().unwrap().rsplit('/').next(), Some("suite"));
    assert!(s.reenact(["suite", "show", &id]).expect(0).contains("options"));
    let first = s.json_of(&["--json", "suite", "show", &id]);
    s.reenact(["suite", "generate", &id, "--cases", "60", "--budget", "60s", "--seed", "3"])
        .expect(0);
    let second = s.json_of(&["--json", "suite", "show", &id]);
    assert_eq!(first["digest"], second["digest"], "one seed, one suite: {first:#} {second:#}");
    let mut scores = Vec::new();
    for agent in ["null", "help", "memorizer", "reference"] {
        let run = format!("runs/{agent}");
        s.reenact(["run", &id, "--agent", agent, "-o", &run, "--probes", "80"]).expect(0);
        let graded = s.json_of(&["--json", "grade", &run]);
        let row = &graded["runs"][0]["summary"]["rows"][0];
        assert_eq!(row["outcome"], "graded", "{agent}: {graded}");
        scores.push(row["score"].as_f64().unwrap());
    }
    assert!(scores[0] <= 0.01, "null: {scores:?}");
    assert!(scores[1] <= 0.05, "help: {scores:?}");
    assert!(scores[2] > scores[1] && scores[2] < 1.0, "memorizer lies between: {scores:?}");
    assert!((scores[3] - 1.0).abs() < f64::EPSILON, "reference: {scores:?}");

    let failures = s.reenact(["show", "runs/null", &id, "--failed"]).expect(0);
    assert!(failures.contains("c-"), "{failures}");
    let (verdicts, _) = s.verdicts("runs/null", &id);
    let failing = &verdicts.iter().find(|(_, v)| v == "fail").unwrap().0;
    let shown = s.reenact(["show", "runs/null", &id, failing]).expect(0);
    assert!(shown.contains("executable") && shown.contains(failing), "{shown}");
    let page = s
        .reenact(["-q", "report", "runs/null", "runs/memorizer", "runs/reference", "-o", "r.html"])
        .expect(0);
    assert_eq!(page.trim(), "r.html");
    let html = std::fs::read_to_string(s.path("r.html")).unwrap();
    assert!(
        html.contains(&id) && html.contains(failing) && !html.contains("http-equiv=\"refresh\"")
    );
}

impl Scratch {
    fn json_of(&self, args: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.reenact(args).expect(0)).unwrap()
    }
}

#[test]
fn grading_again_runs_nothing_and_regrade_agrees() {
    let s = Scratch::new();
    let id = s.sort_suite(20);
    s.reenact(["run", &id, "--agent", "memorizer", "--probes", "10", "-o", "run"]).expect(0);
    s.reenact(["grade", "run"]).expect(0);
    let first = s.verdicts("run", &id);
    let journal = std::fs::read(s.path("run/journal.jsonl")).unwrap();
    s.reenact(["grade", "run"]).expect(0);
    assert_eq!(
        std::fs::read(s.path("run/journal.jsonl")).unwrap(),
        journal,
        "a finished grading is not repeated"
    );
    s.reenact(["regrade", "run"]).expect(0);
    assert_eq!(s.verdicts("run", &id), first);
    s.reenact(["grade", "run", "--force", "--workers", "1"]).expect(0);
    assert_eq!(s.verdicts("run", &id), first, "workers do not change verdicts");
}

#[test]
fn eval_json_is_programbenchs() {
    let s = Scratch::new();
    let id = s.sort_suite(10);
    s.reenact(["run", &id, "--agent", "null", "-o", "run"]).expect(0);
    s.reenact(["grade", "run"]).expect(0);
    let eval = s.json(&format!("run/{id}/{id}.eval.json"));
    let keys: Vec<&String> = eval.as_object().unwrap().keys().collect();
    for key in [
        "test_results",
        "error_code",
        "error_details",
        "log",
        "solution_branch",
        "test_branches",
        "test_branch_errors",
        "executable_hash",
        "warnings",
    ] {
        assert!(keys.iter().any(|k| *k == key), "{key} is missing: {keys:?}");
    }
    assert_eq!(keys.len(), 9, "extra keys are rejected by their reader: {keys:?}");
    let results = eval["test_results"].as_array().unwrap();
    assert_eq!(results.len(), s.verdicts("run", &id).0.len());
    assert!(
        results.iter().all(|r| r["status"] == "failure"
            && ["even", "odd"].contains(&r["branch"].as_str().unwrap()))
    );
}

#[test]
fn quiet_prints_the_path_alone_and_exit_codes_tell_checks() {
    let s = Scratch::new();
    let id = s.sort_suite(10);
    assert_eq!(s.reenact(["-q", "run", &id, "--agent", "null", "-o", "run"]).expect(0), "run\n");
    assert_eq!(s.reenact(["-q", "grade", "run"]).expect(0), "run\n");
    s.reenact(["-q", "grade", "run", "--fail-under", "0.5"]).expect(1);
    s.reenact(["task", "list", "docs"]).fails(4, &["no tasks"]);
}
