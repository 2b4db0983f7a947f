//! Making bytes visible: what a terminal or a browser would obey, hide or reorder is shown as a sign instead.

use serde::Serialize;

/// A stretch of text with one look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    pub text: String,
    /// It is what differs in its line.
    pub emph: bool,
    /// It stands for bytes that are no printable text.
    pub sign: bool,
}

/// Stands for a masked span inside expected text; shown as `⟨varies⟩` where masks are allowed.
pub(crate) const MASK: char = '\u{10FFFD}';

/// `bytes` as printable text: what does not print, or would reorder what does, becomes its name
/// or code in angle brackets: `⟨ESC⟩`, `⟨TAB⟩`, `⟨U+202E⟩`; bytes that are no UTF-8 become hex, `⟨ff⟩`.
pub fn text(bytes: &[u8]) -> String {
    spans(bytes, false, false).into_iter().map(|s| s.text).collect()
}

/// As [`text`], but line breaks stay: for blocks of several lines.
pub fn block(bytes: &[u8]) -> String {
    bytes.split(|b| *b == b'\n').map(text).collect::<Vec<_>>().join("\n")
}

/// `bytes` as spans; with `masks`, [`MASK`] is shown as a masked span.
pub(crate) fn spans(bytes: &[u8], emph: bool, masks: bool) -> Vec<Span> {
    let mut out: Vec<Span> = Vec::new();
    let mut push = |text: &str, sign: bool| match out.last_mut() {
        Some(last) if last.sign == sign => last.text.push_str(text),
        _ => out.push(Span { text: text.to_owned(), emph, sign }),
    };
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match sign_of(c, masks) {
                Some(sign) => push(&sign, true),
                None => push(c.encode_utf8(&mut [0; 4]), false),
            }
        }
        for b in chunk.invalid() {
            push(&format!("⟨{b:02x}⟩"), true);
        }
    }
    out
}

/// The sign for a character that must not be shown as itself.
fn sign_of(c: char, masks: bool) -> Option<String> {
    match c {
        MASK if masks => Some("⟨varies⟩".to_owned()),
        // Names rather than control pictures (␛): few fonts have those, and fewer eyes read them.
        '\0' => Some("⟨NUL⟩".to_owned()),
        '\x07' => Some("⟨BEL⟩".to_owned()),
        '\x08' => Some("⟨BS⟩".to_owned()),
        '\t' => Some("⟨TAB⟩".to_owned()),
        '\n' => Some("⟨LF⟩".to_owned()),
        '\x0c' => Some("⟨PAGE⟩".to_owned()),
        '\r' => Some("⟨CR⟩".to_owned()),
        '\x1b' => Some("⟨ESC⟩".to_owned()),
        '\x7f' => Some("⟨DEL⟩".to_owned()),
        '\0'..='\x1f' => Some(format!("⟨{:02x}⟩", u32::from(c))),
        c if is_unsafe(c) => Some(format!("⟨U+{:04X}⟩", u32::from(c))),
        _ => None,
    }
}

/// Characters that print nothing, reorder their neighbours, or mean something to a terminal.
pub(crate) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
            | '\u{f0000}'..='\u{10ffff}')
}

/// Whether `bytes` is better shown as a hex dump: it holds NUL, or more than a tenth of it is neither text nor the controls
/// that terminal programs write.
pub(crate) fn is_binary(bytes: &[u8]) -> bool {
    let sample = &bytes[..bytes.len().min(8192)];
    let mut odd = 0;
    for chunk in sample.utf8_chunks() {
        odd += chunk.invalid().len();
        odd += chunk
            .valid()
            .chars()
            .filter(|c| {
                c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\x1b' | '\x08' | '\x0c')
            })
            .count();
    }
    sample.contains(&0) || odd * 10 > sample.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_terminal_would_obey_comes_through() {
        let hostile = b"\x1b[31mred\x1b]0;title\x07 \x7f \xc2\x9b2J \xe2\x80\xae \xff\0";
        let shown = text(hostile);
        assert_eq!(shown, "⟨ESC⟩[31mred⟨ESC⟩]0;title⟨BEL⟩ ⟨DEL⟩ ⟨U+009B⟩2J ⟨U+202E⟩ ⟨ff⟩⟨NUL⟩");
        assert!(!shown.chars().any(char::is_control));
    }

    #[test]
    fn every_single_byte_and_every_character_is_safe() {
        for b in 0..=255u8 {
            assert!(!text(&[b]).chars().any(|c| c.is_control() || is_unsafe(c)), "{b}");
        }
        for c in ('\0'..=char::MAX).step_by(7) {
            let shown = text(c.encode_utf8(&mut [0; 4]).as_bytes());
            assert!(!shown.chars().any(is_unsafe), "{c:?}");
        }
    }

    #[test]
    fn ordinary_text_is_left_alone_and_blocks_keep_their_lines() {
        assert_eq!(text("Grüße, 世界 ✓".as_bytes()), "Grüße, 世界 ✓");
        assert_eq!(block(b"a\tb\r\nc"), "a⟨TAB⟩b⟨CR⟩\nc");
    }

    #[test]
    fn masks_show_only_where_they_are_meant() {
        let bytes = format!("pid {MASK}!");
        assert_eq!(spans(bytes.as_bytes(), false, true)[1].text, "⟨varies⟩");
        assert_eq!(text(bytes.as_bytes()), "pid ⟨U+10FFFD⟩!");
    }

    #[test]
    fn coloured_text_is_text_and_archives_are_binary() {
        assert!(!is_binary(b"\x1b[1mbold\x1b[0m\r\n"));
        assert!(is_binary(b"\x1f\x8b\x08\x00\x00"));
        assert!(is_binary(&[0xff; 40]));
        assert!(!is_binary(b""));
    }
}
