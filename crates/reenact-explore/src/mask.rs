//! Masks: what several observations of the same bytes have in common, and where they vary.

use reenact_model::expect::Masked;
use reenact_model::{Content, Matcher};

/// Longest span that may vary, bytes. Also the `max_gap` of every mask: a constant, so that two runs that happen to see
/// spans of different lengths still write the same suite.
pub const MAX_GAP: usize = 64;
/// Largest share of the bytes that may vary, percent.
const MAX_SHARE: usize = 25;
/// Longest bytes that are masked; anything longer that varies is dropped.
const MAX_LEN: usize = 64 << 10;

enum Piece {
    Literal(Vec<u8>),
    /// Varies; longest length seen.
    Gap(usize),
}

/// The matcher that all observations satisfy: exact where they agree, masked where little varies, `None` where too much does.
pub fn settle(observations: &[&[u8]]) -> Option<Settled> {
    let first = observations.first()?;
    if observations.iter().all(|o| o == first) {
        return Some(Settled::Exact);
    }
    if observations.iter().any(|o| o.len() > MAX_LEN) {
        return None;
    }
    let pieces = merge(align(observations, 0));
    let varying: usize = pieces.iter().map(|p| if let Piece::Gap(n) = p { *n } else { 0 }).sum();
    let longest = observations.iter().map(|o| o.len()).max().unwrap_or(0);
    let small = pieces.iter().all(|p| !matches!(p, Piece::Gap(n) if *n > MAX_GAP))
        && varying * 100 <= longest * MAX_SHARE;
    let masked = small.then(|| parts(pieces))?;
    let matcher = Matcher::Masked(masked.clone());
    let holds = |bytes: &[u8]| {
        matches!(reenact_model::judge::mismatch(&matcher, bytes, &reenact_model::NoBlobs), Ok(None))
    };
    observations.iter().all(|o| holds(o)).then_some(Settled::Masked(masked))
}

/// The outcome of [`settle`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Every observation is the same.
    Exact,
    /// Literal parts with small gaps.
    Masked(Masked),
}

fn parts(pieces: Vec<Piece>) -> Masked {
    let mut parts: Vec<Vec<u8>> = vec![Vec::new()];
    for piece in pieces {
        match piece {
            Piece::Literal(bytes) => {
                if let Some(last) = parts.last_mut() {
                    last.extend(bytes);
                }
            }
            Piece::Gap(_) => parts.push(Vec::new()),
        }
    }
    Masked { parts: parts.iter().map(|p| Content::inline(p)).collect(), max_gap: MAX_GAP }
}

fn merge(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut out: Vec<Piece> = Vec::new();
    for piece in pieces {
        match (out.last_mut(), piece) {
            (Some(Piece::Literal(a)), Piece::Literal(b)) => a.extend(b),
            (Some(Piece::Gap(a)), Piece::Gap(b)) => *a += b,
            (_, Piece::Literal(b)) if b.is_empty() => {}
            (_, piece) => out.push(piece),
        }
    }
    out
}

/// Aligns by tokens where there are equally many, else line by line, else by common prefix and suffix.
fn align(observations: &[&[u8]], depth: u8) -> Vec<Piece> {
    let first = observations[0];
    if observations.iter().all(|o| *o == first) {
        return vec![Piece::Literal(first.to_vec())];
    }
    let tokens: Vec<Vec<&[u8]>> = observations.iter().map(|o| tokenize(o)).collect();
    if let Some(pieces) = columns(&tokens) {
        return pieces;
    }
    let lines: Vec<Vec<&[u8]>> =
        observations.iter().map(|o| o.split_inclusive(|b| *b == b'\n').collect()).collect();
    if depth == 0 && lines[0].len() > 1 && lines.iter().all(|l| l.len() == lines[0].len()) {
        return (0..lines[0].len())
            .flat_map(|i| align(&lines.iter().map(|l| l[i]).collect::<Vec<_>>(), 1))
            .collect();
    }
    ends(&tokens)
}

/// Token by token, if every observation has the same separators in the same order.
fn columns(tokens: &[Vec<&[u8]>]) -> Option<Vec<Piece>> {
    let n = tokens[0].len();
    if tokens.iter().any(|t| t.len() != n) {
        return None;
    }
    let mut pieces = Vec::with_capacity(n);
    for i in 0..n {
        let first = tokens[0][i];
        if tokens.iter().all(|t| t[i] == first) {
            pieces.push(Piece::Literal(first.to_vec()));
        } else if tokens.iter().all(|t| is_word(t[i][0])) {
            pieces.push(Piece::Gap(tokens.iter().map(|t| t[i].len()).max().unwrap_or(0)));
        } else {
            return None;
        }
    }
    Some(pieces)
}

