//! Results as JUnit XML, the dialect that pytest writes and CI servers read: one `testsuite` a task, one `testcase` a case with its
//! group as `classname`, times in seconds.
//!
//! `failure` is the program's, `error` is the harness's. A result that is no score (the sandbox failed, a person must judge, …)
//! has one more testcase, `outcome`, with an error: a CI server must not show it green. So has a result without cases (an imported
//! one, of which only the score is known): it passes if the task is resolved.

use crate::story::{MAX_MESSAGE, MAX_TEXT, Whose, bounded, story};
use reenact_model::run::{Standing, TaskResult};
use std::fmt::Write as _;

/// A result under the name that reports show for it: the task's id, or more where several runs stand together.
#[derive(Clone, Debug)]
pub struct Graded<'a> {
    pub name: String,
    pub result: &'a TaskResult,
}

/// Counts of a suite, or of all.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    tests: u64,
    failures: u64,
    errors: u64,
    micros: u64,
}

/// The document, UTF-8, ending in a line break.
pub fn to_junit(graded: &[Graded<'_>]) -> String {
    let mut suites = String::new();
    let mut all = Counts::default();
    for one in graded {
        let counts = suite(one, &mut suites);
        all.tests += counts.tests;
        all.failures += counts.failures;
        all.errors += counts.errors;
        all.micros = all.micros.saturating_add(counts.micros);
    }
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<testsuites");
    attributes(&mut xml, "reenact", &all);
    xml.push_str(">\n");
    xml.push_str(&suites);
    xml.push_str("</testsuites>\n");
    xml
}

fn suite(one: &Graded<'_>, xml: &mut String) -> Counts {
    let result = one.result;
    let mut cases = String::new();
    let mut counts = Counts { tests: result.cases.len() as u64, ..Counts::default() };
    for case in &result.cases {
        counts.micros = counts.micros.saturating_add(case.wall_us);
        open_case(&mut cases, &case.group, &case.id, case.wall_us);
        match story(case, result.outcome) {
            None => cases.push_str("/>\n"),
            Some(told) => {
                let tag = match told.whose {
                    Whose::Program => "failure",
                    Whose::Harness => "error",
                };
                counts.failures += u64::from(told.whose == Whose::Program);
                counts.errors += u64::from(told.whose == Whose::Harness);
                fault(&mut cases, tag, &told.kind, &told.message, &told.text);
            }
        }
    }
    let valid = result.outcome.standing() == Standing::Valid;
    if !valid || result.cases.is_empty() {
        counts.tests += 1;
        open_case(&mut cases, "reenact", "outcome", 0);
        let why = result.why.clone().unwrap_or_else(|| format!("score {}", result.score));
        let message = bounded(why.lines().next().unwrap_or_default(), MAX_MESSAGE);
        let (kind, text) = (result.outcome.name(), bounded(&why, MAX_TEXT));
        if !valid {
            counts.errors += 1;
            fault(&mut cases, "error", kind, &message, &text);
        } else if !result.resolved {
            counts.failures += 1;
            fault(&mut cases, "failure", kind, &message, &text);
        } else {
            cases.push_str("/>\n");
        }
    }
    xml.push_str("  <testsuite");
    attributes(xml, &one.name, &counts);
    xml.push_str(">\n");
    properties(xml, result);
    xml.push_str(&cases);
    xml.push_str("  </testsuite>\n");
    counts
}

fn attributes(xml: &mut String, name: &str, counts: &Counts) {
    attribute(xml, "name", name);
    put(xml, format_args!(" tests=\"{}\" failures=\"{}\"", counts.tests, counts.failures));
    put(xml, format_args!(" errors=\"{}\" skipped=\"0\"", counts.errors));
    put(xml, format_args!(" time=\"{}\"", seconds(counts.micros)));
}

/// What is known of the whole result.
fn properties(xml: &mut String, result: &TaskResult) {
    let mut entries = vec![
        ("task", result.task.clone()),
        ("outcome", result.outcome.name().to_owned()),
        ("harness", format!("reenact {}", result.harness.version)),
        ("suite_digest", result.suite_digest.to_string()),
        ("verdicts_digest", result.verdicts_digest.to_string()),
    ];
    if result.outcome.standing() == Standing::Valid {
        entries.push(("score", result.score.to_string()));
        entries.push(("resolved", result.resolved.to_string()));
    }
    if let Some(why) = &result.why {
        entries.push(("why", bounded(why, MAX_MESSAGE)));
    }
    if let Some(submission) = result.build.submission {
        entries.push(("submission", submission.to_string()));
    }
    xml.push_str("    <properties>\n");
    for (name, value) in entries {
        xml.push_str("      <property");
        attribute(xml, "name", name);
        attribute(xml, "value", &value);
        xml.push_str("/>\n");
    }
    xml.push_str("    </properties>\n");
}

fn open_case(xml: &mut String, class: &str, name: &str, micros: u64) {
    xml.push_str("    <testcase");
    attribute(xml, "classname", class);
    attribute(xml, "name", name);
    put(xml, format_args!(" time=\"{}\"", seconds(micros)));
}

/// Ends an open testcase with what went wrong in it.
fn fault(xml: &mut String, tag: &str, kind: &str, message: &str, text: &str) {
    put(xml, format_args!(">\n      <{tag}"));
    attribute(xml, "type", kind);
    attribute(xml, "message", message);
    xml.push('>');
    escape(xml, text, false);
    put(xml, format_args!("</{tag}>\n    </testcase>\n"));
}

fn attribute(xml: &mut String, name: &str, value: &str) {
    put(xml, format_args!(" {name}=\""));
    escape(xml, value, true);
    xml.push('"');
}

/// Writing to a string cannot fail.
fn put(xml: &mut String, what: std::fmt::Arguments<'_>) {
    let _infallible = xml.write_fmt(what);
}

fn seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// Adds `text` so that an XML reader gives it back, but for characters that XML 1.0 has no way to say: they become U+FFFD.
fn escape(xml: &mut String, text: &str, in_attribute: bool) {
    for c in text.chars() {
        match c {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' if in_attribute => xml.push_str("&quot;"),
            // Readers turn these into spaces or line breaks if they stand there as themselves.
            '\r' => xml.push_str("&#13;"),
            '\n' if in_attribute => xml.push_str("&#10;"),
            '\t' if in_attribute => xml.push_str("&#9;"),
            c if is_xml_char(c) => xml.push(c),
            _ => xml.push('\u{fffd}'),
        }
    }
}

/// The production Char of XML 1.0.
fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::tests::{case, fail, result};
    use proptest::prelude::*;
    use quick_xml::XmlVersion;
    use quick_xml::events::Event;
    use reenact_model::run::Outcome;
    use reenact_model::verdict::{FailKind, Verdict};

    fn graded(results: &[TaskResult]) -> String {
        let graded: Vec<Graded<'_>> =
            results.iter().map(|r| Graded { name: r.task.clone(), result: r }).collect();
        to_junit(&graded)
    }

    /// Every start or empty tag with its attributes, and every text, as a reader gives them.
    fn read(xml: &str) -> Vec<(String, Vec<(String, String)>)> {
        let mut reader = quick_xml::Reader::from_str(xml);
        let mut found = Vec::new();
        loop {
            match reader.read_event().unwrap() {
                Event::Eof => return found,
                Event::Start(tag) | Event::Empty(tag) => {
                    let attributes = tag.attributes().map(|a| a.unwrap()).map(|a| {
                        let name: &str = a.key.as_ref();
                        let value = a.normalized_value(XmlVersion::Explicit1_0).unwrap();
                        (name.to_owned(), value.into_owned())
                    });
                    let name = tag.name();
                    let name: &str = name.as_ref();
                    found.push((name.to_owned(), attributes.collect()));
                }
                _ => {}
            }
        }
    }

    fn value<'a>(tag: &'a (String, Vec<(String, String)>), name: &str) -> &'a str {
        &tag.1.iter().find(|(n, _)| n == name).unwrap().1
    }

    #[test]
    fn one_suite_a_task_and_one_testcase_a_case_with_its_group_as_class() {
        let results = [
            result(
                "a.1",
                Outcome::Graded,
                vec![
                    case("c1", "options", Verdict::Pass),
                    case("c2", "errors", fail(FailKind::Stdout, "stdout: <differs> & \"so\"")),
                    case("c3", "errors", Verdict::HarnessError { what: "no cell".into() }),
                ],
            ),
            result("b.1", Outcome::SandboxFailed, Vec::new()),
        ];
        let tags = read(&graded(&results));
        let names: Vec<&str> = tags.iter().map(|t| t.0.as_str()).collect();
        assert_eq!(names.iter().filter(|n| **n == "testsuite").count(), 2);
        let root = &tags[0];
        let counts = ["tests", "failures", "errors", "time"].map(|n| value(root, n));
        assert_eq!(counts, ["4", "1", "2", "0.004500"]);
        let cases: Vec<_> = tags.iter().filter(|t| t.0 == "testcase").collect();
        assert_eq!((value(cases[1], "classname"), value(cases[1], "name")), ("errors", "c2"));
        assert_eq!(value(cases[1], "time"), "0.001500");
        assert_eq!((value(cases[3], "classname"), value(cases[3], "name")), ("reenact", "outcome"));
        let failure = tags.iter().find(|t| t.0 == "failure").unwrap();
        assert_eq!(value(failure, "type"), "stdout");
        assert_eq!(value(failure, "message"), "step 1: stdout: <differs> & \"so\"");
        let errors: Vec<_> = tags.iter().filter(|t| t.0 == "error").collect();
        assert_eq!(
            errors.iter().map(|t| value(t, "type")).collect::<Vec<_>>(),
            ["harness_error", "sandbox_failed"]
        );
    }

    #[test]
    fn programbenchs_reader_finds_the_same_names_and_statuses() {
        let cases = vec![
            case("c1", "g", Verdict::Pass),
            case("c2", "g", fail(FailKind::Exit, "exit\u{1b} code\nso")),
            case("c3", "h", Verdict::HarnessError { what: "no cell".into() }),
            case("c4", "h", Verdict::NotRun { why: "no build".into() }),
        ];
        let xml = graded(&[result("t", Outcome::Graded, cases)]);
        let read = crate::junit::parse(&xml, &crate::junit::Limits::default()).unwrap();
        let told: Vec<_> = read.cases.iter().map(|c| (c.name.as_str(), c.status)).collect();
        use crate::programbench::Status::{Error, Failure, Passed};
        assert_eq!(told, [("g.c1", Passed), ("g.c2", Failure), ("h.c3", Error), ("h.c4", Failure)]);
        assert_eq!(read.cases[1].extra.message.as_deref(), Some("step 1: exit\u{fffd} code"));
        assert_eq!(read.cases[0].extra.time, Some(0.0015));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_text_comes_back_but_for_what_xml_cannot_say(id in "\\PC{1,8}|[\\x00-\\x20<>&'\"\u{fffe}\u{fffd}]{1,8}", detail in any::<String>()) {
            let one = result("t", Outcome::Graded, vec![case(&id, "g", fail(FailKind::Exit, &detail))]);
            let xml = graded(&[one]);
            prop_assert!(xml.chars().all(is_xml_char));
            let tags = read(&xml);
            let want: String = id.chars().map(|c| if is_xml_char(c) { c } else { '\u{fffd}' }).collect();
            let case = tags.iter().find(|t| t.0 == "testcase").unwrap();
            prop_assert_eq!(value(case, "name"), want);
        }
    }
}
