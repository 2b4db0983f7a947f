//! One case as a person wants to see it.

use crate::channel::{channels, entry};
use crate::diff::Tag;
use crate::recipe::recipe;
use crate::term::{Look, Paint};
use crate::visible::text;
use crate::words;
use reenact_model::observe::path_key;
use reenact_model::run::CaseResult;
use reenact_model::{
    BlobSource, Case, CaseObservation, Digest, EntryKind, FileSpec, NoBlobs, Verdict,
};
use std::collections::{BTreeMap, BTreeSet};

/// Workspace entries listed.
const MAX_ENTRIES: usize = 100;

/// One line of the workspace listing.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct WorkEntry {
    /// `+` new, `-` removed, `~` changed, a blank for the same.
    pub mark: char,
    pub path: String,
    pub what: String,
}

/// The whole story of one case: its verdict, the commands to paste, the workspace, what failed, and the difference of every
/// channel that failed. `task` is the task's id; `blobs` the suite's store.
pub fn show_case(
    task: &str,
    case: &Case,
    result: &CaseResult,
    blobs: &dyn BlobSource,
    color: bool,
) -> String {
    let p = Paint { on: color };
    let mut out = heading(p, task, case, result);
    section(
        &mut out,
        p,
        "Run it yourself",
        "PROGRAM is the executable; start in an empty directory",
    );
    // Not indented: the end of a here-document must stand at the beginning of its line when this is pasted.
    out.push_str(&recipe(case));
    let work = workspace(case, result.observation.as_ref());
    if !work.is_empty() {
        section(&mut out, p, "Workspace", "+ new, ~ changed, - removed");
        for e in &work {
            let look = match e.mark {
                '+' | '~' | '-' => Look::Warn,
                _ => Look::Plain,
            };
            let line = format!("{} {}", e.mark, e.path);
            out.push_str(&format!("  {}  {}\n", p.text(look, &line), p.text(Look::Dim, &e.what)));
        }
    }
    let failed = matches!(result.verdict, Verdict::Fail { .. });
    if failed {
        section(&mut out, p, "What failed", "");
        for line in reasons(&result.verdict) {
            out.push_str(&format!("  {} {line}\n", p.text(Look::Bad, "✗")));
        }
    }
    for channel in channels(case, result, blobs) {
        let compared = channel.lines.iter().any(|l| matches!(l.tag, Tag::Expected | Tag::Actual));
        let legend = compared.then(|| "- expected, + actual".to_owned());
        let note: Vec<String> = legend.into_iter().chain(channel.how.clone()).collect();
        let note = note.join("; ");
        section(&mut out, p, &channel.title, &note);
        for line in &channel.lines {
            out.push_str(&format!("  {}\n", p.diff_line(line)));
        }
        if channel.lines.is_empty() {
            out.push_str(&format!("  {}\n", p.text(Look::Dim, "(empty)")));
        }
    }
    out
}

fn section(out: &mut String, p: Paint, title: &str, note: &str) {
    out.push_str(&format!("\n{}", p.text(Look::Heading, title)));
    if !note.is_empty() {
        out.push_str(&p.text(Look::Dim, &format!("  ({note})")));
    }
    out.push('\n');
}

fn heading(p: Paint, task: &str, case: &Case, result: &CaseResult) -> String {
    let (look, word) = verdict(&result.verdict);
    let mut out = format!(
        "{} · {} · {}\n",
        text(task.as_bytes()),
        p.text(Look::Heading, &text(case.id.as_bytes())),
        p.text(look, &word)
    );
    let mut facts = vec![format!("group {}", text(case.group.as_bytes()))];
    if let Some(origin) = &case.origin {
        let from = origin.from.as_ref().map(|f| format!(" from {f}")).unwrap_or_default();
        facts.push(text(format!("{}{from}", origin.kind).as_bytes()));
    }
    if !case.tags.is_empty() {
        let tags: Vec<String> = case.tags.iter().map(|t| text(t.as_bytes())).collect();
        facts.push(format!("tags {}", tags.join(", ")));
    }
    if result.wall_us > 0 {
        facts.push(format!("{}.{} ms", result.wall_us / 1000, result.wall_us % 1000 / 100));
    }
    if result.retries > 0 {
        let attempts = words::count(u64::from(result.retries), "attempt");
        facts.push(format!("{attempts} lost to harness errors before"));
    }
    out.push_str(&p.text(Look::Dim, &facts.join(" · ")));
    out.push('\n');
    out
}

