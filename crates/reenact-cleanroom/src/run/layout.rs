//! Run directories of a plan: one attempt is the directory itself, several are `attempt-1`, `attempt-2`, … in it, each a
//! complete run directory.

use super::runner::RunPlan;
use crate::error::CleanroomError;
use crate::rundir::RunDir;
use reenact_bundle::fsx::fs_error;
use reenact_bundle::now_rfc3339;
use reenact_model::run::{RunManifest, RunTask, Setup, Work};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The directories of the plan's attempts, first attempt first.
///
/// # Errors
/// The directory holds a run of the other layout.
pub fn attempt_dirs(out: &Path, attempts: u32) -> Result<Vec<PathBuf>, CleanroomError> {
    let single = out.join("run.toml").exists();
    if attempts <= 1 {
        if out.join("attempt-1").join("run.toml").exists() {
            return Err(CleanroomError::OtherLayout {
                path: out.to_path_buf(),
                what: "holds several attempts; give `--attempts` as before, or another directory",
            });
        }
        return Ok(vec![out.to_path_buf()]);
    }
    if single {
        return Err(CleanroomError::OtherLayout {
            path: out.to_path_buf(),
            what: "is a run directory of one attempt; give several attempts a directory of their own",
        });
    }
    std::fs::create_dir_all(out).map_err(fs_error(out, "create"))?;
    for entry in std::fs::read_dir(out).map_err(fs_error(out, "read"))? {
        let entry = entry.map_err(fs_error(out, "read"))?;
        if !entry.file_name().to_string_lossy().starts_with("attempt-") {
            return Err(CleanroomError::NotARunDirectory { path: out.to_path_buf() });
        }
    }
    Ok((1..=attempts).map(|k| out.join(format!("attempt-{k}"))).collect())
}

/// Opens (or makes) the run directory of an attempt, and checks that it was begun under the same rules.
///
/// # Errors
/// [`CleanroomError::OtherRules`] with the differences; see [`RunDir::open`].
pub fn open(plan: &RunPlan, attempt: u32, dir: &Path) -> Result<RunDir, CleanroomError> {
    let fresh = manifest(plan, attempt);
    let mut run = RunDir::open(dir, fresh.clone())?;
    let differences = differences(run.manifest(), &fresh);
    if !differences.is_empty() && run.manifest().tasks.values().any(has_begun) {
        return Err(CleanroomError::OtherRules { path: dir.to_path_buf(), differences });
    }
    if run.manifest().setup != fresh.setup || run.manifest().settings != fresh.settings {
        run.set_rules(fresh.setup, fresh.settings)?;
    }
    Ok(run)
}

/// Whether anything was made under the rules of the run. Where nothing was (no key, no such model, a seal that was not
/// accepted), they may still be changed.
pub(super) fn has_begun(entry: &RunTask) -> bool {
    let idle = |w: &Work| w.steps == 0 && w.calls == 0 && w.exit_status != UNFINISHED;
    entry.agent_outcome.is_final() || !entry.work.as_ref().is_some_and(idle)
}

/// Exit status of work that was not started yet.
pub(super) const NOT_STARTED: &str = "NotStarted";
/// Exit status of work that is under way, or was when the harness was killed.
pub(super) const UNFINISHED: &str = "Unfinished";

fn manifest(plan: &RunPlan, attempt: u32) -> RunManifest {
    let setup = Setup {
        attempt,
        attempts: plan.attempts.max(1),
        policy_digest: plan.policy.digest(),
        prompts: plan.prompts,
        prices: plan.prices,
        model: plan.model.clone(),
        policy: plan.policy.clone(),
    };
    RunManifest {
        schema: reenact_model::SCHEMA,
        agent: plan.agent.clone(),
        upper_bound: false,
        created: now_rfc3339(),
        harness: plan.harness.clone(),
        isolation: BTreeMap::new(),
        settings: plan.settings.clone(),
        setup: Some(setup),
        tasks: BTreeMap::new(),
    }
}

