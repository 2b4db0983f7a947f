use super::*;
use reenact_llm::{Client, ClientOptions, Endpoint, PriceTable};
use reenact_testkit::{Fault, ScriptedModel, Turn};
use std::io::Write;

/// A relay on the host's loopback interface, before a scripted model.
struct Stage {
    server: ScriptedModel,
    relay: Mutex<Option<Relay>>,
    books: Books,
    port: u16,
}

const KEY_TEXT: &str = "sk-relay-secret-0123456789";

impl Stage {
    fn new(model: &str, policy: &Policy, turns: Vec<Turn>) -> Self {
        let server = ScriptedModel::start(turns);
        let url = server.base_url();
        let endpoint =
            Endpoint::resolve_in(model, Some(&url), None, &|_| Some(KEY_TEXT.to_owned())).unwrap();
        let client = Client::new(endpoint, ClientOptions::default());
        let model = Arc::new(PricedClient { client, prices: PriceTable::built_in() });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let relay = Relay::new(listener, model, policy);
        let books = relay.books();
        Self { server, relay: Mutex::new(Some(relay)), books, port }
    }

    /// Serves while `work` runs; gives the recorded calls.
    fn during(&self, work: impl FnOnce() + Send) -> Vec<Call> {
        let over = AtomicBool::new(false);
        let mut calls = Vec::new();
        let relay = self.relay.lock().unwrap().take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                work();
                over.store(true, Ordering::SeqCst);
            });
            let served = relay.serve(&over, |call| {
                let (never, _) = sync_channel(0);
                calls.push(Call { _recorded: never, ..call });
                Ok(())
            });
            served.unwrap();
        });
        calls
    }

    /// Status, headers, and body as it was sent (with chunks).
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer mine\r\nx-api-key: mine\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(text.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let status = reply[9..12].parse().unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        (status, head.to_owned(), body.to_owned())
    }
}

const CHAT: &str = r#"{"model":"whatever","messages":[{"role":"user","content":"hi"}]}"#;
const CHAT_STREAM: &str =
    r#"{"model":"whatever","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;

#[test]
fn calls_pass_with_our_key_and_model_and_are_recorded() {
    let turns = vec![Turn::bash("ls -la").usage(100, 20)];
    let s = Stage::new("openai/gpt-test", &Policy::default(), turns);
    let calls = s.during(|| {
        let (status, _, body) = s.ask("POST", "/v1/chat/completions", CHAT);
        assert_eq!(status, 200, "{body}");
        assert!(body.contains("ls -la"), "{body}");
        let (status, head, body) = s.ask("POST", "/v1/chat/completions", CHAT_STREAM);
        assert_eq!(status, 200, "{body}");
        assert!(head.contains("text/event-stream") && body.contains("[DONE]"), "{head}\n{body}");
    });
    assert_eq!(calls.len(), 2);
    for call in &calls {
        assert_eq!(call.usage.unwrap().total(), 120);
        let commands = call.reply.as_ref().unwrap().commands();
        assert_eq!(commands[0].command, "ls -la");
    }
    for request in s.server.requests() {
        let shown = format!("{request:?}");
        assert!(shown.contains(KEY_TEXT) && !shown.contains("Bearer mine"), "{shown}");
        assert!(shown.contains("gpt-test") && !shown.contains("whatever"), "{shown}");
    }
    assert_eq!(s.books.read().failures, 0);
}

#[test]
fn anthropics_api_passes_too() {
    let turns = vec![Turn::bash("id").usage(10, 5)];
    let s = Stage::new("anthropic/claude-test", &Policy::default(), turns);
    let body = r#"{"model":"x","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
    let streamed = body.replace("\"max_tokens\"", "\"stream\":true,\"max_tokens\"");
    let calls = s.during(|| {
        for body in [body, &streamed] {
            let (status, _, reply) = s.ask("POST", "/v1/messages?beta=true", body);
            assert_eq!(status, 200, "{reply}");
        }
    });
    assert_eq!(calls.len(), 2);
    for call in &calls {
        assert_eq!(call.usage.unwrap().total(), 15);
        assert_eq!(call.reply.as_ref().unwrap().commands()[0].command, "id");
    }
}

