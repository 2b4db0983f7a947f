//! Names and texts of other harnesses, made fit for our files and for a terminal.

use crate::story::bounded;
use reenact_model::Digest;
use reenact_model::task::is_valid_id;

/// Longest name that is kept, bytes.
const MAX_NAME: usize = 300;

/// One line without control characters, and not longer than names should be.
pub(crate) fn name(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    bounded(&line, MAX_NAME)
}

/// As [`name`], for several lines: line breaks stay.
pub(crate) fn block(text: &str, most: usize) -> String {
    let clean = |c: char| if c.is_control() && c != '\n' { '\u{fffd}' } else { c };
    bounded(&text.chars().map(clean).collect::<String>(), most)
}

/// A task id made of a name that may hold anything: what ids cannot hold becomes `_`. A name that had to be shortened ends in its
/// digest.
pub(crate) fn task_id(name: &str) -> String {
    let mut id: String = name
        .replace('/', "__")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' })
        .collect();
    if id.is_empty() || id.starts_with(['.', '-']) {
        id.insert(0, 't');
    }
    if id.len() > 150 {
        id.truncate(130);
        id = format!("{id}-{}", Digest::of(name.as_bytes()).short(16));
    }
    debug_assert!(is_valid_id(&id), "{id}");
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_are_made_of_any_name() {
        assert_eq!(task_id("org/hello world"), "org__hello_world");
        assert_eq!(task_id(""), "t");
        assert_eq!(task_id("../x"), "t..__x");
        assert_eq!(name("a\u{1b}[31m\nb"), "a\u{fffd}[31m\u{fffd}b");
    }

    proptest! {
        #[test]
        fn every_name_gives_a_valid_id(text in any::<String>()) {
            prop_assert!(is_valid_id(&task_id(&text)));
            prop_assert!(is_valid_id(&task_id(&text.repeat(40))));
            prop_assert!(!name(&text).chars().any(char::is_control));
        }
    }
}
