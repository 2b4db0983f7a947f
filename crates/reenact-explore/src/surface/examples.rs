//! Example command lines in documentation, and quoted fragments that may be programs in the reference's language.

use crate::words::{printed, split};
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// An invocation that a document shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Example {
    pub argv: Vec<String>,
    /// What a pipe in front of it, or the line after it, gives as input.
    pub stdin: Option<String>,
    /// The file that `<` names, or that `cat FILE |` reads.
    pub stdin_file: Option<String>,
    /// Variables set in front of the command.
    pub env: BTreeMap<String, String>,
    /// The document.
    pub from: String,
}

impl Example {
    /// Whether it is the same invocation.
    pub fn same_call(&self, other: &Self) -> bool {
        (&self.argv, &self.stdin, &self.stdin_file, &self.env)
            == (&other.argv, &other.stdin, &other.stdin_file, &other.env)
    }
}

/// The examples of a text, for a program with one of these names.
pub fn mine(from: &str, text: &str, names: &BTreeSet<String>) -> Vec<Example> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    let mut fenced = false;
    for (i, line) in lines.iter().enumerate() {
        let trimmed = line.trim();
        if trimmed.starts_with("```") {
            fenced = !fenced;
            continue;
        }
        let prompt = ["$ ", "% ", "> ", "# "].iter().find_map(|p| trimmed.strip_prefix(p));
        let indented = line.starts_with("  ") || line.starts_with('\t');
        if prompt.is_none() && !fenced && !indented {
            continue;
        }
        let mut call = prompt.unwrap_or(trimmed).trim_matches('`').to_owned();
        let mut next = i + 1;
        while call.ends_with('\\') && next < lines.len() && next < i + 6 {
            call.pop();
            call.push_str(lines[next].trim());
            next += 1;
        }
        if let Some(mut example) = parse(&call, names, prompt.is_some() || fenced) {
            from.clone_into(&mut example.from);
            if example.stdin.is_none() && example.stdin_file.is_none() {
                example.stdin = input_after(&lines, next, line);
            }
            found.push(example);
        }
    }
    found
}

/// Parses `[VAR=x] [echo … |] prog args [< file]`. Unmarked lines must not look like prose or a synopsis.
fn parse(call: &str, names: &BTreeSet<String>, marked: bool) -> Option<Example> {
    let line = split(call)?;
    let mut example = Example { stdin_file: line.stdin_file, ..Example::default() };
    let at = line.commands.iter().position(|c| program_at(c, names).is_some())?;
    if at > 1 {
        return None;
    }
    let words = &line.commands[at];
    let program = program_at(words, names)?;
    example.env = words[..program]
        .iter()
        .filter_map(|w| w.split_once('='))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
    example.argv = words[program + 1..].to_vec();
    if at == 1 {
        let source = &line.commands[0];
        example.stdin = printed(source);
        match source.as_slice() {
            _ if example.stdin.is_some() => {}
            [cat, file] if cat == "cat" => example.stdin_file = Some(file.clone()),
            _ => return None,
        }
    }
    let synopsis = example.argv.iter().any(|w| {
        w.starts_with('<')
            || w.starts_with('[') && !w.contains('"') && (w.ends_with(']') || w.ends_with("..."))
            || w.contains("...") && w.len() < 12
    });
    let prose = !marked
        && (example.argv.len() > 8
            || call.ends_with(['.', ',', ':', ';']) && !call.ends_with("' .")
            || example.argv.is_empty());
    (!synopsis && !prose).then_some(example)
}

/// Index of the program's name in a command, after assignments.
fn program_at(words: &[String], names: &BTreeSet<String>) -> Option<usize> {
    let at = words.iter().position(|w| {
        !(w.contains('=') && w.chars().next().is_some_and(|c| c.is_ascii_uppercase()))
    })?;
    let name = words[at].rsplit('/').next()?;
    names.contains(name).then_some(at)
}

/// The input that a manual shows on the line after a command: deeper-indented data, as jq's manual does.
fn input_after(lines: &[&str], next: usize, command: &str) -> Option<String> {
    let indent = |l: &str| l.len() - l.trim_start().len();
    let line = lines.get(next)?;
    let data = line.trim();
    let deeper = indent(line) > indent(command) && line.starts_with([' ', '\t']);
    let result_follows = lines[next + 1..]
        .iter()
        .find(|l| !l.trim().is_empty())
        .is_some_and(|l| l.trim().starts_with("=>"));
    ((deeper && data.starts_with(['{', '[', '"'])) || (result_follows && !data.is_empty()))
        .then(|| format!("{data}\n"))
}

static CODE: LazyLock<Regex> = LazyLock::new(|| regex(r"`([^`\n]{1,120})`"));
static QUOTED: LazyLock<Regex> = LazyLock::new(|| regex(r"'([^'\n]{1,120})'"));

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a literal pattern, used by the tests below")
}

/// Code spans and quoted strings of a text, in order, each once.
pub fn snippets(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for captures in CODE.captures_iter(text).chain(QUOTED.captures_iter(text)) {
        let span = captures[1].trim().to_owned();
        let worth =
            !span.is_empty() && !span.starts_with('-') && span.chars().any(|c| !c.is_whitespace());
        if worth && found.len() < 400 && !found.contains(&span) {
            found.push(span);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names() -> BTreeSet<String> {
        ["jqq".to_owned()].into()
    }

    #[test]
    fn blocks_prompts_and_pipes() {
        let text = "Try:\n\n```console\n$ echo '{\"a\":1}' | jqq .a\n1\n$ LIMIT=2 jqq -c . < in.json\n$ cat x.json | jqq .\n$ other thing\n```\n";
        let all = mine("README", text, &names());
        assert_eq!(all.len(), 3);
        assert_eq!(
            (all[0].argv.as_slice(), all[0].stdin.as_deref()),
            (&[".a".to_owned()][..], Some("{\"a\":1}\n"))
        );
        assert_eq!(
            (all[1].stdin_file.as_deref(), all[1].env["LIMIT"].as_str()),
            (Some("in.json"), "2")
        );
        assert_eq!(all[2].stdin_file.as_deref(), Some("x.json"));
    }

    #[test]
    fn manual_examples_with_input_below() {
        let text = "           jqq '.foo'\n              {\"foo\": 42}\n           => 42\n\n       jqq reads its input and prints it.\n       jqq [options] <filter>\n";
        let all = mine("man", text, &names());
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!(all[0].stdin.as_deref(), Some("{\"foo\": 42}\n"));
    }

    #[test]
    fn spans() {
        assert_eq!(
            snippets("use `.a | length` or 'map(.+1)' with `-c`"),
            [".a | length", "map(.+1)"]
        );
    }

    proptest! {
        #[test]
        fn never_panics(text in "(\\PC|\\n|\\$ jqq |```|'){0,120}") {
            for e in mine("x", &text, &names()) {
                prop_assert_eq!(e.from, "x");
            }
            prop_assert!(snippets(&text).len() <= 400);
        }
    }
}
