//! Line diffs of expected and actual bytes, as data that terminal and page render alike.
//!
//! Deterministic and bounded: equal heads and tails are cut off first, what is left is capped before it is compared, and no
//! deadline decides what is shown.

use crate::visible::{Span, is_binary, spans};
use serde::Serialize;
use similar::{Algorithm, DiffOp, capture_diff_slices};

/// Lines shown for one channel.
pub(crate) const MAX_LINES: usize = 200;
/// Lines compared on each side, after equal heads and tails are cut off.
const MAX_COMPARED: usize = 500;
/// Equal lines kept around each difference.
const CONTEXT: usize = 3;
/// Characters shown of one line.
const MAX_COLUMNS: usize = 600;
/// Lines up to this many bytes are compared word by word.
const MAX_INLINE: usize = 2000;

/// What a line of a diff is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tag {
    /// On both sides (or: no comparison).
    Same,
    /// Expected only.
    Expected,
    /// Actual only.
    Actual,
    /// Lines left out here.
    Skip,
    /// A remark of ours.
    Note,
}

/// One line of a diff.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    pub tag: Tag,
    pub spans: Vec<Span>,
}

impl Line {
    pub(crate) fn note(text: impl Into<String>) -> Self {
        Self::ours(Tag::Note, text)
    }

    /// A line of text that is ours or already visible.
    pub(crate) fn ours(tag: Tag, text: impl Into<String>) -> Self {
        Self { tag, spans: vec![Span { text: text.into(), emph: false, sign: false }] }
    }
}

/// Whole content without comparison, `max` lines of it.
pub(crate) fn plain(bytes: &[u8], tag: Tag, max: usize) -> Vec<Line> {
    let dump;
    let shown = if is_binary(bytes) {
        // Sixteen bytes a line: no more than the lines that are shown need be dumped.
        dump = crate::hex::dump(&bytes[..bytes.len().min(16 * (max + 1))]);
        dump.as_bytes()
    } else {
        bytes
    };
    let lines = split(shown);
    let mut out: Vec<Line> = lines.iter().take(max).map(|l| line(tag, l, false)).collect();
    if lines.len() > max {
        out.push(Line::note(format!("more follows; {} bytes in all", bytes.len())));
    }
    out
}

/// The difference of two byte strings in unified form; a hex dump if either is binary. `masks` lets expected lines show
/// masked spans. Empty if the two are equal.
pub(crate) fn diff(want: &[u8], got: &[u8], masks: bool) -> Vec<Line> {
    if want == got {
        return Vec::new();
    }
    if is_binary(want) || is_binary(got) {
        return hex_diff(want, got);
    }
    lines_diff(&split(want), &split(got), masks)
}

/// Dumps both sides from a little before the first difference, so that a difference late in a large file is shown.
fn hex_diff(want: &[u8], got: &[u8]) -> Vec<Line> {
    let same = want.iter().zip(got).take_while(|(a, b)| a == b).count();
    let from = (same / 16).saturating_sub(CONTEXT) * 16;
    let window = |bytes: &[u8]| {
        let to = bytes.len().min(from + 16 * MAX_LINES);
        let dump = crate::hex::dump(&bytes[from.min(to)..to]);
        dump.lines().enumerate().fold(String::new(), |mut out, (i, l)| {
            out.push_str(&format!("{:08x}{}\n", from + i * 16, &l[8..]));
            out
        })
    };
    let (want_dump, got_dump) = (window(want), window(got));
    let mut out = vec![Line::note(format!(
        "binary: first difference at byte {same}; {} bytes expected, {} actual",
        want.len(),
        got.len()
    ))];
    out.extend(lines_diff(&split(want_dump.as_bytes()), &split(got_dump.as_bytes()), false));
    out
}

/// Lines with their newlines; the last one may lack it.
pub(crate) fn split(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|b| *b == b'\n').collect()
}

