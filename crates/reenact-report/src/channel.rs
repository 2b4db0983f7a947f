//! One case as data to be shown: what was demanded, what was seen, and where they differ. Terminal and page render this.

use crate::compare::{difference, matcher_lines};
use crate::diff::{Line, Tag, plain};
use crate::visible::text;
use crate::words;
use reenact_model::content::MissingBlob;
use reenact_model::run::CaseResult;
use reenact_model::{
    AfterExpect, BlobSource, Captured, Case, Content, Entry, EntryKind, Expect, FailKind, FileSpec,
    Matcher, Observation, Verdict,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Lines of something that is shown beside the difference, not compared.
const ASIDE_LINES: usize = 20;

/// One block: a channel of a step, or a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Channel {
    /// `stdout`, `step 2 · exit`, `file out.csv`, …
    pub title: String,
    /// How it was compared, where that is not byte for byte.
    pub how: Option<String>,
    pub lines: Vec<Line>,
}

impl Channel {
    fn new(title: String, lines: Vec<Line>) -> Self {
        Self { title, how: None, lines }
    }
}

/// The blocks of a case: for a failure what differs and what helps to understand it, otherwise what is expected.
pub(crate) fn channels(case: &Case, result: &CaseResult, blobs: &dyn BlobSource) -> Vec<Channel> {
    let Verdict::Fail { reasons } = &result.verdict else {
        return expected(case, blobs);
    };
    let mut out = Vec::new();
    for (i, step) in case.steps.iter().enumerate() {
        let title = |name: &str| match case.steps.len() {
            1 => name.to_owned(),
            _ => format!("step {} · {name}", i + 1),
        };
        let seen = result.observation.as_ref().and_then(|o| o.steps.get(i));
        let failed: BTreeSet<FailKind> =
            reasons.iter().filter(|r| r.step == Some(i)).map(|r| r.kind).collect();
        match (&step.expect, seen) {
            (Some(expect), Some(seen)) => {
                step_channels(expect, seen, &failed, blobs, &title, &mut out)
            }
            // Without an observation the reasons are all there is; `show` prints them.
            _ => continue,
        }
    }
    file_channels(case, result, blobs, &mut out);
    out
}

fn step_channels(
    expect: &Expect,
    seen: &Observation,
    failed: &BTreeSet<FailKind>,
    blobs: &dyn BlobSource,
    title: &dyn Fn(&str) -> String,
    out: &mut Vec<Channel>,
) {
    // Kinds are ordered so that everything up to `Exit` is about the step's end.
    if failed.iter().any(|k| *k <= FailKind::Exit) {
        let want = expect.exit.map_or("to be alive until the end".to_owned(), words::exit_expect);
        let lines = vec![
            Line::ours(Tag::Expected, want),
            Line::ours(Tag::Actual, words::ended(&seen.ended)),
        ];
        out.push(Channel::new(title("exit"), lines));
    }
    for (name, kind, matchers, stream) in [
        ("stdout", FailKind::Stdout, &expect.stdout, &seen.stdout),
        ("stderr", FailKind::Stderr, &expect.stderr, &seen.stderr),
    ] {
        if failed.contains(&kind) {
            for matcher in matchers.iter().flatten() {
                out.extend(compared(&title(name), matcher, stream, blobs));
            }
        } else if name == "stderr" && !failed.is_empty() && stream.len > 0 {
            let mut channel =
                Channel::new(title(name), plain(stream.inline_bytes(), Tag::Same, ASIDE_LINES));
            channel.how = Some(match matchers {
                Some(m) if m.iter().any(|m| *m != Matcher::Ignore) => "as expected".to_owned(),
                _ => "as seen; not compared".to_owned(),
            });
            out.push(channel);
        }
    }
    if failed.contains(&FailKind::Screen) {
        let screen = Captured::whole(seen.screen.as_deref().unwrap_or_default().as_bytes());
        for matcher in expect.screen.iter().flatten() {
            out.extend(compared(&title("screen"), matcher, &screen, blobs).map(|mut c| {
                c.how.get_or_insert_with(|| {
                    "⟨PAGE⟩ stands between the screens before each key".to_owned()
                });
                c
            }));
        }
    }
}

