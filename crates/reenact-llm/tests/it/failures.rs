//! Every way in which a model gives no reply.

use crate::{APIS, ask, client, conversation, endpoint, impatient, patient};
use reenact_llm::{Client, ClientOptions, ModelError, Tool};
use reenact_testkit::{Fault, ScriptedModel, Turn};
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The error of one question to a model that always has this fault, and how often it was asked.
fn error_of(api: &str, fault: Fault, options: ClientOptions) -> (ModelError, usize) {
    let model = ScriptedModel::start([Turn::submit().always(fault)]);
    let error = ask(&client(api, &model, options)).unwrap_err();
    (error, model.requests().len())
}

#[test]
fn storms_of_all_passing_faults_are_outlasted() {
    let storm = [
        (7, Fault::status(429)),
        (2, Fault::status(429).retry_after("0")),
        (2, Fault::status(429).retry_after("0.01")),
        (1, Fault::status(429).retry_after("Sun, 06 Nov 1994 08:49:37 GMT")),
        (1, Fault::status(429).retry_after("whenever")),
        (3, Fault::status(500)),
        (2, Fault::status(529)),
        (1, Fault::status(503)),
        (1, Fault::status(408)),
        (2, Fault::Close),
        (2, Fault::Cut),
        (1, Fault::TruncatedJson),
        (1, Fault::Body("<html>a proxy says no</html>".to_owned())),
    ];
    let faults: u64 = storm.iter().map(|(n, _)| n).sum();
    for api in APIS {
        let turn = storm.iter().cloned().fold(Turn::bash("ls"), |t, (n, f)| t.fault(n, f));
        let model = ScriptedModel::start([turn]);
        let waits = RefCell::new(Vec::new());
        let on_wait = |text: &str| waits.borrow_mut().push(text.to_owned());
        let reply = client(api, &model, patient())
            .complete(&conversation(), &Tool::bash(), &|| false, &on_wait)
            .unwrap();
        assert_eq!(reply.tool_calls[0].command(), Ok("ls"));
        let waits = waits.into_inner();
        assert_eq!(waits.len() as u64, faults, "{waits:?}");
        assert_eq!(model.requests().len() as u64, faults + 1);
        assert!(waits[0].contains("429") && waits[13].contains("500"), "{waits:?}");
    }
}

#[test]
fn a_rate_limit_that_does_not_end_is_named() {
    for api in APIS {
        let fault = Fault::status(429).message("quota of the minute");
        let (error, tries) = error_of(api, fault, impatient());
        assert!(
            matches!(&error, ModelError::RateLimited { message, tries: 1, .. }
                if message.contains("quota of the minute")),
            "{error:?}"
        );
        assert!(tries == 1 && error.is_provider_failure() && error.hint().is_some());
    }
}

