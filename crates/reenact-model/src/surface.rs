//! What a program's documentation says about how it may be called: what an agent's probes are held against.

use serde::{Deserialize, Serialize};

/// The documented surface of a program. Mining documentation is guesswork on prose, so an entry says where it was found, and
/// nothing here is a demand on anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DocumentedSurface {
    /// Options of the program and of its subcommands, in order of appearance.
    pub options: Vec<DocumentedOption>,
    /// Subcommands by path: `["remote", "add"]`.
    pub subcommands: Vec<Vec<String>>,
    /// Invocations that the documentation shows.
    pub examples: Vec<DocumentedExample>,
    /// Environment variables that it mentions.
    pub env: Vec<String>,
    /// Exit codes that it explains.
    pub exits: Vec<DocumentedExit>,
}

/// An option.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DocumentedOption {
    /// The subcommand it belongs to; empty: the program itself.
    pub command: Vec<String>,
    /// All names with their dashes; at least one.
    pub names: Vec<String>,
    /// Metavariables of its values; none for a flag.
    pub values: Vec<String>,
    /// The value may be left out; where it is given, it is glued to the name or follows `=`.
    pub optional: bool,
    /// A short name's value is always glued to it: `-B4`.
    pub glued: bool,
    /// Values that the documentation enumerates.
    pub choices: Vec<String>,
}

/// An example.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DocumentedExample {
    /// Arguments, without the program's name.
    pub argv: Vec<String>,
    /// The document.
    pub from: String,
}

/// An exit code with its meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DocumentedExit {
    pub code: i32,
    /// What the documentation says of it.
    pub what: String,
}

impl DocumentedOption {
    /// The name used in figures: the first long one, else the first, after the subcommand.
    pub fn key(&self) -> String {
        let long = self.names.iter().find(|n| n.starts_with("--"));
        let name = long.or(self.names.first()).map_or("", String::as_str);
        let mut words: Vec<&str> = self.command.iter().map(String::as_str).collect();
        words.push(name);
        words.join(" ")
    }

    /// Whether it takes a value.
    pub fn takes_value(&self) -> bool {
        !self.values.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_named_by_its_first_long_name_and_its_subcommand() {
        let option = |command: &[&str], names: &[&str]| DocumentedOption {
            command: command.iter().map(|s| (*s).to_owned()).collect(),
            names: names.iter().map(|s| (*s).to_owned()).collect(),
            ..DocumentedOption::default()
        };
        assert_eq!(option(&[], &["-w", "--width", "--wide"]).key(), "--width");
        assert_eq!(option(&["remote", "add"], &["-f"]).key(), "remote add -f");
    }
}