/// A stream against one matcher; `None` if it holds.
fn compared(
    title: &str,
    matcher: &Matcher,
    stream: &Captured,
    blobs: &dyn BlobSource,
) -> Option<Channel> {
    let got = stream.inline_bytes();
    let (how, mut lines) = match difference(matcher, got, blobs) {
        Ok(None) if !stream.truncated || *matcher == Matcher::Ignore => return None,
        Ok(found) => found.unwrap_or_default(),
        Err(MissingBlob(digest)) => (None, vec![Line::note(format!("blob {digest} is missing"))]),
    };
    if stream.truncated {
        let note = format!(
            "only the first {} of {} were kept",
            words::bytes(got.len() as u64),
            words::bytes(stream.len)
        );
        lines.insert(0, Line::note(note));
    }
    Some(Channel { title: title.to_owned(), how, lines })
}

/// The files that failed, each by itself.
fn file_channels(case: &Case, result: &CaseResult, blobs: &dyn BlobSource, out: &mut Vec<Channel>) {
    let (Verdict::Fail { reasons }, Some(seen)) = (&result.verdict, &result.observation) else {
        return;
    };
    let key = |path: &String| reenact_model::observe::path_key(path.as_bytes());
    let before: BTreeMap<String, &FileSpec> = case.files.iter().map(|(p, s)| (key(p), s)).collect();
    let after: BTreeMap<String, &AfterExpect> =
        case.after.iter().map(|(p, e)| (key(p), e)).collect();
    let names: BTreeSet<&String> =
        seen.files.keys().chain(before.keys()).chain(after.keys()).collect();
    for reason in reasons.iter().filter(|r| r.step.is_none() && r.kind == FailKind::Files) {
        // A detail begins with the path it is about; the longest path that fits is the one meant.
        let about = |n: &&&String| {
            reason.detail.strip_prefix(n.as_str()).is_some_and(|rest| rest.starts_with(": "))
        };
        let Some(name) = names.iter().filter(about).max_by_key(|n| n.len()) else { continue };
        let want = match (after.get(*name), before.get(*name)) {
            (Some(expect), _) => Want::After(expect),
            (None, Some(FileSpec::File { content, .. })) => Want::Unchanged(content),
            _ => Want::Nothing,
        };
        let title = format!("file {}", text(name.as_bytes()));
        let problem = reason.detail[name.len() + 2..].to_owned();
        out.push(file_channel(title, &problem, &want, seen.files.get(*name), blobs));
    }
}

