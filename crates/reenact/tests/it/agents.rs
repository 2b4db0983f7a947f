//! The `bash` and `replay` agents through the real binary, against scripted models over real HTTP on the loopback interface.

use crate::support::*;
use reenact_testkit::{Fault, ScriptedModel, Turn};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const KEY: &str = "sk-test-5f0c1b7e9a2d4c6b8e";
/// Far more than any step of these tests takes.
const LONG: Duration = Duration::from_secs(120);

const SORT_C: &str = r#"#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
static int rev, num, uniq, fold, key;
static const char *k(const char *s) { if (key) while (*s && *s != ' ') s++; return s; }
static int base(const char *a, const char *b) {
    a = k(a); b = k(b);
    if (num) { double x = atof(a), y = atof(b); return (x > y) - (x < y); }
    return fold ? strcasecmp(a, b) : strcmp(a, b);
}
static int cmp(const void *p, const void *q) {
    const char *a = *(char *const *)p, *b = *(char *const *)q;
    int c = base(a, b);
    if (!c && !uniq) c = strcmp(a, b);
    return rev ? -c : c;
}
int main(int argc, char **argv) {
    FILE *in = stdin, *out = stdout;
    const char *to = 0;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "-r")) rev = 1;
        else if (!strcmp(argv[i], "-n")) num = 1;
        else if (!strcmp(argv[i], "-u")) uniq = 1;
        else if (!strcmp(argv[i], "-f")) fold = 1;
        else if (!strcmp(argv[i], "-k2")) key = 1;
        else if (!strcmp(argv[i], "-o") && i + 1 < argc) to = argv[++i];
        else if (!(in = fopen(argv[i], "r"))) return 2;
    }
    char *lines[1000], buffer[4096];
    int n = 0;
    while (n < 1000 && fgets(buffer, sizeof buffer, in)) lines[n++] = strdup(buffer);
    qsort(lines, n, sizeof *lines, cmp);
    if (to && !(out = fopen(to, "w"))) return 2;
    for (int i = 0; i < n; i++)
        if (!uniq || i == 0 || base(lines[i - 1], lines[i])) fputs(lines[i], out);
    return 0;
}
"#;

const BASENAME_SH: &str = r#"#!/bin/sh
case $# in
0) echo "/workspace/executable: missing operand" >&2
   echo "Try '/workspace/executable --help' for more information." >&2
   exit 1 ;;
