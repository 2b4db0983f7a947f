//! Probes: one invocation of the reference by an agent, as a line of `<id>.probes.jsonl` (DESIGN 8).

use crate::content::Content;
use crate::digest::Digest;
use crate::error::{FormatError, parse_json};
use crate::observe::Ended;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// One line of the probe log. Lines are written when a probe ends; a probe that the harness saw begin but not end (it was
/// killed) has no `ended`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Number of the probe in its log, from 1, in order of beginning.
    pub id: u64,
    /// RFC 3339 time of its beginning, UTC, milliseconds.
    pub time: String,
    /// The agent's step during which it began, from 1; absent outside any step (baselines, `cleanroom exec`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// All arguments, the program's own name first. Bytes that are not UTF-8 are written as [`crate::observe::path_key`] does.
    pub argv: Vec<String>,
    /// Not all arguments are kept (more than 64 KiB).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub argv_cut: bool,
    /// Variables that differ from the cleanroom's own environment; `None`: unset.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Option<String>>,
    pub cwd: String,
    /// Command line of the process that called it, as far as it could be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parent: Vec<String>,
    pub stdin: ProbeStream,
    pub stdout: ProbeStream,
    pub stderr: ProbeStream,
    /// stdout and stderr were one pipe; what came is under `stdout`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub merged: bool,
    /// Files named in the arguments, or in its working directory, that are new or changed since it began.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, FileChange>,
    /// Who ended it and how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// Wall-clock time, microseconds.
    pub wall_us: u64,
    /// User and system CPU time, microseconds.
    pub cpu_us: u64,
}

/// What a standard descriptor of a probe was, and what went through it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeStream {
    pub kind: StreamKind,
    /// Bytes that went through; for kinds that cannot be watched (terminals, devices), 0.
    pub bytes: u64,
    /// Digest of these bytes, where they were watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// The first of these bytes, up to the cap (64 KiB of stdin, 4 KiB of each output).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Content>,
    /// Whether `bytes` and `sha256` cover all that went through. A pipe's input is only looked at before the program
    /// starts, since a relay would take input that is meant for others.
    #[serde(default)]
    pub complete: bool,
}

/// What a descriptor leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamKind {
    Closed,
    Null,
    File,
    Pipe,
    Socket,
    Terminal,
    Device,
    Other,
}

/// What became of a file during a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileChange {
    Created,
    Changed,
}

impl Probe {
    /// Parses one line of a probe log, with or without its newline.
    ///
    /// # Errors
    /// [`FormatError`] with line and field.
    pub fn parse(file: &Path, line: usize, text: &[u8]) -> Result<Self, FormatError> {
        let at = |what: &str| FormatError { line: Some(line), ..FormatError::file(file, what) };
        let text = std::str::from_utf8(text).map_err(|_| at("is not UTF-8"))?;
        let probe: Self = parse_json(file, Some(line), text.trim_end_matches('\n'))?;
        if probe.id == 0 {
            return Err(FormatError::field(file, Some(line), "id", "counts from 1"));
        }
        Ok(probe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_documentation_parses_and_is_what_is_written() {
        let page = include_str!("../../../docs/probes.md");
        let line = page.lines().find(|l| l.starts_with("{\"id\"")).unwrap();
        let probe = Probe::parse(Path::new("probes.md"), 1, line.as_bytes()).unwrap();
        assert_eq!((probe.step, probe.env["LANG"].as_ref()), (Some(3), None));
        assert_eq!(serde_json::to_string(&probe).unwrap(), line);
    }
}
