//! Making candidate cases: bases, the blobs they refer to, and a list without repetitions.

use reenact_model::{Case, Content, Digest, FileSpec, Limits, Origin, Step, Tty};
use std::collections::{BTreeMap, BTreeSet};

/// An invocation that options can be added to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base {
    /// Subcommand path.
    pub path: Vec<String>,
    /// Arguments after the options.
    pub operands: Vec<String>,
    pub stdin: Option<Vec<u8>>,
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Base {
    /// The whole argument list with `options` in their place.
    pub fn argv(&self, options: &[String]) -> Vec<String> {
        self.path.iter().chain(options).chain(&self.operands).cloned().collect()
    }
}

/// A candidate before it is a case.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    pub group: &'static str,
    pub steps: Vec<Call>,
    pub files: BTreeMap<String, FileSpec>,
    pub tags: Vec<&'static str>,
    /// Where in the documentation it comes from, for examples.
    pub from: Option<String>,
}

/// One step of a draft.
#[derive(Clone, Debug, Default)]
pub struct Call {
    pub argv: Vec<String>,
    pub stdin: Option<Vec<u8>>,
    pub env: BTreeMap<String, String>,
    pub tty: Option<Tty>,
}

/// Collects candidates and the blobs of their inputs. Repeated inputs are ignored.
#[derive(Debug, Default)]
pub struct Maker {
    pub seed: u64,
    pub cases: Vec<Case>,
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    known: BTreeSet<String>,
}

impl Maker {
    /// An empty collection for this seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Bytes as the formats store them; blobs are kept.
    pub fn content(&mut self, bytes: &[u8]) -> Content {
        let (content, blob) = Content::for_storage(bytes);
        self.blobs.extend(blob);
        content
    }

    /// A file with these bytes.
    pub fn file(&mut self, bytes: &[u8]) -> FileSpec {
        FileSpec::File { content: self.content(bytes), executable: false }
    }

    /// Adds a case on a base.
    pub fn add(
        &mut self,
        group: &'static str,
        base: &Base,
        options: &[String],
        tags: &[&'static str],
    ) -> Option<usize> {
        let call = Call { argv: base.argv(options), stdin: base.stdin.clone(), ..Call::default() };
        let files = self.base_files(base);
        self.push(Draft { group, steps: vec![call], files, tags: tags.to_vec(), from: None })
    }

    /// The files of a base as a workspace.
    pub fn base_files(&mut self, base: &Base) -> BTreeMap<String, FileSpec> {
        base.files.iter().map(|(name, bytes)| (name.clone(), self.file(bytes))).collect()
    }

    /// Adds a draft; gives its index, or `None` when the same input is there already or the case is malformed.
    pub fn push(&mut self, draft: Draft) -> Option<usize> {
        let mut tags: BTreeSet<String> = draft.tags.iter().map(|t| (*t).to_owned()).collect();
        let mut steps = Vec::new();
        for call in draft.steps {
            if call.tty.is_some() {
                tags.insert("tty".to_owned());
            }
            if call.stdin.is_some() && call.tty.is_none() {
                tags.insert("stdin".to_owned());
            }
            let stdin = call.stdin.filter(|_| call.tty.is_none()).map(|bytes| self.content(&bytes));
            steps.push(Step { argv: call.argv, stdin, env: call.env, tty: call.tty, expect: None });
        }
        if steps.len() > 1 {
            tags.insert("multi-step".to_owned());
        }
        if !draft.files.is_empty() {
            tags.insert("file-input".to_owned());
        }
        let kind = if draft.from.is_some() { "mined" } else { "generated" };
        let mut case = Case {
            id: "new".to_owned(),
            group: draft.group.to_owned(),
            steps,
            files: draft.files,
            after: BTreeMap::new(),
            limits: Limits::default(),
            origin: Some(Origin { kind: kind.to_owned(), from: draft.from, seed: Some(self.seed) }),
            tags,
            weight: 1,
        };
        case.id = case.generated_id();
        let fits =
            case.steps.iter().all(|s| s.argv.iter().map(String::len).sum::<usize>() < 60_000);
        if !fits || case.check().is_err() || !self.known.insert(case.id.clone()) {
            return None;
        }
        self.cases.push(case);
        Some(self.cases.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_input_is_taken_once() {
        let mut maker = Maker::new(1);
        let base = Base { operands: vec!["x".into()], ..Base::default() };
        assert_eq!(maker.add("options", &base, &["-a".into()], &[]), Some(0));
        assert_eq!(maker.add("combos", &base, &["-a".into()], &[]), None);
        assert_eq!(maker.cases[0].steps[0].argv, ["-a", "x"]);
        assert_eq!(maker.cases[0].id, maker.cases[0].generated_id());
    }

    #[test]
    fn impossible_cases_are_not_taken() {
        let mut maker = Maker::new(1);
        let base = Base { operands: vec!["a\0b".into()], ..Base::default() };
        assert_eq!(maker.add("options", &base, &[], &[]), None);
    }
}
