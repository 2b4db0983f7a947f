//! The public part of a task: documentation as plain text.

pub(crate) mod collect;
pub(crate) mod help;
pub(crate) mod man;
mod roff;
pub(crate) mod text;

use crate::draft::RawDocs;
use std::collections::BTreeMap;

/// All documentation of one task together, bytes.
const TOTAL_CAP: usize = 8 << 20;
/// The captured help, in `docs/`.
pub(crate) const HELP_FILE: &str = "help.txt";

/// The files of `docs/`, by relative path, from everything gathered: formatted pages first, then the captured help, then
/// the rest in order of path until the cap. What was left out is returned as notes.
pub(crate) fn assemble(
    raw: &RawDocs,
    pages: &BTreeMap<String, String>,
    help: &str,
) -> (BTreeMap<String, String>, Vec<String>) {
    let mut files = BTreeMap::new();
    let mut notes = Vec::new();
    let mut total = help.len();
    if !help.trim().is_empty() {
        files.insert(HELP_FILE.to_owned(), help.to_owned());
    }
    let pages = pages.iter().map(|(name, text)| (format!("man/{name}.txt"), Some(text.clone())));
    let others = raw.files.iter().map(|(path, bytes)| {
        // A file that happens to be called like ours keeps its own name beside it.
        let name = if path == HELP_FILE { format!("shipped-{path}") } else { path.clone() };
        (name, text::decode(bytes).map(|t| text::plain(&t)))
    });
    for (name, text) in pages.chain(others) {
        match text {
            None => notes.push(format!("docs: {name} is not text; left out")),
            Some(text) if text.len() > text::FILE_CAP || total + text.len() > TOTAL_CAP => {
                notes.push(format!("docs: {name} is too large; left out"));
            }
            Some(text) if text.trim().is_empty() => {}
            Some(text) => {
                total += text.len();
                files.insert(name, text);
            }
        }
    }
    (files, notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docs_are_text_only_and_bounded() {
        let mut raw = RawDocs::default();
        raw.files.insert("README.md".into(), b"# x".to_vec());
        raw.files.insert("help.txt".into(), b"their own".to_vec());
        raw.files.insert("logo.txt".into(), b"\0\x01".to_vec());
        for i in 0..10 {
            raw.files.insert(format!("z{i}.txt"), vec![b'a'; 1 << 20]);
        }
        let pages = BTreeMap::from([("x.1".to_owned(), "NAME\n".to_owned())]);
        let (files, notes) = assemble(&raw, &pages, "$ ./executable --help\n");
        assert_eq!(files["README.md"], "# x");
        assert_eq!(files["shipped-help.txt"], "their own");
        assert_eq!(files["man/x.1.txt"], "NAME\n");
        assert!(files["help.txt"].starts_with('$'));
        assert!(!files.contains_key("logo.txt"));
        assert!(files.values().map(String::len).sum::<usize>() <= TOTAL_CAP);
        assert!(
            notes.iter().any(|n| n.contains("logo.txt"))
                && notes.iter().any(|n| n.contains("too large"))
        );
    }
}
