//! Other people's formats, by the real binary: reports out of `grade`, tasks for Harbor and its jobs back, trajectories in.

use crate::command_agent::mini_swe_agent;
use crate::support::*;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const JOB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/testdata/harbor-job");
const MINI: &str =
    include_str!("../../../reenact-interop/src/trajectory/testdata/mini-swe-agent-2.4.6.traj.json");

/// A run of `sort` rebuilt backwards in Perl: some cases pass, some fail.
fn graded_run(s: &Scratch, id: &str, more: &[&str]) {
    s.reenact(["run", id, "--agent", "null", "-o", "run"]).expect(0);
    pack(s, &format!("run/{id}/submission.tar.gz"));
    s.reenact([&["grade", "run"], more].concat()).expect(0);
}

/// Two files that make the program.
fn workspace(s: &Scratch, dir: &str) {
    s.write(&format!("{dir}/program"), "#!/usr/bin/perl\nprint reverse sort <STDIN>;\n");
    s.write(&format!("{dir}/compile.sh"), "cp program executable\nchmod 755 executable\n");
}

fn pack(s: &Scratch, to: &str) {
    workspace(s, "work");
    let file = std::fs::File::create(s.path(to)).unwrap();
    let mut tar =
        tar::Builder::new(flate2::write::GzEncoder::new(file, flate2::Compression::fast()));
    tar.append_dir_all(".", s.path("work")).unwrap();
    tar.into_inner().unwrap().finish().unwrap();
}

/// The result's score and the digest over its verdicts.
fn verdict(s: &Scratch, path: &str) -> (f64, String) {
    let result = s.json(path);
    (result["score"].as_f64().unwrap(), result["verdicts_digest"].as_str().unwrap().to_owned())
}

/// Installs a package for the host's Python. `None`: there is no package index here.
fn pip(package: &str) -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(package.replace("==", "-"));
    if dir.join("installed").exists() {
        return Some(dir);
    }
    let pip = Command::new("pip3")
        .args(["--python", "/usr/bin/python3", "--disable-pip-version-check", "install", "-q"])
        .args(["--only-binary", ":all:", "--upgrade", "--target"])
        .arg(&dir)
        .arg(package)
        .output();
    if pip.is_ok_and(|output| output.status.success()) {
        std::fs::write(dir.join("installed"), "").unwrap();
        return Some(dir);
    }
    let required = std::env::var_os("REENACT_REQUIRE_PIP").is_some();
    assert!(!required, "{package} cannot be installed by pip, though REENACT_REQUIRE_PIP says so");
    eprintln!("SKIPPED: {package} cannot be installed by pip here (no package index?)");
    None
}

fn python(lib: &Path, script: &str, args: &[&Path]) -> String {
    let output = Command::new("/usr/bin/python3")
        .args(["-c", script])
        .args(args)
        .env("PYTHONPATH", lib)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    Ran::from(output).expect(0)
}

#[test]
fn grade_and_export_write_the_same_reports() {
    let s = Scratch::new();
    let id = s.sort_suite(20);
    graded_run(&s, &id, &["--junit", "out/j.xml", "--ctrf", "out/c.json"]);
    let result = s.json(&format!("run/{id}/{id}.reenact.json"));
    let ctrf = s.json("out/c.json");
    assert_eq!(ctrf["reportFormat"], "CTRF");
    let summary = &ctrf["results"]["summary"];
    for (theirs, ours) in [("tests", "total"), ("passed", "passed"), ("failed", "failed")] {
        assert_eq!(summary[theirs], result[ours], "{theirs}");
    }
    assert!(result["passed"].as_u64() > Some(0) && result["failed"].as_u64() > Some(0));
    let (start, stop) = (summary["start"].as_i64().unwrap(), summary["stop"].as_i64().unwrap());
    assert!(start > 0 && stop >= start);
    assert_eq!(ctrf["results"]["extra"]["tasks"][0]["score"], result["score"]);
    let groups: Vec<&Value> =
        ctrf["results"]["tests"].as_array().unwrap().iter().map(|t| &t["suite"]).collect();
    assert!(groups.contains(&&json!([id, "even"])) && groups.contains(&&json!([id, "odd"])));

    s.reenact(["export", "junit", "run", "-o", "j2.xml"]).expect(0);
    assert_eq!(s.read("j2.xml"), s.read("out/j.xml"));
    let printed = s.reenact(["export", "ctrf", "run", "--only", &id]).expect(0);
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), ctrf);
    s.reenact(["export", "junit", "run", "--only", "x"])
        .fails(2, &["no result of task \"x\"", &id]);
    s.reenact(["export", "junit", "nowhere"]).fails(2, &["nowhere"]);

    let Some(lib) = pip("junitparser==5.0.3") else { return };
    let told = python(
        &lib,
        "import sys, junitparser, json\n\
         xml = junitparser.JUnitXml.fromfile(sys.argv[1])\n\
         cases = [case for suite in xml for case in suite]\n\
         print(json.dumps([xml.tests, xml.failures, xml.errors, sorted({c.classname for c in cases}),\n\
         sum(not c.result for c in cases), all(c.time >= 0 for c in cases), [suite.name for suite in xml]]))",
        &[&s.path("out/j.xml")],
    );
    let told: Value = serde_json::from_str(&told).unwrap();
    let want = json!([20, result["failed"], 0, ["even", "odd"], result["passed"], true, [id]]);
    assert_eq!(told, want);
}

