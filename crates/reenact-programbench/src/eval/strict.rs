//! The strict score: the listed tests only, each once, by what pytest itself told; and where the official score differs.

use super::channel::{Evidence, Told};
use super::official::Score;
use crate::dataset::Instance;
use reenact_interop::programbench::{EvalJson, Status};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A branch as the strict score sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StrictBranch {
    /// Listed tests that passed.
    pub passed: u64,
    /// Listed tests that count.
    pub total: u64,
    /// Every listed test that counts and did not pass, and why.
    pub not_passed: BTreeMap<String, Why>,
    /// Names that were told and are not listed; they do not count.
    pub unlisted: u64,
    /// Names that would match if a prefix were another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<Alias>,
}

/// Why a listed test is no pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    Failed,
    Skipped,
    /// pytest told nothing of it.
    NotTold,
    Contradictory,
    LateWorker,
    AfterChange,
}

/// The suite's names begin with one prefix where the list has another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias {
    /// As told.
    pub told: String,
    /// As listed.
    pub listed: String,
    /// Tests that match with it.
    pub tests: u64,
    /// The strict score went by it (`--accept-aliases`).
    pub accepted: bool,
}

impl Alias {
    fn apply<'a>(&self, told: &'a str) -> Option<std::borrow::Cow<'a, str>> {
        told.strip_prefix(self.told.as_str()).map(|rest| (self.listed.clone() + rest).into())
    }
}

/// Judges a branch.
pub(super) fn judge(
    instance: &Instance,
    branch: &str,
    evidence: &Evidence,
    accept_aliases: bool,
) -> StrictBranch {
    let active = active(instance, branch);
    let told: BTreeMap<&str, Told> = evidence.tests.iter().map(|(n, t)| (n.as_str(), *t)).collect();
    let mut alias = find_alias(&active, &told);
    let mut renamed: BTreeMap<String, Told> = BTreeMap::new();
    if let Some(alias) = alias.as_mut().filter(|_| accept_aliases) {
        alias.accepted = true;
        for (name, outcome) in &told {
            if let Some(listed) = alias.apply(name)
                && !told.contains_key(listed.as_ref())
            {
                renamed.insert(listed.into_owned(), *outcome);
            }
        }
    }
    let mut out = StrictBranch { total: active.len() as u64, ..StrictBranch::default() };
    for name in &active {
        let outcome = told.get(name).copied().or_else(|| renamed.get(*name).copied());
        let why = match outcome {
            Some(Told::Passed) => {
                out.passed += 1;
                continue;
            }
            Some(Told::Failed) => Why::Failed,
            Some(Told::Skipped) => Why::Skipped,
            Some(Told::Contradictory) => Why::Contradictory,
            Some(Told::LateWorker) => Why::LateWorker,
            Some(Told::AfterChange) => Why::AfterChange,
            None => Why::NotTold,
        };
        out.not_passed.insert((*name).to_owned(), why);
    }
    let listed: BTreeSet<&str> = instance
        .branch(branch)
        .map(|b| b.tests.iter().map(String::as_str).collect())
        .unwrap_or_default();
    out.unlisted = told.keys().filter(|n| !listed.contains(*n)).count() as u64;
    out.alias = alias;
    out
}

/// Listed tests of a branch that count, each once.
fn active<'a>(instance: &'a Instance, branch: &str) -> BTreeSet<&'a str> {
    let Some(branch) = instance.branch(branch) else { return BTreeSet::new() };
    let ignored: BTreeSet<&str> = branch.ignored_tests.iter().map(|t| t.name.as_str()).collect();
    branch.tests.iter().map(String::as_str).filter(|t| !ignored.contains(t)).collect()
}

