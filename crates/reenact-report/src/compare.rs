//! One matcher against bytes, as lines to be shown.

use crate::diff::{Line, MAX_LINES, Tag, diff, lines_diff, plain, split};
use crate::visible::{MASK, text};
use reenact_model::content::MissingBlob;
use reenact_model::judge::mismatch;
use reenact_model::{BlobSource, Content, Masked, Matcher, NoBlobs};
use std::collections::BTreeMap;

/// How it was compared, where that is not byte for byte, and the difference.
type Difference = (Option<String>, Vec<Line>);

/// How `matcher` compares and where `got` differs; `None` if it holds.
pub(crate) fn difference(
    matcher: &Matcher,
    got: &[u8],
    blobs: &dyn BlobSource,
) -> Result<Option<Difference>, MissingBlob> {
    if mismatch(matcher, got, blobs)?.is_none() {
        return Ok(None);
    }
    Ok(Some(match matcher {
        Matcher::Ignore => return Ok(None),
        Matcher::Exact(want) => (None, diff(&want.bytes(blobs)?, got, false)),
        Matcher::Masked(masked) => masked_difference(masked, got, blobs)?,
        Matcher::LinesAnyOrder(want) => {
            let want = want.bytes(blobs)?;
            let (mut want, mut got) = (split(&want), split(got));
            want.sort_unstable();
            got.sort_unstable();
            let how = "the order of lines does not matter; both sides are sorted".to_owned();
            (Some(how), lines_diff(&want, &got, false))
        }
        Matcher::JsonEqual(want) => json_difference(&want.bytes(blobs)?, got),
        Matcher::Regex(pattern) => {
            let mut lines = vec![Line::note(format!("must match /{}/", text(pattern.as_bytes())))];
            lines.extend(plain(got, Tag::Actual, MAX_LINES));
            (Some("a regular expression".to_owned()), lines)
        }
    }))
}

fn json_difference(want: &[u8], got: &[u8]) -> Difference {
    let how = "compared as JSON; both sides are formatted anew".to_owned();
    match (pretty_json(want), pretty_json(got)) {
        (Some(want), Some(got)) => (Some(how), diff(want.as_bytes(), got.as_bytes(), false)),
        _ => {
            let mut lines = vec![Line::note("the actual text is not JSON")];
            lines.extend(diff(want, got, false));
            (Some("compared as JSON".to_owned()), lines)
        }
    }
}

/// JSON with sorted keys, one value a line.
fn pretty_json(bytes: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    // Going through a sorted map does not depend on how serde_json keeps its objects.
    fn sorted(value: serde_json::Value) -> serde_json::Value {
        match value {
            serde_json::Value::Object(map) => {
                let map: BTreeMap<String, _> =
                    map.into_iter().map(|(k, v)| (k, sorted(v))).collect();
                serde_json::Value::Object(map.into_iter().collect())
            }
            serde_json::Value::Array(items) => items.into_iter().map(sorted).collect(),
            other => other,
        }
    }
    serde_json::to_string_pretty(&sorted(value)).ok().map(|t| t + "\n")
}

/// Lines that a masked line allows for are taken for equal, so that only true differences show.
fn masked_difference(
    masked: &Masked,
    got: &[u8],
    blobs: &dyn BlobSource,
) -> Result<Difference, MissingBlob> {
    let mut want = Vec::new();
    for (i, part) in masked.parts.iter().enumerate() {
        if i > 0 {
            want.extend(MASK.to_string().bytes());
        }
        want.extend(part.bytes(blobs)?.iter());
    }
    let want_lines = split(&want);
    let patterns: Vec<(&[u8], Matcher)> = want_lines
        .iter()
        .filter_map(|l| Some((*l, line_matcher(l, masked.max_gap)?)))
        .take(200)
        .collect();
    let allowed = |line: &[u8]| {
        let fits = |m: &Matcher| matches!(mismatch(m, line, &NoBlobs), Ok(None));
        patterns.iter().find(|(_, m)| fits(m)).map(|(l, _)| *l)
    };
    let got_lines: Vec<&[u8]> = split(got).into_iter().map(|l| allowed(l).unwrap_or(l)).collect();
    let how = Some("⟨varies⟩ stands for bytes that differ from run to run".to_owned());
    let mut lines = lines_diff(&want_lines, &got_lines, true);
    if lines.is_empty() {
        lines.push(Line::note("differs where a varying span goes over a line's end"));
        lines.extend(diff(&want, got, true));
    }
    Ok((how, lines))
}

/// A matcher for one line with mask signs in it.
fn line_matcher(line: &[u8], max_gap: usize) -> Option<Matcher> {
    let line = std::str::from_utf8(line).ok().filter(|l| l.contains(MASK))?;
    let parts = line.split(MASK).map(|p| Content::Text(p.to_owned())).collect();
    Some(Matcher::Masked(Masked { parts, max_gap }))
}

/// What a matcher demands, without anything to compare with.
pub(crate) fn matcher_lines(matcher: &Matcher, blobs: &dyn BlobSource) -> Vec<Line> {
    let whole = |content: &Content| match content.bytes(blobs) {
        Ok(bytes) => plain(&bytes, Tag::Expected, MAX_LINES),
        Err(MissingBlob(digest)) => vec![Line::note(format!("blob {digest} is missing"))],
    };
    match matcher {
        Matcher::Ignore => vec![Line::note("anything")],
        Matcher::Exact(content) => whole(content),
        Matcher::LinesAnyOrder(content) => {
            let mut lines = vec![Line::note("these lines in any order")];
            lines.extend(whole(content));
            lines
        }
        Matcher::JsonEqual(content) => {
            let mut lines = vec![Line::note("this JSON value")];
            lines.extend(whole(content));
            lines
        }
        Matcher::Regex(pattern) => {
            vec![Line::note(format!("a match of /{}/", text(pattern.as_bytes())))]
        }
        Matcher::Masked(masked) => {
            let parts: Vec<String> = masked
                .parts
                .iter()
                .filter_map(|p| p.bytes(blobs).ok())
                .map(|b| String::from_utf8_lossy(&b).into_owned())
                .collect();
            let joined = parts.join(&MASK.to_string());
            let lines = split(joined.as_bytes());
            lines_diff(&lines, &[], true)
        }
    }
}
