//! How our own trajectories lie on disk: one JSON value whose messages stand on lines of their own, so that appending
//! rewrites only what follows the last message.
//!
//! ```text
//! {"trajectory_format":"mini-swe-agent-1.1",…,"messages":[      head, never changed
//! {"role":"system",…}                                           first message
//! ,{"role":"user",…}                                            every other: the comma stands before it
//! ],"info":{…}}                                                 tail, rewritten in place; spaces may follow
//! ```
//!
//! The file is changed by one write at the offset where the tail begins (a line break), and the write reaches at least to the
//! old end of the file. So whatever a kill leaves is *new bytes, then old tail bytes*. A message counts exactly if a line break
//! stands behind it: the tail holds no line break but its first byte, so a message that was cut short cannot be
//! completed by old bytes. `scan` finds the messages that count.

use super::mini::{Info, MINI_FORMAT, Message};
use serde_json::{Map, Value};
use std::ops::Range;

/// Where things are in a file of this layout. Offsets are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The head's length; the first line break stands there.
    pub head: usize,
    /// The messages, without their commas.
    pub messages: Vec<Range<usize>>,
    /// Where the tail begins, or has to be written anew.
    pub tail: usize,
    /// The tail is complete: the file is one valid JSON value.
    pub whole: bool,
}

const MESSAGES: &str = ",\"messages\":[";
const INFO: &[u8] = b"],\"info\":";

/// The head: `rest` are further keys of the root, which never change.
pub fn head(instance_id: &str, rest: &Map<String, Value>) -> String {
    let mut text = format!(
        "{{\"trajectory_format\":{},\"instance_id\":{}",
        Value::from(MINI_FORMAT),
        Value::from(instance_id)
    );
    for (key, value) in rest {
        text.push_str(&format!(",{}:{value}", Value::from(key.as_str())));
    }
    text.push_str(MESSAGES);
    text
}

/// Messages and a new tail, to be written where the old tail begins. The second value is where the tail begins within it.
///
/// # Errors
/// A number that JSON does not have (a cost that is not finite).
pub fn block(
    first: bool,
    messages: &[Message],
    info: &Info,
) -> Result<(Vec<u8>, usize), serde_json::Error> {
    let mut bytes = Vec::new();
    for (i, message) in messages.iter().enumerate() {
        bytes.extend_from_slice(if first && i == 0 { b"\n" } else { b"\n," });
        serde_json::to_writer(&mut bytes, message)?;
    }
    let tail = bytes.len();
    bytes.push(b'\n');
    bytes.extend_from_slice(INFO);
    serde_json::to_writer(&mut bytes, info)?;
    bytes.push(b'}');
    Ok((bytes, tail))
}

/// Whether a file begins as one of this layout.
pub fn is_ours(bytes: &[u8]) -> bool {
    let start = format!("{{\"trajectory_format\":{}", Value::from(MINI_FORMAT));
    bytes.starts_with(start.as_bytes())
        && bytes.split(|b| *b == b'\n').next().is_some_and(|l| l.ends_with(MESSAGES.as_bytes()))
}

/// Finds the messages of a file of this layout, torn or whole; `None` if its head is not whole.
pub fn scan(bytes: &[u8]) -> Option<Scan> {
    let head = bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len());
    if !is_ours(bytes) || !is_head(bytes.get(..head)?) {
        return None;
    }
    let mut scan = Scan { head, messages: Vec::new(), tail: head, whole: false };
    let mut at = head + 1;
    while at < bytes.len() {
        let Some(len) = bytes[at..].iter().position(|b| *b == b'\n') else { break };
        let line = at..at + len;
        let start = line.start + usize::from(bytes[line.start] == b',');
        // The comma is there exactly on every line but the first.
        let comma = (start > line.start) != scan.messages.is_empty();
        let range = start..line.end;
        if !comma || serde_json::from_slice::<Message>(&bytes[range.clone()]).is_err() {
            return Some(scan);
        }
        scan.messages.push(range);
        scan.tail = line.end;
        at = line.end + 1;
    }
    scan.whole = bytes.get(at..).is_some_and(is_tail);
    Some(scan)
}

/// The root's own keys, from the head.
pub fn head_value(head: &[u8]) -> Option<Map<String, Value>> {
    let mut text = head.to_vec();
    text.extend_from_slice(b"]}");
    match serde_json::from_slice(&text) {
        Ok(Value::Object(map)) => Some(map),
        _ => None,
    }
}

/// `info` of a whole tail.
pub fn info(tail: &[u8]) -> Option<Info> {
    let text = tail.trim_ascii_start().strip_prefix(INFO)?.trim_ascii_end().strip_suffix(b"}")?;
    serde_json::from_slice(text).ok()
}

fn is_head(head: &[u8]) -> bool {
    head_value(head).is_some()
}

fn is_tail(line: &[u8]) -> bool {
    line.starts_with(INFO) && info(line).is_some()
}