/// Whole tokens that all share at the start and at the end; one gap between.
fn ends(tokens: &[Vec<&[u8]>]) -> Vec<Piece> {
    let shortest = tokens.iter().map(Vec::len).min().unwrap_or(0);
    let same_at = |i: usize| tokens.iter().all(|t| t[i] == tokens[0][i]);
    let prefix = (0..shortest).take_while(|&i| same_at(i)).count();
    let same_from_end =
        |k: usize| tokens.iter().all(|t| t[t.len() - 1 - k] == tokens[0][tokens[0].len() - 1 - k]);
    let suffix = (0..shortest - prefix).take_while(|&k| same_from_end(k)).count();
    let head = tokens[0][..prefix].concat();
    let tail = tokens[0][tokens[0].len() - suffix..].concat();
    let gap = tokens
        .iter()
        .map(|t| t[prefix..t.len() - suffix].iter().map(|w| w.len()).sum())
        .max()
        .unwrap_or(0);
    vec![Piece::Literal(head), Piece::Gap(gap), Piece::Literal(tail)]
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"_.:+".contains(&b) || b >= 0x80
}

/// Runs of word bytes, and every other byte by itself: a number or an address is never cut in two.
fn tokenize(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.chunk_by(|a, b| is_word(*a) && is_word(*b)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use reenact_model::NoBlobs;
    use reenact_model::judge::mismatch;

    fn texts(masked: &Masked) -> Vec<String> {
        masked
            .parts
            .iter()
            .map(|p| String::from_utf8(p.bytes(&NoBlobs).unwrap().into_owned()).unwrap())
            .collect()
    }

    #[test]
    fn whole_tokens_are_masked() {
        let a = b"thread 'main' (1234) panicked at src/main.rs:5: index out of bounds\n";
        let b = b"thread 'main' (1239) panicked at src/main.rs:5: index out of bounds\n";
        let Some(Settled::Masked(m)) = settle(&[a, b]) else { panic!("not masked") };
        assert_eq!(
            texts(&m),
            ["thread 'main' (", ") panicked at src/main.rs:5: index out of bounds\n"]
        );
    }

    #[test]
    fn lines_of_different_lengths_are_aligned_line_by_line() {
        let a = b"head of the report\ntook 12 ms\nthe rest is always the same text, quite long\n";
        let b = b"head of the report\ntook 9 s and 3 ms\nthe rest is always the same text, quite long\n";
        let Some(Settled::Masked(m)) = settle(&[a, b]) else { panic!("not masked") };
        assert_eq!(texts(&m)[0], "head of the report\ntook ");
    }

    #[test]
    fn too_much_variation_is_refused() {
        assert_eq!(settle(&[b"abcdefgh", b"zyxwvuts"]), None);
        assert_eq!(settle(&[b"same", b"same"]), Some(Settled::Exact));
        let long =
            |c: char| format!("{}{}", "x ".repeat(500), c.to_string().repeat(65)).into_bytes();
        assert_eq!(settle(&[&long('a'), &long('b')]), None);
    }

    proptest! {
        #[test]
        fn masks_hold_for_what_they_came_from(
            words in proptest::collection::vec("[a-z]{1,6}[ \n,]", 8..40),
            changes in proptest::collection::vec((0usize..40, "[a-z0-9]{1,8}"), 0..4),
        ) {
            let plain = words.concat().into_bytes();
            let mut changed = words.clone();
            for (at, new) in changes {
                let at = at % changed.len();
                let end = changed[at].chars().last().unwrap();
                changed[at] = format!("{new}{end}");
            }
            let changed = changed.concat().into_bytes();
            if let Some(Settled::Masked(m)) = settle(&[&plain, &changed]) {
                for bytes in [&plain, &changed] {
                    prop_assert_eq!(mismatch(&Matcher::Masked(m.clone()), bytes, &NoBlobs).unwrap(), None);
                }
            }
        }

        #[test]
        fn never_panics(a in proptest::collection::vec(any::<u8>(), 0..80), b in proptest::collection::vec(any::<u8>(), 0..80)) {
            let settled = settle(&[&a, &b]);
            prop_assert!(a != b || settled == Some(Settled::Exact));
        }
    }
}