esac
name=$1
while [ "${name%/}" != "$name" ] && [ "$name" != / ]; do name=${name%/}; done
[ "$name" = / ] || name=${name##*/}
[ "$name" = "$2" ] || name=${name%"$2"}
printf '%s\n' "$name"
"#;

/// A command that writes source and build script.
fn write_sources(source: &str, text: &str, build: &str) -> String {
    format!(
        "cat > {source} <<'END'\n{text}END\nprintf '#!/bin/sh\\nset -e\\n%s\\n' '{build}' > compile.sh\nchmod 755 compile.sh"
    )
}

const TRY: &str = "rm -rf /tmp/build && cp -r /workspace /tmp/build && cd /tmp/build && rm -f executable && sh ./compile.sh";

/// From reading the documentation to handing in; with a reply without a call and one that is no JSON on the way.
fn sort_story() -> Vec<Turn> {
    vec![
        Turn::bash("head -3 docs/sort.txt; printf 'b\\na\\n' | ./executable -r").usage(900, 30),
        Turn::text("Let me think about that.").usage(1000, 10),
        Turn::call("bash", "{\"command\": \"ls").usage(1050, 10),
        Turn::bash(&write_sources("main.c", SORT_C, "cc -O1 -o executable main.c"))
            .usage(1100, 600),
        Turn::bash("mkdir -p ~/notes && echo kept > ~/notes/f && sleep 2; echo slept")
            .usage(1800, 20),
        Turn::bash(&format!("{TRY} && printf 'b\\na\\n' | ./executable -r; cat ~/notes/f"))
            .and_bash("ls /tmp/build; ls -a ~/notes")
            .usage(1900, 40),
        Turn::submit().usage(2000, 15),
    ]
}

fn basename_story() -> Vec<Turn> {
    vec![
        Turn::bash("./executable /usr/lib/x.so .so; ./executable; echo $?"),
        Turn::bash(&write_sources(
            "basename.sh",
            BASENAME_SH,
            "cp basename.sh executable; chmod 755 executable",
        )),
        Turn::bash(&format!("{TRY} && ./executable a/b/c.txt .txt")),
        Turn::submit(),
    ]
}

impl Scratch {
    /// A second task: `basename`, with a recorded suite.
    pub(crate) fn basename_suite(&self) -> String {
        self.write(
            "docs2/basename.txt",
            "Usage: basename NAME [SUFFIX]\nPrint NAME without directories and SUFFIX.\n",
        );
        let made = self
            .reenact(["-q", "task", "new", "path:/usr/bin/basename", "--docs", "docs2"])
            .expect(0);
        let id = made.trim().strip_prefix("tasks/").unwrap().to_owned();
        let argvs: &[&[&str]] = &[
            &["a/b/c.txt"],
            &["a/b.txt", ".txt"],
            &["/usr/"],
            &["x.h", "x.h"],
            &["-a", "p/q", "r/s"],
            &["//"],
            &[],
        ];
        let lines: String = (0..)
            .zip(argvs)
            .map(|(i, argv)| {
                json!({"id": format!("b{i}"), "group": "all", "steps": [{"argv": argv}]})
                    .to_string()
                    + "\n"
            })
            .collect();
        self.write("invocations2.jsonl", &lines);
        self.reenact(["suite", "record", &id, "invocations2.jsonl"]).expect(0);
        id
    }

    /// `reenact run ID --agent bash` against a scripted model.
    fn bash(&self, model: &ScriptedModel, api: &str, id: &str, out: &str) -> Command {
        let mut command = self.command();
        command
            .args(["run", id, "--agent", "bash", "-o", out, "--base-url", &model.base_url()])
            .args(["--model", &format!("{api}/scripted")])
            .env("OPENAI_API_KEY", KEY)
            .env("ANTHROPIC_API_KEY", KEY);
        command
    }

    fn manifest(&self, run: &str) -> toml::Table {
        std::fs::read_to_string(self.path(&format!("{run}/run.toml"))).unwrap().parse().unwrap()
    }

    fn trajectory(&self, run: &str, id: &str) -> Value {
        self.json(&format!("{run}/{id}/{id}.traj.json"))
    }

    /// The trajectory without what depends on the clock.
    pub(crate) fn timeless(&self, run: &str, id: &str) -> Value {
        let mut trajectory = self.trajectory(run, id);
        for message in trajectory["messages"].as_array_mut().unwrap() {
            let extra = message["extra"].as_object_mut().unwrap();
            extra.remove("timestamp");
            extra.remove("elapsed_ms");
        }
        trajectory
    }

    /// Everything that was said or shown, in order.
    fn said(&self, run: &str, id: &str) -> Vec<String> {
        let trajectory = self.trajectory(run, id);
        let messages = trajectory["messages"].as_array().unwrap();
        messages.iter().map(|m| m["content"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Waits until the trajectory holds `text`.
    fn wait_for(&self, run: &str, id: &str, text: &str) {
        let path = self.path(&format!("{run}/{id}/{id}.traj.json"));
        let until = Instant::now() + LONG;
        while !std::fs::read_to_string(&path).is_ok_and(|t| t.contains(text)) {
            assert!(Instant::now() < until, "{text:?} never came into {}", path.display());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn ran(command: &mut Command) -> Ran {
    Ran::from(command.output().unwrap())
}

fn spawn(command: &mut Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn kill_nine(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// All files under a directory, with their bytes.
fn files(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push((entry.path(), std::fs::read(entry.path()).unwrap()));
        }
    }
    found
}

#[test]
fn the_bash_agent_goes_from_start_to_graded_submissions_over_both_apis() {
    let s = Scratch::new();
    let tasks = [(s.sort_suite(10), sort_story()), (s.basename_suite(), basename_story())];
    for ((id, story), api) in tasks.into_iter().zip(["openai", "anthropic"]) {
        let steps = story.len();
        // A storm of refusals before the first reply, and one of overload in the middle.
        let storm = |(i, turn): (usize, Turn)| match i {
            0 => turn.fault(3, Fault::status(429).retry_after("1")),
            2 => turn.fault(1, Fault::status(529)).fault(1, Fault::Close),
            _ => turn,
        };
        let model = ScriptedModel::start(story.into_iter().enumerate().map(storm));
        let run = format!("runs/{api}");
        let done = ran(&mut s.bash(&model, api, &id, &run));
        assert!(done.stderr.contains("submitted"), "{}", done.stderr);
        assert_eq!(done.expect(0).lines().last(), Some(run.as_str()));

        let manifest = s.manifest(&run);
        assert_eq!(manifest["setup"]["model"]["name"].as_str(), Some("scripted"));
        assert_eq!(manifest["setup"]["model"]["api"].as_str(), Some(api));
        let entry = &manifest["tasks"][&id];
        assert_eq!(entry["agent_outcome"].as_str(), Some("submitted"), "{manifest}");
        assert_eq!(entry["work"]["steps"].as_integer(), Some(steps as i64));
        assert_eq!(entry["work"]["seal"].as_str(), Some("guarded"));
        assert!(entry["work"]["tokens"]["input"].as_integer().unwrap() > 0);
        assert!(entry["probes"].as_integer().unwrap() > 0);
        assert!(manifest["isolation"].as_table().is_some_and(|t| t.contains_key("network")));

        // Probes carry the step in which they were made.
        let log =
            std::fs::read_to_string(s.path(&format!("{run}/{id}/{id}.probes.jsonl"))).unwrap();
        let first: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
        assert_eq!(first["step"], 1, "{first}");

        let trajectory = s.trajectory(&run, &id);
        assert_eq!(trajectory["info"]["exit_status"], "Submitted");
        assert_eq!(trajectory["info"]["model_stats"]["api_calls"], steps);

        s.reenact(["grade", &run]).expect(0);
        let result = s.json(&format!("{run}/{id}/{id}.reenact.json"));
        assert_eq!(result["outcome"], "graded", "{result:#}");
        assert!(result["score"].as_f64().unwrap() >= 0.5, "{result:#}");

        // The key went to the model and nowhere else.
        let asked = model.requests();
        let header = if api == "openai" { "authorization" } else { "x-api-key" };
        assert!(asked.iter().all(|r| r.headers[header].ends_with(KEY)), "{:?}", asked[0].headers);
        for (path, bytes) in files(&s.path(&run)) {
            let leaks = bytes.windows(KEY.len()).any(|w| w == KEY.as_bytes());
            assert!(!leaks, "the key is in {}", path.display());
        }
    }
    // What cannot be run was answered, and the work went on.
    let id = s.manifest("runs/openai")["tasks"].as_table().unwrap().keys().next().unwrap().clone();
    let said = s.said("runs/openai", &id);
    assert!(said.iter().any(|t| t.contains("held no tool call")), "{said:#?}");
    assert!(said.iter().any(|t| t.contains("not a JSON object")), "{said:#?}");
    assert!(said.iter().any(|t| t.contains("b\na\nkept")), "{said:#?}");
}

#[test]
fn kills_at_any_moment_resume_to_the_trajectory_of_a_calm_run() {
    let s = Scratch::new();
    let id = s.sort_suite(5);
    let calm = ScriptedModel::start(sort_story());
    ran(&mut s.bash(&calm, "openai", &id, "calm")).expect(0);

    // While the model is asked for its fourth reply.
    let hanging = |turn: usize| {
        let story = sort_story().into_iter().enumerate();
        ScriptedModel::start(
            story.map(move |(i, t)| if i == turn { t.fault(1, Fault::Hang) } else { t }),
        )
    };
    for turn in [3, 6] {
        let model = hanging(turn);
        let child = spawn(&mut s.bash(&model, "openai", &id, "killed"));
        assert!(model.wait_for_hang(LONG));
        kill_nine(child);
        if turn == 3 {
            // While a command runs: the reply is on record, its answer is not.
            let child = spawn(&mut s.bash(&calm, "openai", &id, "killed"));
            s.wait_for("killed", &id, "sleep 2");
            kill_nine(child);
        }
    }
    let asked_before = calm.requests().len();
    ran(&mut s.bash(&calm, "openai", &id, "killed")).expect(0);
    assert_eq!(
        calm.requests().len(),
        asked_before + 1,
        "only what was not answered is asked again"
    );
    assert_eq!(s.timeless("killed", &id), s.timeless("calm", &id));

    let submission =
        |run: &str| std::fs::read(s.path(&format!("{run}/{id}/submission.tar.gz"))).unwrap();
    assert_eq!(submission("killed"), submission("calm"), "same work, same submission");
    let entry = s.manifest("killed")["tasks"][&id].clone();
    assert_eq!(entry["work"]["calls"].as_integer(), Some(7));
    assert!(entry["work"]["resumed"].as_integer().unwrap() >= 1, "{entry}");
    s.reenact(["grade", "killed", "--fail-under", "0.9"]).expect(0);

    // Done is done.
    ran(&mut s.bash(&calm, "openai", &id, "killed")).expect(0);
    assert_eq!(calm.requests().len(), asked_before + 1);
}

#[test]
fn ctrl_c_finishes_the_step_saves_and_resumes() {
    let s = Scratch::new();
    let id = s.sort_task();
    let story = [
        Turn::bash("sleep 2; echo finished"),
        Turn::bash("true").fault(1, Fault::Hang),
        Turn::submit(),
    ];
    let model = ScriptedModel::start(story);
    let child = spawn(&mut s.bash(&model, "openai", &id, "run"));
    s.wait_for("run", &id, "sleep 2");
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let ended = Ran::from(child.wait_with_output().unwrap());
    assert!(ended.stderr.contains("the same command resumes"), "{}", ended.stderr);
    ended.expect(130);
    assert!(s.said("run", &id).iter().any(|t| t.contains("finished")));
    let outcome =
        |s: &Scratch| s.manifest("run")["tasks"][&id]["agent_outcome"].as_str().map(str::to_owned);
    assert_eq!(outcome(&s).as_deref(), Some("cancelled"));
    assert!(!s.path(&format!("run/{id}/submission.tar.gz")).exists());
    ran(&mut s.bash(
        &ScriptedModel::start([Turn::text("?"), Turn::bash("true"), Turn::submit()]),
        "openai",
        &id,
        "run",
    ))
    .expect(0);
    assert_eq!(outcome(&s).as_deref(), Some("submitted"));
}

#[test]
fn a_run_is_resumed_under_its_own_rules_only() {
    let s = Scratch::new();
    let id = s.sort_task();
    let model = ScriptedModel::start([Turn::bash("true"), Turn::submit()]);
    ran(s.bash(&model, "openai", &id, "run").args(["--steps", "50"])).expect(0);
    ran(s.bash(&model, "openai", &id, "run").args(["--steps", "60"]))
        .fails(2, &["other rules", "steps: 50 -> 60"]);
    ran(s.bash(&model, "anthropic", &id, "run").args(["--steps", "50"]))
        .fails(2, &["model: openai/scripted -> anthropic/scripted"]);
    s.write("prompts/system.jinja", "Be brief.");
    ran(s.bash(&model, "openai", &id, "run").args(["--steps", "50", "--prompts", "prompts"]))
        .fails(2, &["prompts: "]);
    s.reenact(["run", &id, "--agent", "null", "-o", "run"]).fails(2, &["belongs to agent `bash`"]);
    ran(s.bash(&model, "openai", &id, "run").args(["--steps", "50", "--attempts", "2"]))
        .fails(2, &["one attempt"]);
    ran(s.bash(&model, "openai", &id, "run").args(["--steps", "50"])).expect(0);
}

#[test]
fn what_is_wrong_on_the_command_line_is_said_before_anything_starts() {
    let s = Scratch::new();
    let id = s.sort_task();
    let run = |args: &[&str]| {
        let mut command = s.command();
        command.args(["run", &id, "-o", "run"]).args(args);
        for name in ["OPENAI_API_KEY", "ANTHROPIC_API_KEY"] {
            command.env_remove(name);
        }
        ran(&mut command)
    };
    s.write("policy.toml", "steps = 10\nstpes = 11\n");
    s.write("prompts/readme.txt", "");
    s.write("prices.toml", "[models.x]\ninput = -1.0\noutput = 1.0\n");
    let local = "http://127.0.0.1:9/v1";
    run(&["--agent", "wizard"]).fails(2, &["\"wizard\" is not an agent", "bash", "replay:FILE"]);
    run(&["--agent", "bash"]).fails(2, &["needs a model", "openai/NAME"]);
    run(&["--agent", "bash", "--model", "gpt-5"]).fails(2, &["\"gpt-5\" is not a model"]);
    run(&["--agent", "bash", "--model", "openai/m"]).fails(2, &["OPENAI_API_KEY", "not set"]);
    run(&["--agent", "bash", "--model", "anthropic/m"]).fails(2, &["ANTHROPIC_API_KEY"]);
    run(&["--agent", "null", "--model", "openai/m"]).fails(2, &["uses no model"]);
    run(&["--agent", "replay:nothing.json"]).fails(2, &["nothing.json"]);
    run(&["--agent", "null", "--policy", "policy.toml"]).fails(2, &["policy.toml", "stpes"]);
    run(&["--agent", "null", "--policy", "none.toml"]).fails(2, &["none.toml"]);
    let bash = |more: &[&str]| {
        let mut args = vec!["--agent", "bash", "--model", "openai/m", "--base-url", local];
        args.extend(more);
        run(&args)
    };
    bash(&["--prompts", "prompts"]).fails(2, &["prompts", "system.jinja"]);
    bash(&["--prices", "prices.toml"]).fails(2, &["prices.toml"]);
    bash(&["--cost-limit", "1"]).fails(2, &["price", "--prices FILE"]);
    assert!(!s.path("run").exists(), "nothing was begun");
}

#[test]
fn failing_providers_are_never_a_submission_and_are_tried_again() {
    let s = Scratch::new();
    let id = s.sort_task();
    let always = |fault: Fault| ScriptedModel::start([Turn::bash("true").always(fault)]);
    let table = [
        (Fault::status(401).message("bad key"), &["refused the key", "HTTP 401"][..]),
        (Fault::status(404).message("no such model"), &["does not accept", "no such model"]),
        (Fault::status(429), &["rate limited"]),
        (Fault::status(500), &["failing (HTTP 500)"]),
        (Fault::Close, &["not reachable"]),
        (Fault::TruncatedJson, &["makes no sense"]),
        (Fault::Huge { bytes: 50 << 20, announced: false }, &["more than"]),
    ];
    for (i, (fault, parts)) in table.into_iter().enumerate() {
        let model = always(fault);
        let out = format!("run{i}");
        let mut parts = parts.to_vec();
        parts.extend(["the model's provider failed", "the same command resumes"]);
        ran(s.bash(&model, "openai", &id, &out).args(["--patience", "1s"])).fails(3, &parts);
        let entry = s.manifest(&out)["tasks"][&id].clone();
        assert_eq!(entry["agent_outcome"].as_str(), Some("provider_failed"), "{entry}");
        assert!(!s.path(&format!("{out}/{id}/submission.tar.gz")).exists());
        assert!(!entry.to_string().contains(KEY));
    }
    // Nobody listens there.
    let mut down = s.command();
    down.args(["run", &id, "--agent", "bash", "-o", "down", "--model", "openai/m"]);
    down.args(["--base-url", "http://127.0.0.1:1/v1", "--patience", "0s"])
        .env("OPENAI_API_KEY", KEY);
    ran(&mut down).fails(3, &["not reachable", "--base-url"]);

    let model = ScriptedModel::start([Turn::submit()]);
    ran(s.bash(&model, "openai", &id, "run0").args(["--patience", "1s"])).expect(0);
    assert_eq!(s.manifest("run0")["tasks"][&id]["agent_outcome"].as_str(), Some("submitted"));
}

#[test]
fn commands_that_misbehave_are_told_to_the_model_and_harm_nothing() {
    let s = Scratch::new();
    let id = s.sort_suite(5);
    s.write("policy.toml", "command_s = 3\ndisk_bytes = 67108864\nkept_bytes = 1048576\n");
    let model = ScriptedModel::start([
        Turn::bash("head -c 1000000000 /dev/zero | tr '\\0' x"),
        Turn::bash("echo begun; sleep 1000"),
        Turn::bash("echo bye; kill -9 $$"),
        Turn::bash("kill -9 -1"),
        Turn::bash("head -c 200000000 /dev/zero > /tmp/big; rm -f /tmp/big"),
        Turn::bash("rm -rf /workspace; ls -a /workspace; ls docs"),
        Turn::bash("printf '\\377\\000\\033[31m'"),
        Turn::bash(
            "printf b | ./executable; mkfifo p; ln -s /etc/passwd l; printf '#!/bin/sh\\nprintf \"#!/bin/sh\\n\" > executable\\nchmod 755 executable\\n' > compile.sh",
        ),
        Turn::submit(),
    ]);
    ran(s.bash(&model, "openai", &id, "run").args(["--policy", "policy.toml"])).expect(0);
    let said = s.said("run", &id);
    let shown: Vec<&String> = said.iter().skip(2).filter(|t| t.contains("<returncode>")).collect();
    assert!(
        shown[0].contains("characters are not shown") && shown[0].len() < 20_000,
        "{}",
        shown[0]
    );
    assert!(shown[1].contains("killed after 3 s") && shown[1].contains("begun"), "{}", shown[1]);
    assert!(shown[2].contains("<returncode>-9") && shown[2].contains("bye"), "{}", shown[2]);
    assert!(shown[4].contains("No space left on device"), "{}", shown[4]);
    assert!(shown[5].contains("executable"), "the reference stays: {}", shown[5]);
    assert!(shown[6].contains('\u{2400}'), "{}", shown[6]);
    assert!(shown[7].contains("<output>\nb\n"), "the reference still runs: {}", shown[7]);
    s.reenact(["grade", "run"]).expect(0);
    assert_eq!(s.json(&format!("run/{id}/{id}.reenact.json"))["outcome"], "graded");
}

#[test]
fn budgets_of_a_task_end_it_and_what_it_left_is_graded() {
    let s = Scratch::new();
    let id = s.sort_suite(5);
    s.write("prices.toml", "[models.scripted]\ninput = 1000.0\noutput = 1000.0\n");
    let story = || (0..50).map(|i| Turn::bash(&format!("echo {i} > f")).usage(100, 20));
    for (option, value, status) in [
        ("--steps", "3", "LimitsExceeded"),
        ("--cost-limit", "0.30", "LimitsExceeded"),
        ("--token-limit", "300", "LimitsExceeded"),
    ] {
        let out = format!("run{option}");
        let model = ScriptedModel::start(story());
        ran(s.bash(&model, "openai", &id, &out).args([option, value, "--prices", "prices.toml"]))
            .expect(0);
        let entry = s.manifest(&out)["tasks"][&id].clone();
        assert_eq!(entry["agent_outcome"].as_str(), Some("exhausted_budget"), "{entry}");
        assert_eq!(entry["work"]["exit_status"].as_str(), Some(status));
        assert_eq!(entry["work"]["steps"].as_integer(), Some(3), "{option}");
        let cost = entry["work"]["cost_usd"].as_float().unwrap();
        assert!((cost - 0.36).abs() < 1e-9, "{cost}");
        s.reenact(["grade", &out]).expect(0);
        let result = s.json(&format!("{out}/{id}/{id}.reenact.json"));
        // There is no compile.sh in it.
        assert_eq!(result["build"]["error_code"], "no_compile_sh", "{result:#}");
    }
    // Time: the command that would go on is cut short, and so is the attempt.
    let model = ScriptedModel::start([Turn::bash("sleep 1000"), Turn::bash("true")]);
    ran(s.bash(&model, "openai", &id, "wall").args(["--wall", "2s"])).expect(0);
    assert_eq!(
        s.manifest("wall")["tasks"][&id]["work"]["exit_status"].as_str(),
        Some("TimeExceeded")
    );
}

#[test]
fn a_spent_budget_of_the_run_starts_nothing_more_and_a_larger_one_goes_on() {
    let s = Scratch::new();
    let (sort, basename) = (s.sort_task(), s.basename_suite());
    let model =
        ScriptedModel::start([Turn::bash("true").usage(100, 20), Turn::submit().usage(100, 20)]);
    let run = |limit: &str| {
        let mut command = s.bash(&model, "openai", &sort, "run");
        command.args([basename.as_str(), "--workers", "1", "--run-token-limit", limit]);
        ran(&mut command)
    };
    run("200").fails(1, &["budget is spent", "1 not started", "the same command resumes"]);
    let outcome =
        |id: &str| s.manifest("run")["tasks"][id]["agent_outcome"].as_str().unwrap().to_owned();
    assert_eq!([outcome(&sort), outcome(&basename)], ["submitted", "cancelled"]);
    // What was not started is in the totals, and no score.
    let graded = ran(s.command().args(["--json", "grade", "run", "--only", &basename])).expect(3);
    assert!(graded.contains("\"cancelled\""), "{graded}");
    run("1000").expect(0);
    assert_eq!([outcome(&sort), outcome(&basename)], ["submitted", "submitted"]);
}

#[test]
fn several_attempts_at_once_are_run_directories_of_their_own() {
    let s = Scratch::new();
    let id = s.sort_suite(5);
    let model = ScriptedModel::start(sort_story());
    let done = ran(s.bash(&model, "openai", &id, "runs").args([
        "--attempts",
        "2",
        "--workers",
        "2",
        "--json",
    ]));
    let summary: Value = serde_json::from_str(&done.expect(0)).unwrap();
    assert_eq!(summary["finished"].as_array().unwrap().len(), 2, "{summary:#}");
    assert_eq!(summary["finished"][1]["attempt"], 2);
    s.reenact(["grade", "runs/attempt-1", "runs/attempt-2", "--fail-under", "0.9"]).expect(0);
    assert_eq!(s.timeless("runs/attempt-1", &id), s.timeless("runs/attempt-2", &id));
    assert_eq!(s.manifest("runs/attempt-2")["setup"]["attempt"].as_integer(), Some(2));
}

#[test]
fn a_trajectory_is_replayed_without_a_model() {
    let s = Scratch::new();
    let id = s.sort_suite(5);
    let model = ScriptedModel::start(sort_story());
    ran(&mut s.bash(&model, "openai", &id, "first")).expect(0);
    let agent = format!("replay:first/{id}/{id}.traj.json");
    s.reenact(["run", &id, "--agent", &agent, "-o", "again"]).expect(0);
    let shown = |run: &str| -> Vec<String> {
        s.said(run, &id).into_iter().filter(|t| t.contains("<returncode>")).collect()
    };
    assert_eq!(shown("again"), shown("first"));
    let submission =
        |run: &str| std::fs::read(s.path(&format!("{run}/{id}/submission.tar.gz"))).unwrap();
    assert_eq!(submission("again"), submission("first"));

    // Another harness's trajectory: commands as mini-SWE-agent's text mode records them, and no end.
    s.write(
        "other.json",
        &json!({
            "trajectory_format": "mini-swe-agent-1.1", "info": {},
            "messages": [
                {"role": "system", "content": "s"}, {"role": "user", "content": "u"},
                {"role": "assistant", "content": "THOUGHT", "extra": {"actions": [{"command": "echo replayed > f; cat f"}]}},
            ]
        })
        .to_string(),
    );
    s.reenact(["run", &id, "--agent", "replay:other.json", "-o", "other"]).expect(0);
    assert!(s.said("other", &id).iter().any(|t| t.contains("replayed")));
    s.reenact(["run", &id, "--agent", &agent, "-o", "other"])
        .fails(2, &["other rules", "replayed: "]);
}

#[test]
fn a_task_without_documentation_is_worked_on_all_the_same() {
    let s = Scratch::new();
    let id = s.sort_task();
    std::fs::remove_dir_all(s.path(&format!("tasks/{id}/docs"))).unwrap();
    let model = ScriptedModel::start([Turn::bash("ls docs"), Turn::submit()]);
    ran(&mut s.bash(&model, "openai", &id, "run")).expect(0);
    assert!(s.said("run", &id)[1].contains("There is no documentation"));
    let notes = s.manifest("run")["tasks"][&id]["work"]["notes"].to_string();
    assert!(notes.contains("no documentation"), "{notes}");
}

#[test]
fn a_task_that_cannot_be_opened_spoils_no_other() {
    let s = Scratch::new();
    let (sort, basename) = (s.sort_task(), s.basename_suite());
    // Documentation that cannot be copied: a fault of this task's room, found when it is opened.
    let made =
        Command::new("mkfifo").arg(s.path(&format!("tasks/{sort}/docs/pipe"))).status().unwrap();
    assert!(made.success());
    s.reenact(["run", &sort, &basename, "--agent", "null", "-o", "run"])
        .fails(3, &[&sort, "the same command resumes"]);
    let outcome =
        |id: &str| s.manifest("run")["tasks"][id]["agent_outcome"].as_str().unwrap().to_owned();
    assert_eq!(outcome(&basename), "submitted");
    assert_eq!(outcome(&sort), "sandbox_failed");
    std::fs::remove_file(s.path(&format!("tasks/{sort}/docs/pipe"))).unwrap();
    s.reenact(["run", &sort, &basename, "--agent", "null", "-o", "run"]).expect(0);
    assert_eq!(outcome(&sort), "submitted");
}
