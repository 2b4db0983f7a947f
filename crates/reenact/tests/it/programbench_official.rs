//! The official tools, unmodified, with `reenact docker` as their container command: ProgramBench's evaluator on its own
//! fixture, and mini-swe-agent's ProgramBench runner with a scripted model.

use crate::command_agent::mini_swe_agent;
use crate::programbench_eval::store;
use crate::support::*;
use reenact_testkit::image::{Calculator, gzip_tar};
use reenact_testkit::{ScriptedModel, Turn};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Tells that a test cannot run here; a failure where it was promised that it can.
fn skip(what: &str) {
    assert!(std::env::var_os("REENACT_REQUIRE_PIP").is_none(), "pip was to work, but {what}");
    eprintln!("SKIPPED: {what} (no package index?)");
}

/// The `lib` directory of an installed programbench 1.2.5. `None`: there is no package index here.
pub fn official_programbench() -> Option<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("programbench-1.2.5");
    let lib = dir.join("lib");
    if dir.join("installed").exists() {
        return Some(lib);
    }
    let pip = || {
        let mut pip = Command::new("pip3");
        pip.args(["--python", "/usr/bin/python3", "--disable-pip-version-check", "install", "-q"])
            .args(["--only-binary", ":all:", "--upgrade", "--target"])
            .arg(&lib)
            .arg("programbench==1.2.5");
        pip.output().inspect_err(|e| eprintln!("pip3 cannot be started: {e}")).ok()
    };
    let installed = (0..3).any(|_| {
        let output = pip();
        if let Some(output) = output.as_ref().filter(|o| !o.status.success()) {
            eprintln!("pip: {}", String::from_utf8_lossy(&output.stderr));
        }
        output.is_some_and(|o| o.status.success())
    });
    installed.then(|| std::fs::write(dir.join("installed"), "").unwrap())?;
    Some(lib)
}

/// A scratch directory with a state directory for containers, a one-line wrapper around `reenact docker`, and the fixture's
/// submissions and blobs; and the store that holds the fixture's image.
struct Stage {
    scratch: Scratch,
    images: PathBuf,
    lib: PathBuf,
    fixture: Calculator,
}

impl Stage {
    fn new(lib: PathBuf) -> Self {
        let scratch = Scratch::new();
        let fixture = Calculator::lay_out(&lib.join("programbench/data"), scratch.root()).unwrap();
        let stage = Self { scratch, images: store(), lib, fixture };
        let wrapper =
            stage.scratch.write("docker", &format!("#!/bin/sh\nexec {REENACT} docker \"$@\"\n"));
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
        stage
    }

    /// A program that finds our store and our containers.
    fn with_store(&self, mut command: Command) -> Command {
        command
            .env("REENACT_IMAGES", &self.images)
            .env("REENACT_DOCKER_STATE", self.scratch.path("state"));
        command
    }

    /// The binary under test, on this store.
    fn command(&self) -> Command {
        self.with_store(self.scratch.command())
    }

    fn reenact(&self, args: &[&str]) -> Ran {
        Ran::from(self.command().args(args).output().unwrap())
    }

    /// A Python program of theirs.
    fn python(&self, program: &str, libs: &[&Path]) -> Command {
        let mut python = self.with_store(Command::new("/usr/bin/python3"));
        python
            .args(["-c", program])
            .current_dir(self.scratch.root())
            .env("PYTHONPATH", std::env::join_paths(libs).unwrap())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PROGRAMBENCH_BLOB_DIR", &self.fixture.blobs);
        python
    }

    /// Their `programbench`.
    fn official(&self, args: &[&str]) -> Command {
        let program = "import sys; sys.argv[0] = 'programbench'; from programbench.cli.main import app; app()";
        let mut official = self.python(program, &[&self.lib]);
        official.env("PROGRAMBENCH_DOCKER_EXECUTABLE", self.scratch.path("docker")).args(args);
        official
    }

    /// Their `programbench eval` on a run directory, with our container command.
    fn official_eval(&self, run: &Path, network: &str) -> Ran {
        let mut eval = self.official(&["eval", "--force", "--filter", Calculator::INSTANCE]);
        Ran::from(eval.env("REENACT_DOCKER_NETWORK", network).arg(run).output().unwrap())
    }

    /// Our `programbench` on a run directory, with their tasks.
    fn ours(&self, args: &[&str], run: &Path) -> Ran {
        let mut ours = self.command();
        ours.arg("programbench").args(args).arg(run);
        ours.arg("--tasks").arg(self.lib.join("programbench/data/tasks"));
        Ran::from(ours.output().unwrap())
    }