/// What the directory was begun with and the plan has otherwise, one line each. Budgets of the whole run may change: they
/// say when to stop starting work, not how an agent works.
fn differences(found: &RunManifest, wanted: &RunManifest) -> Vec<String> {
    let (Some(a), Some(b)) = (&found.setup, &wanted.setup) else {
        return vec!["the run was made without a cleanroom (by an earlier version)".to_owned()];
    };
    let mut lines: Vec<String> =
        a.policy.differences(&b.policy).into_iter().filter(|l| !l.starts_with("run_")).collect();
    let model = |s: &Setup| {
        s.model.as_ref().map_or_else(|| "none".to_owned(), |m| format!("{}/{}", m.api, m.name))
    };
    let digest =
        |d: Option<reenact_model::Digest>| d.map_or_else(|| "none".to_owned(), |d| d.short(12));
    for (name, old, new) in [
        ("model", model(a), model(b)),
        ("prompts", digest(a.prompts), digest(b.prompts)),
        ("prices", digest(a.prices), digest(b.prices)),
    ] {
        if old != new {
            lines.push(format!("{name}: {old} -> {new}"));
        }
    }
    let names: std::collections::BTreeSet<&String> =
        found.settings.keys().chain(wanted.settings.keys()).collect();
    for name in names {
        let (old, new) = (found.settings.get(name), wanted.settings.get(name));
        if old != new {
            let show = |v: Option<&String>| v.map_or("none", String::as_str).to_owned();
            lines.push(format!("{name}: {} -> {}", show(old), show(new)));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use crate::run::runner::tests::plan;
    use reenact_model::run::Model;

    fn entry(status: &str) -> RunTask {
        let digest = reenact_model::Digest::of(b"");
        RunTask {
            path: "t".to_owned(),
            task: digest,
            reference: digest,
            agent_outcome: reenact_model::run::AgentOutcome::Cancelled,
            probes: 0,
            wall_ms: 0,
            work: Some(Work {
                seal: reenact_model::Seal::Sealed,
                accepted_unsealed: false,
                exit_status: status.to_owned(),
                why: None,
                steps: 0,
                calls: 0,
                cost_usd: None,
                resumed: 0,
                probes_refused: 0,
                notes: Vec::new(),
                tokens: reenact_model::run::Tokens::default(),
            }),
        }
    }

    #[test]
    fn attempts_have_directories_of_their_own_and_layouts_do_not_mix() {
        let temp = tempfile::tempdir().unwrap();
        let out = temp.path().join("run");
        assert_eq!(attempt_dirs(&out, 1).unwrap(), std::slice::from_ref(&out));
        let two = attempt_dirs(&out, 2).unwrap();
        assert_eq!(two, [out.join("attempt-1"), out.join("attempt-2")]);
        let mut plan = plan(&out);
        drop(open(&plan, 1, &two[0]).unwrap());
        let error = attempt_dirs(&out, 1).unwrap_err();
        assert!(error.is_usage() && error.to_string().contains("several attempts"), "{error}");

        let single = temp.path().join("single");
        plan.out.clone_from(&single);
        drop(open(&plan, 1, &single).unwrap());
        let error = attempt_dirs(&single, 2).unwrap_err();
        assert!(error.is_usage() && error.to_string().contains("one attempt"), "{error}");
    }

    #[test]
    fn other_rules_are_refused_with_their_differences() {
        let temp = tempfile::tempdir().unwrap();
        let out = temp.path().join("run");
        let begun = plan(&out);
        drop(open(&begun, 1, &out).unwrap());
        let mut other = plan(&out);
        other.policy = Policy { steps: 7, command_s: 1, ..Policy::default() };
        other.model = Some(Model { api: "openai".into(), name: "m2".into() });
        other.prompts = Some(reenact_model::Digest::of(b"other"));
        other.settings.insert("seed".to_owned(), "8".to_owned());
        // Nothing was made yet, so the rules may still change; then they are fixed.
        drop(open(&other, 1, &out).unwrap());
        let mut run = open(&begun, 1, &out).unwrap();
        run.record("t", entry(UNFINISHED), BTreeMap::new()).unwrap();
        drop(run);
        drop(open(&begun, 1, &out).unwrap());

        let error = open(&other, 1, &out).unwrap_err();
        assert!(error.is_usage());
        let text = error.to_string();
        for part in [
            "steps: 1000 -> 7",
            "command_s: 180 -> 1",
            "model: none -> openai/m2",
            "prompts: none -> ",
            "seed: none -> 8",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
    }

    #[test]
    fn budgets_of_the_run_may_change_and_are_recorded() {
        let temp = tempfile::tempdir().unwrap();
        let out = temp.path().join("run");
        let mut plan = plan(&out);
        plan.policy.run_cost_usd = Some(1.0);
        drop(open(&plan, 1, &out).unwrap());
        plan.policy.run_cost_usd = Some(2.0);
        drop(open(&plan, 1, &out).unwrap());
        let run = open(&plan, 1, &out).unwrap();
        assert_eq!(run.manifest().setup.as_ref().unwrap().policy.run_cost_usd, Some(2.0));
    }
}
