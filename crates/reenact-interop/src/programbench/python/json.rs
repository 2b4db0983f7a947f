//! `json.loads` and `json.dumps`.

use super::float::repr;
use super::value::{JsonError, Value};
use std::collections::HashMap;
use std::fmt::Write;

/// Lists and dicts within each other, at most. CPython's own parser gives up at about a thousand.
const DEPTH_MAX: usize = 500;

impl Value {
    /// Reads one document. Stricter than Python about what no JSON has (NaN, Infinity, lone surrogates).
    ///
    /// # Errors
    /// [`JsonError`] with the place.
    pub fn parse(text: &str) -> Result<Self, JsonError> {
        let mut parser = Parser { text, bytes: text.as_bytes(), at: 0, depth: 0 };
        parser.space();
        let value = parser.value()?;
        parser.space();
        if parser.at == text.len() { Ok(value) } else { Err(parser.fail("something follows the document")) }
    }

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

struct Parser<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn fail(&self, what: &'static str) -> JsonError {
        JsonError { at: self.at, what }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8, what: &'static str) -> Result<(), JsonError> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(self.fail(what))
    }

    fn value(&mut self) -> Result<Value, JsonError> {
        match self.peek() {
            None => Err(self.fail("the document ends too early")),
            Some(b'"') => self.string().map(Value::Str),
            Some(b'[') => self.nested(Self::list),
            Some(b'{') => self.nested(Self::dict),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => self.word(),
        }
    }

    fn nested(
        &mut self,
        parse: fn(&mut Self) -> Result<Value, JsonError>,
    ) -> Result<Value, JsonError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.fail("is nested too deeply"));
        }
        self.at += 1;
        self.space();
        let value = parse(self);
        self.depth -= 1;
        value
    }

    fn word(&mut self) -> Result<Value, JsonError> {
        let words = [("null", Value::Null), ("true", Value::Bool(true)), ("false", Value::Bool(false))];
        for (word, value) in words {
            if self.bytes[self.at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.fail("expected a value"))
    }

    fn list(&mut self) -> Result<Value, JsonError> {
        let mut items = Vec::new();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.value()?);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                _ => break,
            }
            self.space();
        }
        self.eat(b']', "expected ',' or ']'")?;
        Ok(Value::List(items))
    }

    fn dict(&mut self) -> Result<Value, JsonError> {
        let mut entries: Vec<(String, Value)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Dict(entries));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.fail("expected a key"));
            }
            let key = self.string()?;
            self.space();
            self.eat(b':', "expected ':'")?;
            self.space();
            let value = self.value()?;
            match places.get(&key) {
                Some(at) => entries[*at].1 = value,
                None => {
                    places.insert(key.clone(), entries.len());
                    entries.push((key, value));
                }
            }
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                _ => break,
            }
            self.space();
        }
        self.eat(b'}', "expected ',' or '}'")?;
        Ok(Value::Dict(entries))
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.fail("expected a digit")) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<Value, JsonError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        let mut whole = true;
        if self.peek() == Some(b'.') {
            whole = false;
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            whole = false;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = &self.text[start..self.at];
        if whole {
            return text.parse().map(Value::Int).map_err(|_| self.fail("a whole number is too large"));
        }
        match text.parse::<f64>() {
            Ok(x) if x.is_finite() => Ok(Value::Float(x)),
            _ => Err(self.fail("a number is too large")),
        }
    }

    fn string(&mut self) -> Result<String, JsonError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let start = self.at;
            while !matches!(self.peek(), None | Some(b'"' | b'\\' | 0..=0x1f)) {
                self.at += 1;
            }
            out.push_str(&self.text[start..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    out.push(self.escape()?);
                }
                Some(_) => return Err(self.fail("a control character in a string")),
                None => return Err(self.fail("a string does not end")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let c = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode();
            }
            _ => return Err(self.fail("an unknown escape")),
        };
        self.at += 1;
        Ok(c)
    }

    fn unicode(&mut self) -> Result<char, JsonError> {
        let first = self.hex()?;
        let code = match first {
            0xd800..=0xdbff if self.bytes[self.at..].starts_with(b"\\u") => {
                self.at += 2;
                match self.hex()? {
                    low @ 0xdc00..=0xdfff => 0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00),
                    _ => return Err(self.fail("half a character")),
                }
            }
            code => code,
        };
        char::from_u32(code).ok_or_else(|| self.fail("half a character"))
    }

    fn hex(&mut self) -> Result<u32, JsonError> {
        let digits = self.bytes.get(self.at..self.at + 4);
        let digits = digits.filter(|d| d.iter().all(u8::is_ascii_hexdigit));
        let text = digits.and_then(|d| std::str::from_utf8(d).ok());
        let code = text.and_then(|t| u32::from_str_radix(t, 16).ok());
        let code = code.ok_or_else(|| self.fail("expected four hex digits"))?;
        self.at += 4;
        Ok(code)
    }
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
        assert_eq!(parse(r#"{"b": 1, "a": {"d": 1, "c": 2}}"#).sorted().dumps(), r#"{"a": {"c": 2, "d": 1}, "b": 1}"#);
        assert_eq!(parse(r#"{"a": 1, "b": 2, "a": 3}"#).dumps(), r#"{"a": 3, "b": 2}"#);
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        for (text, at) in [
            ("", 0), ("[1,]", 3), ("{\"a\":1,}", 7), ("{1: 2}", 1), ("01", 1), ("1.", 2), ("NaN", 0), ("\"\\ud800\"", 7),
            ("\"\\x\"", 2), ("\"a\nb\"", 2), ("[1 2]", 3), ("1e999", 5), ("\"abc", 4), ("nul", 0), ("-", 1), ("\"\\u+123\"", 3),
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
