//! Replies of all kinds, and what the next request says of them.

use crate::{APIS, ask, client, conversation, impatient};
use reenact_llm::{Api, Arguments, CallProblem, Finish, Message, ModelError, Reply, Tool, Usage};
use reenact_testkit::{Fault, ScriptedModel, Turn};
use serde_json::{Value, json};

#[test]
fn a_conversation_of_two_steps_in_both_apis() {
    for api in APIS {
        let model = ScriptedModel::start([
            Turn::bash("ls docs").saying("Let me look.").usage(100, 20).cache(60, 30),
            Turn::text("Done."),
        ]);
        let client = client(api, &model, impatient());
        let mut talk = conversation();
        let tool = Tool::bash();
        let first = client.complete(&talk, &tool, &|| false, &|_| {}).unwrap();
        assert_eq!((first.text.as_str(), &first.finish), ("Let me look.", &Finish::ToolCalls));
        assert_eq!(first.tool_calls.len(), 1);
        assert_eq!(first.tool_calls[0].command(), Ok("ls docs"));
        let written = if api == "openai" { 0 } else { 30 };
        let usage = Usage {
            input: 40 - written,
            cached_input: 60,
            cache_write: written,
            output: 20,
            reasoning: 0,
        };
        assert_eq!(first.usage, Some(usage), "{api}");

        talk.assistant(&first);
        talk.tool_result(&first.tool_calls[0].id, "manual.txt");
        let second = client.complete(&talk, &tool, &|| false, &|_| {}).unwrap();
        assert_eq!((second.text.as_str(), &second.finish), ("Done.", &Finish::Stop));
        assert!(second.tool_calls.is_empty());

        let requests = model.requests();
        assert_eq!(requests.iter().map(|r| r.turn).collect::<Vec<_>>(), [Some(0), Some(1)]);
        let view = reenact_testkit::View {
            api: if api == "openai" {
                reenact_testkit::Api::OpenAi
            } else {
                reenact_testkit::Api::Anthropic
            },
            body: &requests[1].body,
        };
        assert_eq!(view.system(), "You are an engineer.");
        assert_eq!(view.first_user(), "Rebuild the program.");
        assert_eq!(view.last(), "manual.txt");
        assert_eq!(requests[1].body["model"], "some-model");
    }
}

#[test]
fn requests_have_the_shape_of_their_api() {
    let body_of = |api: &str| {
        let model = ScriptedModel::start([Turn::submit()]);
        ask(&client(api, &model, impatient())).unwrap();
        model.requests().remove(0).body
    };
    let chat = body_of("openai");
    assert_eq!(chat["messages"][0], json!({"role": "system", "content": "You are an engineer."}));
    assert_eq!(chat["tools"][0]["type"], "function");
    assert_eq!(chat["tools"][0]["function"]["name"], "bash");
    assert_eq!(chat["tools"][0]["function"]["parameters"]["required"], json!(["command"]));
    assert!(chat.get("max_tokens").is_none() && chat.get("stream").is_none());
    let messages = body_of("anthropic");
    assert_eq!(messages["tools"][0]["name"], "bash");
    assert_eq!(messages["tools"][0]["input_schema"]["required"], json!(["command"]));
    assert_eq!(messages["max_tokens"], reenact_llm::DEFAULT_MAX_OUTPUT);
}

#[test]
fn settings_of_the_caller_go_into_every_request() {
    let mut options = impatient();
    options.max_output = Some(77);
    options.extra = json!({"temperature": 0.5, "model": "other"}).as_object().unwrap().clone();
    for api in APIS {
        let model = ScriptedModel::start([Turn::submit()]);
        ask(&client(api, &model, options.clone())).unwrap();
        let body = model.requests().remove(0).body;
        assert_eq!((&body["max_tokens"], &body["temperature"]), (&json!(77), &json!(0.5)));
        assert_eq!(body["model"], "other");
    }
}

#[test]
fn anthropic_requests_mark_the_system_prompt_and_the_last_two_turns_for_the_cache() {
    let model = ScriptedModel::start((0..4).map(|n| Turn::bash(&format!("echo {n}"))));
    let client = client("anthropic", &model, impatient());
    let mut talk = conversation();
    for _ in 0..4 {
        let reply = client.complete(&talk, &Tool::bash(), &|| false, &|_| {}).unwrap();
        talk.assistant(&reply);
        talk.tool_result(&reply.tool_calls[0].id, "out");
    }
    let body = model.requests().remove(3).body;
    let marked = |v: &Value| v.get("cache_control").is_some();
    assert!(marked(&body["system"][0]));
    let messages = body["messages"].as_array().unwrap();
    let users: Vec<bool> = messages
        .iter()
        .filter(|m| m["role"] == "user")
        .map(|m| marked(m["content"].as_array().unwrap().last().unwrap()))
        .collect();
    assert_eq!(users, [false, false, true, true]);
    assert_eq!(body.to_string().matches("cache_control").count(), 3);
}

