//! `json.dumps`.

use super::float::repr;
use super::value::Value;
use std::fmt::Write;

impl Value {
    /// `json.dumps(value)`.
    pub fn dumps(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, None, 0);
        out
    }

    /// `json.dumps(value, indent=2)`.
    pub fn dumps_indented(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, Some(2), 0);
        out
    }

    fn write(&self, out: &mut String, indent: Option<usize>, level: usize) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            Self::Int(n) => out.push_str(&n.to_string()),
            Self::Float(x) => out.push_str(&repr(*x)),
            Self::Str(text) => quote(out, text),
            Self::List(items) if items.is_empty() => out.push_str("[]"),
            Self::Dict(entries) if entries.is_empty() => out.push_str("{}"),
            Self::List(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    separate(out, i, indent, level + 1);
                    item.write(out, indent, level + 1);
                }
                end(out, ']', indent, level);
            }
            Self::Dict(entries) => {
                out.push('{');
                for (i, (key, value)) in entries.iter().enumerate() {
                    separate(out, i, indent, level + 1);
                    quote(out, key);
                    out.push_str(": ");
                    value.write(out, indent, level + 1);
                }
                end(out, '}', indent, level);
            }
        }
    }
}

fn separate(out: &mut String, i: usize, indent: Option<usize>, level: usize) {
    match indent {
        None if i > 0 => out.push_str(", "),
        None => {}
        Some(width) => {
            out.push_str(if i > 0 { ",\n" } else { "\n" });
            out.extend(std::iter::repeat_n(' ', width * level));
        }
    }
}

fn end(out: &mut String, bracket: char, indent: Option<usize>, level: usize) {
    if let Some(width) = indent {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', width * level));
    }
    out.push(bracket);
}

/// `ensure_ascii=True`: what is not printable ASCII is escaped, beyond the BMP as two surrogates.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a string cannot fail.
                    let _written = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Value {
        Value::parse(text).unwrap()
    }

    #[test]
    fn documents_look_as_in_python() {
        let text = r#" {"b": [1, 1.0, 1e3, -0, -0.0, 1E-7], "a": {}, "c": [], "é": "\u00e9\ud83e\udd8a/\/\u007f\n\b", "n": null, "t": true} "#;
        let value = parse(text);
        assert_eq!(
            value.dumps(),
            r#"{"b": [1, 1.0, 1000.0, 0, -0.0, 1e-07], "a": {}, "c": [], "\u00e9": "\u00e9\ud83e\udd8a//\u007f\n\b", "n": null, "t": true}"#
        );
        assert_eq!(parse("[1,{\"a\":[]}]").dumps_indented(), "[\n  1,\n  {\n    \"a\": []\n  }\n]");
        assert_eq!(
            parse(r#"{"b": 1, "a": {"d": 1, "c": 2}}"#).sorted().dumps(),
            r#"{"a": {"c": 2, "d": 1}, "b": 1}"#
        );
        assert_eq!(parse(r#"{"a": 1, "b": 2, "a": 3}"#).dumps(), r#"{"a": 3, "b": 2}"#);
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        for (text, at) in [
            ("", 0),
            ("[1,]", 3),
            ("{\"a\":1,}", 7),
            ("{1: 2}", 1),
            ("01", 1),
            ("1.", 2),
            ("NaN", 0),
            ("\"\\ud800\"", 7),
            ("\"\\x\"", 2),
            ("\"a\nb\"", 2),
            ("[1 2]", 3),
            ("1e999", 5),
            ("\"abc", 4),
            ("nul", 0),
            ("-", 1),
            ("\"\\u+123\"", 3),
        ] {
            let error = Value::parse(text).unwrap_err();
            assert_eq!(error.at, at, "{text}: {error}");
        }
        assert!(Value::parse(&"[".repeat(100_000)).unwrap_err().what.contains("deeply"));
        assert!(Value::parse(&"9".repeat(60)).is_err());
    }

    fn value(floats: bool) -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(|n| Value::Int(n.into())),
            any::<f64>().prop_map(move |x| match floats && x.is_finite() {
                true => Value::Float(x),
                false => Value::Null,
            }),
            any::<String>().prop_map(Value::Str),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
                prop::collection::hash_map(any::<String>(), inner, 0..6)
                    .prop_map(|m| Value::Dict(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in value(true)) {
            prop_assert_eq!(&parse(&value.dumps()), &value);
            prop_assert_eq!(&parse(&value.dumps_indented()), &value);
            prop_assert!(value.dumps().is_ascii());
        }

        // Without floats, which serde_json reads to the last digit only with a feature of its own.
        #[test]
        fn another_reader_agrees(value in value(false)) {
            let theirs: serde_json::Value = serde_json::from_str(&value.dumps_indented()).unwrap();
            let again = parse(&theirs.to_string());
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&again.dumps()).unwrap(), theirs);
        }

        #[test]
        fn no_text_is_too_strange(text in "[\\[\\]{}\":,0-9eE.+\\-a-z\\\\ ]{0,40}|\\PC{0,40}") {
            let ours = Value::parse(&text);
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            // Both refuse, or both accept; but they know no whole numbers beyond 64 bits, and round them.
            prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?} {:?}", ours, theirs);
        }
    }
}
