//! A key: used in one header, shown nowhere.

use std::fmt;

/// Keys shorter than this are placeholders (`EMPTY`, `dummy`) that may well be ordinary words of a reply.
const WORTH_HIDING: usize = 12;

/// A key. It has no `Display` and no `Serialize`, and its `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// `None` if `text` could not be a header's value.
    pub(crate) fn new(text: String) -> Option<Self> {
        let fit = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        fit.then_some(Self(text))
    }

    /// The key itself; for request headers only.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    fn is_in(&self, text: &str) -> bool {
        self.0.len() >= WORTH_HIDING && text.contains(&self.0)
    }

    /// Replaces the key wherever it occurs in strings and field names of `value`.
    pub(crate) fn scrub(&self, value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) if self.is_in(text) => {
                *text = text.replace(&self.0, HIDDEN);
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(|v| self.scrub(v)),
            serde_json::Value::Object(fields) => {
                if fields.keys().any(|name| self.is_in(name)) {
                    *fields = std::mem::take(fields)
                        .into_iter()
                        .map(|(name, v)| (name.replace(&self.0, HIDDEN), v))
                        .collect();
                }
                fields.values_mut().for_each(|v| self.scrub(v));
            }
            _ => {}
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

const HIDDEN: &str = "[key]";

/// Longest text of a provider that goes into an error, in characters.
const MESSAGE_CHARS: usize = 500;

/// A provider's message made fit for errors and logs: bounded, on one line, without control characters, and without
/// anything that is or looks like a key. Providers quote keys half masked (`sk-ab***wxyz`); those go too.
pub(crate) fn presentable(message: &str, key: Option<&Secret>) -> String {
    // Bounded before the work, too: a message may have megabytes.
    let bounded: String = message.chars().take(8 * MESSAGE_CHARS).collect();
    let whole = match key {
        Some(key) if !key.0.is_empty() && bounded.contains(&key.0) && key.0.len() >= 4 => {
            bounded.replace(&key.0, HIDDEN)
        }
        _ => bounded,
    };
    let words = whole.split(|c: char| c.is_whitespace() || c.is_control());
    let mut out = String::new();
    for word in words.filter(|w| !w.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        let suspicious = word.contains("sk-") || word.contains("***") || begins_like(word, key);
        out.push_str(if suspicious { HIDDEN } else { word });
        if out.chars().count() > MESSAGE_CHARS {
            return out.chars().take(MESSAGE_CHARS).chain(['…']).collect();
        }
    }
    out
}

/// Whether the first eight characters of the key occur in `word`: a key that was cut.
fn begins_like(word: &str, key: Option<&Secret>) -> bool {
    key.is_some_and(|k| k.0.len() >= WORTH_HIDING && word.contains(&k.0[..8]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key() -> Secret {
        Secret::new("abcdefgh-0123456789".to_owned()).unwrap()
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", key()), "Secret(…)");
    }

    #[test]
    fn whole_masked_and_cut_keys_leave_messages() {
        let message = "bad key abcdefgh-0123456789, abcdefgh..., sk-proj-***wxyz\n\u{1b}[31m end";
        let shown = presentable(message, Some(&key()));
        assert_eq!(shown, "bad key [key], [key] [key] [31m end");
    }

    #[test]
    fn messages_are_bounded() {
        let shown = presentable(&"word ".repeat(1_000_000), None);
        assert_eq!(shown.chars().count(), MESSAGE_CHARS + 1);
    }

    #[test]
    fn a_key_that_was_echoed_is_taken_out_of_replies() {
        let mut value = json!({"abcdefgh-0123456789": [{"a": "x abcdefgh-0123456789 y", "n": 1}]});
        key().scrub(&mut value);
        assert_eq!(value, json!({"[key]": [{"a": "x [key] y", "n": 1}]}));
        let mut short = json!("EMPTY");
        Secret::new("EMPTY".to_owned()).unwrap().scrub(&mut short);
        assert_eq!(short, json!("EMPTY"));
    }
}
