//! Model clients: a conversation with tools, over two HTTP APIs (OpenAI-compatible chat completions, Anthropic messages).
//!
//! [`Client::complete`] gives one reply or a typed error, after retries; it never writes a key anywhere. Costs come from a
//! price table file whose digest goes into run manifests.
//!
//! ```no_run
//! use reenact_llm::{Client, ClientOptions, Conversation, Endpoint, PriceTable, Tool};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let endpoint = Endpoint::resolve("openai/some-model", Some("http://127.0.0.1:8000/v1"), None)?;
//! let client = Client::new(endpoint, ClientOptions::default());
//! let mut conversation = Conversation::new("You are an engineer.");
//! conversation.user("List the files.");
//! let reply = client.complete(&conversation, &Tool::bash(), &|| false, &|wait| eprintln!("{wait}"))?;
//! conversation.assistant(&reply);
//! for call in &reply.tool_calls {
//!     match call.command() {
//!         Ok(command) => conversation.tool_result(&call.id, format!("(ran {command})")),
//!         Err(problem) => conversation.tool_result(&call.id, problem.to_string()),
//!     }
//! }
//! let cost = reply.usage.and_then(|u| PriceTable::built_in().cost(client.endpoint().model(), &u));
//! # Ok(())
//! # }
//! ```
//!
//! A program that relays somebody else's requests uses [`Client::forward`] (one request, no retries, the key added, the
//! body streamed) and [`UsageMeter`].
//!
//! Invariant: the key leaves [`Endpoint`] only as a header of a request to its address. Redirects are not followed.

mod anthropic;
mod assemble;
mod client;
mod endpoint;
mod error;
mod exchange;
mod forward;
mod message;
mod meter;
mod openai;
mod prices;
mod retry;
mod secret;
mod status;
mod turns;
mod usage;

pub use client::{Client, ClientOptions, DEFAULT_MAX_OUTPUT};
pub use endpoint::{Api, Endpoint, EndpointError};
pub use error::ModelError;
pub use forward::{Forward, Forwarded};
pub use message::{
    Arguments, CallProblem, Conversation, Finish, Message, Reasoning, Reply, Tool, ToolCall,
};
pub use meter::UsageMeter;
pub use prices::{Price, PriceError, PriceTable, Rates};
pub use retry::Patience;
pub use secret::Secret;
pub use usage::Usage;