/// A verdict in words.
pub(crate) fn verdict(verdict: &Verdict) -> (Look, String) {
    match verdict {
        Verdict::Pass => (Look::Good, "passed".to_owned()),
        Verdict::Fail { reasons } => {
            let kinds: BTreeSet<_> = reasons.iter().map(|r| r.kind).collect();
            let kinds: Vec<&str> = kinds.into_iter().map(words::kind).collect();
            (Look::Bad, format!("failed: {}", kinds.join(", ")))
        }
        Verdict::NotRun { why } => (Look::Warn, format!("not run: {}", text(why.as_bytes()))),
        Verdict::HarnessError { what } => {
            (Look::Warn, format!("harness error, no verdict: {}", text(what.as_bytes())))
        }
    }
}

/// The reasons of a failure, one line each.
pub(crate) fn reasons(verdict: &Verdict) -> Vec<String> {
    let Verdict::Fail { reasons } = verdict else { return Vec::new() };
    let many = reasons.iter().filter_map(|r| r.step).any(|s| s > 0);
    let mut out: Vec<String> = reasons
        .iter()
        .take(20)
        .map(|r| {
            let detail = text(r.detail.as_bytes());
            match r.step {
                Some(step) if many => format!("step {}: {detail}", step + 1),
                _ => detail,
            }
        })
        .collect();
    if reasons.len() > out.len() {
        out.push(format!("{} more", reasons.len() - out.len()));
    }
    out
}

/// The workspace before and after, by path.
pub(crate) fn workspace(case: &Case, seen: Option<&CaseObservation>) -> Vec<WorkEntry> {
    let before: BTreeMap<String, &FileSpec> =
        case.files.iter().map(|(p, s)| (path_key(p.as_bytes()), s)).collect();
    let implied: BTreeSet<String> = case
        .files
        .keys()
        .flat_map(|p| p.match_indices('/').map(|(at, _)| path_key(&p.as_bytes()[..at])))
        .collect();
    let mut names: BTreeSet<&String> = before.keys().collect();
    names.extend(seen.into_iter().flat_map(|s| s.files.keys()));
    let mut out: Vec<WorkEntry> = names
        .iter()
        .take(MAX_ENTRIES)
        .map(|name| {
            let spec = before.get(*name).copied();
            let got = seen.map(|s| s.files.get(*name));
            let mark = match (spec, got) {
                (_, None) => ' ',
                (Some(_), Some(None)) => '-',
                (None, Some(_)) if implied.contains(*name) => ' ',
                (None, Some(_)) => '+',
                (Some(spec), Some(Some(e))) if same(spec, &e.kind) => ' ',
                (Some(_), Some(Some(_))) => '~',
            };
            let what = match (got.flatten(), spec) {
                (Some(e), _) => entry(e),
                (None, Some(spec)) => spec_words(spec),
                (None, None) => String::new(),
            };
            WorkEntry { mark, path: text(name.as_bytes()), what }
        })
        .collect();
    if names.len() > MAX_ENTRIES {
        let what = format!("{} more entries", names.len() - MAX_ENTRIES);
        out.push(WorkEntry { mark: ' ', path: "…".to_owned(), what });
    }
    out
}

fn same(spec: &FileSpec, kind: &EntryKind) -> bool {
    match (spec, kind) {
        (FileSpec::Dir, EntryKind::Dir) => true,
        (FileSpec::Symlink(want), EntryKind::Symlink { target }) => {
            path_key(want.as_bytes()) == *target
        }
        (FileSpec::File { content, .. }, EntryKind::File { sha256, .. }) => {
            let digest = content.blob_digest();
            digest.or_else(|| content.bytes(&NoBlobs).ok().map(|b| Digest::of(&b))) == Some(*sha256)
        }
        _ => false,
    }
}

