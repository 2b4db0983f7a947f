//! Reading trajectories of any writer: bounded, tolerant of unknown keys and of a torn end.

use super::lines;
use super::mini::{Info, Message, MiniTrajectory};
use reenact_model::FormatError;
use reenact_model::error::parse_json;
use serde_json::{Map, Value};
use std::ops::Range;
use std::path::Path;

/// Files above this many bytes are refused.
pub const MAX_BYTES: u64 = 1 << 30;

/// A trajectory as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    pub trajectory: MiniTrajectory,
    /// The file's end was torn, and everything before the tear was taken.
    pub torn: bool,
}

/// Parses a trajectory. A file that ends too early (its writer was killed) gives every message that is complete.
///
/// # Errors
/// [`FormatError`] with line and field: no JSON, no messages, another version, a field of another type.
pub fn read_mini(file: &Path, bytes: &[u8]) -> Result<Read, FormatError> {
    if bytes.len() as u64 > MAX_BYTES {
        let what = format!("is larger than {} MiB, the most that is read", MAX_BYTES >> 20);
        return Err(FormatError::file(file, what));
    }
    let read = match lines::scan(bytes) {
        Some(scan) => ours(file, bytes, &scan)?,
        None => anyone(file, bytes)?,
    };
    let format = &read.trajectory.trajectory_format;
    // mini-swe-agent-1 had other messages; 1.1 and later minor versions add keys.
    if !format.is_empty() && !format.starts_with("mini-swe-agent-1.") {
        let what = format!("{format:?} is not supported; mini-swe-agent-1.1 is");
        return Err(FormatError::field(file, None, "trajectory_format", what));
    }
    Ok(read)
}

/// The bytes of a trajectory as they stand, or with the end that a kill took from them.
///
/// # Errors
/// As [`read_mini`].
pub fn repaired(file: &Path, bytes: &[u8]) -> Result<Vec<u8>, FormatError> {
    let read = read_mini(file, bytes)?;
    if !read.torn {
        return Ok(bytes.to_vec());
    }
    let written = match lines::scan(bytes) {
        Some(scan) => lines::block(true, &[], &read.trajectory.info)
            .map(|(tail, _)| [&bytes[..scan.tail], &tail].concat()),
        None => serde_json::to_vec_pretty(&read.trajectory),
    };
    written.map_err(|e| FormatError::file(file, e.to_string()))
}

fn ours(file: &Path, bytes: &[u8], scan: &lines::Scan) -> Result<Read, FormatError> {
    let mut messages = Vec::with_capacity(scan.messages.len());
    for range in &scan.messages {
        messages.push(message(file, bytes, range)?);
    }
    let mut rest = lines::head_value(&bytes[..scan.head]).unwrap_or_default();
    rest.remove("messages");
    let text = |v: Option<Value>| v.and_then(|v| v.as_str().map(str::to_owned));
    let trajectory_format = text(rest.remove("trajectory_format")).unwrap_or_default();
    let instance_id = text(rest.remove("instance_id"));
    let stored = if scan.whole { lines::info(&bytes[scan.tail..]) } else { None };
    let config = rest.get("reenact").and_then(|r| r.get("config")).cloned().unwrap_or_default();
    let info = stored.unwrap_or(Info { config, ..Info::default() }).derived(&messages);
    let trajectory = MiniTrajectory { trajectory_format, instance_id, info, messages, rest };
    Ok(Read { trajectory, torn: !scan.whole })
}

