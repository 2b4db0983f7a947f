//! One request and its reply.

use crate::client::ClientOptions;
use crate::endpoint::{Api, Endpoint};
use crate::error::ModelError;
use crate::message::{Conversation, Reply, Tool};
use crate::retry::{Failure, SLICE};
use crate::{anthropic, openai, retry, secret, status};
use serde_json::Value;
use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;
use ureq::http::{HeaderMap, Method, Request, Response};

/// The version of Anthropic's API that we speak; a date that has not changed since messages exist.
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// How much of an error's body is read, bytes.
const MAX_ERROR_BODY: u64 = 64 << 10;

/// An HTTP client bound to one endpoint: the key is added here and nowhere else.
#[derive(Clone)]
pub(crate) struct Agent {
    http: ureq::Agent,
    endpoint: Endpoint,
    /// Whether the endpoint ever answered, whatever it said.
    reached: Arc<AtomicBool>,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").finish_non_exhaustive()
    }
}

impl Agent {
    pub(crate) fn new(endpoint: &Endpoint, request: Duration, connect: Duration) -> Self {
        let config = reenact_net::config(endpoint.is_local(), endpoint.roots().cloned())
            .http_status_as_error(false)
            // A redirect would carry the conversation, if not the key, to another address.
            .max_redirects(0)
            .timeout_global(Some(request))
            .timeout_connect(Some(connect));
        Self {
            http: config.build().into(),
            endpoint: endpoint.clone(),
            reached: Arc::new(AtomicBool::new(false)),
        }
    }

    pub(crate) fn reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends a request to an API path (`/v1/…`) of the endpoint with the key added. Blocks until the reply's headers.
    pub(crate) fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response<ureq::Body>, ureq::Error> {
        let mut request = Request::builder().method(method.clone()).uri(self.endpoint.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let has = |name: &str| headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        match self.endpoint.api() {
            Api::OpenAi => {
                if let Some(key) = self.endpoint.key() {
                    request = request.header("authorization", format!("Bearer {}", key.expose()));
                }
            }
            Api::Anthropic => {
                if let Some(key) = self.endpoint.key() {
                    request = request.header("x-api-key", key.expose());
                }
                if !has("anthropic-version") {
                    request = request.header("anthropic-version", ANTHROPIC_VERSION);
                }
            }
        }
        let response = if method == Method::GET {
            self.http.run(request.body(())?)
        } else {
            self.http.run(request.header("content-type", "application/json").body(body)?)
        }?;
        self.reached.store(true, Ordering::Relaxed);
        Ok(response)
    }

    /// The failure behind a transport error.
    pub(crate) fn failure_of(&self, error: ureq::Error) -> Failure {
        let base_url = self.endpoint.base_url().to_owned();
        let message = secret::presentable(&error.to_string(), self.endpoint.key());
        match error {
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                Failure::Unreachable { message: "no connection in time".to_owned() }
            }
            ureq::Error::Timeout(_) => Failure::Timeout,
            error if reenact_net::is_certificate_error(&error) => {
                let message =
                    format!("{message} (SSL_CERT_FILE can name other certificate authorities)");
                let (tries, waited) = (1, Duration::ZERO);
                Failure::Final(ModelError::Unreachable { base_url, tries, waited, message })
            }
            ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl => {
                Failure::Final(ModelError::BadRequest { base_url, status: 0, message })
            }
            _ => Failure::Unreachable { message },
        }
    }
}

/// A request that is ready to be sent, as often as it takes.
pub(crate) struct Exchange {
    path: &'static str,
    body: Arc<Vec<u8>>,
    max_reply: u64,
}

/// What came back.
struct Raw {
    status: u16,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

impl Exchange {
    pub(crate) fn new(
        endpoint: &Endpoint,
        options: &ClientOptions,
        conversation: &Conversation,
        tool: &Tool,
    ) -> Self {
        let (path, mut body) = match endpoint.api() {
            Api::OpenAi => {
                ("/v1/chat/completions", openai::request(endpoint, options, conversation, tool))
            }
            Api::Anthropic => {
                ("/v1/messages", anthropic::request(endpoint, options, conversation, tool))
            }
        };
        for (name, value) in &options.extra {
            body.insert(name.clone(), value.clone());
        }
        let body = Arc::new(Value::Object(body).to_string().into_bytes());
        Self { path, body, max_reply: options.max_reply }
    }

