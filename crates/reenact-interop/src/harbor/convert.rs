//! Harbor's trials as our results: typed outcomes, scores, costs, and the verifier's tests where it left a CTRF report.
//!
//! What Harbor does not know stays unknown: digests of references and suites are those of nothing, and the reference's seal
//! counts as the weakest, since nobody vouches for a stronger one. A reward that is missing is no score, not 0.

use super::trial::Trial;
use crate::causes::Cause;
use crate::clean;
use crate::ctrf::{ReadTest, Status};
use crate::story::{MAX_MESSAGE, kind_named};
use reenact_model::run::{
    AgentOutcome, BuildResult, CaseResult, GroupScore, Harness, Outcome, RunTask, Standing,
    TaskResult, Tokens, Work, verdicts_digest,
};
use reenact_model::verdict::{FailKind, FailReason, Verdict};
use reenact_model::{Digest, Seal};
use std::collections::{BTreeMap, BTreeSet};

/// A trial as our run directories hold it.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// For `run.toml`.
    pub entry: RunTask,
    /// For `<id>.reenact.json`.
    pub result: TaskResult,
}

/// One run directory of an import: one agent with one model, each task once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Name under the directory that was asked for; empty if it is the only one.
    pub dir: String,
    pub agent: String,
    pub version: String,
    pub model: Option<String>,
    /// Indices into the trials, by task id.
    pub tasks: BTreeMap<String, usize>,
}

/// Share of passes from which a task is almost resolved, where the trial does not say.
const ALMOST: f64 = 0.95;

/// Distributes trials over run directories: one for each agent and model, and for each attempt where a task was tried more
/// than once. Equal trials give equal places.
pub fn arrange(trials: &[Trial]) -> Vec<Place> {
    let mut order: Vec<usize> = (0..trials.len()).collect();
    order.sort_by_key(|i| (trials[*i].started_at.clone(), trials[*i].trial_name.clone(), *i));
    let ids = ids(trials);
    let mut groups: BTreeMap<(String, String, String), Vec<BTreeMap<String, usize>>> =
        BTreeMap::new();
    for i in order {
        let attempts = groups.entry(who(&trials[i])).or_default();
        let id = &ids[&trials[i].task_name];
        match attempts.iter_mut().find(|tasks| !tasks.contains_key(id)) {
            Some(tasks) => drop(tasks.insert(id.clone(), i)),
            None => attempts.push([(id.clone(), i)].into()),
        }
    }
    let several = groups.len() > 1;
    let mut places = Vec::new();
    for ((agent, version, model), attempts) in groups {
        let many = attempts.len() > 1;
        for (k, tasks) in attempts.into_iter().enumerate() {
            let mut parts = Vec::new();
            if several {
                let name = [agent.as_str(), version.as_str(), model.as_str()];
                let named: Vec<&str> = name.into_iter().filter(|n| !n.is_empty()).collect();
                parts.push(clean::task_id(&named.join("__")));
            }
            if many {
                parts.push(format!("attempt-{}", k + 1));
            }
            let model = (!model.is_empty()).then(|| model.clone());
            let (agent, version, dir) = (agent.clone(), version.clone(), parts.join("/"));
            places.push(Place { dir, agent, version, model, tasks });
        }
    }
    places
}

/// An id of ours for each of their names. Names of our own tasks keep their id.
fn ids(trials: &[Trial]) -> BTreeMap<String, String> {
    let names: BTreeSet<&String> = trials.iter().map(|t| &t.task_name).collect();
    let mut taken = BTreeSet::new();
    let mut ids = BTreeMap::new();
    for name in names {
        let mut id = clean::task_id(name.strip_prefix("reenact/").unwrap_or(name));
        if !taken.insert(id.clone()) {
            // Two names that differ only in what ids cannot hold.
            id = clean::task_id(&format!("{id}-{}", Digest::of(name.as_bytes()).short(8)));
            taken.insert(id.clone());
        }
        ids.insert(name.clone(), id);
    }
    ids
}

