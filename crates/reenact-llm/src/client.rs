//! Asking a model, with patience.

use crate::endpoint::Endpoint;
use crate::error::ModelError;
use crate::exchange::{Agent, Exchange};
use crate::message::{Conversation, Reply, Tool};
use crate::retry::{Failure, Patience, Retries};
use serde_json::{Map, Value};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Settings of a [`Client`].
#[derive(Clone, Debug, PartialEq)]
pub struct ClientOptions {
    pub patience: Patience,
    /// For one request, from its begin to the last byte of the reply.
    pub request_timeout: Duration,
    /// For connecting, the encryption's handshake included.
    pub connect_timeout: Duration,
    /// Largest reply that is read, bytes.
    pub max_reply: u64,
    /// Limit of output tokens for one reply. `None`: the provider's own for chat completions, and
    /// [`DEFAULT_MAX_OUTPUT`] for Anthropic messages, which demand one.
    pub max_output: Option<u64>,
    /// Fields put into every request as they are (`temperature`, `reasoning_effort`, `thinking`, …); they win over ours.
    pub extra: Map<String, Value>,
    /// Seed of the jitter.
    pub seed: u64,
}

/// See [`ClientOptions::max_output`]. At 128,000 tokens an hour, what Anthropic's own libraries reckon with, a reply of this
/// length just fits into ten minutes; they refuse longer ones that are not streamed.
pub const DEFAULT_MAX_OUTPUT: u64 = 21_000;

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            patience: Patience::default(),
            request_timeout: Duration::from_secs(600),
            connect_timeout: Duration::from_secs(20),
            max_reply: 32 << 20,
            max_output: None,
            extra: Map::new(),
            seed: 0,
        }
    }
}

/// Asks one model. Shared between threads; requests do not block each other.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    options: ClientOptions,
    agent: Agent,
    /// Requests begun; gives each its own jitter.
    begun: AtomicU64,
}

impl Client {
    pub fn new(endpoint: Endpoint, options: ClientOptions) -> Self {
        let agent = Agent::new(&endpoint, options.request_timeout, options.connect_timeout);
        Self { endpoint, options, agent, begun: AtomicU64::new(0) }
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub fn options(&self) -> &ClientOptions {
        &self.options
    }

    pub(crate) fn agent(&self) -> &Agent {
        &self.agent
    }

    /// One reply of the model to the conversation.
    ///
    /// Waits out rate limits, overload and outages as [`Patience`] says. `stop` is asked several times a second, also
    /// while a request is under way (which is then abandoned); `on_wait` is told, in words, of every wait.
    ///
    /// # Errors
    /// [`ModelError`]; never for a reply that merely lacks a tool call or has arguments that are not JSON.
    pub fn complete(
        &self,
        conversation: &Conversation,
        tool: &Tool,
        stop: &dyn Fn() -> bool,
        on_wait: &dyn Fn(&str),
    ) -> Result<Reply, ModelError> {
        let exchange = Exchange::new(&self.endpoint, &self.options, conversation, tool);
        let nth = self.begun.fetch_add(1, Ordering::Relaxed);
        let seed = self.options.seed ^ nth.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut retries = Retries::new(self.options.patience, seed);
        loop {
            let failure = match exchange.once(&self.agent, stop) {
                Ok(reply) => return self.unless_refused(reply),
                Err(Failure::Stopped) => return Err(ModelError::Stopped),
                Err(failure) => failure,
            };
            let wait = match retries.next_wait(&failure, self.agent.reached()) {
                Some(wait) => wait,
                None => return Err(retries.give_up(failure, &self.endpoint, &self.options)),
            };
            on_wait(&retries.describe(&failure, wait));
            if !crate::retry::sleep_unless(wait, stop) {
                return Err(ModelError::Stopped);
            }
        }
    }

    fn unless_refused(&self, reply: Reply) -> Result<Reply, ModelError> {
        match reply.refusal(self.endpoint.api()) {
            Some(why) => {
                let why = crate::secret::presentable(&why, self.endpoint.key());
                Err(ModelError::Refused { why, reply: Box::new(reply) })
            }
            None => Ok(reply),
        }
    }
}