fn anyone(file: &Path, bytes: &[u8]) -> Result<Read, FormatError> {
    let text = std::str::from_utf8(bytes).or_else(|e| {
        // A tear may go through a character.
        let valid = &bytes[..e.valid_up_to()];
        if e.error_len().is_none() {
            Ok(std::str::from_utf8(valid).unwrap_or_default())
        } else {
            Err(e)
        }
    });
    let text = text.map_err(|e| {
        let line = bytes[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        FormatError { line: Some(line), ..FormatError::file(file, "is not UTF-8") }
    })?;
    let error = match parse_json::<MiniTrajectory>(file, None, text) {
        Ok(trajectory) => return Ok(Read { trajectory, torn: false }),
        Err(error) => error,
    };
    // By its brackets: a parser's own "end of file" misses a number that was cut short.
    if value_end(bytes, skip_space(bytes, 0)).is_some() {
        return Err(error);
    }
    let Some(found) = elements(bytes) else { return Err(error) };
    let mut messages = Vec::new();
    for range in found.messages {
        messages.push(message(file, bytes, &range)?);
    }
    if messages.is_empty() {
        return Err(error);
    }
    let parsed = |range: &Range<usize>| serde_json::from_slice(&bytes[range.clone()]).ok();
    let mut root: Map<String, Value> = Map::new();
    for (key, range) in &found.fields {
        root.extend(parsed(range).map(|value: Value| (key.clone(), value)));
    }
    let text = |v: Option<Value>| v.and_then(|v| v.as_str().map(str::to_owned));
    let info = root.remove("info").and_then(|v| serde_json::from_value(v).ok());
    let trajectory = MiniTrajectory {
        trajectory_format: text(root.remove("trajectory_format")).unwrap_or_default(),
        instance_id: text(root.remove("instance_id")),
        info: info.unwrap_or_else(|| Info::default().derived(&messages)),
        messages,
        rest: root,
    };
    Ok(Read { trajectory, torn: true })
}

fn message(file: &Path, bytes: &[u8], range: &Range<usize>) -> Result<Message, FormatError> {
    let text = String::from_utf8_lossy(&bytes[range.clone()]);
    parse_json(file, None, &text).map_err(|e: FormatError| {
        // Its line is counted from the message's own first one.
        let before = bytes[..range.start].iter().filter(|b| **b == b'\n').count();
        FormatError { line: Some(before + e.line.unwrap_or(1)), ..e }
    })
}

/// Complete values of a torn document: the root's fields, and the elements of `messages`.
#[derive(Default)]
pub(super) struct Elements {
    pub(super) fields: Vec<(String, Range<usize>)>,
    pub(super) messages: Vec<Range<usize>>,
}

/// Walks a document as far as it goes, by brackets and strings alone. `None` if it is no object.
pub(super) fn elements(bytes: &[u8]) -> Option<Elements> {
    let mut found = Elements::default();
    let mut at = skip_space(bytes, 0);
    if bytes.get(at) != Some(&b'{') {
        return None;
    }
    at = skip_space(bytes, at + 1);
    while bytes.get(at) == Some(&b'"') {
        let Some(end) = value_end(bytes, at) else { break };
        let key: String = serde_json::from_slice(&bytes[at..end]).ok()?;
        let colon = skip_space(bytes, end);
        if bytes.get(colon) != Some(&b':') {
            break;
        }
        let start = skip_space(bytes, colon + 1);
        if key == "messages" && bytes.get(start) == Some(&b'[') {
            let (messages, end) = array(bytes, start);
            found.messages = messages;
            let Some(end) = end else { break };
            at = end;
        } else {
            let Some(end) = value_end(bytes, start) else { break };
            found.fields.push((key, start..end));
            at = end;
        }
        at = skip_space(bytes, at);
        if bytes.get(at) != Some(&b',') {
            break;
        }
        at = skip_space(bytes, at + 1);
    }
    Some(found)
}

/// Elements of the array at `at` that are complete, and where the array ends, if it does.
fn array(bytes: &[u8], at: usize) -> (Vec<Range<usize>>, Option<usize>) {
    let mut elements = Vec::new();
    let mut at = skip_space(bytes, at + 1);
    loop {
        match bytes.get(at) {
            Some(b']') => return (elements, Some(at + 1)),
            // An element's own end is certain only for objects: a number might go on.
            Some(b'{') => {}
            _ => return (elements, None),
        }
        let Some(end) = value_end(bytes, at) else { return (elements, None) };
        elements.push(at..end);
        at = skip_space(bytes, end);
        if bytes.get(at) == Some(&b',') {
            at = skip_space(bytes, at + 1);
        }
    }
}

fn skip_space(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(rest.len())
}

/// Where the value that begins at `at` ends; `None` if the document ends first.
fn value_end(bytes: &[u8], at: usize) -> Option<usize> {
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for (i, b) in bytes.iter().enumerate().skip(at) {
        if quoted {
            match b {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    quoted = false;
                    if depth == 0 {
                        return Some(i + 1);
                    }
                }
                _ => {}
            }
            continue;
        }
        match b {
            b'"' => quoted = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth <= 1 => return Some(i + usize::from(depth == 1)),
            b'}' | b']' => depth -= 1,
            b',' if depth == 0 => return Some(i),
            _ => {}
        }
    }
    None
}
