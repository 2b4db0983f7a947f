//! A model's reply as it passed by, put together for the trajectory: whole, or from the events of a stream.

use reenact_interop::trajectory::{Message, ToolCall};
use serde_json::Value;
use std::collections::BTreeMap;

/// Calls in one reply, and bytes of each text, that are put together; what is more is left out of the trajectory.
const MOST_CALLS: usize = 1000;

/// The reply as a message, if it is one of a known API.
pub(super) fn message(content_type: &str, body: &[u8]) -> Option<Message> {
    if content_type.to_ascii_lowercase().starts_with("text/event-stream") {
        let mut parts = Parts::default();
        for line in body.split(|b| *b == b'\n') {
            let Some(data) = line.strip_prefix(b"data:") else { continue };
            if let Ok(event) = serde_json::from_slice::<Value>(data) {
                if let Some(whole) = event.get("response").filter(|r| r.get("output").is_some()) {
                    parts = Parts::default();
                    parts.whole(whole);
                } else {
                    parts.event(&event);
                }
            }
        }
        return parts.message();
    }
    let body: Value = serde_json::from_slice(body).ok()?;
    let mut parts = Parts::default();
    parts.whole(&body);
    parts.message()
}

#[derive(Default)]
struct Parts {
    said: bool,
    text: String,
    reasoning: String,
    /// By the index in the reply.
    calls: BTreeMap<u64, Call>,
}

#[derive(Default)]
struct Call {
    id: String,
    name: String,
    arguments: String,
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

impl Parts {
    fn call(&mut self, index: u64) -> Option<&mut Call> {
        self.said = true;
        if self.calls.len() >= MOST_CALLS && !self.calls.contains_key(&index) {
            return None;
        }
        Some(self.calls.entry(index).or_default())
    }

    /// A reply that is not streamed.
    fn whole(&mut self, body: &Value) {
        if let Some(message) = body.pointer("/choices/0/message") {
            self.said = true;
            self.chat(message);
        }
        // Anthropic's blocks; the Responses API's items, whose texts are one level deeper.
        for list in ["content", "output"] {
            for (i, block) in
                body.get(list).and_then(Value::as_array).into_iter().flatten().enumerate()
            {
                self.said = true;
                self.block(i as u64, block);
            }
        }
    }

    /// A chat message, or the difference to one.
    fn chat(&mut self, message: &Value) {
        self.text.push_str(text(message, "/content"));
        for key in ["/reasoning_content", "/reasoning"] {
            self.reasoning.push_str(text(message, key));
        }
        let calls = message.get("tool_calls").and_then(Value::as_array);
        for (i, part) in calls.into_iter().flatten().enumerate() {
            let index = part.get("index").and_then(Value::as_u64).unwrap_or(i as u64);
            if let Some(call) = self.call(index) {
                call.id.push_str(text(part, "/id"));
                call.name.push_str(text(part, "/function/name"));
                call.arguments.push_str(text(part, "/function/arguments"));
            }
        }
    }

    fn block(&mut self, index: u64, block: &Value) {
        match text(block, "/type") {
            "text" => self.text.push_str(text(block, "/text")),
            "thinking" => self.reasoning.push_str(text(block, "/thinking")),
            "message" => {
                for part in block.get("content").and_then(Value::as_array).into_iter().flatten() {
                    self.text.push_str(text(part, "/text"));
                }
            }
            "tool_use" => {
                let input =
                    block.get("input").filter(|i| i.as_object().is_some_and(|o| !o.is_empty()));
                let arguments = input.map(Value::to_string).unwrap_or_default();
                if let Some(call) = self.call(index) {
                    text(block, "/id").clone_into(&mut call.id);
                    text(block, "/name").clone_into(&mut call.name);
                    call.arguments = arguments;
                }
            }
            "function_call" => {
                if let Some(call) = self.call(index) {
                    text(block, "/call_id").clone_into(&mut call.id);
                    text(block, "/name").clone_into(&mut call.name);
                    text(block, "/arguments").clone_into(&mut call.arguments);
                }
            }
            _ => {}
        }
    }