/// A prefix that, exchanged, makes names match which do not; the one that most tests ask for.
fn find_alias(active: &BTreeSet<&str>, told: &BTreeMap<&str, Told>) -> Option<Alias> {
    let missing: Vec<&str> = active.iter().copied().filter(|n| !told.contains_key(n)).collect();
    let mut by_end: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in told.keys().filter(|n| !active.contains(*n)) {
        by_end.entry(last_parts(name)).or_default().push(name);
    }
    let mut votes: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for listed in missing {
        // A name that several told names could be is none of them.
        let Some([told]) = by_end.get(last_parts(listed)).map(Vec::as_slice) else { continue };
        let (told_prefix, listed_prefix) = prefixes(told, listed);
        *votes.entry((told_prefix, listed_prefix)).or_default() += 1;
    }
    let ((told, listed), tests) = votes.into_iter().max_by_key(|(_, n)| *n)?;
    Some(Alias { told: told.to_owned(), listed: listed.to_owned(), tests, accepted: false })
}

/// Module and test: what stays when a directory's name is left out. A parameter may have dots of its own.
fn last_parts(name: &str) -> &str {
    let plain = name.find('[').unwrap_or(name.len());
    let mut dots = name[..plain].rmatch_indices('.');
    match (dots.next(), dots.next()) {
        (Some(_), Some((at, _))) => &name[at + 1..],
        _ => name,
    }
}

/// What is left of both names without their common end, cut at a dot.
fn prefixes<'a>(told: &'a str, listed: &'a str) -> (&'a str, &'a str) {
    let common = told.bytes().rev().zip(listed.bytes().rev()).take_while(|(a, b)| a == b).count();
    let starts = |name: &str| {
        (name.len() - common..=name.len())
            .find(|at| *at == 0 || name.as_bytes()[*at - 1] == b'.')
            .unwrap_or(name.len())
    };
    // The longer of the two cuts, so that both are at a part's beginning.
    let keep = (told.len() - starts(told)).min(listed.len() - starts(listed));
    (&told[..told.len() - keep], &listed[..listed.len() - keep])
}

/// The strict score of branches.
pub(super) fn score(branches: &BTreeMap<String, Option<StrictBranch>>) -> Option<Score> {
    let mut score = Score::default();
    for branch in branches.values() {
        let branch = branch.as_ref()?;
        score.passed += branch.passed;
        score.total += branch.total;
    }
    Some(score)
}

/// A test for which the two scores differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub branch: String,
    pub name: String,
    /// Its statuses in the official result, in order; none: it is not there.
    pub official: Vec<Status>,
    /// Whether it passed by the strict score; `None`: it is not listed, and does not count there.
    pub strict: Option<bool>,
    pub why: String,
}

/// Every test that counts differently.
pub(super) fn differences(
    official: &EvalJson,
    strict: &BTreeMap<String, Option<StrictBranch>>,
    instance: &Instance,
) -> Vec<Difference> {
    let ignored = instance.ignored_tests();
    let mut out = Vec::new();
    for (branch, judged) in strict {
        let Some(judged) = judged else { continue };
        let mut statuses: BTreeMap<&str, Vec<Status>> = BTreeMap::new();
        for test in official.test_results.iter().filter(|t| &t.branch == branch) {
            if !ignored.contains(&format!("{branch}/{}", test.name)) {
                statuses.entry(&test.name).or_default().push(test.status);
            }
        }
        let active = active(instance, branch);
        for name in
            active.iter().copied().chain(statuses.keys().copied().filter(|n| !active.contains(n)))
        {
            let official = statuses.get(name).cloned().unwrap_or_default();
            let strict = active.contains(name).then(|| !judged.not_passed.contains_key(name));
            let why = why(&official, strict, judged.not_passed.get(name).copied());
            out.extend(why.map(|why| Difference {
                branch: branch.clone(),
                name: name.to_owned(),
                official,
                strict,
                why: why.to_owned(),
            }));
        }
    }
    out
}

