//! Bodies of replies in both APIs.

use crate::script::Turn;
use crate::view::{Api, View};
use serde_json::{Value, json};

/// The whole reply. `nth` is the number of the turn: ids are made of it, so that replies are reproducible.
pub(crate) fn body(view: &View<'_>, turn: &Turn, nth: usize) -> Value {
    match view.api {
        Api::OpenAi => chat(view, turn, nth),
        Api::Anthropic => message(view, turn, nth),
    }
}

/// The id of a tool call.
pub(crate) fn call_id(nth: usize, call: usize) -> String {
    format!("call_{nth}_{call}")
}

pub(crate) fn chat_finish(turn: &Turn) -> &'static str {
    turn.finish.unwrap_or(if turn.calls.is_empty() { "stop" } else { "tool_calls" })
}

pub(crate) fn message_finish(turn: &Turn) -> &'static str {
    turn.finish.unwrap_or(if turn.calls.is_empty() { "end_turn" } else { "tool_use" })
}

pub(crate) fn chat_usage(turn: &Turn) -> Value {
    let t = turn.tokens;
    json!({
        "prompt_tokens": t.input, "completion_tokens": t.output, "total_tokens": t.input + t.output,
        "prompt_tokens_details": { "cached_tokens": t.cached },
        "completion_tokens_details": { "reasoning_tokens": 0 }
    })
}

pub(crate) fn message_usage(turn: &Turn) -> Value {
    let t = turn.tokens;
    json!({
        "input_tokens": t.input.saturating_sub(t.cached).saturating_sub(t.written),
        "cache_read_input_tokens": t.cached,
        "cache_creation_input_tokens": t.written,
        "output_tokens": t.output
    })
}

fn chat(view: &View<'_>, turn: &Turn, nth: usize) -> Value {
    let mut message = json!({ "role": "assistant", "content": content(turn), "refusal": null });
    if !turn.calls.is_empty() {
        let calls = turn.calls.iter().enumerate().map(|(n, call)| {
            json!({
                "id": call_id(nth, n), "type": "function",
                "function": { "name": call.name, "arguments": call.arguments }
            })
        });
        message["tool_calls"] = calls.collect();
    }
    if !turn.reasoning.is_empty() {
        message["reasoning_content"] = turn.reasoning.as_str().into();
    }
    json!({
        "id": format!("chatcmpl-{nth}"), "object": "chat.completion", "created": 0,
        "model": view.model(),
        "choices": [{
            "index": 0, "message": message, "logprobs": null, "finish_reason": chat_finish(turn)
        }],
        "usage": chat_usage(turn)
    })
}

fn content(turn: &Turn) -> Value {
    if turn.text.is_empty() && !turn.calls.is_empty() {
        Value::Null
    } else {
        turn.text.as_str().into()
    }
}

fn message(view: &View<'_>, turn: &Turn, nth: usize) -> Value {
    json!({
        "id": format!("msg_{nth}"), "type": "message", "role": "assistant", "model": view.model(),
        "content": blocks(turn, nth), "stop_reason": message_finish(turn), "stop_sequence": null,
        "usage": message_usage(turn)
    })
}

/// Content blocks. Arguments that are not JSON become a string: this API cannot carry them otherwise.
pub(crate) fn blocks(turn: &Turn, nth: usize) -> Vec<Value> {
    let mut blocks = Vec::new();
    if !turn.reasoning.is_empty() {
        blocks.push(json!({
            "type": "thinking", "thinking": turn.reasoning, "signature": format!("sig-{nth}")
        }));
    }
    if !turn.text.is_empty() {
        blocks.push(json!({ "type": "text", "text": turn.text }));
    }
    blocks.extend(turn.calls.iter().enumerate().map(|(n, call)| {
        let input: Value = serde_json::from_str(&call.arguments)
            .unwrap_or_else(|_| call.arguments.as_str().into());
        json!({ "type": "tool_use", "id": call_id(nth, n), "name": call.name, "input": input })
    }));
    blocks
}

/// An error in the shape of the API.
pub(crate) fn error(api: Api, status: u16, text: &str) -> Value {
    let kind = match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        500..=599 => "api_error",
        _ => "invalid_request_error",
    };
    match api {
        Api::OpenAi => {
            json!({ "error": { "message": text, "type": kind, "param": null, "code": null } })
        }
        Api::Anthropic => {
            json!({ "type": "error", "error": { "type": kind, "message": text } })
        }
    }
}
