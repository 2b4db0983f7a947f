//! Failures grouped by likeness: what probably has one cause stands together.

use crate::recipe::one_line;
use crate::term::{Look, Paint};
use crate::visible::text;
use crate::words;
use reenact_model::run::{CaseResult, TaskResult};
use reenact_model::{Case, Content, FailKind, FailReason, Matcher, NoBlobs, Verdict};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Characters of a quoted line.
const MAX_QUOTED: usize = 90;

/// Cases that failed alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailureGroup {
    /// Kinds of failure that every case of the group has; empty for cases that were not judged.
    pub kinds: Vec<FailKind>,
    /// What they have in common, one line.
    pub why: String,
    /// Ids of the cases in suite order; the first one stands for all.
    pub cases: Vec<String>,
}

/// How sure it is that equal reasons are one cause.
enum Likeness {
    /// The reason says it all (a crash, an error message).
    Strong(String),
    /// Worth a group only if several cases share it (a first differing line).
    Weak(String),
}

/// Groups everything that did not pass, largest group first. `cases` are the suite's cases by id; a failure whose case is
/// missing there is grouped by its reasons alone.
pub fn group_failures<'a>(
    result: &TaskResult,
    cases: &dyn Fn(&str) -> Option<&'a Case>,
) -> Vec<FailureGroup> {
    type Key = (BTreeSet<FailKind>, String);
    let mut found: Vec<(Key, bool, &CaseResult)> = Vec::new();
    for case in &result.cases {
        let (kinds, likeness) = match &case.verdict {
            Verdict::Pass => continue,
            Verdict::NotRun { why } => {
                (BTreeSet::new(), Likeness::Strong(format!("not run: {why}")))
            }
            Verdict::HarnessError { what } => {
                (BTreeSet::new(), Likeness::Strong(format!("harness error: {}", normal(what, &[]))))
            }
            Verdict::Fail { reasons } => {
                (reasons.iter().map(|r| r.kind).collect(), likeness(case, reasons, cases(&case.id)))
            }
        };
        let (why, weak) = match likeness {
            Likeness::Strong(why) => (why, false),
            Likeness::Weak(why) => (why, true),
        };
        found.push(((kinds, text(why.as_bytes())), weak, case));
    }
    let mut counts: BTreeMap<&Key, usize> = BTreeMap::new();
    for (key, _, _) in &found {
        *counts.entry(key).or_default() += 1;
    }
    let mut groups: BTreeMap<Key, Vec<String>> = BTreeMap::new();
    for (key, weak, case) in &found {
        let key = if *weak && counts.get(key) == Some(&1) {
            (key.0.clone(), format!("various differences in group {}", text(case.group.as_bytes())))
        } else {
            key.clone()
        };
        groups.entry(key).or_default().push(case.id.clone());
    }
    let mut groups: Vec<FailureGroup> = groups
        .into_iter()
        .map(|((kinds, why), cases)| FailureGroup {
            kinds: kinds.into_iter().collect(),
            why,
            cases,
        })
        .collect();
    groups.sort_by(|a, b| b.cases.len().cmp(&a.cases.len()).then_with(|| a.cases.cmp(&b.cases)));
    groups
}

fn likeness(result: &CaseResult, reasons: &[FailReason], case: Option<&Case>) -> Likeness {
    let names = case.map(own_words).unwrap_or_default();
    let Some(worst) = reasons.iter().min_by_key(|r| r.kind) else {
        return Likeness::Weak(String::new());
    };
    // Up to `Script` the end of the step says more than any output.
    if worst.kind < FailKind::Exit {
        return Likeness::Strong(worst.detail.clone());
    }
    let step = reasons.iter().filter_map(|r| r.step).min().unwrap_or(0);
    let expect = case.and_then(|c| c.steps.get(step)?.expect.as_ref());
    let exit = reasons.iter().find(|r| r.kind == FailKind::Exit);
    let with_exit = |what: String| match exit {
        Some(exit) => format!("{}; {what}", exit.detail),
        None => what,
    };
    let kinds: BTreeSet<FailKind> = reasons.iter().map(|r| r.kind).collect();
    if let Some(seen) = result.observation.as_ref().and_then(|o| o.steps.get(step)) {
        let compared = expect.is_some_and(|e| e.stderr.is_some());
        let says = first_line(seen.stderr.inline_bytes());
        if let Some(line) = says.filter(|_| !compared || kinds.contains(&FailKind::Stderr)) {
            return Likeness::Strong(with_exit(format!("stderr says “{}”", normal(&line, &names))));
        }
        if kinds.contains(&FailKind::Stdout) && seen.stdout.len == 0 {
            return Likeness::Strong(with_exit(
                "prints nothing where output is expected".to_owned(),
            ));
        }
        for (kind, name, got, matchers) in [
            (FailKind::Stdout, "stdout", seen.stdout.inline_bytes(), expect.map(|e| &e.stdout)),
            (FailKind::Stderr, "stderr", seen.stderr.inline_bytes(), expect.map(|e| &e.stderr)),
        ] {
            if kinds.contains(&kind)
                && let Some(pair) = first_difference(matchers.and_then(Option::as_ref), got, &names)
            {
                return Likeness::Weak(with_exit(format!("{name}: {pair}")));
            }
        }
    }
    if kinds.len() == 1 && exit.is_some() {
        return Likeness::Strong(worst.detail.clone());
    }
    Likeness::Weak(normal(&worst.detail, &names))
}