fn why(official: &[Status], strict: Option<bool>, reason: Option<Why>) -> Option<&'static str> {
    let passed = official.contains(&Status::Passed);
    match (strict, official.len()) {
        (None, 0) => None,
        (None, _) => Some("not listed in tests.json; the official score counts it"),
        (Some(_), n) if n > 1 => {
            Some("several times in results.xml; the official score counts each")
        }
        (Some(true), _) if !passed => {
            Some("pytest told that it passed, but results.xml does not have that")
        }
        (Some(false), _) if passed => Some(match reason {
            Some(Why::NotTold) => "passed by results.xml, but pytest told nothing of it",
            Some(Why::Contradictory) => "passed by results.xml, but pytest told different outcomes",
            Some(Why::LateWorker) => {
                "passed in a worker that was started after the program under test"
            }
            Some(Why::AfterChange) => {
                "passed after pytest had loaded code that was changed while the tests ran"
            }
            _ => "passed by results.xml, but pytest told that it did not",
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::instance;
    use super::*;
    use reenact_interop::programbench::{Extra, TestResult};

    fn told(tests: &[(&str, Told)]) -> Evidence {
        Evidence {
            tests: tests.iter().map(|(n, t)| ((*n).to_owned(), *t)).collect(),
            ..Evidence::default()
        }
    }

    #[test]
    fn listed_tests_count_once_and_others_never() {
        let instance = instance(&[("b", &["m.a", "m.b", "m.c", "m.d", "m.off"], &["m.off"])]);
        let evidence = told(&[
            ("m.a", Told::Passed),
            ("m.b", Told::Contradictory),
            ("m.c", Told::Skipped),
            ("m.off", Told::Passed),
            ("m.unlisted", Told::Passed),
        ]);
        let branch = judge(&instance, "b", &evidence, false);
        assert_eq!((branch.passed, branch.total, branch.unlisted), (1, 4, 1));
        let why: Vec<Why> = branch.not_passed.values().copied().collect();
        assert_eq!(why, [Why::Contradictory, Why::Skipped, Why::NotTold]);
    }

    #[test]
    fn a_prefix_is_offered_and_taken_only_when_asked() {
        let instance = instance(&[("b", &["tests.m.x", "tests.m.y[a.b]", "tests.n.x"], &[])]);
        let names = ["eval.tests.m.x", "eval.tests.m.y[a.b]", "eval.tests.n.x"];
        let evidence = told(&names.map(|n| (n, Told::Passed)));
        let plain = judge(&instance, "b", &evidence, false);
        let alias = plain.alias.clone().unwrap();
        assert_eq!((plain.passed, alias.told.as_str(), alias.listed.as_str()), (0, "eval.", ""));
        assert_eq!((alias.tests, alias.accepted), (3, false));
        assert_eq!(judge(&instance, "b", &evidence, true).passed, 3);
        // The other way round, and a name that could be two.
        let back = super::super::testing::instance(&[("b", &["eval.m.x", "eval.m.z"], &[])]);
        let evidence =
            told(&[("m.x", Told::Passed), ("p.m.z", Told::Passed), ("q.m.z", Told::Passed)]);
        let judged = judge(&back, "b", &evidence, true);
        assert_eq!(
            judged.alias.map(|a| (a.told, a.listed, a.tests)),
            Some((String::new(), "eval.".into(), 1))
        );
        assert_eq!(judged.passed, 1);
    }

    #[test]
    fn differences_have_reasons() {
        let instance = instance(&[("b", &["a", "b", "c", "d"], &[])]);
        let result = |name: &str, status| TestResult {
            name: name.to_owned(),
            branch: "b".to_owned(),
            status,
            extra: Extra::default(),
        };
        let official = EvalJson {
            test_results: vec![
                result("a", Status::Passed),
                result("b", Status::Passed),
                result("b", Status::Passed),
                result("c", Status::NotRun),
                result("d", Status::Failure),
                result("x", Status::Passed),
            ],
            ..EvalJson::default()
        };
        let evidence = told(&[("b", Told::Passed), ("c", Told::Passed), ("d", Told::Failed)]);
        let judged =
            BTreeMap::from([("b".to_owned(), Some(judge(&instance, "b", &evidence, false)))]);
        let found = differences(&official, &judged, &instance);
        let brief: Vec<(&str, Option<bool>)> =
            found.iter().map(|d| (d.name.as_str(), d.strict)).collect();
        assert_eq!(brief, [("a", Some(false)), ("b", Some(true)), ("c", Some(true)), ("x", None)]);
        assert!(found[0].why.contains("told nothing"));
        assert_eq!(score(&judged), Some(Score { passed: 2, total: 4 }));
        assert_eq!(score(&BTreeMap::from([("b".to_owned(), None)])), None);
    }
}
