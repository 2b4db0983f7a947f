//! Recorded messages as turns: what was said, and what was answered.

use super::talk;
use crate::site::{AgentEnd, Budget};
use reenact_interop::trajectory::Message;
use reenact_llm::ToolCall;

/// A reply of the model and the messages that answer it.
pub(super) struct Turn<'a> {
    pub said: &'a Message,
    pub answers: Vec<&'a Message>,
}

impl Turn<'_> {
    /// Every call has its answer; or there was no call, and that was said.
    pub(super) fn is_answered(&self) -> bool {
        let calls = talk::calls(self.said);
        if calls.is_empty() { !self.answers.is_empty() } else { self.answers.len() >= calls.len() }
    }

    /// The commands that were carried out, in order. Answers stand in the order of their calls.
    pub(super) fn ran(&self) -> Vec<String> {
        let calls = talk::calls(self.said);
        let answered = calls.iter().zip(&self.answers);
        let ran = answered.filter(|(_, answer)| answer.extra.returncode.is_some());
        ran.filter_map(|(call, _): (&ToolCall, _)| Some(call.command().ok()?.to_owned())).collect()
    }

    /// No command was carried out.
    pub(super) fn ran_nothing(&self) -> bool {
        self.answers.iter().all(|a| a.extra.returncode.is_none())
    }
}

/// The turns of a trajectory; messages before the first reply, and the exit message, are not among them.
pub(super) fn split(messages: &[Message]) -> Vec<Turn<'_>> {
    let mut turns: Vec<Turn<'_>> = Vec::new();
    for message in messages {
        match message.role.as_str() {
            "assistant" => turns.push(Turn { said: message, answers: Vec::new() }),
            "tool" | "user" => {
                if let Some(turn) = turns.last_mut() {
                    turn.answers.push(message);
                }
            }
            _ => {}
        }
    }
    turns
}

/// Keys under `extra` of the exit message, beside mini-SWE-agent's own.
const BUDGET: &str = "budget";
const WHY: &str = "why";

const BUDGETS: [Budget; 6] = [
    Budget::Steps,
    Budget::Wall,
    Budget::Cost,
    Budget::Tokens,
    Budget::Context,
    Budget::FormatErrors,
];

/// The last message of an attempt that came to an end.
pub(super) fn exit_message(end: &AgentEnd, submission: &str) -> Message {
    let mut message = Message::exit(end.exit_status(), submission);
    if let AgentEnd::ExhaustedBudget { which } = end {
        message.extra.rest.insert(BUDGET.to_owned(), which.name().into());
    }
    if let Some(why) = end.why() {
        message.extra.rest.insert(WHY.to_owned(), why.into());
    }
    message
}

/// The end that an exit message tells of.
pub(super) fn end_of(exit: &Message) -> AgentEnd {
    let text = |key: &str| exit.extra.rest.get(key).and_then(serde_json::Value::as_str);
    if let Some(which) = text(BUDGET).and_then(|n| BUDGETS.into_iter().find(|b| b.name() == n)) {
        return AgentEnd::ExhaustedBudget { which };
    }
    match exit.extra.exit_status.as_deref() {
        Some("Refused") => {
            AgentEnd::Refused { why: text(WHY).unwrap_or("no reason was given").to_owned() }
        }
        _ => AgentEnd::Submitted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_come_back_from_their_messages() {
        let mut ends = vec![AgentEnd::Submitted, AgentEnd::Refused { why: "policy".to_owned() }];
        ends.extend(BUDGETS.map(|which| AgentEnd::ExhaustedBudget { which }));
        for end in ends {
            assert_eq!(end_of(&exit_message(&end, "rest")), end);
        }
    }
}
