//! Expectations: what a case demands of an observation.

use crate::content::Content;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Demands on one step. A channel that is absent is not compared; several matchers on a channel must all hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Exit status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ExitExpect>,
    /// Standard output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout: Option<Vec<Matcher>>,
    /// Standard error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<Vec<Matcher>>,
    /// Screens of a tty step: the text grid before each key, and at the end, joined by lines holding one form feed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub screen: Option<Vec<Matcher>>,
}

/// Expected end of a step: `0` or `{"signal": 11}` in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ExitExpect {
    /// Exited with this code.
    Code(i32),
    /// Died of this signal, which it was sent by itself or its own processes.
    Signal { signal: i32 },
}

/// A demand on a byte string.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Matcher {
    /// These bytes and no others.
    Exact(Content),
    /// Exact bytes around spans that vary between runs.
    Masked(Masked),
    /// The same multiset of lines (split at `\n`).
    LinesAnyOrder(Content),
    /// The same JSON value; object keys in any order, numbers compared as JSON numbers.
    JsonEqual(Content),
    /// A regular expression found in the bytes (Rust `regex` syntax, byte mode).
    Regex(String),
    /// Anything.
    Ignore,
}

/// Literal parts in order, each pair separated by a gap of 0 to `max_gap` arbitrary bytes. The first part is anchored at
/// the start and the last at the end (either may be empty).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Masked {
    /// At least two literal parts, inline.
    pub parts: Vec<Content>,
    /// Longest gap, bytes.
    pub max_gap: usize,
}

/// What must be at a path of the workspace after the last step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterExpect {
    /// A regular file with these bytes.
    Exact(Content),
    /// A regular file, exact around varying spans.
    Masked(Masked),
    /// A regular file with this multiset of lines.
    LinesAnyOrder(Content),
    /// A regular file with this JSON value.
    JsonEqual(Content),
    /// A regular file in which this expression is found.
    Regex(String),
    /// Anything or nothing.
    Ignore,
    /// Nothing.
    Absent,
    /// A directory.
    Dir,
    /// A symbolic link with this target.
    Symlink(String),
    /// A fifo, socket or device node.
    Special,
}

impl AfterExpect {
    /// The content compared with, if there is one.
    pub fn content(&self) -> Option<&Content> {
        match self {
            Self::Exact(c) | Self::LinesAnyOrder(c) | Self::JsonEqual(c) => Some(c),
            _ => None,
        }
    }

    /// The matcher for a regular file's bytes, if a regular file is expected.
    pub fn matcher(&self) -> Option<Matcher> {
        Some(match self {
            Self::Exact(c) => Matcher::Exact(c.clone()),
            Self::Masked(m) => Matcher::Masked(m.clone()),
            Self::LinesAnyOrder(c) => Matcher::LinesAnyOrder(c.clone()),
            Self::JsonEqual(c) => Matcher::JsonEqual(c.clone()),
            Self::Regex(r) => Matcher::Regex(r.clone()),
            Self::Ignore | Self::Absent | Self::Dir | Self::Symlink(_) | Self::Special => {
                return None;
            }
        })
    }
}

impl From<Matcher> for AfterExpect {
    fn from(matcher: Matcher) -> Self {
        match matcher {
            Matcher::Exact(c) => Self::Exact(c),
            Matcher::Masked(m) => Self::Masked(m),
            Matcher::LinesAnyOrder(c) => Self::LinesAnyOrder(c),
            Matcher::JsonEqual(c) => Self::JsonEqual(c),
            Matcher::Regex(r) => Self::Regex(r),
            Matcher::Ignore => Self::Ignore,
        }
    }
}

impl Expect {
    /// Matchers of every channel.
    pub fn matchers(&self) -> impl Iterator<Item = &Matcher> {
        [&self.stdout, &self.stderr, &self.screen].into_iter().flatten().flatten()
    }

    /// Every content compared with.
    pub fn contents(&self) -> impl Iterator<Item = &Content> {
        self.matchers().filter_map(|m| match m {
            Matcher::Exact(c) | Matcher::LinesAnyOrder(c) | Matcher::JsonEqual(c) => Some(c),
            Matcher::Masked(_) | Matcher::Regex(_) | Matcher::Ignore => None,
        })
    }

    /// Whether any observation at all would satisfy it.
    pub fn is_vacuous(&self) -> bool {
        self.exit.is_none() && self.matchers().all(|m| *m == Matcher::Ignore)
    }

    /// Checks regular expressions and masks.
    ///
    /// # Errors
    /// The field's path and what is wrong with it.
    pub fn check(&self) -> Result<(), (String, String)> {
        let channels: BTreeMap<&str, &Option<Vec<Matcher>>> =
            [("stdout", &self.stdout), ("stderr", &self.stderr), ("screen", &self.screen)].into();
        for (name, matchers) in channels {
            for (i, matcher) in matchers.iter().flatten().enumerate() {
                matcher.check().map_err(|what| (format!("{name}[{i}]"), what))?;
            }
        }
        Ok(())
    }
}

impl Matcher {
    pub(crate) fn check(&self) -> Result<(), String> {
        match self {
            Self::Regex(pattern) => match regex::bytes::Regex::new(pattern) {
                Ok(_) => Ok(()),
                Err(e) => Err(format!(
                    "not a regular expression: {}",
                    e.to_string().lines().last().unwrap_or_default()
                )),
            },
            Self::Masked(m) if m.parts.len() < 2 => {
                Err("a mask needs at least two parts".to_owned())
            }
            Self::Masked(m) if m.parts.iter().any(|p| p.blob_digest().is_some()) => {
                Err("the parts of a mask are text or hex, not blobs".to_owned())
            }
            _ => Ok(()),
        }
    }
}