/// The exported task's own test script, run on this machine, then its verdict brought back as Harbor would leave it.
#[test]
fn a_task_for_harbor_grades_as_we_do_and_its_verdict_comes_back() {
    let s = Scratch::new();
    let id = s.sort_suite(20);
    graded_run(&s, &id, &[]);
    let (score, digest) = verdict(&s, &format!("run/{id}/{id}.reenact.json"));
    assert!(score > 0.0 && score < 1.0, "{score}");

    s.reenact(["export", "harbor", &id, "-o", "harbor"]).expect(0);
    s.reenact(["export", "harbor", &id, "-o", "harbor"]).fails(2, &["--force"]);
    s.reenact(["export", "harbor", &id, "-o", "harbor", "--force"]).expect(0);
    let refused = |more: [&str; 2], part: &str| {
        s.reenact([["export", "harbor", &id, "-o", "no"].as_slice(), &more].concat())
            .fails(2, &[part]);
        assert!(!s.path("no").exists());
    };
    refused(["--reenact-bin", "docs/sort.txt"], "is no 64-bit ELF program");
    refused(["--base", "debian:12\nRUN x"], "is no image's name");
    refused(["--packages", "gcc;x"], "is no package's name");
    refused(["--org", "../x"], "is no organisation's name");
    let toml: toml::Table = s.read(&format!("harbor/{id}/task.toml")).parse().unwrap();
    assert_eq!(toml["verifier"]["environment_mode"].as_str(), Some("separate"));
    assert_eq!(toml["metadata"]["cases"].as_integer(), Some(20));
    let docker = s.read(&format!("harbor/{id}/environment/Dockerfile"));
    assert!(docker.contains("--chmod=0111 reference") && docker.contains("/usr/bin/sort"));
    assert!(!s.path(&format!("harbor/{id}/environment/suite")).exists());
    assert!(!s.path(&format!("harbor/{id}/tests/task/{id}/sealed/provenance.toml")).exists());

    workspace(&s, "agent-work");
    std::os::unix::fs::symlink("/opt/original/program", s.path("agent-work/executable")).unwrap();
    let test = |workspace: &str, logs: &str| {
        let script = s.path(&format!("harbor/{id}/tests/test.sh"));
        let mut run = s.command();
        run.env("REENACT_WORKSPACE", s.path(workspace)).env("REENACT_LOGS", s.path(logs));
        // Command's own program is the binary under test: the script comes in its place.
        let mut shell = Command::new("/bin/sh");
        shell.arg(script).current_dir(s.root());
        for (name, value) in run.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        Ran::from(shell.output().unwrap())
    };
    test("agent-work", "job/trial/verifier").expect(0);
    let reward = s.json("job/trial/verifier/reward.json");
    assert_eq!(reward["reward"].as_f64(), Some(score), "{reward}");
    assert_eq!((reward["n_tests"].as_u64(), reward["resolved"].as_u64()), (Some(20), Some(0)));
    assert!(reward.as_object().unwrap().values().all(Value::is_number), "{reward}");
    assert_eq!(verdict(&s, &format!("job/trial/verifier/{id}.reenact.json")).1, digest);

    // Nothing was brought: no verdict, and none from before.
    let none = test("nowhere", "job/trial/verifier");
    assert_eq!(none.code, Some(3), "{}", none.stderr);
    assert!(!s.path("job/trial/verifier/reward.json").exists());

    // What Harbor makes of it, and back.
    test("agent-work", "job/trial/verifier").expect(0);
    let trial = json!({"task_name": format!("reenact/{id}"), "trial_name": "trial",
        "agent_info": {"name": "someone", "version": "1"},
        "verifier_result": {"rewards": s.json("job/trial/verifier/reward.json")}});
    s.write("job/trial/result.json", &trial.to_string());
    s.reenact(["import", "harbor", "job", "-o", "back"]).expect(0);
    let back = verdict(&s, &format!("back/{id}/{id}.reenact.json"));
    assert!((back.0 - score).abs() < 1e-9 && back.1 == digest, "{back:?}");
}

