//! Judging: an observation against an expectation. Pure; the same bytes give the same verdict.

use crate::case::{Case, FileSpec};
use crate::content::{BlobSource, Content, MissingBlob};
use crate::digest::Digest;
use crate::expect::{AfterExpect, ExitExpect, Expect, Masked, Matcher};
use crate::observe::{CaseObservation, Ended, Entry, EntryKind, Observation};
use crate::verdict::{FailKind, FailReason, Verdict};
use std::collections::{BTreeMap, BTreeSet};

/// A verdict, or the reason why none can be given.
pub type Judged = Result<Verdict, MissingBlob>;

/// Judges one case.
///
/// # Errors
/// [`MissingBlob`] if the case refers to a blob that `blobs` does not hold: a harness failure, not the program's.
pub fn judge(case: &Case, seen: &CaseObservation, blobs: &dyn BlobSource) -> Judged {
    let mut reasons = Vec::new();
    for (i, step) in case.steps.iter().enumerate() {
        let fail = |kind, detail| FailReason { step: Some(i), kind, detail };
        let Some(observation) = seen.steps.get(i) else {
            reasons.push(fail(
                FailKind::Script,
                "not reached: an earlier step ended the case".to_owned(),
            ));
            continue;
        };
        // Even a step that demands nothing must stay within its limits.
        let expect = step.expect.clone().unwrap_or_default();
        judge_step(&expect, observation, blobs, &mut |kind, detail| {
            reasons.push(fail(kind, detail))
        })?;
    }
    judge_files(case, seen, blobs, &mut |detail| {
        reasons.push(FailReason { step: None, kind: FailKind::Files, detail });
    })?;
    Ok(if reasons.is_empty() { Verdict::Pass } else { Verdict::Fail { reasons } })
}

fn judge_step(
    expect: &Expect,
    seen: &Observation,
    blobs: &dyn BlobSource,
    fail: &mut dyn FnMut(FailKind, String),
) -> Result<(), MissingBlob> {
    judge_end(expect.exit, &seen.ended, fail);
    let streams = [
        (&expect.stdout, &seen.stdout, FailKind::Stdout, "stdout"),
        (&expect.stderr, &seen.stderr, FailKind::Stderr, "stderr"),
    ];
    for (matchers, captured, kind, name) in streams {
        for matcher in matchers.iter().flatten() {
            if captured.truncated && *matcher != Matcher::Ignore {
                fail(
                    kind,
                    format!("{name}: only the first part of {} bytes was kept", captured.len),
                );
            } else {
                let bytes = captured.content.bytes(blobs)?;
                if let Some(detail) = mismatch(matcher, &bytes, blobs)? {
                    fail(kind, format!("{name}: {detail}"));
                }
            }
        }
    }
    for matcher in expect.screen.iter().flatten() {
        let screen = seen.screen.as_deref().unwrap_or_default();
        if let Some(detail) = mismatch(matcher, screen.as_bytes(), blobs)? {
            fail(FailKind::Screen, format!("screen: {detail}"));
        }
    }
    Ok(())
}

fn judge_end(expect: Option<ExitExpect>, ended: &Ended, fail: &mut dyn FnMut(FailKind, String)) {
    match ended {
        Ended::WallLimit { limit_ms } => {
            fail(FailKind::Timeout, format!("still running after {limit_ms} ms"))
        }
        Ended::CpuLimit { limit_ms } => {
            fail(FailKind::Timeout, format!("used {limit_ms} ms of CPU time"))
        }
        Ended::MemoryLimit { limit_bytes } => {
            fail(FailKind::Memory, format!("needed more than {} MiB", limit_bytes >> 20));
        }
        Ended::OutputLimit { stream, limit_bytes } => {
            fail(
                FailKind::OutputFlood,
                format!("wrote more than {limit_bytes} bytes to {stream:?}").to_lowercase(),
            );
        }
        Ended::ScriptEnded { waiting_for: Some(text) } => {
            fail(FailKind::Script, format!("the screen never showed {text:?}"));
        }
        Ended::ScriptEnded { waiting_for: None } => {
            // A program that is still running when the keys are over: only a demand on its end can fail here.
            if expect.is_some() {
                fail(FailKind::Script, "still running after the last key".to_owned());
            }
        }
        Ended::ExecFailed { what, .. } => {
            fail(FailKind::ExecFailed, format!("could not be executed: {what}"))
        }
        Ended::Exit { code } => match expect {
            Some(ExitExpect::Code(want)) if want != *code => {
                fail(FailKind::Exit, format!("exit {code}, expected {want}"))
            }
            Some(ExitExpect::Signal { signal }) => {
                fail(FailKind::Exit, format!("exit {code}, expected death by signal {signal}"));
            }
            _ => {}
        },
        Ended::Signal { signal } => match expect {
            Some(ExitExpect::Signal { signal: want }) if want == *signal => {}
            Some(ExitExpect::Signal { signal: want }) => {
                fail(FailKind::Crash, format!("died of signal {signal}, expected signal {want}"));
            }
            Some(ExitExpect::Code(want)) => {
                fail(FailKind::Crash, format!("died of signal {signal}, expected exit {want}"))
            }
            None => {}
        },
    }
}

