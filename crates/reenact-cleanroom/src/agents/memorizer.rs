//! `memorizer`: probes the reference and ships a lookup table of its answers. It shows how much of a suite can be had
//! without understanding anything.

use super::asking::{CutShort, KEEP as STREAM_CAP, ask};
use super::questions::{digests_before, first_step};
use crate::ctable::{self, Answer, End, FileOp, Key};
use crate::error::CleanroomError;
use crate::site::{Agent, AgentEnd, Budget, Site};
use crate::tree::SourceTree;
use reenact_model::observe::key_bytes as unkey;
use reenact_model::{Captured, Case, CaseObservation, Ended, Entry, EntryKind, FileSpec, NoBlobs};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of the whole table: what gcc compiles in a few seconds. Answers past it are left out.
const TABLE_CAP: usize = 24 << 20;

const COMPILE_SH: &str = "#!/bin/sh\nset -e\ncc -O1 -w -o executable main.c\n";

/// The `memorizer` agent.
pub struct Memorizer {
    /// What to ask (cases; only the input of their first step is looked at), in order of preference.
    pub probes: Vec<Case>,
    /// Questions at once; at least 1.
    pub workers: usize,
}

/// For the run's manifest.
pub(crate) fn memorizer_settings() -> BTreeMap<String, String> {
    [("stream_cap_bytes", STREAM_CAP), ("table_cap_bytes", TABLE_CAP)]
        .map(|(name, value)| (name.to_owned(), value.to_string()))
        .into()
}

impl Agent for Memorizer {
    fn name(&self) -> &str {
        "memorizer"
    }

    fn drive(&self, site: &Site<'_>) -> Result<AgentEnd, CleanroomError> {
        let probes = usable(&self.probes, site);
        let answers = ask(site, &probes, self.workers)?;
        if answers.cut_short == Some(CutShort::Stopped) {
            return Ok(AgentEnd::Interrupted);
        }
        let learned = learn(&probes, &answers.seen);
        if learned.left_out > 0 {
            let what = "answers do not fit into the table and are left out";
            site.live.note(&format!("{} {what}", learned.left_out));
        }
        site.live.doing("writing the table");
        let mut tree = SourceTree::with_compile_sh(COMPILE_SH);
        let source = ctable::program(&learned.table, learned.fallback.as_ref());
        tree.add("main.c", 0o644, source.into_bytes());
        tree.place(site.room)?;
        Ok(match answers.cut_short {
            Some(_) => AgentEnd::ExhaustedBudget { which: Budget::Wall },
            None => AgentEnd::Submitted,
        })
    }
}

/// The probes cut to their first step, each distinct one once. Those that refer to blobs are no use without a store, and
/// those on a terminal cannot be asked through the pipes of a command.
fn usable(probes: &[Case], site: &Site<'_>) -> Vec<Case> {
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    let (mut blobs, mut terminals) = (0, 0);
    for probe in probes.iter().filter(|p| !p.steps.is_empty()).map(first_step) {
        if !probe.blobs().is_empty() {
            blobs += 1;
        } else if probe.steps[0].tty.is_some() {
            terminals += 1;
        } else if seen.insert(probe.input_digest()) {
            out.push(probe);
        }
    }
    for (count, what) in [(blobs, "refer to stored blobs"), (terminals, "need a terminal")] {
        if count > 0 {
            site.live.note(&format!("{count} probes {what} and are left out"));
        }
    }
    out
}

struct Learned {
    table: BTreeMap<Key, Answer>,
    fallback: Option<Answer>,
    left_out: usize,
}

/// The table of answers, and the commonest error answer for everything else. Of probes with the same key (they differ in
/// environment, which the key does not see) the first is remembered.
fn learn(probes: &[Case], seen: &[Option<CaseObservation>]) -> Learned {
    let mut table = BTreeMap::new();
    let mut errors: BTreeMap<Answer, usize> = BTreeMap::new();
    let (mut size, mut left_out) = (0, 0);
    for (probe, seen) in probes.iter().zip(seen) {
        let Some((key, answer)) = seen.as_ref().and_then(|seen| remember(probe, seen)) else {
            continue;
        };
        let says_something = !answer.stdout.is_empty() || !answer.stderr.is_empty();
        if answer.files.is_empty() && says_something && matches!(answer.end, End::Exit(1..)) {
            *errors.entry(answer.clone()).or_default() += 1;
        }
        size += key.stdin.len() + key.files.values().map(Vec::len).sum::<usize>() + weight(&answer);
        if size > TABLE_CAP {
            left_out += 1;
        } else {
            table.entry(key).or_insert(answer);
        }
    }
    // The largest count; of equal counts the first in order, so that the choice does not depend on timing.
    let mut fallback: Option<(Answer, usize)> = None;
    for (answer, count) in errors {
        if fallback.as_ref().is_none_or(|(_, most)| count > *most) {
            fallback = Some((answer, count));
        }
    }
    Learned { table, fallback: fallback.map(|(answer, _)| answer), left_out }
}

