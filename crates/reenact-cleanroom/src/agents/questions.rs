//! Invocations that the baselines make, as cases of one step without expectations.

use reenact_model::observe::path_key;
use reenact_model::{Case, Digest, FileSpec, NoBlobs, Step};
use std::collections::BTreeMap;

/// A question with `argv` and nothing else.
pub(super) fn plain(argv: &[&str]) -> Case {
    let steps =
        vec![Step { argv: argv.iter().map(|a| (*a).to_owned()).collect(), ..Step::default() }];
    single(steps, BTreeMap::new())
}

/// The first step of `case` as a question of its own: the oracle sees one invocation at a time.
pub(super) fn first_step(case: &Case) -> Case {
    let steps = case.steps.iter().take(1).map(|s| Step { expect: None, ..s.clone() }).collect();
    Case { limits: case.limits, ..single(steps, case.files.clone()) }
}

fn single(steps: Vec<Step>, files: BTreeMap<String, FileSpec>) -> Case {
    let mut case = Case {
        id: String::new(),
        group: "probe".to_owned(),
        steps,
        files,
        after: BTreeMap::new(),
        limits: reenact_model::Limits::default(),
        origin: None,
        tags: std::collections::BTreeSet::new(),
        weight: 1,
    };
    case.id = case.generated_id();
    case
}

/// Digests of the regular files that a question starts with, by path key.
pub(super) fn digests_before(question: &Case) -> BTreeMap<String, Digest> {
    let digest = |spec: &FileSpec| match spec {
        FileSpec::File { content, .. } => content.bytes(&NoBlobs).ok().map(|b| Digest::of(&b)),
        FileSpec::Symlink(_) | FileSpec::Dir => None,
    };
    let files = question.files.iter();
    files.filter_map(|(p, spec)| Some((path_key(p.as_bytes()), digest(spec)?))).collect()
}

/// What anybody would try first on an unknown program.
pub fn first_probes() -> Vec<Case> {
    const FIRST: [&[&str]; 7] =
        [&["--help"], &["-h"], &["--version"], &["-V"], &["help"], &["-v"], &[]];
    FIRST.iter().map(|args| plain(args)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_step_of_a_case_is_asked_and_without_expectations() {
        let mut case = plain(&["a"]);
        case.steps.push(Step { argv: vec!["b".to_owned()], ..Step::default() });
        case.steps[0].expect = Some(reenact_model::Expect::default());
        let question = first_step(&case);
        assert_eq!(question.steps.len(), 1);
        assert_eq!(
            (question.steps[0].argv.as_slice(), &question.steps[0].expect),
            (["a".to_owned()].as_slice(), &None)
        );
    }

    #[test]
    fn first_probes_are_distinct_and_begin_with_help() {
        let first = first_probes();
        assert_eq!(first[0].steps[0].argv, ["--help"]);
        let inputs: std::collections::BTreeSet<_> = first.iter().map(Case::input_digest).collect();
        assert_eq!(inputs.len(), first.len());
    }
}
