//! Results: counted from verdicts, written so that memory does not grow with what programs printed.

use crate::journal::{Journal, TaskLog};
use crate::rundir::RunDir;
use reenact_bundle::fsx::{fs_error, write_atomic};
use reenact_bundle::{FsError, Suite, TaskBundle};
use reenact_interop::programbench::to_eval;
use reenact_model::run::{
    BuildResult, CaseResult, GroupScore, Harness, Outcome, TaskResult, verdicts_digest,
};
use reenact_model::{Digest, Verdict};
use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Share of passes from which a task is almost resolved.
pub const ALMOST: f64 = 0.95;

/// Everything a result is made of beside its cases.
pub(crate) struct Head<'a> {
    pub task: &'a TaskBundle,
    pub suite: &'a Suite,
    pub harness: &'a Harness,
    pub outcome: Outcome,
    pub why: Option<String>,
    pub build: BuildResult,
    pub isolation: BTreeMap<String, String>,
    pub notes: Vec<String>,
    pub suite_ms: u64,
}

/// A case as it stands in the result: judged, or why not.
pub(crate) fn case_results(
    suite: &Suite,
    log: &TaskLog,
    errors: &BTreeMap<String, CaseResult>,
    otherwise: &Verdict,
) -> Vec<CaseResult> {
    let stand_in = |id: &str, group: &str| CaseResult {
        id: id.to_owned(),
        group: group.to_owned(),
        verdict: otherwise.clone(),
        wall_us: 0,
        retries: 0,
        observation: None,
    };
    suite
        .cases
        .iter()
        .map(|case| {
            let judged = log.judged.get(&case.id).map(|j| &j.case);
            match judged.or_else(|| errors.get(&case.id)) {
                // The group is the suite's, whatever the journal says.
                Some(found) => CaseResult { group: case.group.clone(), ..found.clone() },
                None => stand_in(&case.id, &case.group),
            }
        })
        .collect()
}

/// Counts a result. Every case of the suite is in it, once.
pub(crate) fn assemble(head: Head<'_>, cases: Vec<CaseResult>) -> TaskResult {
    let id = head.task.id();
    let mut result = TaskResult {
        why: head.why,
        suite_digest: head.suite.manifest.digest,
        build: head.build,
        isolation: head.isolation,
        suite_ms: head.suite_ms,
        cases,
        notes: head.notes,
        ..TaskResult::without_cases(id, head.outcome, head.task.digest, head.harness)
    };
    recount(&mut result);
    result
}

/// Computes every figure of a result from its cases.
pub(crate) fn recount(result: &mut TaskResult) {
    let count =
        |f: fn(&Verdict) -> bool| result.cases.iter().filter(|c| f(&c.verdict)).count() as u64;
    result.passed = count(Verdict::passed);
    result.failed = count(|v| matches!(v, Verdict::Fail { .. }));
    result.not_run = count(|v| matches!(v, Verdict::NotRun { .. }));
    result.harness_errors = count(|v| matches!(v, Verdict::HarnessError { .. }));
    result.total = result.cases.len() as u64;
    result.score = if result.total == 0 { 0.0 } else { result.passed as f64 / result.total as f64 };
    result.resolved = result.total > 0 && result.passed == result.total;
    result.almost_resolved = result.total > 0 && result.score >= ALMOST;
    let mut groups: BTreeMap<String, GroupScore> = BTreeMap::new();
    for case in &result.cases {
        let group = groups.entry(case.group.clone()).or_default();
        group.total += 1;
        group.passed += u64::from(case.verdict.passed());
    }
    result.groups = groups;
    result.verdicts_digest =
        verdicts_digest(result.cases.iter().map(|c| (c.id.as_str(), &c.verdict)));
}

/// A result for a task that could not be graded at all because its bundle or suite is broken. The suite's digest is that of
/// the bytes found, of none if there are none.
pub(crate) fn harness_failed(
    id: &str,
    harness: &Harness,
    task_digest: Digest,
    suite_dir: Option<&Path>,
    why: String,
) -> TaskResult {
    let cases =
        suite_dir.and_then(|dir| std::fs::read(dir.join("cases.jsonl")).ok()).unwrap_or_default();
    TaskResult {
        why: Some(why),
        suite_digest: Digest::of(&cases),
        ..TaskResult::without_cases(id, Outcome::HarnessFailed, task_digest, harness)
    }
}

/// Writes `<id>.reenact.json` and `<id>.eval.json`, each atomically.
pub(crate) fn write(
    run: &RunDir,
    result: &TaskResult,
    observations: Option<(&Journal, &TaskLog)>,
) -> Result<(), FsError> {
    let path = run.result(&result.task);
    write_result(&path, result, observations)?;
    let path = run.eval(&result.task);
    let json = to_eval(result)
        .to_json()
        .map_err(|e| fs_error(&path, "write")(std::io::Error::other(e)))?;
    write_atomic(&path, json.as_bytes())
}

/// Writes the result with each case's observation read back from the journal, one case at a time.
fn write_result(
    path: &Path,
    result: &TaskResult,
    observations: Option<(&Journal, &TaskLog)>,
) -> Result<(), FsError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(fs_error(parent, "create"))?;
    let temp = tempfile::Builder::new()
        .prefix(".tmp-")
        .tempfile_in(parent)
        .map_err(fs_error(path, "write"))?;
    let mut out = BufWriter::with_capacity(1 << 16, temp.as_file());
    stream(&mut out, result, observations).map_err(fs_error(path, "write"))?;
    out.flush().map_err(fs_error(path, "write"))?;
    drop(out);
    temp.as_file()
        .set_permissions(std::fs::Permissions::from_mode(0o644))
        .map_err(fs_error(path, "write"))?;
    temp.persist(path).map_err(|e| fs_error(path, "write")(e.error))?;
    Ok(())
}

fn stream(
    out: &mut impl Write,
    result: &TaskResult,
    observations: Option<(&Journal, &TaskLog)>,
) -> std::io::Result<()> {
    let slim = TaskResult { cases: Vec::new(), ..result.clone() };
    let serde_json::Value::Object(fields) = serde_json::to_value(&slim)? else {
        unreachable!("a struct serialises as an object")
    };
    for (i, (key, value)) in fields.iter().enumerate() {
        out.write_all(if i == 0 { b"{" } else { b"," })?;
        serde_json::to_writer(&mut *out, key)?;
        out.write_all(b":")?;
        if key == "cases" {
            stream_cases(out, result, observations)?;
        } else {
            serde_json::to_writer(&mut *out, value)?;
        }
    }
    out.write_all(b"}\n")
}

fn stream_cases(
    out: &mut impl Write,
    result: &TaskResult,
    observations: Option<(&Journal, &TaskLog)>,
) -> std::io::Result<()> {
    out.write_all(b"[")?;
    for (i, case) in result.cases.iter().enumerate() {
        out.write_all(if i == 0 { b"\n" } else { b",\n" })?;
        let stored = match (&case.verdict, &case.observation, observations) {
            (Verdict::Fail { .. }, None, Some((journal, log))) => log
                .judged
                .get(&case.id)
                .map(|judged| journal.read_case(judged.span))
                .transpose()
                .map_err(|e| e.error)?,
            _ => None,
        };
        match stored {
            Some(stored) => {
                let full = CaseResult { observation: stored.observation, ..case.clone() };
                serde_json::to_writer(&mut *out, &full)?;
            }
            None => serde_json::to_writer(&mut *out, case)?,
        }
    }
    out.write_all(b"]")
}
