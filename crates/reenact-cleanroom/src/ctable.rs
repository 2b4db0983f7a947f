//! Writes the C program of the `memorizer`: a lookup table of answers, compiled in.
//!
//! Bytes become string literals rather than arrays of numbers: gcc reads a literal about a hundred times faster than an
//! initialiser list of the same bytes, and equal byte strings share one literal.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The fixed part of the program; the table is put in place of its marker.
const TEMPLATE: &str = include_str!("agents/memorizer.c.in");
const MARKER: &str = "/*TABLE*/";

/// How an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Exit(i32),
    /// It sends itself this signal.
    Signal(i32),
}

/// One change to the workspace, in the order of doing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileOp {
    /// Remove a file, a link or an empty directory.
    Remove {
        path: Vec<u8>,
    },
    MakeDir {
        path: Vec<u8>,
        mode: u32,
    },
    Write {
        path: Vec<u8>,
        mode: u32,
        bytes: Vec<u8>,
    },
    Link {
        path: Vec<u8>,
        target: Vec<u8>,
    },
}

/// What the program does for one input.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Answer {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub end: End,
    pub files: Vec<FileOp>,
}

/// The input that an answer belongs to: exact arguments, exact stdin, terminal or not, and the files that must be there.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub tty: bool,
    pub argv: Vec<Vec<u8>>,
    pub stdin: Vec<u8>,
    /// Regular files by path, with their exact bytes.
    pub files: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Key {
    /// The bytes that the program builds from its own input: injective, since an argument holds no NUL.
    fn bytes(&self) -> Vec<u8> {
        let mut out = vec![if self.tty { b'T' } else { b'P' }];
        out.extend(self.argv.len().to_string().bytes());
        out.push(0);
        for arg in &self.argv {
            out.extend(arg);
            out.push(0);
        }
        out.extend(&self.stdin);
        out
    }
}

/// The whole `main.c`. Unknown input gets `fallback`, or silence and exit 0 without one.
pub fn program(table: &BTreeMap<Key, Answer>, fallback: Option<&Answer>) -> String {
    let mut literals = Literals::default();
    let (mut needs, mut needs_count) = (String::new(), 0);
    let (mut ops, mut ops_count) = (String::new(), 0);
    let mut answers = String::new();
    let empty = Answer { stdout: vec![], stderr: vec![], end: End::Exit(0), files: vec![] };
    // The program takes the first row that fits: rows that ask for more files come before those they include.
    let mut known: Vec<(&Key, &Answer)> = table.iter().collect();
    known.sort_by_key(|(key, _)| std::cmp::Reverse(key.files.len()));
    let rows = known
        .into_iter()
        .map(|(key, answer)| (Some(key), answer))
        .chain([(None, fallback.unwrap_or(&empty))]);
    for (key, answer) in rows {
        let files = key.map(|k| &k.files);
        let bytes = key.map(Key::bytes).unwrap_or_default();
        let (code, signal) = match answer.end {
            End::Exit(code) => (code, 0),
            End::Signal(signal) => (0, signal),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            answers,
            "  {{{}, {}, {}, {code}, {signal}, {ops_count}, {}, {needs_count}, {}}},",
            literals.reference(&bytes),
            literals.reference(&answer.stdout),
            literals.reference(&answer.stderr),
            answer.files.len(),
            files.map_or(0, BTreeMap::len),
        );
        for (path, bytes) in files.into_iter().flatten() {
            let (path, bytes) = (literals.reference(path), literals.reference(bytes));
            needs.push_str(&format!("  {{{path}, {bytes}}},\n"));
            needs_count += 1;
        }
        for op in &answer.files {
            ops.push_str(&op_row(op, &mut literals));
            ops_count += 1;
        }
    }
    let longest = table.keys().map(|k| k.stdin.len()).max().unwrap_or(0);
    // C has no empty arrays; the rows that close the lists are never looked at.
    let text = format!(
        "{}\n#define STDIN_MAX {longest}\n\n\
         static const struct need needs[] = {{\n{needs}  {{{{\"\", 0}}, {{\"\", 0}}}}\n}};\n\n\
         static const struct op ops[] = {{\n{ops}  {{0, 0, {{\"\", 0}}, {{\"\", 0}}}}\n}};\n\n\
         static const struct answer answers[] = {{\n{answers}}};\n",
        literals.text
    );
    TEMPLATE.replacen(MARKER, &text, 1)
}

