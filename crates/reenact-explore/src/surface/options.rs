//! Options, as help texts and man pages list them: `-w, --width=COLS  text`, `-c cols  text`, `-append  text`, Go flags.

use regex::Regex;
use std::sync::LazyLock;

/// An option.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opt {
    /// Every name with its dashes, in order of appearance; at least one.
    pub names: Vec<String>,
    /// Metavariables of its values; none for a flag.
    pub values: Vec<String>,
    /// The value may be left out; it is then glued or follows `=`.
    pub optional: bool,
    /// How a value is attached.
    pub joint: Joint,
    /// Values that the text enumerates.
    pub choices: Vec<String>,
    /// The default that the text gives.
    pub default: Option<String>,
    /// The start of its description.
    pub text: String,
}

/// What stands between an option and its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Joint {
    /// The value is the next argument.
    #[default]
    Separate,
    /// `--name=value`.
    Equals,
    /// `-B4`.
    Glued,
}

impl Opt {
    /// The name used in figures: the first long one, else the first.
    pub fn primary(&self) -> &str {
        let long = self.names.iter().find(|n| n.starts_with("--"));
        long.or(self.names.first()).map_or("", String::as_str)
    }

    /// Whether it takes a value.
    pub fn takes_value(&self) -> bool {
        !self.values.is_empty()
    }

    /// The arguments that give it `values` under its `name`.
    pub fn spell(&self, name: &str, values: &[String]) -> Vec<String> {
        let Some((first, rest)) = values.split_first() else { return vec![name.to_owned()] };
        let mut argv = match self.joint {
            Joint::Equals if name.starts_with("--") || !self.optional => {
                vec![format!("{name}={first}")]
            }
            Joint::Equals | Joint::Glued => vec![format!("{name}{first}")],
            Joint::Separate => vec![name.to_owned(), first.clone()],
        };
        argv.extend(rest.iter().cloned());
        argv
    }

    /// Whether the argument `word` is (or begins with) this option.
    pub fn matches(&self, word: &str) -> bool {
        self.names.iter().any(|name| {
            word == name
                || word.strip_prefix(name.as_str()).is_some_and(|rest| {
                    rest.starts_with('=')
                        || (self.takes_value() && name.len() == 2 && !name.starts_with("--"))
                })
        })
    }

    /// Adds what another text says of the same option.
    pub fn merge(&mut self, other: Self) {
        for name in other.names {
            if !self.names.contains(&name) {
                self.names.push(name);
            }
        }
        if self.values.is_empty() && !other.values.is_empty() {
            (self.values, self.optional, self.joint) = (other.values, other.optional, other.joint);
        }
        if self.choices.is_empty() {
            self.choices = other.choices;
        }
        self.default = self.default.take().or(other.default);
        if self.text.is_empty() {
            self.text = other.text;
        }
    }
}

/// The options that a text lists.
pub fn mine(text: &str) -> Vec<Opt> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let Some((entry, inline)) = parse_line(line) else { continue };
        let mut description = inline;
        for more in continuation(&lines, i) {
            description.push('\n');
            description.push_str(more.trim());
        }
        for mut option in entry {
            describe(&mut option, &description);
            found.push(option);
        }
    }
    found
}

/// Lines after `at` that are indented deeper and do not list another option.
fn continuation<'a>(lines: &[&'a str], at: usize) -> Vec<&'a str> {
    let indent = |l: &str| l.len() - l.trim_start().len();
    let own = indent(lines[at]);
    let mut out: Vec<&str> = Vec::new();
    for line in lines[at + 1..].iter().take(14) {
        if line.trim().is_empty() {
            continue;
        }
        if indent(line) <= own || line.trim_start().starts_with("--") {
            break;
        }
        out.push(line);
    }
    out
}

/// Options on one line and the rest of the line; `None` when the line lists none.
pub fn parse_line(line: &str) -> Option<(Vec<Opt>, String)> {
    let plain = line.replace(['`', '*'], " ").replace("**", "");
    let mut trimmed = plain.trim();
    for bullet in ["|", "•", "- -"] {
        if let Some(rest) = trimmed.strip_prefix(bullet) {
            trimmed = if bullet == "- -" { &trimmed[2..] } else { rest.trim_start() };
        }
    }
    if !trimmed.starts_with('-') || trimmed.len() > 2000 {
        return None;
    }
    let (spec, text, sure) = cut_description(trimmed);
    let words = spec.split_whitespace().count();
    let mut scanner = Scanner { rest: spec, lower_values: sure || words <= 3 };
    let options = scanner.options();
    if options.is_empty() {
        return None;
    }
    // A long line without a gap is prose that happens to begin with a dash, unless only names were read from it.
    let rest = scanner.rest.trim();
    if !sure && words > 14 && rest.contains(". ") && !rest.starts_with(':') {
        return None;
    }
    Some((options, format!("{rest} {text}").trim().to_owned()))
}

