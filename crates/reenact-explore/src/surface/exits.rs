//! Exit codes that documentation explains.

use regex::Regex;
use std::sync::LazyLock;

static HEADER: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"(?i)^\s*(?:#+ *)?(?:exit|return)\s+(?:status(?:es)?|codes?|values?)\s*:?\s*$")
});
static LISTED: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"^\s*(?:[-*|]\s*)?[`*]{0,3}(\d{1,3})[`*]{0,3}(?:\s*[:=|–-]\s*|\s+)(\S.*)$")
});
static SAID: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?i)(\[)?\bexit(?:s|ed|ing)?\s+(?:with\s+|status\s+|code\s+|value\s+|a\s+|of\s+|is\s+)*(\d{1,3})\b([^.;\n]{0,90})",
    )
});
/// `2 if …, 3 if …` after a sentence that says `exit`.
static ALSO: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"(?i)[,;]\s*(?:or\s+|and\s+)?(\d{1,3})\s+((?:if|when|on|for)\s[^,.;]{3,90})")
});

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a literal pattern, used by the tests below")
}

/// Codes and what a text says of each, in order of appearance.
pub fn mine(text: &str) -> Vec<(i32, String)> {
    let mut found = listed(text);
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for said in SAID.captures_iter(&flat) {
        // `[exit status 1]` is a note of a recorded help text, not documentation.
        if said.get(1).is_some() {
            continue;
        }
        push(&mut found, &said[2], &said[3]);
        let from = said.get(2).map_or(0, |m| m.end());
        let mut end = (from + 300).min(flat.len());
        while !flat.is_char_boundary(end) {
            end -= 1;
        }
        for also in ALSO.captures_iter(&flat[from..end]) {
            push(&mut found, &also[1], &also[2]);
        }
    }
    found
}

/// The lists under a header such as `EXIT STATUS`.
fn listed(text: &str) -> Vec<(i32, String)> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if HEADER.is_match(line) {
            inside = true;
        } else if inside && !line.trim().is_empty() {
            match LISTED.captures(line) {
                Some(c) => push(&mut found, &c[1], &c[2]),
                // Another header, or text at the margin, ends the list; deeper text explains its last item.
                None if !line.starts_with([' ', '\t', '|', '-', '*']) => inside = false,
                None => {}
            }
        }
    }
    found
}

fn push(found: &mut Vec<(i32, String)>, code: &str, what: &str) {
    // The next code of an enumeration is not part of this one's meaning.
    let what = ALSO.find(what).map_or(what, |next| &what[..next.start()]);
    let what: String =
        what.trim_matches([' ', '|', ',', '`', '*', ':']).chars().take(120).collect();
    if let Ok(code) = code.parse::<i32>()
        && code <= 255
        && found.len() < 60
        && !found.iter().any(|(c, _)| *c == code)
    {
        found.push((code, what));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn codes(text: &str) -> Vec<i32> {
        mine(text).into_iter().map(|(c, _)| c).collect()
    }

    #[test]
    fn lists_of_manuals_help_texts_and_markdown() {
        let man = "EXIT STATUS\n       0      Normal exit\n       1      No match\n       130    Interrupted\n\nFIELD INDEX\n       1      The 1st field\n       7      Not a code\n";
        assert_eq!(codes(man), [0, 1, 130]);
        assert_eq!(mine(man)[1].1, "No match");
        assert_eq!(codes("Exit Codes:\n  0\tOK\n  6\tFailed\n"), [0, 6]);
        assert_eq!(
            codes("## Exit codes\n\n- `0`: fine\n- `2`: usage\n\n| 3 | disk |\n# Next\n9 x\n"),
            [0, 2, 3]
        );
    }

    #[test]
    fn sentences() {
        let jq = "Normally jq exits with 2 if there was any usage problem or\n  system error, 3 if there was a compile error, or 0 if the program ran.";
        assert_eq!(codes(jq), [2, 3, 0]);
        assert_eq!(mine(jq)[0].1, "if there was any usage problem or system error");
        assert_eq!(codes("jq will exit with exit status 0."), [0]);
        assert_eq!(codes("It exits with status 4 on overflow."), [4]);
        assert_eq!(codes("[exit status 1]\n"), Vec::<i32>::new());
    }

    proptest! {
        #[test]
        fn never_panics(text in "(\\PC|\\n|EXIT STATUS\\n|exit 3|, 4 if ){0,120}") {
            for (code, what) in mine(&text) {
                prop_assert!((0..=255).contains(&code) && what.chars().count() <= 120);
            }
        }
    }
}
