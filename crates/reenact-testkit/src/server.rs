//! The server.

use crate::answer;
use crate::http::{Recorded, read_request, write_head};
use crate::script::{Fault, Turn};
use crate::stream;
use crate::view::{Api, View};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A model server that follows a script, on a free port of 127.0.0.1, until it is dropped.
pub struct ScriptedModel {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

type Script = dyn Fn(&View<'_>) -> Option<Turn> + Send + Sync;

struct Shared {
    script: Box<Script>,
    state: Mutex<State>,
    /// Told when the server is to end.
    ending: Condvar,
}

#[derive(Default)]
struct State {
    requests: Vec<Recorded>,
    /// Requests so far for each turn.
    asked: BTreeMap<usize, u64>,
    /// Connections that hang on purpose.
    hanging: usize,
    ended: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ScriptedModel {
    /// Starts a server that plays these turns. A conversation with as many replies as there are turns gets an error
    /// 400 that says so.
    ///
    /// # Panics
    /// If no port can be had.
    pub fn start(turns: impl IntoIterator<Item = Turn>) -> Self {
        let turns: Vec<Turn> = turns.into_iter().collect();
        Self::start_with(move |view| turns.get(view.turn()).cloned())
    }

    /// Starts a server whose turns are made from the conversation so far. `None` is answered with an error 400.
    ///
    /// # Panics
    /// If no port can be had.
    pub fn start_with(script: impl Fn(&View<'_>) -> Option<Turn> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback");
        let address = listener.local_addr().expect("the address of a bound socket");
        let shared = Arc::new(Shared {
            script: Box::new(script),
            state: Mutex::default(),
            ending: Condvar::new(),
        });
        let own = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept(&listener, &own));
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// `http://127.0.0.1:PORT`: what `--base-url` takes for either API, and Anthropic's own libraries.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// [`ScriptedModel::base_url`] with `/v1`, as OpenAI's own libraries want it.
    pub fn openai_base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// All requests so far, in the order in which they came.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.state().requests.clone()
    }

    /// Waits until a connection hangs ([`Fault::Hang`]); `false` after `limit`.
    pub fn wait_for_hang(&self, limit: Duration) -> bool {
        let state = self.shared.state();
        let waited = self.shared.ending.wait_timeout_while(state, limit, |s| s.hanging == 0);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.hanging > 0
    }
}

impl Drop for ScriptedModel {
    fn drop(&mut self) {
        self.shared.state().ended = true;
        self.shared.ending.notify_all();
        // Wakes the acceptor; should this fail, it is not waiting.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            // A panic of the acceptor was reported by itself.
            acceptor.join().ok();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.state().ended {
            return;
        }
        let Ok(stream) = stream else { continue };
        let own = Arc::clone(shared);
        // An error of one connection (a client that went away, as killed agents do) concerns nobody else.
        std::thread::spawn(move || serve(stream, &own).ok());
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.set_nodelay(true)?;
    let mut request = read_request(&stream)?;
    let api = match (request.method.as_str(), request.path.as_str()) {
        ("POST", "/v1/chat/completions") => Some(Api::OpenAi),
        ("POST", "/v1/messages") => Some(Api::Anthropic),
        _ => None,
    };
    let Some(api) = api else {
        let models = request.method == "GET" && request.path == "/v1/models";
        shared.state().requests.push(request);
        let list = json!({ "object": "list", "data": [{ "id": "scripted", "object": "model",
            "created": 0, "owned_by": "reenact" }] });
        return match models {
            true => send(&stream, 200, &list, &[]),
            false => send(&stream, 404, &answer::error(Api::OpenAi, 404, "no such path"), &[]),
        };
    };
    let body = std::mem::take(&mut request.body);
    let view = View { api, body: &body };
    let nth = view.turn();
    let asked = {
        let mut state = shared.state();
        state.requests.push(Recorded { body: body.clone(), turn: Some(nth), ..request });
        let asked = state.asked.entry(nth).or_insert(0);
        *asked += 1;
        *asked - 1
    };
    let Some(turn) = (shared.script)(&view) else {
        let text = format!("the script has no turn {nth}");
        return send(&stream, 400, &answer::error(api, 400, &text), &[]);
    };
    play(&stream, shared, &view, &turn, nth, turn.fault_of(asked))?;
    // A polite end: otherwise bytes under way can be lost when the socket is closed with unread input.
    stream.shutdown(Shutdown::Write)
}

fn play(
    stream: &TcpStream,
    shared: &Shared,
    view: &View<'_>,
    turn: &Turn,
    nth: usize,
    fault: Option<&Fault>,
) -> io::Result<()> {
    match fault {
        None => right_answer(stream, view, turn, nth),
        Some(Fault::Says(other)) => right_answer(stream, view, other, nth),
        Some(Fault::Slow(time)) => {
            pause(shared, *time);
            right_answer(stream, view, turn, nth)
        }
        Some(Fault::Status { code, message, retry_after, location }) => {
            let retry = retry_after.iter().map(|v| ("retry-after", v.as_str()));
            let place = location.iter().map(|v| ("location", v.as_str()));
            let more: Vec<_> = retry.chain(place).collect();
            send(stream, *code, &answer::error(view.api, *code, message), &more)
        }
        Some(Fault::Body(text)) => send_bytes(stream, 200, text.as_bytes(), &[]),
        Some(Fault::TruncatedJson) => {
            let text = answer::body(view, turn, nth).to_string();
            send_bytes(stream, 200, &text.as_bytes()[..text.len() / 2], &[])
        }
        Some(Fault::Cut) => {
            let text = answer::body(view, turn, nth).to_string();
            let length = Some(text.len() as u64);
            let mut out = stream;
            write_head(&mut out, 200, "application/json", length, &[])?;
            out.write_all(&text.as_bytes()[..text.len() / 2])
        }
        Some(Fault::Close) => Ok(()),
        Some(Fault::Hang) => {
            hang(shared);
            Ok(())
        }
        Some(Fault::Huge { bytes, announced }) => huge(stream, view, *bytes, *announced),
    }
}

fn right_answer(stream: &TcpStream, view: &View<'_>, turn: &Turn, nth: usize) -> io::Result<()> {
    if !view.wants_stream() {
        return send(stream, 200, &answer::body(view, turn, nth), &[]);
    }
    let mut out = stream;
    write_head(&mut out, 200, "text/event-stream; charset=utf-8", None, &[])?;
    stream::events(view, turn, nth).iter().try_for_each(|e| out.write_all(e.as_bytes()))
}

/// Sleeps, but not longer than the server lives.
fn pause(shared: &Shared, time: Duration) {
    let waited = shared.ending.wait_timeout_while(shared.state(), time, |s| !s.ended);
    drop(waited.unwrap_or_else(PoisonError::into_inner));
}

fn hang(shared: &Shared) {
    let mut state = shared.state();
    state.hanging += 1;
    shared.ending.notify_all();
    let waited = shared.ending.wait_while(state, |s| !s.ended);
    drop(waited.unwrap_or_else(PoisonError::into_inner));
}

/// A reply whose text has `bytes` bytes, made while it is sent.
fn huge(stream: &TcpStream, view: &View<'_>, bytes: u64, announced: bool) -> io::Result<()> {
    const MARK: &str = "@@";
    let whole = answer::body(view, &Turn::text(MARK), 0).to_string();
    let (begin, end) = whole.split_once(MARK).unwrap_or((&whole, ""));
    let length = announced.then(|| (begin.len() + end.len()) as u64 + bytes);
    let mut out = stream;
    write_head(&mut out, 200, "application/json", length, &[])?;
    out.write_all(begin.as_bytes())?;
    io::copy(&mut io::Read::take(io::repeat(b'x'), bytes), &mut out)?;
    out.write_all(end.as_bytes())
}

fn send(stream: &TcpStream, status: u16, body: &Value, more: &[(&str, &str)]) -> io::Result<()> {
    send_bytes(stream, status, body.to_string().as_bytes(), more)
}

fn send_bytes(
    stream: &TcpStream,
    status: u16,
    body: &[u8],
    more: &[(&str, &str)],
) -> io::Result<()> {
    let mut out = stream;
    write_head(&mut out, status, "application/json", Some(body.len() as u64), more)?;
    out.write_all(body)
}
