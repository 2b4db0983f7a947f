//! From observations to an expectation: exact where they agree, masked where little varies, a reason to drop otherwise.

use crate::environment::Environment;
use crate::facts::{channels, untouched};
use crate::mask::{Settled, settle};
use reenact_model::expect::{AfterExpect, ExitExpect, Expect};
use reenact_model::{Case, CaseObservation, Content, Digest, Ended, EntryKind, Matcher};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Largest expected output of one channel, bytes; more makes suites heavy and says little.
const MAX_CHANNEL: usize = 256 << 10;

/// A case with its expectations, and the blobs they refer to.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    pub case: Case,
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    pub masked: bool,
}

/// Builds the expectation from observations of the same case; the first is the plain one.
///
/// # Errors
/// The channel that varies too much (`exit`, `stdout`, `stderr`, `screen`, `files`), or `environment`, `too-large`,
/// `odd-name`, `unjudgeable`.
pub fn record(
    case: &Case,
    seen: &[&CaseObservation],
    environment: &Environment,
) -> Result<Recorded, &'static str> {
    let mut out = Recorded { case: case.clone(), blobs: BTreeMap::new(), masked: false };
    let first = *seen.first().ok_or("unjudgeable")?;
    for i in 0..case.steps.len() {
        let observations: Vec<_> =
            seen.iter().map(|s| s.steps.get(i)).collect::<Option<_>>().ok_or("exit")?;
        if observations.iter().any(|o| o.ended != observations[0].ended) {
            return Err("exit");
        }
        let mut expect = Expect { exit: exit_of(&observations[0].ended), ..Expect::default() };
        for (k, (name, _)) in channels(&case.steps[i], observations[0]).into_iter().enumerate() {
            let bytes: Vec<&[u8]> =
                observations.iter().map(|o| channels(&case.steps[i], o)[k].1).collect();
            let matcher = vec![out.matcher(name, &bytes, environment)?];
            match name {
                "stdout" => expect.stdout = Some(matcher),
                "stderr" => expect.stderr = Some(matcher),
                _ => expect.screen = Some(matcher),
            }
        }
        out.case.steps[i].expect = Some(expect);
    }
    out.after(case, first, seen, environment)?;
    if out.masked {
        out.case.tags.insert("masked".to_owned());
    }
    out.verify(case, seen)?;
    Ok(out)
}

fn exit_of(ended: &Ended) -> Option<ExitExpect> {
    match ended {
        Ended::Exit { code } => Some(ExitExpect::Code(*code)),
        Ended::Signal { signal } => Some(ExitExpect::Signal { signal: *signal }),
        _ => None,
    }
}

impl Recorded {
    fn content(&mut self, bytes: &[u8]) -> Content {
        let (content, blob) = Content::for_storage(bytes);
        self.blobs.extend(blob);
        content
    }

