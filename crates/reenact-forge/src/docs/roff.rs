//! A plain-text rendering of man(7) and mdoc(7) pages for hosts without a formatter: every word and option is kept, the
//! layout is rough.

/// Renders a page, wrapping nothing: one source line is one line of text.
pub(crate) fn render(source: &str) -> String {
    let mut out = String::new();
    for line in source.lines() {
        match line.strip_prefix(['.', '\'']) {
            Some(request) => macro_line(request.trim(), &mut out),
            None => push(&mut out, "       ", &unescape(line)),
        }
    }
    out
}

fn macro_line(request: &str, out: &mut String) {
    let (name, rest) = request.split_once([' ', '\t']).unwrap_or((request, ""));
    let words = arguments(rest);
    match name {
        "TH" | "Dt" => push(out, "", &format!("{}\n", words.join(" "))),
        "SH" | "Sh" => push(out, "\n", &words.join(" ")),
        "SS" | "Ss" => push(out, "\n   ", &words.join(" ")),
        "PP" | "P" | "LP" | "Pp" | "sp" => out.push('\n'),
        "IP" | "TP" | "HP" | "TQ" if words.is_empty() => out.push('\n'),
        "IP" => push(out, "\n       ", &words[0]),
        "It" => push(out, "\n       ", &mdoc(&words)),
        // Alternating fonts join their words.
        "BR" | "RB" | "IR" | "RI" | "BI" | "IB" => push(out, "       ", &words.concat()),
        "B" | "I" | "R" | "SM" | "SB" | "UR" | "MT" => push(out, "       ", &words.join(" ")),
        "Nm" | "Fl" | "Ar" | "Op" | "Nd" | "Cm" | "Xr" | "Pa" | "Ic" | "Li" | "Ql" | "Dl"
        | "Em" | "Sy" | "Ev" => {
            let mut all = vec![name.to_owned()];
            all.extend(words);
            push(out, "       ", &mdoc(&all));
        }
        // Everything else changes layout only, or defines something.
        _ => {}
    }
}

/// mdoc's inline macros: flags get their dash, options their brackets, the rest stands as it is.
fn mdoc(words: &[String]) -> String {
    let mut out: Vec<String> = Vec::new();
    let mut flag = false;
    let mut open = 0;
    for word in words {
        match word.as_str() {
            "Fl" => flag = true,
            "Op" => {
                out.push("[".to_owned());
                open += 1;
            }
            "Nm" | "Ar" | "Nd" | "Cm" | "Xr" | "Pa" | "Ic" | "Li" | "Ql" | "Dl" | "Em" | "Sy"
            | "Ev" | "Ns" | "No" => {}
            _ if std::mem::take(&mut flag) => out.push(format!("-{word}")),
            _ => out.push(word.clone()),
        }
    }
    out.extend(std::iter::repeat_n("]".to_owned(), open));
    out.join(" ")
}

fn push(out: &mut String, indent: &str, text: &str) {
    out.push_str(indent);
    out.push_str(text);
    out.push('\n');
}

/// Words of a macro line: separated by blanks, or quoted (a doubled quote stands for one).
fn arguments(rest: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut chars = rest.trim().chars().peekable();
    while chars.peek().is_some() {
        let mut word = String::new();
        if chars.next_if_eq(&'"').is_some() {
            while let Some(c) = chars.next() {
                if c == '"' && chars.next_if_eq(&'"').is_none() {
                    break;
                }
                word.push(c);
            }
        } else {
            while let Some(c) = chars.next_if(|c| !c.is_whitespace()) {
                word.push(c);
                // An escaped blank belongs to the word.
                if c == '\\'
                    && let Some(next) = chars.next()
                {
                    word.push(next);
                }
            }
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        words.push(unescape(&word));
    }
    words
}

/// Replaces roff escapes by the characters they stand for; fonts, sizes and motions vanish.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('f' | '*' | 'n' | 'F' | 'k' | 'g') => _ = name(&mut chars),
            Some('s') => skip_size(&mut chars),
            Some('(') => {
                let code: String = chars.by_ref().take(2).collect();
                out.push_str(special(&code));
            }
            Some('[') => {
                let code: String = chars.by_ref().take_while(|c| *c != ']').collect();
                out.push_str(special(&code));
            }
            Some('e' | '\\') => out.push('\\'),
            Some('-') => out.push('-'),
            Some('"' | '#') => return out.trim_end().to_owned(),
            Some(' ' | '~' | '0') => out.push(' '),
            Some('\'') => out.push('\''),
            Some('`') => out.push('`'),
            Some('.') => out.push('.'),
            // \&, \/, \,, \|, \^, \%, \: and \c only shape the line.
            _ => {}
        }
    }
    out
}

/// The name after `\f` or `\*`: one character, `(` and two, or bracketed.
fn name(chars: &mut std::str::Chars<'_>) -> String {
    match chars.next() {
        Some('(') => chars.by_ref().take(2).collect(),
        Some('[') => chars.by_ref().take_while(|c| *c != ']').collect(),
        Some(c) => c.to_string(),
        None => String::new(),
    }
}

fn skip_size(chars: &mut std::str::Chars<'_>) {
    let mut ahead = chars.clone();
    if matches!(ahead.next(), Some('+' | '-')) {
        chars.next();
    }
    chars.next();
}

fn special(code: &str) -> &'static str {
    match code {
        "em" | "en" | "hy" | "mi" | "-" => "-",
        "lq" | "rq" | "dq" => "\"",
        "oq" | "cq" | "aq" => "'",
        "ga" => "`",
        "bu" => "*",
        "co" => "(c)",
        "rg" => "(R)",
        "tm" => "(TM)",
        "rs" => "\\",
        "ti" => "~",
        "ha" => "^",
        "at" => "@",
        "sh" => "#",
        "Do" => "$",
        "or" | "ba" => "|",
        "le" | "<=" => "<=",
        "ge" | ">=" => ">=",
        "->" => "->",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_man_page_keeps_every_option() {
        let text = render(
            ".\\\" comment\n.TH FIG 6 \"May 2012\"\n.SH NAME\nfig \\- draw \\fBbig\\fR letters\n.TP\n\
             .BI \\-w \" width\"\nWidth, \\(em see \\fI--help\\fP.\n.IP \"\\-c, \\-\\-center\" 4\nCentre.\n",
        );
        for want in [
            "FIG 6 May 2012",
            "\nNAME\n",
            "fig - draw big letters",
            "-w width",
            "- see --help.",
            "-c, --center",
        ] {
            assert!(text.contains(want), "{want:?} in {text}");
        }
        assert!(!text.contains("comment"), "{text}");
    }

    #[test]
    fn an_mdoc_page_keeps_flags_and_options() {
        let text = render(".Dd x\n.Sh SYNOPSIS\n.Nm entr\n.Op Fl acd\n.It Fl p\nPostpone.\n");
        assert!(
            text.contains("SYNOPSIS") && text.contains("[ -acd ]") && text.contains("-p"),
            "{text}"
        );
    }

    proptest::proptest! {
        #[test]
        fn no_page_makes_the_reader_panic(page in r#"([.']?[A-Za-z]{0,2}[ "\\f(\[s+*\n-]{0,3}){0,60}"#) {
            let text = render(&page);
            proptest::prop_assert!(text.len() <= page.len() * 12 + 16);
        }
    }
}
