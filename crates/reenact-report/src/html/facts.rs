//! Names and values for the reader who wants to know where a figure comes from, or to make the run again.

use super::SuiteView;
use crate::visible::text;
use crate::words;
use reenact_model::run::{Harness, RunTask, Setup, TaskResult, Work};
use reenact_model::{RunManifest, Seal};
use std::collections::BTreeMap;

/// A fact's name and its value.
pub(super) type Fact = (String, String);

/// Everything that the manifest says of the whole run.
pub(super) fn of_run(m: &RunManifest) -> Vec<Fact> {
    let mut out = vec![
        fact("agent", text(m.agent.as_bytes())),
        fact("made", text(m.created.as_bytes())),
        fact("harness", harness(&m.harness)),
    ];
    out.extend(m.setup.iter().flat_map(of_setup));
    out.extend(m.settings.iter().map(|(k, v)| (text(k.as_bytes()), text(v.as_bytes()))));
    if !m.isolation.is_empty() {
        out.push(fact("isolation of the agent", layers(&m.isolation)));
    }
    let probes: u64 = m.tasks.values().fold(0, |sum, t| sum.saturating_add(t.probes));
    if probes > 0 {
        out.push(fact("probes of the reference", probes.to_string()));
    }
    let work: Vec<&Work> = m.tasks.values().filter_map(|t| t.work.as_ref()).collect();
    let costs: Vec<f64> = work.iter().filter_map(|w| w.cost_usd).collect();
    if !costs.is_empty() {
        out.push(fact("cost", dollars(costs.iter().sum())));
    }
    let tokens = work.iter().fold(0_u64, |sum, w| sum.saturating_add(w.tokens.total()));
    if tokens > 0 {
        out.push(fact("tokens", tokens.to_string()));
    }
    out
}

fn of_setup(s: &Setup) -> Vec<Fact> {
    let mut out = Vec::new();
    if let Some(model) = &s.model {
        out.push(fact("model", text(format!("{} ({})", model.name, model.api).as_bytes())));
    }
    if s.attempts > 1 {
        out.push(fact("attempt", format!("{} of {}", s.attempt, s.attempts)));
    }
    let p = &s.policy;
    let mut rules = vec![
        format!("network: {}", text(p.network.as_bytes())),
        format!("at most {} steps", p.steps),
        format!("{} s", p.wall_s),
        format!("{} s a command", p.command_s),
    ];
    rules.extend(p.cost_usd.map(dollars));
    rules.extend(p.tokens.map(|n| format!("{n} tokens")));
    rules.push(format!("{} of memory", words::bytes(p.memory_bytes)));
    rules.push(format!("{} of disk", words::bytes(p.disk_bytes)));
    rules.push(format!("{} processes", p.processes));
    if p.accept_unsealed {
        rules.push("references without a seal accepted".to_owned());
    }
    out.push(fact("policy", rules.join(" · ")));
    out.push(fact("policy digest", s.policy_digest.to_string()));
    out.extend(s.prompts.map(|d| fact("prompts", d.to_string())));
    out.extend(s.prices.map(|d| fact("prices", d.to_string())));
    out
}

/// What the manifest says of the agent's work on one task.
pub(super) fn of_work(entry: &RunTask) -> Vec<Fact> {
    let mut out = Vec::new();
    let mut push = |name: &str, value: String| out.push(fact(name, value));
    let took = words::duration_ms(entry.wall_ms);
    let Some(w) = &entry.work else {
        if entry.wall_ms > 0 {
            push("agent worked for", took);
        }
        return out;
    };
    let mut ended = text(w.exit_status.as_bytes());
    if let Some(why) = &w.why {
        ended.push_str(&format!(": {}", text(why.as_bytes())));
    }
    push("agent ended", ended);
    push("agent worked for", took);
    if w.steps > 0 {
        push("steps", w.steps.to_string());
    }
    if w.calls > 0 {
        push("requests to the model", w.calls.to_string());
        let t = &w.tokens;
        push(
            "tokens",
            format!(
                "{} read, {} read from the cache, {} written to the cache, {} written",
                t.input, t.cached_input, t.cache_write, t.output
            ),
        );
        push("cost", w.cost_usd.map_or("not known".to_owned(), dollars));
    }
    if w.resumed > 0 {
        push("taken up again", format!("{} times", w.resumed));
    }
    if w.probes_refused > 0 {
        push("probes refused", w.probes_refused.to_string());
    }
    push("seal in the cleanroom", seal_words(w.seal, w.accepted_unsealed));
    out
}

fn seal_words(seal: Seal, accepted: bool) -> String {
    let words = match seal {
        Seal::Sealed => "sealed: static, loads no code",
        Seal::Guarded => "guarded: dynamically linked",
        Seal::Unsealable => "unsealable: can load code or read raw memory for its caller",
    };
    if accepted { format!("{words}; accepted by the user") } else { words.to_owned() }
}

/// Where a result comes from.
pub(super) fn of_task(result: &TaskResult, suite: Option<&SuiteView<'_>>) -> Vec<Fact> {
    let mut out = Vec::new();
    let mut push = |name: &str, value: String| out.push(fact(name, value));
    if let Some(suite) = suite {
        if let Some(source) = &suite.source {
            push("source", text(source.as_bytes()));
        }
        if let Some(licence) = suite.licence {
            push("licence", text(licence.as_bytes()));
        }
        if let Some(seal) = suite.seal {
            push("reference", seal_words(seal, false));
        }
    }
    push("task", result.task_digest.to_string());
    push("suite", result.suite_digest.to_string());
    push("verdicts", result.verdicts_digest.to_string());
    if let Some(submission) = result.build.submission {
        push("submission", submission.to_string());
    }
    push("graded by", harness(&result.harness));
    if !result.isolation.is_empty() {
        push("isolation", layers(&result.isolation));
    }
    out
}

fn fact(name: &str, value: String) -> Fact {
    (name.to_owned(), value)
}

fn dollars(usd: f64) -> String {
    format!("${usd:.2}")
}

fn harness(harness: &Harness) -> String {
    let mut out = format!("reenact {}", text(harness.version.as_bytes()));
    if let Some(commit) = &harness.commit {
        out.push_str(&format!(" at {}", text(commit.as_bytes())));
    }
    if harness.dirty {
        out.push_str(" with uncommitted changes");
    }
    out
}

fn layers(layers: &BTreeMap<String, String>) -> String {
    let items: Vec<String> =
        layers.iter().map(|(k, v)| text(format!("{k}: {v}").as_bytes())).collect();
    items.join(" · ")
}