fn who(trial: &Trial) -> (String, String, String) {
    let info = trial.agent_info.clone().unwrap_or_default();
    let agent = if info.name.is_empty() { "unknown".to_owned() } else { info.name };
    let model = info.model_info.map(|m| match m.provider {
        Some(provider) if !provider.is_empty() => format!("{provider}/{}", m.name),
        _ => m.name,
    });
    let name = |text: &str| clean::name(text);
    (name(&agent), name(&info.version), name(&model.unwrap_or_default()))
}

/// Translates a trial. `job` names where it comes from; `tests` are those of the verifier's CTRF report.
pub fn import(
    trial: &Trial,
    id: &str,
    job: &str,
    tests: Option<&[ReadTest]>,
    harness: &Harness,
) -> Imported {
    let task = Digest::of(trial.task_checksum.as_bytes());
    let checksum = format!("sha256:{}", trial.task_checksum).parse().unwrap_or(task);
    let (outcome, why) = outcome(trial);
    let mut notes = vec![format!(
        "imported from Harbor: {}/{}",
        clean::name(job),
        clean::name(&trial.trial_name)
    )];
    notes.extend(rewards_note(trial));
    let mut result = TaskResult {
        why: why.clone(),
        build: BuildResult { ok: outcome.standing() == Standing::Valid, ..BuildResult::default() },
        suite_ms: trial.verifier_ms(),
        cases: tests.map(cases).unwrap_or_default(),
        notes,
        ..TaskResult::without_cases(id, outcome, checksum, harness)
    };
    count(&mut result, trial);
    Imported { entry: entry(trial, checksum, why), result }
}

fn entry(trial: &Trial, task: Digest, why: Option<String>) -> RunTask {
    let totals = trial.totals();
    let ended = trial.exceptions().next();
    // Without an exception it is the score that is missing, which is not the agent's affair.
    let why = why.filter(|_| ended.is_some());
    let cached = totals.cached.unwrap_or(0);
    RunTask {
        path: format!("harbor:{}", clean::name(&trial.task_name)),
        task,
        reference: Digest::of(b""),
        agent_outcome: ended.map_or(AgentOutcome::Submitted, |e| {
            Cause::of_harbor(&e.exception_type).agent_outcome()
        }),
        probes: 0,
        wall_ms: trial.agent_ms(),
        work: Some(Work {
            seal: Seal::Unsealable,
            accepted_unsealed: false,
            exit_status: ended
                .map_or_else(|| "Finished".to_owned(), |e| clean::name(&e.exception_type)),
            why,
            steps: 0,
            calls: 0,
            cost_usd: totals.cost_usd,
            resumed: 0,
            probes_refused: 0,
            notes: vec![
                "imported: how well the reference was kept from the agent is not known".to_owned(),
            ],
            tokens: Tokens {
                // Theirs includes what came from the cache.
                input: totals.input.unwrap_or(0).saturating_sub(cached),
                cached_input: cached,
                cache_write: 0,
                output: totals.output.unwrap_or(0),
            },
        }),
    }
}

/// The trial's score: its reward `reward`, or its only one.
fn score(trial: &Trial) -> Result<f64, String> {
    let Some(rewards) = trial.rewards() else {
        return Err("there is no reward: the verifier said nothing, which is not 0".to_owned());
    };
    let only = (rewards.len() == 1).then(|| rewards.values().next()).flatten();
    let Some(reward) = rewards.get("reward").or(only) else {
        let names: Vec<String> = rewards.keys().take(8).map(|n| clean::name(n)).collect();
        return Err(format!("none of the rewards is `reward`: {}", names.join(", ")));
    };
    if !(0.0..=1.0).contains(reward) {
        return Err(format!("the reward {reward} is no score between 0 and 1"));
    }
    Ok(*reward)
}

/// Only failures of the agent's own leave its reward valid.
fn outcome(trial: &Trial) -> (Outcome, Option<String>) {
    let score = score(trial);
    let own = |cause: Cause| matches!(cause, Cause::Budget | Cause::Refused);
    let exceptions: Vec<_> =
        trial.exceptions().map(|e| (Cause::of_harbor(&e.exception_type), e)).collect();
    let named = exceptions.iter().find(|(cause, _)| !own(*cause)).or_else(|| exceptions.first());
    match (named, score) {
        (None, Ok(_)) => (Outcome::Graded, None),
        (None, Err(why)) => (Outcome::HarnessFailed, Some(why)),
        (Some((cause, exception)), score) => {
            let message = exception.exception_message.lines().next().unwrap_or_default();
            let mut why = format!("{}: {message}", exception.exception_type);
            if let (true, Err(missing)) = (own(*cause), &score) {
                why = format!("{missing} ({why})");
            }
            (cause.outcome(score.is_ok()), Some(clean::block(&why, MAX_MESSAGE).replace('\n', " ")))
        }
    }
}

