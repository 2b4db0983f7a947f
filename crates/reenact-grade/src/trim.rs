//! What of an observation is kept in the journal and in results: enough to show a person what differed, bounded whatever
//! the program did.

use reenact_model::observe::{Captured, CaseObservation, Entry, EntryKind};
use reenact_model::{Content, FailKind, FailReason, Observation, Verdict};
use std::collections::BTreeMap;

/// Bytes kept of each stream, of a screen, and of each file.
pub const KEPT_BYTES: usize = 64 << 10;
/// Workspace entries kept.
const KEPT_ENTRIES: usize = 500;
/// Bytes of names, targets and contents kept of a workspace in all.
const KEPT_WORKSPACE: usize = 512 << 10;

/// The part of `seen` that is stored. Cut streams are marked `truncated`; a file's content is stored whole or not at all,
/// and its size and digest always.
pub fn trim(mut seen: CaseObservation) -> CaseObservation {
    for step in &mut seen.steps {
        trim_step(step);
    }
    let mut budget = KEPT_WORKSPACE;
    let mut kept = 0;
    let before = seen.files.len();
    seen.files = std::mem::take(&mut seen.files)
        .into_iter()
        .map_while(|(key, mut entry)| {
            kept += 1;
            let names = key.len() + target_len(&entry);
            if kept > KEPT_ENTRIES || names > budget {
                return None;
            }
            budget -= names;
            trim_entry(&mut entry, &mut budget);
            Some((key, entry))
        })
        .collect();
    seen.files_truncated |= seen.files.len() < before;
    seen
}

/// Reasons of one failure that are kept.
const KEPT_REASONS: usize = 40;
/// Bytes of one reason's text that are kept.
const KEPT_DETAIL: usize = 400;

/// The part of a verdict that is stored: a program that leaves ten thousand files behind fails for one more reason, not for
/// ten thousand. Kinds of failure are never lost: files come last, and what is left out is counted as one reason of its kind.
pub fn trim_verdict(mut verdict: Verdict) -> Verdict {
    if let Verdict::Fail { reasons } = &mut verdict {
        let rest = reasons.split_off(KEPT_REASONS.min(reasons.len()));
        let mut left_out: BTreeMap<(Option<usize>, FailKind), u64> = BTreeMap::new();
        for reason in rest {
            *left_out.entry((reason.step, reason.kind)).or_default() += 1;
        }
        for reason in reasons.iter_mut() {
            if reason.detail.len() > KEPT_DETAIL {
                reason.detail.truncate(char_boundary(&reason.detail, KEPT_DETAIL));
                reason.detail.push('…');
            }
        }
        reasons.extend(left_out.into_iter().map(|((step, kind), n)| FailReason {
            step,
            kind,
            detail: format!("and {n} more differences of this kind"),
        }));
    }
    verdict
}

/// Whether a verdict can be computed again from what is stored.
pub fn is_whole(seen: &CaseObservation) -> bool {
    !seen.files_truncated
        && seen.steps.iter().all(|step| {
            !step.stdout.truncated
                && !step.stderr.truncated
                && step.screen.as_ref().is_none_or(|s| s.len() + 4 <= KEPT_BYTES)
        })
        && seen.files.values().all(|e| !matches!(e.kind, EntryKind::File { content: None, .. }))
}

fn target_len(entry: &Entry) -> usize {
    match &entry.kind {
        EntryKind::Symlink { target } => target.len(),
        _ => 0,
    }
}

fn trim_step(step: &mut Observation) {
    trim_stream(&mut step.stdout);
    trim_stream(&mut step.stderr);
    if let Some(screen) = &mut step.screen {
        screen.truncate(char_boundary(screen, KEPT_BYTES));
    }
}

fn trim_stream(stream: &mut Captured) {
    let cut = match &stream.content {
        Content::Text(text) if text.len() > KEPT_BYTES => {
            Content::Text(text[..char_boundary(text, KEPT_BYTES)].to_owned())
        }
        Content::Hex(hex) if hex.0.len() > KEPT_BYTES => Content::inline(&hex.0[..KEPT_BYTES]),
        _ => return,
    };
    stream.content = cut;
    stream.truncated = true;
}