/// Why `bytes` does not satisfy `matcher`; `None` if it does.
///
/// # Errors
/// [`MissingBlob`] if the matcher's content cannot be had.
pub fn mismatch(
    matcher: &Matcher,
    bytes: &[u8],
    blobs: &dyn BlobSource,
) -> Result<Option<String>, MissingBlob> {
    Ok(match matcher {
        Matcher::Ignore => None,
        Matcher::Exact(want) => {
            let want = want.bytes(blobs)?;
            (want.as_ref() != bytes).then(|| first_difference(&want, bytes))
        }
        Matcher::Masked(masked) => (!masked_matches(masked, bytes, blobs)?)
            .then(|| "differs outside the masked spans".into()),
        Matcher::LinesAnyOrder(want) => {
            let want = want.bytes(blobs)?;
            (sorted_lines(&want) != sorted_lines(bytes))
                .then(|| "other lines (order does not matter)".into())
        }
        Matcher::JsonEqual(want) => {
            let want: Result<serde_json::Value, _> = serde_json::from_slice(&want.bytes(blobs)?);
            match (want, serde_json::from_slice::<serde_json::Value>(bytes)) {
                (Ok(want), Ok(got)) => (want != got).then(|| "another JSON value".into()),
                (Err(_), _) => Some("the expectation is not JSON".into()),
                (_, Err(e)) => Some(format!("not JSON: {e}")),
            }
        }
        Matcher::Regex(pattern) => match regex::bytes::Regex::new(pattern) {
            Ok(re) => (!re.is_match(bytes)).then(|| format!("does not match /{pattern}/")),
            Err(_) => Some("the expectation is not a regular expression".into()),
        },
    })
}

fn sorted_lines(bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
    lines.sort_unstable();
    lines
}

fn first_difference(want: &[u8], got: &[u8]) -> String {
    if got.is_empty() {
        return format!("empty, expected {} bytes", want.len());
    }
    let at = want.iter().zip(got).position(|(a, b)| a != b).unwrap_or(want.len().min(got.len()));
    let line = want[..at].iter().filter(|b| **b == b'\n').count() + 1;
    format!("differs at byte {at} (line {line}); {} bytes, expected {}", got.len(), want.len())
}

/// Whether `bytes` is the parts in order with gaps of at most `max_gap`. Keeps the set of ends reachable after each part,
/// so the cost is bounded by parts x length x part length, whatever the input.
fn masked_matches(
    masked: &Masked,
    bytes: &[u8],
    blobs: &dyn BlobSource,
) -> Result<bool, MissingBlob> {
    let mut ends: BTreeSet<usize> = BTreeSet::new();
    for (i, part) in masked.parts.iter().enumerate() {
        let part = part.bytes(blobs)?;
        let last = i + 1 == masked.parts.len();
        let mut next = BTreeSet::new();
        if i == 0 {
            if bytes.starts_with(&part) {
                next.insert(part.len());
            }
        } else {
            let mut tried = 0;
            for &from in &ends {
                let to = from.saturating_add(masked.max_gap).min(bytes.len());
                for at in from.max(tried)..=to {
                    if bytes[at..].starts_with(&part) {
                        next.insert(at + part.len());
                    }
                }
                tried = to + 1;
            }
        }
        if last {
            return Ok(next.contains(&bytes.len()));
        }
        ends = next;
    }
    Ok(false)
}

