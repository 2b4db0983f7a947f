//! Instances for tests.

use crate::dataset::Instance;
use reenact_interop::programbench::{Branch, IgnoredTest};

/// An instance with these branches: name, listed tests, ignored tests.
pub(super) fn instance(branches: &[(&str, &[&str], &[&str])]) -> Instance {
    let owned = |list: &[&str]| list.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
    let ignored = |list: &[&str]| {
        owned(list).into_iter().map(|name| IgnoredTest { name, ..IgnoredTest::default() }).collect()
    };
    Instance {
        id: "o__n.1234567".to_owned(),
        dir: "tasks/o__n.1234567".into(),
        repository: "o/n".to_owned(),
        commit: "1234567".to_owned(),
        language: "c".to_owned(),
        difficulty: None,
        clean_hashes: Vec::new(),
        branches: branches
            .iter()
            .map(|(name, tests, off)| {
                let branch = Branch {
                    tests: owned(tests),
                    ignored_tests: ignored(off),
                    ..Branch::default()
                };
                ((*name).to_owned(), branch)
            })
            .collect(),
        blobs: None,
        org: "programbench".to_owned(),
    }
}
