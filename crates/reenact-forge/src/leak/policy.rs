//! Which shared runs are leaks.
//!
//! Documentation and program share text by nature: help texts stand in the executable, manual examples in the suite. What
//! they never share is machine code, source code, recorded expectations, and the lines of the suite itself.

use super::scan::Run;

/// What kind of sealed file a run was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The reference, its libraries and its data.
    Program,
    /// A file of code of the source tree, or a reference that is itself a script.
    Source,
    /// `cases.jsonl`.
    Cases,
    /// A blob that an expectation refers to.
    Blob,
}

/// Text that source code and documentation may share (usage strings, doc comments, examples), bytes.
const SOURCE_TEXT_MAX: usize = 512;
/// Smaller source files, shared whole, say nothing (a version string, an empty module).
const WHOLE_SOURCE_MIN: usize = 128;
/// Text that an expectation and documentation may share without the program's help being its origin, bytes.
const BLOB_TEXT_MAX: usize = 2048;
/// JSON keys that only a line of `cases.jsonl` has.
const FRAMING: [&str; 5] = ["\"steps\":", "\"expect\":", "\"argv\":", "\"stdout\":", "\"id\":\"c-"];

/// What is known of the program's own words.
pub(crate) struct Words<'a> {
    pub reference: &'a [u8],
    /// `docs/help.txt`.
    pub help: &'a [u8],
}

impl Words<'_> {
    /// Whether the program itself says or carries this text.
    fn hold(&self, text: &[u8]) -> bool {
        contains(self.help, text) || contains(self.reference, text)
    }
}

/// Why `run` is a leak; `None` if it is not. `sealed` are the whole bytes of the sealed file.
pub(crate) fn leak(class: Class, run: Run, sealed: &[u8], words: &Words<'_>) -> Option<String> {
    let bytes = &sealed[run.sealed_at..run.sealed_at + run.len];
    let text = as_text(bytes);
    let whole = run.len == sealed.len();
    match class {
        Class::Program => {
            text.is_none().then(|| "bytes of the program that are not text".to_owned())
        }
        Class::Source => {
            let much = run.len >= SOURCE_TEXT_MAX || (whole && run.len >= WHOLE_SOURCE_MIN);
            (much && !words.hold(trimmed(bytes))).then(|| {
                if whole { "a whole source file" } else { "a long run of source code" }.to_owned()
            })
        }
        Class::Cases => {
            let line = FRAMING.iter().find(|f| contains(bytes, f.as_bytes()));
            line.map(|f| format!("part of a hidden case (it has {f})"))
        }
        Class::Blob => match text {
            None => Some("bytes of a recorded output that are not text".to_owned()),
            Some(text) => {
                let much = run.len >= BLOB_TEXT_MAX || whole;
                (much && !words.hold(text.as_bytes())).then(|| "a recorded output".to_owned())
            }
        },
    }
}

/// The text of a run; a character cut in two at either end is forgiven.
pub(crate) fn as_text(bytes: &[u8]) -> Option<&str> {
    let start = bytes.iter().take(4).take_while(|b| **b & 0xc0 == 0x80).count();
    let rest = &bytes[start..];
    let text = match std::str::from_utf8(rest) {
        Ok(text) => text,
        // `error_len` is None exactly when the input ends inside a character.
        Err(e) if e.error_len().is_none() => std::str::from_utf8(&rest[..e.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    let odd = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{c}');
    (!text.chars().any(odd)).then_some(text)
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii()
}

fn contains(hay: &[u8], needle: &[u8]) -> bool {
    let Some((first, rest)) = needle.split_first() else { return true };
    let mut at = 0;
    while let Some(found) = hay[at..].iter().position(|b| b == first) {
        let after = at + found + 1;
        if hay[after..].starts_with(rest) {
            return true;
        }
        at = after;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(sealed: &[u8]) -> Run {
        Run { file: 0, public_at: 0, sealed_at: 0, len: sealed.len() }
    }

    fn judge(class: Class, sealed: &[u8], reference: &[u8], help: &[u8]) -> Option<String> {
        leak(class, whole(sealed), sealed, &Words { reference, help })
    }

    #[test]
    fn text_of_the_program_is_public_but_its_code_is_not() {
        let usage = b"Usage: figlet [ -cklnoprstvxDELNRSWX ] [ -d fontdirectory ] and more words";
        assert_eq!(judge(Class::Program, usage, usage, b""), None);
        let code: Vec<u8> = (0..100u8).collect();
        assert!(judge(Class::Program, &code, &code, b"").is_some());
    }

    #[test]
    fn source_is_judged_by_length_and_by_the_program_s_words() {
        let code = "fn f() { g(); }\n".repeat(40);
        assert!(judge(Class::Source, code.as_bytes(), b"", b"").is_some());
        let part = Run { file: 0, public_at: 0, sealed_at: 0, len: 200 };
        let words = Words { reference: b"", help: b"" };
        assert_eq!(leak(Class::Source, part, code.as_bytes(), &words), None);
        // A usage string of the source that the program prints.
        let usage = "  --option  does something useful\n".repeat(20);
        let help = format!("$ ./executable --help\n{usage}");
        assert_eq!(judge(Class::Source, usage.as_bytes(), b"", help.as_bytes()), None);
        assert_eq!(judge(Class::Source, usage.as_bytes(), usage.as_bytes(), b""), None);
    }

    #[test]
    fn lines_of_the_suite_are_leaks_but_quoted_help_is_not() {
        let line = br#"{"id":"c-9f2c1e","group":"options","steps":[{"argv":["-w","40"]}]}"#;
        assert!(judge(Class::Cases, line, b"", b"").is_some());
        let quoted = b"  -w, --width <N>   Sets the width of the output to N columns, at most 80";
        assert_eq!(judge(Class::Cases, quoted, b"", b""), None);
    }

    #[test]
    fn recorded_outputs_are_leaks_unless_the_program_says_them_openly() {
        let output = "one line of output that nobody documents\n".repeat(110);
        assert!(judge(Class::Blob, output.as_bytes(), b"", b"").is_some());
        assert_eq!(judge(Class::Blob, output.as_bytes(), b"", output.as_bytes()), None);
        assert!(judge(Class::Blob, &[7u8; 80], b"", &[7u8; 80]).is_some());
    }

    #[test]
    fn a_character_cut_in_two_is_still_text() {
        let text = "caf\u{e9} na\u{ef}ve".as_bytes();
        assert_eq!(as_text(&text[4..]), Some(" na\u{ef}ve"));
        assert_eq!(as_text(&text[..4]), Some("caf"));
        assert_eq!(as_text(b"a\0b"), None);
        assert_eq!(as_text(b"a\xff\xfeb"), None);
    }
}
