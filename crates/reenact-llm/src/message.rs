//! Conversations, in a form that is neutral to the API.

use crate::usage::Usage;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What is sent to a model: the system prompt and all messages so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    pub system: String,
    pub messages: Vec<Message>,
}

impl Conversation {
    pub fn new(system: impl Into<String>) -> Self {
        Self { system: system.into(), messages: Vec::new() }
    }

    /// Adds a message of the user.
    pub fn user(&mut self, text: impl Into<String>) {
        self.messages.push(Message::User { text: text.into() });
    }

    /// Adds what the model said.
    pub fn assistant(&mut self, reply: &Reply) {
        self.messages.push(reply.to_message());
    }

    /// Adds the result of the tool call with this id.
    pub fn tool_result(&mut self, id: impl Into<String>, text: impl Into<String>) {
        self.messages.push(Message::ToolResult { id: id.into(), text: text.into() });
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Message {
    User {
        text: String,
    },
    Assistant {
        text: String,
        #[serde(default, skip_serializing_if = "Reasoning::is_empty")]
        reasoning: Reasoning,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolCall>,
    },
    /// Answers the tool call with this id. Calls that get no answer are answered for the caller when the conversation
    /// is sent: APIs refuse such conversations.
    ToolResult {
        id: String,
        text: String,
    },
}

/// What the model thought before it answered, where the API shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reasoning {
    /// To be read by people. Empty where the provider hides it.
    #[serde(default)]
    pub text: String,
    /// The provider's own blocks, sent back unchanged: some providers demand it between tool calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<Value>,
}

impl Reasoning {
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.blocks.is_empty()
    }
}

/// The one tool that a model is offered.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    pub name: String,
    pub description: String,
    /// JSON Schema of the arguments, an object.
    pub parameters: Value,
}

impl Tool {
    /// The shell tool: `bash {command}`.
    pub fn bash() -> Self {
        Self {
            name: "bash".to_owned(),
            description: "Execute a bash command".to_owned(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "command": { "type": "string", "description": "The bash command to execute" }
                },
                "required": ["command"]
            }),
        }
    }
}

/// A call of a tool by the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The provider's id; made from the reply's digest where the provider gives none.
    pub id: String,
    pub name: String,
    pub arguments: Arguments,
}

/// The arguments of a call as the model wrote them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arguments {
    /// A JSON object; whether it fits the tool's schema is not checked.
    Object(serde_json::Map<String, Value>),
    /// Not JSON, or not an object: the text as it came.
    Invalid(String),
}

/// Why a tool call does not name a command. Meant to be told to the model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallProblem {
    #[error("there is no tool named {name:?}; the only tool is {wanted:?}")]
    OtherTool { name: String, wanted: String },
    #[error("the arguments of the tool call are not a JSON object: {why}")]
    NotAnObject { why: String },
    #[error("the tool call has no argument \"command\"")]
    NoCommand,
    #[error("the argument \"command\" of the tool call is not a string")]
    NotAString,
}

impl ToolCall {
    /// The command of a call of [`Tool::bash`].
    ///
    /// # Errors
    /// [`CallProblem`]: what to tell the model.
    pub fn command(&self) -> Result<&str, CallProblem> {
        if self.name != "bash" {
            let name = self.name.chars().take(100).collect();
            return Err(CallProblem::OtherTool { name, wanted: "bash".to_owned() });
        }
        match &self.arguments {
            Arguments::Object(fields) => match fields.get("command") {
                Some(Value::String(command)) => Ok(command),
                Some(_) => Err(CallProblem::NotAString),
                None => Err(CallProblem::NoCommand),
            },
            Arguments::Invalid(text) => Err(CallProblem::NotAnObject { why: why_invalid(text) }),
        }
    }
}

fn why_invalid(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(_) => "another kind of value".to_owned(),
        Err(e) => e.to_string(),
    }
}

/// Why the model stopped writing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// It was done.
    Stop,
    /// It called a tool.
    ToolCalls,
    /// It reached the limit of output tokens: the reply is cut.
    Length,
    /// Anything else, in the provider's word; empty if it gave none.
    Other(String),
}

/// One reply of a model. One without a tool call, or with arguments that are not JSON, is a reply like any other.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub text: String,
    pub reasoning: Reasoning,
    pub tool_calls: Vec<ToolCall>,
    /// `None` where the server does not count; never a made-up zero.
    pub usage: Option<Usage>,
    pub finish: Finish,
    /// The body as it came (with the key taken out, should the server have echoed it): for trajectories.
    /// [`Reply::from_raw`] reads it again.
    pub raw: Value,
}

impl Reply {
    /// The reply as the next requests repeat it.
    pub fn to_message(&self) -> Message {
        Message::Assistant {
            text: self.text.clone(),
            reasoning: self.reasoning.clone(),
            tool_calls: self.tool_calls.clone(),
        }
    }
}
