//! What of a command's output a model is shown.

use super::ground::Ran;
use super::prompts::Told;
use std::borrow::Cow;

/// A command's output as text, cut in the middle.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown<'a> {
    text: Cow<'a, str>,
    /// Byte offsets in `text`: the head ends, the tail begins.
    cut: Option<(usize, usize)>,
    elided: u64,
    lost: u64,
}

impl<'a> Shown<'a> {
    /// At most `limit` characters: the first and the last half of them.
    pub(super) fn of(ran: &'a Ran, limit: usize) -> Self {
        let text = readable(&ran.output);
        let lost = ran.written.saturating_sub(ran.output.len() as u64);
        let count = text.chars().count();
        if count <= limit && lost == 0 {
            return Self { text, cut: None, elided: 0, lost };
        }
        let half = limit / 2;
        let at = |n: usize| text.char_indices().nth(n).map_or(text.len(), |(i, _)| i);
        let (head, tail) = if count <= limit {
            (text.len(), text.len())
        } else {
            (at(half), at(count - (limit - half)))
        };
        let elided = (count - limit.min(count)) as u64;
        Self { cut: Some((head, tail)), text, elided, lost }
    }

    pub(super) fn told<'b>(&'b self, ran: &'b Ran) -> Told<'b> {
        let (head, tail) = match self.cut {
            None => (&*self.text, ""),
            Some((head, tail)) => (&self.text[..head], &self.text[tail..]),
        };
        Told {
            note: ran.note.as_deref(),
            returncode: ran.returncode(),
            // One line end is the template's.
            head: head.strip_suffix('\n').unwrap_or(head),
            tail: tail.strip_suffix('\n').unwrap_or(tail),
            elided: if self.cut.is_some() { self.elided.max(1) } else { 0 },
            lost: self.lost,
        }
    }
}

/// Bytes as text for a model: what is not UTF-8 is replaced, and so is NUL, which some APIs refuse.
fn readable(bytes: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{2400}")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reenact_sandbox::room::ExecEnd;

    fn ran(output: &[u8], written: u64) -> Ran {
        let end = ExecEnd::Exit { code: 0 };
        Ran { end, output: output.to_vec(), written, note: None }
    }

    #[test]
    fn short_output_is_whole() {
        let ran = ran("añb\0\n".as_bytes(), 6);
        let shown = Shown::of(&ran, 5);
        let told = shown.told(&ran);
        assert_eq!((told.head, told.tail, told.elided, told.lost), ("añb\u{2400}", "", 0, 0));
    }

    #[test]
    fn long_output_loses_its_middle_at_character_borders() {
        let text = "ä".repeat(7) + "ö".repeat(6).as_str();
        let ran = ran(text.as_bytes(), text.len() as u64);
        let shown = Shown::of(&ran, 5);
        let told = shown.told(&ran);
        assert_eq!((told.head, told.tail, told.elided), ("ää", "ööö", 8));
    }

    #[test]
    fn bytes_that_were_not_kept_are_told() {
        let ran = ran(b"abcdef", 1_000_000);
        let shown = Shown::of(&ran, 4);
        let told = shown.told(&ran);
        assert_eq!((told.head, told.tail, told.elided, told.lost), ("ab", "ef", 2, 999_994));
        let shown = Shown::of(&ran, 100);
        let told = shown.told(&ran);
        assert_eq!((told.head, told.tail, told.lost), ("abcdef", "", 999_994));
    }

    #[test]
    fn what_is_not_text_is_replaced() {
        let ran = ran(&[b'a', 0xff, b'b'], 3);
        let shown = Shown::of(&ran, 10);
        assert_eq!(shown.told(&ran).head, "a\u{fffd}b");
    }
}
