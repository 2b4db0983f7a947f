//! Cases: a small workspace and one or more invocations. One JSON object a line in `cases.jsonl`.

use crate::content::Content;
use crate::digest::Digest;
use crate::error::{FormatError, parse_json};
use crate::expect::{AfterExpect, Expect};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// One hidden test: files, steps that share the workspace, and what must be true afterwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Unique in its suite; `c-` and hex digits of [`Case::input_digest`] when generated.
    pub id: String,
    /// Group name; a group is a branch in ProgramBench's format.
    #[serde(default = "default_group")]
    pub group: String,
    /// Invocations in order; at least one.
    pub steps: Vec<Step>,
    /// Workspace before the first step, by relative path. Parent directories are made as needed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, FileSpec>,
    /// Workspace after the last step: only what differs from `files`. Anything else must be as it was.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub after: BTreeMap<String, AfterExpect>,
    /// Limits of each step that differ from the suite's.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// Where the case came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Free labels; readers accept unknown ones.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
    /// Weight in weighted scores; at least 1. The headline score ignores it.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub weight: u32,
}

fn default_group() -> String {
    "default".to_owned()
}
fn one() -> u32 {
    1
}
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde's skip_serializing_if passes a reference"
)]
fn is_one(n: &u32) -> bool {
    *n == 1
}

/// One invocation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Arguments after the program's own name.
    #[serde(default)]
    pub argv: Vec<String>,
    /// Standard input; absent means `/dev/null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<Content>,
    /// Variables added to (or overriding) the base environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// A terminal on stdin, stdout and stderr instead of pipes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tty: Option<Tty>,
    /// What is demanded; absent only in inputs to `suite record`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,
}

/// A terminal and the keys typed at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tty {
    /// Rows of the screen, 1 to 200.
    pub rows: u16,
    /// Columns of the screen, 1 to 500.
    pub cols: u16,
    /// Keys in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Key>,
}

/// One burst of keys. Before it is sent, the runner waits until the screen shows `wait_for` (if given) and the program
/// is idle: every process of the case sleeps and no output came for `wait_ms`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// What to send, verbatim (escape sequences included).
    pub send: String,
    /// Text that must be on the screen first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_for: Option<String>,
    /// Milliseconds without output that count as idle; default 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u32>,
}

/// Limits of one step. `None` means the suite's or the sandbox's default, never "no limit".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Wall-clock time, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_ms: Option<u64>,
    /// CPU time of one process, milliseconds (rounded up to seconds by the kernel).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u64>,
    /// Bytes of stdout, and separately of stderr, that end the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
}

impl Limits {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// These limits, with `fallback` where unset.
    pub fn or(self, fallback: Self) -> Self {
        Self {
            wall_ms: self.wall_ms.or(fallback.wall_ms),
            cpu_ms: self.cpu_ms.or(fallback.cpu_ms),
            output_bytes: self.output_bytes.or(fallback.output_bytes),
        }
    }
}

/// Provenance of a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// How it was made: `mined`, `generated`, `example`, `manual`, `imported`, …
    pub kind: String,
    /// The place in the documentation, for instance `man:OPTIONS` or `help`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Seed of the generator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// A file placed before the first step. In JSON exactly one of `text`, `hex`, `blob`, `symlink`, `dir` is present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawFileSpec", into = "RawFileSpec")]
pub enum FileSpec {
    /// A regular file; `executable` sets mode 0755 instead of 0644.
    File { content: Content, executable: bool },
    /// A symbolic link with this target.
    Symlink(String),
    /// An empty directory.
    Dir,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFileSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hex: Option<crate::content::HexBytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blob: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    symlink: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dir: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    executable: Option<bool>,
}

impl TryFrom<RawFileSpec> for FileSpec {
    type Error = String;

    fn try_from(raw: RawFileSpec) -> Result<Self, String> {
        let executable = raw.executable.unwrap_or(false);
        match (raw.text, raw.hex, raw.blob, raw.symlink, raw.dir) {
            (Some(t), None, None, None, None) => {
                Ok(Self::File { content: Content::Text(t), executable })
            }
            (None, Some(h), None, None, None) => {
                Ok(Self::File { content: Content::Hex(h), executable })
            }
            (None, None, Some(b), None, None) => {
                Ok(Self::File { content: Content::Blob(b), executable })
            }
            (None, None, None, Some(s), None) => Ok(Self::Symlink(s)),
            (None, None, None, None, Some(true)) => Ok(Self::Dir),
            _ => Err("a file needs exactly one of text, hex, blob, symlink, dir=true".to_owned()),
        }
    }
}

impl From<FileSpec> for RawFileSpec {
    fn from(spec: FileSpec) -> Self {
        let mut raw = Self::default();
        match spec {
            FileSpec::File { content, executable } => {
                match content {
                    Content::Text(t) => raw.text = Some(t),
                    Content::Hex(h) => raw.hex = Some(h),
                    Content::Blob(b) => raw.blob = Some(b),
                }
                raw.executable = executable.then_some(true);
            }
            FileSpec::Symlink(target) => raw.symlink = Some(target),
            FileSpec::Dir => raw.dir = Some(true),
        }
        raw
    }
}

impl Case {
    /// Parses one line of `cases.jsonl` and checks it.
    ///
    /// # Errors
    /// [`FormatError`] that names file, line and field.
    pub fn parse(file: &Path, line: usize, text: &str) -> Result<Self, FormatError> {
        let case: Self = parse_json(file, Some(line), text)?;
        case.check().map_err(|(field, what)| FormatError::field(file, Some(line), field, what))?;
        Ok(case)
    }

