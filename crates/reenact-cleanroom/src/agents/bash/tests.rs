use super::*;
use crate::agents::ground::{Ground, Ran};
use crate::site::{Live, Stop};
use reenact_interop::trajectory::MiniTrajectory;
use reenact_llm::{Arguments, Conversation, Finish, Reasoning, ToolCall, Usage};
use reenact_sandbox::room::ExecEnd;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

/// What a scripted model does next.
#[derive(Clone)]
enum Line {
    Run(&'static str),
    Calls(Vec<(&'static str, Arguments)>),
    Say(&'static str, Finish),
    Fail(fn() -> ModelError),
    /// As Ctrl-C while the request is under way.
    Stop,
}

/// Answers by the number of replies in the conversation, as the scripted server does.
struct Script {
    lines: Vec<Line>,
    stop: Stop,
    usage: Option<Usage>,
    asked: Mutex<Vec<Conversation>>,
}

impl Script {
    fn new(lines: Vec<Line>) -> Self {
        let usage = Some(Usage { input: 100, output: 10, ..Usage::default() });
        Self { lines, stop: Stop::default(), usage, asked: Mutex::default() }
    }
}

impl Talker for Script {
    fn ask(
        &self,
        conversation: &Conversation,
        _: &dyn Fn() -> bool,
        _: &dyn Fn(&str),
    ) -> Result<Reply, ModelError> {
        self.asked.lock().unwrap().push(conversation.clone());
        let said = conversation
            .messages
            .iter()
            .filter(|m| matches!(m, reenact_llm::Message::Assistant { .. }))
            .count();
        let mut reply = Reply {
            text: format!("step {said}"),
            reasoning: Reasoning::default(),
            tool_calls: Vec::new(),
            usage: self.usage,
            finish: Finish::ToolCalls,
            raw: Value::Null,
        };
        let call = |i: usize, name: &str, arguments| ToolCall {
            id: format!("c{said}-{i}"),
            name: name.to_owned(),
            arguments,
        };
        match self.lines[said].clone() {
            Line::Run(command) => reply.tool_calls.push(call(0, "bash", arguments(command))),
            Line::Calls(calls) => {
                let calls = calls.into_iter().enumerate();
                reply.tool_calls = calls.map(|(i, (name, a))| call(i, name, a)).collect();
            }
            Line::Say(text, finish) => {
                reply.text = text.to_owned();
                reply.finish = finish;
            }
            Line::Fail(error) => return Err(error()),
            Line::Stop => {
                self.stop.press();
                return Err(ModelError::Stopped);
            }
        }
        Ok(reply)
    }

    fn model(&self) -> &str {
        "scripted"
    }

    fn cost(&self, usage: &Usage) -> Option<f64> {
        Some(usage.total() as f64 / 1000.0)
    }
}

fn arguments(command: &str) -> Arguments {
    let mut fields = Map::new();
    fields.insert("command".to_owned(), command.into());
    Arguments::Object(fields)
}

/// A ground whose state is a list of words: `add WORD` adds one, `show` prints all, `die` kills the harness.
#[derive(Default)]
struct Words {
    words: RefCell<Vec<String>>,
    kept: RefCell<BTreeMap<u64, Vec<String>>>,
    ran: RefCell<Vec<String>>,
    no_snapshots: bool,
    fail_once: RefCell<bool>,
}

impl Ground for Words {
    fn run(&self, command: &str, _: Duration) -> Result<Ran, CleanroomError> {
        self.ran.borrow_mut().push(command.to_owned());
        if command == "die" && self.fail_once.replace(false) {
            return Err(reenact_sandbox::SandboxError::Lost("killed".to_owned()).into());
        }
        let output = match command.split_once(' ') {
            Some(("add", word)) => {
                self.words.borrow_mut().push(word.to_owned());
                String::new()
            }
            Some(("echo", text)) => format!("{text}\n"),
            _ if command == "show" => self.words.borrow().join(" ") + "\n",
            _ if command == "flood" => "x".repeat(50_000),
            _ => String::new(),
        };
        let end = ExecEnd::Exit { code: i32::from(command == "false") };
        let written = output.len() as u64;
        Ok(Ran { end, output: output.into_bytes(), written, note: None })
    }

    fn keep(&self, step: u64, must: bool) -> Result<(), CleanroomError> {
        if must || !self.no_snapshots {
            self.kept.borrow_mut().insert(step, self.words.borrow().clone());
        }
        Ok(())
    }

    fn kept(&self, at_most: u64) -> Result<Option<u64>, CleanroomError> {
        Ok(self.kept.borrow().range(..=at_most).next_back().map(|(step, _)| *step))
    }

    fn restore(&self, step: u64) -> Result<(), CleanroomError> {
        *self.words.borrow_mut() = self.kept.borrow()[&step].clone();
        Ok(())
    }
}

impl Words {
    /// The same snapshots in a fresh room.
    fn again(self) -> Self {
        Self { kept: self.kept, no_snapshots: self.no_snapshots, ..Self::default() }
    }
}

struct Bench {
    dir: tempfile::TempDir,
    policy: Policy,
    live: Live,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir, policy: Policy::default(), live: Live::default() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("t.traj.json")
    }

    fn run(&mut self, script: &Script, ground: &Words) -> Result<AgentEnd, CleanroomError> {
        self.live = Live::default();
        let prompts = Prompts::built_in().unwrap();
        let desk = Desk {
            policy: &self.policy,
            live: &self.live,
            stop: &script.stop,
            ground,
            prompts: &prompts,
            set_step: &|_| {},
        };
        let first = vec![Message::system("be good"), Message::user("do it")];
        let header = header("t", "scripted", &self.policy, &prompts);
        let (session, end) = Session::open(desk, &self.path(), &header, first)?;
        match end {
            Some(end) => Ok(end),
            None => work(script, desk, session),
        }
    }

    fn trajectory(&self) -> MiniTrajectory {
        read_trajectory(&self.path())
    }

    /// The messages without what depends on the clock.
    fn timeless(&self) -> Vec<Message> {
        let mut messages = self.trajectory().messages;
        for message in &mut messages {
            message.extra.timestamp = None;
            message.extra.rest.remove("elapsed_ms");
        }
        messages
    }
}

fn read_trajectory(path: &Path) -> MiniTrajectory {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

const DONE: Line = Line::Run("echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT");

fn story() -> Vec<Line> {
    vec![
        Line::Run("add one"),
        Line::Say("I think I am done.", Finish::Stop),
        Line::Calls(vec![("bash", arguments("add two")), ("bash", arguments("show"))]),
        Line::Run("false"),
        Line::Run("add three"),
        Line::Run("show"),
        DONE,
    ]
}

#[test]
fn a_task_is_worked_on_to_its_submission() {
    let mut bench = Bench::new();
    let (script, ground) = (Script::new(story()), Words::default());
    assert_eq!(bench.run(&script, &ground).unwrap(), AgentEnd::Submitted);
    let trajectory = bench.trajectory();
    let roles: Vec<&str> = trajectory.messages.iter().map(|m| m.role.as_str()).collect();
    assert_eq!(
        roles,
        [
            "system",
            "user",
            "assistant",
            "tool",
            "assistant",
            "user",
            "assistant",
            "tool",
            "tool",
            "assistant",
            "tool",
            "assistant",
            "tool",
            "assistant",
            "tool",
            "assistant",
            "tool",
            "exit"
        ]
    );
    assert!(trajectory.messages[5].text().contains("held no tool call"));
    assert!(trajectory.messages[8].text().contains("one two"));
    assert!(trajectory.messages[10].text().contains("<returncode>1</returncode>"));
    assert!(trajectory.messages[14].text().contains("one two three"));
    assert_eq!(trajectory.info.exit_status.as_deref(), Some("Submitted"));
    assert_eq!(trajectory.info.model_stats.api_calls, 7);
    let spent = bench.live.spent();
    assert_eq!((spent.calls, spent.tokens.input, spent.tokens.output), (7, 700, 70));
    assert!((spent.cost().unwrap() - 0.77).abs() < 1e-9);
    // The model is told everything, in order.
    let last = script.asked.lock().unwrap().last().unwrap().clone();
    assert_eq!(last.system, "be good");
    assert_eq!(last.messages.len(), 14);
}

#[test]
fn a_stop_at_any_moment_resumes_to_the_same_trajectory() {
    let mut calm = Bench::new();
    calm.run(&Script::new(story()), &Words::default()).unwrap();
    let wanted = calm.timeless();
    for no_snapshots in [false, true] {
        for at in 0..story().len() {
            let mut bench = Bench::new();
            let mut script = Script::new(story());
            script.lines[at] = Line::Stop;
            let ground = Words { no_snapshots, ..Words::default() };
            assert_eq!(bench.run(&script, &ground).unwrap(), AgentEnd::Interrupted, "at {at}");
            let ground = ground.again();
            let script = Script::new(story());
            assert_eq!(bench.run(&script, &ground).unwrap(), AgentEnd::Submitted, "at {at}");
            assert_eq!(bench.timeless(), wanted, "stopped at {at}, no snapshots: {no_snapshots}");
            assert_eq!(bench.live.spent().calls, 7);
        }
    }
}

#[test]
fn a_kill_after_any_message_resumes_to_the_same_trajectory() {
    let mut calm = Bench::new();
    let whole = Words::default();
    calm.run(&Script::new(story()), &whole).unwrap();
    let wanted = calm.timeless();
    let bytes = std::fs::read_to_string(calm.path()).unwrap();
    let lines: Vec<&str> = bytes.lines().collect();
    // One message a line; what follows the messages is cut off too, as a kill may.
    let first = lines.iter().position(|l| l.contains("\"role\":\"system\"")).unwrap();
    for keep in first..=first + wanted.len() {
        let mut bench = Bench::new();
        std::fs::write(bench.path(), lines[..keep].join("\n")).unwrap();
        let kept = whole.kept.borrow().clone();
        // The snapshot of a step is taken after its messages, so any of them may be missing.
        for snapshots in [0, 2, 9] {
            let kept = kept.iter().take(snapshots).map(|(k, v)| (*k, v.clone())).collect();
            let ground = Words { kept: RefCell::new(kept), ..Words::default() };
            std::fs::write(bench.path(), lines[..keep].join("\n")).unwrap();
            let end = bench.run(&Script::new(story()), &ground).unwrap();
            assert_eq!(end, AgentEnd::Submitted, "{keep} lines, {snapshots} snapshots");
            assert_eq!(bench.timeless(), wanted, "{keep} lines, {snapshots} snapshots");
        }
    }
}

#[test]
fn a_lost_room_is_a_fault_of_the_harness_and_the_step_is_done_again() {
    let mut calm = Bench::new();
    let lines = || vec![Line::Run("add one"), Line::Run("die"), Line::Run("show"), DONE];
    calm.run(&Script::new(lines()), &Words::default()).unwrap();
    let mut bench = Bench::new();
    let ground = Words { fail_once: RefCell::new(true), ..Words::default() };
    let error = bench.run(&Script::new(lines()), &ground).unwrap_err();
    assert!(matches!(error, CleanroomError::Sandbox(_)), "{error}");
    let ground = ground.again();
    let script = Script::new(lines());
    assert_eq!(bench.run(&script, &ground).unwrap(), AgentEnd::Submitted);
    assert_eq!(bench.timeless(), calm.timeless());
    assert_eq!(
        script.asked.lock().unwrap().len(),
        2,
        "the reply that was paid for is not asked again"
    );
}

#[test]
fn what_cannot_be_run_is_answered_and_five_such_replies_in_a_row_end_the_attempt() {
    let mut bench = Bench::new();
    let bad = || {
        vec![
            Line::Say("no call", Finish::Length),
            Line::Calls(vec![("bash", Arguments::Invalid("{\"command\": \"ls".to_owned()))]),
            Line::Calls(vec![("python", arguments("1"))]),
            Line::Calls(vec![("bash", Arguments::Object(Map::new()))]),
        ]
    };
    let mut lines = bad();
    lines.push(Line::Run("add one"));
    lines.extend(bad());
    lines.push(Line::Say("and again", Finish::Stop));
    let end = bench.run(&Script::new(lines), &Words::default()).unwrap();
    assert_eq!(end, AgentEnd::ExhaustedBudget { which: Budget::FormatErrors });
    let messages = bench.trajectory().messages;
    let answers: Vec<String> = messages[2..].iter().map(|m| m.text().into_owned()).collect();
    assert!(answers[1].contains("cut off"), "{}", answers[1]);
    assert!(answers[3].contains("not a JSON object"), "{}", answers[3]);
    assert!(answers[5].contains("no tool named \"python\""), "{}", answers[5]);
    assert!(answers[7].contains("no argument \"command\""), "{}", answers[7]);
    assert_eq!(bench.trajectory().info.exit_status.as_deref(), Some("RepeatedFormatError"));
    // The end is found again, not worked out anew.
    let end = bench.run(&Script::new(Vec::new()), &Words::default()).unwrap();
    assert_eq!(end, AgentEnd::ExhaustedBudget { which: Budget::FormatErrors });
}

#[test]
fn each_budget_ends_the_attempt_by_its_name() {
    let forever = || vec![Line::Run("add x"); 50];
    for (policy, which) in [
        (Policy { steps: 3, ..Policy::default() }, Budget::Steps),
        (Policy { wall_s: 0, ..Policy::default() }, Budget::Wall),
        (Policy { cost_usd: Some(0.3), ..Policy::default() }, Budget::Cost),
        (Policy { tokens: Some(330), ..Policy::default() }, Budget::Tokens),
    ] {
        let mut bench = Bench::new();
        bench.policy = policy;
        let end = bench.run(&Script::new(forever()), &Words::default()).unwrap();
        assert_eq!(end, AgentEnd::ExhaustedBudget { which });
        let steps = if which == Budget::Wall { 0 } else { 3 };
        assert_eq!(bench.live.spent().calls, steps, "{which:?}");
    }
}

#[test]
fn ends_without_a_reply_are_told_apart() {
    let context = || ModelError::ContextTooLong { message: "too long".to_owned() };
    let outage = || ModelError::Unreachable {
        base_url: "http://x".to_owned(),
        tries: 3,
        waited: Duration::from_secs(9),
        message: "refused".to_owned(),
    };
    let mut bench = Bench::new();
    let script = Script::new(vec![Line::Run("add one"), Line::Fail(context)]);
    let end = bench.run(&script, &Words::default()).unwrap();
    assert_eq!(end, AgentEnd::ExhaustedBudget { which: Budget::Context });

    let mut bench = Bench::new();
    let script = Script::new(vec![Line::Run("add one"), Line::Fail(outage)]);
    let ground = Words::default();
    let end = bench.run(&script, &ground).unwrap();
    let AgentEnd::ProviderFailed { why } = end else { panic!("{end:?}") };
    assert!(why.contains("not reachable") && why.contains("--base-url"), "{why}");
    assert_eq!(bench.trajectory().info.exit_status.as_deref(), Some(""), "not at its end");
    let script = Script::new(vec![Line::Run("add one"), DONE]);
    assert_eq!(bench.run(&script, &ground.again()).unwrap(), AgentEnd::Submitted);
}

#[test]
fn a_refusal_is_recorded_with_its_cost() {
    fn refusal() -> ModelError {
        ModelError::Refused {
            why: "content filter".to_owned(),
            reply: Box::new(Reply {
                text: "I cannot.".to_owned(),
                reasoning: Reasoning::default(),
                tool_calls: Vec::new(),
                usage: Some(Usage { input: 7, ..Usage::default() }),
                finish: Finish::Other("refusal".to_owned()),
                raw: Value::Null,
            }),
        }
    }
    let mut bench = Bench::new();
    let end = bench.run(&Script::new(vec![Line::Fail(refusal)]), &Words::default()).unwrap();
    assert_eq!(end, AgentEnd::Refused { why: "content filter".to_owned() });
    assert_eq!(bench.live.spent().tokens.input, 7);
    assert_eq!(bench.trajectory().messages[2].text(), "I cannot.");
}

#[test]
fn a_budget_that_cannot_be_counted_is_no_budget() {
    let mut bench = Bench::new();
    let mut script = Script::new(story());
    script.usage = None;
    assert_eq!(bench.run(&script, &Words::default()).unwrap(), AgentEnd::Submitted);
    assert_eq!(bench.live.spent().cost(), None);
    let mut bench = Bench::new();
    bench.policy.cost_usd = Some(1.0);
    let end = bench.run(&script, &Words::default()).unwrap();
    assert!(matches!(end, AgentEnd::ProviderFailed { .. }), "{end:?}");
}

#[test]
fn full_output_is_kept_beside_what_is_shown() {
    let mut bench = Bench::new();
    bench.run(&Script::new(vec![Line::Run("flood"), DONE]), &Words::default()).unwrap();
    let message = &bench.trajectory().messages[3];
    assert!(message.text().contains("40000 characters are not shown"), "{}", message.text());
    let blob = message.extra.raw_output_blob.as_ref().unwrap();
    assert_eq!(blob.size, 50_000);
    let file = bench.dir.path().join("blobs").join(blob.sha256.hex());
    assert_eq!(std::fs::read(file).unwrap(), vec![b'x'; 50_000]);
}

#[test]
fn nothing_is_run_after_the_work_was_handed_in() {
    let mut bench = Bench::new();
    let marker = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT";
    let calls = vec![("bash", arguments(marker)), ("bash", arguments("add late"))];
    let ground = Words::default();
    let end = bench.run(&Script::new(vec![Line::Calls(calls)]), &ground).unwrap();
    assert_eq!(end, AgentEnd::Submitted);
    assert_eq!(*ground.ran.borrow(), [marker]);
    assert!(bench.trajectory().messages[4].text().starts_with("Not run"));
}
