//! The one way out of a cleanroom: a relay on a loopback port in the room, which passes calls of the run's model on to its
//! endpoint. The key is added here, outside; budgets are kept here; everything else is refused and remembered.

mod http;
mod reply;
mod rules;

use super::talk::{PricedClient, tokens};
use crate::error::CleanroomError;
use crate::policy::Policy;
use crate::site::Budget;
use http::{Refusal, Request, Streamed};
use reenact_interop::trajectory::Message;
use reenact_llm::{Api, Forward, Forwarded, Usage, UsageMeter};
use reenact_model::run::Tokens;
use rules::Gate;
use serde_json::Value;
use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Connections at once; those beyond are closed.
const MOST_CONNECTIONS: usize = 64;
/// Bytes of one reply: what is more is cut off.
const MOST_REPLY: u64 = 64 << 20;
/// Bytes of the list of models.
const MOST_MODELS: u64 = 4 << 20;
/// Refusals that are remembered word by word.
const MOST_REFUSALS: usize = 50;
/// How often the accepting thread looks around.
const PAUSE: Duration = Duration::from_millis(4);
/// How long the end of a reply waits for its record.
const RECORDING: Duration = Duration::from_secs(30);

/// A call of the model that was answered.
pub(super) struct Call {
    pub path: String,
    /// The request's body, as it was sent on.
    pub request: Value,
    /// The reply as a message, if it could be understood.
    pub reply: Option<Message>,
    pub usage: Option<Usage>,
    /// Dollars, if the price is known.
    pub cost: Option<f64>,
    /// The reply's end is held back until this is dropped: what the agent does next is then of the next step.
    _recorded: SyncSender<()>,
}

impl Call {
    /// Tokens as manifests have them.
    pub(super) fn tokens(&self) -> Tokens {
        self.usage.as_ref().map(tokens).unwrap_or_default()
    }
}

/// What went through the relay, and what did not.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    /// Calls that were let through.
    pub begun: u64,
    pub answered: u64,
    tokens: u64,
    cost: f64,
    /// The budget that is spent, and since when.
    pub exhausted: Option<(Budget, Instant)>,
    /// Failures of the provider since the last answer, and the last of them in words.
    pub failures: u64,
    pub failure: String,
    /// Requests that were refused: how many, and the first ones.
    pub refused: u64,
    pub refusals: Vec<String>,
}

struct Shared {
    model: Arc<PricedClient>,
    calls_limit: u64,
    tokens_limit: Option<u64>,
    cost_limit: Option<f64>,
    ledger: Mutex<Ledger>,
    calls: Mutex<Sender<Call>>,
    connections: AtomicUsize,
}

/// See the module.
pub(super) struct Relay {
    shared: Arc<Shared>,
    calls: Receiver<Call>,
    listener: TcpListener,
}

impl Relay {
    /// A relay on `listener`, which is a socket in the room.
    pub(super) fn new(listener: TcpListener, model: Arc<PricedClient>, policy: &Policy) -> Self {
        let (sender, calls) = channel();
        let shared = Shared {
            model,
            calls_limit: policy.steps,
            tokens_limit: policy.tokens,
            cost_limit: policy.cost_usd,
            ledger: Mutex::new(Ledger::default()),
            calls: Mutex::new(sender),
            connections: AtomicUsize::new(0),
        };
        Self { shared: Arc::new(shared), calls, listener }
    }

    /// For looking into the ledger from another thread.
    pub(super) fn books(&self) -> Books {
        Books(Arc::clone(&self.shared))
    }

