//! Suites whose set-up wants to install something: without a network it cannot, and tests may be missing for it.

use reenact_interop::programbench::{LogEntry, Status, TestResult, step};
use std::collections::BTreeSet;

/// What installers and interpreters say of a package that they do not get, up to its name.
const SIGNS: &[(&str, &str)] = &[
    ("No matching distribution found for ", "pip"),
    ("Could not find a version that satisfies the requirement ", "pip"),
    ("E: Unable to locate package ", "apt"),
    ("E: Package '", "apt"),
    ("ModuleNotFoundError: No module named '", "pip"),
    (": No module named ", "pip"),
];
/// Packages that are named, at most.
const MOST: usize = 20;

/// A note with the packages that were not there, if tests are missing.
pub(super) fn wanted(log: &[LogEntry], results: &[TestResult]) -> Option<String> {
    if !results.iter().any(|t| t.status == Status::NotRun) {
        return None;
    }
    let mut found: BTreeSet<(&str, String)> = BTreeSet::new();
    for entry in log.iter().filter(|e| e.step == step::RUN_TESTS) {
        for line in entry.output.lines() {
            for (sign, tool) in SIGNS {
                let Some((_, rest)) = line.split_once(sign) else { continue };
                let name: String = rest
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || "-_.+=<>[]".contains(*c))
                    .collect();
                if !name.is_empty() && found.len() < MOST {
                    found.insert((tool, name));
                }
            }
        }
    }
    if found.is_empty() {
        return None;
    }
    let list: Vec<String> = found.iter().map(|(tool, name)| format!("{name} ({tool})")).collect();
    Some(format!(
        "tests are missing, and run.sh did not get: {}. Tests have no network: install it once in a container of the image \
         (`reenact docker run`, `exec`), keep that with `reenact docker commit` under another tag, and evaluate with --image-tag; \
         or allow a network with --network host",
        list.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_named_where_tests_are_missing() {
        let entry = |output: &str| LogEntry {
            step: step::RUN_TESTS.to_owned(),
            output: output.to_owned(),
            command: String::new(),
            wall_time: 0.0,
            returncode: 0,
            exception_info: String::new(),
            branch: None,
            other: std::collections::BTreeMap::new(),
        };
        let result = |status| TestResult {
            name: "t".to_owned(),
            branch: String::new(),
            status,
            extra: reenact_interop::programbench::Extra::default(),
        };
        let log = [entry(
            "ERROR: No matching distribution found for pexpect==4.9\nE: Unable to locate package tmux\nE   ModuleNotFoundError: No module named 'yaml'",
        )];
        let note = wanted(&log, &[result(Status::NotRun)]).unwrap();
        for part in ["pexpect==4.9 (pip)", "tmux (apt)", "yaml (pip)", "--image-tag"] {
            assert!(note.contains(part), "{part}: {note}");
        }
        assert_eq!(wanted(&log, &[result(Status::Failure)]), None);
        assert_eq!(wanted(&[entry("fine")], &[result(Status::NotRun)]), None);
    }
}
