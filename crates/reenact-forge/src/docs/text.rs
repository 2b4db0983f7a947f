//! Plain text: unpacking, decoding, and removing what terminals and printers need.

use std::io::Read;

/// Larger files are not documentation that anybody reads.
pub(crate) const FILE_CAP: usize = 1 << 20;

/// Unpacks gzip (by its magic number); other bytes as they are. `None` if damaged or larger than [`FILE_CAP`].
pub(crate) fn unpack(bytes: Vec<u8>) -> Option<Vec<u8>> {
    if bytes.len() > FILE_CAP {
        return None;
    }
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Some(bytes);
    }
    let mut out = Vec::new();
    let decoder = flate2::read::MultiGzDecoder::new(bytes.as_slice());
    decoder.take(FILE_CAP as u64 + 1).read_to_end(&mut out).ok()?;
    (out.len() <= FILE_CAP).then_some(out)
}

/// The text of a file: UTF-8, or Latin-1 where it is not; `None` if it holds control bytes that no text has.
pub(crate) fn decode(bytes: &[u8]) -> Option<String> {
    let odd = |b: &u8| *b < 0x20 && !matches!(b, b'\n' | b'\r' | b'\t' | 0x0c | 0x08 | 0x1b);
    if bytes.iter().any(odd) {
        return None;
    }
    Some(match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|b| char::from(*b)).collect(),
    })
}

/// Removes escape sequences (CSI, OSC, two-byte) and overstrikes (`N\x08N`, `_\x08N`), and carriage returns at line ends.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_escape(&mut chars),
            // Of overstruck characters the last one counts; bold repeats it, underline puts it over `_`.
            '\u{8}' => _ = out.pop(),
            '\r' if chars.peek() == Some(&'\n') => {}
            '\u{c}' => out.push('\n'),
            _ => out.push(c),
        }
    }
    out
}

fn skip_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.next() {
        Some('[') => {
            for c in chars.by_ref() {
                if ('\u{40}'..='\u{7e}').contains(&c) {
                    break;
                }
            }
        }
        Some(']') => {
            while let Some(c) = chars.next() {
                if c == '\u{7}' || (c == '\u{1b}' && chars.next_if_eq(&'\\').is_some()) {
                    break;
                }
            }
        }
        Some('(' | ')') => _ = chars.next(),
        _ => {}
    }
}

/// Replaces typographic hyphens, minus signs and quotes that formatters put where the author typed ASCII: a reader
/// copies options from these pages.
pub(crate) fn ascii_punctuation(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\u{2010}' | '\u{2011}' | '\u{2013}' | '\u{2212}' | '\u{ad}' => '-',
            '\u{2018}' | '\u{2019}' | '\u{b4}' => '\'',
            '\u{201c}' | '\u{201d}' => '"',
            '\u{a0}' => ' ',
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overstrikes_and_escapes_are_removed() {
        assert_eq!(plain("N\u{8}NA\u{8}AM\u{8}ME\u{8}E"), "NAME");
        assert_eq!(plain("_\u{8}f_\u{8}i_\u{8}le"), "file");
        assert_eq!(
            plain("\u{1b}[1;32mgreen\u{1b}[0m \u{1b}]8;;u\u{7}link\u{1b}]8;;\u{1b}\\ \u{1b}(Bx"),
            "green link x"
        );
        assert_eq!(plain("a\r\nb"), "a\nb");
        // A truncated sequence eats the rest and nothing else.
        assert_eq!(plain("ok\u{1b}[3"), "ok");
    }

    #[test]
    fn only_text_decodes() {
        assert_eq!(decode(b"caf\xc3\xa9\n").as_deref(), Some("caf\u{e9}\n"));
        assert_eq!(decode(b"caf\xe9").as_deref(), Some("caf\u{e9}"));
        assert_eq!(decode(b"\x7fELF\0"), None);
    }

    #[test]
    fn gzip_is_unpacked_within_the_cap() {
        use std::io::Write;
        let pack = |bytes: &[u8]| {
            let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            e.write_all(bytes).unwrap();
            e.finish().unwrap()
        };
        assert_eq!(unpack(pack(b"hello")).unwrap(), b"hello");
        assert_eq!(unpack(b"plain".to_vec()).unwrap(), b"plain");
        assert_eq!(unpack(pack(&vec![b'a'; FILE_CAP + 1])), None);
        assert_eq!(unpack(pack(b"hello")[..12].to_vec()), None);
    }

    #[test]
    fn typed_punctuation_comes_back() {
        assert_eq!(ascii_punctuation("\u{2212}\u{2010}help \u{2018}x\u{2019}"), "--help 'x'");
    }

    proptest::proptest! {
        #[test]
        fn plain_text_has_no_escapes_left(text in "[a-z\u{8}\u{1b}\\[\\]();0-9m\r\n]{0,200}") {
            let out = plain(&text);
            let left = out.contains(['\u{1b}', '\u{8}']);
            proptest::prop_assert!(!left);
        }
    }
}
