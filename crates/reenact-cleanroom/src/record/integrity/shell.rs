//! Splitting a shell command into the simple commands in it, well enough to tell what is run on what. Not a shell: nothing is
//! executed, loops run once, conditions are taken both ways, and what cannot be known stays as it is written.
//!
//! A here-document is a file or a program's input, not commands, unless a shell reads it.

use super::lexer::{Lexer, Token};
use std::collections::BTreeMap;

/// Bytes of a command that are looked at.
const MAX_TEXT: usize = 1 << 20;
/// Simple commands of one command, and how deep commands stand in each other.
const MAX_COMMANDS: usize = 4000;
const MAX_DEPTH: usize = 8;

/// A simple command: `NAME=value program arguments <file >file`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Simple {
    /// Program and arguments, without quotes; known variables are put in.
    pub words: Vec<String>,
    /// Variables set for this command alone.
    pub assigns: Vec<(String, String)>,
    /// Files on standard input.
    pub reads: Vec<String>,
    /// Files that output goes to.
    pub writes: Vec<String>,
    /// Here-documents and here-strings.
    pub input: Vec<String>,
    /// Working directory; `None` if it cannot be known.
    pub cwd: Option<String>,
    /// Index of the command whose output it reads.
    pub from: Option<usize>,
    /// Here-documents that it asked for, by number.
    documents: Vec<usize>,
}

impl Simple {
    /// The program's name without its directory; empty if there is none.
    pub fn program(&self) -> &str {
        self.words.first().map_or("", |w| w.rsplit('/').next().unwrap_or_default())
    }

    /// Its arguments.
    pub fn arguments(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }

    /// The command as text, for evidence.
    pub fn text(&self) -> String {
        let mut parts: Vec<String> = self.assigns.iter().map(|(k, v)| format!("{k}={v}")).collect();
        parts.extend(self.words.iter().cloned());
        parts.extend(self.reads.iter().map(|f| format!("<{f}")));
        parts.extend(self.writes.iter().map(|f| format!(">{f}")));
        parts.join(" ")
    }
}

/// The simple commands of `text`, in order, begun in `cwd`. Those inside substitutions, `sh -c`, `eval`, `xargs`,
/// `find -exec` and the like are among them.
pub fn split(text: &str, cwd: &str) -> Vec<Simple> {
    let mut state =
        State { out: Vec::new(), vars: BTreeMap::new(), cwd: Some(cwd.to_owned()), documents: 0 };
    state.script(text, 0);
    state.out
}

struct State {
    out: Vec<Simple>,
    vars: BTreeMap<String, String>,
    cwd: Option<String>,
    /// Here-documents so far.
    documents: usize,
}

/// A here-document whose body comes after the line: its number, its end, and whether tabs are stripped.
struct Pending {
    number: usize,
    end: String,
    tabs: bool,
}