enum Want<'a> {
    After(&'a AfterExpect),
    Unchanged(&'a Content),
    Nothing,
}

fn file_channel(
    title: String,
    problem: &str,
    want: &Want<'_>,
    got: Option<&Entry>,
    blobs: &dyn BlobSource,
) -> Channel {
    let matcher = match want {
        Want::After(expect) => expect.matcher(),
        Want::Unchanged(content) => Some(Matcher::Exact((*content).clone())),
        Want::Nothing => None,
    };
    let got_bytes = match got.map(|e| &e.kind) {
        Some(EntryKind::File { content: Some(content), .. }) => content.bytes(blobs).ok(),
        _ => None,
    };
    let mut channel = Channel::new(title, vec![Line::note(text(problem.as_bytes()))]);
    match (&matcher, &got_bytes) {
        (Some(matcher), Some(bytes)) => match difference(matcher, bytes, blobs) {
            Ok(Some((how, lines))) => {
                channel.how = how;
                channel.lines = lines;
            }
            Ok(None) => {}
            Err(MissingBlob(digest)) => {
                channel.lines.push(Line::note(format!("blob {digest} is missing")));
            }
        },
        (Some(matcher), None) => {
            channel.lines.extend(matcher_lines(matcher, blobs));
            channel.lines.extend(got.map(|e| Line::ours(Tag::Actual, entry(e))));
        }
        (None, Some(bytes)) => channel.lines.extend(plain(bytes, Tag::Actual, ASIDE_LINES)),
        (None, None) => {
            if let Want::After(expect) = want {
                channel.lines.push(Line::ours(Tag::Expected, after_words(expect)));
            }
            channel.lines.extend(got.map(|e| Line::ours(Tag::Actual, entry(e))));
        }
    }
    channel
}

/// An expectation of a path that is not about bytes.
fn after_words(expect: &AfterExpect) -> String {
    match expect {
        AfterExpect::Absent => "nothing".to_owned(),
        AfterExpect::Dir => "a directory".to_owned(),
        AfterExpect::Symlink(target) => format!("a link to {}", text(target.as_bytes())),
        AfterExpect::Special => "a special file".to_owned(),
        AfterExpect::Ignore => "anything".to_owned(),
        _ => "a regular file".to_owned(),
    }
}

/// A workspace entry in words.
pub(crate) fn entry(entry: &Entry) -> String {
    match &entry.kind {
        EntryKind::File { size, .. } => format!("file, {}", words::bytes(*size)),
        EntryKind::Dir => "directory".to_owned(),
        EntryKind::Symlink { target } => format!("link to {}", text(target.as_bytes())),
        EntryKind::Special { what } => text(what.as_bytes()),
    }
}

/// What is expected of every step, for cases that have nothing to be compared with.
fn expected(case: &Case, blobs: &dyn BlobSource) -> Vec<Channel> {
    let mut out = Vec::new();
    for (i, step) in case.steps.iter().enumerate() {
        let Some(expect) = &step.expect else { continue };
        let title = |name: &str| match case.steps.len() {
            1 => format!("expected {name}"),
            _ => format!("step {} · expected {name}", i + 1),
        };
        if let Some(exit) = expect.exit {
            let line = Line::ours(Tag::Same, words::exit_expect(exit));
            out.push(Channel::new(title("exit"), vec![line]));
        }
        for (name, matchers) in
            [("stdout", &expect.stdout), ("stderr", &expect.stderr), ("screen", &expect.screen)]
        {
            for matcher in matchers.iter().flatten() {
                let mut lines = matcher_lines(matcher, blobs);
                lines.iter_mut().filter(|l| l.tag == Tag::Expected).for_each(|l| l.tag = Tag::Same);
                if !lines.is_empty() {
                    out.push(Channel::new(title(name), lines));
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{case, judged, seen, step};
    use reenact_model::{Digest, Ended, NoBlobs};

    fn show(channels: &[Channel]) -> String {
        let mut out = String::new();
        for c in channels {
            out.push_str(&format!("== {}\n", c.title));
            for l in &c.lines {
                let mark = match l.tag {
                    Tag::Same => ' ',
                    Tag::Expected => '-',
                    Tag::Actual => '+',
                    Tag::Skip => '@',
                    Tag::Note => '#',
                };
                let text: String = l.spans.iter().map(|s| s.text.as_str()).collect();
                out.push_str(&format!("{mark}{text}\n"));
            }
        }
        out
    }

    fn on(json: &str, got: &[u8]) -> String {
        let case = case(json);
        let result = judged(&case, seen(vec![step(Ended::Exit { code: 0 }, got, b"")]));
        show(&channels(&case, &result, &NoBlobs))
    }

    #[test]
    fn every_kind_of_matcher_reads_well() {
        let masked = r#"{"id":"c","steps":[{"expect":{"stdout":[{"masked":{"parts":[{"text":"pid "},{"text":"\nok\n"}],"max_gap":9}}]}}]}"#;
        assert_eq!(on(masked, b"pid 123\nno\n"), "== stdout\n pid ⟨varies⟩\n-ok\n+no\n");
        let lines =
            r#"{"id":"c","steps":[{"expect":{"stdout":[{"lines_any_order":{"text":"b\na\n"}}]}}]}"#;
        assert_eq!(on(lines, b"a\nc\n"), "== stdout\n a\n-b\n+c\n");
        let json = r#"{"id":"c","steps":[{"expect":{"stdout":[{"json_equal":{"text":"{\"b\":1,\"a\":2}"}}]}}]}"#;
        assert_eq!(
            on(json, b"{\"a\":2,\"b\":3}"),
            "== stdout\n {\n   \"a\": 2,\n-  \"b\": 1\n+  \"b\": 3\n }\n"
        );
        assert!(on(json, b"oops\n").contains("#the actual text is not JSON\n"));
        let regex = r#"{"id":"c","steps":[{"expect":{"stdout":[{"regex":"^v[0-9]+"}]}}]}"#;
        assert_eq!(on(regex, b"none\n"), "== stdout\n#must match /^v[0-9]+/\n+none\n");
    }

    #[test]
    fn only_what_failed_is_shown_with_stderr_as_a_help() {
        let case = case(
            r#"{"id":"c","steps":[{"expect":{"exit":0,"stdout":[{"exact":{"text":"x\n"}}]}},{"argv":["2"],"expect":{"exit":0}}]}"#,
        );
        let steps = vec![
            step(Ended::Exit { code: 0 }, b"x\n", b"noise\n"),
            step(Ended::Exit { code: 2 }, b"", b"error: what?\n"),
        ];
        let text = show(&channels(&case, &judged(&case, seen(steps)), &NoBlobs));
        assert_eq!(text, "== step 2 · exit\n-exit 0\n+exit 2\n== step 2 · stderr\n error: what?\n");
    }

    #[test]
    fn files_are_compared_one_by_one() {
        let case = case(
            r#"{"id":"c","steps":[{"argv":[]}],"files":{"in: x":{"text":"a\n"}},
               "after":{"out":{"exact":{"text":"1\n2\n"}},"gone":{"exact":{"text":"z\n"}},"no":"absent"}}"#,
        );
        let file = |bytes: &[u8]| Entry {
            mode: 0o644,
            kind: EntryKind::File {
                size: bytes.len() as u64,
                sha256: Digest::of(bytes),
                content: Some(Content::inline(bytes)),
            },
        };
        let mut observed = seen(vec![step(Ended::Exit { code: 0 }, b"", b"")]);
        observed.files = [("in: x", file(b"b\n")), ("out", file(b"1\n3\n")), ("no", file(b"!"))]
            .map(|(n, e)| (n.to_owned(), e))
            .into();
        let text = show(&channels(&case, &judged(&case, observed), &NoBlobs));
        assert_eq!(
            text,
            "== file gone\n#is missing\n-z\n== file in: x\n-a\n+b\n\
             == file no\n#should not be there\n+!⟨no newline⟩\n== file out\n 1\n-2\n+3\n"
        );
    }

    #[test]
    fn cut_streams_say_so_and_a_missing_blob_is_no_difference() {
        let case_ =
            case(r#"{"id":"c","steps":[{"expect":{"stdout":[{"exact":{"text":"abc"}}]}}]}"#);
        let mut observed = seen(vec![step(Ended::Exit { code: 0 }, b"abc", b"")]);
        observed.steps[0].stdout.truncated = true;
        observed.steps[0].stdout.len = 999;
        let text = show(&channels(&case_, &judged(&case_, observed), &NoBlobs));
        assert_eq!(text, "== stdout\n#only the first 3 bytes of 999 bytes were kept\n");

        let blob = format!(
            r#"{{"id":"c","steps":[{{"expect":{{"stdout":[{{"exact":{{"blob":"{}"}}}}]}}}}]}}"#,
            Digest::of(b"lost")
        );
        let case_ = case(&blob);
        let mut result = judged(
            &case(r#"{"id":"c","steps":[{}]}"#),
            seen(vec![step(Ended::Exit { code: 0 }, b"x", b"")]),
        );
        result.verdict = crate::fixtures::fail(FailKind::Stdout, "stdout: differs");
        assert!(show(&channels(&case_, &result, &NoBlobs)).contains("is missing"));
    }

    #[test]
    fn a_case_without_a_failure_shows_what_is_expected() {
        let case = case(
            r#"{"id":"c","steps":[{"expect":{"exit":{"signal":6},"stdout":[{"exact":{"text":"x\n"}}]}}]}"#,
        );
        let result = crate::fixtures::unseen("c", Verdict::NotRun { why: "no build".into() });
        assert_eq!(
            show(&channels(&case, &result, &NoBlobs)),
            "== expected exit\n died of signal 6 (SIGABRT)\n== expected stdout\n x\n"
        );
    }
}
