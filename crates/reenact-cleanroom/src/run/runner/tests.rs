use super::*;
use crate::rundir::RunDir;
use reenact_model::Digest;
use std::path::Path;

/// A plan without tasks.
pub(in crate::run) fn plan(out: &Path) -> RunPlan {
    RunPlan {
        tasks: Vec::new(),
        agent: "bash".to_owned(),
        policy: Policy::default(),
        model: None,
        prompts: None,
        prices: None,
        settings: BTreeMap::new(),
        attempts: 1,
        workers: 1,
        out: out.to_path_buf(),
        cells: CellOptions::default(),
        room: open::Setup::default(),
        harness: reenact_model::run::this_harness("0", None, false),
        force: false,
    }
}

/// A bundle whose reference is a few bytes: enough for everything up to the room.
fn task(root: &Path, id: &str, seal: &str) -> PlannedTask {
    let dir = root.join(id);
    std::fs::create_dir_all(dir.join("sealed")).unwrap();
    std::fs::write(dir.join("sealed/reference"), b"not run").unwrap();
    let digest = Digest::of(b"not run");
    let text = format!(
        "schema = 1\n[task]\nid = \"{id}\"\ntitle = \"t\"\nsplit = \"public\"\ncreated = \"2026-01-01T00:00:00Z\"\n\
         [source]\nkind = \"path\"\nname = \"t\"\nversion = \"1\"\nsha256 = \"{digest}\"\nlicence = \"unknown\"\n\
         [reference]\nsha256 = \"{digest}\"\nsize = 7\nstatic = true\nseal = \"{seal}\"\n\
         [platform]\nos = \"linux\"\narch = \"x86_64\"\nrootfs = \"host\"\n"
    );
    std::fs::write(dir.join("task.toml"), text).unwrap();
    let path = dir.display().to_string();
    PlannedTask { bundle: TaskBundle::open(&path).unwrap(), path }
}

/// Remembers what it was told.
#[derive(Default)]
struct Ear(Mutex<Vec<String>>);

impl RunReporter for Ear {
    fn began(&self, id: &WorkId, _: &Arc<Live>, _: bool) {
        locked(&self.0).push(format!("began {}", id.task));
    }

    fn ended(&self, id: &WorkId, _: &RunTask) {
        locked(&self.0).push(format!("ended {}", id.task));
    }

    fn failed(&self, id: &WorkId, _: &CleanroomError) {
        locked(&self.0).push(format!("failed {}", id.task));
    }

    fn note(&self, _: &str) {}
}

#[test]
fn faults_are_recorded_each_for_its_own_work() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("run");
    let mut plan = plan(&out);
    plan.tasks = ["a", "b"].map(|id| task(temp.path(), id, "sealed")).into();
    let maker = |task: &TaskBundle| -> Result<Box<dyn Agent>, CleanroomError> {
        assert!(task.id() != "a", "this agent panics on a");
        Err(CleanroomError::Agent { what: "out of luck".to_owned() })
    };
    let ear = Ear::default();
    let report = run(&plan, &maker, &Stop::default(), &ear).unwrap();
    assert_eq!(*locked(&ear.0), ["failed a", "failed b"]);
    let texts: Vec<String> = report.faults.iter().map(|(_, e)| e.to_string()).collect();
    assert!(texts[0].contains("panics on a") && texts[1].contains("out of luck"), "{texts:?}");
    let dir = RunDir::open(&out, layout_manifest(&out)).unwrap();
    for id in ["a", "b"] {
        let entry = &dir.manifest().tasks[id];
        assert_eq!(entry.agent_outcome, AgentOutcome::Failed);
        assert_eq!(entry.work.as_ref().unwrap().exit_status, "HarnessFailed");
    }
}

/// A manifest of the same agent, to open the directory with.
fn layout_manifest(out: &Path) -> reenact_model::RunManifest {
    let text = std::fs::read_to_string(out.join("run.toml")).unwrap();
    reenact_model::RunManifest::parse(&out.join("run.toml"), &text).unwrap()
}

#[test]
fn what_was_not_started_is_in_the_manifest_and_no_score() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("run");
    let mut plan = plan(&out);
    plan.tasks = ["a", "b"].map(|id| task(temp.path(), id, "sealed")).into();
    let stop = Stop::default();
    stop.press();
    let maker =
        |_: &TaskBundle| -> Result<Box<dyn Agent>, CleanroomError> { panic!("nothing is started") };
    let report = run(&plan, &maker, &stop, &Ear::default()).unwrap();
    assert!(report.finished.is_empty() && report.faults.is_empty());
    let left: Vec<&str> = report.not_started.iter().map(|n| n.id.task.as_str()).collect();
    assert_eq!(left, ["a", "b"]);
    let manifest = layout_manifest(&out);
    let outcomes: Vec<AgentOutcome> = manifest.tasks.values().map(|t| t.agent_outcome).collect();
    assert_eq!(outcomes, [AgentOutcome::Cancelled, AgentOutcome::Cancelled]);
}

#[test]
fn a_reference_without_a_seal_is_refused_before_anything_is_made() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("run");
    let mut plan = plan(&out);
    plan.tasks = vec![task(temp.path(), "a", "sealed"), task(temp.path(), "b", "unsealable")];
    let maker =
        |_: &TaskBundle| -> Result<Box<dyn Agent>, CleanroomError> { panic!("nothing is started") };
    let error = run(&plan, &maker, &Stop::default(), &Ear::default()).unwrap_err();
    assert!(error.is_usage() && error.to_string().contains("--accept-unsealed"), "{error}");
    assert!(!out.exists());
}

#[test]
fn work_on_another_state_of_the_task_is_not_mixed_with_this_one() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("run");
    let mut plan = plan(&out);
    plan.tasks = vec![task(temp.path(), "a", "sealed")];
    let maker = |_: &TaskBundle| -> Result<Box<dyn Agent>, CleanroomError> {
        Err(CleanroomError::Agent { what: "out of luck".to_owned() })
    };
    run(&plan, &maker, &Stop::default(), &Ear::default()).unwrap();
    // Nothing was made of it yet: a repaired task may be taken.
    plan.tasks = vec![task(temp.path(), "a", "guarded")];
    run(&plan, &maker, &Stop::default(), &Ear::default()).unwrap();
    let mut manifest = layout_manifest(&out);
    manifest.tasks.get_mut("a").unwrap().work.as_mut().unwrap().steps = 3;
    std::fs::write(out.join("run.toml"), toml::to_string(&manifest).unwrap()).unwrap();
    plan.tasks = vec![task(temp.path(), "a", "sealed")];
    let error = run(&plan, &maker, &Stop::default(), &Ear::default()).unwrap_err();
    assert!(error.is_usage() && error.to_string().contains("another state"), "{error}");
}
