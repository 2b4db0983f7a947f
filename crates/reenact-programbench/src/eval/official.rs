//! The official arithmetic, reproduced: what a JUnit file means, what is evaluated again, what a score is.
//!
//! Unlisted tests count, and so do repetitions; where that misleads, the strict score differs and says why.

use crate::dataset::Instance;
use reenact_interop::junit::{Junit, JunitError, Limits, parse};
use reenact_interop::programbench::{EvalJson, Extra, Status, TestBranchError, TestResult, step};
use std::collections::{BTreeMap, BTreeSet};

/// Passed and counted tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Score {
    pub passed: u64,
    pub total: u64,
}

impl Score {
    /// Passed by total; nothing counted is nothing scored.
    pub fn value(self) -> f64 {
        if self.total == 0 { 0.0 } else { self.passed as f64 / self.total as f64 }
    }
}

/// A branch's results and warnings.
pub(super) fn process(
    junit: Junit,
    branch: &str,
    instance: &Instance,
) -> (Vec<TestResult>, Vec<String>) {
    let mut results: Vec<TestResult> = junit
        .cases
        .into_iter()
        .map(|c| TestResult {
            name: c.name,
            branch: branch.to_owned(),
            status: c.status,
            extra: c.extra,
        })
        .collect();
    let mut warnings = Vec::new();
    let tag = format!("[{}] branch {branch}", instance.id);
    let Some(listed) = instance.branch(branch) else {
        warnings.push(format!("{tag}: no expected test list, cannot verify completeness"));
        return (results, warnings);
    };
    if listed.ignored {
        return (results, warnings);
    }
    let ignored: BTreeSet<&str> = listed.ignored_tests.iter().map(|t| t.name.as_str()).collect();
    let expected: BTreeSet<&str> = listed.tests.iter().map(String::as_str).collect();
    let got: BTreeSet<String> = results.iter().map(|t| t.name.clone()).collect();
    let missing =
        listed.tests.iter().filter(|n| !ignored.contains(n.as_str()) && !got.contains(*n));
    results.extend(missing.map(|name| not_run(name, branch, "missing_from_junit_xml")));
    let unlisted = got
        .iter()
        .filter(|n| !expected.contains(n.as_str()) && !ignored.contains(n.as_str()))
        .count();
    if unlisted > 0 {
        warnings.push(format!("{tag}: {unlisted} test(s) in JUnit XML not in tests.json"));
    }
    (results, warnings)
}

fn not_run(name: &str, branch: &str, code: &str) -> TestResult {
    TestResult {
        name: name.to_owned(),
        branch: branch.to_owned(),
        status: Status::NotRun,
        extra: Extra { error_code: Some(code.to_owned()), ..Extra::default() },
    }
}

/// Every listed test of a branch, not run. A branch without a list is an error of its own.
pub(super) fn inject_not_run(
    instance: &Instance,
    branch: &str,
    code: &str,
    errors: &mut BTreeMap<String, Vec<TestBranchError>>,
) -> Vec<TestResult> {
    let tests = instance.branch(branch).map_or(&[][..], |b| &b.tests);
    if tests.is_empty() {
        let details =
            format!("No expected test list for branch {branch}, cannot inject not_run results");
        errors
            .entry(branch.to_owned())
            .or_insert_with(|| vec![error("no_expected_test_list", details)]);
    }
    tests.iter().map(|name| not_run(name, branch, code)).collect()
}

pub(super) fn error(code: &str, details: impl Into<String>) -> TestBranchError {
    TestBranchError { error_code: code.to_owned(), error_details: details.into() }
}

/// The code and details of a result file that is none.
pub(super) fn unreadable(problem: &JunitError, branch: &str) -> TestBranchError {
    match problem {
        JunitError::Empty => {
            error("empty_test_results", format!("Empty test results XML for branch '{branch}'"))
        }
        other => error(
            "xml_parse_error",
            format!("Malformed test results XML for branch '{branch}': {other}"),
        ),
    }
}