fn weight(answer: &Answer) -> usize {
    let files: usize = answer
        .files
        .iter()
        .map(|op| if let FileOp::Write { bytes, .. } = op { bytes.len() } else { 0 })
        .sum();
    answer.stdout.len() + answer.stderr.len() + files
}

/// What one probe taught; `None` if one of our limits ended it, since that is no behaviour of the reference.
fn remember(probe: &Case, seen: &CaseObservation) -> Option<(Key, Answer)> {
    let step = probe.steps.first()?;
    let observation = seen.steps.first()?;
    let end = match &observation.ended {
        Ended::Exit { code } => End::Exit(*code),
        Ended::Signal { signal } => End::Signal(*signal),
        // The keys were over: a program that stays is replayed as one that ends, for lack of understanding.
        Ended::ScriptEnded { waiting_for: None } => End::Exit(0),
        _ => return None,
    };
    let stdin = match &step.stdin {
        Some(content) => content.bytes(&NoBlobs).ok()?.into_owned(),
        None => Vec::new(),
    };
    let argv = step.argv.iter().map(|a| a.as_bytes().to_vec()).collect();
    let key = Key { tty: step.tty.is_some(), argv, stdin, files: small_files(probe) };
    let answer = Answer {
        stdout: capped(&observation.stdout),
        stderr: capped(&observation.stderr),
        end,
        files: file_ops(probe, seen),
    };
    Some((key, answer))
}

/// The regular files a probe starts with; a large one is taken for the same whatever it holds.
fn small_files(probe: &Case) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut files = BTreeMap::new();
    for (path, spec) in &probe.files {
        if let FileSpec::File { content, .. } = spec
            && let Ok(bytes) = content.bytes(&NoBlobs)
            && bytes.len() <= STREAM_CAP
        {
            files.insert(path.as_bytes().to_vec(), bytes.into_owned());
        }
    }
    files
}

fn capped(stream: &Captured) -> Vec<u8> {
    let bytes = stream.inline_bytes();
    bytes[..bytes.len().min(STREAM_CAP)].to_vec()
}

/// What the reference did to the workspace, as changes in an order that works: removals from the deepest up, then
/// directories from the top down, then files and links.
fn file_ops(probe: &Case, seen: &CaseObservation) -> Vec<FileOp> {
    if seen.files_truncated {
        return Vec::new();
    }
    let mut ops = Vec::new();
    for path in before(probe).iter().rev().filter(|p| !seen.files.contains_key(*p)) {
        ops.push(FileOp::Remove { path: unkey(path) });
    }
    let digests = digests_before(probe);
    let existed = before(probe);
    let mut later = Vec::new();
    for (path, Entry { kind, mode }) in &seen.files {
        let mode = mode & 0o777;
        match kind {
            EntryKind::Dir if !existed.contains(path) => {
                ops.push(FileOp::MakeDir { path: unkey(path), mode });
            }
            EntryKind::File { sha256, content: Some(content), .. }
                if digests.get(path) != Some(sha256) =>
            {
                if let Ok(bytes) = content.bytes(&NoBlobs)
                    && bytes.len() <= STREAM_CAP
                {
                    later.push(FileOp::Write {
                        path: unkey(path),
                        mode,
                        bytes: bytes.into_owned(),
                    });
                }
            }
            EntryKind::Symlink { target } if !links_to(probe, path, target) => {
                later.push(FileOp::Link { path: unkey(path), target: unkey(target) });
            }
            _ => {}
        }
    }
    ops.append(&mut later);
    ops
}

/// Path keys of everything in the workspace before the probe, with the directories that its files imply.
fn before(probe: &Case) -> BTreeSet<String> {
    let key = |path: &str| reenact_model::observe::path_key(path.as_bytes());
    let mut found = BTreeSet::new();
    for path in probe.files.keys() {
        found.extend(path.match_indices('/').map(|(at, _)| key(&path[..at])));
        found.insert(key(path));
    }
    found
}

