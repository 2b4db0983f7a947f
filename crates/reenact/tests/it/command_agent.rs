//! `command:CMD`: agent programs that nobody here wrote, in a cleanroom, with a scripted model at the other end of the relay.

use crate::support::*;
use reenact_testkit::{Fault, ScriptedModel, Turn};
use std::path::{Path, PathBuf};
use std::process::Command;

const KEY: &str = "sk-command-agent-0123456789abcdef";

/// Writes a program that sorts lines backwards, as a careless agent would.
const WORK: &str = "mkdir -p /workspace/src && cd /workspace && \
    printf '#!/usr/bin/perl\\nprint reverse sort <STDIN>;\\n' > src/program && \
    printf '#!/bin/sh\\nset -e\\ncp src/program executable\\nchmod 755 executable\\n' > compile.sh && echo written";

struct Stage {
    scratch: Scratch,
    task: String,
}

impl Stage {
    fn new() -> Self {
        let scratch = Scratch::new();
        let task = scratch.sort_suite(20);
        Self { scratch, task }
    }

    fn run(&self, model: &ScriptedModel, api: &str, command: &str, more: &[&str]) -> Ran {
        let agent = format!("command:{command}");
        let (name, url) = (format!("{api}/scripted"), model.base_url());
        let mut run = self.scratch.command();
        run.env("OPENAI_API_KEY", KEY).env("ANTHROPIC_API_KEY", KEY);
        run.args(["run", &self.task, "--agent", &agent, "--model", &name, "--base-url", &url]);
        run.args(["-o", "run"]).args(more);
        Ran::from(run.output().unwrap())
    }

    fn file(&self, name: &str) -> String {
        self.scratch.read(&format!("run/{}/{name}", self.task))
    }

    fn trajectory(&self) -> serde_json::Value {
        serde_json::from_str(&self.file(&format!("{}.traj.json", self.task))).unwrap()
    }

    fn score(&self, outcome: &str) -> f64 {
        let graded = self.scratch.reenact(["--json", "grade", "run"]).expect(0);
        let graded: serde_json::Value = serde_json::from_str(&graded).unwrap();
        let row = &graded["runs"][0]["summary"]["rows"][0];
        assert_eq!(row["outcome"], outcome, "{graded}");
        row["score"].as_f64().unwrap()
    }

    /// Nothing that a run leaves holds the key.
    fn no_key_anywhere(&self) {
        let mut todo = vec![self.scratch.path("run")];
        while let Some(path) = todo.pop() {
            if path.is_dir() {
                todo.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            } else {
                let bytes = std::fs::read(&path).unwrap();
                let found = bytes.windows(KEY.len()).any(|w| w == KEY.as_bytes());
                assert!(!found, "the key is in {}", path.display());
            }
        }
    }
}

fn roles(trajectory: &serde_json::Value) -> Vec<&str> {
    let messages = trajectory["messages"].as_array().unwrap();
    messages.iter().map(|m| m["role"].as_str().unwrap()).collect()
}