fn rewards_note(trial: &Trial) -> Option<String> {
    let rewards = trial.rewards()?;
    let shown: Vec<String> =
        rewards.iter().take(20).map(|(n, v)| format!("{}={v}", clean::name(n))).collect();
    Some(format!("rewards: {}", shown.join(", ")))
}

/// Figures from the tests, if there are any, else from the rewards that our own verifier writes.
fn count(result: &mut TaskResult, trial: &Trial) {
    let of = |name: &str| trial.rewards().and_then(|r| r.get(name)).copied();
    let verdicts =
        |f: fn(&Verdict) -> bool| result.cases.iter().filter(|c| f(&c.verdict)).count() as u64;
    if result.cases.is_empty() {
        result.total = of("n_tests").and_then(whole).unwrap_or(0);
        result.passed = of("n_passed").and_then(whole).unwrap_or(0).min(result.total);
        result.failed = result.total - result.passed;
    } else {
        result.total = result.cases.len() as u64;
        result.passed = verdicts(Verdict::passed);
        result.failed = verdicts(|v| matches!(v, Verdict::Fail { .. }));
        result.not_run = verdicts(|v| matches!(v, Verdict::NotRun { .. }));
        result.harness_errors = verdicts(|v| matches!(v, Verdict::HarnessError { .. }));
    }
    if let (Ok(score), Standing::Valid) = (score(trial), result.outcome.standing()) {
        result.score = score;
        result.resolved = of("resolved").map_or(score >= 1.0, |r| r >= 1.0);
        result.almost_resolved = of("near_resolved").map_or(score >= ALMOST, |r| r >= 1.0);
        let counted = result.passed as f64 / result.total.max(1) as f64;
        if !result.cases.is_empty() && (counted - score).abs() > 1e-6 {
            let (passed, total) = (result.passed, result.total);
            result
                .notes
                .push(format!("the reward is {score}, but {passed} of {total} tests passed"));
        }
    }
    let mut groups: BTreeMap<String, GroupScore> = BTreeMap::new();
    for case in &result.cases {
        let group = groups.entry(case.group.clone()).or_default();
        group.total += 1;
        group.passed += u64::from(case.verdict.passed());
    }
    result.groups = groups;
    result.verdicts_digest =
        verdicts_digest(result.cases.iter().map(|c| (c.id.as_str(), &c.verdict)));
}

/// A count that was written as a number.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked first")]
fn whole(value: f64) -> Option<u64> {
    ((0.0..=1e9).contains(&value) && value.fract() == 0.0).then_some(value as u64)
}

/// Tests as cases: the innermost suite is the group; a name that is there twice gets a number.
fn cases(tests: &[ReadTest]) -> Vec<CaseResult> {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    tests
        .iter()
        .map(|test| {
            let mut id = clean::name(&test.name);
            let times = seen.entry(id.clone()).or_default();
            *times += 1;
            if *times > 1 {
                id = format!("{id} #{times}");
            }
            let group = test.suite.last().map_or_else(|| "tests".to_owned(), |s| clean::name(s));
            let (verdict, wall_us, retries) = (verdict(test), test.wall_us, test.retries);
            CaseResult { id, group, verdict, wall_us, retries, observation: None }
        })
        .collect()
}

