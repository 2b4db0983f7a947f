//! The reader: one pass, a stack of open elements.

use super::number::time;
use super::{Case, Junit, JunitError, Limits};
use crate::programbench::{Extra, Status};
use quick_xml::XmlVersion;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;

/// What pytest-xdist says of a test during which a worker died.
const CRASH: [&str; 2] = ["worker '", "crashed"];

/// Reads a file.
///
/// # Errors
/// [`JunitError`]; a document type is refused, whatever it says.
pub fn parse(text: &str, limits: &Limits) -> Result<Junit, JunitError> {
    if text.len() > limits.bytes {
        return Err(JunitError::TooLarge { what: "bytes", limit: limits.bytes });
    }
    if text.trim().is_empty() {
        return Err(JunitError::Empty);
    }
    if let Some(at) = text.find(|c| !is_xml_char(c)) {
        return Err(malformed(at as u64, "a character that XML does not allow"));
    }
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_comments = true;
    let mut build = Build::new(limits, text.contains(CRASH[0]));
    loop {
        let event = reader.read_event();
        let at = reader.buffer_position();
        let fail = |what: String| malformed(at, what);
        let step = match event.map_err(|e| fail(e.to_string()))? {
            Event::Start(tag) => build.open(&tag),
            Event::Empty(tag) => build.open(&tag).and_then(|()| build.close()),
            Event::End(_) => build.close(),
            Event::Text(t) => build.text(&t.xml10_content()),
            Event::CData(t) => build.text(&t.xml10_content()),
            Event::GeneralRef(r) => {
                reference(&r).and_then(|c| build.text(c.encode_utf8(&mut [0; 4])))
            }
            Event::DocType(_) => Err("a document type: entities are not expanded".into()),
            Event::Comment(_) | Event::PI(_) | Event::Decl(_) => Ok(()),
            Event::Eof => return build.finish().map_err(|e| e.at(at)),
        };
        step.map_err(|e| e.at(at))?;
    }
}

fn malformed(at: u64, what: impl Into<String>) -> JunitError {
    JunitError::Malformed { at, what: what.into() }
}

/// A failure before its place is known.
enum Fault {
    Malformed(String),
    TooLarge { what: &'static str, limit: usize },
}

impl Fault {
    fn at(self, at: u64) -> JunitError {
        match self {
            Self::Malformed(what) => malformed(at, what),
            Self::TooLarge { what, limit } => JunitError::TooLarge { what, limit },
        }
    }
}

impl From<&str> for Fault {
    fn from(what: &str) -> Self {
        Self::Malformed(what.to_owned())
    }
}

/// XML 1.0's `Char`.
fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

fn reference(reference: &BytesRef<'_>) -> Result<char, Fault> {
    let resolved = reference.resolve_char_ref().map_err(|e| Fault::Malformed(e.to_string()))?;
    let c = match resolved {
        Some(c) => c,
        None => match reference.xml10_content().as_ref() {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "apos" => '\'',
            "quot" => '"',
            _ => return Err("an entity that XML does not define".into()),
        },
    };
    if is_xml_char(c) {
        Ok(c)
    } else {
        Err("a reference to a character that XML does not allow".into())
    }
}

/// A result below a test case.
struct Outcome {
    status: Status,
    /// As Python shows the element, for several results of one case.
    shown: String,
    message: Option<String>,
    text: String,
    /// The depth of the test case that it is directly below, as a crash's must be.
    directly_in: Option<usize>,
}

#[derive(Default)]
struct OpenCase {
    classname: Option<String>,
    name: Option<String>,
    time: Option<String>,
    /// In [`Build::outcomes`].
    outcomes: Vec<usize>,
    /// Its suite, in [`Build::suites`]; `None`: not in one, and so only counted.
    suite: Option<usize>,
}

struct Suite {
    cases: Vec<Case>,
    within: Vec<usize>,
}

enum Kind {
    Root,
    Suite(usize),
    Case,
    /// In [`Build::outcomes`].
    Outcome(usize),
    Other,
}

struct Open {
    kind: Kind,
    /// In a namespace: no name matches then.
    foreign: bool,
    has_children: bool,
}

struct Build<'a> {
    limits: &'a Limits,
    open: Vec<Open>,
    cases: Vec<OpenCase>,
    /// Of all open cases, each once: cases within each other share them, and would multiply a large text.
    outcomes: Vec<Outcome>,
    suites: Vec<Suite>,
    roots: Vec<usize>,
    junit: Junit,
    seen_root: bool,
    look_for_crashes: bool,
}

