//! `task.yaml` and `tests.json`: a task of ProgramBench's as its package ships it.
//!
//! Readers are as lenient as the official loader about keys they do not know, and stricter about what would make a score
//! ambiguous: a branch or a test that is listed twice is an error.

use reenact_model::FormatError;
use reenact_model::error::parse_json;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

/// Contents of `task.yaml`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct TaskYaml {
    /// `owner/name` of the program's repository.
    pub repository: String,
    /// The commit that the reference was built from.
    pub commit: String,
    /// `rs`, `go`, `c`, `cpp`, `hs`, `java`, `bash`.
    pub language: String,
    /// `easy`, `medium`, `hard`; not every task has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difficulty: Option<String>,
    /// SHA-256 of files (bare hex) that are deleted from a submission's workspace before it is built.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub eval_clean_hashes: Vec<String>,
}

impl TaskYaml {
    /// Parses `text`, the contents of `file`.
    ///
    /// # Errors
    /// [`FormatError`] with the line, if it is no YAML, lacks a field, or a digest is none.
    pub fn parse(file: &Path, text: &str) -> Result<Self, FormatError> {
        let task: Self = serde_yaml_ng::from_str(text).map_err(|e| FormatError {
            file: file.to_path_buf(),
            line: e.location().map(|l| l.line()),
            field: None,
            what: e.to_string(),
        })?;
        let is_digest = |h: &&String| h.len() == 64 && h.bytes().all(|b| b.is_ascii_hexdigit());
        if let Some(bad) = task.eval_clean_hashes.iter().find(|h| !is_digest(h)) {
            let what = format!("{bad:?} is no SHA-256 in hex");
            return Err(FormatError::field(file, None, "eval_clean_hashes", what));
        }
        Ok(task)
    }
}

/// Contents of `tests.json`. Branches keep the file's order: it is the order of evaluation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestsJson {
    pub branches: Vec<(String, Branch)>,
}

/// One branch: a suite of tests of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Branch {
    /// The whole branch is out of scope.
    #[serde(default)]
    pub ignored: bool,
    #[serde(default)]
    pub ignore_reason: String,
    /// Names as JUnit gives them (`classname.name`), without the branch; ignored ones included.
    pub tests: Vec<String>,
    #[serde(default)]
    pub ignored_tests: Vec<IgnoredTest>,
}

/// A test that does not count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct IgnoredTest {
    pub name: String,
    /// Why; a test may have several reasons.
    #[serde(default)]
    pub reasons: Vec<Reason>,
}

/// Why a test is ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Reason {
    /// `dummy_pass`, `gold_fail`, …
    #[serde(default)]
    pub id: String,
    /// `timestamp`, `user`, `note`, …
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl TestsJson {
    /// Parses `text`, the contents of `file`.
    ///
    /// # Errors
    /// [`FormatError`] with line and field: no JSON, another shape, a branch or a test listed twice, or a branch whose name
    /// could not be a file's.
    pub fn parse(file: &Path, text: &str) -> Result<Self, FormatError> {
        let tests: Self = parse_json(file, None, text)?;
        for (name, branch) in &tests.branches {
            let field = || format!("branches.{name}");
            if !reenact_model::task::is_valid_id(name) {
                let what = "is not a branch: letters, digits, '.', '_', '-'";
                return Err(FormatError::field(file, None, field(), what));
            }
            let mut seen = BTreeSet::new();
            if let Some(twice) = branch.tests.iter().find(|t| !seen.insert(t.as_str())) {
                let what = format!("lists the test {twice:?} twice");
                return Err(FormatError::field(file, None, field(), what));
            }
        }
        Ok(tests)
    }
}

#[derive(Deserialize)]
struct Document {
    // The official loader takes a file without branches for a task without tests.
    #[serde(default)]
    branches: Ordered,
}

#[derive(Default)]
struct Ordered(Vec<(String, Branch)>);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        de.deserialize_map(OrderedVisitor)
    }
}

struct OrderedVisitor;

impl<'de> Visitor<'de> for OrderedVisitor {
    type Value = Ordered;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of branches")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
        let (mut branches, mut seen) = (Vec::new(), BTreeSet::new());
        while let Some((name, branch)) = map.next_entry::<String, Branch>()? {
            if !seen.insert(name.clone()) {
                return Err(A::Error::custom(format!("branch {name:?} is listed twice")));
            }
            branches.push((name, branch));
        }
        Ok(Ordered(branches))
    }
}

impl<'de> Deserialize<'de> for TestsJson {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        Document::deserialize(de).map(|d| Self { branches: d.branches.0 })
    }
}