fn links_to(probe: &Case, path: &str, target: &str) -> bool {
    let key = |path: &str| reenact_model::observe::path_key(path.as_bytes());
    probe
        .files
        .iter()
        .any(|(p, spec)| matches!(spec, FileSpec::Symlink(t) if key(p) == path && key(t) == target))
}

#[cfg(test)]
mod tests {
    use super::super::questions::plain;
    use super::*;
    use proptest::prelude::*;
    use reenact_model::{Content, Digest, Observation, Resources};

    fn seen(ended: Ended, out: &[u8], err: &[u8]) -> CaseObservation {
        let step = Observation {
            ended,
            stdout: Captured::whole(out),
            stderr: Captured::whole(err),
            screen: None,
            resources: Resources::default(),
        };
        CaseObservation { steps: vec![step], ..CaseObservation::default() }
    }

    fn file(bytes: &[u8]) -> Entry {
        let kind = EntryKind::File {
            size: bytes.len() as u64,
            sha256: Digest::of(bytes),
            content: Some(Content::inline(bytes)),
        };
        Entry { kind, mode: 0o644 }
    }

    #[test]
    fn the_commonest_error_answers_unknown_input() {
        let probes = [&["a"], &["b"], &["c"], &["d"]].map(|a| plain(a));
        let error = |text: &[u8]| Some(seen(Ended::Exit { code: 2 }, b"", text));
        let seen = vec![
            error(b"bad"),
            error(b"usage"),
            error(b"usage"),
            Some(seen(Ended::Exit { code: 0 }, b"fine", b"")),
        ];
        let learned = learn(&probes, &seen);
        assert_eq!(learned.table.len(), 4);
        assert_eq!(learned.fallback.unwrap().stderr, b"usage");
    }

    #[test]
    fn limits_teach_nothing_and_signals_are_replayed() {
        let probe = plain(&["x"]);
        assert_eq!(
            remember(&probe, &seen(Ended::WallLimit { limit_ms: 9 }, b"partial", b"")),
            None
        );
        let (_, answer) = remember(&probe, &seen(Ended::Signal { signal: 11 }, b"", b"")).unwrap();
        assert_eq!(answer.end, End::Signal(11));
        let long = vec![b'x'; STREAM_CAP + 1];
        let (_, answer) = remember(&probe, &seen(Ended::Exit { code: 0 }, &long, b"")).unwrap();
        assert_eq!(answer.stdout.len(), STREAM_CAP);
    }

    #[test]
    fn changes_of_the_workspace_come_in_an_order_that_works() {
        let mut probe = plain(&[]);
        let text = |t: &str| FileSpec::File { content: Content::Text(t.into()), executable: false };
        probe.files.insert("keep".into(), text("same"));
        probe.files.insert("old/sub/x".into(), text("gone"));
        probe.files.insert("edit".into(), text("before"));
        probe.files.insert("ln".into(), FileSpec::Symlink("keep".into()));
        let mut observed = seen(Ended::Exit { code: 0 }, b"", b"");
        let dir = Entry { kind: EntryKind::Dir, mode: 0o755 };
        let link = |t: &str| Entry { kind: EntryKind::Symlink { target: t.into() }, mode: 0o777 };
        observed.files = [
            ("a/b".to_owned(), file(b"new")),
            ("a".to_owned(), dir),
            ("edit".to_owned(), file(b"after")),
            ("keep".to_owned(), file(b"same")),
            ("ln".to_owned(), link("keep")),
            ("ln2".to_owned(), link("edit")),
        ]
        .into();
        let write =
            |p: &str, b: &[u8]| FileOp::Write { path: p.into(), mode: 0o644, bytes: b.to_vec() };
        assert_eq!(
            file_ops(&probe, &observed),
            vec![
                FileOp::Remove { path: b"old/sub/x".to_vec() },
                FileOp::Remove { path: b"old/sub".to_vec() },
                FileOp::Remove { path: b"old".to_vec() },
                FileOp::MakeDir { path: b"a".to_vec(), mode: 0o755 },
                write("a/b", b"new"),
                write("edit", b"after"),
                FileOp::Link { path: b"ln2".to_vec(), target: b"edit".to_vec() },
            ]
        );
    }

    proptest! {
        #[test]
        fn path_keys_turn_back_into_their_bytes(name in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(unkey(&reenact_model::observe::path_key(&name)), name);
        }
    }
}