impl<'a> Build<'a> {
    fn new(limits: &'a Limits, look_for_crashes: bool) -> Self {
        Self {
            limits,
            open: Vec::new(),
            cases: Vec::new(),
            outcomes: Vec::new(),
            suites: Vec::new(),
            roots: Vec::new(),
            junit: Junit::default(),
            seen_root: false,
            look_for_crashes,
        }
    }

    fn open(&mut self, tag: &BytesStart<'_>) -> Result<(), Fault> {
        if self.open.len() >= self.limits.depth {
            return Err(Fault::TooLarge {
                what: "elements within each other",
                limit: self.limits.depth,
            });
        }
        let attributes = attributes(tag, self.limits.attribute)?;
        let inherited = self.open.last().is_some_and(|o| o.foreign);
        let foreign = match attributes.iter().find(|(n, _)| n == "xmlns") {
            Some((_, namespace)) => !namespace.is_empty(),
            None => inherited,
        };
        let name = tag.name();
        let name = if foreign { "" } else { name.as_ref() };
        let kind = match self.open.last_mut() {
            None => self.root(name)?,
            Some(parent) => {
                parent.has_children = true;
                let suite = match parent.kind {
                    Kind::Suite(index) => Some(index),
                    _ => None,
                };
                let in_root = matches!(parent.kind, Kind::Root);
                match name {
                    "testsuite" if in_root || suite.is_some() => self.suite(suite),
                    "testcase" => self.case(suite, attributes)?,
                    "failure" => self.outcome(Status::Failure, name, &attributes),
                    "error" => self.outcome(Status::Error, name, &attributes),
                    "skipped" => self.outcome(Status::Skipped, name, &attributes),
                    _ => Kind::Other,
                }
            }
        };
        self.open.push(Open { kind, foreign, has_children: false });
        Ok(())
    }

    fn root(&mut self, name: &str) -> Result<Kind, Fault> {
        if std::mem::replace(&mut self.seen_root, true) {
            return Err("something after the end of the document".into());
        }
        match name {
            "testsuites" => Ok(Kind::Root),
            "testsuite" => Ok(self.suite(None)),
            _ => Err("the root is neither testsuites nor testsuite".into()),
        }
    }

    fn suite(&mut self, parent: Option<usize>) -> Kind {
        let index = self.suites.len();
        self.suites.push(Suite { cases: Vec::new(), within: Vec::new() });
        match parent {
            Some(parent) => self.suites[parent].within.push(index),
            None => self.roots.push(index),
        }
        Kind::Suite(index)
    }

    fn case(
        &mut self,
        suite: Option<usize>,
        attributes: Vec<(String, String)>,
    ) -> Result<Kind, Fault> {
        self.junit.testcases += 1;
        if self.junit.testcases > self.limits.cases {
            return Err(Fault::TooLarge { what: "test cases", limit: self.limits.cases });
        }
        let mut case = OpenCase { suite, ..OpenCase::default() };
        for (name, value) in attributes {
            match name.as_str() {
                "classname" => case.classname = Some(value),
                "name" => case.name = Some(value),
                "time" => case.time = Some(value),
                _ => {}
            }
        }
        self.cases.push(case);
        Ok(Kind::Case)
    }

    /// A result belongs to every case that it is in.
    fn outcome(&mut self, status: Status, tag: &str, attributes: &[(String, String)]) -> Kind {
        let index = self.outcomes.len();
        let mut wanted = false;
        for case in &mut self.cases {
            // Only the first of a case's results is told; that there are more, and of which kinds, is enough.
            if case.outcomes.len() < 64 {
                case.outcomes.push(index);
                wanted = true;
            }
        }
        if !wanted {
            return Kind::Other;
        }
        let direct = matches!(self.open.last(), Some(Open { kind: Kind::Case, .. }));
        let message = attributes.iter().find(|(n, _)| n == "message").map(|(_, v)| v.clone());
        let mut shown: Vec<String> =
            attributes.iter().map(|(n, v)| format!("{n}=\"{v}\"")).collect();
        shown.sort();
        let shown =
            std::iter::once(format!("<Element '{tag}'")).chain(shown).collect::<Vec<_>>().join(" ")
                + ">";
        let directly_in = direct.then(|| self.cases.len() - 1);
        self.outcomes.push(Outcome { status, shown, message, text: String::new(), directly_in });
        Kind::Outcome(index)
    }