#[test]
fn a_harness_failure_gives_no_reward() {
    let s = Scratch::new();
    let id = s.sort_suite(5);
    graded_run(&s, &id, &[]);
    let file = format!("run/{id}/{id}.reenact.json");
    s.reenact(["export", "reward", "run", &id, "-o", "reward.json"]).expect(0);
    let spoiled = s.read(&file).replace("\"outcome\":\"graded\"", "\"outcome\":\"sandbox_failed\"");
    s.write(&file, &spoiled);
    std::fs::remove_file(s.path("reward.json")).unwrap();
    s.reenact(["export", "reward", "run", &id, "-o", "reward.json"])
        .fails(3, &["sandbox_failed is no score"]);
    assert!(!s.path("reward.json").exists());
    let xml = s.reenact(["export", "junit", "run"]).expect(0);
    assert!(xml.contains("errors=\"1\"") && xml.contains("type=\"sandbox_failed\""), "{xml}");
}

#[test]
fn a_job_of_harbors_is_shown_with_typed_outcomes() {
    let s = Scratch::new();
    s.reenact(["import", "harbor", JOB, "-o", "in"]).expect(0);
    let first = |id: &str| s.json(&format!("in/attempt-1/{id}/{id}.reenact.json"));
    for (id, outcome, score) in [
        ("crate__hexyl.0.17.0", "graded", 0.75),
        ("org__budget", "agent_exhausted_budget", 0.5),
        ("org__broken", "sandbox_failed", 0.0),
        ("org__hello-world", "harness_failed", 0.0),
        ("org__steps", "graded", 1.0),
    ] {
        let result = first(id);
        assert_eq!(result["outcome"], outcome, "{id}");
        assert_eq!(result["score"].as_f64(), Some(score), "{id}");
    }
    let again = s.json("in/attempt-2/crate__hexyl.0.17.0/crate__hexyl.0.17.0.reenact.json");
    assert_eq!((again["outcome"].as_str(), again["score"].as_f64()), (Some("graded"), Some(0.0)));
    let manifest: toml::Table = s.read("in/attempt-1/run.toml").parse().unwrap();
    assert_eq!(manifest["settings"]["model"].as_str(), Some("anthropic/claude-x"));
    let work = &manifest["tasks"]["crate__hexyl.0.17.0"]["work"];
    assert_eq!(work["cost_usd"].as_float(), Some(0.125));
    assert_eq!(work["tokens"]["cached_input"].as_integer(), Some(400));
    assert_eq!(work["steps"].as_integer(), Some(1));
    let atif = ["trajectory", "export", "in/attempt-1", "crate__hexyl.0.17.0"];
    let atif: Value = serde_json::from_str(&s.reenact(atif).expect(0)).unwrap();
    assert_eq!(atif["agent"]["name"], "terminus-2");

    let shown = s.reenact(["show", "in/attempt-1", "crate__hexyl.0.17.0", "--failed"]).expect(0);
    assert!(shown.contains("case-0") && !shown.contains('\u{1b}'), "{shown}");
    let shown = s.reenact(["show", "in/attempt-1", "org__broken"]).expect(0);
    assert!(shown.contains("sandbox_failed") && shown.contains("no start"), "{shown}");
    let report = s.reenact(["report", "in/attempt-1", "in/attempt-2", "-o", "r.html"]);
    assert_eq!(report.stderr.matches("error:").count(), 0, "{}", report.stderr);
    report.expect(0);
    assert!(s.read("r.html").contains("agent_exhausted_budget"));
    let marks = s.json("in/import.json");
    assert!(marks["notes"][0].as_str().unwrap().contains("running__ggggggg"), "{marks}");
    s.reenact(["import", "harbor", JOB, "-o", "in"]).fails(2, &["--force"]);
    s.reenact(["import", "harbor", JOB, "-o", "in", "--force"]).expect(0);
}