fn op_row(op: &FileOp, literals: &mut Literals) -> String {
    let (kind, mode, path, data): (char, u32, &[u8], &[u8]) = match op {
        FileOp::Remove { path } => ('X', 0, path, &[]),
        FileOp::MakeDir { path, mode } => ('D', *mode, path, &[]),
        FileOp::Write { path, mode, bytes } => ('F', *mode, path, bytes),
        FileOp::Link { path, target } => ('L', 0, path, target),
    };
    format!(
        "  {{'{kind}', 0{mode:o}, {}, {}}},\n",
        literals.reference(path),
        literals.reference(data)
    )
}

/// String literals, each byte string once.
#[derive(Default)]
struct Literals {
    names: BTreeMap<Vec<u8>, usize>,
    text: String,
}

impl Literals {
    /// A `struct bytes` initialiser for `bytes`.
    fn reference(&mut self, bytes: &[u8]) -> String {
        if bytes.is_empty() {
            return "{\"\", 0}".to_owned();
        }
        let index = match self.names.get(bytes) {
            Some(index) => *index,
            None => {
                let index = self.names.len();
                // Writing to a String cannot fail.
                let _ = writeln!(self.text, "static const char b{index}[] =\n{};", literal(bytes));
                self.names.insert(bytes.to_vec(), index);
                index
            }
        };
        format!("{{b{index}, {}}}", bytes.len())
    }
}

/// A C string literal of exactly `bytes` (and the NUL that C adds), in lines of at most about 100 characters. Octal escapes
/// always have three digits, so that a digit after one is never taken into it; `?` is escaped because of trigraphs.
pub fn literal(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + bytes.len() / 40 + 8);
    let mut column = 0;
    out.push('"');
    for &b in bytes {
        let before = out.len();
        match b {
            b'\n' => out.push_str("\\n"),
            b'"' | b'\\' | b'?' => {
                out.push('\\');
                out.push(char::from(b));
            }
            b' '..=b'~' => out.push(char::from(b)),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\{b:03o}");
            }
        }
        column += out.len() - before;
        if column >= 96 {
            out.push_str("\"\n\"");
            column = 0;
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_escape_what_c_would_read_otherwise() {
        assert_eq!(literal(b"a\"b\\c\n\x01" as &[u8]), r#""a\"b\\c\n\001""#);
        assert_eq!(literal(b"\x0012??=\xff"), r#""\00012\?\?=\377""#);
        assert_eq!(literal(b""), "\"\"");
        assert!(literal(&[b'x'; 1000]).lines().all(|l| l.len() <= 102));
    }

    #[test]
    fn keys_of_different_inputs_differ() {
        let key = |argv: &[&[u8]], stdin: &[u8]| Key {
            tty: false,
            argv: argv.iter().map(|a| a.to_vec()).collect(),
            stdin: stdin.to_vec(),
            ..Key::default()
        };
        let keys = [
            key(&[], b""),
            key(&[b""], b""),
            key(&[b"a", b"b"], b""),
            key(&[b"a"], b"b\0"),
            key(&[b"a b"], b""),
            Key { tty: true, ..key(&[], b"") },
        ];
        let distinct: std::collections::BTreeSet<_> = keys.iter().map(Key::bytes).collect();
        assert_eq!(distinct.len(), keys.len());
    }

    #[test]
    fn equal_bytes_share_a_literal_and_the_fallback_comes_last() {
        let answer = |text: &str| Answer {
            stdout: text.as_bytes().to_vec(),
            stderr: Vec::new(),
            end: End::Exit(0),
            files: Vec::new(),
        };
        let key = |arg: &str| Key { argv: vec![arg.into()], ..Key::default() };
        let table = [(key("a"), answer("same text")), (key("b"), answer("same text"))].into();
        let fallback = Answer { end: End::Exit(64), ..answer("usage") };
        let source = program(&table, Some(&fallback));
        assert_eq!(source.matches("\"same text\"").count(), 1);
        assert!(!source.contains(MARKER));
        let last = source.lines().rfind(|l| l.starts_with("  {") && l.contains(" 64, 0,")).unwrap();
        assert!(last.starts_with("  {{\"\", 0}"), "{last}");
    }
}
