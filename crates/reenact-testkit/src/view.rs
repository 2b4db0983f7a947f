//! A request as scripts see it.

use serde_json::Value;

/// The API of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    OpenAi,
    Anthropic,
}

/// A request for a reply.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub api: Api,
    pub body: &'a Value,
}

impl View<'_> {
    /// How many replies the conversation holds already: the number of the turn that is asked for.
    pub fn turn(&self) -> usize {
        self.messages().filter(|m| role(m) == "assistant").count()
    }

    /// All messages in the request's own format, without Anthropic's system prompt.
    pub fn messages(&self) -> impl DoubleEndedIterator<Item = &Value> {
        self.body.get("messages").and_then(Value::as_array).into_iter().flatten()
    }

    /// Text of the system prompt.
    pub fn system(&self) -> String {
        match self.api {
            Api::Anthropic => self.body.get("system").map(text_of).unwrap_or_default(),
            Api::OpenAi => {
                let first = self.messages().find(|m| role(m) == "system");
                first.map(content_text).unwrap_or_default()
            }
        }
    }

    /// Text of the first message of the user: the task.
    pub fn first_user(&self) -> String {
        self.messages().find(|m| role(m) == "user").map(content_text).unwrap_or_default()
    }

    /// Text of the last message: the result of the last command, or what the user said.
    pub fn last(&self) -> String {
        self.messages().next_back().map(content_text).unwrap_or_default()
    }

    pub(crate) fn model(&self) -> &str {
        self.body.get("model").and_then(Value::as_str).unwrap_or("scripted")
    }

    pub(crate) fn wants_stream(&self) -> bool {
        self.body.get("stream").and_then(Value::as_bool).unwrap_or(false)
    }

    pub(crate) fn wants_usage_chunk(&self) -> bool {
        let wish = self.body.pointer("/stream_options/include_usage");
        wish.and_then(Value::as_bool).unwrap_or(false)
    }
}

fn role(message: &Value) -> &str {
    message.get("role").and_then(Value::as_str).unwrap_or_default()
}

fn content_text(message: &Value) -> String {
    message.get("content").map(text_of).unwrap_or_default()
}

/// Text of a content in either API: a string, or blocks with texts, tool results among them.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => blocks.iter().map(text_of).collect::<Vec<_>>().join("\n"),
        Value::Object(block) => {
            let inner = block.get("text").or_else(|| block.get("content"));
            inner.map(text_of).unwrap_or_default()
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn turns_and_texts_are_found_in_both_apis() {
        let chat = json!({"messages": [
            {"role": "system", "content": "s"}, {"role": "user", "content": "u"},
            {"role": "assistant", "content": null}, {"role": "tool", "content": "out"}]});
        let messages = json!({"system": [{"type": "text", "text": "s"}], "messages": [
            {"role": "user", "content": [{"type": "text", "text": "u"}]},
            {"role": "assistant", "content": []},
            {"role": "user", "content": [{"type": "tool_result",
                "content": [{"type": "text", "text": "out"}]}]}]});
        for (api, body) in [(Api::OpenAi, &chat), (Api::Anthropic, &messages)] {
            let view = View { api, body };
            assert_eq!(view.turn(), 1);
            assert_eq!(
                (view.system(), view.first_user(), view.last()),
                ("s".into(), "u".into(), "out".into())
            );
        }
    }
}