#[test]
fn patience_runs_out_by_time_not_by_tries() {
    let mut options = patient();
    options.patience.total = Duration::from_millis(300);
    let (error, asked) = error_of("openai", Fault::status(500), options);
    let ModelError::Overloaded { tries, waited, status: 500, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(tries as usize, asked);
    assert!(waited >= Duration::from_millis(300), "{waited:?}");
}

#[test]
fn a_retry_after_beyond_our_patience_is_not_waited_for() {
    let fault = Fault::status(429).retry_after("7200");
    let (error, asked) = error_of("openai", fault, patient());
    assert!(matches!(error, ModelError::RateLimited { .. }), "{error:?}");
    assert_eq!(asked, 1);
}

#[test]
fn final_statuses_are_not_tried_again() {
    type Check = fn(&ModelError) -> bool;
    let rows: [(u16, &str, Check); 9] = [
        (401, "no such key", |e| matches!(e, ModelError::Auth { status: 401, .. })),
        (403, "not for you", |e| matches!(e, ModelError::Auth { status: 403, .. })),
        (402, "pay first", |e| matches!(e, ModelError::NoCredit { .. })),
        (400, "temperature?", |e| matches!(e, ModelError::BadRequest { status: 400, .. })),
        (404, "no such model", |e| matches!(e, ModelError::BadRequest { status: 404, .. })),
        (405, "not this way", |e| matches!(e, ModelError::BadRequest { status: 405, .. })),
        (422, "field missing", |e| matches!(e, ModelError::BadRequest { status: 422, .. })),
        (413, "too large", |e| matches!(e, ModelError::ContextTooLong { .. })),
        (400, "prompt is too long: 300000 tokens > 200000 maximum", |e| {
            matches!(e, ModelError::ContextTooLong { .. })
        }),
    ];
    for api in APIS {
        for (status, message, check) in &rows {
            let fault = Fault::status(*status).message(message);
            let (error, asked) = error_of(api, fault, patient());
            assert!(check(&error), "{api} {status}: {error:?}");
            assert!(error.to_string().contains(message), "{error}");
            assert_eq!(asked, 1, "{api} {status}");
        }
    }
}

#[test]
fn redirects_are_not_followed() {
    for api in APIS {
        let other = ScriptedModel::start([Turn::submit()]);
        let fault = Fault::redirect(&format!("{}/v1/messages", other.base_url()));
        let (error, asked) = error_of(api, fault, patient());
        assert!(
            matches!(&error, ModelError::BadRequest { status: 307, message, .. }
                if message.contains("redirect")),
            "{error:?}"
        );
        assert_eq!((asked, other.requests().len()), (1, 0));
    }
}

#[test]
fn truncated_and_shapeless_replies_are_tried_a_few_times() {
    for api in APIS {
        let bodies =
            ["{}", "[]", "null", "{\"choices\": []}", "{\"choices\": [{}]}", "not json", ""];
        let faults = bodies.map(|b| Fault::Body(b.to_owned()));
        for fault in faults.into_iter().chain([Fault::TruncatedJson]) {
            let shown = format!("{api} {fault:?}");
            let (error, asked) = error_of(api, fault, patient());
            assert!(matches!(error, ModelError::Malformed { tries: 3, .. }), "{shown}: {error:?}");
            assert_eq!(asked, 3, "{shown}");
            assert!(error.is_provider_failure());
        }
    }
}

#[test]
fn an_error_within_a_200_is_an_error() {
    let late = r#"{"error": {"code": 529, "message": "overloaded upstream"}}"#;
    let (error, _) = error_of("openai", Fault::Body(late.to_owned()), impatient());
    assert!(matches!(error, ModelError::Overloaded { status: 529, .. }), "{error:?}");
}

#[test]
fn a_reply_of_50_mb_is_an_error_and_nothing_worse() {
    for api in APIS {
        for announced in [true, false] {
            let (error, asked) =
                error_of(api, Fault::Huge { bytes: 50 << 20, announced }, patient());
            assert!(matches!(error, ModelError::TooLarge { limit, .. } if limit == 32 << 20));
            assert_eq!(asked, 1);
        }
    }
}

#[test]
fn a_reply_within_the_bound_is_read() {
    let model = ScriptedModel::start([
        Turn::submit().always(Fault::Huge { bytes: 3 << 20, announced: true })
    ]);
    let reply = ask(&client("openai", &model, impatient())).unwrap();
    assert_eq!(reply.text.len(), 3 << 20);
}

#[test]
fn broken_connections_are_named_when_patience_ends() {
    for fault in [Fault::Close, Fault::Cut] {
        let (error, _) = error_of("anthropic", fault, impatient());
        assert!(matches!(error, ModelError::Unreachable { .. }), "{error:?}");
    }
}

#[test]
fn an_endpoint_that_is_down_is_named_with_a_remedy() {
    // Nothing listens on the port of tcpmux; one that was free a moment ago could be another test's by now.
    let port = 1;
    let mut options = patient();
    options.patience.first_contact = Duration::from_millis(20);
    let url = format!("http://127.0.0.1:{port}");
    let error = ask(&Client::new(endpoint("openai", &url), options)).unwrap_err();
    assert!(matches!(error, ModelError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains(&url) && error.hint().is_some(), "{error}");
}

#[test]
fn no_reply_in_time_is_a_timeout() {
    let mut options = impatient();
    options.request_timeout = Duration::from_millis(200);
    let (error, _) = error_of("openai", Fault::Hang, options);
    assert!(
        matches!(error, ModelError::Timeout { limit, .. } if limit == Duration::from_millis(200)),
        "{error:?}"
    );
}

#[test]
fn a_slow_reply_is_waited_for() {
    let slow = Fault::Slow(Duration::from_millis(300));
    let model = ScriptedModel::start([Turn::text("at last").always(slow)]);
    assert_eq!(ask(&client("anthropic", &model, impatient())).unwrap().text, "at last");
}

#[test]
fn stop_ends_a_wait() {
    let model = ScriptedModel::start([Turn::submit().always(Fault::status(429).retry_after("30"))]);
    let stop = Cell::new(false);
    let result = client("openai", &model, patient()).complete(
        &conversation(),
        &Tool::bash(),
        &|| stop.get(),
        &|_| stop.set(true),
    );
    assert!(matches!(result, Err(ModelError::Stopped)), "{result:?}");
    assert_eq!(model.requests().len(), 1);
}

#[test]
fn stop_ends_a_request_that_is_under_way() {
    let model = ScriptedModel::start([Turn::submit().always(Fault::Hang)]);
    let client = client("openai", &model, patient());
    let stop = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let stopped = || stop.load(Ordering::Relaxed);
            client.complete(&conversation(), &Tool::bash(), &stopped, &|_| {})
        });
        assert!(model.wait_for_hang(Duration::from_secs(60)));
        stop.store(true, Ordering::Relaxed);
        asking.join().unwrap()
    });
    assert!(matches!(result, Err(ModelError::Stopped)), "{result:?}");
}

#[test]
fn a_stop_before_the_first_try_asks_nobody() {
    let model = ScriptedModel::start([Turn::submit()]);
    let client = client("openai", &model, patient());
    let result = client.complete(&conversation(), &Tool::bash(), &|| true, &|_| {});
    assert!(matches!(result, Err(ModelError::Stopped)));
    assert!(model.requests().is_empty());
}

#[test]
fn several_threads_share_a_client() {
    let model = ScriptedModel::start([Turn::bash("ls").fault(8, Fault::status(529))]);
    let client = client("anthropic", &model, patient());
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..8).map(|_| scope.spawn(|| ask(&client).is_ok())).collect();
        assert!(asked.into_iter().all(|t| t.join().unwrap()));
    });
    assert_eq!(model.requests().len(), 16);
}
