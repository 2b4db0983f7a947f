//! mini-swe-agent's trajectory, format `mini-swe-agent-1.1` (PyPI `mini-swe-agent` 2.4.6).
//!
//! Facts were read from `agents/default.py`, `models/litellm_model.py`, `models/utils/actions_toolcall.py` and
//! `run/benchmarks/programbench.py` of that package: a root with `info`, `messages` and `trajectory_format`; messages as the
//! chat API has them, with everything else under `extra`; a last message of role `exit`. Keys we do not know are kept.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// Value of `trajectory_format`.
pub const MINI_FORMAT: &str = "mini-swe-agent-1.1";

/// A whole trajectory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MiniTrajectory {
    #[serde(default)]
    pub trajectory_format: String,
    /// Task id; only the benchmark runners write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    #[serde(default)]
    pub info: Info,
    pub messages: Vec<Message>,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What is known of the whole trajectory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Info {
    #[serde(default)]
    pub model_stats: ModelStats,
    /// `agent`, `agent_type`, `model`, `model_type`, `environment`, `environment_type`.
    #[serde(default)]
    pub config: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mini_version: Option<String>,
    /// `Submitted`, `LimitsExceeded`, `TimeExceeded`, `RepeatedFormatError`, or the name of an exception; empty while it runs.
    #[serde(default)]
    pub exit_status: Option<String>,
    /// What the agent printed after the line that submits.
    #[serde(default)]
    pub submission: Option<String>,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Cost and calls over the whole trajectory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelStats {
    /// Dollars.
    #[serde(default)]
    pub instance_cost: f64,
    #[serde(default)]
    pub api_calls: u64,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool`, `exit`; empty for raw objects of the Responses API.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub role: String,
    #[serde(default)]
    pub content: Option<Content>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ToolCall>>,
    /// The call that a `tool` message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    #[serde(default)]
    pub extra: Extra,
    /// Other keys of the chat API (`reasoning_content`, `function_call`, …).
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Text, or a list of parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    Text(String),
    Parts(Vec<Value>),
}

/// A call of a tool, as the chat API has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    #[serde(default)]
    pub id: String,
    #[serde(default = "function", rename = "type")]
    pub kind: Option<String>,
    pub function: Function,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

#[expect(clippy::unnecessary_wraps, reason = "the field's type, for serde")]
fn function() -> Option<String> {
    Some("function".to_owned())
}

/// Name and arguments of a called tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Function {
    #[serde(default)]
    pub name: Option<String>,
    /// JSON as text, exactly as the model wrote it (it need not parse); some writers have an object instead.
    #[serde(default)]
    pub arguments: Value,
}

/// What the agent's loop knows about a message beyond what the model sees.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Extra {
    /// Commands that were parsed from an assistant's message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actions: Option<Vec<Action>>,
    /// Dollars for the call that gave this message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    /// Seconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<f64>,
    /// The provider's reply; at least its `usage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returncode: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception_info: Option<String>,
    /// Everything the command printed, where it is small text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_output: Option<String>,
    /// Everything the command printed, beside the trajectory (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_output_blob: Option<BlobRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submission: Option<String>,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A command, and the call that asked for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    #[serde(default)]
    pub command: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

/// Bytes in `blobs/<hex digest>` beside the trajectory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRef {
    pub sha256: reenact_model::Digest,
    pub size: u64,
}

/// Tokens of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// All input, cached or not.
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    /// Part of `prompt_tokens` that came from the provider's cache.
    pub cached_tokens: u64,
}

impl Usage {
    /// As `extra.response` of a message: the chat API's notation, where tools look for tokens.
    pub fn to_response(self, model: &str) -> Value {
        json!({
            "model": model,
            "usage": {
                "prompt_tokens": self.prompt_tokens,
                "completion_tokens": self.completion_tokens,
                "total_tokens": self.prompt_tokens.saturating_add(self.completion_tokens),
                "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
            },
        })
    }
}

impl Message {
    fn plain(role: &str, text: impl Into<String>) -> Self {
        let content = Some(Content::Text(text.into()));
        Self { role: role.to_owned(), content, ..Self::default() }
    }

    /// The first message.
    pub fn system(text: impl Into<String>) -> Self {
        Self::plain("system", text)
    }

    /// The task, or what the harness answers to a malformed reply.
    pub fn user(text: impl Into<String>) -> Self {
        Self::plain("user", text)
    }

    /// A reply of the model with the calls it asked for.
    pub fn assistant(text: Option<String>, tool_calls: Vec<ToolCall>) -> Self {
        Self {
            role: "assistant".to_owned(),
            content: text.map(Content::Text),
            tool_calls: (!tool_calls.is_empty()).then_some(tool_calls),
            ..Self::default()
        }
    }

    /// What a call gave, as the model sees it.
    pub fn tool(call: impl Into<String>, text: impl Into<String>) -> Self {
        Self { tool_call_id: Some(call.into()), ..Self::plain("tool", text) }
    }

