//! Words, operators and redirections of a shell command.

use std::collections::BTreeMap;

/// A piece of the text.
pub(super) enum Token {
    Word {
        text: String,
        quoted: bool,
        nested: Vec<String>,
    },
    /// `;`, `&`, `&&`, `||`, a line break, `(`, `)`, …
    End(&'static str),
    Pipe,
    /// `<`, `>`, `>>`, `<<`, `<<-`, `<<<`, …; the target is the next word.
    Redirect(&'static str),
}

/// Reads tokens; variables that are known are put in.
pub(super) struct Lexer<'a> {
    pub text: &'a str,
    /// Byte offset of what comes next.
    pub at: usize,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn eat(&mut self, word: &str) -> bool {
        let there = self.rest().starts_with(word);
        if there {
            self.at += word.len();
        }
        there
    }

    /// The next token; `None` at the end.
    pub(super) fn next(&mut self, vars: &BTreeMap<String, String>) -> Option<Token> {
        loop {
            match self.peek()? {
                ' ' | '\t' | '\r' => {
                    self.bump();
                }
                '\\' if self.rest().starts_with("\\\n") => self.at += 2,
                '#' => {
                    let len = self.rest().find('\n').unwrap_or(self.rest().len());
                    self.at += len;
                }
                _ => break,
            }
        }
        for op in ["\n", "&&", "||", ";;", ";", "|&", "(", ")"] {
            // `&>` and `>|` are redirections, and are looked at below.
            if self.eat(op) {
                return Some(if op == "|&" { Token::Pipe } else { Token::End(op) });
            }
        }
        if self.eat("|") {
            return Some(Token::Pipe);
        }
        for op in ["&>>", "&>"] {
            if self.eat(op) {
                return Some(Token::Redirect(">"));
            }
        }
        if self.eat("&") {
            return Some(Token::End("&"));
        }
        if let Some(op) = self.redirect() {
            return Some(op);
        }
        Some(self.word(vars))
    }

    /// `2>`, `<<-`, …; process substitutions are words.
    fn redirect(&mut self) -> Option<Token> {
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        let after = &self.rest()[digits..];
        if !after.starts_with(['<', '>']) || (digits == 0 && is_process(after)) {
            return None;
        }
        for op in ["<<<", "<<-", "<<", "<>", "<&", "<", ">>", ">&", ">|", ">"] {
            if after.starts_with(op) {
                self.at += digits + op.len();
                return Some(Token::Redirect(op));
            }
        }
        None
    }

    fn word(&mut self, vars: &BTreeMap<String, String>) -> Token {
        let (mut text, mut quoted, mut nested) = (String::new(), false, Vec::new());
        let begun = self.at;
        while let Some(c) = self.peek() {
            match c {
                '<' | '>' if self.at == begun && is_process(self.rest()) => {
                    self.at += 2;
                    nested.push(self.until(')'));
                    text.push_str("/dev/fd/63");
                }
                ' ' | '\t' | '\r' | '\n' | ';' | '&' | '|' | '(' | ')' | '<' | '>' => break,
                '\'' => {
                    quoted = true;
                    self.bump();
                    let len = self.rest().find('\'').unwrap_or(self.rest().len());
                    text.push_str(&self.rest()[..len]);
                    self.at = (self.at + len + 1).min(self.text.len());
                }
                '"' => {
                    quoted = true;
                    self.bump();
                    self.double(vars, &mut text, &mut nested);
                }
                '\\' => {
                    self.bump();
                    match self.bump() {
                        Some('\n') | None => {}
                        Some(c) => text.push(c),
                    }
                }
                '$' | '`' => self.dollar(vars, &mut text, &mut nested),
                c => {
                    self.bump();
                    text.push(c);
                }
            }
        }
        if self.at == begun {
            // Never stand still.
            self.bump();
        }
        Token::Word { text, quoted, nested }
    }

    /// Inside double quotes, to the closing one.
    fn double(
        &mut self,
        vars: &BTreeMap<String, String>,
        text: &mut String,
        nested: &mut Vec<String>,
    ) {
        while let Some(c) = self.peek() {
            match c {
                '"' => {
                    self.bump();
                    return;
                }
                '\\' => {
                    self.bump();
                    match self.bump() {
                        Some(c @ ('"' | '\\' | '$' | '`')) => text.push(c),
                        Some('\n') | None => {}
                        Some(c) => text.extend(['\\', c]),
                    }
                }
                '$' | '`' => self.dollar(vars, text, nested),
                c => {
                    self.bump();
                    text.push(c);
                }
            }
        }
    }

    /// `$name`, `${name}`, `$(commands)`, `$'text'`, `` `commands` ``.
    fn dollar(
        &mut self,
        vars: &BTreeMap<String, String>,
        text: &mut String,
        nested: &mut Vec<String>,
    ) {
        if self.eat("`") {
            nested.push(self.until('`'));
            text.push_str("$()");
        } else if self.eat("$((") {
            self.until(')');
            self.eat(")");
            text.push('0');
        } else if self.eat("$(") {
            nested.push(self.until(')'));
            text.push_str("$()");
        } else if self.eat("$'") {
            while let Some(c) = self.bump() {
                match c {
                    '\'' => break,
                    '\\' => text.extend(self.bump()),
                    c => text.push(c),
                }
            }
        } else {
            let from = self.at;
            self.bump();
            let braced = self.eat("{");
            let len =
                self.rest().bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
            let name = self.rest()[..len].to_owned();
            self.at += len;
            let plain = !braced || self.eat("}");
            match vars.get(&name).filter(|_| plain) {
                Some(value) => text.push_str(value),
                None => text.push_str(&self.text[from..self.at]),
            }
        }
    }

    /// The text up to the closing bracket (or back quote), which is passed over; inner brackets and quotes are respected.
    fn until(&mut self, close: char) -> String {
        let (begun, mut depth) = (self.at, 0);
        while let Some(c) = self.bump() {
            match c {
                '\\' => {
                    self.bump();
                }
                '\'' if close != '`' => {
                    let len = self.rest().find('\'').unwrap_or(self.rest().len());
                    self.at = (self.at + len + 1).min(self.text.len());
                }
                c if c == close && depth == 0 => {
                    return self.text[begun..self.at - close.len_utf8()].to_owned();
                }
                '(' if close == ')' => depth += 1,
                ')' if close == ')' => depth -= 1,
                _ => {}
            }
        }
        self.text[begun..].to_owned()
    }

    /// A here-document's body, to the line that is its end.
    pub(super) fn body(&mut self, end: &str, tabs: bool) -> String {
        let mut body = String::new();
        while self.at < self.text.len() {
            let len = self.rest().find('\n').map_or(self.rest().len(), |n| n + 1);
            let line = self.rest()[..len].to_owned();
            self.at += len;
            let bare = line.strip_suffix('\n').unwrap_or(&line);
            let bare = if tabs { bare.trim_start_matches('\t') } else { bare };
            if bare == end {
                break;
            }
            body.push_str(&line);
        }
        body
    }
}

fn is_process(text: &str) -> bool {
    text.starts_with("<(") || text.starts_with(">(")
}