#[test]
fn a_reply_without_a_tool_call_is_a_reply() {
    for api in APIS {
        let model = ScriptedModel::start([Turn::text("I am thinking.")]);
        let reply = ask(&client(api, &model, impatient())).unwrap();
        assert_eq!((reply.text.as_str(), reply.tool_calls.len()), ("I am thinking.", 0));
    }
}

#[test]
fn an_empty_reply_is_a_reply_and_can_be_sent_back() {
    for api in APIS {
        let model = ScriptedModel::start([Turn::text(""), Turn::submit()]);
        let client = client(api, &model, impatient());
        let mut talk = conversation();
        let reply = client.complete(&talk, &Tool::bash(), &|| false, &|_| {}).unwrap();
        assert!(reply.text.is_empty() && reply.tool_calls.is_empty());
        talk.assistant(&reply);
        talk.user("Call the tool.");
        client.complete(&talk, &Tool::bash(), &|| false, &|_| {}).unwrap();
        // APIs refuse empty texts.
        let body = model.requests().remove(1).body;
        assert!(!body["messages"].to_string().contains("\"\""), "{body}");
    }
}

#[test]
fn arguments_that_are_not_json_are_given_as_they_came_and_sent_back_as_json() {
    let broken = r#"{"command": "ls"#;
    let model = ScriptedModel::start([Turn::call("bash", broken), Turn::submit()]);
    let client = client("openai", &model, impatient());
    let mut talk = conversation();
    let reply = client.complete(&talk, &Tool::bash(), &|| false, &|_| {}).unwrap();
    assert_eq!(reply.tool_calls[0].arguments, Arguments::Invalid(broken.to_owned()));
    assert!(matches!(reply.tool_calls[0].command(), Err(CallProblem::NotAnObject { .. })));
    talk.assistant(&reply);
    talk.tool_result(&reply.tool_calls[0].id, "not JSON");
    client.complete(&talk, &Tool::bash(), &|| false, &|_| {}).unwrap();
    let requests = model.requests();
    let sent = &requests[1].body["messages"][2]["tool_calls"][0]["function"]["arguments"];
    let parsed: Value = serde_json::from_str(sent.as_str().unwrap()).unwrap();
    assert_eq!(parsed, json!({ "invalid_json": broken }));
}

