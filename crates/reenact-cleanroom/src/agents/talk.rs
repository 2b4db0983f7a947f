//! Between the model client's conversation and the trajectory's messages. The trajectory is the truth: a conversation can be
//! made from it, so that a resumed attempt says to the model what an uninterrupted one would.

use reenact_interop::trajectory::{Action, Extra, Message, ToolCall, Usage};
use reenact_llm::{
    Arguments, Client, Conversation, Finish, ModelError, PriceTable, Reasoning, Reply, Tool,
};
use reenact_model::run::Tokens;
use serde_json::{Value, json};

/// Key under `extra` of an assistant's message: what the model thought, with the provider's own blocks.
const REASONING: &str = "reasoning";
/// Key of a chat message under which many servers and tools have the model's thoughts as text.
const REASONING_TEXT: &str = "reasoning_content";

/// Who answers: a model behind a client, or a script in tests.
pub trait Talker: Send + Sync {
    /// One reply.
    ///
    /// # Errors
    /// [`ModelError`].
    fn ask(
        &self,
        conversation: &Conversation,
        stop: &dyn Fn() -> bool,
        on_wait: &dyn Fn(&str),
    ) -> Result<Reply, ModelError>;

    /// The model's name for trajectories.
    fn model(&self) -> &str;

    /// Dollars for this usage, if the price is known.
    fn cost(&self, usage: &reenact_llm::Usage) -> Option<f64>;
}

/// A model behind a client, with its price.
#[derive(Debug)]
pub struct PricedClient {
    pub client: Client,
    pub prices: PriceTable,
}

impl Talker for PricedClient {
    fn ask(
        &self,
        conversation: &Conversation,
        stop: &dyn Fn() -> bool,
        on_wait: &dyn Fn(&str),
    ) -> Result<Reply, ModelError> {
        self.client.complete(conversation, &Tool::bash(), stop, on_wait)
    }

    fn model(&self) -> &str {
        self.client.endpoint().model()
    }

    fn cost(&self, usage: &reenact_llm::Usage) -> Option<f64> {
        self.prices.cost(self.model(), usage)
    }
}

/// The tokens of manifests.
pub(super) fn tokens(usage: &reenact_llm::Usage) -> Tokens {
    Tokens {
        input: usage.input,
        cached_input: usage.cached_input,
        cache_write: usage.cache_write,
        output: usage.output,
    }
}

/// A reply as the trajectory has it.
pub(super) fn recorded(reply: &Reply, model: &str, cost: Option<f64>) -> Message {
    let calls = reply.tool_calls.iter().map(|call| {
        let arguments = match &call.arguments {
            Arguments::Object(fields) => Value::Object(fields.clone()).to_string(),
            Arguments::Invalid(text) => text.clone(),
        };
        ToolCall::new(call.id.clone(), &call.name, arguments)
    });
    let actions = reply.tool_calls.iter().filter_map(|call| {
        let command = call.command().ok()?.to_owned();
        Some(Action { command, tool_call_id: Some(call.id.clone()) })
    });
    let mut extra = Extra { actions: Some(actions.collect()), cost, ..Extra::default() };
    extra.response = Some(response(reply, model));
    let mut message = Message::assistant(Some(reply.text.clone()), calls.collect());
    if !reply.reasoning.text.is_empty() {
        message.rest.insert(REASONING_TEXT.to_owned(), reply.reasoning.text.clone().into());
    }
    if !reply.reasoning.blocks.is_empty() {
        extra.rest.insert(REASONING.to_owned(), reply.reasoning.blocks.clone().into());
    }
    message.with_extra(extra)
}

/// `extra.response`: the tokens in the chat API's notation, where tools look for them, and as they are priced.
fn response(reply: &Reply, model: &str) -> Value {
    let mut response = json!({ "model": model });
    if let Some(usage) = &reply.usage {
        let chat = Usage {
            prompt_tokens: usage.total_input(),
            completion_tokens: usage.output,
            cached_tokens: usage.cached_input,
        };
        response = chat.to_response(model);
        response["usage"]["reenact"] = json!(usage);
    }
    response["finish_reason"] = match &reply.finish {
        Finish::Stop => "stop".into(),
        Finish::ToolCalls => "tool_calls".into(),
        Finish::Length => "length".into(),
        Finish::Other(word) => word.clone().into(),
    };
    response
}

