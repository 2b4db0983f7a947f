//! Usage lines: `Usage: prog [OPTIONS] <FILE>...`, man-page synopses, figlet's `[ -cklr ] [ -d dir ] [ message ]`.

use crate::surface::options::{Opt, parse_line};
use std::collections::BTreeSet;

/// A positional argument.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positional {
    /// Its metavariable, without brackets.
    pub name: String,
    /// It may be left out.
    pub optional: bool,
    /// It may be given several times.
    pub repeated: bool,
}

/// One usage line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub positionals: Vec<Positional>,
    /// Options that stand in the line itself.
    pub options: Vec<Opt>,
}

/// Names that usage lines and a man page's NAME section give the program.
pub fn program_names(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let trimmed = line.trim();
        if trimmed == "NAME" {
            let next = lines.peek().map_or("", |l| l.trim());
            if let Some((list, _)) = next.split_once(" - ") {
                names.extend(list.split(',').map(|n| n.trim().to_owned()));
            }
        }
        if let Some(rest) = after_usage(trimmed) {
            names.extend(rest.split_whitespace().next().map(|w| base(w).to_owned()));
        }
    }
    names.retain(|n| {
        n.len() > 1
            && n.len() < 40
            && n.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+".contains(c))
            && !n.starts_with('-')
    });
    names
}

fn base(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

fn after_usage(line: &str) -> Option<&str> {
    let lower = line.get(..5)?.to_ascii_lowercase();
    let rest = (lower == "usage").then(|| line[5..].trim_start())?;
    rest.strip_prefix(':').map(str::trim_start)
}

/// The usage lines of a text, for a program with one of these names.
pub fn usages(text: &str, names: &BTreeSet<String>) -> Vec<Usage> {
    call_lines(text, names).iter().map(|line| parse(line)).collect()
}

/// Usage lines without the program's name, continuation lines joined.
fn call_lines(text: &str, names: &BTreeSet<String>) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut calls: Vec<String> = Vec::new();
    let mut inside = false;
    for (i, line) in lines.iter().enumerate() {
        let trimmed = line.trim();
        let usage = after_usage(trimmed);
        let header =
            usage == Some("") || matches!(trimmed, "SYNOPSIS" | "USAGE" | "USAGE:" | "Synopsis");
        let body = usage.unwrap_or(trimmed);
        let body = body
            .strip_prefix("or: ")
            .or(body.strip_prefix("or "))
            .unwrap_or(body)
            .trim_start_matches(['$', ' ']);
        if header {
            inside = true;
            continue;
        }
        let called = body.split_once(' ').map_or((body, ""), |(p, rest)| (p, rest));
        // `cat options:` is the header of a list, not a call.
        if trimmed.ends_with(':') && usage.is_none() {
            inside = false;
        } else if (usage.is_some() || inside) && (names.contains(base(called.0)) || usage.is_some())
        {
            calls.push(called.1.to_owned());
            inside = true;
        } else if inside && trimmed.is_empty() {
            // A blank line ends the block, unless the block has not begun yet.
            inside = calls.is_empty()
                || lines.get(i + 1).is_some_and(|l| {
                    names.contains(base(l.split_whitespace().next().unwrap_or("")))
                });
        } else if inside
            && line.starts_with([' ', '\t'])
            && trimmed.starts_with(['[', '<', '-', '.'])
        {
            if let Some(last) = calls.last_mut() {
                last.push(' ');
                last.push_str(trimmed);
            }
        } else if inside && !trimmed.starts_with("or:") && trimmed != "or" {
            inside = false;
        }
    }
    calls.truncate(12);
    calls
}

/// Parses what follows the program's name.
pub fn parse(call: &str) -> Usage {
    let mut usage = Usage::default();
    for (token, bracketed) in tokens(call) {
        let inner = token.trim();
        if inner.starts_with('-') && inner.len() > 1 {
            usage.options.extend(options_of(inner));
        } else if !inner.is_empty() {
            usage.positionals.extend(positionals_of(inner, bracketed));
        }
    }
    usage.positionals.truncate(5);
    usage
}

/// Top-level words and bracket groups; the flag says that it stood in square brackets.
fn tokens(call: &str) -> Vec<(String, bool)> {
    let mut out: Vec<(String, bool)> = Vec::new();
    let (mut depth, mut word, mut bracketed) = (0_u32, String::new(), false);
    for c in call.chars().take(2000) {
        match c {
            '[' => {
                if depth == 0 && word.is_empty() {
                    bracketed = true;
                } else {
                    word.push(c);
                }
                depth += 1;
            }
            ']' => {
                depth = depth.saturating_sub(1);
                if !(depth == 0 && bracketed) {
                    word.push(c);
                }
            }
            c if c.is_whitespace() && depth == 0 => {
                if !word.is_empty() {
                    out.push((std::mem::take(&mut word), bracketed));
                }
                bracketed = false;
            }
            c => word.push(c),
        }
    }
    if !word.is_empty() {
        out.push((word, bracketed));
    }
    // `-d dir` outside brackets: glue a bare lower-case word to the option before it.
    out
}

