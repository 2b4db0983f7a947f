//! Splitting an example command line into words, as a shell would, for the simple lines that documentation shows.

/// A simple command: words, and where its input and output go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Words of each command of the pipeline.
    pub commands: Vec<Vec<String>>,
    /// Target of `< file` on the last command that has one.
    pub stdin_file: Option<String>,
    /// Target of `> file`.
    pub stdout_file: Option<String>,
}

enum Token {
    Word(String),
    Pipe,
    In,
    Out,
}

/// Splits `line`; `None` when it uses what we do not imitate (substitution, lists, jobs, globs outside quotes) or when a
/// quote stays open.
pub fn split(line: &str) -> Option<Line> {
    let mut out = Line { commands: vec![Vec::new()], ..Line::default() };
    let mut tokens = tokenize(line)?.into_iter();
    while let Some(token) = tokens.next() {
        match token {
            Token::Word(word) => out.commands.last_mut()?.push(word),
            Token::Pipe => out.commands.push(Vec::new()),
            Token::In | Token::Out => {
                let Some(Token::Word(file)) = tokens.next() else { return None };
                let slot = if matches!(token, Token::In) {
                    &mut out.stdin_file
                } else {
                    &mut out.stdout_file
                };
                *slot = Some(file);
            }
        }
    }
    (!out.commands.iter().any(Vec::is_empty)).then_some(out)
}

fn tokenize(line: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' => tokens.extend(word.take().map(Token::Word)),
            '\'' => quoted(&mut chars, '\'', word.get_or_insert_default())?,
            '"' => double_quoted(&mut chars, word.get_or_insert_default())?,
            '\\' => word.get_or_insert_default().push(chars.next()?),
            '#' if word.is_none() => break,
            '|' if chars.peek() != Some(&'|') => {
                tokens.extend(word.take().map(Token::Word));
                tokens.push(Token::Pipe);
            }
            '<' if !matches!(chars.peek(), Some('<' | '(' | '&')) => {
                tokens.extend(word.take().map(Token::Word));
                tokens.push(Token::In);
            }
            '>' if !matches!(chars.peek(), Some('>' | '(' | '&')) => {
                // `2>` and the like name a descriptor; only plain stdout is imitated.
                if word.as_deref().is_some_and(|w| w.chars().all(|c| c.is_ascii_digit())) {
                    return None;
                }
                tokens.extend(word.take().map(Token::Word));
                tokens.push(Token::Out);
            }
            '$' if chars.peek() == Some(&'\'') => return None,
            '$' if matches!(chars.peek(), Some(c) if c.is_alphanumeric() || "({_".contains(*c)) => {
                return None;
            }
            '`' | ';' | '&' | '|' | '<' | '>' | '(' | ')' | '*' => return None,
            c => word.get_or_insert_default().push(c),
        }
    }
    tokens.extend(word.take().map(Token::Word));
    Some(tokens)
}

fn quoted(chars: &mut impl Iterator<Item = char>, end: char, word: &mut String) -> Option<()> {
    for c in chars {
        if c == end {
            return Some(());
        }
        word.push(c);
    }
    None
}

fn double_quoted(chars: &mut impl Iterator<Item = char>, word: &mut String) -> Option<()> {
    while let Some(c) = chars.next() {
        match c {
            '"' => return Some(()),
            '\\' => match chars.next()? {
                c @ ('"' | '\\' | '$' | '`') => word.push(c),
                c => word.extend(['\\', c]),
            },
            '`' => return None,
            c => word.push(c),
        }
    }
    None
}

/// What `printf FORMAT` or `echo [-n] [-e] WORDS` writes; `None` for other programs.
pub fn printed(words: &[String]) -> Option<String> {
    let (program, rest) = words.split_first()?;
    match program.as_str() {
        "echo" => {
            let flags = rest
                .iter()
                .take_while(|w| matches!(w.as_str(), "-n" | "-e" | "-en" | "-ne"))
                .count();
            let text = rest[flags..].join(" ");
            let text =
                if rest[..flags].iter().any(|f| f.contains('e')) { unescape(&text) } else { text };
            let newline = if rest[..flags].iter().any(|f| f.contains('n')) { "" } else { "\n" };
            Some(text + newline)
        }
        "printf" if rest.len() == 1 && !rest[0].contains('%') => Some(unescape(&rest[0])),
        _ => None,
    }
}

fn unescape(text: &str) -> String {
    text.replace("\\n", "\n").replace("\\t", "\t").replace("\\0", "\0").replace("\\\\", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(line: &str) -> Option<Vec<String>> {
        split(line).map(|l| l.commands.concat())
    }

    #[test]
    fn quotes_and_escapes() {
        assert_eq!(
            words(r#"p 'a b' "c \"d\"" e\ f ''"#).unwrap(),
            ["p", "a b", "c \"d\"", "e f", ""]
        );
        assert_eq!(words("p a # note").unwrap(), ["p", "a"]);
        assert_eq!(words("p 'open"), None);
        assert_eq!(words("p $(x)"), None);
        assert_eq!(words("p a && q"), None);
        assert_eq!(words("p 2>err"), None);
        assert_eq!(words("cut -f 1 '$x'").unwrap()[3], "$x");
    }

    #[test]
    fn pipes_and_redirections() {
        let l = split("echo '{\"a\":1}' | p .a").unwrap();
        assert_eq!(printed(&l.commands[0]).unwrap(), "{\"a\":1}\n");
        assert_eq!(l.commands[1], ["p", ".a"]);
        let l = split("p < in.txt > out").unwrap();
        assert_eq!(
            (l.stdin_file.as_deref(), l.stdout_file.as_deref()),
            (Some("in.txt"), Some("out"))
        );
        assert_eq!(split("| p"), None);
    }

    #[test]
    fn printf_and_echo_flags() {
        let p = |s: &str| printed(&words(s).unwrap());
        assert_eq!(p("echo -n a b").unwrap(), "a b");
        assert_eq!(p(r"printf 'a\nb\n'").unwrap(), "a\nb\n");
        assert_eq!(p("cat x"), None);
    }

    proptest! {
        #[test]
        fn never_panics(line in "\\PC{0,80}") {
            let words = split(&line).map(|l| l.commands.concat());
            prop_assert!(words.is_none_or(|w| w.iter().all(|x| x.len() <= line.len())));
        }
    }
}