impl Serialize for TestsJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        struct Branches<'a>(&'a [(String, Branch)]);
        impl Serialize for Branches<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.0.iter().map(|(name, branch)| (name, branch)))
            }
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("branches", &Branches(&self.branches))?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tests_json(text: &str) -> Result<TestsJson, FormatError> {
        TestsJson::parse(Path::new("tests.json"), text)
    }

    #[test]
    fn a_task_is_read_with_and_without_its_optional_fields() {
        let file = Path::new("task.yaml");
        let digest = "ab".repeat(32);
        let text = format!(
            "repository: a/b\ncommit: 1234567\nlanguage: c\ndifficulty: easy\neval_clean_hashes:\n- {digest}\nnew_key: 1\n"
        );
        let task = TaskYaml::parse(file, &text).unwrap();
        assert_eq!((task.commit.as_str(), task.difficulty.as_deref()), ("1234567", Some("easy")));
        assert_eq!(task.eval_clean_hashes, [digest]);
        let short = "repository: a/b\ncommit: 1e5\nlanguage: c\n";
        assert_eq!(TaskYaml::parse(file, short).unwrap().commit, "1e5");
        let bad = TaskYaml::parse(file, &text.replace("- ab", "- zz")).unwrap_err();
        assert!(bad.to_string().contains("eval_clean_hashes"), "{bad}");
        assert!(TaskYaml::parse(file, "repository: a/b\n").is_err());
        let bomb = "a: &a [x,x,x,x,x,x,x,x]\n".to_owned()
            + &('b'..='i')
                .map(|c| {
                    let before = char::from(c as u8 - 1);
                    format!("{c}: &{c} [{}]\n", vec![format!("*{before}"); 8].join(","))
                })
                .collect::<String>();
        assert!(TaskYaml::parse(file, &bomb).is_err());
    }

    #[test]
    fn branches_keep_their_order_and_nothing_is_listed_twice() {
        let text = r#"{"branches": {"ff": {"ignored": false, "ignore_reason": "", "tests": ["x", "y"], "ignored_tests":
            [{"name": "y", "reasons": [{"id": "dummy_pass", "timestamp": 7}]}]}, "aa": {"tests": []}}, "future": 1}"#;
        let read = tests_json(text).unwrap();
        let names: Vec<&str> = read.branches.iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(names, ["ff", "aa"]);
        assert_eq!(read.branches[0].1.ignored_tests[0].reasons[0].other["timestamp"], 7);
        assert_eq!(tests_json("{}").unwrap(), TestsJson::default());
        for (bad, word) in [
            (r#"{"branches": {"a": {"tests": []}, "a": {"tests": []}}}"#, "twice"),
            (r#"{"branches": {"a": {"tests": ["x", "x"]}}}"#, "twice"),
            (r#"{"branches": {"../a": {"tests": []}}}"#, "not a branch"),
            (r#"{"branches": {"a": {}}}"#, "tests"),
            (r#"{"branches": [1]}"#, "branches"),
            ("{", "EOF"),
        ] {
            let error = tests_json(bad).unwrap_err().to_string();
            assert!(error.contains(word), "{bad}: {error}");
        }
    }

    fn branch() -> impl Strategy<Value = Branch> {
        let reason = "[a-z_]{1,9}".prop_map(|id| Reason { id, ..Reason::default() });
        let ignored = ("[ -~é]{0,12}", prop::collection::vec(reason, 0..3))
            .prop_map(|(name, reasons)| IgnoredTest { name, reasons });
        (
            any::<bool>(),
            "[ -~]{0,9}",
            prop::collection::btree_set("[ -~é]{0,12}", 0..6),
            prop::collection::vec(ignored, 0..3),
        )
            .prop_map(|(ignored, ignore_reason, tests, ignored_tests)| Branch {
                ignored,
                ignore_reason,
                tests: tests.into_iter().rev().collect(),
                ignored_tests,
            })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_in_order(
            branches in prop::collection::hash_map("[0-9a-f]{1,12}", branch(), 0..6)
        ) {
            let tests = TestsJson { branches: branches.into_iter().collect() };
            let text = serde_json::to_string_pretty(&tests).unwrap();
            prop_assert_eq!(tests_json(&text).unwrap(), tests);
        }

        #[test]
        fn no_text_is_too_strange(text in "\\PC{0,60}") {
            let _either = tests_json(&text);
            let _either = TaskYaml::parse(Path::new("task.yaml"), &text);
        }
    }
}