    /// An event of a chat stream, or of Anthropic's.
    fn event(&mut self, event: &Value) {
        if let Some(delta) = event.pointer("/choices/0/delta") {
            self.said = true;
            self.chat(delta);
        }
        let index = event.get("index").and_then(Value::as_u64).unwrap_or(0);
        match text(event, "/type") {
            "content_block_start" => {
                self.said = true;
                if let Some(block) = event.get("content_block") {
                    self.block(index, block);
                }
            }
            "content_block_delta" => {
                self.said = true;
                self.text.push_str(text(event, "/delta/text"));
                self.reasoning.push_str(text(event, "/delta/thinking"));
                let more = text(event, "/delta/partial_json");
                if !more.is_empty()
                    && let Some(call) = self.call(index)
                {
                    call.arguments.push_str(more);
                }
            }
            _ => {}
        }
    }

    fn message(self) -> Option<Message> {
        if !self.said {
            return None;
        }
        let calls = self.calls.into_values().map(|c| {
            let arguments = if c.arguments.is_empty() { "{}".to_owned() } else { c.arguments };
            ToolCall::new(c.id, &c.name, arguments)
        });
        let mut message = Message::assistant(Some(self.text), calls.collect());
        if !self.reasoning.is_empty() {
            message.rest.insert("reasoning_content".to_owned(), self.reasoning.into());
        }
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (text, calls as name and arguments)
    fn read(content_type: &str, body: &str) -> (String, Vec<(String, String)>) {
        let message = message(content_type, body.as_bytes()).unwrap();
        let calls = message.tool_calls.iter().flatten().map(|c| {
            let arguments = c.function.arguments.as_str().unwrap().to_owned();
            (c.function.name.clone().unwrap(), arguments)
        });
        (message.text().into_owned(), calls.collect())
    }

    fn wanted() -> (String, Vec<(String, String)>) {
        ("Hi".to_owned(), vec![("bash".to_owned(), r#"{"command":"ls"}"#.to_owned())])
    }

    #[test]
    fn whole_replies_of_all_apis_are_read() {
        for body in [
            r#"{"choices":[{"message":{"content":"Hi","tool_calls":[{"id":"1","function":{"name":"bash","arguments":"{\"command\":\"ls\"}"}}]}}]}"#,
            r#"{"content":[{"type":"text","text":"Hi"},{"type":"tool_use","id":"1","name":"bash","input":{"command":"ls"}}]}"#,
            r#"{"output":[{"type":"message","content":[{"type":"output_text","text":"Hi"}]},{"type":"function_call","call_id":"1","name":"bash","arguments":"{\"command\":\"ls\"}"}]}"#,
        ] {
            assert_eq!(read("application/json", body), wanted(), "{body}");
        }
        assert_eq!(message("application/json", b"{\"error\":{}}"), None);
        assert_eq!(message("application/json", b"<html>"), None);
    }

    #[test]
    fn streams_of_all_apis_are_put_together() {
        let chat = "data: {\"choices\":[{\"delta\":{\"content\":\"H\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"i\",\"tool_calls\":[{\"index\":0,\"id\":\"1\",\"function\":{\"name\":\"bash\",\"arguments\":\"{\\\"command\\\"\"}}]}}]}\n\ndata: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\":\\\"ls\\\"}\"}}]}}]}\n\ndata: {\"choices\":[],\"usage\":{}}\n\ndata: [DONE]\n\n";
        let messages = "event: x\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\ndata: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"id\":\"1\",\"name\":\"bash\",\"input\":{}}}\n\ndata: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"command\\\":\\\"ls\\\"}\"}}\n\n";
        let responses = "data: {\"type\":\"response.output_text.delta\",\"delta\":\"Hi\"}\n\ndata: {\"type\":\"response.completed\",\"response\":{\"output\":[{\"type\":\"message\",\"content\":[{\"text\":\"Hi\"}]},{\"type\":\"function_call\",\"call_id\":\"1\",\"name\":\"bash\",\"arguments\":\"{\\\"command\\\":\\\"ls\\\"}\"}]}}\n\n";
        for body in [chat, messages, responses] {
            assert_eq!(read("text/event-stream; charset=utf-8", body), wanted(), "{body}");
        }
    }
}
