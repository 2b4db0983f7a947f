//! Reading, the layout on disk, and the translation, on a file that mini-swe-agent 2.4.6 itself wrote and on generated ones.

use super::atif::{Atif, Source, Text};
use super::mini::{BlobRef, Content};
use super::*;
use proptest::prelude::*;
use reenact_model::Digest;
use serde_json::{Map, Value, json};
use std::path::Path;

/// Three steps of `DefaultAgent` with its deterministic model and its local environment; the model's own copy of its replies
/// is taken out of `info.config`.
const REAL: &str = include_str!("testdata/mini-swe-agent-2.4.6.traj.json");

fn parse(text: &[u8]) -> Result<Read, reenact_model::FormatError> {
    read_mini(Path::new("t.traj.json"), text)
}

fn subject() -> Subject {
    Subject { agent: "bash".to_owned(), version: "0.1.0".to_owned(), ..Subject::default() }
}

/// Checks a document as another program would meet it: as text.
fn valid(document: &Atif) -> Atif {
    let text = serde_json::to_string(document).unwrap();
    let again: Atif = serde_json::from_str(&text).unwrap();
    assert_eq!(check_atif(&again), [], "{text}");
    again
}

#[test]
fn a_real_trajectory_is_read_whole_and_written_back_equal() {
    let Read { trajectory, torn } = parse(REAL.as_bytes()).unwrap();
    assert!(!torn);
    assert_eq!(trajectory.trajectory_format, mini::MINI_FORMAT);
    assert_eq!(trajectory.info.exit_status.as_deref(), Some("Submitted"));
    assert_eq!(trajectory.info.submission.as_deref(), Some("bye\n"));
    let roles: Vec<&str> = trajectory.messages.iter().map(|m| m.role.as_str()).collect();
    assert_eq!(
        roles,
        ["system", "user", "assistant", "tool", "assistant", "tool", "assistant", "exit"]
    );
    let first = &trajectory.messages[2];
    assert_eq!(first.commands()[0].command, "printf 'a\\303\\244\\n'; ls /nonexistent");
    let usage = Usage { prompt_tokens: 100, completion_tokens: 7, cached_tokens: 50 };
    assert_eq!(first.usage(), Some(usage));
    assert_eq!(trajectory.messages[3].extra.returncode, Some(2));
    assert!(trajectory.messages[3].extra.raw_output.as_ref().unwrap().starts_with("aä\n"));
    let derived = trajectory.info.clone().derived(&trajectory.messages);
    assert_eq!((derived.model_stats.instance_cost, derived.model_stats.api_calls), (3.0, 3));

    let written = serde_json::to_value(&trajectory).unwrap();
    let original: Value = serde_json::from_str(REAL).unwrap();
    for (ours, theirs) in std::iter::zip(
        written["messages"].as_array().unwrap(),
        original["messages"].as_array().unwrap(),
    ) {
        for (key, value) in theirs.as_object().unwrap() {
            assert_eq!(&ours[key], value, "{key}");
        }
    }
    assert_eq!(written["info"]["config"], original["info"]["config"]);
}

#[test]
fn a_real_trajectory_becomes_valid_atif() {
    let read = parse(REAL.as_bytes()).unwrap();
    let atif = valid(&to_atif(&read.trajectory, &subject()));
    let sources: Vec<Source> = atif.steps.iter().map(|s| s.source).collect();
    use Source::{Agent, System, User};
    assert_eq!(sources, [System, User, Agent, Agent, Agent]);
    let step = &atif.steps[2];
    assert_eq!(step.message, Text::Plain("Let me look.".to_owned()));
    let call = &step.tool_calls.as_ref().unwrap()[0];
    assert_eq!((call.tool_call_id.as_str(), call.function_name.as_str()), ("call_1", "bash"));
    let result = &step.observation.as_ref().unwrap().results[0];
    assert_eq!(result.source_call_id.as_deref(), Some("call_1"));
    assert_eq!(result.extra.as_ref().unwrap()["returncode"], 2);
    assert_eq!(atif.steps[3].reasoning_content.as_deref(), Some("think"));
    assert!(atif.steps[2].timestamp.as_ref().unwrap().starts_with("20"));
    let totals = atif.final_metrics.unwrap();
    assert_eq!((totals.total_prompt_tokens, totals.total_cached_tokens), (Some(600), Some(150)));
    assert_eq!(totals.total_cost_usd, Some(3.0));
    let extra = atif.extra.unwrap();
    assert_eq!(
        (&extra["exit_status"], &extra["submission"]),
        (&json!("Submitted"), &json!("bye\n"))
    );
}