/// The first line in which `got` differs from the first exact expectation, both normalised.
fn first_difference(
    matchers: Option<&Vec<Matcher>>,
    got: &[u8],
    names: &[String],
) -> Option<String> {
    let want = matchers?.iter().find_map(|m| match m {
        Matcher::Exact(Content::Blob(_)) => None,
        Matcher::Exact(content) => content.bytes(&NoBlobs).ok(),
        _ => None,
    })?;
    let mut pairs = want.split(|b| *b == b'\n').zip(got.split(|b| *b == b'\n'));
    let (a, b) = pairs.find(|(a, b)| a != b)?;
    let (a, b) = (normal(&text(a), names), normal(&text(b), names));
    if a == b {
        return Some(format!("other figures or names in “{a}”"));
    }
    Some(format!("“{b}” instead of “{a}”"))
}

fn first_line(bytes: &[u8]) -> Option<String> {
    let line = bytes.split(|b| *b == b'\n').find(|l| !l.trim_ascii().is_empty())?;
    Some(text(line))
}

/// Words that are the case's own and say nothing about likeness: arguments and file names, longest first.
fn own_words(case: &Case) -> Vec<String> {
    let mut words: Vec<String> = case
        .steps
        .iter()
        .flat_map(|s| &s.argv)
        .chain(case.files.keys())
        .filter(|w| w.chars().count() >= 3)
        .cloned()
        .collect();
    words.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    words.dedup();
    words
}

/// A line without what is its case's own: names become `…`, figures `0`, blanks one blank; cut to [`MAX_QUOTED`].
fn normal(line: &str, names: &[String]) -> String {
    let mut line = line.to_owned();
    for name in names {
        line = line.replace(name.as_str(), "…");
    }
    let mut out = String::new();
    for c in line.chars() {
        let last = out.chars().next_back();
        match c {
            c if c.is_ascii_digit() && last == Some('0') => {}
            c if c.is_ascii_digit() => out.push('0'),
            c if c.is_whitespace() && last == Some(' ') => {}
            c if c.is_whitespace() => out.push(' '),
            c => out.push(c),
        }
    }
    if out.chars().count() > MAX_QUOTED {
        out = out.chars().take(MAX_QUOTED).collect();
        out.push('…');
    }
    out.trim().to_owned()
}