    /// Checks what the types alone cannot: identifier, steps, paths, terminal sizes.
    ///
    /// # Errors
    /// The field's path and what is wrong with it.
    pub fn check(&self) -> Result<(), (String, String)> {
        let bad = |field: &str, what: &str| Err((field.to_owned(), what.to_owned()));
        if self.id.is_empty() || self.id.len() > 100 || !self.id.bytes().all(is_id_byte) {
            return bad("id", "must be 1 to 100 of letters, digits, '.', '_', '-'");
        }
        if self.group.is_empty() || self.group.len() > 100 || !self.group.bytes().all(is_id_byte) {
            return bad("group", "must be 1 to 100 of letters, digits, '.', '_', '-'");
        }
        if self.steps.is_empty() {
            return bad("steps", "at least one step is needed");
        }
        if self.weight == 0 {
            return bad("weight", "must be at least 1");
        }
        for (i, step) in self.steps.iter().enumerate() {
            step.check().map_err(|(field, what)| (format!("steps[{i}].{field}"), what))?;
        }
        for path in self.files.keys().chain(self.after.keys()) {
            if let Err(what) = check_relative(path) {
                return Err((format!("files.{path}"), what.to_owned()));
            }
        }
        for (path, expect) in &self.after {
            if let Some(matcher) = expect.matcher() {
                matcher.check().map_err(|what| (format!("after.{path}"), what))?;
            }
        }
        for path in self.files.keys() {
            for (at, _) in path.match_indices('/') {
                if !matches!(self.files.get(&path[..at]), None | Some(FileSpec::Dir)) {
                    return Err((
                        format!("files.{path}"),
                        "its parent is not a directory".to_owned(),
                    ));
                }
            }
        }
        Ok(())
    }

    /// Digest of what is given to the program (steps without expectations, and files): equal inputs, equal digest.
    pub fn input_digest(&self) -> Digest {
        let steps: Vec<Step> =
            self.steps.iter().map(|s| Step { expect: None, ..s.clone() }).collect();
        // Serialising plain data with string keys cannot fail.
        let bytes = serde_json::to_vec(&(&steps, &self.files, &self.limits)).unwrap_or_default();
        Digest::of(&bytes)
    }

    /// The id a generated case takes from its input.
    pub fn generated_id(&self) -> String {
        format!("c-{}", self.input_digest().short(10))
    }

    /// Every blob the case refers to, in inputs and expectations.
    pub fn blobs(&self) -> BTreeSet<Digest> {
        let mut found = BTreeSet::new();
        for step in &self.steps {
            found.extend(step.stdin.as_ref().and_then(Content::blob_digest));
            if let Some(expect) = &step.expect {
                found.extend(expect.contents().filter_map(Content::blob_digest));
            }
        }
        for spec in self.files.values() {
            if let FileSpec::File { content, .. } = spec {
                found.extend(content.blob_digest());
            }
        }
        found.extend(
            self.after.values().filter_map(AfterExpect::content).filter_map(Content::blob_digest),
        );
        found
    }

    /// One line of JSON, without the newline.
    pub fn to_line(&self) -> String {
        // Serialising plain data with string keys cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Step {
    fn check(&self) -> Result<(), (String, String)> {
        let bad = |field: String, what: &str| Err((field, what.to_owned()));
        for (i, arg) in self.argv.iter().enumerate() {
            if arg.contains('\0') {
                return bad(format!("argv[{i}]"), "an argument cannot hold a NUL byte");
            }
        }
        for (name, value) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return bad(
                    format!("env.{name}"),
                    "a variable needs a name without '=' and no NUL bytes",
                );
            }
        }
        if let Some(tty) = &self.tty {
            if !(1..=200).contains(&tty.rows) || !(1..=500).contains(&tty.cols) {
                return bad("tty".to_owned(), "rows must be 1 to 200 and cols 1 to 500");
            }
            if self.stdin.is_some() {
                return bad("stdin".to_owned(), "a step with a tty takes keys, not stdin");
            }
        }
        if let Some(expect) = &self.expect {
            expect.check().map_err(|(field, what)| (format!("expect.{field}"), what))?;
        }
        Ok(())
    }
}

fn is_id_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b".-_".contains(&b)
}

/// Whether `path` stays inside the workspace: relative, no empty, `.` or `..` component, no NUL, at most 1,000 bytes.
///
/// # Errors
/// What is wrong with it.
pub fn check_relative(path: &str) -> Result<(), &'static str> {
    if path.is_empty() || path.len() > 1000 {
        return Err("a path must have 1 to 1,000 bytes");
    }
    if path.contains('\0') {
        return Err("a path cannot hold a NUL byte");
    }
    if path
        .split('/')
        .any(|part| part.is_empty() || part == "." || part == ".." || part.len() > 255)
    {
        return Err("a path must be relative, without empty, '.' or '..' parts");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Case, FormatError> {
        Case::parse(Path::new("t"), 1, line)
    }

    // The fuzz target `case_line` relies on it: such an expectation was accepted and could never be met.
    #[test]
    fn matchers_of_files_are_checked_like_those_of_streams() {
        let after = |expect: &str| {
            parse(&format!(r#"{{"id":"c","steps":[{{}}],"after":{{"f":{expect}}}}}"#))
        };
        assert!(after(r#"{"regex":"a+"}"#).is_ok());
        for bad in [r#"{"regex":"("}"#, r#"{"masked":{"parts":[{"text":"a"}],"max_gap":1}}"#] {
            let error = after(bad).unwrap_err();
            assert_eq!(error.field.as_deref(), Some("after.f"), "{error}");
        }
    }
}