/// The tokens of a recorded reply, as they were priced.
pub(super) fn recorded_usage(message: &Message) -> Option<reenact_llm::Usage> {
    let usage = message.extra.response.as_ref()?.get("usage")?;
    match usage.get("reenact") {
        Some(ours) => serde_json::from_value(ours.clone()).ok(),
        None => reenact_llm::Usage::from_json(usage),
    }
}

/// Whether the reply reached the limit of its length.
pub(super) fn was_cut(message: &Message) -> bool {
    let finish = message.extra.response.as_ref().and_then(|r| r.get("finish_reason"));
    finish.and_then(Value::as_str) == Some("length")
}

/// The conversation that a trajectory tells of.
pub(super) fn conversation(messages: &[Message]) -> Conversation {
    let mut conversation = Conversation::default();
    for message in messages {
        add(&mut conversation, message);
    }
    conversation
}

/// Adds a recorded message to the conversation.
pub(super) fn add(conversation: &mut Conversation, message: &Message) {
    let text = message.text().into_owned();
    match message.role.as_str() {
        "system" => conversation.system = text,
        "user" => conversation.user(text),
        "tool" => {
            conversation.tool_result(message.tool_call_id.clone().unwrap_or_default(), text);
        }
        "assistant" => conversation.messages.push(reenact_llm::Message::Assistant {
            text,
            reasoning: reasoning(message),
            tool_calls: calls(message),
        }),
        // `exit` is the harness's own.
        _ => {}
    }
}

fn reasoning(message: &Message) -> Reasoning {
    let text = message.rest.get(REASONING_TEXT).and_then(Value::as_str).unwrap_or_default();
    let blocks = message.extra.rest.get(REASONING).and_then(Value::as_array);
    Reasoning { text: text.to_owned(), blocks: blocks.cloned().unwrap_or_default() }
}

/// The calls of a recorded reply.
pub(super) fn calls(message: &Message) -> Vec<reenact_llm::ToolCall> {
    let calls = message.tool_calls.iter().flatten();
    calls
        .map(|call| reenact_llm::ToolCall {
            id: call.id.clone(),
            name: call.function.name.clone().unwrap_or_default(),
            arguments: match call.function.arguments() {
                Some(fields) => Arguments::Object(fields),
                None => Arguments::Invalid(match &call.function.arguments {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                }),
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_comes_back_from_the_trajectory_as_it_was_sent() {
        let mut fields = serde_json::Map::new();
        fields.insert("command".to_owned(), "echo \"ä\"\n".into());
        let call = |id: &str, arguments| reenact_llm::ToolCall {
            id: id.to_owned(),
            name: "bash".to_owned(),
            arguments,
        };
        let reply = Reply {
            text: "Look.".to_owned(),
            reasoning: Reasoning {
                text: "hm".to_owned(),
                blocks: vec![json!({"type": "thinking", "thinking": "hm", "signature": "s"})],
            },
            tool_calls: vec![
                call("c1", Arguments::Object(fields)),
                call("c2", Arguments::Invalid("{\"command\": ".to_owned())),
                call("c3", Arguments::Invalid("[1]".to_owned())),
            ],
            usage: Some(reenact_llm::Usage {
                input: 5,
                cached_input: 3,
                output: 2,
                ..Default::default()
            }),
            finish: Finish::ToolCalls,
            raw: Value::Null,
        };
        let message = recorded(&reply, "m", Some(0.5));
        let line = serde_json::to_string(&message).unwrap();
        let read: Message = serde_json::from_str(&line).unwrap();
        let mut conversation = Conversation::default();
        add(&mut conversation, &read);
        assert_eq!(conversation.messages, [reply.to_message()]);
        assert_eq!(recorded_usage(&read), reply.usage);
        assert_eq!(read.usage().unwrap().prompt_tokens, 8);
        assert_eq!(read.commands().len(), 1);
        assert_eq!(read.extra.cost, Some(0.5));
    }
}