/// Cuts at the gap between names and description; the flag says that there was one.
fn cut_description(line: &str) -> (&str, &str, bool) {
    let mut depth = 0_i32;
    for (i, c) in line.char_indices() {
        match c {
            '[' | '<' | '{' => depth += 1,
            ']' | '>' | '}' => depth -= 1,
            '\t' if depth <= 0 => return (&line[..i], line[i..].trim(), true),
            _ => {}
        }
        let here = &line[i..];
        let gap =
            ["  ", " : ", ": ", " - ", " \u{2014} ", " | "].iter().find(|g| here.starts_with(**g));
        if depth <= 0
            && i > 0
            && let Some(gap) = gap
        {
            let rest = here[gap.len()..].trim_start();
            // `-c | --count` and `-a,  --all` go on with another name.
            if !rest.starts_with('-') && !line[..i].ends_with(',') {
                return (&line[..i], rest.trim_start_matches(':').trim(), true);
            }
        }
    }
    (line, "", false)
}

struct Scanner<'a> {
    rest: &'a str,
    lower_values: bool,
}

impl Scanner<'_> {
    fn options(&mut self) -> Vec<Opt> {
        let mut all = Opt::default();
        let mut barred = false;
        loop {
            let before = self.rest;
            self.rest = self.rest.trim_start_matches([' ', ',', '/', '|']);
            barred |= before[..before.len() - self.rest.len()].contains('|');
            if let Some(rest) = self.rest.strip_prefix("or -") {
                self.rest = &self.rest[self.rest.len() - rest.len() - 1..];
            }
            let names = self.name();
            if names.is_empty() {
                self.rest = before;
                break;
            }
            all.names.extend(names);
            self.value(&mut all);
        }
        // `-c | -l | -r` are alternatives, not one option of many names.
        if barred
            && all.values.is_empty()
            && all.names.len() > 2
            && all.names.iter().all(|n| n.len() == 2)
        {
            return all
                .names
                .iter()
                .map(|n| Opt { names: vec![n.clone()], ..Opt::default() })
                .collect();
        }
        all.names.dedup();
        if all.names.is_empty() { Vec::new() } else { vec![all] }
    }

    /// One name with its dashes; `-[no]x` gives both.
    fn name(&mut self) -> Vec<String> {
        let dashes = self.rest.len() - self.rest.trim_start_matches('-').len();
        if !(1..=2).contains(&dashes) {
            return Vec::new();
        }
        let mut tail = &self.rest[dashes..];
        let mut negation = None;
        for mark in ["[no-]", "[no]", "(no-)"] {
            if let Some(rest) = tail.strip_prefix(mark) {
                (negation, tail) = (Some(mark.trim_matches(['[', ']', '(', ')'])), rest);
            }
        }
        let end = tail
            .char_indices()
            .find(|(i, c)| {
                !(c.is_ascii_alphanumeric()
                    || (*i > 0 && "-_.+".contains(*c))
                    || (*i == 0 && "?@%".contains(*c)))
            })
            .map_or(tail.len(), |(i, _)| i);
        let word = tail[..end].trim_end_matches(['.', '-', '+']);
        if word.is_empty() {
            return Vec::new();
        }
        self.rest = &tail[word.len()..];
        let dashes = &"--"[..dashes];
        let mut names = vec![format!("{dashes}{word}")];
        names.extend(negation.map(|no| format!("{dashes}{no}{word}")));
        names
    }

    fn value(&mut self, option: &mut Opt) {
        let (joint, optional, rest) = if let Some(rest) = self.rest.strip_prefix("[=") {
            (Joint::Equals, true, rest)
        } else if let Some(rest) = self.rest.strip_prefix('=') {
            (Joint::Equals, false, rest)
        } else if self.rest.starts_with(['#', '<']) {
            (Joint::Glued, false, self.rest)
        } else if let Some(rest) = self.rest.strip_prefix('[') {
            (Joint::Glued, true, rest)
        } else if let Some(rest) = self.rest.strip_prefix(" [=") {
            (Joint::Equals, true, rest)
        } else {
            return self.separate_values(option);
        };
        let (meta, rest) = if optional {
            let end = rest.find(']').unwrap_or(rest.len());
            (&rest[..end], rest.get(end + 1..).unwrap_or(""))
        } else {
            metavar(rest)
        };
        if meta.is_empty() {
            return;
        }
        self.rest = rest.trim_start_matches("...");
        if option.values.is_empty() || option.joint == Joint::Separate {
            option.values = vec![clean(meta)];
            (option.joint, option.optional) = (joint, optional);
            option.choices = enumerated(meta);
        }
    }

    fn separate_values(&mut self, option: &mut Opt) {
        let mut values = Vec::new();
        while let Some(tail) = self.rest.strip_prefix(' ') {
            let Some(first) = tail.chars().next() else { break };
            let word = tail.split_whitespace().next().unwrap_or_default();
            let upper = word
                .chars()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || "_-.|:,/".contains(c))
                && first.is_ascii_uppercase();
            let lower =
                self.lower_values && first.is_ascii_lowercase() && word != "or" && word != "and";
            if !(matches!(first, '<' | '[' | '{') || upper || lower) || values.len() == 3 {
                break;
            }
            let (meta, rest) = metavar(tail);
            if meta.is_empty() || meta.starts_with("-") {
                break;
            }
            if option.values.is_empty() && values.is_empty() {
                option.optional = first == '[' && !meta.contains('<');
                option.choices = enumerated(meta);
            }
            values.push(clean(meta));
            self.rest = rest.trim_start_matches("...");
        }
        if option.values.is_empty() && !values.is_empty() {
            option.values = values;
        }
    }
}