    fn text(&mut self, text: &str) -> Result<(), Fault> {
        match self.open.last() {
            // An element's text ends where its first child begins.
            Some(Open { kind: Kind::Outcome(index), has_children: false, .. }) => {
                self.outcomes[*index].text.push_str(text);
                Ok(())
            }
            Some(_) => Ok(()),
            None if text.trim_matches(['\u{feff}', ' ', '\t', '\r', '\n']).is_empty() => Ok(()),
            None => Err("text outside the root element".into()),
        }
    }

    fn close(&mut self) -> Result<(), Fault> {
        let Some(open) = self.open.pop() else { return Err("an end without a beginning".into()) };
        if !matches!(open.kind, Kind::Case) {
            return Ok(());
        }
        let Some(case) = self.cases.pop() else { return Ok(()) };
        let depth = self.cases.len();
        if self.look_for_crashes {
            let crashed = case.outcomes.iter().any(|i| is_crash(&self.outcomes[*i], depth));
            self.junit.worker_crashes += usize::from(crashed);
        }
        if depth > 0 {
            return Ok(());
        }
        // The outermost is the last that has any of them.
        let outcomes = std::mem::take(&mut self.outcomes);
        if let Some(suite) = case.suite
            && let Some(case) = finished(case, outcomes)?
        {
            self.suites[suite].cases.push(case);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Junit, Fault> {
        if !self.open.is_empty() || !self.seen_root {
            return Err("the document ends before its root element does".into());
        }
        // A suite's own cases come before those of suites in it.
        let mut order: Vec<usize> = self.roots.iter().rev().copied().collect();
        while let Some(index) = order.pop() {
            self.junit.cases.append(&mut self.suites[index].cases);
            order.extend(self.suites[index].within.iter().rev());
        }
        Ok(self.junit)
    }
}

/// Whether a result says that a worker died in the case at this depth.
fn is_crash(outcome: &Outcome, depth: usize) -> bool {
    if outcome.directly_in != Some(depth) || outcome.status == Status::Skipped {
        return false;
    }
    let said = format!("{} {}", outcome.message.as_deref().unwrap_or_default(), outcome.text);
    CRASH.iter().all(|part| said.contains(part))
}

/// A case's name, status and what is told of it; `None` if it has no name.
fn finished(case: OpenCase, outcomes: Vec<Outcome>) -> Result<Option<Case>, Fault> {
    let name = match case.classname.filter(|c| !c.is_empty()) {
        // Python writes a missing name as `None`.
        Some(class) => format!("{class}.{}", case.name.as_deref().unwrap_or("None")),
        None => case.name.unwrap_or_default(),
    };
    if name.is_empty() {
        return Ok(None);
    }
    let mut extra = Extra::default();
    if let Some(text) = case.time.filter(|t| !t.is_empty()) {
        extra.time =
            time(&text).ok_or_else(|| Fault::Malformed("a time that is no number".to_owned()))?;
    }
    // An outermost case has room for the first ones, and so the same numbers.
    let mut outcomes = outcomes.into_iter().take(case.outcomes.len());
    let status = match outcomes.next() {
        None => Status::Passed,
        Some(first) => {
            let rest: Vec<Outcome> = outcomes.collect();
            if rest.iter().any(|o| o.status != first.status) {
                let shown: Vec<_> =
                    std::iter::once(&first).chain(&rest).map(|o| o.shown.as_str()).collect();
                extra.error_details = Some(format!(
                    "Expected 1 result for {name}, got {}: [{}]",
                    shown.len(),
                    shown.join(", ")
                ));
                Status::SystemError
            } else {
                extra.message = first.message.filter(|m| !m.is_empty());
                extra.text = Some(first.text).filter(|t| !t.is_empty());
                first.status
            }
        }
    };
    Ok(Some(Case { name, status, extra }))
}

/// An element's attributes, as XML reads them: line breaks are blanks, references are resolved.
fn attributes(tag: &BytesStart<'_>, limit: usize) -> Result<Vec<(String, String)>, Fault> {
    let mut out = Vec::new();
    for attribute in tag.attributes() {
        let attribute = attribute.map_err(|e| Fault::Malformed(e.to_string()))?;
        let raw: &str = attribute.value.as_ref();
        if raw.len() > limit {
            return Err(Fault::TooLarge { what: "bytes in an attribute", limit });
        }
        if raw.contains('<') {
            return Err("a `<` in an attribute".into());
        }
        let value = attribute
            .normalized_value(XmlVersion::Explicit1_0)
            .map_err(|e| Fault::Malformed(e.to_string()))?;
        if !value.chars().all(is_xml_char) {
            return Err("a reference to a character that XML does not allow".into());
        }
        out.push((attribute.key.as_ref().to_owned(), value.into_owned()));
    }
    Ok(out)
}
