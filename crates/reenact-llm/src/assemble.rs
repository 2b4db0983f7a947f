//! Streamed replies put together again, as they would have come in one piece.

use crate::endpoint::Api;
use crate::message::Reply;
use serde_json::{Map, Value, json};

impl Reply {
    /// Reads a whole streamed body (server-sent events). A stream that broke off gives what had come by then.
    ///
    /// # Errors
    /// If it holds no event of the API.
    pub fn from_stream(api: Api, body: &[u8]) -> Result<Self, String> {
        let events = body
            .split(|b| *b == b'\n')
            .filter_map(|line| serde_json::from_slice::<Value>(line.strip_prefix(b"data:")?).ok());
        let raw = match api {
            Api::OpenAi => chat(events),
            Api::Anthropic => message(events),
        };
        Self::from_raw(api, raw.ok_or("no event of this API in the stream")?)
    }
}

/// A chat completion of its chunks.
fn chat(events: impl Iterator<Item = Value>) -> Option<Value> {
    let mut whole: Option<Map<String, Value>> = None;
    let mut message = json!({ "role": "assistant", "content": null });
    let mut finish = Value::Null;
    for event in events.filter(|e| e.get("choices").is_some_and(Value::is_array)) {
        let whole = whole.get_or_insert_with(Map::new);
        for (name, value) in event.as_object().into_iter().flatten() {
            if name != "choices" && !value.is_null() {
                whole.insert(name.clone(), value.clone());
            }
        }
        if let Some(delta) = event.pointer("/choices/0/delta").and_then(Value::as_object) {
            delta.iter().for_each(|(name, part)| add_delta(&mut message, name, part));
        }
        if let Some(reason) = event.pointer("/choices/0/finish_reason").filter(|f| !f.is_null()) {
            finish = reason.clone();
        }
    }
    let mut whole = whole?;
    let choice = json!({ "index": 0, "message": message, "finish_reason": finish });
    whole.insert("object".to_owned(), "chat.completion".into());
    whole.insert("choices".to_owned(), json!([choice]));
    Some(Value::Object(whole))
}

/// Adds one field of a delta to the message. Texts are continued; calls by their index; lists grow.
fn add_delta(message: &mut Value, name: &str, part: &Value) {
    match (name, part) {
        ("role", _) | (_, Value::Null) => {}
        ("tool_calls", Value::Array(parts)) => parts.iter().for_each(|p| add_call(message, p)),
        (_, Value::String(text)) => append(&mut message[name], text),
        (_, Value::Array(more)) => match &mut message[name] {
            Value::Array(list) => list.extend(more.iter().cloned()),
            other => *other = part.clone(),
        },
        _ => message[name] = part.clone(),
    }
}

fn add_call(message: &mut Value, part: &Value) {
    /// More calls than any reply has; an index beyond it is nonsense, and would cost memory.
    const MOST: u64 = 1000;
    if !message["tool_calls"].is_array() {
        message["tool_calls"] = json!([]);
    }
    let Some(calls) = message["tool_calls"].as_array_mut() else { return };
    let at = match part.get("index").and_then(Value::as_u64) {
        Some(index) if index > MOST => return,
        Some(index) => index as usize,
        None => calls.len(),
    };
    while calls.len() <= at {
        calls.push(json!({ "type": "function", "function": { "name": "", "arguments": "" } }));
    }
    let call = &mut calls[at];
    if let Some(id) = part.get("id").filter(|id| id.is_string()) {
        call["id"] = id.clone();
    }
    for field in ["name", "arguments"] {
        if let Some(text) = part.pointer(&format!("/function/{field}")).and_then(Value::as_str) {
            append(&mut call["function"][field], text);
        }
    }
}

/// A message of its events.
fn message(events: impl Iterator<Item = Value>) -> Option<Value> {
    let mut whole: Option<Value> = None;
    let mut blocks: Vec<Value> = Vec::new();
    // The arguments of a call come as pieces of JSON text.
    let mut inputs: Vec<String> = Vec::new();
    for event in events {
        match event.get("type").and_then(Value::as_str).unwrap_or_default() {
            "message_start" => whole = event.get("message").filter(|m| m.is_object()).cloned(),
            "content_block_start" => {
                blocks.push(event.get("content_block").cloned().unwrap_or_default());
                inputs.push(String::new());
            }
            "content_block_delta" => {
                if let (Some(block), Some(input)) = (blocks.last_mut(), inputs.last_mut()) {
                    add_to_block(block, input, &event["delta"]);
                }
            }
            "message_delta" => {
                let whole = whole.as_mut()?;
                merge(whole, &event["delta"]);
                merge(&mut whole["usage"], &event["usage"]);
            }
            _ => {}
        }
    }
    let mut whole = whole?;
    for (block, input) in blocks.iter_mut().zip(&inputs).filter(|(_, input)| !input.is_empty()) {
        // Pieces that make no JSON (a stream that broke off) stay what they are: text.
        block["input"] = serde_json::from_str(input).unwrap_or_else(|_| input.as_str().into());
    }
    whole["content"] = blocks.into();
    Some(whole)
}

fn add_to_block(block: &mut Value, input: &mut String, delta: &Value) {
    if !block.is_object() {
        return;
    }
    for field in ["text", "thinking", "signature"] {
        if let Some(text) = delta.get(field).and_then(Value::as_str) {
            append(&mut block[field], text);
        }
    }
    if let Some(piece) = delta.get("partial_json").and_then(Value::as_str) {
        input.push_str(piece);
    }
}

/// Continues a text; begins one where there is none.
fn append(place: &mut Value, text: &str) {
    match place {
        Value::String(all) => all.push_str(text),
        other => *other = text.into(),
    }
}

/// Puts the fields of `more` over those of `whole`; nothing if either is no object.
fn merge(whole: &mut Value, more: &Value) {
    if let (Value::Object(whole), Value::Object(more)) = (whole, more) {
        whole.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_stream_of_the_api_is_an_error() {
        for api in [Api::OpenAi, Api::Anthropic] {
            for body in
                ["", "data: [DONE]\n\n", "data: {}\n\n", "<html>", "data: {\"error\": {}}\n"]
            {
                assert!(Reply::from_stream(api, body.as_bytes()).is_err(), "{api} {body:?}");
            }
        }
    }

    #[test]
    fn nonsense_in_a_stream_does_no_harm() {
        let calls = r#"data: {"choices":[{"delta":{"tool_calls":[{"index":9999999999},{"index":1,"function":{"name":"bash"}},7]}}]}"#;
        let reply = Reply::from_stream(Api::OpenAi, calls.as_bytes()).unwrap();
        assert!(reply.tool_calls.len() <= 3, "{reply:?}");
        let blocks = concat!(
            "data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"x\"}}\n",
            "data: {\"type\":\"message_start\",\"message\":{\"usage\":7}}\n",
            "data: {\"type\":\"content_block_start\",\"content_block\":3}\n",
            "data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"x\"}}\n",
            "data: {\"type\":\"message_delta\",\"delta\":4,\"usage\":null}\n",
        );
        assert!(Reply::from_stream(Api::Anthropic, blocks.as_bytes()).unwrap().text.is_empty());
    }
}