/// One metavariable at the start of `text`, and what follows it.
fn metavar(text: &str) -> (&str, &str) {
    let close = match text.chars().next() {
        Some('<') => '>',
        Some('{') => '}',
        Some('[') => ']',
        _ => {
            let end =
                text.find(|c: char| c.is_whitespace() || ",]".contains(c)).unwrap_or(text.len());
            return (text[..end].trim_end_matches(['.', ':']), &text[end..]);
        }
    };
    match text.find(close) {
        Some(end) => (&text[..=end], &text[end + 1..]),
        None => ("", text),
    }
}

fn clean(meta: &str) -> String {
    meta.trim_matches(|c: char| "<>[]{}.=\"' ".contains(c)).to_owned()
}

/// `a|b|c`, `{a,b,c}`.
fn enumerated(meta: &str) -> Vec<String> {
    let inner = clean(meta);
    let separator = if inner.contains('|') { '|' } else { ',' };
    let parts: Vec<String> = inner.split(separator).map(|p| p.trim().to_owned()).collect();
    let plain = |p: &String| {
        !p.is_empty()
            && p.len() <= 24
            && p.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+".contains(c))
    };
    let braces = meta.starts_with('{') || separator == '|';
    if parts.len() > 1 && braces && parts.iter().all(plain) { parts } else { Vec::new() }
}