#[test]
fn every_cut_of_a_real_trajectory_gives_its_complete_messages_or_a_clear_error() {
    let whole = parse(REAL.as_bytes()).unwrap().trajectory;
    let (mut most, mut refused) = (0, 0);
    for cut in 0..REAL.len() {
        match parse(&REAL.as_bytes()[..cut]) {
            Ok(read) => {
                // Without its last brackets a file may be whole but for white space.
                assert_eq!(
                    read.torn,
                    REAL.as_bytes()[..cut].trim_ascii_end().len() < REAL.trim_end().len()
                );
                let whole_again = repaired(Path::new("t"), &REAL.as_bytes()[..cut]).unwrap();
                assert!(!parse(&whole_again).unwrap().torn);
                let n = read.trajectory.messages.len();
                assert_eq!(read.trajectory.messages, whole.messages[..n]);
                assert!(n >= most, "a longer prefix never gives fewer messages");
                most = n;
            }
            Err(e) => {
                assert_eq!(most, 0, "{e}");
                assert!(e.to_string().starts_with("t.traj.json"), "{e}");
                refused += 1;
            }
        }
    }
    assert_eq!(most, whole.messages.len());
    assert!(refused > 0);
}

#[test]
fn errors_name_line_and_field() {
    let text = "{\"messages\": [\n  {\"role\": \"user\", \"content\": \"x\"},\n  {\"role\": 7}\n]}";
    let error = parse(text.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("line 3") && error.contains("`messages[1].role`"), "{error}");
    let error = parse(b"{\"info\": {}}").unwrap_err().to_string();
    assert!(error.contains("missing field `messages`"), "{error}");
    let error =
        parse(b"{\"messages\": [], \"trajectory_format\": \"mini-swe-agent-2\"}").unwrap_err();
    assert!(error.to_string().contains("`trajectory_format`"), "{error}");
    let error = parse(b"{\"messages\": [\n\n\"\xff\"]}").unwrap_err().to_string();
    assert!(error.contains("line 3: is not UTF-8"), "{error}");
    assert!(parse(b"[]").is_err());
}

#[test]
fn loops_without_tool_calls_and_malformed_calls_become_valid_atif() {
    let mut text_reply = Message::assistant(Some("```bash\nls\n```".to_owned()), Vec::new());
    text_reply.extra.actions = Some(vec![Action { command: "ls".to_owned(), tool_call_id: None }]);
    let mut text_answer = Message::user("<output>a</output>");
    text_answer.extra.returncode = Some(0);
    let bad = ToolCall::new("c9", "bash", "{\"command\": ");
    let mut format_error = Message::user("Tool call error");
    format_error.extra.cost = Some(0.25);
    format_error.extra.response =
        Some(Usage { prompt_tokens: 5, completion_tokens: 6, cached_tokens: 0 }.to_response("m"));
    let mini = MiniTrajectory {
        messages: vec![
            Message::tool("nobody", "an answer before any question"),
            text_reply,
            text_answer,
            Message::assistant(None, vec![bad]),
            Message::tool("another", "whose?"),
            format_error,
            Message::exit("RepeatedFormatError", ""),
        ],
        ..MiniTrajectory::default()
    };
    let atif = valid(&to_atif(&mini, &subject()));
    assert_eq!(atif.steps.len(), 4);
    let call = &atif.steps[1].tool_calls.as_ref().unwrap()[0];
    assert_eq!(call.arguments["command"], "ls");
    let result = &atif.steps[1].observation.as_ref().unwrap().results[0];
    assert_eq!(result.source_call_id.as_ref(), Some(&call.tool_call_id));
    let call = &atif.steps[2].tool_calls.as_ref().unwrap()[0];
    assert_eq!(call.extra.as_ref().unwrap()["raw_arguments"], "{\"command\": ");
    let result = &atif.steps[2].observation.as_ref().unwrap().results[0];
    assert_eq!(
        (result.source_call_id.as_ref(), &result.extra.as_ref().unwrap()["tool_call_id"]),
        (None, &json!("another"))
    );
    assert_eq!(atif.steps[3].extra.as_ref().unwrap()["cost_usd"], 0.25);
    let totals = atif.final_metrics.unwrap();
    assert_eq!((totals.total_cost_usd, totals.total_completion_tokens), (Some(0.25), Some(6)));
    assert_eq!(atif.extra.unwrap()["exit_status"], "RepeatedFormatError");
}