#[test]
fn everything_else_is_refused_and_remembered() {
    let s = Stage::new("openai/gpt-test", &Policy::default(), vec![Turn::text("x")]);
    let calls = s.during(|| {
        for (method, path) in [
            ("POST", "/v1/messages"),
            ("POST", "/v1/files"),
            ("CONNECT", "pypi.example:443"),
            ("GET", "http://elsewhere.example/"),
        ] {
            let (status, _, body) = s.ask(method, path, "{}");
            assert_eq!(status, 403, "{method} {path}: {body}");
            assert!(body.contains("\"error\""), "{body}");
        }
        assert_eq!(s.ask("POST", "/v1/chat/completions", "not json").0, 400);
    });
    assert!(calls.is_empty());
    assert_eq!(s.server.requests().len(), 0, "nothing went out");
    let ledger = s.books.read();
    assert_eq!(ledger.refused, 4);
    assert_eq!(ledger.refusals[2], "CONNECT pypi.example:443");
}

#[test]
fn a_spent_budget_is_an_error_in_the_apis_own_shape() {
    let policy = Policy { tokens: Some(100), ..Policy::default() };
    for (model, path, word) in [
        ("openai/gpt-test", "/v1/chat/completions", "insufficient_quota"),
        ("anthropic/claude-test", "/v1/messages", "billing_error"),
    ] {
        let s = Stage::new(model, &policy, vec![Turn::text("x").usage(90, 20)]);
        let calls = s.during(|| {
            assert_eq!(s.ask("POST", path, CHAT).0, 200);
            let (status, _, body) = s.ask("POST", path, CHAT);
            assert_eq!(status, 402);
            assert!(body.contains(word) && body.contains("tokens"), "{body}");
        });
        assert_eq!(calls.len(), 1);
        assert_eq!(s.server.requests().len(), 1, "the second did not go out");
        assert_eq!(s.books.read().exhausted.unwrap().0, Budget::Tokens);
    }
    let s = Stage::new(
        "openai/gpt-test",
        &Policy { steps: 0, ..Policy::default() },
        vec![Turn::text("x")],
    );
    s.during(|| assert_eq!(s.ask("POST", "/v1/chat/completions", CHAT).0, 402));
    assert_eq!(s.books.read().exhausted.unwrap().0, Budget::Steps);
}

#[test]
fn the_providers_failures_are_passed_on_and_counted_until_it_answers() {
    let turns = vec![
        Turn::text("x").fault(2, Fault::status(429).retry_after("7")).fault(1, Fault::status(500)),
    ];
    let s = Stage::new("openai/gpt-test", &Policy::default(), turns);
    let books = s.books.clone();
    let calls = s.during(|| {
        for (status, failures) in [(429, 1), (429, 2), (500, 3), (200, 0)] {
            let (got, head, body) = s.ask("POST", "/v1/chat/completions", CHAT);
            assert_eq!((got, books.read().failures), (status, failures), "{body}");
            assert_eq!(head.contains("retry-after: 7"), status == 429, "{head}");
        }
    });
    assert_eq!(calls.len(), 1);
    assert_eq!((books.read().begun, books.read().answered), (1, 1), "failures are no calls");
}

#[test]
fn an_endpoint_that_is_down_is_a_failure_and_its_address_stays_here() {
    let mut s = Stage::new("openai/gpt-test", &Policy::default(), vec![]);
    let address = s.server.base_url();
    s.server = ScriptedModel::start(vec![]);
    s.during(|| {
        let (status, _, body) = s.ask("POST", "/v1/chat/completions", CHAT);
        assert_eq!(status, 502);
        assert!(!body.contains(address.trim_start_matches("http://")), "{body}");
    });
    let ledger = s.books.read();
    assert_eq!(ledger.failures, 1);
    assert!(!ledger.failure.contains(KEY_TEXT), "{}", ledger.failure);
}