    /// Serves until `over`; `record` is told of every answered call, in the order of the answers.
    ///
    /// # Errors
    /// The socket fails; what `record` gives.
    pub(super) fn serve(
        self,
        over: &AtomicBool,
        mut record: impl FnMut(Call) -> Result<(), CleanroomError>,
    ) -> Result<(), CleanroomError> {
        let fail = |e| reenact_sandbox::SandboxError::host("the relay's socket", e);
        self.listener.set_nonblocking(true).map_err(fail)?;
        loop {
            // Looked at first, so that what was answered before the end is recorded after it.
            let last = over.load(Ordering::SeqCst);
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(stream),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(PAUSE),
                // A caller that has gone, or no descriptors: others will come, or give theirs back.
                Err(_) => std::thread::sleep(PAUSE),
            }
            while let Ok(call) = self.calls.try_recv() {
                record(call)?;
            }
            if last {
                return Ok(());
            }
        }
    }

    /// A thread for a connection. It is not waited for: the provider may take minutes to answer a caller that has gone.
    fn admit(&self, stream: TcpStream) {
        let shared = Arc::clone(&self.shared);
        if shared.connections.fetch_add(1, Ordering::SeqCst) >= MOST_CONNECTIONS {
            shared.connections.fetch_sub(1, Ordering::SeqCst);
            return;
        }
        let attend = move || {
            // A caller that does not take its answer has gone.
            let _answered = stream.set_nonblocking(false).and_then(|()| shared.attend(&stream));
            shared.connections.fetch_sub(1, Ordering::SeqCst);
        };
        if std::thread::Builder::new().name("relay".to_owned()).spawn(attend).is_err() {
            self.shared.connections.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// A relay's ledger.
#[derive(Clone)]
pub(super) struct Books(Arc<Shared>);

impl Books {
    /// As it stands now.
    pub(super) fn read(&self) -> Ledger {
        self.0.ledger().clone()
    }
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn api(&self) -> Api {
        self.model.client.endpoint().api()
    }

    fn attend(&self, stream: &TcpStream) -> io::Result<()> {
        let request = match http::read(stream)? {
            Ok(request) => request,
            Err(Refusal(status, why)) => return self.say(stream, status, why),
        };
        match rules::gate(self.api(), &request.method, &request.path) {
            Some(Gate::Call) => self.call(stream, &request),
            Some(Gate::Models) => self.models(stream, &request),
            None => {
                self.refuse(&request);
                let why = format!(
                    "only the {} model of this environment can be reached, nothing else",
                    self.api()
                );
                self.say(stream, 403, &why)
            }
        }
    }

    fn refuse(&self, request: &Request) {
        let mut ledger = self.ledger();
        ledger.refused += 1;
        if ledger.refusals.len() < MOST_REFUSALS {
            let line: String =
                format!("{} {}", request.method, request.path).chars().take(200).collect();
            ledger.refusals.push(line);
        }
    }

    fn say(&self, mut stream: &TcpStream, status: u16, message: &str) -> io::Result<()> {
        let json = [("content-type".to_owned(), "application/json".to_owned())];
        http::reply(&mut stream, status, &json, &rules::error(self.api(), status, message))
    }

    fn models(&self, mut stream: &TcpStream, request: &Request) -> io::Result<()> {
        match self.forward(request, None) {
            Ok(mut answer) => {
                let mut body = Vec::new();
                answer.body.by_ref().take(MOST_MODELS).read_to_end(&mut body)?;
                http::reply(&mut stream, answer.status, &answer.headers, &body)
            }
            Err(_) => self.say(stream, 502, "the model's provider cannot be reached"),
        }
    }

    fn forward(
        &self,
        request: &Request,
        body: Option<&[u8]>,
    ) -> Result<Forwarded, reenact_llm::ModelError> {
        let headers: Vec<(&str, &str)> =
            request.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        self.model.client.forward(&Forward { path: &request.path, body, headers: &headers })
    }

    /// Whether another call may begin; if not, what is spent.
    fn begin(&self) -> Result<(), Budget> {
        let mut ledger = self.ledger();
        let spent = if ledger.begun >= self.calls_limit {
            Some(Budget::Steps)
        } else if self.tokens_limit.is_some_and(|l| ledger.tokens >= l) {
            Some(Budget::Tokens)
        } else if self.cost_limit.is_some_and(|l| ledger.cost >= l) {
            Some(Budget::Cost)
        } else {
            None
        };
        match spent {
            Some(which) => {
                ledger.exhausted.get_or_insert((which, Instant::now()));
                Err(which)
            }
            None => {
                ledger.begun += 1;
                Ok(())
            }
        }
    }

    fn call(&self, stream: &TcpStream, request: &Request) -> io::Result<()> {
        let model = self.model.client.endpoint().model();
        let body = match rules::prepare(&request.path, &request.body, model) {
            Ok(body) => body,
            Err(why) => return self.say(stream, 400, why),
        };
        if let Err(which) = self.begin() {
            let why = format!("the budget is spent: no {} are left", which.name());
            return self.say(stream, 402, &why);
        }
        match self.forward(request, Some(body.to_string().as_bytes())) {
            Ok(answer) => self.pass(stream, request, body, answer),
            Err(error) => {
                self.failed(&error.to_string());
                self.say(stream, 502, "the model's provider cannot be reached")
            }
        }
    }

    /// The provider's failures are its own, not calls of the agent.
    fn failed(&self, how: &str) {
        let mut ledger = self.ledger();
        ledger.begun = ledger.begun.saturating_sub(1);
        ledger.failures += 1;
        ledger.failure = how.lines().next().unwrap_or_default().chars().take(300).collect();
    }

    fn pass(
        &self,
        mut stream: &TcpStream,
        request: &Request,
        body: Value,
        mut answer: Forwarded,
    ) -> io::Result<()> {
        if answer.status >= 400 {
            let mut text = Vec::new();
            answer.body.read_to_end(&mut text)?;
            // What the agent's own request has wrong is not the provider's failure.
            if matches!(answer.status, 400 | 413 | 422) {
                let mut ledger = self.ledger();
                ledger.begun = ledger.begun.saturating_sub(1);
            } else {
                let said = String::from_utf8_lossy(&text);
                self.failed(&format!("status {}: {}", answer.status, said.trim()));
            }
            return http::reply(&mut stream, answer.status, &answer.headers, &text);
        }
        let kind = answer.headers.iter().find(|(n, _)| n == "content-type");
        let kind = kind.map(|(_, v)| v.clone()).unwrap_or_default();
        let mut streamed = Streamed::begin(request, &mut stream, answer.status, &answer.headers)?;
        let mut meter = UsageMeter::new(&kind);
        let mut whole = Vec::new();
        let ended = copy(&mut answer.body, |piece| {
            meter.feed(piece);
            whole.extend_from_slice(piece);
            // A caller that has gone is no reason to lose what the call has cost.
            streamed.piece(piece).is_ok()
        });
        let reply = reply::message(&kind, &whole);
        let recorded = self.answered(request, body, reply, meter.finish(), &ended);
        // Nobody sends anything: what is waited for is the record's end.
        let _recorded = recorded.recv_timeout(RECORDING);
        match ended {
            Ok(()) => streamed.end(),
            Err(e) => Err(e),
        }
    }

    fn answered(
        &self,
        request: &Request,
        body: Value,
        reply: Option<Message>,
        usage: Option<Usage>,
        ended: &io::Result<()>,
    ) -> Receiver<()> {
        let cost = usage
            .as_ref()
            .and_then(|u| self.model.prices.cost(self.model.client.endpoint().model(), u));
        {
            let mut ledger = self.ledger();
            ledger.answered += 1;
            ledger.tokens = ledger.tokens.saturating_add(usage.map_or(0, |u| u.total()));
            ledger.cost += cost.unwrap_or(0.0);
            match ended {
                Ok(()) => ledger.failures = 0,
                Err(e) => {
                    ledger.failures += 1;
                    ledger.failure = format!("a reply was cut off: {e}");
                }
            }
        }
        let (recorded, wait) = sync_channel(0);
        let call = Call {
            path: request.path.clone(),
            request: body,
            reply,
            usage,
            cost,
            _recorded: recorded,
        };
        // After the agent's end nobody listens.
        let _told = self.calls.lock().unwrap_or_else(PoisonError::into_inner).send(call);
        wait
    }
}

/// Gives all that comes to `to`, as it comes; an error if it is too much, breaks off, or is not wanted.
fn copy(from: &mut impl Read, mut to: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let mut buffer = vec![0u8; 32 << 10];
    let mut all = 0u64;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                all += n as u64;
                if all > MOST_REPLY {
                    return Err(io::Error::other("the reply is larger than 64 MiB"));
                }
                if !to(&buffer[..n]) {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests;
