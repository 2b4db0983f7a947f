//! Somebody else's trajectory brought into our layout on disk ([`super::lines`]) without losing a byte of what it says: values are
//! carried over as text, only the white space between them goes.
//!
//! What differs afterwards: `trajectory_format` and `instance_id` stand first and are always there, the root has a key `reenact`
//! with `imported`, and a torn file has an end.

use super::lines;
use super::mini::{Info, MINI_FORMAT, Stats};
use super::read::{elements, read_mini};
use reenact_model::FormatError;
use serde_json::{Value, json};
use std::path::Path;

/// A trajectory in our layout, and what its run directory has to know of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Adopted {
    /// The file's new content.
    pub bytes: Vec<u8>,
    /// Task id, as its writer has it.
    pub instance_id: Option<String>,
    /// As its writer has it.
    pub info: Info,
    /// Totals over the messages.
    pub stats: Stats,
    /// Replies of the model.
    pub steps: u64,
    /// From the first message's time to the last one's, milliseconds.
    pub wall_ms: u64,
    /// The file's end was torn.
    pub torn: bool,
}

impl Adopted {
    /// The exit status: that of the root, else the last message's; empty if the agent was stopped in its work.
    pub fn exit_status(&self) -> String {
        let root = self.info.exit_status.clone().filter(|s| !s.is_empty());
        let message = self.stats.exit.as_ref().map(|(status, _)| status.clone());
        root.or(message).unwrap_or_default()
    }

    /// The model's name, where the trajectory's settings tell it.
    pub fn model(&self) -> Option<&str> {
        self.info.config.get("model")?.get("model_name")?.as_str()
    }
}

/// Brings a trajectory into our layout. One that has it already stays as it is.
///
/// # Errors
/// [`FormatError`], as [`read_mini`].
pub fn adopt(file: &Path, bytes: &[u8]) -> Result<Adopted, FormatError> {
    let read = read_mini(file, bytes)?;
    let trajectory = read.trajectory;
    let mut stats = Stats::default();
    trajectory.messages.iter().for_each(|m| stats.add(m));
    let times: Vec<f64> = trajectory
        .messages
        .iter()
        .filter_map(|m| m.extra.timestamp)
        .filter(|t| t.is_finite())
        .collect();
    let first = times.iter().copied().fold(f64::INFINITY, f64::min);
    let last = times.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let steps = trajectory.messages.iter().filter(|m| m.is_call()).count() as u64;
    let bytes = if lines::is_ours(bytes) {
        super::repaired(file, bytes)?
    } else {
        let (id, info) = (trajectory.instance_id.as_deref(), &trajectory.info);
        rewrite(bytes, id, info).ok_or_else(|| FormatError::file(file, "is no object"))?
    };
    Ok(Adopted {
        bytes,
        instance_id: trajectory.instance_id,
        info: trajectory.info,
        stats,
        steps,
        wall_ms: millis(last - first),
        torn: read.torn,
    })
}

/// Seconds as milliseconds; none where there are no times.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped first")]
fn millis(seconds: f64) -> u64 {
    if seconds.is_finite() { (seconds * 1000.0).clamp(0.0, 1e15) as u64 } else { 0 }
}

/// The document with its values as they stand.
fn rewrite(bytes: &[u8], instance_id: Option<&str>, info: &Info) -> Option<Vec<u8>> {
    let found = elements(bytes)?;
    let mut out = format!(
        "{{\"trajectory_format\":{},\"instance_id\":{}",
        Value::from(MINI_FORMAT),
        Value::from(instance_id.unwrap_or_default())
    )
    .into_bytes();
    let mut tail = serde_json::to_vec(info).ok()?;
    let mut theirs = json!({"instance_id": instance_id});
    for (key, range) in found.fields {
        let value = &bytes[range];
        match key.as_str() {
            "instance_id" => {}
            "info" => tail = compact(value),
            "trajectory_format" | "reenact" => {
                theirs[key] = serde_json::from_slice(value).unwrap_or_default();
            }
            _ => {
                out.extend_from_slice(format!(",{}:", Value::from(key)).as_bytes());
                out.extend_from_slice(&compact(value));
            }
        }
    }
    out.extend_from_slice(
        format!(",\"reenact\":{},\"messages\":[", json!({"imported": theirs})).as_bytes(),
    );
    for (i, range) in found.messages.into_iter().enumerate() {
        out.extend_from_slice(if i == 0 { b"\n" } else { b"\n," });
        out.extend_from_slice(&compact(&bytes[range]));
    }
    out.extend_from_slice(b"\n],\"info\":");
    out.extend_from_slice(&tail);
    out.push(b'}');
    Some(out)
}

