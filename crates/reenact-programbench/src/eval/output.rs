//! What is kept of a step's output: its beginning and its end, so that no step makes a result that cannot be read any more.

use std::collections::VecDeque;
use std::io::Write;

/// Bytes of beginning and end that are kept of what builds and suites print, each, as JSON has them.
const MOST: usize = 512 << 10;
/// Of other steps.
const MOST_OF_SHORT: usize = 64 << 10;

/// Takes a stream, keeps its beginning and its end.
pub(super) struct Output {
    most: usize,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    len: u64,
}

impl Output {
    /// Of a step by this name.
    pub(super) fn of(step: &str) -> Self {
        use reenact_interop::programbench::step::{COMPILE, RUN_TESTS};
        let long = step == COMPILE || step == RUN_TESTS;
        Self::new(if long { MOST } else { MOST_OF_SHORT })
    }

    fn new(most: usize) -> Self {
        Self { most, head: Vec::new(), tail: VecDeque::new(), len: 0 }
    }

    /// As the official tool has it: text with line feeds only. What was left out is counted in its place.
    pub(super) fn text(self) -> String {
        let whole = text(&self.head);
        if self.len == self.head.len() as u64 {
            return shortened(&whole, self.most);
        }
        let tail = text(&Vec::from(self.tail));
        let (head, tail) = (beginning(&whole, self.most), end(&tail, self.most));
        joined(head, tail, self.len)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.len += bytes.len() as u64;
        // A stream that fits is kept in one piece.
        let room = (2 * self.most).saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        let rest = &bytes[room..];
        let rest = &rest[rest.len().saturating_sub(self.most)..];
        let over = (self.tail.len() + rest.len()).saturating_sub(self.most);
        self.tail.drain(..over);
        self.tail.extend(rest);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A text of which too much is no use to anybody: the beginning and the end.
pub(super) fn excerpt(text: &str) -> String {
    shortened(text, MOST_OF_SHORT)
}

/// Output as the official tool keeps it: text with line feeds only.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace("\r\n", "\n").replace('\r', "\n")
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().map(cost).sum::<usize>() <= 2 * most {
        return text.to_owned();
    }
    joined(beginning(text, most), end(text, most), text.len() as u64)
}

fn joined(head: &str, tail: &str, len: u64) -> String {
    let left_out = len.saturating_sub((head.len() + tail.len()) as u64);
    format!("{head}\n[{left_out} bytes were left out here]\n{tail}")
}

/// Bytes of a character in a JSON text.
fn cost(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\t' => 2,
        c if c < ' ' => 6,
        c => c.len_utf8(),
    }
}

fn beginning(text: &str, most: usize) -> &str {
    let mut left = most;
    let mut fits = |c: char| left.checked_sub(cost(c)).map(|now| left = now).is_some();
    let stop = text.char_indices().find(|(_, c)| !fits(*c));
    &text[..stop.map_or(text.len(), |(at, _)| at)]
}

fn end(text: &str, most: usize) -> &str {
    let mut left = most;
    let mut fits = |c: char| left.checked_sub(cost(c)).map(|now| left = now).is_some();
    let stop = text.char_indices().rev().find(|(_, c)| !fits(*c));
    &text[stop.map_or(0, |(at, c)| at + c.len_utf8())..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kept(most: usize, parts: &[&[u8]]) -> String {
        let mut output = Output::new(most);
        parts.iter().for_each(|p| output.write_all(p).unwrap());
        output.text()
    }

    #[test]
    fn a_flood_is_its_beginning_and_its_end() {
        assert_eq!(kept(4, &[b"12\r\n", b"3", b"\r5"]), "12\n3\n5");
        let flood = [&b"begin"[..], &[b'x'; 1000], b"the end"].concat();
        let got = kept(5, &[&flood]);
        assert_eq!(got, "begin\n[1002 bytes were left out here]\ne end");
        for size in [1, 3, 7, 100] {
            let parts: Vec<&[u8]> = flood.chunks(size).collect();
            assert_eq!(kept(5, &parts), got);
        }
        // A NUL is six bytes in JSON.
        let nuls = kept(64, &[&[0; 10_000]]);
        assert_eq!(nuls.matches('\0').count(), 20);
        let text = "é".repeat(100);
        assert!(kept(5, &[text.as_bytes()]).starts_with("éé\n["));
    }

    proptest! {
        #[test]
        fn whatever_it_is_it_stays_small(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20)) {
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let json = serde_json::to_string(&kept(50, &parts)).unwrap();
            prop_assert!(json.len() <= 100 + 60, "{}", json.len());
        }
    }
}