    /// Our `programbench eval` on a run directory.
    fn our_eval(&self, run: &Path) -> Ran {
        self.ours(&["eval", "--blobs", self.fixture.blobs.to_str().unwrap()], run)
    }

    /// Nothing that the tools started is left: what ends in the background is waited for.
    fn no_container_is_left(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let left = self.reenact(&["docker", "ps", "-a", "-q"]).expect(0);
            if left.trim().is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "containers are left: {left}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// The eval.json of the fixture's instance in a run directory. Theirs exits with 0 whatever happens.
fn evaluated(run: &Path, by: &Ran) -> serde_json::Value {
    let path = run.join(format!("{0}/{0}.eval.json", Calculator::INSTANCE));
    let Ok(bytes) = std::fs::read(&path) else {
        panic!("no {}; {:?}\n{}\n{}", path.display(), by.code, by.stdout, by.stderr);
    };
    serde_json::from_slice(&bytes).unwrap()
}

/// Statuses by branch and name.
fn statuses(eval: &serde_json::Value) -> BTreeMap<String, String> {
    let word = |t: &serde_json::Value, key: &str| t[key].as_str().unwrap().to_owned();
    let results = eval["test_results"].as_array().unwrap();
    let found: BTreeMap<_, _> = results
        .iter()
        .map(|t| (format!("{}/{}", word(t, "branch"), word(t, "name")), word(t, "status")))
        .collect();
    assert_eq!(found.len(), results.len(), "a name is there twice: {eval}");
    found
}

/// How often each status occurs.
fn counts(eval: &serde_json::Value) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for status in statuses(eval).into_values() {
        *counts.entry(status).or_default() += 1;
    }
    counts
}

fn copy_of(run: &Path, to: PathBuf) -> PathBuf {
    let dir = to.join(Calculator::INSTANCE);
    std::fs::create_dir_all(&dir).unwrap();
    let file = "submission.tar.gz";
    std::fs::copy(run.join(Calculator::INSTANCE).join(file), dir.join(file)).unwrap();
    to
}

#[test]
fn the_official_evaluator_runs_on_our_containers_and_agrees_with_ours() {
    let Some(lib) = official_programbench() else {
        return skip("programbench cannot be installed by pip");
    };
    let stage = Stage::new(lib);
    // The manifest's names lack a prefix that the results have, so that each of the three counts twice.
    let cases = [
        ("correct", stage.fixture.correct.clone(), "passed", "none"),
        ("incorrect", stage.fixture.incorrect.clone(), "failure", "host"),
    ];
    for (name, theirs, status, network) in cases {
        let ours = copy_of(&theirs, stage.scratch.path(&format!("ours-{name}")));
        let official = stage.official_eval(&theirs, network);
        let said = format!("{}\n{}", official.stdout, official.stderr);
        assert_eq!(official.code, Some(0), "{said}");
        let official = evaluated(&theirs, &official);
        assert_eq!(official["error_code"], serde_json::Value::Null, "{official}\n{said}");
        let expected = BTreeMap::from([(status.to_owned(), 3), ("not_run".to_owned(), 3)]);
        assert_eq!(counts(&official), expected, "{official}\n{said}");

        let ours = evaluated(&ours, &stage.our_eval(&ours));
        assert_eq!(statuses(&ours), statuses(&official), "{ours}");
        for key in
            ["error_code", "executable_hash", "test_branches", "test_branch_errors", "warnings"]
        {
            assert_eq!(ours[key], official[key], "{key} of {name}");
        }
    }
    stage.no_container_is_left();
}

/// A small task of theirs that has several branches and ignored tests.
const TASK: &str = "xorg62__tty-clock.f2f847c";

/// Test archives for [`TASK`] that ask the program which of their result files it is to be.
fn asking_blobs(stage: &Stage) -> PathBuf {
    let listed = stage.lib.join("programbench/data/tasks").join(TASK).join("tests.json");
    let listed: serde_json::Value =
        serde_json::from_slice(&std::fs::read(listed).unwrap()).unwrap();
    let blobs = stage.scratch.path("asking");
    std::fs::create_dir_all(blobs.join(TASK).join("tests")).unwrap();
    for (branch, info) in listed["branches"].as_object().unwrap() {
        let names: Vec<&str> =
            info["tests"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
        let file = |ending: &dyn Fn(usize) -> &'static str| {
            let cases: String = names
                .iter()
                .enumerate()
                .map(|(i, name)| {
                    let name =
                        name.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
                    // A name with a line break would come back with a blank.
                    format!("<testcase name=\"{name}\" time=\"0.1\">{}</testcase>", ending(i))
                })
                .collect();
            format!("<testsuites><testsuite>{cases}</testsuite></testsuites>")
        };
        let failure = "<failure message=\"no\">line 1\nline 2</failure>";
        let run = "#!/bin/bash\ncd /workspace\ncp eval/$(./executable).xml eval/results.xml\n";
        let files = [
            ("run.sh", 0o755, run.to_owned()),
            ("passed.xml", 0o644, file(&|_| "")),
            ("failed.xml", 0o644, file(&|_| failure)),
            (
                "mixed.xml",
                0o644,
                file(&|i| match i % 4 {
                    0 => failure,
                    1 => "<error message=\"worse\"/>",
                    2 => "<skipped/>",
                    _ => "",
                }),
            ),
            ("garbage.xml", 0o644, "garbage".to_owned()),
            ("empty.xml", 0o644, String::new()),
        ];
        let files: Vec<_> =
            files.into_iter().map(|(n, m, t)| (format!("eval/{n}"), m, t.into_bytes())).collect();
        gzip_tar(&blobs.join(TASK).join("tests").join(format!("{branch}.tar.gz")), &files).unwrap();
    }
    blobs
}

/// What our evaluation leaves is read, summarized, packaged and verified by the unmodified tool, which comes to the same.
#[test]
fn what_our_evaluator_writes_is_what_the_official_tool_reads() {
    let Some(lib) = official_programbench() else {
        return skip("programbench cannot be installed by pip");
    };
    let stage = Stage::new(lib);
    let image =
        Calculator::IMAGE.replace("testorg_1776_calculator.abc1234", &TASK.replace("__", "_1776_"));
    stage.reenact(&["docker", "tag", Calculator::IMAGE, &image]).expect(0);
    let blobs = asking_blobs(&stage);
    let mut seen = BTreeSet::new();
    for kind in ["passed", "failed", "mixed", "garbage", "empty", "absent", "unbuilt"] {
        let run = stage.scratch.path(&format!("runs/{kind}"));
        std::fs::create_dir_all(run.join(TASK)).unwrap();
        let compile = match kind {
            "unbuilt" => "#!/bin/sh\nexit 1\n".to_owned(),
            _ => format!(
                "#!/bin/sh\nprintf '#!/bin/sh\\necho {kind}\\n' > executable; chmod +x executable\n"
            ),
        };
        let files = [("compile.sh".to_owned(), 0o755, compile.into_bytes())];
        gzip_tar(&run.join(TASK).join("submission.tar.gz"), &files).unwrap();
        let eval = || -> serde_json::Value {
            let file = run.join(TASK).join(format!("{TASK}.eval.json"));
            serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
        };
        let ran = stage.ours(&["eval", "--blobs", blobs.to_str().unwrap()], &run);
        assert_eq!(ran.code, Some(0), "{kind}: {}", ran.stderr);
        let before = eval();
        let error = (kind == "unbuilt").then_some("compile_failed");
        assert_eq!(before["error_code"].as_str(), error, "{kind}");
        let kept = |eval: &serde_json::Value| {
            let keys = ["error_code", "test_branches", "test_branch_errors"];
            // Read anew, the same warning has other words; also of the tool's own results.
            let warnings = eval["warnings"].as_array().unwrap().len();
            (statuses(eval), keys.map(|key| eval[key].clone()), warnings)
        };
        seen.extend(statuses(&before).into_values());
        let theirs = |args: &[&str]| {
            let ran = Ran::from(stage.official(args).arg(&run).output().unwrap());
            assert_eq!(ran.code, Some(0), "{kind}: {args:?}: {}\n{}", ran.stdout, ran.stderr);
            format!("{}{}", ran.stdout, ran.stderr)
        };
        let ours = stage.ours(&["info", "--json"], &run);
        let ours: serde_json::Value = serde_json::from_str(&ours.stdout).unwrap();
        let score = &ours["rows"][0]["official"];
        let share = 100.0 * score["passed"].as_f64().unwrap() / score["total"].as_f64().unwrap();
        let share = format!(" {} ", share.round());
        // Reads the log anew where it may.
        let again = theirs(&["eval", "--summarize-only", "--filter", TASK]);
        assert!(!again.contains("Error summarizing"), "{kind}: {again}");
        assert_eq!(kept(&eval()), kept(&before), "{kind}");
        for shown in [theirs(&["info"]), again] {
            assert!(shown.lines().any(|l| l.contains(&share)), "{kind}: {share}: {shown}");
        }
        theirs(&["submit", "package"]);
        assert!(theirs(&["submit", "verify"]).contains("PASS"), "{kind}");
        assert_eq!(stage.ours(&["submit", "verify"], &run).code, Some(0), "{kind}");
        theirs(&["submit", "recombine"]);
        assert_eq!(kept(&eval()), kept(&before), "{kind}");
    }
    let all = ["passed", "failure", "error", "skipped", "not_run"].map(str::to_owned);
    assert!(seen.is_superset(&BTreeSet::from(all)), "{seen:?}");
}

/// A calculator, as an agent would write it: with a commit, and its product not in it.
const WORK: &str = "cd /workspace && printf '#!/bin/bash\\necho $(($1 $2 $3))\\n' > calculator.sh && \
    printf '#!/bin/bash\\nset -e\\ncp calculator.sh executable\\nchmod +x executable\\n' > compile.sh && chmod +x compile.sh && \
    echo executable > .gitignore && git init -q && git add -A && git -c user.name=a -c user.email=a@b commit -qm work && echo written";

#[test]
fn mini_swe_agents_programbench_runner_works_on_our_containers_to_a_graded_submission() {
    let (Some(agent), Some(lib)) = (mini_swe_agent(), official_programbench()) else {
        return skip("mini-swe-agent and programbench cannot be installed by pip");
    };
    let stage = Stage::new(lib);
    let model = ScriptedModel::start([
        Turn::bash("id -un; pwd; grep CapEff /proc/self/status; cat /proc/net/dev").usage(900, 30),
        Turn::bash(WORK).usage(1100, 120),
        Turn::submit().usage(1200, 20),
    ]);
    let program = "import sys; sys.argv[0] = 'mini-extra'; from minisweagent.run.utilities.mini_extra import main; main()";
    let mut mini = stage.python(program, &[&agent.join("lib"), &stage.lib]);
    mini.env("OPENAI_API_KEY", "sk-programbench-official-0123456789")
        .env("MSWEA_CONFIGURED", "true")
        .env("MSWEA_COST_TRACKING", "ignore_errors")
        .env("MSWEA_GLOBAL_CONFIG_DIR", stage.scratch.path("mini-config"))
        .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        .args(["programbench", "--filter", Calculator::INSTANCE, "-o", "run"])
        .args(["-m", "openai/scripted", "-c", "programbench.yaml", "-c"])
        .arg(format!("environment.executable={}", stage.scratch.path("docker").display()))
        .arg("-c")
        .arg(format!("model.model_kwargs.api_base={}", model.openai_base_url()));
    let ran = Ran::from(mini.output().unwrap());
    let said = format!("{}\n{}", ran.stdout, ran.stderr);
    assert_eq!(ran.code, Some(0), "{said}");

    let run = stage.scratch.path("run");
    let name = format!("run/{0}/{0}.traj.json", Calculator::INSTANCE);
    assert!(stage.scratch.path(&name).exists(), "no trajectory: {said}");
    let trajectory = stage.scratch.json(&name);
    assert_eq!(trajectory["info"]["exit_status"], "Submitted", "{said}\n{trajectory}");
    let told = |n: usize| trajectory["messages"][n]["content"].as_str().unwrap().to_owned();
    // As the benchmark has it: an unprivileged user in /workspace, and no network but loopback.
    let first = told(3);
    assert!(
        first.contains("agent\n/workspace\n") && first.contains("CapEff:\t0000000000000000"),
        "{first}"
    );
    let devices = first.lines().filter(|l| l.trim_start().contains(": ") && !l.contains("CapEff"));
    assert!(devices.filter(|l| !l.trim_start().starts_with("lo:")).count() == 0, "{first}");
    assert!(told(5).contains("written"), "{}", told(5));

    let eval = evaluated(&run, &stage.our_eval(&run));
    let expected = BTreeMap::from([("passed".to_owned(), 3), ("not_run".to_owned(), 3)]);
    assert_eq!(counts(&eval), expected, "{eval}");
    stage.no_container_is_left();
}
