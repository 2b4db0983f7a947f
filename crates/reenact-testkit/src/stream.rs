//! Replies as server-sent events, in both APIs.

use crate::answer::{blocks, call_id, chat_finish, chat_usage, message_finish, message_usage};
use crate::script::Turn;
use crate::view::{Api, View};
use serde_json::{Value, json};

/// Bytes of a text for each event.
const PIECE: usize = 20;

/// All events of a reply, as they go over the wire.
pub(crate) fn events(view: &View<'_>, turn: &Turn, nth: usize) -> Vec<String> {
    match view.api {
        Api::OpenAi => chat(view, turn, nth),
        Api::Anthropic => {
            let named = |e: Value| {
                format!("event: {}\ndata: {e}\n\n", e["type"].as_str().unwrap_or_default())
            };
            message(view, turn, nth).into_iter().map(named).collect()
        }
    }
}

fn chat(view: &View<'_>, turn: &Turn, nth: usize) -> Vec<String> {
    let mut deltas = vec![json!({ "role": "assistant", "content": "" })];
    deltas.extend(pieces(&turn.reasoning).map(|p| json!({ "reasoning_content": p })));
    deltas.extend(pieces(&turn.text).map(|p| json!({ "content": p })));
    for (n, call) in turn.calls.iter().enumerate() {
        deltas.push(json!({ "tool_calls": [{
            "index": n, "id": call_id(nth, n), "type": "function",
            "function": { "name": call.name, "arguments": "" }
        }] }));
        deltas
            .extend(pieces(&call.arguments).map(
                |p| json!({ "tool_calls": [{ "index": n, "function": { "arguments": p } }] }),
            ));
    }
    let chunk = |choices: Value, usage: Value| {
        json!({
            "id": format!("chatcmpl-{nth}"), "object": "chat.completion.chunk", "created": 0,
            "model": view.model(), "choices": choices, "usage": usage
        })
    };
    let choice = |delta: Value, finish: Value| {
        chunk(json!([{ "index": 0, "delta": delta, "finish_reason": finish }]), Value::Null)
    };
    let mut chunks: Vec<_> = deltas.into_iter().map(|d| choice(d, Value::Null)).collect();
    chunks.push(choice(json!({}), chat_finish(turn).into()));
    if view.wants_usage_chunk() {
        chunks.push(chunk(json!([]), chat_usage(turn)));
    }
    let lines = chunks.into_iter().map(|c| format!("data: {c}\n\n"));
    lines.chain(["data: [DONE]\n\n".to_owned()]).collect()
}

fn message(view: &View<'_>, turn: &Turn, nth: usize) -> Vec<Value> {
    let mut first = message_usage(turn);
    first["output_tokens"] = 1.into();
    let mut events = vec![json!({ "type": "message_start", "message": {
        "id": format!("msg_{nth}"), "type": "message", "role": "assistant", "model": view.model(),
        "content": [], "stop_reason": null, "stop_sequence": null, "usage": first
    } })];
    for (index, block) in blocks(turn, nth).into_iter().enumerate() {
        let (start, deltas) = parts(block);
        events
            .push(json!({ "type": "content_block_start", "index": index, "content_block": start }));
        events.extend(
            deltas.into_iter().map(
                |delta| json!({ "type": "content_block_delta", "index": index, "delta": delta }),
            ),
        );
        events.push(json!({ "type": "content_block_stop", "index": index }));
    }
    events.push(json!({
        "type": "message_delta",
        "delta": { "stop_reason": message_finish(turn), "stop_sequence": null },
        "usage": { "output_tokens": turn.tokens.output }
    }));
    events.push(json!({ "type": "message_stop" }));
    events
}

/// A block as its start, without contents, and the deltas that fill it.
fn parts(mut block: Value) -> (Value, Vec<Value>) {
    let kind = block["type"].as_str().unwrap_or_default().to_owned();
    let take =
        |block: &mut Value, field: &str, empty: Value| std::mem::replace(&mut block[field], empty);
    let deltas = match kind.as_str() {
        "text" => {
            let text = take(&mut block, "text", "".into());
            let text = text.as_str().unwrap_or_default();
            pieces(text).map(|p| json!({ "type": "text_delta", "text": p })).collect()
        }
        "thinking" => {
            let text = take(&mut block, "thinking", "".into());
            let signature = take(&mut block, "signature", "".into());
            let text = text.as_str().unwrap_or_default();
            let thoughts = pieces(text).map(|p| json!({ "type": "thinking_delta", "thinking": p }));
            let sign = json!({ "type": "signature_delta", "signature": signature });
            thoughts.chain([sign]).collect()
        }
        _ => {
            let input = take(&mut block, "input", json!({})).to_string();
            let deltas = pieces(&input);
            deltas.map(|p| json!({ "type": "input_json_delta", "partial_json": p })).collect()
        }
    };
    (block, deltas)
}

/// A text in pieces of about [`PIECE`] bytes, cut between characters.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = PIECE.min(rest.len());
        while !rest.is_char_boundary(end) {
            end += 1;
        }
        let (piece, tail) = rest.split_at(end);
        rest = tail;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_up_the_text() {
        let text = "größe ".repeat(50);
        assert_eq!(pieces(&text).collect::<String>(), text);
        assert!(pieces(&text).all(|p| p.len() <= PIECE + 3));
        assert_eq!(pieces("").count(), 0);
    }
}