/// Unified diff of two lists of lines.
pub(crate) fn lines_diff(want: &[&[u8]], got: &[&[u8]], masks: bool) -> Vec<Line> {
    let head = want.iter().zip(got).take_while(|(a, b)| a == b).count();
    let rest = want.len().min(got.len()) - head;
    let tail =
        want.iter().rev().zip(got.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let start = head.saturating_sub(CONTEXT);
    let cut = |side: &[&[u8]]| (side.len() - tail + CONTEXT.min(tail)).min(start + MAX_COMPARED);
    let (want_part, got_part) = (&want[start..cut(want)], &got[start..cut(got)]);
    let ops = capture_diff_slices(Algorithm::Myers, want_part, got_part);
    let mut groups = similar::group_diff_ops(ops, CONTEXT);
    let was_cut = want.len().max(got.len()) - tail > start + MAX_COMPARED;
    // Where the window ends, lines look added or missing that have their match behind it: no difference to show, unless it
    // is the only one there is.
    if was_cut && groups.len() > 1 {
        groups.pop();
    }
    let mut out = Vec::new();
    for group in groups {
        let first = group.first().map_or(0, |op| op.old_range().start) + start;
        if first > 0 || !out.is_empty() {
            out.push(Line::ours(Tag::Skip, format!("line {}", first + 1)));
        }
        for op in group {
            push_op(&mut out, op, want_part, got_part, masks);
        }
    }
    if was_cut && out.len() <= MAX_LINES {
        let note = format!("only {MAX_COMPARED} lines from the first difference on are compared");
        out.push(Line::note(note));
    }
    bounded(out)
}

fn push_op(out: &mut Vec<Line>, op: DiffOp, want: &[&[u8]], got: &[&[u8]], masks: bool) {
    let (old, new) = (&want[op.old_range()], &got[op.new_range()]);
    match op {
        DiffOp::Equal { .. } => out.extend(old.iter().map(|l| line(Tag::Same, l, masks))),
        DiffOp::Delete { .. } => out.extend(old.iter().map(|l| line(Tag::Expected, l, masks))),
        DiffOp::Insert { .. } => out.extend(new.iter().map(|l| line(Tag::Actual, l, false))),
        DiffOp::Replace { .. } => {
            let paired = old.len().min(new.len());
            let mut theirs = Vec::new();
            for (a, b) in old.iter().zip(new) {
                let (a, b) = pair(a, b, masks);
                out.push(a);
                theirs.push(b);
            }
            out.extend(old[paired..].iter().map(|l| line(Tag::Expected, l, masks)));
            out.append(&mut theirs);
            out.extend(new[paired..].iter().map(|l| line(Tag::Actual, l, false)));
        }
    }
}

fn bounded(mut lines: Vec<Line>) -> Vec<Line> {
    if lines.len() > MAX_LINES {
        let more = lines.len() - MAX_LINES;
        lines.truncate(MAX_LINES);
        lines.push(Line::note(format!("{more} more lines of this difference are not shown")));
    }
    lines
}

fn line(tag: Tag, bytes: &[u8], masks: bool) -> Line {
    finish(tag, spans(trimmed(bytes), false, masks), bytes)
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(b"\n").unwrap_or(bytes)
}

/// Two lines that stand for each other, with what differs between them marked.
fn pair(want: &[u8], got: &[u8], masks: bool) -> (Line, Line) {
    let (a, b) = (trimmed(want), trimmed(got));
    let (want_parts, got_parts) =
        if a.len().max(b.len()) <= MAX_INLINE { by_words(a, b) } else { by_ends(a, b) };
    let spans_of = |parts: Vec<(bool, &[u8])>, masks| {
        parts.into_iter().flat_map(|(emph, bytes)| spans(bytes, emph, masks)).collect()
    };
    (
        finish(Tag::Expected, spans_of(want_parts, masks), want),
        finish(Tag::Actual, spans_of(got_parts, false), got),
    )
}

type Parts<'a> = Vec<(bool, &'a [u8])>;

/// Parts of two lines by words, `true` where they differ. Nothing is marked if little is shared: then all of it differs.
fn by_words<'a>(a: &'a [u8], b: &'a [u8]) -> (Parts<'a>, Parts<'a>) {
    let (aw, bw) = (words(a), words(b));
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let mut shared = 0;
    for op in capture_diff_slices(Algorithm::Myers, &aw, &bw) {
        let differs = !matches!(op, DiffOp::Equal { .. });
        for word in &aw[op.old_range()] {
            shared +=
                if differs || word.iter().all(u8::is_ascii_whitespace) { 0 } else { word.len() };
            left.push((differs, *word));
        }
        right.extend(bw[op.new_range()].iter().map(|w| (differs, *w)));
    }
    if shared * 5 < a.len().max(b.len()) {
        return (vec![(false, a)], vec![(false, b)]);
    }
    (left, right)
}

/// Words, runs of blanks, and single other characters.
fn words(bytes: &[u8]) -> Vec<&[u8]> {
    let class = |b: u8| match b {
        b if b.is_ascii_alphanumeric() || b >= 0x80 || b == b'_' => 1,
        b' ' => 2,
        _ => 0,
    };
    bytes.chunk_by(|a, b| class(*a) == class(*b) && class(*a) != 0).collect()
}

/// Parts of two long lines: equal head, what is between, equal tail. A long equal head is left out but for its end.
fn by_ends<'a>(a: &'a [u8], b: &'a [u8]) -> (Parts<'a>, Parts<'a>) {
    let head = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let rest = a.len().min(b.len()) - head;
    let tail = a.iter().rev().zip(b.iter().rev()).take(rest).take_while(|(x, y)| x == y).count();
    let parts = |side: &'a [u8]| {
        let end = side.len() - tail;
        let mut parts = Vec::new();
        if head > 200 {
            parts.push((false, "… ".as_bytes()));
            parts.push((false, &side[head - 80..head]));
        } else {
            parts.push((false, &side[..head]));
        }
        parts.push((true, &side[head..end]));
        parts.push((false, &side[end..]));
        parts
    };
    (parts(a), parts(b))
}