    fn matcher(
        &mut self,
        channel: &'static str,
        seen: &[&[u8]],
        environment: &Environment,
    ) -> Result<Matcher, &'static str> {
        if seen.iter().any(|b| b.len() > MAX_CHANNEL) {
            return Err("too-large");
        }
        if environment.shows_host(seen[0]) {
            return Err("environment");
        }
        let mut all: Vec<Cow<'_, [u8]>> = seen.iter().map(|b| Cow::Borrowed(*b)).collect();
        let other_day = environment.another_day(seen[0]);
        let dated = other_day.is_some();
        all.extend(other_day.map(Cow::Owned));
        let views: Vec<&[u8]> = all.iter().map(AsRef::as_ref).collect();
        match settle(&views) {
            Some(Settled::Exact) => Ok(Matcher::Exact(self.content(seen[0]))),
            Some(Settled::Masked(masked)) => {
                self.masked = true;
                Ok(Matcher::Masked(masked))
            }
            None if dated && seen.iter().all(|b| b == &seen[0]) => Err("environment"),
            None => Err(channel),
        }
    }

    /// What differs from the files that the case placed.
    fn after(
        &mut self,
        case: &Case,
        first: &CaseObservation,
        seen: &[&CaseObservation],
        environment: &Environment,
    ) -> Result<(), &'static str> {
        let names = |s: &CaseObservation| s.files.keys().cloned().collect::<BTreeSet<String>>();
        if seen.iter().any(|s| names(s) != names(first)) {
            return Err("files");
        }
        for (name, entry) in &first.files {
            let kept = case.files.get(name).is_some_and(|spec| untouched(spec, &entry.kind));
            let parent = format!("{name}/");
            let implied =
                entry.kind == EntryKind::Dir && case.files.keys().any(|f| f.starts_with(&parent));
            let same = seen.iter().all(|s| s.files[name].kind == entry.kind);
            if same && (kept || implied) {
                continue;
            }
            if name.contains('\\') {
                return Err("odd-name");
            }
            let expect = match &entry.kind {
                EntryKind::File { content: Some(_), .. } => self.file(name, seen, environment)?,
                EntryKind::File { content: None, .. } => return Err("too-large"),
                _ if !same => return Err("files"),
                EntryKind::Dir => AfterExpect::Dir,
                EntryKind::Symlink { target } if target.contains('\\') => return Err("odd-name"),
                EntryKind::Symlink { target } => AfterExpect::Symlink(target.clone()),
                EntryKind::Special { .. } => AfterExpect::Special,
            };
            self.case.after.insert(name.clone(), expect);
        }
        for name in case.files.keys().filter(|name| !first.files.contains_key(*name)) {
            self.case.after.insert(name.clone(), AfterExpect::Absent);
        }
        if !self.case.after.is_empty() {
            self.case.tags.insert("writes-files".to_owned());
        }
        Ok(())
    }

    fn file(
        &mut self,
        name: &str,
        seen: &[&CaseObservation],
        environment: &Environment,
    ) -> Result<AfterExpect, &'static str> {
        let mut contents = Vec::new();
        for s in seen {
            match &s.files[name].kind {
                EntryKind::File { content: Some(content), .. } => {
                    contents.push(content.bytes(&reenact_model::NoBlobs).map_err(|_| "too-large")?);
                }
                _ => return Err("files"),
            }
        }
        let views: Vec<&[u8]> = contents.iter().map(AsRef::as_ref).collect();
        Ok(self.matcher("files", &views, environment)?.into())
    }

    /// The recorded case must hold for every observation it came from.
    fn verify(&self, case: &Case, seen: &[&CaseObservation]) -> Result<(), &'static str> {
        // Inputs may be blobs that are not at hand here; files left alone are compared by digest, so none is needed.
        let holds = |s: &&CaseObservation| {
            reenact_model::judge(&self.case, s, &self.blobs).is_ok_and(|verdict| verdict.passed())
        };
        let sound = self.case.check().is_ok() && self.case.input_digest() == case.input_digest();
        (sound && seen.iter().all(holds)).then_some(()).ok_or("unjudgeable")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reenact_model::observe::{Captured, Entry};
    use reenact_model::{NoBlobs, Observation};
    use std::path::Path;

    fn environment() -> Environment {
        Environment::new("2026-11-21T13:40:00Z", &[])
    }

    fn seen(stdout: &str, code: i32, files: &[(&str, &str)]) -> CaseObservation {
        let step = Observation {
            ended: Ended::Exit { code },
            stdout: Captured::whole(stdout.as_bytes()),
            stderr: Captured::empty(),
            screen: None,
            resources: Default::default(),
        };
        let file = |text: &str| Entry {
            kind: EntryKind::File {
                size: text.len() as u64,
                sha256: Digest::of(text.as_bytes()),
                content: Some(Content::inline(text.as_bytes())),
            },
            mode: 0o600,
        };
        let files = files.iter().map(|(n, t)| ((*n).to_owned(), file(t))).collect();
        CaseObservation { steps: vec![step], files, files_truncated: false }
    }

    fn case() -> Case {
        let line = r#"{"id":"c","steps":[{"argv":["x"]}],"files":{"in":{"text":"a"},"gone":{"text":"b"}}}"#;
        Case::parse(Path::new("t"), 1, line).unwrap()
    }

    #[test]
    fn new_changed_and_removed_files_are_expected() {
        let s = seen("hi\n", 3, &[("in", "A"), ("new", "n")]);
        let recorded = record(&case(), &[&s, &s], &environment()).unwrap();
        assert_eq!(recorded.case.after.len(), 3);
        assert_eq!(recorded.case.after["gone"], AfterExpect::Absent);
        assert!(reenact_model::judge(&recorded.case, &s, &NoBlobs).unwrap().passed());
        let other = seen("hi\n", 3, &[("in", "A"), ("new", "m")]);
        assert!(!reenact_model::judge(&recorded.case, &other, &NoBlobs).unwrap().passed());
    }

    #[test]
    fn exit_codes_are_never_masked_and_dates_are() {
        let (a, b) = (
            seen("x", 0, &[("in", "a"), ("gone", "b")]),
            seen("x", 1, &[("in", "a"), ("gone", "b")]),
        );
        assert_eq!(record(&case(), &[&a, &b], &environment()), Err("exit"));
        let a = seen(
            "the report of this long day, made on 2026-11-21 by the program that makes reports, is here\n",
            0,
            &[("in", "a"), ("gone", "b")],
        );
        assert!(record(&case(), &[&a, &a], &environment()).unwrap().masked);
        let bare = seen("2026-11-21\n", 0, &[("in", "a"), ("gone", "b")]);
        assert_eq!(record(&case(), &[&bare, &bare], &environment()), Err("environment"));
    }
}