/// The failures of a task grouped by likeness, largest group first, with one case as an example of each.
pub fn failures(result: &TaskResult, cases: &BTreeMap<String, Case>, color: bool) -> String {
    let p = Paint { on: color };
    let groups = group_failures(result, &|id| cases.get(id));
    let failed: usize = groups.iter().map(|g| g.cases.len()).sum();
    let task = text(result.task.as_bytes());
    if groups.is_empty() {
        return format!("{task}: all {} passed\n", words::count(result.total, "case"));
    }
    let mut out = format!(
        "{} · {} of {} did not pass, in {}\n",
        p.text(Look::Heading, &task),
        failed,
        words::count(result.total, "case"),
        words::count(groups.len() as u64, "group")
    );
    let width = groups.first().map_or(1, |g| g.cases.len().to_string().len());
    for group in &groups {
        let kinds: Vec<&str> = group.kinds.iter().map(|k| words::kind(*k)).collect();
        let kinds = if kinds.is_empty() { "not judged".to_owned() } else { kinds.join(", ") };
        let count = format!("{:>width$}", group.cases.len());
        out.push_str(&format!(
            "\n  {}  {}  {}\n",
            p.text(Look::Heading, &count),
            p.text(Look::Bad, &kinds),
            group.why
        ));
        // Groups are never empty; the first case stands for all.
        if let Some(id) = group.cases.first() {
            let command = cases.get(id).map(|c| one_line(c, 100)).unwrap_or_default();
            let example = format!("  {:>width$}  e.g. {}  {command}", "", text(id.as_bytes()));
            out.push_str(&p.text(Look::Dim, example.trim_end()));
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{case, fail, judged, result, seen, step, unseen};
    use reenact_model::Ended;

    fn suite() -> BTreeMap<String, Case> {
        let line = |id: &str, arg: &str, want: &str| {
            case(&format!(
                r#"{{"id":"{id}","group":"options","steps":[{{"argv":["{arg}"],"expect":{{"exit":0,"stdout":[{{"exact":{{"text":"{want}"}}}}]}}}}]}}"#
            ))
        };
        [
            line("c1", "--alpha", "A 1\\n"),
            line("c2", "--beta", "B 2\\n"),
            line("c3", "file-1.txt", "size 10\\n"),
            line("c4", "file-2.txt", "size 20\\n"),
            line("c5", "x", "unique one\\n"),
            line("c6", "y", "unique two\\n"),
            line("c7", "z", "fine\\n"),
        ]
        .map(|c| (c.id.clone(), c))
        .into()
    }

    fn graded() -> TaskResult {
        let cases = suite();
        let code = |code| Ended::Exit { code };
        let run = |id: &str, ended, out: &[u8], err: &[u8]| {
            judged(&cases[id], seen(vec![step(ended, out, err)]))
        };
        let mut r = result("t", 1, 9);
        r.cases = vec![
            run("c1", code(2), b"", b"error: unexpected argument '--alpha' found\n"),
            run("c2", code(2), b"", b"error: unexpected argument '--beta' found\n"),
            run("c3", code(0), b"size 11\n", b""),
            run("c4", code(0), b"size 22\n", b""),
            run("c5", code(0), b"other\n", b""),
            run("c6", code(0), b"another\n", b""),
            run("c7", code(0), b"fine\n", b""),
            unseen("c8", fail(FailKind::Timeout, "still running after 10000 ms")),
            unseen("c9", Verdict::HarnessError { what: "the cell was lost: 17".into() }),
        ];
        r
    }

    #[test]
    fn like_failures_stand_together_largest_first() {
        let cases = suite();
        let groups = group_failures(&graded(), &|id| cases.get(id));
        let found: Vec<(&str, Vec<&str>)> = groups
            .iter()
            .map(|g| (g.why.as_str(), g.cases.iter().map(String::as_str).collect()))
            .collect();
        assert_eq!(
            found,
            vec![
                (
                    "exit 2, expected 0; stderr says “error: unexpected argument '…' found”",
                    vec!["c1", "c2"]
                ),
                ("stdout: other figures or names in “size 0”", vec!["c3", "c4"]),
                ("various differences in group options", vec!["c5", "c6"]),
                ("still running after 10000 ms", vec!["c8"]),
                ("harness error: the cell was lost: 0", vec!["c9"]),
            ]
        );
    }

    #[test]
    fn every_case_that_did_not_pass_is_in_exactly_one_group() {
        let graded = graded();
        let ids: Vec<String> =
            group_failures(&graded, &|_| None).into_iter().flat_map(|g| g.cases).collect();
        let distinct: BTreeSet<&String> = ids.iter().collect();
        assert_eq!((ids.len(), distinct.len()), (8, 8));
    }

    #[test]
    fn the_text_names_counts_kinds_and_an_example() {
        let shown = failures(&graded(), &suite(), false);
        assert!(shown.starts_with("t · 8 of 9 cases did not pass, in 5 groups\n"), "{shown}");
        assert!(shown.contains("\n  2  exit, stdout  exit 2, expected 0; stderr says"), "{shown}");
        assert!(shown.contains("e.g. c1  $PROGRAM --alpha\n"), "{shown}");
        assert_eq!(failures(&result("t", 3, 3), &suite(), false), "t: all 3 cases passed\n");
    }
}