#[test]
fn each_rule_of_atif_is_checked() {
    let good: Value =
        serde_json::to_value(to_atif(&parse(REAL.as_bytes()).unwrap().trajectory, &subject()))
            .unwrap();
    let cases: [(&str, Value, &str); 12] = [
        ("/steps/1/step_id", json!(3), "steps[1].step_id"),
        ("/schema_version", json!("ATIF-v1.9"), "schema_version"),
        ("/steps", json!([]), "steps"),
        ("/steps/1/timestamp", json!("yesterday"), "steps[1].timestamp"),
        ("/steps/1/metrics", json!({"prompt_tokens": 1}), "steps[1].metrics"),
        ("/steps/0/tool_calls", json!([]), "steps[0].tool_calls"),
        ("/steps/1/model_name", json!("m"), "steps[1].model_name"),
        (
            "/steps/2/observation/results/0/source_call_id",
            json!("call_2"),
            "steps[2].observation.results[0].source_call_id",
        ),
        ("/steps/2/llm_call_count", json!(0), "steps[2].metrics"),
        ("/steps/2/message", json!([{"type": "image", "text": "x"}]), "steps[2].message[0]"),
        (
            "/steps/2/observation/results/0/subagent_trajectory_ref",
            json!([{"session_id": "s"}]),
            "steps[2].observation.results[0].subagent_trajectory_ref[0]",
        ),
        ("/subagent_trajectories", json!([good]), "subagent_trajectories[0].trajectory_id"),
    ];
    for (pointer, value, field) in cases {
        let mut broken = good.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = broken.pointer_mut(parent).unwrap();
        if pointer == "/subagent_trajectories" {
            let mut sub = good.clone();
            sub.as_object_mut().unwrap().remove("trajectory_id");
            parent[key] = json!([sub]);
        } else if let Ok(i) = key.parse::<usize>() {
            parent[i] = value;
        } else {
            parent[key] = value;
        }
        let document: Atif = serde_json::from_value(broken).unwrap();
        let found: Vec<String> = check_atif(&document).into_iter().map(|b| b.field).collect();
        assert_eq!(found, [field], "{pointer}");
    }
    for pointer in
        ["", "/agent", "/steps/2", "/steps/2/metrics", "/steps/2/tool_calls/0", "/final_metrics"]
    {
        let mut broken = good.clone();
        broken.pointer_mut(pointer).unwrap()["surprise"] = json!(1);
        assert!(serde_json::from_value::<Atif>(broken).is_err(), "unknown key at {pointer:?}");
    }
}

/// Messages as agents have them, and stranger ones.
fn any_message() -> impl Strategy<Value = Message> {
    let text = prop_oneof![
        Just(String::new()),
        Just("line\nbreak, \"quotes\" }]} and ,{\"role\"".to_owned()),
        any::<String>(),
    ];
    (0..7u8, text, any::<u16>()).prop_map(|(kind, text, n)| {
        let id = format!("call_{}", n % 3);
        let mut message = match kind {
            0 => Message::system(text),
            1 => Message::user(text),
            2 => Message::assistant(Some(text.clone()), vec![ToolCall::new(id, "bash", text)]),
            3 => Message::assistant(None, Vec::new()),
            4 => Message::tool(id, text),
            5 => Message::exit("Submitted", &text),
            _ => Message {
                content: Some(Content::Parts(vec![json!({"text": text})])),
                ..Message::user("")
            },
        };
        if n % 2 == 0 {
            message.extra.cost = Some(f64::from(n) / 8.0);
            message.extra.timestamp = Some(1.8e9 + f64::from(n));
            message.extra.raw_output_blob =
                Some(BlobRef { sha256: Digest::of(b"x"), size: u64::from(n) });
        }
        message
    })
}

