//! A line of `cases.jsonl`: parsing, writing it back, and judging made-up observations of it.
//!
//! The input is the line, and after the first 0xFF (which no UTF-8 holds) what the program is said to have written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reenact_model::{
    AfterExpect, BlobSource, Captured, Case, CaseObservation, Content, Digest, Ended, Entry,
    EntryKind, ExitExpect, FileSpec, Matcher, NoBlobs, Observation, Resources, Step, Verdict,
    judge, observe::path_key,
};
use std::borrow::Cow;
use std::path::Path;

/// Gives the same bytes for every digest, so that blobs are compared too.
struct OneBlob<'a>(&'a [u8]);

impl BlobSource for OneBlob<'_> {
    fn blob(&self, _: &Digest) -> Option<Cow<'_, [u8]>> {
        Some(Cow::Borrowed(self.0))
    }
}

fuzz_target!(|data: &[u8]| {
    let split = data.iter().position(|b| *b == 0xff).unwrap_or(data.len());
    let (line, output) = (&data[..split], data.get(split + 1..).unwrap_or_default());
    let Ok(line) = std::str::from_utf8(line) else { return };
    let file = Path::new("cases.jsonl");
    let case = match Case::parse(file, 7, line) {
        Ok(case) => case,
        Err(e) => return assert!(e.to_string().starts_with("cases.jsonl, line 7"), "{e}"),
    };

    let written = case.to_line();
    assert!(!written.contains('\n'), "a line holds no newline");
    let again = Case::parse(file, 7, &written).expect("what was written can be read");
    assert_eq!(case, again);
    assert_eq!(case.input_digest(), again.input_digest());
    assert_eq!(case.blobs(), again.blobs());

    for ended in [wanted_end(&case), Ended::WallLimit { limit_ms: 1 }] {
        for echo in [false, true] {
            let seen = observe(&case, &ended, output, echo);
            check_judgement(&case, &seen, &OneBlob(output));
            check_judgement(&case, &seen, &NoBlobs);
        }
    }
});

fn check_judgement(case: &Case, seen: &CaseObservation, blobs: &dyn BlobSource) {
    let judged = judge(case, seen, blobs);
    assert_eq!(judged, judge(case, seen, blobs), "the same bytes give the same verdict");
    let demands = case.steps.iter().zip(&seen.steps).filter(|(step, _)| step.expect.is_some());
    if demands.into_iter().any(|(_, o)| o.ended.is_limit()) {
        assert_ne!(judged, Ok(Verdict::Pass), "whatever hit a limit does not pass");
    }
    if let Ok(Verdict::Fail { reasons }) = judged {
        assert!(!reasons.is_empty());
        let broken = reasons.iter().find(|r| r.detail.contains("the expectation is not a regular"));
        assert_eq!(broken, None, "parsing checks expressions");
    }
}

fn wanted_end(case: &Case) -> Ended {
    match case.steps[0].expect.as_ref().and_then(|e| e.exit) {
        Some(ExitExpect::Signal { signal }) => Ended::Signal { signal },
        Some(ExitExpect::Code(code)) => Ended::Exit { code },
        None => Ended::Exit { code: 0 },
    }
}

/// An observation of every step. With `echo`, streams and files are what the expectation names, with `output` in the gaps;
/// else they are `output`.
fn observe(case: &Case, ended: &Ended, output: &[u8], echo: bool) -> CaseObservation {
    let step = |step: &Step| {
        let expect = step.expect.as_ref().filter(|_| echo);
        let bytes = |matchers: Option<&Vec<Matcher>>| match matchers.and_then(|m| m.first()) {
            Some(matcher) => satisfy(matcher, output),
            None => output.to_vec(),
        };
        let screen = bytes(expect.and_then(|e| e.screen.as_ref()));
        Observation {
            ended: ended.clone(),
            stdout: Captured::whole(&bytes(expect.and_then(|e| e.stdout.as_ref()))),
            stderr: Captured::whole(&bytes(expect.and_then(|e| e.stderr.as_ref()))),
            screen: step.tty.as_ref().map(|_| String::from_utf8_lossy(&screen).into_owned()),
            resources: Resources::default(),
        }
    };
    let mut seen = CaseObservation {
        steps: case.steps.iter().map(step).collect(),
        files_truncated: !echo && output.first() == Some(&b'!'),
        ..CaseObservation::default()
    };
    for (path, spec) in &case.files {
        let kind = match spec {
            FileSpec::File { content, .. } => file(&inline(content, output)),
            FileSpec::Symlink(target) => EntryKind::Symlink { target: path_key(target.as_bytes()) },
            FileSpec::Dir => EntryKind::Dir,
        };
        seen.files.insert(path_key(path.as_bytes()), Entry { kind, mode: 0o644 });
    }
    for (path, expect) in &case.after {
        let kind = match expect {
            AfterExpect::Dir if echo => EntryKind::Dir,
            AfterExpect::Symlink(to) if echo => {
                EntryKind::Symlink { target: path_key(to.as_bytes()) }
            }
            AfterExpect::Special if echo => EntryKind::Special { what: "fifo".to_owned() },
            AfterExpect::Absent if echo => continue,
            other => match other.matcher().filter(|_| echo) {
                Some(matcher) => file(&satisfy(&matcher, output)),
                None => file(output),
            },
        };
        seen.files.insert(path_key(path.as_bytes()), Entry { kind, mode: 0o644 });
    }
    seen
}

fn file(bytes: &[u8]) -> EntryKind {
    let content = (bytes.len() < 1000).then(|| Content::inline(bytes));
    EntryKind::File { size: bytes.len() as u64, sha256: Digest::of(bytes), content }
}

fn inline(content: &Content, output: &[u8]) -> Vec<u8> {
    match content.bytes(&OneBlob(output)) {
        Ok(bytes) => bytes.into_owned(),
        Err(e) => panic!("OneBlob holds everything: {e}"),
    }
}

/// Bytes near to what `matcher` demands.
fn satisfy(matcher: &Matcher, output: &[u8]) -> Vec<u8> {
    match matcher {
        Matcher::Exact(c) | Matcher::JsonEqual(c) => inline(c, output),
        Matcher::LinesAnyOrder(c) => {
            let bytes = inline(c, output);
            let mut lines: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
            lines.reverse();
            lines.join(&b'\n')
        }
        Matcher::Masked(m) => {
            let parts: Vec<Vec<u8>> = m.parts.iter().map(|p| inline(p, output)).collect();
            parts.join(output)
        }
        Matcher::Regex(_) | Matcher::Ignore => output.to_vec(),
    }
}
