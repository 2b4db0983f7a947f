//! Why a model gave no reply.

use crate::message::Reply;
use std::time::Duration;

/// Why [`crate::Client::complete`] gave no reply. No variant holds a key: what providers say goes through a filter first,
/// and is bounded.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// 401 or 403. Not retried.
    #[error("{base_url} refused the key (HTTP {status}): {message}")]
    Auth { base_url: String, status: u16, message: String },
    /// The account has no credit left (402, `insufficient_quota`). Not retried: waiting does not fill it.
    #[error("{base_url}: the account has no credit left (HTTP {status}): {message}")]
    NoCredit { base_url: String, status: u16, message: String },
    /// The provider does not accept the request: no such model, no such address, a setting it does not know. Not retried.
    #[error("{base_url} does not accept the request (HTTP {status}): {message}")]
    BadRequest { base_url: String, status: u16, message: String },
    /// The conversation is longer than the model reads. Not retried.
    #[error("the conversation is too long for the model: {message}")]
    ContextTooLong { message: String },
    /// 429 for longer than we wait, or with a `Retry-After` beyond that.
    #[error("{base_url}: rate limited (HTTP 429), still after {}: {message}", tried(*tries, *waited))]
    RateLimited { base_url: String, tries: u32, waited: Duration, message: String },
    /// 5xx (529 among them), 408, 409 or 425 for longer than we wait.
    #[error("{base_url}: failing (HTTP {status}), still after {}: {message}", tried(*tries, *waited))]
    Overloaded { base_url: String, status: u16, tries: u32, waited: Duration, message: String },
    /// No connection, or it broke, for longer than we wait.
    #[error("{base_url}: not reachable, still after {}: {message}", tried(*tries, *waited))]
    Unreachable { base_url: String, tries: u32, waited: Duration, message: String },
    /// No reply within the time for one request, for longer than we wait.
    #[error("{base_url}: no reply within {} s, {}", limit.as_secs_f64(), tried(*tries, *waited))]
    Timeout { base_url: String, limit: Duration, tries: u32, waited: Duration },
    /// Replies that are not what the API promises (truncated JSON, wrong shape), several times.
    #[error("{base_url}: the reply makes no sense ({message}), in each of {tries} tries")]
    Malformed { base_url: String, tries: u32, message: String },
    /// A reply larger than we read. Not retried.
    #[error("{base_url}: a reply of more than {limit} bytes")]
    TooLarge { base_url: String, limit: u64 },
    /// The model or its provider's filter declined. The reply is kept: its tokens were paid for.
    #[error("the model declined: {why}")]
    Refused { why: String, reply: Box<Reply> },
    /// The caller's `stop` said so.
    #[error("stopped while asking the model")]
    Stopped,
}

fn tried(tries: u32, waited: Duration) -> String {
    let word = if tries == 1 { "try" } else { "tries" };
    format!("{tries} {word} in {:.0} s", waited.as_secs_f64())
}

impl ModelError {
    /// Whether the provider (or the way to it, or the account there) failed, so that nothing is known about the agent,
    /// and the same request may work later: everything but [`ContextTooLong`], [`Refused`] and [`Stopped`].
    ///
    /// [`ContextTooLong`]: ModelError::ContextTooLong
    /// [`Refused`]: ModelError::Refused
    /// [`Stopped`]: ModelError::Stopped
    pub fn is_provider_failure(&self) -> bool {
        !matches!(self, Self::ContextTooLong { .. } | Self::Refused { .. } | Self::Stopped)
    }

    /// A remedy for the user, where there is one.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Auth { .. } => Some("check the key in the environment and what it may use"),
            Self::NoCredit { .. } => Some("add credit at the provider, then resume"),
            Self::BadRequest { .. } => Some("check the model's name and --base-url"),
            Self::RateLimited { .. } => Some("use fewer --workers, or resume later"),
            Self::Unreachable { .. } => Some("check --base-url and the network, then resume"),
            Self::Overloaded { .. } | Self::Timeout { .. } => Some("resume later"),
            Self::Malformed { .. } | Self::TooLarge { .. } => {
                Some("check that --base-url speaks the API named in --model")
            }
            Self::ContextTooLong { .. } | Self::Refused { .. } | Self::Stopped => None,
        }
    }
}
