//! Requests that are sent on for somebody else.

use crate::{KEY, client, endpoint, impatient};
use reenact_llm::{Api, Client, Forward, Forwarded, ModelError, Reply, Usage, UsageMeter};
use reenact_testkit::{Fault, ScriptedModel, Turn};
use serde_json::json;
use std::io::Read;

const PATHS: [(&str, &str); 2] =
    [("openai", "/v1/chat/completions"), ("anthropic", "/v1/messages")];

fn post(client: &Client, path: &str, body: &serde_json::Value) -> Result<Forwarded, ModelError> {
    let body = body.to_string();
    let headers = [
        ("Authorization", "Bearer dummy"),
        ("x-api-key", "dummy"),
        ("Cookie", "a=b"),
        ("anthropic-beta", "some-feature"),
    ];
    client.forward(&Forward { path, body: Some(body.as_bytes()), headers: &headers })
}

fn text(mut forwarded: Forwarded) -> String {
    let mut text = String::new();
    forwarded.body.read_to_string(&mut text).unwrap();
    text
}

fn header<'a>(forwarded: &'a Forwarded, name: &str) -> Option<&'a str> {
    forwarded.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
}

#[test]
fn the_key_is_added_and_the_sender_s_own_is_dropped() {
    for (api, path) in PATHS {
        let model = ScriptedModel::start([Turn::text("hello")]);
        let client = client(api, &model, impatient());
        let reply = post(&client, path, &json!({"messages": [], "unknown": 1})).unwrap();
        assert_eq!((reply.status, header(&reply, "content-type")), (200, Some("application/json")));
        assert!(text(reply).contains("hello"));
        let request = model.requests().remove(0);
        let sent = format!("{:?}", request.headers);
        assert!(
            sent.contains(KEY) && !sent.contains("dummy") && !sent.contains("cookie"),
            "{sent}"
        );
        assert_eq!(request.headers["anthropic-beta"], "some-feature");
        assert_eq!(request.body["unknown"], 1);
    }
}

#[test]
fn streams_pass_through_and_are_metered() {
    for (api, path) in PATHS {
        let turn =
            Turn::bash("ls -l docs").saying("Let me look at the größte file.").usage(100, 20);
        let model = ScriptedModel::start([turn.cache(60, 0)]);
        let client = client(api, &model, impatient());
        let body =
            json!({"messages": [], "stream": true, "stream_options": {"include_usage": true}});
        let mut reply = post(&client, path, &body).unwrap();
        let kind = header(&reply, "content-type").unwrap().to_owned();
        assert!(kind.starts_with("text/event-stream"));
        let mut meter = UsageMeter::new(&kind);
        let mut all = Vec::new();
        let mut piece = [0; 100];
        loop {
            let n = reply.body.read(&mut piece).unwrap();
            if n == 0 {
                break;
            }
            meter.feed(&piece[..n]);
            all.extend_from_slice(&piece[..n]);
        }
        let wanted = Usage { input: 40, cached_input: 60, output: 20, ..Usage::default() };
        assert_eq!(meter.finish(), Some(wanted), "{api}");
        let all = String::from_utf8(all).unwrap();
        let end = if api == "openai" { "data: [DONE]\n\n" } else { "message_stop\"}\n\n" };
        assert!(all.ends_with(end), "{all}");
    }
}

#[test]
fn errors_come_back_with_their_status_but_without_the_key() {
    for (api, path) in PATHS {
        let message = format!("bad key {KEY} or {}***", &KEY[..9]);
        let fault = Fault::status(401).message(&message).retry_after("9");
        let model = ScriptedModel::start([Turn::submit().always(fault)]);
        let client = client(api, &model, impatient());
        let reply = post(&client, path, &json!({"messages": []})).unwrap();
        assert_eq!((reply.status, header(&reply, "retry-after")), (401, Some("9")));
        let body: serde_json::Value = serde_json::from_str(&text(reply)).unwrap();
        assert_eq!(body["error"]["message"], "bad key [key] or [key]");
        // No retries: they are the sender's.
        assert_eq!(model.requests().len(), 1);
    }
}

#[test]
fn lists_of_models_can_be_had() {
    let model = ScriptedModel::start([]);
    let client = client("openai", &model, impatient());
    let reply = client.forward(&Forward { path: "/v1/models", body: None, headers: &[] }).unwrap();
    let list: serde_json::Value = serde_json::from_str(&text(reply)).unwrap();
    assert_eq!(list["object"], "list");
}

#[test]
fn other_places_cannot_be_reached() {
    let model = ScriptedModel::start([]);
    let client = client("openai", &model, impatient());
    for path in ["/admin", "/v1/../admin", "/v1/models?x=http://h", "//h/v1/models"] {
        let result = client.forward(&Forward { path, body: None, headers: &[] });
        assert!(matches!(result, Err(ModelError::BadRequest { .. })), "{path}");
    }
    assert!(model.requests().is_empty());
}

#[test]
fn an_endpoint_that_is_down_is_an_error_of_its_own() {
    let client = Client::new(endpoint("openai", "http://127.0.0.1:1"), impatient());
    let result = post(&client, "/v1/chat/completions", &json!({}));
    assert!(matches!(result, Err(ModelError::Unreachable { .. })));
}

#[test]
fn a_stream_put_together_is_the_reply_in_one_piece() {
    let turns = || {
        let invalid = Turn::call("bash", "[1, 2]").and_bash("ls -l docs | head -n 3");
        [
            Turn::bash("cat docs/größe.txt").saying("Let me look.").thinking("Where are the docs?"),
            invalid.usage(100, 20).cache(60, 10),
            Turn::text("Done, and there is nothing more to say about it."),
        ]
    };
    for (api, path) in PATHS {
        let kind = if api == "openai" { Api::OpenAi } else { Api::Anthropic };
        for turn in turns() {
            let model = ScriptedModel::start([turn]);
            let client = client(api, &model, impatient());
            let ask = |stream: bool| {
                let options = json!({"include_usage": true});
                let body = json!({"messages": [], "stream": stream, "stream_options": options});
                text(post(&client, path, &body).unwrap())
            };
            let streamed = Reply::from_stream(kind, ask(true).as_bytes()).unwrap();
            let raw: serde_json::Value = serde_json::from_str(&ask(false)).unwrap();
            let whole = Reply::from_raw(kind, raw).unwrap();
            // The two bodies differ in fields that say nothing.
            assert_eq!(Reply { raw: json!(null), ..streamed }, Reply { raw: json!(null), ..whole });
        }
    }
}

#[test]
fn a_stream_that_broke_off_gives_what_had_come() {
    for (api, path) in PATHS {
        let kind = if api == "openai" { Api::OpenAi } else { Api::Anthropic };
        let turn = Turn::bash("ls").saying("Let me look into the documentation first.");
        let model = ScriptedModel::start([turn]);
        let client = client(api, &model, impatient());
        let body = json!({"messages": [], "stream": true});
        let whole = text(post(&client, path, &body).unwrap());
        let at = whole.find("documentation").unwrap();
        let reply = Reply::from_stream(kind, &whole.as_bytes()[..at]).unwrap();
        assert!("Let me look into the documentation first.".starts_with(&reply.text));
        assert!(reply.text.starts_with("Let me") && reply.tool_calls.is_empty(), "{reply:?}");
    }
}
