//! OpenAI-compatible chat completions: requests and replies.

use crate::client::ClientOptions;
use crate::endpoint::{Api, Endpoint};
use crate::message::{Arguments, Conversation, Finish, Message, Reasoning, Reply, Tool, ToolCall};
use crate::turns::answered;
use crate::usage::Usage;
use serde_json::{Map, Value, json};

/// Fields of an assistant message that its provider wants to see again, as they are.
const ECHOED: [&str; 2] = ["reasoning_details", "reasoning_content"];

pub(crate) fn request(
    endpoint: &Endpoint,
    options: &ClientOptions,
    conversation: &Conversation,
    tool: &Tool,
) -> Map<String, Value> {
    let mut messages = Vec::new();
    if !conversation.system.is_empty() {
        messages.push(json!({ "role": "system", "content": conversation.system }));
    }
    messages.extend(answered(&conversation.messages).iter().map(|m| message(m)));
    let tool = json!({
        "type": "function",
        "function": {
            "name": tool.name, "description": tool.description, "parameters": tool.parameters
        }
    });
    let mut body = Map::new();
    body.insert("model".to_owned(), endpoint.model().into());
    body.insert("messages".to_owned(), messages.into());
    body.insert("tools".to_owned(), json!([tool]));
    if let Some(most) = options.max_output {
        // OpenAI's newer models know only the first name, other servers often only the second.
        let own = endpoint.base_url() == Api::OpenAi.default_base_url();
        let name = if own { "max_completion_tokens" } else { "max_tokens" };
        body.insert(name.to_owned(), most.into());
    }
    body
}

fn message(message: &Message) -> Value {
    match message {
        Message::User { text } => json!({ "role": "user", "content": text }),
        Message::ToolResult { id, text } => {
            json!({ "role": "tool", "tool_call_id": id, "content": text })
        }
        Message::Assistant { text, reasoning, tool_calls } => {
            let mut out = Map::new();
            out.insert("role".to_owned(), "assistant".into());
            let content = match (text.is_empty(), tool_calls.is_empty()) {
                (false, _) => text.as_str().into(),
                (true, false) => Value::Null,
                (true, true) => crate::turns::EMPTY.into(),
            };
            out.insert("content".to_owned(), content);
            if !tool_calls.is_empty() {
                out.insert("tool_calls".to_owned(), tool_calls.iter().map(call).collect());
                for block in reasoning.blocks.iter().filter_map(Value::as_object) {
                    let echoed = block.iter().filter(|(name, _)| ECHOED.contains(&name.as_str()));
                    out.extend(echoed.map(|(name, v)| (name.clone(), v.clone())));
                }
            }
            Value::Object(out)
        }
    }
}

fn call(call: &ToolCall) -> Value {
    let arguments = match &call.arguments {
        Arguments::Object(fields) => json!(fields).to_string(),
        // Some servers parse the arguments of old calls, and answer 400 or 500 to what the model itself once wrote.
        Arguments::Invalid(text) => json!({ "invalid_json": text }).to_string(),
    };
    json!({
        "id": call.id, "type": "function",
        "function": { "name": call.name, "arguments": arguments }
    })
}

pub(crate) fn reply(raw: Value) -> Result<Reply, String> {
    let choice = raw.pointer("/choices/0").ok_or("no choices in it")?;
    let message =
        choice.get("message").filter(|m| m.is_object()).ok_or("a choice without a message")?;
    let text = content_text(message.get("content"));
    let reasoning = reasoning(message);
    let tool_calls = match message.get("tool_calls") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(calls)) => calls
            .iter()
            .enumerate()
            .map(|(n, c)| tool_call(&raw, n, c))
            .collect::<Result<_, _>>()?,
        Some(_) => return Err("tool_calls is not a list".to_owned()),
    };
    let finish = match choice.get("finish_reason").and_then(Value::as_str).unwrap_or_default() {
        "stop" => Finish::Stop,
        "tool_calls" | "function_call" => Finish::ToolCalls,
        "length" => Finish::Length,
        other => Finish::Other(other.chars().take(100).collect()),
    };
    let usage = raw.get("usage").and_then(Usage::from_json);
    Ok(Reply { text, reasoning, tool_calls, usage, finish, raw })
}

/// Text of a content that is a string, a list of parts, or nothing.
fn content_text(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            parts.iter().filter_map(|p| p.get("text").and_then(Value::as_str)).collect()
        }
        _ => String::new(),
    }
}

fn reasoning(message: &Value) -> Reasoning {
    let text = ["reasoning_content", "reasoning"]
        .iter()
        .find_map(|name| message.get(*name).and_then(Value::as_str))
        .unwrap_or_default();
    let echoed = ECHOED.iter().filter_map(|name| {
        let value = message.get(*name).filter(|v| !v.is_null() && **v != json!(""))?;
        Some(json!({ *name: value }))
    });
    Reasoning { text: text.to_owned(), blocks: echoed.collect() }
}

fn tool_call(raw: &Value, nth: usize, call: &Value) -> Result<ToolCall, String> {
    let name = call.pointer("/function/name").and_then(Value::as_str);
    let name = name.ok_or("a tool call without a function name")?.to_owned();
    let arguments = match call.pointer("/function/arguments") {
        Some(Value::String(text)) => match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => Arguments::Object(fields),
            _ => Arguments::Invalid(text.clone()),
        },
        // Some servers send the object itself.
        Some(Value::Object(fields)) => Arguments::Object(fields.clone()),
        Some(other) => Arguments::Invalid(other.to_string()),
        None => Arguments::Invalid(String::new()),
    };
    let id = match call.get("id").and_then(Value::as_str) {
        Some(id) if !id.is_empty() => id.to_owned(),
        _ => crate::turns::made_up_id(raw, nth),
    };
    Ok(ToolCall { id, name, arguments })
}

pub(crate) fn refusal(raw: &Value) -> Option<String> {
    if raw.pointer("/choices/0/finish_reason").and_then(Value::as_str) == Some("content_filter") {
        return Some("stopped by the provider's content filter".to_owned());
    }
    let said = raw.pointer("/choices/0/message/refusal").and_then(Value::as_str)?;
    (!said.trim().is_empty()).then(|| said.to_owned())
}