fn judge_files(
    case: &Case,
    seen: &CaseObservation,
    blobs: &dyn BlobSource,
    fail: &mut dyn FnMut(String),
) -> Result<(), MissingBlob> {
    if case.after.is_empty() && seen.files_truncated {
        fail("more files than the sandbox lists".to_owned());
    }
    let before = expected_before(case);
    let mut names: BTreeSet<String> = seen.files.keys().cloned().collect();
    names.extend(before.keys().cloned());
    names.extend(case.after.keys().map(|p| crate::observe::path_key(p.as_bytes())));
    let after: BTreeMap<String, &AfterExpect> =
        case.after.iter().map(|(p, e)| (crate::observe::path_key(p.as_bytes()), e)).collect();
    for name in names {
        let got = seen.files.get(&name);
        let problem = match (after.get(&name), before.get(&name)) {
            (Some(expect), _) => after_mismatch(expect, got, blobs)?,
            (None, Some(Before::Spec(spec))) => unchanged_mismatch(spec, got, blobs)?,
            (None, Some(Before::ParentDir)) => match got.map(|e| &e.kind) {
                Some(EntryKind::Dir) => None,
                Some(_) => Some("is no longer a directory".to_owned()),
                None => Some("was removed".to_owned()),
            },
            // A directory that exists only to hold an expected file is implied by it.
            (None, None) if is_parent_of_expected(&name, &after, got) => None,
            (None, None) => Some("was not expected".to_owned()),
        };
        if let Some(problem) = problem {
            fail(format!("{name}: {problem}"));
        }
    }
    Ok(())
}

enum Before<'a> {
    Spec(&'a FileSpec),
    ParentDir,
}

/// The workspace as it was before the first step, with the directories that the files imply.
fn expected_before(case: &Case) -> BTreeMap<String, Before<'_>> {
    let mut before = BTreeMap::new();
    for (path, spec) in &case.files {
        for (at, _) in path.match_indices('/') {
            before
                .entry(crate::observe::path_key(&path.as_bytes()[..at]))
                .or_insert(Before::ParentDir);
        }
        before.insert(crate::observe::path_key(path.as_bytes()), Before::Spec(spec));
    }
    before
}

fn is_parent_of_expected(
    name: &str,
    after: &BTreeMap<String, &AfterExpect>,
    got: Option<&Entry>,
) -> bool {
    let prefix = format!("{name}/");
    matches!(got.map(|e| &e.kind), Some(EntryKind::Dir))
        && after.iter().any(|(path, e)| {
            path.starts_with(&prefix) && !matches!(e, AfterExpect::Absent | AfterExpect::Ignore)
        })
}

fn after_mismatch(
    expect: &AfterExpect,
    got: Option<&Entry>,
    blobs: &dyn BlobSource,
) -> Result<Option<String>, MissingBlob> {
    let Some(got) = got else {
        return Ok(match expect {
            AfterExpect::Absent | AfterExpect::Ignore => None,
            _ => Some("is missing".to_owned()),
        });
    };
    Ok(match (expect, &got.kind) {
        (AfterExpect::Ignore, _)
        | (AfterExpect::Dir, EntryKind::Dir)
        | (AfterExpect::Special, EntryKind::Special { .. }) => None,
        (AfterExpect::Absent, _) => Some("should not be there".to_owned()),
        (AfterExpect::Symlink(want), EntryKind::Symlink { target }) => {
            let want = crate::observe::path_key(want.as_bytes());
            (want != *target).then(|| format!("links to {target}, expected {want}"))
        }
        (AfterExpect::Exact(want), EntryKind::File { .. }) => {
            file_mismatch(want, &got.kind, blobs)?
        }
        (other, EntryKind::File { content, size, .. }) => match (other.matcher(), content) {
            (Some(matcher), Some(content)) => mismatch(&matcher, &content.bytes(blobs)?, blobs)?,
            (Some(_), None) => Some(format!("is too large to compare ({size} bytes)")),
            (None, _) => Some(format!("is a {}", kind_name(&got.kind))),
        },
        (_, kind) => Some(format!("is a {}", kind_name(kind))),
    })
}

/// Compares a regular file by digest first, so that files above the capture cap still compare.
fn file_mismatch(
    want: &Content,
    got: &EntryKind,
    blobs: &dyn BlobSource,
) -> Result<Option<String>, MissingBlob> {
    let EntryKind::File { sha256, content, size } = got else {
        return Ok(Some(format!("is a {}", kind_name(got))));
    };
    let want_digest = match want {
        Content::Blob(digest) => *digest,
        other => Digest::of(&other.bytes(blobs)?),
    };
    if want_digest == *sha256 {
        return Ok(None);
    }
    Ok(Some(match content {
        Some(content) => first_difference(&want.bytes(blobs)?, &content.bytes(blobs)?),
        None => format!("other content ({size} bytes)"),
    }))
}