    /// One try. When `stop` ends it, the request is left to a thread of its own that ends with its timeout.
    pub(crate) fn once(&self, agent: &Agent, stop: &dyn Fn() -> bool) -> Result<Reply, Failure> {
        if stop() {
            return Err(Failure::Stopped);
        }
        let (sender, receiver) = mpsc::sync_channel(1);
        let (path, body, max_reply) = (self.path, Arc::clone(&self.body), self.max_reply);
        let own = agent.clone();
        let work = move || {
            // Nobody listens any more when the caller was stopped; then the reply is of no use.
            sender.send(fetch(&own, path, &body, max_reply)).ok();
        };
        std::thread::Builder::new().name("model request".to_owned()).spawn(work).map_err(|e| {
            Failure::Unreachable { message: format!("no thread for the request: {e}") }
        })?;
        loop {
            match receiver.recv_timeout(SLICE) {
                Ok(result) => return read(agent.endpoint(), result?),
                Err(RecvTimeoutError::Timeout) if stop() => return Err(Failure::Stopped),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let message = "the request ended without a result".to_owned();
                    return Err(Failure::Unreachable { message });
                }
            }
        }
    }
}

fn fetch(agent: &Agent, path: &str, body: &[u8], max_reply: u64) -> Result<Raw, Failure> {
    let response = agent
        .send(Method::POST, path, &[("accept", "application/json")], body)
        .map_err(|e| agent.failure_of(e))?;
    let status = response.status().as_u16();
    let retry_after = asked_wait(response.headers());
    let reader = response.into_body().into_with_config().limit(u64::MAX).reader();
    let body = if (200..300).contains(&status) {
        read_bounded(agent, reader, max_reply)?
    } else {
        error_body(reader)
    };
    Ok(Raw { status, retry_after, body })
}

fn read_bounded(agent: &Agent, reader: impl Read, max_reply: u64) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    reader
        .take(max_reply.saturating_add(1))
        .read_to_end(&mut body)
        .map_err(|e| agent.failure_of(ureq::Error::from(e)))?;
    if body.len() as u64 > max_reply {
        let base_url = agent.endpoint().base_url().to_owned();
        return Err(Failure::Final(ModelError::TooLarge { base_url, limit: max_reply }));
    }
    Ok(body)
}

/// The begin of an error's body. What cannot be read of it only makes the message shorter: the status is known.
pub(crate) fn error_body(reader: impl Read) -> Vec<u8> {
    let mut body = Vec::new();
    reader.take(MAX_ERROR_BODY).read_to_end(&mut body).ok();
    body
}

fn asked_wait(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    retry::retry_after(text("retry-after")?, text("date"))
}

fn read(endpoint: &Endpoint, raw: Raw) -> Result<Reply, Failure> {
    if !(200..300).contains(&raw.status) {
        return Err(status::failure(endpoint, raw.status, raw.retry_after, &raw.body));
    }
    let mut value: Value = serde_json::from_slice(&raw.body).map_err(|e| Failure::Malformed {
        message: format!("not JSON: {e}, after {} bytes", raw.body.len()),
    })?;
    drop(raw);
    if let Some(key) = endpoint.key() {
        key.scrub(&mut value);
    }
    if let Some(failure) = status::failure_inside(endpoint, &value) {
        return Err(failure);
    }
    Reply::from_raw(endpoint.api(), value).map_err(|message| Failure::Malformed { message })
}

impl Reply {
    /// Reads the body of a reply: one just received, or one kept in a trajectory.
    ///
    /// # Errors
    /// What is missing from it.
    pub fn from_raw(api: Api, raw: Value) -> Result<Self, String> {
        match api {
            Api::OpenAi => openai::reply(raw),
            Api::Anthropic => anthropic::reply(raw),
        }
    }

    /// Why the model or a filter of its provider declined, if that is what this reply says.
    pub fn refusal(&self, api: Api) -> Option<String> {
        match api {
            Api::OpenAi => openai::refusal(&self.raw),
            Api::Anthropic => anthropic::refusal(&self.raw),
        }
    }
}
