//! What `ps --filter` asks for.

use crate::error::DockerError;
use crate::place::{Config, State};

/// A part of a name: docker's filter is a regular expression, of which this is what harnesses use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    One(char),
    /// `.`
    Any,
}

/// A name, or a part of it, anchored by `^` and `$`.
#[derive(Debug)]
struct Name {
    parts: Vec<Part>,
    begins: bool,
    ends: bool,
}

impl Name {
    fn read(text: &str) -> Result<Self, DockerError> {
        let refused = |c: char| {
            DockerError::Usage(format!(
                "ps: --filter name={text}: {c:?} is refused: of regular expressions only ^, $, . and \\. are understood"
            ))
        };
        let rest = text.strip_prefix('^');
        let begins = rest.is_some();
        let rest = rest.unwrap_or(text);
        // One behind a backslash means itself, which no name has.
        let (rest, ends) = match rest.strip_suffix('$') {
            Some(rest) if !rest.ends_with('\\') => (rest, true),
            _ => (rest, false),
        };
        let mut parts = Vec::new();
        let mut chars = rest.chars();
        while let Some(c) = chars.next() {
            parts.push(match c {
                '.' => Part::Any,
                '\\' => match chars.next() {
                    Some(c) if c.is_ascii_punctuation() => Part::One(c),
                    _ => return Err(refused('\\')),
                },
                '^' | '$' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '|' => {
                    return Err(refused(c));
                }
                c => Part::One(c),
            });
        }
        Ok(Self { parts, begins, ends })
    }

    fn is_in(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let n = self.parts.len();
        let Some(last) = name.len().checked_sub(n) else { return false };
        (0..=last).any(|at| {
            let here = self.parts.iter().zip(&name[at..]).all(|(part, c)| match part {
                Part::Any => true,
                Part::One(one) => one == c,
            });
            here && (!self.begins || at == 0) && (!self.ends || at == last)
        })
    }

    /// Names have a slash before them in docker, which may be written.
    fn matches(&self, name: &str) -> bool {
        self.is_in(name) || self.is_in(&format!("/{name}"))
    }
}

/// All filters of one command. Several of a kind are alternatives, but a container must have every label.
#[derive(Default)]
pub struct Filters {
    names: Vec<Name>,
    ids: Vec<String>,
    statuses: Vec<String>,
    ancestors: Vec<String>,
    labels: Vec<String>,
}

impl Filters {
    /// Reads `KIND=VALUE`s.
    ///
    /// # Errors
    /// [`DockerError::Usage`].
    pub fn read<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Self, DockerError> {
        let mut all = Self::default();
        for text in texts {
            match text.split_once('=') {
                Some(("name", name)) => all.names.push(Name::read(name)?),
                Some(("id", id)) => all.ids.push(id.to_owned()),
                Some(("status", status)) => all.statuses.push(status.to_owned()),
                Some(("ancestor", image)) => all.ancestors.push(image.to_owned()),
                Some(("label", label)) => all.labels.push(label.to_owned()),
                _ => {
                    return Err(DockerError::Usage(format!(
                        "ps: --filter {text}: only name=, id=, status=, ancestor= and label= are understood"
                    )));
                }
            }
        }
        Ok(all)
    }

    /// Whether containers that do not run are asked for.
    pub fn asks_status(&self) -> bool {
        !self.statuses.is_empty()
    }

    /// Whether a container is asked for.
    pub fn keep(&self, config: &Config, state: &State) -> bool {
        fn one<T>(wanted: &[T], is: impl Fn(&T) -> bool) -> bool {
            wanted.is_empty() || wanted.iter().any(is)
        }
        one(&self.names, |name| name.matches(&config.name))
            && one(&self.ids, |id| config.id.starts_with(id))
            && one(&self.statuses, |status| state.status.word() == status)
            && one(&self.ancestors, |i| config.image == *i || config.image_id.contains(i))
            && self.labels.iter().all(|label| match label.split_once('=') {
                Some((name, value)) => config.labels.get(name).is_some_and(|v| v == value),
                None => config.labels.contains_key(label),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_anchored_where_that_is_asked_for() {
        for (pattern, names, others) in [
            ("box", &["box", "mybox2"][..], &["bo", "x"][..]),
            ("^box", &["box", "box2"], &["mybox"]),
            ("box$", &["box", "mybox"], &["box2"]),
            ("^box$", &["box"], &["box2", "mybox", "mybox2", "bo"]),
            ("^/box$", &["box"], &["box2", "mybox"]),
            ("/box", &["box", "box2"], &["mybox"]),
            ("^b.x$", &["box", "b.x"], &["bx", "boox"]),
            (r"^b\.x$", &["b.x"], &["box"]),
            ("", &["box"], &[]),
            ("^$", &[], &["box"]),
        ] {
            let read = Name::read(pattern).unwrap();
            for name in names {
                assert!(read.matches(name), "{pattern} {name}");
            }
            for name in others {
                assert!(!read.matches(name), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for (pattern, part) in [
            ("^(a|b)$", "'('"),
            ("a|b", "'|'"),
            ("box.*", "'*'"),
            ("box[0-9]", "'['"),
            ("a^b", "'^'"),
            ("a$b", "'$'"),
            (r"\d", r"'\\'"),
            ("a\\", r"'\\'"),
        ] {
            let said = Name::read(pattern).unwrap_err().to_string();
            assert!(said.contains(part) && said.contains(pattern), "{said}");
        }
        assert!(Filters::read(["network=x"].into_iter()).is_err());
    }
}