/// An agent in a few lines of Python: asks, does what it is told, tells what came of it.
const TINY: &str = r#"
import json, os, subprocess, sys, urllib.request
base = os.environ["OPENAI_BASE_URL"]
task = open(os.environ["TASK_INSTRUCTIONS"]).read()
messages = [{"role": "user", "content": task}]
while True:
    body = json.dumps({"model": "anything", "messages": messages, "tools": []}).encode()
    request = urllib.request.Request(base + "/chat/completions", body, {"Content-Type": "application/json", "Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]})
    message = json.load(urllib.request.urlopen(request))["choices"][0]["message"]
    messages.append(message)
    if not message.get("tool_calls"):
        sys.exit(0)
    for call in message["tool_calls"]:
        command = json.loads(call["function"]["arguments"])["command"]
        ran = subprocess.run(command, shell=True, capture_output=True, text=True)
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": ran.stdout + ran.stderr})
"#;

fn tiny(stage: &Stage) -> String {
    stage.scratch.write("agent/tiny.py", TINY);
    "python3 /opt/agent/tiny.py".to_owned()
}

#[test]
fn a_program_of_somebody_elses_works_through_the_relay_to_a_graded_submission() {
    let s = Stage::new();
    let model = ScriptedModel::start([
        Turn::bash("./executable --help | head -2; cat docs/sort.txt | wc -l").usage(1000, 50),
        Turn::bash("curl -sS http://127.0.0.1:1/ ; env").usage(1200, 40),
        Turn::bash(WORK).usage(1300, 200),
        Turn::text("Done.").usage(1400, 5),
    ]);
    let command = tiny(&s);
    s.run(&model, "openai", &command, &["--agent-dir", "agent"]).expect(0);
    let trajectory = s.trajectory();
    assert_eq!(
        roles(&trajectory),
        [
            "user",
            "assistant",
            "tool",
            "assistant",
            "tool",
            "assistant",
            "tool",
            "assistant",
            "exit"
        ]
    );
    let told = trajectory["messages"][4]["content"].as_str().unwrap();
    assert!(
        told.contains("TASK_INSTRUCTIONS=") && !told.to_lowercase().contains("reenact"),
        "{told}"
    );
    assert_eq!(trajectory["info"]["exit_status"], "Submitted");
    assert_eq!(trajectory["info"]["model_stats"]["api_calls"], 4);
    assert_eq!(model.requests().len(), 4);
    let sent = format!("{:?}", model.requests()[0]);
    assert!(sent.contains(KEY) && sent.contains("scripted") && !sent.contains("anything"));

    let probes = s.file(&format!("{}.probes.jsonl", s.task));
    let probe: serde_json::Value = serde_json::from_str(probes.lines().next().unwrap()).unwrap();
    assert_eq!(probe["step"], 1, "the first command was the first step's: {probe}");
    let manifest = s.scratch.read("run/run.toml");
    assert!(manifest.contains("calls = 4") && manifest.contains("output = 295"), "{manifest}");
    s.no_key_anywhere();
    let score = s.score("graded");
    assert!(score > 0.0 && score < 1.0, "{score}");
}

#[test]
fn a_budget_ends_the_agent_and_what_it_made_is_graded() {
    let s = Stage::new();
    let turns = [Turn::bash(WORK).usage(1000, 100), Turn::bash("true").usage(1000, 100)];
    let model = ScriptedModel::start(turns);
    let command = tiny(&s);
    let limits = ["--agent-dir", "agent", "--token-limit", "1500"];
    s.run(&model, "openai", &command, &limits).expect(0);
    assert_eq!(model.requests().len(), 2, "the third call did not go out");
    assert_eq!(s.trajectory()["info"]["exit_status"], "LimitsExceeded");
    assert!(s.score("agent_exhausted_budget") > 0.0);
}

#[test]
fn an_outage_of_the_provider_is_never_a_submission() {
    let s = Stage::new();
    let model =
        ScriptedModel::start([Turn::bash(WORK), Turn::text("x").always(Fault::status(503))]);
    let command = tiny(&s);
    let ran = s.run(&model, "openai", &command, &["--agent-dir", "agent"]);
    assert_eq!(ran.code, Some(3), "{}\n{}", ran.stdout, ran.stderr);
    assert!(!s.scratch.path(&format!("run/{}/submission.tar.gz", s.task)).exists());
    assert!(s.scratch.read("run/run.toml").contains("provider_failed"));
    s.no_key_anywhere();
}

#[test]
fn a_program_that_cannot_work_is_the_users_error() {
    let s = Stage::new();
    let model = ScriptedModel::start([Turn::text("x")]);
    let ran = s.run(&model, "openai", "no-such-agent --fast", &[]);
    assert_ne!(ran.code, Some(0), "{}", ran.stdout);
    assert!(ran.stderr.contains("exited with 127"), "{}", ran.stderr);
    assert!(s.file("agent.log").contains("no-such-agent"));
    let dir = s.run(&model, "openai", "true", &["--agent-dir", "nowhere", "--force"]);
    dir.fails(2, &["nowhere: no such directory"]);
}

/// Installs mini-swe-agent for the interpreter that the cleanroom has. `None`: there is no package index here.
pub fn mini_swe_agent() -> Option<PathBuf> {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    // Half a gigabyte: once for all test runs.
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mini-swe-agent-2.4.6");
    if dir.join("installed").exists() {
        return Some(dir);
    }
    let lib = dir.join("lib");
    let pip = Command::new("pip3")
        .args(["--python", "/usr/bin/python3", "--disable-pip-version-check", "install", "-q"])
        .args(["--only-binary", ":all:", "--upgrade", "--target"])
        .arg(&lib)
        // litellm imports mcp when it is called, but does not ask pip for it.
        .args(["mini-swe-agent==2.4.6", "mcp"])
        .output();
    match pip {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            eprintln!("pip: {}", String::from_utf8_lossy(&output.stderr));
            return None;
        }
        Err(e) => {
            eprintln!("pip3 cannot be started: {e}");
            return None;
        }
    }
    std::fs::create_dir_all(dir.join("bin")).unwrap();
    let script = "#!/bin/sh\nexport PYTHONPATH=/opt/agent/lib PYTHONDONTWRITEBYTECODE=1 MSWEA_CONFIGURED=true\n\
                  export MSWEA_COST_TRACKING=ignore_errors LITELLM_LOCAL_MODEL_COST_MAP=True\n\
                  exec /usr/bin/python3 -c 'from minisweagent.run.mini import app; app()' \"$@\"\n";
    let bin = dir.join("bin/mini");
    std::fs::write(&bin, script).unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&bin, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(dir.join("installed"), "").unwrap();
    Some(dir)
}

/// On a second task and over the other API: killed with -9 while its model is asked, and run again by the same command.
#[test]
fn the_real_mini_swe_agent_killed_mid_run_comes_to_the_trajectory_of_a_calm_one() {
    const BASENAME: &str = "cd /workspace && printf '#!/bin/sh\nexec /usr/bin/perl -e \"exit 1\"\n' > program && \
        printf '#!/bin/sh\ncp program executable\nchmod 755 executable\n' > compile.sh && echo written";
    let Some(agent) = (0..3).find_map(|_| mini_swe_agent()) else {
        assert!(std::env::var_os("REENACT_REQUIRE_PIP").is_none(), "pip was to work");
        eprintln!("SKIPPED: mini-swe-agent cannot be installed by pip here (no package index?)");
        return;
    };
    let scratch = Scratch::new();
    let task = scratch.basename_suite();
    let story = || {
        [
            Turn::bash("./executable /a/b.c .c; cat docs/*").usage(900, 30),
            Turn::bash(BASENAME).usage(1100, 120).fault(2, Fault::status(429)),
            Turn::submit().usage(1200, 20),
        ]
    };
    let command = |model: &ScriptedModel, out: &str| {
        let mut run = scratch.command();
        let mini =
            "command:mini -y --exit-immediately -m \"$MODEL\" -t \"$(cat \"$TASK_INSTRUCTIONS\")\"";
        run.env("ANTHROPIC_API_KEY", KEY).args(["run", &task, "--agent", mini]);
        run.args(["--model", "anthropic/scripted", "--base-url", &model.base_url(), "-o", out]);
        run.arg("--agent-dir").arg(&agent);
        run
    };
    let calm = ScriptedModel::start(story());
    Ran::from(command(&calm, "calm").output().unwrap()).expect(0);
    let hanging = ScriptedModel::start(
        story()
            .into_iter()
            .enumerate()
            .map(|(i, t)| if i == 1 { t.fault(1, Fault::Hang) } else { t }),
    );
    let mut child = command(&hanging, "killed").spawn().unwrap();
    assert!(hanging.wait_for_hang(std::time::Duration::from_secs(120)));
    child.kill().unwrap();
    child.wait().unwrap();
    Ran::from(command(&calm, "killed").output().unwrap()).expect(0);
    assert_eq!(scratch.timeless("killed", &task), scratch.timeless("calm", &task));
    let trajectory = scratch.read(&format!("killed/{task}/{task}.traj.json"));
    assert!(trajectory.contains("/a/b.c .c") && trajectory.contains("written"), "{trajectory}");
    scratch.reenact(["grade", "killed"]).expect(0);
    assert!(scratch.read(&format!("killed/{task}/{task}.reenact.json")).contains("\"graded\""));
}

#[test]
fn the_real_mini_swe_agent_works_to_a_graded_submission() {
    let Some(agent) = (0..3).find_map(|_| mini_swe_agent()) else {
        assert!(
            std::env::var_os("REENACT_REQUIRE_PIP").is_none(),
            "mini-swe-agent cannot be installed by pip, though REENACT_REQUIRE_PIP says that it can"
        );
        eprintln!("SKIPPED: mini-swe-agent cannot be installed by pip here (no package index?)");
        return;
    };
    let s = Stage::new();
    let model = ScriptedModel::start([
        Turn::bash("printf 'b\\na\\n' | ./executable").usage(900, 30),
        Turn::bash(WORK).usage(1100, 120).fault(1, Fault::status(429)),
        Turn::submit().usage(1200, 20),
    ]);
    let command = "mini -y --exit-immediately -m \"$MODEL\" -t \"$(cat \"$TASK_INSTRUCTIONS\")\" -o \"$HOME/trajectory.json\"";
    let ran = s.run(&model, "openai", command, &["--agent-dir", agent.to_str().unwrap()]);
    let log = s.file("agent.log");
    assert_eq!(ran.code, Some(0), "{}\n{}\nagent.log:\n{log}", ran.stdout, ran.stderr);
    let trajectory = s.trajectory();
    assert_eq!(trajectory["info"]["exit_status"], "Submitted", "{log}");
    assert_eq!(trajectory["info"]["model_stats"]["api_calls"], 3, "{log}");
    let theirs: serde_json::Value = serde_json::from_str(&s.file("agent.trajectory.json")).unwrap();
    assert_eq!(theirs["info"]["exit_status"], "Submitted");
    let probes = s.file(&format!("{}.probes.jsonl", s.task));
    assert_eq!(probes.lines().count(), 1, "{probes}");
    s.no_key_anywhere();
    assert!(s.score("graded") > 0.0);
}