#[test]
fn bad_jobs_are_one_clear_error_each() {
    let s = Scratch::new();
    s.reenact(["import", "harbor", "nowhere", "-o", "in"])
        .fails(2, &["nowhere: no such directory"]);
    std::fs::create_dir(s.path("empty")).unwrap();
    s.reenact(["import", "harbor", "empty", "-o", "in"]).fails(4, &["no trial with a result"]);
    s.write("bad/t/result.json", "{\"task_name\": 7}");
    s.reenact(["import", "harbor", "bad", "-o", "in"]).fails(2, &["result.json", "`task_name`"]);
    // One broken trial among others is left out by name, and the exit code tells.
    s.write("bad/ok/result.json", "{\"task_name\": \"x\"}");
    std::os::unix::fs::symlink(format!("{JOB}/org"), s.path("bad/ok/agent")).unwrap();
    std::fs::create_dir_all(s.path("bad/ok/verifier")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", s.path("bad/ok/verifier/ctrf.json")).unwrap();
    s.reenact(["import", "harbor", "bad", "-o", "in"]).expect(1);
    let notes = s.read("in/import.json");
    for part in ["task_name", "ctrf.json: is no plain file", "agent: is no directory"] {
        assert!(notes.contains(part), "{part}: {notes}");
    }
    assert_eq!(s.json("in/x/x.reenact.json")["outcome"], "harness_failed");
    s.write("mine/precious", "x");
    s.reenact(["import", "harbor", JOB, "-o", "mine", "--force"]).fails(2, &["is no import"]);
    assert!(s.path("mine/precious").exists());
}

#[test]
fn a_run_of_mini_swe_agent_comes_in_and_goes_out_equal() {
    let s = Scratch::new();
    let id = s.sort_suite(20);
    let mut document: Value = serde_json::from_str(MINI).unwrap();
    document["instance_id"] = json!(id);
    s.write(
        &format!("theirs/{id}/{id}.traj.json"),
        &serde_json::to_string_pretty(&document).unwrap(),
    );
    pack(&s, &format!("theirs/{id}/submission.tar.gz"));
    s.write("theirs/minisweagent.log", "");
    s.reenact(["import", "mini", "theirs", "-o", "in", "--tasks", "tasks"]).expect(0);
    s.reenact(["trajectory", "export", "in", &id, "--format", "mini", "-o", "out.json"]).expect(0);
    let mut out = s.json("out.json");
    assert!(out.as_object_mut().unwrap().remove("reenact").is_some());
    assert_eq!(out, document);
    let manifest: toml::Table = s.read("in/run.toml").parse().unwrap();
    let task = &manifest["tasks"][&id];
    assert_eq!(task["agent_outcome"].as_str(), Some("submitted"));
    assert_eq!(task["work"]["exit_status"].as_str(), Some("Submitted"));
    assert_eq!(task["work"]["tokens"]["cached_input"].as_integer(), Some(150));
    // With its task known, the submission is graded like any other.
    s.reenact(["grade", "in"]).expect(0);
    assert!(verdict(&s, &format!("in/{id}/{id}.reenact.json")).0 > 0.0);
    s.reenact(["show", "in", &id, "--failed"]).expect(0);

    // A lone file; a torn one; two agents; bad names.
    let file = format!("theirs/{id}/{id}.traj.json");
    s.reenact(["import", "mini", &file, "-o", "lone"]).expect(0);
    assert!(s.path(&format!("lone/{id}/submission.tar.gz")).is_file(), "a runner's directory");
    // As its writer saves it after every step, and killed while it did.
    let text = MINI.replace("\"exit_status\": \"Submitted\"", "\"exit_status\": \"\"");
    let cut = text.find("\"role\": \"exit\"").unwrap();
    s.write("torn.traj.json", &text[..cut]);
    s.reenact(["import", "mini", "torn.traj.json", "-o", "torn"]).expect(0);
    let manifest = s.read("torn/run.toml");
    assert!(manifest.contains("[tasks.torn]") && manifest.contains("\"cancelled\""), "{manifest}");
    document["instance_id"] = json!("../x");
    s.write("odd.traj.json", &document.to_string());
    s.reenact(["import", "mini", "odd.traj.json", "-o", "odd"]).fails(2, &["is no task id"]);
    s.reenact(["import", "mini", &file, &file, "-o", "twice"]).expect(1);
    s.write("junk.traj.json", "{}");
    s.reenact(["import", "mini", "junk.traj.json", "-o", "junk"]).fails(2, &["`messages`"]);
    s.reenact(["import", "mini", "docs", "-o", "junk"]).fails(4, &["no trajectories"]);
}

/// Three agents of the installed package: one submits, one runs out of steps, one dies of an exception.
const THREE: &str = r#"
import sys
from pathlib import Path
from minisweagent.agents.default import DefaultAgent
from minisweagent.environments.local import LocalEnvironment
from minisweagent.models.test_models import DeterministicToolcallModel, make_toolcall_output
def agent(name, commands, limit=0):
    outputs = [make_toolcall_output("say", [{"id": f"c{i}", "type": "function", "function": {"name": "bash", "arguments": "{}"}}],
               [{"command": c, "tool_call_id": f"c{i}"}]) for i, c in enumerate(commands)]
    path = Path(sys.argv[1]) / name / f"{name}.traj.json"
    a = DefaultAgent(DeterministicToolcallModel(outputs=outputs), LocalEnvironment(), system_template="s",
                     instance_template="{{task}}", step_limit=limit, cost_limit=0, output_path=path)
    try:
        a.run("t")
    except Exception:
        pass
agent("done", ["printf 'a\\tb\\033'", "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"])
agent("limit", ["true", "true"], limit=1)
agent("boom", ["true"])
"#;

#[test]
fn trajectories_that_the_real_mini_swe_agent_wrote_come_in_with_typed_ends() {
    let Some(agent) = (0..3).find_map(|_| mini_swe_agent()) else {
        assert!(std::env::var_os("REENACT_REQUIRE_PIP").is_none(), "pip was to work");
        eprintln!("SKIPPED: mini-swe-agent cannot be installed by pip here (no package index?)");
        return;
    };
    let s = Scratch::new();
    let script = format!("import os\nos.environ['MSWEA_CONFIGURED'] = 'true'\n{THREE}");
    python(&agent.join("lib"), &script, &[&s.path("theirs")]);
    s.reenact(["import", "mini", "theirs", "-o", "in"]).expect(0);
    let manifest: toml::Table = s.read("in/run.toml").parse().unwrap();
    for (id, outcome, status) in [
        ("done", "submitted", "Submitted"),
        ("limit", "exhausted_budget", "LimitsExceeded"),
        ("boom", "failed", "IndexError"),
    ] {
        let task = &manifest["tasks"][id];
        let told = (task["agent_outcome"].as_str(), task["work"]["exit_status"].as_str());
        assert_eq!(told, (Some(outcome), Some(status)), "{id}");
        s.reenact(["trajectory", "export", "in", id, "--format", "mini", "-o", "out.json"])
            .expect(0);
        let (mut out, theirs) =
            (s.json("out.json"), s.json(&format!("theirs/{id}/{id}.traj.json")));
        let root = out.as_object_mut().unwrap();
        root.remove("reenact");
        root.remove("instance_id");
        assert_eq!(out, theirs, "{id}");
        s.reenact(["trajectory", "export", "in", id, "--format", "atif"]).expect(0);
    }
    let mode = s.path("in").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
}