/// Branches that have to be evaluated (again).
pub(super) fn branches_to_eval(existing: Option<&EvalJson>, instance: &Instance) -> Vec<String> {
    let all: Vec<String> = instance.active_branches().into_iter().map(str::to_owned).collect();
    let Some(existing) = existing else { return all };
    if existing.test_branches.is_empty() || existing.error_code.is_some() {
        return all;
    }
    let ignored = instance.ignored_tests();
    let had: BTreeSet<&str> = existing.test_branches.iter().map(String::as_str).collect();
    all.into_iter()
        .filter(|branch| {
            if !had.contains(branch.as_str()) || existing.test_branch_errors.contains_key(branch) {
                return true;
            }
            let present: BTreeSet<&str> = existing
                .test_results
                .iter()
                .filter(|t| &t.branch == branch && t.status != Status::NotRun)
                .map(|t| t.name.as_str())
                .collect();
            let tests = instance.branch(branch).map_or(&[][..], |b| &b.tests);
            tests.iter().any(|t| {
                !ignored.contains(&format!("{branch}/{t}")) && !present.contains(t.as_str())
            })
        })
        .collect()
}

/// Whether a stored result can be worked out again from its log.
fn can_reprocess(result: &EvalJson) -> bool {
    let read: BTreeSet<&str> = result
        .log
        .iter()
        .filter(|e| e.step == step::RESULTS_READ)
        .filter_map(|e| e.branch.as_deref())
        .collect();
    let fine = result.test_branches.iter().filter(|b| !result.test_branch_errors.contains_key(*b));
    result.error_code.is_some() || fine.into_iter().all(|b| read.contains(b.as_str()))
}

/// A stored result worked out again from the result files in its log, with today's lists of tests; `None` where the log does
/// not have them.
pub fn reprocess(existing: &EvalJson, instance: &Instance) -> Option<EvalJson> {
    if !can_reprocess(existing) {
        return None;
    }
    let mut result = EvalJson {
        test_branches: existing.test_branches.clone(),
        log: existing.log.clone(),
        solution_branch: existing.solution_branch.clone(),
        executable_hash: existing.executable_hash.clone(),
        ..EvalJson::default()
    };
    if existing.error_code.is_some() {
        result.error_code.clone_from(&existing.error_code);
        result.error_details.clone_from(&existing.error_details);
    }
    let files: BTreeMap<&str, &str> = existing
        .log
        .iter()
        .filter(|e| e.step == step::RESULTS_READ && e.returncode == 0)
        .filter_map(|e| Some((e.branch.as_deref()?, e.output.as_str())))
        .collect();
    let mut errors = BTreeMap::new();
    for branch in &existing.test_branches {
        let failed = match (&existing.error_code, files.get(branch.as_str())) {
            (Some(code), _) => {
                let injected = inject_not_run(instance, branch, code, &mut errors);
                result.test_results.extend(injected);
                continue;
            }
            (None, Some(text)) => match parse(text, &Limits::default()) {
                Ok(junit) => {
                    let (results, warnings) = process(junit, branch, instance);
                    result.test_results.extend(results);
                    result.warnings.extend(warnings);
                    continue;
                }
                Err(problem) => vec![unreadable(&problem, branch)],
            },
            (None, None) => match existing.test_branch_errors.get(branch) {
                Some(stored) if !stored.is_empty() => stored.clone(),
                _ => vec![error("no_results_in_log", "")],
            },
        };
        let code = failed[0].error_code.clone();
        errors.insert(branch.clone(), failed);
        let injected = inject_not_run(instance, branch, &code, &mut errors);
        result.test_results.extend(injected);
    }
    result.test_branch_errors = errors;
    Some(result)
}