fn trim_entry(entry: &mut Entry, budget: &mut usize) {
    if let EntryKind::File { content, .. } = &mut entry.kind {
        let len = match content {
            Some(Content::Text(text)) => text.len(),
            Some(Content::Hex(hex)) => hex.0.len(),
            Some(Content::Blob(_)) | None => 0,
        };
        if len > KEPT_BYTES || len > *budget {
            *content = None;
        } else {
            *budget -= len;
        }
    }
}

/// The largest character boundary of `text` that is at most `at`.
fn char_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use reenact_model::Digest;
    use reenact_model::observe::{Ended, Resources};

    fn step(out: &[u8]) -> Observation {
        Observation {
            ended: Ended::Exit { code: 0 },
            stdout: Captured::whole(out),
            stderr: Captured::empty(),
            screen: None,
            resources: Resources::default(),
        }
    }

    fn file(len: usize) -> Entry {
        let bytes = vec![b'x'; len];
        let content = Some(Content::inline(&bytes));
        let kind = EntryKind::File { size: len as u64, sha256: Digest::of(&bytes), content };
        Entry { kind, mode: 0o644 }
    }

    #[test]
    fn small_observations_are_kept_as_they_are() {
        let files = [("a".to_owned(), file(10))].into();
        let seen = CaseObservation { steps: vec![step(b"hello")], files, files_truncated: false };
        assert_eq!(trim(seen.clone()), seen);
        assert!(is_whole(&seen));
    }

    #[test]
    fn long_streams_are_cut_at_a_character_and_marked() {
        let long = "é".repeat(KEPT_BYTES);
        let seen = CaseObservation { steps: vec![step(long.as_bytes())], ..Default::default() };
        let kept = trim(seen);
        let out = &kept.steps[0].stdout;
        assert_eq!(out.inline_bytes().len(), KEPT_BYTES);
        assert!(out.truncated && !is_whole(&kept));
        assert_eq!(out.len, long.len() as u64, "the length stays the fact");
        let kept =
            trim(CaseObservation { steps: vec![step(&vec![0xff; 100_000])], ..Default::default() });
        assert_eq!(kept.steps[0].stdout.inline_bytes().len(), KEPT_BYTES);
    }

    #[test]
    fn reasons_are_bounded_and_no_kind_is_lost() {
        let reason = |step, kind, detail: String| FailReason { step, kind, detail };
        let mut reasons = vec![reason(Some(0), FailKind::Exit, "é".repeat(1000))];
        reasons.extend((0..5000).map(|i| reason(None, FailKind::Files, format!("f{i}"))));
        reasons.push(reason(Some(7), FailKind::Script, "late".to_owned()));
        let Verdict::Fail { reasons: kept } = trim_verdict(Verdict::Fail { reasons }) else {
            panic!("a failure stays one")
        };
        assert_eq!(kept.len(), KEPT_REASONS + 2);
        assert_eq!(kept[0].detail.len(), KEPT_DETAIL + "…".len());
        let last = kept.last().unwrap();
        assert_eq!((last.step, last.kind), (Some(7), FailKind::Script));
        assert_eq!(kept[KEPT_REASONS].detail, "and 4961 more differences of this kind");
        assert_eq!(trim_verdict(Verdict::Pass), Verdict::Pass);
    }

    #[test]
    fn workspaces_are_bounded_in_entries_and_bytes() {
        let files = (0..10_000).map(|i| (format!("f{i:05}"), file(0))).collect();
        let kept = trim(CaseObservation { files, ..Default::default() });
        assert_eq!(kept.files.len(), KEPT_ENTRIES);
        assert!(kept.files_truncated);
        let files = (0..20).map(|i| (format!("f{i:02}"), file(KEPT_BYTES))).collect();
        let kept = trim(CaseObservation { files, ..Default::default() });
        let whole = kept
            .files
            .values()
            .filter(|e| matches!(e.kind, EntryKind::File { content: Some(_), .. }))
            .count();
        assert_eq!((kept.files.len(), whole, kept.files_truncated), (20, 7, false));
        assert!(!is_whole(&kept));
    }
}