/// The file after appending each group of messages, one state after another.
fn states(groups: &[Vec<Message>]) -> Vec<Vec<u8>> {
    let rest = Map::from_iter([("reenact".to_owned(), json!({"config": {"agent": "bash"}}))]);
    let mut file = lines::head("t", &rest).into_bytes();
    let mut tail = file.len();
    let mut states = Vec::new();
    let mut all: Vec<Message> = Vec::new();
    for group in std::iter::once(&Vec::new()).chain(groups) {
        let first = all.is_empty();
        all.extend(group.iter().cloned());
        let info = Info { config: json!({"agent": "bash"}), ..Info::default() }.derived(&all);
        let (mut bytes, at) = lines::block(first, group, &info).unwrap();
        bytes.resize(bytes.len().max(file.len() - tail), b' ');
        file.truncate(tail);
        file.extend(bytes);
        tail += at;
        states.push(file.clone());
    }
    states
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn each_state_is_one_valid_document(groups in prop::collection::vec(prop::collection::vec(any_message(), 0..3), 1..5)) {
        let all: Vec<Message> = groups.concat();
        let states = states(&groups);
        for state in &states {
            let value: Value = serde_json::from_slice(state).unwrap();
            prop_assert_eq!(&value["trajectory_format"], mini::MINI_FORMAT);
        }
        let read = parse(states.last().unwrap()).unwrap();
        prop_assert!(!read.torn);
        prop_assert_eq!(read.trajectory.messages, all);
    }

    #[test]
    fn a_write_torn_at_any_byte_loses_only_what_it_was_adding(groups in prop::collection::vec(prop::collection::vec(any_message(), 0..3), 1..4)) {
        let states = states(&groups);
        let mut before: Vec<Message> = groups[..groups.len() - 1].concat();
        let kept = before.len();
        before.extend(groups[groups.len() - 1].clone());
        let (old, new) = (&states[states.len() - 2], &states[states.len() - 1]);
        for cut in 0..=new.len() {
            // What a kill leaves: a part of the new bytes, then what was there.
            let mut torn = new[..cut].to_vec();
            torn.extend(old.get(cut..).unwrap_or_default());
            let read = match parse(&torn) {
                Ok(read) => read,
                Err(e) => return Err(TestCaseError::fail(format!("cut {cut}: {e}"))),
            };
            let whole = repaired(Path::new("t"), &torn).unwrap();
            let again = parse(&whole).unwrap();
            prop_assert!(!again.torn);
            prop_assert_eq!(&again.trajectory, &read.trajectory);
            let n = read.trajectory.messages.len();
            prop_assert!(n >= kept && n <= before.len(), "cut {}: {} of {}", cut, n, kept);
            prop_assert_eq!(&read.trajectory.messages, &before[..n]);
        }
    }

    #[test]
    fn a_file_cut_at_any_length_gives_a_prefix(groups in prop::collection::vec(prop::collection::vec(any_message(), 1..3), 1..3)) {
        let all: Vec<Message> = groups.concat();
        let states = states(&groups);
        let file = states.last().unwrap();
        let head = file.iter().position(|b| *b == b'\n').unwrap();
        for cut in head..file.len() {
            let scan = lines::scan(&file[..cut]).unwrap();
            let complete = file[head + 1..cut.max(head + 1)].iter().filter(|b| **b == b'\n').count().min(all.len());
            prop_assert_eq!(scan.messages.len(), complete);
        }
        for cut in 0..head {
            prop_assert!(lines::scan(&file[..cut]).is_none());
        }
    }

    #[test]
    fn everything_exported_keeps_the_rules(messages in prop::collection::vec(any_message(), 1..12)) {
        let mini = MiniTrajectory { messages, ..MiniTrajectory::default() };
        let atif = to_atif(&mini, &subject());
        let broken = check_atif(&serde_json::from_str(&serde_json::to_string(&atif).unwrap()).unwrap());
        // A trajectory of nothing but its end has no step.
        let only_exits = mini.messages.iter().all(|m| m.role == "exit");
        prop_assert_eq!(broken.is_empty(), !only_exits, "{:?}", broken);
    }

    #[test]
    fn reading_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0..2000usize, at in 0..2000usize) {
        let mut text = REAL.as_bytes()[..cut.min(REAL.len())].to_vec();
        let at = at.min(text.len());
        text.splice(at..at, bytes);
        match parse(&text) {
            Ok(read) => prop_assert!(!read.torn || !read.trajectory.messages.is_empty()),
            Err(e) => prop_assert!(e.to_string().starts_with("t.traj.json")),
        }
    }
}
