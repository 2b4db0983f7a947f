//! What both APIs demand of a conversation, whatever the caller put together.

use crate::message::{Message, ToolCall};
use reenact_model::Digest;
use serde_json::Value;
use std::borrow::Cow;

/// Stands for a text that is empty: APIs refuse empty texts.
pub(crate) const EMPTY: &str = "(empty)";

/// Result of a call that the caller left without one.
const NOT_EXECUTED: &str = "(not executed)";

/// The messages so that every tool call has exactly one result, directly after the reply that made it, and every result
/// has its call. Results of unknown calls become texts of the user.
pub(crate) fn answered(messages: &[Message]) -> Vec<Cow<'_, Message>> {
    let mut out = Vec::with_capacity(messages.len());
    let mut rest = messages;
    let begins = |m: &Message| matches!(m, Message::Assistant { .. });
    while !rest.is_empty() {
        let (calls, body): (&[ToolCall], _) = match &rest[0] {
            Message::Assistant { tool_calls, .. } => {
                out.push(Cow::Borrowed(&rest[0]));
                (tool_calls, &rest[1..])
            }
            _ => (&[], rest),
        };
        let end = body.iter().position(begins).unwrap_or(body.len());
        segment(calls, &body[..end], &mut out);
        rest = &body[end..];
    }
    out
}

/// Adds what follows a reply with these calls.
fn segment<'a>(calls: &[ToolCall], body: &'a [Message], out: &mut Vec<Cow<'a, Message>>) {
    let mut used = vec![false; body.len()];
    for call in calls {
        let is_its = |m: &Message| matches!(m, Message::ToolResult { id, .. } if *id == call.id);
        match (0..body.len()).find(|&n| !used[n] && is_its(&body[n])) {
            Some(n) => {
                used[n] = true;
                out.push(Cow::Borrowed(&body[n]));
            }
            None => out.push(Cow::Owned(Message::ToolResult {
                id: call.id.clone(),
                text: NOT_EXECUTED.to_owned(),
            })),
        }
    }
    let others = body.iter().zip(used).filter(|(_, used)| !used).map(|(m, _)| m);
    out.extend(others.map(|m| match m {
        Message::ToolResult { text, .. } => Cow::Owned(Message::User { text: text.clone() }),
        _ => Cow::Borrowed(m),
    }));
}

/// An id for a call that came without one: the same for the same reply, another for another.
pub(crate) fn made_up_id(raw: &Value, nth: usize) -> String {
    let digest = Digest::of(raw.to_string().as_bytes());
    format!("call_{}_{nth}", digest.short(16))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Arguments, Reasoning};

    fn user(text: &str) -> Message {
        Message::User { text: text.to_owned() }
    }

    fn result(id: &str, text: &str) -> Message {
        Message::ToolResult { id: id.to_owned(), text: text.to_owned() }
    }

    fn calls(ids: &[&str]) -> Message {
        let call = |id: &&str| ToolCall {
            id: (*id).to_owned(),
            name: "bash".to_owned(),
            arguments: Arguments::Invalid(String::new()),
        };
        Message::Assistant {
            text: String::new(),
            reasoning: Reasoning::default(),
            tool_calls: ids.iter().map(call).collect(),
        }
    }

    fn check(given: &[Message], wanted: &[Message]) {
        let got: Vec<Message> = answered(given).into_iter().map(Cow::into_owned).collect();
        assert_eq!(got, wanted);
    }

    #[test]
    fn good_conversations_stay_as_they_are() {
        let good = [user("a"), calls(&["1", "2"]), result("1", "x"), result("2", "y"), user("b")];
        check(&good, &good);
        check(&[], &[]);
    }

    #[test]
    fn every_call_is_answered_once_and_first() {
        check(
            &[calls(&["1", "2"]), user("wait"), result("2", "y"), result("2", "again")],
            &[
                calls(&["1", "2"]),
                result("1", NOT_EXECUTED),
                result("2", "y"),
                user("wait"),
                user("again"),
            ],
        );
        check(
            &[calls(&["1"]), calls(&["1"]), result("1", "x")],
            &[calls(&["1"]), result("1", NOT_EXECUTED), calls(&["1"]), result("1", "x")],
        );
    }

    #[test]
    fn results_without_a_call_are_texts() {
        check(&[result("7", "x"), user("a")], &[user("x"), user("a")]);
    }
}