fn options_of(inner: &str) -> Vec<Opt> {
    let letters: Vec<char> = inner.chars().skip(1).collect();
    let cluster = letters.len() > 2
        && !inner.starts_with("--")
        && letters.iter().all(char::is_ascii_alphanumeric)
        && (letters.iter().any(|c| c.is_ascii_uppercase())
            || !letters.iter().any(|c| "aeiou".contains(*c))
            || sorted(&letters));
    if cluster {
        return letters
            .iter()
            .map(|c| Opt { names: vec![format!("-{c}")], ..Opt::default() })
            .collect();
    }
    // Give it the look of a help line with a gap, so that lower-case metavariables count.
    let alternatives: Vec<&str> = inner.split(" | ").collect();
    alternatives
        .iter()
        .filter_map(|a| parse_line(&format!("{a}  .")))
        .flat_map(|(options, _)| options)
        .collect()
}

fn sorted(letters: &[char]) -> bool {
    letters.windows(2).all(|w| w[0].to_ascii_lowercase() <= w[1].to_ascii_lowercase())
}

fn positionals_of(inner: &str, bracketed: bool) -> Vec<Positional> {
    let mut out = Vec::new();
    // `[infile [outfile]]` holds nested groups: every word of it is optional.
    for word in
        inner.split(|c: char| c.is_whitespace() || "[]".contains(c)).filter(|w| !w.is_empty())
    {
        let repeated = word.ends_with("...");
        let name = word
            .trim_end_matches("...")
            .trim_matches(|c: char| "<>{}()'\",|".contains(c))
            .to_owned();
        if word == "..." {
            if let Some(last) = out.last_mut() {
                let last: &mut Positional = last;
                last.repeated = true;
            }
            continue;
        }
        let is_options = matches!(
            name.to_ascii_lowercase().as_str(),
            "options" | "option" | "flags" | "opts" | "opt" | "arg" | "switches"
        );
        if name.is_empty()
            || name.starts_with('-')
            || is_options
            || !name.chars().any(char::is_alphanumeric)
        {
            continue;
        }
        out.push(Positional { name, optional: bracketed, repeated });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    fn shape(text: &str, name: &str) -> Vec<String> {
        let all = usages(text, &names(&[name]));
        all.first()
            .map(|u| u.positionals.iter().map(|p| p.name.clone()).collect())
            .unwrap_or_default()
    }

    #[test]
    fn clap_gnu_and_go_usages() {
        assert_eq!(shape("Usage: csvless [OPTIONS] [FILE]", "csvless"), ["FILE"]);
        assert_eq!(
            shape(
                "Usage: sort [OPTION]... [FILE]...\n  or:  sort [OPTION]... --files0-from=F",
                "sort"
            ),
            ["FILE"]
        );
        assert_eq!(
            shape("USAGE:\n    tool <PATTERN> [PATH]...\n\nFLAGS:", "tool"),
            ["PATTERN", "PATH"]
        );
        assert_eq!(
            shape(
                "Usage:\tjqq [options] <filter> [file...]\n\tjqq [options] --args <filter> [strings...]",
                "jqq"
            ),
            ["filter", "file"]
        );
        assert_eq!(shape("Usage of /tmp/x:\n  -n int", "x"), Vec::<String>::new());
    }

    #[test]
    fn bracketed_options_and_nested_groups() {
        let all = usages(
            "Usage: fig [ -cklnoprstvxDELNRSWX ] [ -d fontdirectory ]\n  [ -f fontfile ] [ message ]",
            &names(&["fig"]),
        );
        let options: Vec<String> = all[0].options.iter().map(|o| o.primary().to_owned()).collect();
        assert_eq!(options.len(), 21);
        assert_eq!(all[0].options[19].values, ["fontdirectory"]);
        assert_eq!(all[0].positionals[0].name, "message");
        let u = parse("-r [-s [-]offset] [-c cols] [-ps] [infile [outfile]]");
        assert_eq!(u.positionals.len(), 2);
        assert!(u.options.iter().any(|o| o.primary() == "-c" && o.values == ["cols"]));
    }

    #[test]
    fn man_synopsis_and_names() {
        let man = "NAME\n       foo, bar - do things\n\nSYNOPSIS\n       foo [-a] file\n       bar file\n\nDESCRIPTION\n       foo does.";
        assert_eq!(program_names(man), names(&["foo", "bar"]));
        assert_eq!(usages(man, &names(&["foo", "bar"])).len(), 2);
    }

    proptest! {
        #[test]
        fn never_panics(text in "(\\PC|\\n|usage: |SYNOPSIS\\n|\\[|\\]){0,120}") {
            let all = usages(&text, &program_names(&text));
            prop_assert!(all.len() <= 12);
        }
    }
}
