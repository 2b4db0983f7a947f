//! CTRF of any writer and edition, for tests that somebody else ran. What is not needed is not looked at.

use reenact_model::FormatError;
use reenact_model::error::parse_json;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::path::Path;

/// Files above this many bytes, and reports with more tests than this, are refused.
const MAX_BYTES: usize = 64 << 20;
const MAX_TESTS: usize = 1_000_000;

/// A test's status, normalised by its writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Passed,
    Failed,
    Skipped,
    Pending,
    Other,
}

/// One test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadTest {
    pub name: String,
    pub status: Status,
    /// The writer's own word for the status.
    pub raw_status: Option<String>,
    /// From the outermost suite to the innermost.
    pub suite: Vec<String>,
    pub message: Option<String>,
    pub trace: Option<String>,
    /// Microseconds.
    pub wall_us: u64,
    pub retries: u32,
    /// What kind of failure it is, if we wrote it ourselves.
    pub kind: Option<String>,
}

#[derive(Deserialize)]
struct Document {
    results: Results,
}

#[derive(Deserialize)]
struct Results {
    #[serde(default)]
    tests: Vec<Test>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Test {
    name: String,
    status: Status,
    #[serde(default)]
    raw_status: Option<String>,
    #[serde(default, deserialize_with = "suites")]
    suite: Vec<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    trace: Option<String>,
    /// Milliseconds; whole ones by the schema, but writers differ.
    #[serde(default)]
    duration: f64,
    #[serde(default)]
    retries: Option<u32>,
    #[serde(default)]
    extra: Option<Value>,
}

/// The tests of a report, in its order.
///
/// # Errors
/// [`FormatError`] with the field that does not fit; a report that is too large.
pub fn read_ctrf(file: &Path, bytes: &[u8]) -> Result<Vec<ReadTest>, FormatError> {
    if bytes.len() > MAX_BYTES {
        let what = format!("is larger than {} MiB, the most that is read", MAX_BYTES >> 20);
        return Err(FormatError::file(file, what));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| FormatError::file(file, "is not UTF-8"))?;
    let document: Document = parse_json(file, None, text)?;
    if document.results.tests.len() > MAX_TESTS {
        let what = format!("holds more than {MAX_TESTS} tests, the most that are read");
        return Err(FormatError::field(file, None, "results.tests", what));
    }
    Ok(document.results.tests.into_iter().map(Test::told).collect())
}

impl Test {
    fn told(self) -> ReadTest {
        let extra = |name: &str| self.extra.as_ref().and_then(|e| e.get(name));
        let exact = extra("wall_us").and_then(Value::as_u64);
        let kind = extra("kind").and_then(Value::as_str).map(str::to_owned);
        ReadTest {
            wall_us: exact.unwrap_or_else(|| micros(self.duration)),
            kind,
            name: self.name,
            status: self.status,
            raw_status: self.raw_status,
            suite: self.suite,
            message: self.message,
            trace: self.trace,
            retries: self.retries.unwrap_or(0),
        }
    }
}

/// Milliseconds as microseconds; what is no time is none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped first")]
fn micros(ms: f64) -> u64 {
    if ms.is_nan() { 0 } else { (ms * 1000.0).clamp(0.0, 1e15) as u64 }
}

/// A list of names, or (older writers) one name with ` > ` between suites.
fn suites<'de, D: Deserializer<'de>>(de: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Suites {
        Many(Vec<String>),
        One(String),
        None(()),
    }
    Ok(match Suites::deserialize(de)? {
        Suites::Many(names) => names,
        Suites::One(name) => name.split(" > ").map(str::to_owned).collect(),
        Suites::None(()) => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn older_writers_are_read_and_broken_files_are_named() {
        let text = r#"{"results": {"tool": {"name": "jest"}, "summary": {}, "tests": [
            {"name": "a", "status": "passed", "duration": 12.5, "suite": "x > y", "id": 3},
            {"name": "b", "status": "skipped", "duration": -1, "suite": null}]}}"#;
        let read = read_ctrf(Path::new("c"), text.as_bytes()).unwrap();
        assert_eq!(
            (read[0].wall_us, read[0].suite.as_slice()),
            (12_500, ["x".into(), "y".into()].as_slice())
        );
        assert_eq!((read[1].wall_us, read[1].status), (0, Status::Skipped));
        let bad = r#"{"results": {"tests": [{"name": "a", "status": "odd"}]}}"#;
        let error = read_ctrf(Path::new("c.json"), bad.as_bytes()).unwrap_err().to_string();
        assert!(
            error.starts_with("c.json") && error.contains("results.tests[0].status"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "[\\[\\]{}:,\"a-z0-9 .-]{0,200}") {
            if let Err(e) = read_ctrf(Path::new("c"), text.as_bytes()) {
                prop_assert!(e.to_string().starts_with('c'));
            }
        }
    }
}
