//! mini-swe-agent's trajectories as ATIF (FORMATS B5): a reply of the model and the messages that answer it are one step.

use super::atif::{
    ATIF_VERSION, Agent, Atif, Call, FinalMetrics, Free, Metrics, Outcome, Source, Step, Text,
};
use super::mini::{Message, MiniTrajectory, Stats};
use serde_json::{Map, Value};

/// Whose trajectory it is, where the trajectory itself does not say.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// Agent's name and version.
    pub agent: String,
    pub version: String,
    pub model: Option<String>,
    /// The run it belongs to.
    pub session_id: Option<String>,
    /// Free data of the root.
    pub extra: Free,
}

/// Translates a trajectory. The result keeps every rule of [`super::check_atif`], provided that there is a message.
pub fn to_atif(mini: &MiniTrajectory, subject: &Subject) -> Atif {
    let mut steps: Vec<Step> = Vec::new();
    let mut root = subject.extra.clone();
    let mut stats = Stats::default();
    for message in &mini.messages {
        stats.add(message);
        match message.role.as_str() {
            "system" => steps.push(plain(message, Source::System)),
            "exit" => exit(message, &mut root),
            "assistant" => steps.push(agent(message, steps.len())),
            _ if is_response(message) => steps.push(agent(message, steps.len())),
            "tool" => observe(message, &mut steps),
            _ if is_observation(message) => observe(message, &mut steps),
            _ => steps.push(plain(message, Source::User)),
        }
    }
    for (i, step) in steps.iter_mut().enumerate() {
        step.step_id = i as u64 + 1;
    }
    if let Some(status) = mini.info.exit_status.as_ref().filter(|s| !s.is_empty()) {
        root.entry("exit_status").or_insert_with(|| Value::from(status.as_str()));
    }
    root.insert("trajectory_format".to_owned(), Value::from(mini.trajectory_format.as_str()));
    let total_steps = steps.len() as u64;
    Atif {
        schema_version: ATIF_VERSION.to_owned(),
        session_id: subject.session_id.clone(),
        trajectory_id: mini.instance_id.clone(),
        agent: Agent {
            name: subject.agent.clone(),
            version: subject.version.clone(),
            model_name: subject.model.clone(),
            ..Agent::default()
        },
        steps,
        final_metrics: Some(FinalMetrics {
            total_prompt_tokens: Some(stats.usage.prompt_tokens),
            total_completion_tokens: Some(stats.usage.completion_tokens),
            total_cached_tokens: Some(stats.usage.cached_tokens),
            total_cost_usd: Some(stats.cost),
            total_steps: Some(total_steps),
            extra: free([("api_calls", Value::from(stats.calls))]),
        }),
        extra: Some(root),
        ..Atif::default()
    }
}

fn free<const N: usize>(entries: [(&str, Value); N]) -> Option<Free> {
    let map: Map<String, Value> =
        entries.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.to_owned(), v)).collect();
    (!map.is_empty()).then_some(map)
}

/// `extra.timestamp`, seconds since the epoch, as RFC 3339.
fn timestamp(message: &Message) -> Option<String> {
    let seconds = message.extra.timestamp.filter(|t| t.is_finite() && t.abs() < 1e11)?;
    // At most 1e14 by the bound above: exact in an i64.
    #[expect(clippy::cast_possible_truncation, reason = "bounded above")]
    let millis = (seconds * 1000.0).round() as i64;
    jiff::Timestamp::from_millisecond(millis).ok().map(|t| t.to_string())
}

fn plain(message: &Message, source: Source) -> Step {
    let usage = message.usage().map(|u| {
        serde_json::json!({"prompt_tokens": u.prompt_tokens, "completion_tokens": u.completion_tokens,
            "cached_tokens": u.cached_tokens})
    });
    Step {
        timestamp: timestamp(message),
        source,
        message: Text::Plain(message.text().into_owned()),
        // The answer to a malformed reply carries what that reply cost; metrics are for agents only.
        extra: free([
            ("cost_usd", message.extra.cost.map_or(Value::Null, Value::from)),
            ("usage", usage.unwrap_or_default()),
            ("interrupt_type", rest(message, "interrupt_type")),
        ]),
        ..Step::default()
    }
}

fn rest(message: &Message, key: &str) -> Value {
    message.extra.rest.get(key).cloned().unwrap_or_default()
}

/// A raw object of the Responses API, which has no role.
fn is_response(message: &Message) -> bool {
    message.role.is_empty() && message.rest.get("object").is_some_and(|o| o == "response")
}

/// What commands gave, from loops without tool calls (role `user`) or over the Responses API.
fn is_observation(message: &Message) -> bool {
    message.extra.returncode.is_some()
        || message.rest.get("type").is_some_and(|t| t == "function_call_output")
}

