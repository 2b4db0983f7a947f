//! Anthropic messages: requests and replies.

use crate::client::{ClientOptions, DEFAULT_MAX_OUTPUT};
use crate::endpoint::Endpoint;
use crate::message::{Arguments, Conversation, Finish, Message, Reasoning, Reply, Tool, ToolCall};
use crate::turns::{EMPTY, answered, made_up_id};
use crate::usage::Usage;
use serde_json::{Map, Value, json};

pub(crate) fn request(
    endpoint: &Endpoint,
    options: &ClientOptions,
    conversation: &Conversation,
    tool: &Tool,
) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("model".to_owned(), endpoint.model().into());
    let most = options.max_output.unwrap_or(DEFAULT_MAX_OUTPUT);
    body.insert("max_tokens".to_owned(), most.into());
    if !conversation.system.is_empty() {
        let system = json!([{
            "type": "text", "text": conversation.system, "cache_control": { "type": "ephemeral" }
        }]);
        body.insert("system".to_owned(), system);
    }
    let tool = json!({
        "name": tool.name, "description": tool.description, "input_schema": tool.parameters
    });
    body.insert("tools".to_owned(), json!([tool]));
    let mut turns = turns(&answered(&conversation.messages));
    mark_for_cache(&mut turns);
    let messages =
        turns.into_iter().map(|(role, blocks)| json!({ "role": role, "content": blocks }));
    body.insert("messages".to_owned(), messages.collect());
    body
}

/// Messages as alternating turns of content blocks: results and texts between two replies are one turn.
fn turns(messages: &[std::borrow::Cow<'_, Message>]) -> Vec<(&'static str, Vec<Value>)> {
    let mut turns: Vec<(&'static str, Vec<Value>)> = Vec::new();
    for message in messages {
        let (role, blocks) = match message.as_ref() {
            Message::User { text } => ("user", vec![text_block(text)]),
            Message::ToolResult { id, text } => ("user", vec![result_block(id, text)]),
            Message::Assistant { text, reasoning, tool_calls } => {
                ("assistant", assistant(text, reasoning, tool_calls))
            }
        };
        match turns.last_mut() {
            Some((last, all)) if *last == role => all.extend(blocks),
            _ => turns.push((role, blocks)),
        }
    }
    turns
}

/// The API refuses empty texts.
fn text_block(text: &str) -> Value {
    let text = if text.trim().is_empty() { EMPTY } else { text };
    json!({ "type": "text", "text": text })
}

fn result_block(id: &str, text: &str) -> Value {
    json!({ "type": "tool_result", "tool_use_id": id, "content": [text_block(text)] })
}

fn assistant(text: &str, reasoning: &Reasoning, tool_calls: &[ToolCall]) -> Vec<Value> {
    if is_the_same(&reasoning.blocks, tool_calls) {
        return reasoning.blocks.clone();
    }
    let mut blocks = Vec::new();
    if !text.trim().is_empty() || tool_calls.is_empty() {
        blocks.push(text_block(text));
    }
    blocks.extend(tool_calls.iter().map(|call| {
        let input = match &call.arguments {
            Arguments::Object(fields) => json!(fields),
            Arguments::Invalid(text) => json!({ "invalid_json": text }),
        };
        json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": input })
    }));
    blocks
}

/// Whether `blocks` is a whole content of this API with exactly these calls.
fn is_the_same(blocks: &[Value], tool_calls: &[ToolCall]) -> bool {
    let uses = blocks.iter().filter(|b| kind(b) == "tool_use");
    let ids = uses.map(|b| b.get("id").and_then(Value::as_str));
    !blocks.is_empty()
        && blocks.iter().all(|b| !kind(b).is_empty())
        && ids.eq(tool_calls.iter().map(|c| Some(c.id.as_str())))
}

/// Marks where the provider's cache may end: after the last turn of the user, for the next request, and after the one
/// before, which the last request marked. With the system prompt that is three of the four marks allowed.
fn mark_for_cache(turns: &mut [(&'static str, Vec<Value>)]) {
    for (_, blocks) in turns.iter_mut().rev().filter(|(role, _)| *role == "user").take(2) {
        if let Some(Value::Object(block)) = blocks.last_mut() {
            block.insert("cache_control".to_owned(), json!({ "type": "ephemeral" }));
        }
    }
}

fn kind(block: &Value) -> &str {
    block.get("type").and_then(Value::as_str).unwrap_or_default()
}

pub(crate) fn reply(raw: Value) -> Result<Reply, String> {
    let content = raw.get("content").and_then(Value::as_array).ok_or("no content in it")?;
    let texts_of = |wanted: &str, field: &str| {
        let blocks = content.iter().filter(|b| kind(b) == wanted);
        blocks.filter_map(|b| b.get(field).and_then(Value::as_str)).collect::<Vec<_>>().join("\n")
    };
    let text = texts_of("text", "text");
    let thinks = |b: &&Value| matches!(kind(b), "thinking" | "redacted_thinking");
    let reasoning = Reasoning {
        text: texts_of("thinking", "thinking"),
        // All blocks, not only the thoughts: they must come back in the same order.
        blocks: if content.iter().any(|b| thinks(&b)) { content.clone() } else { Vec::new() },
    };
    let uses = content.iter().filter(|b| kind(b) == "tool_use").enumerate();
    let tool_calls = uses.map(|(n, b)| tool_call(&raw, n, b)).collect::<Result<_, _>>()?;
    let finish = match raw.get("stop_reason").and_then(Value::as_str).unwrap_or_default() {
        "end_turn" | "stop_sequence" => Finish::Stop,
        "tool_use" => Finish::ToolCalls,
        "max_tokens" | "model_context_window_exceeded" => Finish::Length,
        other => Finish::Other(other.chars().take(100).collect()),
    };
    let usage = raw.get("usage").and_then(Usage::from_json);
    Ok(Reply { text, reasoning, tool_calls, usage, finish, raw })
}

fn tool_call(raw: &Value, nth: usize, block: &Value) -> Result<ToolCall, String> {
    let name = block.get("name").and_then(Value::as_str).ok_or("a tool use without a name")?;
    let arguments = match block.get("input") {
        Some(Value::Object(fields)) => Arguments::Object(fields.clone()),
        Some(other) => Arguments::Invalid(other.to_string()),
        None => Arguments::Invalid(String::new()),
    };
    let id = match block.get("id").and_then(Value::as_str) {
        Some(id) if !id.is_empty() => id.to_owned(),
        _ => made_up_id(raw, nth),
    };
    Ok(ToolCall { id, name: name.to_owned(), arguments })
}

pub(crate) fn refusal(raw: &Value) -> Option<String> {
    let stopped = raw.get("stop_reason").and_then(Value::as_str) == Some("refusal");
    stopped.then(|| {
        let why = raw.pointer("/stop_details/explanation").and_then(Value::as_str);
        why.unwrap_or("the model declined to go on").to_owned()
    })
}