/// A new result of some branches, with what was known of the others.
pub(super) fn merge(old: EvalJson, new: EvalJson, instance: &Instance) -> EvalJson {
    let wanted: BTreeSet<&str> = instance.active_branches().into_iter().collect();
    let fresh: BTreeSet<&str> = new.test_branches.iter().map(String::as_str).collect();
    let kept = |branch: &str| wanted.contains(branch) && !fresh.contains(branch);
    let mut errors = old.test_branch_errors;
    errors.retain(|b, _| kept(b));
    errors.extend(new.test_branch_errors);
    let about_fresh = |warning: &str| {
        fresh.iter().any(|b| {
            warning.contains(&format!("branch {b}")) || warning.contains(&format!("Branch {b}"))
        })
    };
    let mut warnings: Vec<String> = old.warnings.into_iter().filter(|w| !about_fresh(w)).collect();
    warnings.extend(new.warnings);
    let mut test_results: Vec<TestResult> =
        old.test_results.into_iter().filter(|t| kept(&t.branch)).collect();
    test_results.extend(new.test_results);
    let mut log = old.log;
    for entry in log.iter_mut().filter(|e| e.step == step::RESULTS_READ) {
        // What counts now may have none, and then no older one may be taken for it.
        entry.branch.take_if(|b| fresh.contains(b.as_str()));
    }
    log.extend(new.log);
    EvalJson {
        test_results,
        error_code: None,
        error_details: None,
        log,
        solution_branch: new.solution_branch.or(old.solution_branch),
        test_branches: instance.active_branches().into_iter().map(str::to_owned).collect(),
        test_branch_errors: errors,
        executable_hash: new.executable_hash,
        warnings,
    }
}

/// The official score: of active branches, without ignored tests.
pub fn score(result: &EvalJson, instance: &Instance) -> Score {
    let active: BTreeSet<&str> = instance.active_branches().into_iter().collect();
    let ignored = instance.ignored_tests();
    let mut had: Vec<&str> = result.test_branches.iter().map(String::as_str).collect();
    had.sort_unstable();
    // Unless other branches were evaluated, results of any branch count.
    let scoped = had == active.iter().copied().collect::<Vec<_>>();
    let mut score = Score::default();
    for test in &result.test_results {
        let full = if test.branch.is_empty() {
            test.name.clone()
        } else {
            format!("{}/{}", test.branch, test.name)
        };
        if (scoped || active.contains(test.branch.as_str())) && !ignored.contains(&full) {
            score.total += 1;
            score.passed += u64::from(test.status == Status::Passed);
        }
    }
    score
}

#[cfg(test)]
mod tests {
    use super::super::testing::instance;
    use super::*;
    use reenact_interop::programbench::LogEntry;

    const XML: &str = r#"<testsuite><testcase classname="m" name="a"/><testcase classname="m" name="a"/><testcase classname="m" name="new"/>
        <testcase classname="m" name="off"><failure/></testcase></testsuite>"#;

    fn read(branch: &str, output: &str) -> LogEntry {
        LogEntry {
            step: step::RESULTS_READ.to_owned(),
            command: String::new(),
            wall_time: 0.0,
            output: output.to_owned(),
            returncode: 0,
            exception_info: String::new(),
            branch: Some(branch.to_owned()),
            other: BTreeMap::new(),
        }
    }

