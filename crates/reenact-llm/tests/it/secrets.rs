//! The key reaches the endpoint, in one header, and nothing else.

use crate::{APIS, KEY, ask, client, endpoint, impatient, patient};
use reenact_testkit::{Fault, ScriptedModel, Turn};

fn shows_key(text: &str) -> bool {
    // Parts count: the first and the last eight characters.
    text.contains(&KEY[..8]) || text.contains(&KEY[KEY.len() - 8..])
}

#[test]
fn the_key_is_sent_in_the_header_of_the_api_and_only_there() {
    for api in APIS {
        let model = ScriptedModel::start([Turn::submit()]);
        ask(&client(api, &model, impatient())).unwrap();
        let request = model.requests().remove(0);
        let (name, value) = match api {
            "openai" => ("authorization", format!("Bearer {KEY}")),
            _ => ("x-api-key", KEY.to_owned()),
        };
        let with_key: Vec<_> = request.headers.iter().filter(|(_, v)| shows_key(v)).collect();
        assert_eq!(with_key, [(&name.to_owned(), &value)]);
        assert!(!shows_key(&request.body.to_string()));
        assert_eq!(request.headers.contains_key("anthropic-version"), api == "anthropic");
    }
}

#[test]
fn without_a_key_no_header_is_sent() {
    let model = ScriptedModel::start([Turn::submit(), Turn::submit()]);
    for api in APIS {
        let spec = format!("{api}/m");
        let endpoint =
            reenact_llm::Endpoint::resolve_in(&spec, Some(&model.base_url()), None, &|_| None);
        let client = reenact_llm::Client::new(endpoint.unwrap(), impatient());
        ask(&client).unwrap();
    }
    for request in model.requests() {
        assert!(!request.headers.contains_key("authorization"));
        assert!(!request.headers.contains_key("x-api-key"));
    }
}

#[test]
fn nothing_that_can_be_printed_shows_the_key() {
    let shown = format!("{:?}", endpoint("openai", "http://127.0.0.1:1"));
    assert!(!shows_key(&shown), "{shown}");
    for api in APIS {
        for status in [400, 401, 403, 404, 422, 429, 500] {
            let told = format!(
                "Incorrect API key provided: {KEY}, or {}***{}. Header: Bearer {KEY}",
                &KEY[..8],
                &KEY[KEY.len() - 4..]
            );
            let fault = Fault::status(status).message(&told);
            let model = ScriptedModel::start([Turn::submit().always(fault)]);
            let client = client(api, &model, impatient());
            let error = ask(&client).unwrap_err();
            let shown =
                format!("{error} {error:?} {error:#?} {:?} {client:?} {client:#?}", error.hint());
            assert!(!shows_key(&shown), "{shown}");
            assert!(shown.contains("Incorrect API key provided: [key]"), "{shown}");
        }
    }
}

#[test]
fn waits_that_are_told_do_not_show_the_key() {
    let fault = Fault::Body(format!("{KEY} is not JSON"));
    let model = ScriptedModel::start([Turn::submit().fault(2, fault)]);
    let client = client("openai", &model, patient());
    let told = std::cell::RefCell::new(String::new());
    let on_wait = |text: &str| told.borrow_mut().push_str(text);
    client
        .complete(&crate::conversation(), &reenact_llm::Tool::bash(), &|| false, &on_wait)
        .unwrap();
    let told = told.into_inner();
    assert!(told.contains("makes no sense") && !shows_key(&told), "{told}");
}

#[test]
fn a_key_that_a_server_echoes_does_not_reach_the_trajectory() {
    for api in APIS {
        let turn = Turn::bash(&format!("echo {KEY}")).saying(&format!("Your key is {KEY}!"));
        let model = ScriptedModel::start([turn]);
        let reply = ask(&client(api, &model, impatient())).unwrap();
        assert!(!shows_key(&format!("{reply:?}")) && !shows_key(&reply.raw.to_string()));
        assert_eq!(reply.text, "Your key is [key]!");
        assert_eq!(reply.tool_calls[0].command(), Ok("echo [key]"));
    }
}
