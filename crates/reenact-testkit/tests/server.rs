//! The server over raw sockets: what clients of other people see.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is a failed test")]

use reenact_testkit::{Fault, ScriptedModel, Turn, View};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Sends a request and gives the whole answer, head and body.
fn exchange(model: &ScriptedModel, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", model.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) => (head.to_owned(), body.to_owned()),
        None => (answer, String::new()),
    }
}

fn post(model: &ScriptedModel, path: &str, body: &Value) -> (String, String) {
    let body = body.to_string();
    let head =
        format!("POST {path}?beta=true HTTP/1.1\r\nHost: x\r\nContent-Length: {}", body.len());
    exchange(model, &format!("{head}\r\n\r\n{body}"))
}

fn chat(turns: usize) -> Value {
    let replies = (0..turns).map(|n| json!({"role": "assistant", "content": n.to_string()}));
    let user = json!({"role": "user", "content": "go"});
    let messages: Vec<_> = [user].into_iter().chain(replies).collect();
    json!({"model": "m", "messages": messages, "top_k": 3, "metadata": {"any": "thing"}})
}

const CHAT: &str = "/v1/chat/completions";

#[test]
fn the_turn_follows_from_the_conversation_and_not_from_the_server() {
    let model = ScriptedModel::start([Turn::bash("zero"), Turn::bash("one")]);
    for turn in [1, 0, 1, 0] {
        let (head, body) = post(&model, CHAT, &chat(turn));
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(body.contains(["zero", "one"][turn]), "{body}");
    }
    let (head, body) = post(&model, CHAT, &chat(2));
    assert!(head.starts_with("HTTP/1.1 400") && body.contains("no turn 2"), "{head} {body}");
    assert_eq!(model.requests()[0].turn, Some(1));
    assert_eq!(model.requests()[0].body["metadata"]["any"], "thing");
}

#[test]
fn faults_are_counted_for_each_turn() {
    let model = ScriptedModel::start([
        Turn::bash("zero").fault(2, Fault::status(429).retry_after("7")),
        Turn::bash("one").fault(1, Fault::status(529)),
    ]);
    let status = |turn| {
        let (head, _) = post(&model, CHAT, &chat(turn));
        head[9..12].parse::<u16>().unwrap()
    };
    assert_eq!([0, 1, 0, 0, 1, 0].map(status), [429, 529, 429, 200, 200, 200]);
    let fresh =
        ScriptedModel::start([Turn::submit().fault(1, Fault::status(429).retry_after("7"))]);
    assert!(post(&fresh, CHAT, &chat(0)).0.contains("retry-after: 7"));
}

#[test]
fn scripts_may_depend_on_the_conversation() {
    let model = ScriptedModel::start_with(|view: &View<'_>| {
        (view.first_user() == "go").then(|| Turn::text(&format!("turn {}", view.turn())))
    });
    assert!(post(&model, CHAT, &chat(5)).1.contains("turn 5"));
    let other = json!({"messages": [{"role": "user", "content": "stay"}]});
    assert!(post(&model, CHAT, &other).0.starts_with("HTTP/1.1 400"));
}

#[test]
fn streams_of_both_apis_make_up_the_reply() {
    let turn =
        Turn::bash("grep -r 'größe' /workspace/docs").saying("Let me look at the docs first.");
    let model = ScriptedModel::start([turn.usage(50, 9)]);
    let mut wish = chat(0);
    wish["stream"] = true.into();
    let events = |body: &str| {
        let data = body.lines().filter_map(|l| l.strip_prefix("data: ")).filter(|d| *d != "[DONE]");
        data.map(|d| serde_json::from_str(d).unwrap()).collect::<Vec<Value>>()
    };
    let join = |events: &[Value], pointer: &str| {
        events.iter().filter_map(|e| e.pointer(pointer)?.as_str()).collect::<String>()
    };
    let (head, body) = post(&model, CHAT, &wish);
    assert!(head.contains("text/event-stream"), "{head}");
    let chunks = events(&body);
    assert_eq!(join(&chunks, "/choices/0/delta/content"), "Let me look at the docs first.");
    let arguments = join(&chunks, "/choices/0/delta/tool_calls/0/function/arguments");
    let arguments: Value = serde_json::from_str(&arguments).unwrap();
    assert_eq!(arguments["command"], "grep -r 'größe' /workspace/docs");
    assert_eq!(join(&chunks, "/choices/0/finish_reason"), "tool_calls");
    assert!(chunks.iter().all(|c| c["usage"].is_null()), "usage only on demand");
    wish["stream_options"] = json!({"include_usage": true});
    let chunks = events(&post(&model, CHAT, &wish).1);
    assert_eq!(chunks.last().unwrap()["usage"]["completion_tokens"], 9);

    let chunks = events(&post(&model, "/v1/messages", &wish).1);
    assert_eq!(join(&chunks, "/delta/text"), "Let me look at the docs first.");
    let input: Value = serde_json::from_str(&join(&chunks, "/delta/partial_json")).unwrap();
    assert_eq!(input, arguments);
    assert_eq!(chunks[0]["message"]["usage"]["input_tokens"], 50);
    let last = &chunks[chunks.len() - 2];
    assert_eq!(
        (&last["usage"]["output_tokens"], &last["delta"]["stop_reason"]),
        (&json!(9), &json!("tool_use"))
    );
}

#[test]
fn other_forms_of_requests_are_understood() {
    let model = ScriptedModel::start([Turn::text("chunked")]);
    let (first, second) = (r#"{"messages": "#, "[]}");
    let request = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
        first.len(),
        second.len()
    );
    assert!(exchange(&model, &request).1.contains("chunked"));
    let models = exchange(&model, "GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n").1;
    assert_eq!(serde_json::from_str::<Value>(&models).unwrap()["object"], "list");
    let nowhere = exchange(&model, "GET /favicon.ico HTTP/1.1\r\nHost: x\r\n\r\n").0;
    assert!(nowhere.starts_with("HTTP/1.1 404"), "{nowhere}");
}

#[test]
fn clients_that_leave_and_servers_that_end_disturb_nobody() {
    let model = ScriptedModel::start([Turn::submit().fault(1, Fault::Hang)]);
    // One that says nothing, one that leaves amid its request, one that leaves while it hangs.
    let silent = TcpStream::connect(("127.0.0.1", model.port())).unwrap();
    for request in ["POST /v1/cha".to_owned(), format!("POST {CHAT} HTTP/1.1\r\n\r\n")] {
        let mut stream = TcpStream::connect(("127.0.0.1", model.port())).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
    }
    assert!(model.wait_for_hang(Duration::from_secs(60)));
    assert!(post(&model, CHAT, &chat(0)).0.starts_with("HTTP/1.1 200"));
    // Ends at once, although a connection hangs and another is open.
    drop(model);
    drop(silent);
}