fn unchanged_mismatch(
    spec: &FileSpec,
    got: Option<&Entry>,
    blobs: &dyn BlobSource,
) -> Result<Option<String>, MissingBlob> {
    let Some(got) = got else {
        return Ok(Some("was removed".to_owned()));
    };
    Ok(match spec {
        FileSpec::File { content, .. } => {
            file_mismatch(content, &got.kind, blobs)?.map(|what| format!("was changed: {what}"))
        }
        FileSpec::Symlink(target) => {
            after_mismatch(&AfterExpect::Symlink(target.clone()), Some(got), blobs)?
        }
        FileSpec::Dir => after_mismatch(&AfterExpect::Dir, Some(got), blobs)?,
    })
}

fn kind_name(kind: &EntryKind) -> &'static str {
    match kind {
        EntryKind::File { .. } => "regular file",
        EntryKind::Dir => "directory",
        EntryKind::Symlink { .. } => "symbolic link",
        EntryKind::Special { .. } => "special file",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::NoBlobs;

    fn masked(parts: &[&str], max_gap: usize) -> Matcher {
        let parts = parts.iter().map(|p| Content::Text((*p).to_owned())).collect();
        Matcher::Masked(Masked { parts, max_gap })
    }

    fn holds(m: &Matcher, bytes: &[u8]) -> bool {
        mismatch(m, bytes, &NoBlobs).unwrap().is_none()
    }

    #[test]
    fn masks_are_anchored_and_bounded() {
        let m = masked(&["pid ", " done\n"], 5);
        assert!(holds(&m, b"pid 123 done\n"));
        assert!(holds(&m, b"pid  done\n"));
        assert!(!holds(&m, b"pid 1234567 done\n"));
        assert!(!holds(&m, b"x pid 1 done\n"));
        assert!(!holds(&m, b"pid 1 done\nmore"));
        assert!(holds(&masked(&["", "b"], 3), b"aab"));
        assert!(holds(&masked(&["a", ""], 3), b"abbb"));
        assert!(!holds(&masked(&["a", ""], 3), b"abbbb"));
    }

    #[test]
    fn masks_backtrack_where_a_part_repeats() {
        let m = masked(&["a", "b", "bc"], 4);
        assert!(holds(&m, b"a-b-b-bc"));
        assert!(!holds(&m, b"a-----bc"));
    }

    #[test]
    fn a_step_that_demands_nothing_must_still_stay_within_its_limits() {
        let case = Case::parse(std::path::Path::new("t"), 1, r#"{"id":"c","steps":[{"argv":[]}]}"#)
            .unwrap();
        let step = |ended| Observation {
            ended,
            stdout: crate::observe::Captured::whole(b"anything"),
            stderr: crate::observe::Captured::empty(),
            screen: None,
            resources: Default::default(),
        };
        let verdict = |ended| {
            let seen = CaseObservation { steps: vec![step(ended)], ..Default::default() };
            judge(&case, &seen, &NoBlobs).unwrap()
        };
        assert!(verdict(Ended::Exit { code: 9 }).passed());
        assert!(!verdict(Ended::WallLimit { limit_ms: 1 }).passed());
    }

    #[test]
    fn unexpected_files_fail_in_both_directions() {
        let line = r#"{"id":"c","steps":[{"argv":[]}],"files":{"d/in":{"text":"a"}},"after":{"o/out":{"exact":{"text":"x"}}}}"#;
        let case = Case::parse(std::path::Path::new("t"), 1, line).unwrap();
        let step = Observation {
            ended: Ended::Exit { code: 0 },
            stdout: crate::observe::Captured::empty(),
            stderr: crate::observe::Captured::empty(),
            screen: None,
            resources: Default::default(),
        };
        let file = |text: &str| Entry {
            kind: EntryKind::File {
                size: text.len() as u64,
                sha256: Digest::of(text.as_bytes()),
                content: Some(Content::inline(text.as_bytes())),
            },
            mode: 0o644,
        };
        let dir = || Entry { kind: EntryKind::Dir, mode: 0o755 };
        let mut seen = CaseObservation { steps: vec![step], ..Default::default() };
        seen.files = [
            ("d".into(), dir()),
            ("d/in".into(), file("a")),
            ("o".into(), dir()),
            ("o/out".into(), file("x")),
        ]
        .into();
        assert_eq!(judge(&case, &seen, &NoBlobs), Ok(Verdict::Pass));
        seen.files.insert("extra".into(), file(""));
        assert!(!judge(&case, &seen, &NoBlobs).unwrap().passed());
        seen.files.remove("extra");
        seen.files.remove("d/in");
        assert!(!judge(&case, &seen, &NoBlobs).unwrap().passed());
        seen.files.insert("d/in".into(), file("changed"));
        assert!(!judge(&case, &seen, &NoBlobs).unwrap().passed());
    }
}