    /// The last message: how the agent ended, and what it printed when it submitted.
    pub fn exit(status: &str, submission: &str) -> Self {
        let text = if submission.is_empty() { status } else { submission };
        let mut message = Self::plain("exit", text);
        message.extra.exit_status = Some(status.to_owned());
        message.extra.submission = Some(submission.to_owned());
        message
    }

    /// The message with `extra` in place of its own.
    #[must_use]
    pub fn with_extra(self, extra: Extra) -> Self {
        Self { extra, ..self }
    }

    /// The text of the content: of parts, the texts among them, one a line.
    pub fn text(&self) -> Cow<'_, str> {
        match &self.content {
            None => Cow::Borrowed(""),
            Some(Content::Text(text)) => Cow::Borrowed(text),
            Some(Content::Parts(parts)) => {
                let texts: Vec<&str> =
                    parts.iter().filter_map(|p| p.get("text").and_then(Value::as_str)).collect();
                Cow::Owned(texts.join("\n"))
            }
        }
    }

    /// The commands it asked for: the parsed actions, or what its calls of a tool with a `command` argument say.
    pub fn commands(&self) -> Vec<Action> {
        if let Some(actions) = &self.extra.actions {
            return actions.clone();
        }
        let calls = self.tool_calls.iter().flatten();
        calls
            .filter_map(|call| {
                let command = call.function.arguments()?.get("command")?.as_str()?.to_owned();
                Some(Action { command, tool_call_id: Some(call.id.clone()) })
            })
            .collect()
    }

    /// Tokens of the call that gave this message, where the provider told them.
    pub fn usage(&self) -> Option<Usage> {
        let usage = self.extra.response.as_ref()?.get("usage")?;
        // The two chat APIs and the Responses API each have names of their own.
        let number = |names: [&str; 2]| names.iter().find_map(|n| usage.get(n)?.as_u64());
        let details = ["prompt_tokens_details", "input_tokens_details"];
        let cached = details.iter().find_map(|d| usage.get(d)?.get("cached_tokens")?.as_u64());
        Some(Usage {
            prompt_tokens: number(["prompt_tokens", "input_tokens"])?,
            completion_tokens: number(["completion_tokens", "output_tokens"])?,
            cached_tokens: cached.unwrap_or(0),
        })
    }

    /// Whether the model was asked for this message (a reply, or what was made of a malformed one).
    pub fn is_call(&self) -> bool {
        self.role == "assistant" || self.extra.cost.is_some()
    }
}

impl ToolCall {
    /// A call of `name`, with its arguments as JSON text.
    pub fn new(id: impl Into<String>, name: &str, arguments: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            kind: function(),
            function: Function {
                name: Some(name.to_owned()),
                arguments: Value::String(arguments.into()),
            },
            rest: Map::new(),
        }
    }
}

impl Function {
    /// The arguments, if they are an object.
    pub fn arguments(&self) -> Option<Map<String, Value>> {
        match &self.arguments {
            Value::Object(map) => Some(map.clone()),
            Value::String(text) => serde_json::from_str(text).ok(),
            _ => None,
        }
    }
}

impl Info {
    /// What follows from the messages alone: cost, calls, tokens, and how it ended.
    #[must_use]
    pub fn derived(mut self, messages: &[Message]) -> Self {
        let mut stats = Stats::default();
        messages.iter().for_each(|m| stats.add(m));
        stats.write(&mut self);
        self
    }
}

/// Running totals over messages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Dollars.
    pub cost: f64,
    pub calls: u64,
    pub usage: Usage,
    /// Exit status and submission, once there is an `exit` message.
    pub exit: Option<(String, String)>,
}

impl Stats {
    /// Adds one message.
    pub fn add(&mut self, message: &Message) {
        self.cost += message.extra.cost.unwrap_or(0.0);
        self.calls += u64::from(message.is_call());
        let usage = message.usage().unwrap_or_default();
        let sum = u64::saturating_add;
        self.usage = Usage {
            prompt_tokens: sum(self.usage.prompt_tokens, usage.prompt_tokens),
            completion_tokens: sum(self.usage.completion_tokens, usage.completion_tokens),
            cached_tokens: sum(self.usage.cached_tokens, usage.cached_tokens),
        };
        if message.role == "exit" {
            let text = |v: &Option<String>| v.clone().unwrap_or_default();
            self.exit = Some((text(&message.extra.exit_status), text(&message.extra.submission)));
        }
    }

    /// Puts the totals into `info`.
    pub fn write(&self, info: &mut Info) {
        info.model_stats.instance_cost = self.cost;
        info.model_stats.api_calls = self.calls;
        let tokens = [
            ("prompt_tokens", self.usage.prompt_tokens),
            ("completion_tokens", self.usage.completion_tokens),
            ("cached_tokens", self.usage.cached_tokens),
        ];
        for (name, value) in tokens {
            info.model_stats.rest.insert(name.to_owned(), value.into());
        }
        let (status, submission) = self.exit.clone().unwrap_or_default();
        info.exit_status = Some(status);
        info.submission = Some(submission);
    }
}
