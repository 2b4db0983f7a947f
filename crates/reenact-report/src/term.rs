//! Colours of a terminal, on or off.

use crate::diff::{Line, Tag};
use owo_colors::{OwoColorize, Style};

/// Paints, or leaves text as it is.
#[derive(Clone, Copy)]
pub(crate) struct Paint {
    pub on: bool,
}

/// What a text is, as far as its colour goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    Plain,
    Heading,
    Dim,
    Good,
    Bad,
    Warn,
    Sign,
}

impl Paint {
    pub(crate) fn text(self, look: Look, text: &str) -> String {
        self.styled(style(look), text)
    }

    fn styled(self, style: Style, text: &str) -> String {
        if self.on && !text.is_empty() { text.style(style).to_string() } else { text.to_owned() }
    }

    /// One line of a diff: `-` expected (green, since it is right), `+` actual (red).
    pub(crate) fn diff_line(self, line: &Line) -> String {
        let (mark, look) = match line.tag {
            Tag::Same => ("  ", Look::Plain),
            Tag::Expected => ("- ", Look::Good),
            Tag::Actual => ("+ ", Look::Bad),
            Tag::Skip => ("@ ", Look::Dim),
            Tag::Note => ("# ", Look::Dim),
        };
        let mut out = self.text(look, mark);
        for span in &line.spans {
            let mut style = if span.sign { style(Look::Sign) } else { style(look) };
            if span.emph {
                style = style.bold().underline();
            }
            out.push_str(&self.styled(style, &span.text));
        }
        out.truncate(out.trim_end_matches(' ').len());
        out
    }
}

fn style(look: Look) -> Style {
    match look {
        Look::Plain => Style::new(),
        Look::Heading => Style::new().bold(),
        Look::Dim => Style::new().dimmed(),
        Look::Good => Style::new().green(),
        Look::Bad => Style::new().red(),
        Look::Warn => Style::new().yellow(),
        Look::Sign => Style::new().magenta(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::visible::Span;

    #[test]
    fn without_colour_there_is_no_escape_and_with_it_there_is() {
        let span = Span { text: "x".into(), emph: true, sign: false };
        let line = Line { tag: Tag::Expected, spans: vec![span] };
        assert_eq!(Paint { on: false }.diff_line(&line), "- x");
        let painted = Paint { on: true }.diff_line(&line);
        assert!(painted.contains("\x1b[32m- ") && painted.contains('x'), "{painted:?}");
    }
}