#[test]
fn calls_that_name_no_command_say_why() {
    for api in APIS {
        for (name, arguments, wanted) in [
            ("python", r#"{"command": "x"}"#, "no tool named \"python\""),
            ("bash", r#"{"cmd": "x"}"#, "no argument \"command\""),
            ("bash", r#"{"command": ["x"]}"#, "not a string"),
            ("bash", "[1]", "not a JSON object"),
            ("bash", "", "not a JSON object"),
        ] {
            let model = ScriptedModel::start([Turn::call(name, arguments)]);
            let reply = ask(&client(api, &model, impatient())).unwrap();
            let problem = reply.tool_calls[0].command().unwrap_err().to_string();
            assert!(problem.contains(wanted), "{api} {name} {arguments}: {problem}");
        }
    }
}

#[test]
fn several_calls_in_one_reply_keep_their_order_and_are_all_answered() {
    for api in APIS {
        let model = ScriptedModel::start([Turn::bash("one").and_bash("two"), Turn::submit()]);
        let client = client(api, &model, impatient());
        let mut talk = conversation();
        let reply = client.complete(&talk, &Tool::bash(), &|| false, &|_| {}).unwrap();
        let commands: Vec<_> = reply.tool_calls.iter().map(|c| c.command().unwrap()).collect();
        assert_eq!(commands, ["one", "two"]);
        talk.assistant(&reply);
        // The second call stays without a result: a caller may be stopped between the two.
        talk.tool_result(&reply.tool_calls[0].id, "first");
        client.complete(&talk, &Tool::bash(), &|| false, &|_| {}).unwrap();
        let sent = model.requests().remove(1).body["messages"].to_string();
        for id in ["call_0_0", "call_0_1"] {
            assert_eq!(sent.matches(id).count(), 2, "{api}: {id} in {sent}");
        }
        assert!(sent.contains("(not executed)"));
    }
}

#[test]
fn thoughts_go_back_to_the_provider_unchanged() {
    for api in APIS {
        let model = ScriptedModel::start([Turn::bash("ls").thinking("Hm, docs."), Turn::submit()]);
        let client = client(api, &model, impatient());
        let mut talk = conversation();
        let reply = client.complete(&talk, &Tool::bash(), &|| false, &|_| {}).unwrap();
        assert_eq!(reply.reasoning.text, "Hm, docs.");
        // A conversation survives being written to a file.
        let json = serde_json::to_string(&reply.to_message()).unwrap();
        talk.messages.push(serde_json::from_str::<Message>(&json).unwrap());
        talk.tool_result(&reply.tool_calls[0].id, "out");
        client.complete(&talk, &Tool::bash(), &|| false, &|_| {}).unwrap();
        let requests = model.requests();
        let messages = requests[1].body["messages"].as_array().unwrap();
        let said = messages.iter().find(|m| m["role"] == "assistant").unwrap();
        if api == "openai" {
            assert_eq!(said["reasoning_content"], "Hm, docs.");
        } else {
            assert_eq!(said["content"], reply.raw["content"]);
            assert_eq!(said["content"][0]["signature"], "sig-0");
        }
    }
}

#[test]
fn replies_cut_by_the_output_limit_say_so() {
    for (api, word) in [("openai", "length"), ("anthropic", "max_tokens")] {
        let model = ScriptedModel::start([Turn::text("half a sen").finish(word)]);
        assert_eq!(ask(&client(api, &model, impatient())).unwrap().finish, Finish::Length);
    }
}

#[test]
fn refusals_are_errors_that_keep_the_reply_and_its_tokens() {
    for (api, word) in [("openai", "content_filter"), ("anthropic", "refusal")] {
        let model = ScriptedModel::start([Turn::text("No.").finish(word).usage(9, 2)]);
        match ask(&client(api, &model, impatient())) {
            Err(ModelError::Refused { reply, .. }) => {
                assert_eq!(reply.usage.map(|u| u.total()), Some(11));
            }
            other => panic!("{api}: {other:?}"),
        }
        assert_eq!(model.requests().len(), 1);
    }
    let said = json!({"choices": [{"message": {"content": null, "refusal": "I will not."},
        "finish_reason": "stop"}]});
    let model = ScriptedModel::start([Turn::submit().always(Fault::Body(said.to_string()))]);
    let error = ask(&client("openai", &model, impatient())).unwrap_err();
    assert!(matches!(&error, ModelError::Refused { why, .. } if why == "I will not."), "{error}");
    assert!(!error.is_provider_failure());
}

#[test]
fn unusual_but_good_replies_of_other_servers_are_read() {
    let reply = |message: Value| {
        let raw = json!({"choices": [{"message": message}]});
        Reply::from_raw(Api::OpenAi, raw).unwrap()
    };
    // Content as parts, arguments as an object, no id, no usage, no finish reason.
    let odd = reply(json!({
        "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        "tool_calls": [
            {"function": {"name": "bash", "arguments": {"command": "x"}}},
            {"id": "", "function": {"name": "bash", "arguments": {"command": "y"}}}
        ]
    }));
    assert_eq!((odd.text.as_str(), odd.usage), ("ab", None));
    assert_eq!(odd.finish, Finish::Other(String::new()));
    let calls = &odd.tool_calls;
    assert_eq!((calls[0].command(), calls[1].command()), (Ok("x"), Ok("y")));
    assert!(!calls[0].id.is_empty() && calls[0].id != calls[1].id);
    let bare = reply(json!({"content": null, "tool_calls": null}));
    assert!(bare.text.is_empty() && bare.tool_calls.is_empty());
}

#[test]
fn a_reply_can_be_read_again_from_its_raw_form() {
    for (api, kind) in [("openai", Api::OpenAi), ("anthropic", Api::Anthropic)] {
        let model = ScriptedModel::start([Turn::bash("ls").saying("text").thinking("thought")]);
        let reply = ask(&client(api, &model, impatient())).unwrap();
        assert_eq!(Reply::from_raw(kind, reply.raw.clone()), Ok(reply));
    }
}