/// Cuts a line to its columns, makes trailing blanks visible where it differs, and says if its newline is missing.
fn finish(tag: Tag, mut spans: Vec<Span>, bytes: &[u8]) -> Line {
    let mut left = MAX_COLUMNS;
    let mut dropped = 0;
    spans.retain_mut(|span| {
        let count = span.text.chars().count();
        if count > left {
            dropped += count - left;
            span.text = span.text.chars().take(left).collect();
        }
        left -= count.min(left);
        !span.text.is_empty()
    });
    if tag != Tag::Same
        && let Some(last) = spans.last_mut()
        && dropped == 0
    {
        let kept = last.text.trim_end_matches(' ').len();
        let blanks = last.text.len() - kept;
        last.text.truncate(kept);
        let emph = last.emph;
        if blanks > 0 {
            spans.push(Span { text: "·".repeat(blanks), emph, sign: true });
        }
    }
    let sign = |text: String| Span { text, emph: false, sign: true };
    if dropped > 0 {
        spans.push(sign(format!("⟨{dropped} more⟩")));
    }
    if !bytes.ends_with(b"\n") {
        spans.push(sign("⟨no newline⟩".to_owned()));
    }
    Line { tag, spans }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(lines: &[Line]) -> String {
        let mark = |tag| match tag {
            Tag::Same => ' ',
            Tag::Expected => '-',
            Tag::Actual => '+',
            Tag::Skip => '@',
            Tag::Note => '#',
        };
        lines.iter().fold(String::new(), |mut out, l| {
            let text: String = l.spans.iter().map(|s| s.text.as_str()).collect();
            out.push_str(&format!("{}{text}\n", mark(l.tag)));
            out
        })
    }

    #[test]
    fn unified_with_context_and_line_numbers() {
        let want = "1\n2\n3\n4\n5\n6\n7\n8\n";
        let got = "1\n2\n3\n4\n5\nsix\n7\n8\n";
        assert_eq!(
            show(&diff(want.as_bytes(), got.as_bytes(), false)),
            "@line 3\n 3\n 4\n 5\n-6\n+six\n 7\n 8\n"
        );
        assert!(diff(b"x", b"x", false).is_empty());
    }

    #[test]
    fn blanks_newlines_and_controls_that_differ_can_be_seen() {
        assert_eq!(show(&diff(b"a\n", b"a", false)), "-a\n+a⟨no newline⟩\n");
        assert_eq!(show(&diff(b"a\n", b"a  \n", false)), "-a\n+a··\n");
        assert_eq!(show(&diff(b"a\tb\n", b"a b\r\n", false)), "-a⟨TAB⟩b\n+a b⟨CR⟩\n");
        assert_eq!(show(&diff(b"", b"x\n", false)), "+x\n");
    }

    #[test]
    fn what_differs_inside_a_line_is_marked() {
        let lines = diff(b"total: 41 files\n", b"total: 42 files\n", false);
        let marked: Vec<&str> = lines
            .iter()
            .flat_map(|l| l.spans.iter().filter(|s| s.emph).map(|s| s.text.as_str()))
            .collect();
        assert_eq!(marked, ["41", "42"]);
        let unlike = diff(b"abc\n", b"xyz\n", false);
        assert!(unlike.iter().all(|l| l.spans.iter().all(|s| !s.emph)));
    }

    #[test]
    fn a_late_difference_in_a_long_line_or_file_is_shown_and_the_output_is_bounded() {
        let long = "x".repeat(60_000);
        let lines =
            show(&diff(format!("{long}A\n").as_bytes(), format!("{long}B\n").as_bytes(), false));
        assert!(lines.contains('A') && lines.contains('B') && lines.len() < 1000, "{lines}");

        let many: String = (0..30_000).map(|i| format!("{i}\n")).collect();
        let lines = show(&diff(many.as_bytes(), format!("{many}end\n").as_bytes(), false));
        assert_eq!(lines, "@line 29998\n 29997\n 29998\n 29999\n+end\n");

        let two: String = many.replacen("5\n", "5\nnew\n", 1).replace("\n20000\n", "\nchanged\n");
        let lines = show(&diff(many.as_bytes(), two.as_bytes(), false));
        assert!(
            lines.starts_with("@line 4\n 3\n 4\n 5\n+new\n 6\n 7\n 8\n#only 500 lines"),
            "{lines}"
        );

        let other: String = (0..30_000).map(|i| format!("{}\n", i * 7 + 1)).collect();
        let lines = diff(many.as_bytes(), other.as_bytes(), false);
        assert_eq!(lines.len(), MAX_LINES + 1);
        assert_eq!(lines.last().unwrap().tag, Tag::Note);
    }

    #[test]
    fn binary_content_is_a_hex_diff_around_the_first_difference() {
        let mut want = vec![0u8; 5000];
        let got = want.clone();
        want[4000] = 7;
        let text = show(&diff(&want, &got, false));
        assert!(text.starts_with("#binary: first difference at byte 4000;"), "{text}");
        assert!(text.contains("-00000fa0  07 00"), "{text}");
        assert!(text.contains("+00000fa0  00 00"), "{text}");
        assert!(text.lines().count() < 14, "{text}");
    }
}