impl State {
    fn script(&mut self, text: &str, depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        let mut end = text.len().min(MAX_TEXT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut lexer = Lexer { text: &text[..end], at: 0 };
        let mut current = Simple::default();
        let mut redirect: Option<&'static str> = None;
        let (mut pipe, mut groups): (Option<usize>, Vec<Option<String>>) = (None, Vec::new());
        let mut pending: Vec<Pending> = Vec::new();
        loop {
            let token = lexer.next(&self.vars);
            match token {
                Some(Token::Word { text, quoted, nested }) => {
                    for inner in nested {
                        self.script(&inner, depth + 1);
                    }
                    self.word(text, quoted, redirect.take(), &mut current, &mut pending);
                }
                Some(Token::Redirect(op)) => redirect = Some(op),
                Some(Token::Pipe) => {
                    current.from = pipe.take();
                    pipe = self.finish(&mut current, depth);
                }
                Some(Token::End(op)) => {
                    current.from = pipe.take();
                    self.finish(&mut current, depth);
                    match op {
                        "(" => groups.push(self.cwd.clone()),
                        ")" => self.cwd = groups.pop().unwrap_or_else(|| self.cwd.clone()),
                        "\n" => self.bodies(&mut lexer, &mut pending, depth),
                        _ => {}
                    }
                }
                None => break,
            }
            if self.out.len() > MAX_COMMANDS {
                return;
            }
        }
        current.from = pipe;
        self.finish(&mut current, depth);
        self.bodies(&mut lexer, &mut pending, depth);
    }

    fn word(
        &mut self,
        text: String,
        quoted: bool,
        redirect: Option<&'static str>,
        current: &mut Simple,
        pending: &mut Vec<Pending>,
    ) {
        match redirect {
            Some("<" | "<>") => current.reads.push(text),
            Some("<<<") => current.input.push(text),
            Some(op @ ("<<" | "<<-")) => {
                let number = self.documents;
                self.documents += 1;
                current.documents.push(number);
                pending.push(Pending { number, end: text, tabs: op == "<<-" });
            }
            // `2>&1` copies a descriptor.
            Some(">&" | "<&") if text == "-" || text.bytes().all(|b| b.is_ascii_digit()) => {}
            Some("<&") => current.reads.push(text),
            Some(_) => current.writes.push(text),
            None => {
                const KEYWORDS: [&str; 14] = [
                    "if", "then", "elif", "else", "fi", "do", "done", "while", "until", "{", "}",
                    "!", "esac", "coproc",
                ];
                if current.words.is_empty() && !quoted && KEYWORDS.contains(&text.as_str()) {
                    return;
                }
                let assigned = assignment(&text).filter(|_| current.words.is_empty());
                match assigned {
                    Some((name, value)) => {
                        current.assigns.push((name.to_owned(), value.to_owned()));
                    }
                    None => current.words.push(text),
                }
            }
        }
    }

    /// Ends a simple command; gives its index, if it is one.
    fn finish(&mut self, current: &mut Simple, depth: usize) -> Option<usize> {
        let mut done = std::mem::take(current);
        if done.words.is_empty() {
            self.vars.extend(done.assigns.iter().cloned());
            if done.reads.is_empty() && done.writes.is_empty() && done.documents.is_empty() {
                return None;
            }
        }
        done.cwd.clone_from(&self.cwd);
        match done.program() {
            "cd" | "pushd" => self.change_directory(done.arguments()),
            "for" | "select" => self.loop_variable(done.arguments()),
            "export" | "declare" | "local" | "readonly" | "typeset" => {
                let set = done.arguments().iter().filter_map(|w| assignment(w));
                self.vars.extend(set.map(|(k, v)| (k.to_owned(), v.to_owned())));
            }
            _ => {}
        }
        let index = self.out.len();
        self.out.push(done.clone());
        self.within(&done, depth);
        Some(index)
    }

    fn change_directory(&mut self, arguments: &[String]) {
        let to = arguments.iter().find(|a| !a.starts_with('-'));
        self.cwd = match to {
            None => None,
            Some(to) if to.contains(['$', '*', '?', '`']) || to.starts_with('~') => None,
            Some(to) => join(self.cwd.as_deref(), to),
        };
    }

    /// `for f in a b`: the body is read once, with the first value; a value that names an `executable` comes first.
    fn loop_variable(&mut self, arguments: &[String]) {
        if let [name, word, values @ ..] = arguments
            && word == "in"
        {
            let telling = values.iter().find(|v| v.contains("executable"));
            if let Some(value) = telling.or(values.first()) {
                self.vars.insert(name.clone(), value.clone());
            }
        }
    }

    /// Commands that `outer` runs.
    fn within(&mut self, outer: &Simple, depth: usize) {
        for script in super::wrappers::scripts(outer) {
            let cwd = self.cwd.clone();
            self.script(&script, depth + 1);
            self.cwd = cwd;
        }
        if let Some(words) = super::wrappers::inner(outer) {
            let mut inner = Simple { words, ..outer.clone() };
            // `env NAME=value program`
            while let Some((name, value)) = inner.words.first().and_then(|w| assignment(w)) {
                inner.assigns.push((name.to_owned(), value.to_owned()));
                inner.words.remove(0);
            }
            if depth < MAX_DEPTH && !inner.words.is_empty() && inner.words.len() < outer.words.len()
            {
                self.out.push(inner.clone());
                self.within(&inner, depth + 1);
            }
        }
    }

    /// Reads the here-documents that the line just ended has asked for.
    fn bodies(&mut self, lexer: &mut Lexer<'_>, pending: &mut Vec<Pending>, depth: usize) {
        for Pending { number, end, tabs } in pending.drain(..) {
            let body = lexer.body(&end, tabs);
            let mut shell = false;
            let readers: Vec<usize> =
                (0..self.out.len()).filter(|i| self.out[*i].documents.contains(&number)).collect();
            for (i, command) in self.out.iter_mut().enumerate() {
                // `cat <<EOF | sh`: what reads from a reader reads the document.
                let piped = command.from.is_some_and(|from| readers.contains(&from));
                if readers.contains(&i) || piped {
                    command.input.push(body.clone());
                    shell |= super::wrappers::is_shell(command.program());
                }
            }
            if shell {
                self.script(&body, depth + 1);
            }
        }
    }
}

/// `NAME=value`
fn assignment(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let first = name.bytes().next()?;
    let fits = (first.is_ascii_alphabetic() || first == b'_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    fits.then_some((name, value))
}

/// An absolute path without `.`, `..` and empty parts; `None` if `path` is relative to an unknown directory.
pub fn join(cwd: Option<&str>, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    let base = if path.starts_with('/') { "" } else { cwd? };
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Some(format!("/{}", parts.join("/")))
}