fn agent(message: &Message, index: usize) -> Step {
    let usage = message.usage();
    let metrics = (usage.is_some() || message.extra.cost.is_some()).then(|| Metrics {
        prompt_tokens: usage.map(|u| u.prompt_tokens),
        completion_tokens: usage.map(|u| u.completion_tokens),
        cached_tokens: usage.map(|u| u.cached_tokens),
        cost_usd: message.extra.cost,
        ..Metrics::default()
    });
    let calls = calls(message, index);
    let reasoning = message.rest.get("reasoning_content").and_then(Value::as_str);
    Step {
        timestamp: timestamp(message),
        source: Source::Agent,
        message: Text::Plain(if is_response(message) {
            response_text(message)
        } else {
            message.text().into_owned()
        }),
        reasoning_content: reasoning.map(str::to_owned),
        tool_calls: (!calls.is_empty()).then_some(calls),
        metrics,
        ..Step::default()
    }
}

/// The calls of a reply: its own, or, from loops without tool calls, one for each command.
fn calls(message: &Message, index: usize) -> Vec<Call> {
    let made = message.tool_calls.as_deref().unwrap_or_default();
    if !made.is_empty() {
        let name = |i: usize, id: &str| {
            if id.is_empty() { format!("call_{}_{}", index + 1, i + 1) } else { id.to_owned() }
        };
        return made
            .iter()
            .enumerate()
            .map(|(i, call)| {
                let arguments = call.function.arguments();
                let raw = match (&arguments, &call.function.arguments) {
                    (None, raw) => raw.clone(),
                    _ => Value::Null,
                };
                Call {
                    tool_call_id: name(i, &call.id),
                    function_name: call.function.name.clone().unwrap_or_default(),
                    arguments: arguments.unwrap_or_default(),
                    extra: free([("raw_arguments", raw)]),
                }
            })
            .collect();
    }
    message
        .commands()
        .into_iter()
        .enumerate()
        .map(|(i, action)| Call {
            tool_call_id: action
                .tool_call_id
                .unwrap_or_else(|| format!("call_{}_{}", index + 1, i + 1)),
            function_name: "bash".to_owned(),
            arguments: free([("command", Value::from(action.command))]).unwrap_or_default(),
            extra: None,
        })
        .collect()
}

fn response_text(message: &Message) -> String {
    let output = message.rest.get("output").and_then(Value::as_array);
    let content = output.into_iter().flatten().filter_map(|o| o.get("content")?.as_array());
    let texts: Vec<&str> =
        content.flatten().filter_map(|p| p.get("text").and_then(Value::as_str)).collect();
    texts.join("\n")
}

/// Adds what a command gave to the step that asked for it.
fn observe(message: &Message, steps: &mut Vec<Step>) {
    let wanted = message
        .tool_call_id
        .clone()
        .or_else(|| message.rest.get("call_id").and_then(Value::as_str).map(str::to_owned));
    if !steps.last().is_some_and(|s| s.source == Source::Agent) {
        // Nobody asked for it: a step of the system's own.
        steps.push(Step { source: Source::System, ..Step::default() });
    }
    let Some(step) = steps.last_mut() else { return };
    let results = &mut step.observation.get_or_insert_default().results;
    let calls = step.tool_calls.as_deref().unwrap_or_default();
    let id = match &wanted {
        Some(id) => calls.iter().find(|c| c.tool_call_id == *id),
        None => calls.get(results.len()),
    }
    .map(|c| c.tool_call_id.clone());
    let unknown = if id.is_none() { wanted.map_or(Value::Null, Value::from) } else { Value::Null };
    let text = message.rest.get("output").and_then(Value::as_str);
    let e = &message.extra;
    results.push(Outcome {
        source_call_id: id,
        content: Some(Text::Plain(text.map_or_else(|| message.text().into_owned(), str::to_owned))),
        subagent_trajectory_ref: None,
        extra: free([
            ("tool_call_id", unknown),
            ("returncode", e.returncode.map_or(Value::Null, Value::from)),
            (
                "exception_info",
                e.exception_info
                    .as_deref()
                    .filter(|s| !s.is_empty())
                    .map_or(Value::Null, Value::from),
            ),
            (
                "raw_output_blob",
                e.raw_output_blob
                    .as_ref()
                    .and_then(|b| serde_json::to_value(b).ok())
                    .unwrap_or_default(),
            ),
            ("timestamp", timestamp(message).map_or(Value::Null, Value::from)),
        ]),
    });
}

fn exit(message: &Message, root: &mut Free) {
    for (key, value) in
        [("exit_status", &message.extra.exit_status), ("submission", &message.extra.submission)]
    {
        if let Some(value) = value.as_ref().filter(|v| !v.is_empty()) {
            root.insert(key.to_owned(), Value::from(value.as_str()));
        }
    }
}
