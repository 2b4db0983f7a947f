//! The messages of a request, whichever API it is of, in the chat API's shape.

use reenact_interop::trajectory::Message;
use serde_json::Value;

/// All messages of a request's body, first to last.
pub(super) fn messages(path: &str, body: &Value) -> Vec<Message> {
    let mut body = body.clone();
    without_marks(&mut body);
    match path {
        "/v1/messages" => anthropic(&body),
        "/v1/responses" => responses(&body),
        _ => {
            list(&body, "messages").filter_map(|m| serde_json::from_value(m.clone()).ok()).collect()
        }
    }
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// Removes the marks of prompt caching: they wander from message to message, which are the same all the while.
fn without_marks(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("cache_control");
            fields.values_mut().for_each(without_marks);
        }
        Value::Array(items) => items.iter_mut().for_each(without_marks),
        _ => {}
    }
}

/// The text of a string, or of a list of parts.
fn text(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts: Vec<&str> =
                parts.iter().filter_map(|p| p.get("text").and_then(Value::as_str)).collect();
            texts.join("\n")
        }
        _ => String::new(),
    }
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn anthropic(body: &Value) -> Vec<Message> {
    let mut all = Vec::new();
    let system = text(body.get("system"));
    if !system.is_empty() {
        all.push(Message::system(system));
    }
    for message in list(body, "messages") {
        if word(message, "role") == "assistant" {
            all.push(Message::assistant(Some(text(message.get("content"))), Vec::new()));
            continue;
        }
        let said = text(message.get("content"));
        for block in list(message, "content").filter(|b| word(b, "type") == "tool_result") {
            all.push(Message::tool(word(block, "tool_use_id"), text(block.get("content"))));
        }
        if !said.is_empty() {
            all.push(Message::user(said));
        }
    }
    all
}

fn responses(body: &Value) -> Vec<Message> {
    let mut all = Vec::new();
    let instructions = text(body.get("instructions"));
    if !instructions.is_empty() {
        all.push(Message::system(instructions));
    }
    if let Some(Value::String(input)) = body.get("input") {
        all.push(Message::user(input.clone()));
    }
    for item in list(body, "input") {
        match (word(item, "type"), word(item, "role")) {
            ("function_call_output", _) => {
                all.push(Message::tool(word(item, "call_id"), text(item.get("output"))));
            }
            (_, "system" | "developer") => all.push(Message::system(text(item.get("content")))),
            (_, "user") => all.push(Message::user(text(item.get("content")))),
            ("function_call", _) | (_, "assistant") => {
                all.push(Message::assistant(Some(text(item.get("content"))), Vec::new()));
            }
            _ => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn seen(path: &str, body: &Value) -> Vec<(String, String)> {
        messages(path, body).iter().map(|m| (m.role.clone(), m.text().into_owned())).collect()
    }

    #[test]
    fn requests_of_all_apis_give_the_same_conversation() {
        let wanted: Vec<(String, String)> = [
            ("system", "be good"),
            ("user", "list"),
            ("assistant", "ok"),
            ("tool", "a b"),
            ("user", "go on"),
        ]
        .map(|(r, t)| (r.to_owned(), t.to_owned()))
        .into();
        let chat = json!({"messages": [
            {"role": "system", "content": "be good"}, {"role": "user", "content": "list"},
            {"role": "assistant", "content": "ok", "tool_calls": [{"id": "1", "type": "function",
                "function": {"name": "bash", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "a b"}, {"role": "user", "content": "go on"}]});
        let anthropic = json!({"system": [{"type": "text", "text": "be good", "cache_control": {"type": "ephemeral"}}],
            "messages": [{"role": "user", "content": "list"},
            {"role": "assistant", "content": [{"type": "text", "text": "ok"}, {"type": "tool_use", "id": "1", "name": "bash", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "a b"}]},
                {"type": "text", "text": "go on"}]}]});
        let responses = json!({"instructions": "be good", "input": [{"role": "user", "content": "list"},
            {"role": "assistant", "content": [{"type": "output_text", "text": "ok"}]},
            {"type": "function_call_output", "call_id": "1", "output": "a b"},
            {"role": "user", "content": [{"type": "input_text", "text": "go on"}]}]});
        assert_eq!(seen("/v1/chat/completions", &chat), wanted);
        assert_eq!(seen("/v1/messages", &anthropic), wanted);
        assert_eq!(seen("/v1/responses", &responses), wanted);
        assert_eq!(seen("/v1/chat/completions", &json!({"messages": 7})), []);
    }
}