fn verdict(test: &ReadTest) -> Verdict {
    let told = test.message.as_deref().or(test.trace.as_deref()).filter(|t| !t.trim().is_empty());
    let line = |otherwise: &str| {
        let text = told.and_then(|t| t.lines().find(|l| !l.trim().is_empty()));
        clean::block(text.unwrap_or(otherwise), MAX_MESSAGE)
    };
    match (test.status, test.raw_status.as_deref()) {
        (Status::Passed, _) => Verdict::Pass,
        (Status::Failed, Some("not_run")) => Verdict::NotRun { why: line("not run") },
        (Status::Failed, _) => {
            let kind = test.kind.as_deref().and_then(kind_named).unwrap_or(FailKind::Reported);
            Verdict::Fail { reasons: vec![FailReason { step: None, kind, detail: line("failed") }] }
        }
        (Status::Skipped, _) => Verdict::NotRun { why: line("skipped") },
        (Status::Pending, _) => Verdict::NotRun { why: line("pending") },
        (Status::Other, _) => Verdict::HarnessError { what: line("neither passed nor failed") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctrf::{Span, read_ctrf, to_ctrf};
    use crate::harbor::read_trial;
    use crate::junit_out::Graded;
    use crate::story::tests::{case, fail, result};
    use proptest::prelude::*;
    use reenact_model::run::this_harness;
    use serde_json::json;
    use std::path::Path;

    fn trial(value: serde_json::Value) -> Trial {
        let text = serde_json::to_string(&value).unwrap();
        read_trial(Path::new("result.json"), text.as_bytes()).unwrap().unwrap()
    }

    fn imported(value: serde_json::Value) -> Imported {
        import(&trial(value), "t", "job", None, &this_harness("0.0.0", None, false))
    }

    #[test]
    fn a_missing_reward_is_no_score_and_a_zero_is_one() {
        let zero =
            imported(json!({"task_name": "t", "verifier_result": {"rewards": {"reward": 0}}}));
        assert_eq!((zero.result.outcome, zero.result.score), (Outcome::Graded, 0.0));
        for none in [json!(null), json!({"rewards": null}), json!({"rewards": {}})] {
            let one = imported(json!({"task_name": "t", "verifier_result": none})).result;
            assert_eq!(one.outcome.standing(), Standing::ExcludedForInfrastructure);
            assert!(one.why.unwrap().contains("no reward"));
        }
        let odd =
            imported(json!({"task_name": "t", "verifier_result": {"rewards": {"reward": 3.5}}}));
        assert_eq!(odd.result.outcome, Outcome::HarnessFailed);
        let many = json!({"task_name": "t", "verifier_result": {"rewards": {"a": 1, "b": 0}}});
        assert!(imported(many).result.why.unwrap().contains("a, b"));
    }

    #[test]
    fn one_failure_of_the_harness_among_the_agents_own_spoils_the_reward() {
        let exception =
            |name: &str| json!({"exception_type": name, "exception_message": "so\nmore"});
        let with = |trial: serde_json::Value, step: serde_json::Value| {
            imported(json!({"task_name": "t", "verifier_result": {"rewards": {"reward": 0.5}},
                "exception_info": trial, "step_results": [{"exception_info": step}]}))
        };
        let own = with(exception("AgentTimeoutError"), json!(null));
        assert_eq!((own.result.outcome, own.result.score), (Outcome::AgentExhaustedBudget, 0.5));
        assert_eq!(own.result.why.as_deref(), Some("AgentTimeoutError: so"));
        assert_eq!(own.entry.agent_outcome, AgentOutcome::ExhaustedBudget);
        let both = with(exception("AgentTimeoutError"), exception("RateLimitError"));
        assert_eq!((both.result.outcome, both.result.score), (Outcome::ModelProviderFailed, 0.0));
    }

    #[test]
    fn attempts_and_agents_get_run_directories_of_their_own() {
        let one = |task: &str, agent: &str, at: &str| {
            trial(json!({"task_name": task, "trial_name": at, "started_at": at,
                "agent_info": {"name": agent, "version": "1", "model_info": {"name": "m", "provider": "p"}}}))
        };
        let single = arrange(&[one("reenact/x.1", "a", "1"), one("org/y", "a", "2")]);
        assert_eq!(single.len(), 1);
        assert_eq!((single[0].dir.as_str(), single[0].model.as_deref()), ("", Some("p/m")));
        assert_eq!(single[0].tasks, [("org__y".to_owned(), 1), ("x.1".to_owned(), 0)].into());
        let trials = [one("x", "a", "2"), one("x", "a", "1"), one("x", "b", "3")];
        let places = arrange(&trials);
        let dirs: Vec<(&str, usize)> =
            places.iter().map(|p| (p.dir.as_str(), p.tasks["x"])).collect();
        let want = [("a__1__p__m/attempt-1", 1), ("a__1__p__m/attempt-2", 0), ("b__1__p__m", 2)];
        assert_eq!(dirs, want.map(|(d, i)| (d, i)));
        let alike = arrange(&[one("a b", "a", "1"), one("a/b", "a", "2"), one("a__b", "a", "3")]);
        assert_eq!(alike[0].tasks.len(), 3, "{alike:?}");
    }

    #[test]
    fn costs_and_tokens_are_taken_over() {
        let one = imported(json!({"task_name": "t", "agent_result": {"n_input_tokens": 100,
            "n_cache_tokens": 40, "n_output_tokens": 7, "cost_usd": 0.25}, "agent_execution":
            {"started_at": "2026-01-01T00:00:00Z", "finished_at": "2026-01-01T00:00:09Z"}}));
        let work = one.entry.work.unwrap();
        let tokens = Tokens { input: 60, cached_input: 40, cache_write: 0, output: 7 };
        assert_eq!((work.tokens, work.cost_usd, one.entry.wall_ms), (tokens, Some(0.25), 9000));
    }

    /// Verdicts as we have them, without what a report cannot say.
    fn any_verdict() -> impl Strategy<Value = Verdict> {
        prop_oneof![
            Just(Verdict::Pass),
            "[a-z :]{1,20}".prop_map(|d| fail(FailKind::Stdout, &d)),
            "[a-z]{1,9}".prop_map(|why| Verdict::NotRun { why }),
            "[a-z]{1,9}".prop_map(|what| Verdict::HarnessError { what }),
        ]
    }

    /// A trial that Harbor's own models wrote.
    const REAL: &[u8] =
        include_bytes!("../../../reenact/tests/it/testdata/harbor-job/budget__ddddddd/result.json");

    proptest! {
        #[test]
        fn a_damaged_trial_is_refused_or_gives_a_result_that_can_be_shown(at in 0..REAL.len(), cut in 0..40usize, bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let mut text = REAL.to_vec();
            text.splice(at..(at + cut).min(REAL.len()), bytes);
            match read_trial(Path::new("result.json"), &text) {
                Err(e) => prop_assert!(e.to_string().starts_with("result.json")),
                Ok(None) => {}
                Ok(Some(trial)) => {
                    let place = arrange(std::slice::from_ref(&trial)).remove(0);
                    let id = place.tasks.keys().next().unwrap();
                    let one = import(&trial, id, "job", None, &this_harness("0", None, false));
                    prop_assert!((0.0..=1.0).contains(&one.result.score));
                    let texts = one.result.why.iter().chain(&one.result.notes).chain([&place.agent]);
                    prop_assert!(!texts.flat_map(|t| t.chars()).any(char::is_control));
                    let valid = one.result.outcome.standing() == Standing::Valid;
                    prop_assert!(!valid || trial.rewards().is_some());
                }
            }
        }

        #[test]
        fn our_own_report_comes_back_with_the_same_verdicts(verdicts in prop::collection::vec(any_verdict(), 1..20)) {
            let cases: Vec<CaseResult> = verdicts.into_iter().enumerate().map(|(i, v)| case(&format!("c{i}"), "g", v)).collect();
            let ours = result("t", Outcome::Graded, cases);
            let document = to_ctrf(&[Graded { name: "t".into(), result: &ours }], Span::default(), "0");
            let tests = read_ctrf(Path::new("c"), document.to_string().as_bytes()).unwrap();
            let reward = json!({"task_name": "t", "verifier_result": {"rewards": {"reward": ours.score}}});
            let back = import(&trial(reward), "t", "j", Some(&tests), &ours.harness).result;
            let digest = verdicts_digest(ours.cases.iter().map(|c| (c.id.as_str(), &c.verdict)));
            prop_assert_eq!(back.verdicts_digest, digest);
            prop_assert_eq!((back.passed, back.total), (ours.passed, ours.total));
            // The last digit of a number may differ once it was written and read.
            prop_assert!((back.score - ours.score).abs() < 1e-12);
        }
    }
}
