//! Lists in documentation: subcommands, environment variables, keys.

use regex::Regex;
use std::sync::LazyLock;

static COMMANDS_HEADER: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?i)^\s*(?:#+ *)?(?:(?:the |some )?(?:available|main|common|core|all|other|useful|most)\s+(?:\w+\s+)?)?(?:sub-?)?commands?(?: are| include)?:?\s*$",
    )
});
static COMMAND_LINE: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"^[ \t]{1,12}([a-z][a-z0-9_-]{1,24})((?:,\s*[a-z][a-z0-9_-]*)*)(?:\s{2,}\S.*|\t.*)?$")
});
static ENV: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"\$\{?([A-Z][A-Z0-9_]{3,30})\b|(?m)^\s+([A-Z][A-Z0-9]*_?[A-Z0-9_]{2,30})(?:\s{2,}|\s*$|=)",
    )
});
static KEY: LazyLock<Regex> = LazyLock::new(|| regex(r"(?i)(?:\bctrl[-+ ]|\bC-|<C-|\^)([a-z])\b"));
static KEY_LINE: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?m)^[ \t]*[`|*]{0,2}[ ]?([!-~])[`]?(?:[ ]*[,|/][ ]*[`]?([!-~])[`]?)?(?:[ ]{2,}|[ ]*\|)[ ]*\S",
    )
});

/// Variables that every program meets; setting them says nothing about this one.
const COMMON_ENV: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "SHELL",
    "TERM",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LANGUAGE",
    "NOTE",
    "NAME",
    "SYNOPSIS",
    "DESCRIPTION",
    "OPTIONS",
    "EXAMPLES",
    "AUTHOR",
    "AUTHORS",
    "BUGS",
    "COPYRIGHT",
    "ENVIRONMENT",
    "FILES",
    "COMMANDS",
    "USAGE",
    "ARGUMENTS",
    "WARNING",
    "EXIT",
    "STATUS",
    "SEE",
    "ALSO",
    "HISTORY",
    "LICENSE",
    "NOTES",
    "FLAGS",
    "ARGS",
    "DISPLAY",
    "EDITOR",
    "PAGER",
    "VISUAL",
    "TMPDIR",
    "FILE",
    "OVERVIEW",
    "OUTPUT",
    "INPUT",
    "VERSION",
    "CAVEATS",
    "RETURN",
    "DIAGNOSTICS",
    "STANDARDS",
];

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a literal pattern, used by the tests below")
}

/// Names under a "Commands:" header.
pub fn subcommands(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut inside = false;
    let mut first_indent = None;
    for line in text.lines() {
        if COMMANDS_HEADER.is_match(line) {
            (inside, first_indent) = (true, None);
            continue;
        }
        if !inside || line.trim().is_empty() {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        if indent == 0 {
            inside = false;
            continue;
        }
        // Deeper lines are wrapped descriptions.
        if indent > *first_indent.get_or_insert(indent) {
            continue;
        }
        if let Some(c) = COMMAND_LINE.captures(line)
            && found.len() < 60
            && !found.contains(&c[1].to_owned())
        {
            found.push(c[1].to_owned());
        }
    }
    found
}

/// Environment variables that a text mentions.
pub fn env_names(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let in_sections = text.to_ascii_lowercase().contains("environment");
    for c in ENV.captures_iter(text) {
        let name = match (c.get(1), c.get(2)) {
            (Some(m), _) => m.as_str(),
            // A bare word in capitals at the start of a line counts only where the text speaks of the environment.
            (None, Some(m)) if in_sections && m.as_str().len() > 3 => m.as_str(),
            _ => continue,
        };
        if !COMMON_ENV.contains(&name) && !found.contains(&name.to_owned()) {
            found.push(name.to_owned());
        }
    }
    found
}

/// Keys that a text mentions, as the bytes a terminal sends.
pub fn keys(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut push = |key: String| {
        if !found.contains(&key) {
            found.push(key);
        }
    };
    for c in KEY.captures_iter(text) {
        if let Some(letter) = c[1].bytes().next() {
            // Stop and quit characters would end the program by a signal that the terminal sends.
            if !b"zscq\\".contains(&letter.to_ascii_lowercase()) {
                push(char::from(letter.to_ascii_uppercase() & 0x1f).to_string());
            }
        }
    }
    for c in KEY_LINE.captures_iter(text) {
        for key in [c.get(1), c.get(2)].into_iter().flatten() {
            if key.as_str() != "-" && key.as_str() != "|" {
                push(key.as_str().to_owned());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn clap_commands() {
        let help = "A tool\n\nUsage: t <COMMAND>\n\nCommands:\n  add     Add a thing\n          over two lines\n  list    List them\n  help    Print this\n\nOptions:\n  -h, --help  Print help";
        assert_eq!(subcommands(help), ["add", "list", "help"]);
        assert_eq!(
            subcommands("Available commands:\n\tbuild\tcompile\n\ttest\trun"),
            ["build", "test"]
        );
        assert!(subcommands("This command:\nis prose").is_empty());
    }

    #[test]
    fn environment_and_keys() {
        assert_eq!(
            env_names("ENVIRONMENT\n       FOO_OPTS  default options\n see $BAR_DIR and $HOME"),
            ["FOO_OPTS", "BAR_DIR"]
        );
        assert_eq!(
            keys("  j  down\n  ?  help\nCtrl-D pages, ^F too"),
            ["\u{4}", "\u{6}", "j", "?"]
        );
    }

    proptest! {
        #[test]
        fn never_panics(text in "(\\PC|\\n|Commands:\\n|  a){0,160}") {
            prop_assert!(subcommands(&text).len() <= 60);
            prop_assert!(env_names(&text).iter().all(|n| n.len() >= 3));
            prop_assert!(keys(&text).iter().all(|k| k.len() == 1));
        }
    }
}