    #[test]
    fn unlisted_and_repeated_tests_count_and_missing_ones_were_not_run() {
        let instance = instance(&[("b", &["m.a", "m.gone", "m.off"], &["m.off"])]);
        let junit = parse(XML, &Limits::default()).unwrap();
        let (results, warnings) = process(junit, "b", &instance);
        let names: Vec<&str> = results.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["m.a", "m.a", "m.new", "m.off", "m.gone"]);
        assert_eq!(results[4].extra.error_code.as_deref(), Some("missing_from_junit_xml"));
        assert_eq!(warnings, ["[o__n.1234567] branch b: 1 test(s) in JUnit XML not in tests.json"]);
        let result = EvalJson {
            test_results: results,
            test_branches: vec!["b".into()],
            ..EvalJson::default()
        };
        assert_eq!(score(&result, &instance), Score { passed: 3, total: 4 });
    }

    #[test]
    fn branches_with_errors_or_gaps_are_evaluated_again() {
        let instance = instance(&[
            ("a", &["m.a"], &[]),
            ("b", &["m.a"], &[]),
            ("c", &["m.a", "m.z"], &["m.z"]),
        ]);
        let all = ["a", "b", "c"];
        assert_eq!(branches_to_eval(None, &instance), all);
        let mut stored = EvalJson {
            test_branches: vec!["a".into(), "b".into(), "c".into()],
            log: vec![read("a", XML), read("c", XML), read("b", XML)],
            ..EvalJson::default()
        };
        stored = reprocess(&stored, &instance).unwrap();
        assert!(branches_to_eval(Some(&stored), &instance).is_empty());
        stored.test_branch_errors.insert("b".into(), vec![error("x_failed", "")]);
        assert_eq!(branches_to_eval(Some(&stored), &instance), ["b"]);
        stored.test_branches.retain(|b| b != "a");
        assert_eq!(branches_to_eval(Some(&stored), &instance), ["a", "b"]);
        stored.error_code = Some("compile_failed".into());
        assert_eq!(branches_to_eval(Some(&stored), &instance), all);
    }

    #[test]
    fn a_stored_result_is_worked_out_again_from_its_log() {
        let instance = instance(&[("a", &["m.a"], &[]), ("b", &["m.a"], &[])]);
        let stored = EvalJson {
            test_branches: vec!["a".into(), "b".into()],
            log: vec![read("a", XML), read("b", "<testsuite>")],
            ..EvalJson::default()
        };
        let again = reprocess(&stored, &instance).unwrap();
        assert_eq!(again.test_branch_errors["b"][0].error_code, "xml_parse_error");
        assert_eq!(score(&again, &instance), Score { passed: 3, total: 5 });
        // Without the log there is nothing to work with.
        assert_eq!(reprocess(&EvalJson { log: Vec::new(), ..stored }, &instance), None);
        let failed = EvalJson {
            error_code: Some("compile_failed".into()),
            test_branches: vec!["a".into()],
            ..EvalJson::default()
        };
        assert_eq!(reprocess(&failed, &instance).unwrap().test_results[0].status, Status::NotRun);
    }

    #[test]
    fn merging_replaces_the_branches_that_were_run() {
        let instance = instance(&[("a", &["m.a"], &[]), ("b", &["m.a"], &[])]);
        let whole = |branch: &str, warning: &str, status| EvalJson {
            test_results: vec![TestResult {
                name: "m.a".into(),
                branch: branch.into(),
                status,
                extra: Extra::default(),
            }],
            test_branches: vec![branch.into()],
            warnings: vec![format!("[i] branch {branch}: {warning}")],
            log: vec![read(branch, "")],
            ..EvalJson::default()
        };
        let mut old = whole("a", "old", Status::Failure);
        old.test_results.push(TestResult {
            name: "m.a".into(),
            branch: "b".into(),
            status: Status::Passed,
            extra: Extra::default(),
        });
        old.test_branch_errors.insert("a".into(), vec![error("x", "")]);
        let merged = merge(old, whole("a", "new", Status::Passed), &instance);
        assert_eq!(merged.test_branches, ["a", "b"]);
        assert!(merged.test_branch_errors.is_empty());
        assert_eq!(merged.warnings, ["[i] branch a: new"]);
        assert_eq!(score(&merged, &instance), Score { passed: 2, total: 2 });
        let named: Vec<Option<&str>> = merged.log.iter().map(|e| e.branch.as_deref()).collect();
        assert_eq!(named, [None, Some("a")]);
    }
}