/// JSON without the white space between its tokens.
fn compact(json: &[u8]) -> Vec<u8> {
    let (mut quoted, mut escaped) = (false, false);
    let mut out = Vec::with_capacity(json.len());
    for b in json {
        if quoted {
            match b {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
        } else if b.is_ascii_whitespace() {
            continue;
        } else {
            quoted = *b == b'"';
        }
        out.push(*b);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REAL: &str = include_str!("testdata/mini-swe-agent-2.4.6.traj.json");

    fn adopted(text: &str) -> Adopted {
        adopt(Path::new("t.traj.json"), text.as_bytes()).unwrap()
    }

    /// The document as its first writer had it.
    fn original(bytes: &[u8]) -> Value {
        let mut value: Value = serde_json::from_slice(bytes).unwrap();
        let root = value.as_object_mut().unwrap();
        let ours = root.remove("reenact").unwrap();
        for key in ["instance_id", "trajectory_format"] {
            match &ours["imported"][key] {
                Value::Null => drop(root.remove(key)),
                theirs => drop(root.insert(key.to_owned(), theirs.clone())),
            }
        }
        value
    }

    #[test]
    fn a_real_trajectory_comes_in_whole_and_goes_out_equal() {
        let real = adopted(REAL);
        assert!(lines::scan(&real.bytes).unwrap().whole);
        assert_eq!(original(&real.bytes), serde_json::from_str::<Value>(REAL).unwrap());
        assert_eq!(
            (real.exit_status().as_str(), real.steps, real.stats.calls),
            ("Submitted", 3, 3)
        );
        assert_eq!((real.stats.cost, real.stats.usage.prompt_tokens), (3.0, 600));
        let read = read_mini(Path::new("t"), &real.bytes).unwrap();
        assert_eq!(read.trajectory.messages.len(), 8);
        // A second time nothing happens.
        assert_eq!(adopt(Path::new("t"), &real.bytes).unwrap().bytes, real.bytes);
    }

    #[test]
    fn numbers_keep_every_digit_and_other_keys_stay() {
        let text = r#"{ "info": {"exit_status": "TimeoutExpired", "traceback": "x\" y"}, "messages": [
            {"type": "function_call_output", "output": "a  b", "extra": {"timestamp": 1732212345.12345678901234}},
            {"role": "user", "content": "c", "extra": {"timestamp": 1732212346.12345678901234}} ],
            "custom": {"n": 0.1000000000000000055511151231257827} }"#;
        let one = adopted(text);
        let written = String::from_utf8(one.bytes.clone()).unwrap();
        for part in [
            "1732212345.12345678901234",
            "0.1000000000000000055511151231257827",
            "\"a  b\"",
            "x\\\" y",
        ] {
            assert!(written.contains(part), "{part}: {written}");
        }
        assert_eq!((one.exit_status().as_str(), one.wall_ms), ("TimeoutExpired", 1000));
        assert_eq!((one.instance_id, one.torn), (None, false));
    }

    #[test]
    fn a_torn_trajectory_gets_an_end_and_no_exit_status() {
        let cut = REAL.find("\"role\": \"exit\"").unwrap();
        let torn = adopted(&REAL[..cut]);
        assert!(torn.torn && lines::scan(&torn.bytes).unwrap().whole);
        assert_eq!(torn.stats.exit, None);
        assert_eq!(torn.steps, 3);
    }

    /// A JSON value of any shape, as text with white space of any kind in it.
    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z\"\\\\ ]{0,5}", inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_messages_hold_comes_out_again(contents in prop::collection::vec(any_json(), 0..6), extra in any_json(), id in any::<Option<String>>()) {
            let messages: Vec<Value> = contents.into_iter().map(|c| json!({"role": "tool", "content": "x", "anything": c})).collect();
            let mut document = json!({"messages": messages, "info": {"exit_status": "Submitted", "more": extra}, "zzz": extra});
            if let Some(id) = &id {
                document["instance_id"] = Value::from(id.as_str());
            }
            for text in [document.to_string(), serde_json::to_string_pretty(&document).unwrap()] {
                let one = adopted(&text);
                prop_assert!(lines::scan(&one.bytes).unwrap().whole);
                prop_assert_eq!(&original(&one.bytes), &document);
                prop_assert_eq!(&one.instance_id, &id);
            }
        }

        #[test]
        fn adopting_never_panics(cut in 0..REAL.len(), bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut text = REAL.as_bytes()[..cut].to_vec();
            text.extend(bytes);
            if let Ok(one) = adopt(Path::new("t"), &text) {
                prop_assert!(lines::scan(&one.bytes).is_some_and(|s| s.whole));
            }
        }
    }
}