fn spec_words(spec: &FileSpec) -> String {
    match spec {
        FileSpec::Dir => "directory".to_owned(),
        FileSpec::Symlink(target) => format!("link to {}", text(target.as_bytes())),
        FileSpec::File { content, .. } => match content.bytes(&NoBlobs) {
            Ok(bytes) => format!("file, {}", words::bytes(bytes.len() as u64)),
            Err(_) => "file".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{case, judged, seen, step, unseen};
    use reenact_model::{Content, Ended, Entry};

    #[test]
    fn a_failing_case_is_told_whole() {
        let case = case(
            r#"{"id":"c-9f","group":"options","steps":[{"argv":["-w","40","Hi you"],"stdin":{"text":"a\n"},"env":{"TZ":"UTC"},
               "expect":{"exit":0,"stdout":[{"exact":{"text":"one\ntwo\n"}}]}}],
               "files":{"in.csv":{"text":"a,b\n"}},"tags":["error-path"],"origin":{"kind":"mined","from":"man:OPTIONS"}}"#,
        );
        let mut observed = seen(vec![step(Ended::Exit { code: 2 }, b"one\n2\n", b"")]);
        let file = |bytes: &[u8]| Entry {
            mode: 0o644,
            kind: EntryKind::File {
                size: bytes.len() as u64,
                sha256: Digest::of(bytes),
                content: Some(Content::inline(bytes)),
            },
        };
        observed.files =
            [("in.csv".to_owned(), file(b"a,b\n")), ("junk".to_owned(), file(b""))].into();
        let result = judged(&case, observed);
        let text = show_case("crate__x.1", &case, &result, &NoBlobs, false);
        let expected = "\
crate__x.1 · c-9f · failed: exit, stdout, files
group options · mined from man:OPTIONS · tags error-path · 1.5 ms

Run it yourself  (PROGRAM is the executable; start in an empty directory)
printf 'a,b\\n' >in.csv
printf 'a\\n' | TZ=UTC \"$PROGRAM\" -w 40 'Hi you'

Workspace  (+ new, ~ changed, - removed)
    in.csv  file, 4 bytes
  + junk  file, 0 bytes

What failed
  ✗ exit 2, expected 0
  ✗ stdout: differs at byte 4 (line 2); 6 bytes, expected 8
  ✗ junk: was not expected

exit  (- expected, + actual)
  - exit 0
  + exit 2

stdout  (- expected, + actual)
    one
  - two
  + 2

file junk
  # was not expected
";
        assert_eq!(text, expected);
    }

    #[test]
    fn hostile_bytes_never_reach_the_terminal() {
        let mut hostile = case(
            r#"{"id":"c","steps":[{"argv":["\u001b[2J"],"stdin":{"text":"\u0007"},"expect":{"stdout":[{"exact":{"text":"ok\n"}}]}}],
               "files":{"\u001b]0;x":{"text":"\u001b"}},"tags":["\u001b"]}"#,
        );
        hostile.group = "\x1bg".into();
        let mut observed = seen(vec![step(
            Ended::ExecFailed { errno: 8, what: "\x1b[31m".into() },
            b"\x1b[2J\x9b31m\n\x1b]52;c;AAAA\x07",
            b"\x1b[8m",
        )]);
        let bad = Entry { mode: 0, kind: EntryKind::Symlink { target: "\x1bt".into() } };
        observed.files.insert("a\x1b\nb".into(), bad);
        let result = judged(&hostile, observed);
        let shown = show_case("t\x1b", &hostile, &result, &NoBlobs, false);
        assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
        assert!(shown.contains("⟨ESC⟩[2J⟨9b⟩31m"), "{shown}");
        // With colours on, every escape is one of ours: a short list of SGR codes.
        let painted = show_case("t\x1b", &hostile, &result, &NoBlobs, true);
        for rest in painted.split('\x1b').skip(1) {
            let code = rest.split_once('m').map(|(c, _)| c).unwrap_or_default();
            assert!(
                code.starts_with('[') && code[1..].chars().all(|c| c.is_ascii_digit() || c == ';'),
                "{code:?}"
            );
        }
    }

    #[test]
    fn verdicts_that_are_no_failures_say_why() {
        let case = case(r#"{"id":"c","steps":[{"argv":["x"],"expect":{"exit":0}}]}"#);
        let not_run = unseen("c", Verdict::NotRun { why: "compile.sh failed".into() });
        let shown = show_case("t", &case, &not_run, &NoBlobs, false);
        assert!(
            shown.contains("not run: compile.sh failed")
                && shown.contains("expected exit\n    exit 0\n"),
            "{shown}"
        );
        let error = unseen("c", Verdict::HarnessError { what: "cell lost".into() });
        assert!(
            show_case("t", &case, &error, &NoBlobs, false)
                .contains("harness error, no verdict: cell lost")
        );
        assert!(
            show_case("t", &case, &unseen("c", Verdict::Pass), &NoBlobs, false)
                .contains("· passed\n")
        );
    }
}