static POSSIBLE: LazyLock<Regex> = LazyLock::new(|| regex(r"(?is)\[possible values: ([^\]]+)\]"));
static POSSIBLE_LIST: LazyLock<Regex> = LazyLock::new(|| regex(r"(?m)^- ([A-Za-z0-9_.-]+):"));
static DEFAULT: LazyLock<Regex> = LazyLock::new(|| {
    regex(r#"(?i)\[?\(?default(?:s to| value(?: is)?| is)?[:=]?\s+["'<]?([^\s"'\]\),;>]+)"#)
});
static ONE_OF: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r#"(?is)\b(?:one of|either|can be|may be|must be|values are|values:|is one of|include:?|supported:?|formats?:)\s*:?\s*((?:["']?[\w.+-]+["']?\s*(?:,\s*(?:or\s+|and\s+)?|\s+or\s+|\|))+["']?[\w.+-]+["']?)"#,
    )
});
static QUOTED: LazyLock<Regex> = LazyLock::new(|| regex(r#"["']([A-Za-z0-9_.+-]{1,20})["']"#));

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a literal pattern, checked by the tests below")
}

/// Reads enumerations and the default from a description.
fn describe(option: &mut Opt, text: &str) {
    option.text = text.chars().take(300).collect();
    if !option.takes_value() {
        return;
    }
    if option.choices.is_empty() {
        option.choices = choices(text);
    }
    option.default = DEFAULT.captures(text).map(|c| c[1].trim_end_matches('.').to_owned());
}

fn choices(text: &str) -> Vec<String> {
    let words = |list: &str| -> Vec<String> {
        list.split(|c: char| c == ',' || c == '|' || c.is_whitespace())
            .map(|w| w.trim_matches(['"', '\'', '.']).to_owned())
            .filter(|w| !w.is_empty() && w != "or" && w != "and")
            .collect()
    };
    let mut found = match (POSSIBLE.captures(text), ONE_OF.captures(text)) {
        (Some(c), _) => words(&c[1]),
        _ if text.to_lowercase().contains("possible values:") => {
            POSSIBLE_LIST.captures_iter(text).map(|c| c[1].to_owned()).collect()
        }
        (None, Some(c)) => words(&c[1]),
        _ => QUOTED.captures_iter(text).map(|c| c[1].to_owned()).collect(),
    };
    found.dedup();
    found.truncate(24);
    if found.len() > 1 { found } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(text: &str) -> Opt {
        let found = mine(text);
        assert_eq!(found.len(), 1, "{text:?} gave {found:?}");
        found[0].clone()
    }

    #[test]
    fn clap_style() {
        let o = one(
            "  -s, --style <STYLE>\n          Look of the table\n\n          [default: grid]\n          [possible values: grid, ascii,\n          none]",
        );
        assert_eq!(
            (o.names, o.values),
            (vec!["-s".into(), "--style".into()], vec!["STYLE".to_owned()])
        );
        assert_eq!(o.choices, ["grid", "ascii", "none"]);
        let o =
            one("  -s, --style <STYLE>  Look [default: grid] [possible values: grid, ascii, none]");
        assert_eq!(o.choices, ["grid", "ascii", "none"]);
        assert_eq!(o.default.as_deref(), Some("grid"));
        let o = one("      --color[=<WHEN>]  When to colour");
        assert_eq!((o.joint, o.optional, o.values), (Joint::Equals, true, vec!["WHEN".to_owned()]));
        assert!(!one("  -H, --no-headers  No header row").takes_value());
    }

    #[test]
    fn gnu_style() {
        let o = one("  -k, --key=KEYDEF          sort via a key");
        assert_eq!((o.joint, o.values), (Joint::Equals, vec!["KEYDEF".to_owned()]));
        let o = one(
            "      --sort=WORD             sort according to WORD: general-numeric -g,\n                              human -h",
        );
        assert_eq!(o.spell("--sort", &["x".into()]), ["--sort=x"]);
        assert!(one("  -u, --unique   only the first of equals").values.is_empty());
    }

    #[test]
    fn terse_styles() {
        let o = one("    -c cols     format <cols> octets per line. Default 16 (-i: 12, -ps: 30).");
        assert_eq!((o.values, o.default), (vec!["cols".to_owned()], Some("16".to_owned())));
        assert_eq!(
            one("   -[no]header          turn headers on or off").names,
            ["-header", "-noheader"]
        );
        assert_eq!(one("  --arg a v        set variable $a to value <v>;").values, ["a", "v"]);
        let o = one(" -B#    : cut file into blocks of size # bytes [32+]");
        assert_eq!((o.spell("-B", &["4".into()])), ["-B4"]);
        assert_eq!(one(" -D FILE: use FILE as dictionary").values, ["FILE"]);
        assert_eq!(
            one("  -name string\n    \twho to greet (default \"you\")").default.as_deref(),
            Some("you")
        );
        assert_eq!(mine("       -c | -l | -r | -x\n              Justification").len(), 4);
        assert_eq!(
            one("       -w outputwidth\n              sets the width").values,
            ["outputwidth"]
        );
    }

    #[test]
    fn prose_is_not_an_option() {
        assert!(mine("- a bullet\n-- \nnothing - here").is_empty());
        assert!(mine("text -x inside a line").is_empty());
    }

    proptest! {
        #[test]
        fn never_panics(text in "(\\PC|\\n){0,200}") {
            for o in mine(&text) {
                prop_assert!(!o.names.is_empty());
            }
        }
        #[test]
        fn never_panics_near_options(text in "[ \\-\\[\\]<>=#|,a-cA-C.:\\n{}]{0,120}") {
            for o in mine(&text) {
                prop_assert!(o.names.iter().all(|n| n.starts_with('-') && n.len() > 1));
            }
        }
    }
}
