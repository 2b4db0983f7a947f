//! Probing: an agent's invocations of the reference, and the probe log (DESIGN 8).

use crate::error::CleanroomError;
use reenact_bundle::{Progress, now_rfc3339};
use reenact_model::{
    Captured, Case, CaseObservation, Digest, Ended, EntryKind, FileSpec, NoBlobs, Step,
};
use reenact_sandbox::spec::PROGRAM;
use reenact_sandbox::{CellSpec, Perturbation, pool};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Mutex;

/// One line of `<id>.probes.jsonl`: one invocation of the reference by an agent. Bytes are given by digest and size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeRecord {
    /// RFC 3339 time of its end, UTC.
    pub time: String,
    /// Arguments after the program's own name.
    pub argv: Vec<String>,
    /// Variables over the base environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// It ran on a terminal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tty: bool,
    /// Standard input, if there was any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<Bytes>,
    /// Paths that were placed in the workspace first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files_before: Vec<String>,
    /// Regular files of the workspace afterwards that are new or have other bytes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files_changed: BTreeMap<String, Bytes>,
    /// Who ended it and how; absent only with `harness_error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<Bytes>,
    /// Wall-clock time, microseconds.
    pub wall_us: u64,
    /// We could not run it; says nothing about the reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub harness_error: Option<String>,
}

/// Size and digest of a byte string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bytes {
    /// Bytes received; the digest covers what was kept of them.
    pub size: u64,
    pub sha256: Digest,
    /// More was received than the digest covers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

impl Bytes {
    fn of(bytes: &[u8]) -> Self {
        Self { size: bytes.len() as u64, sha256: Digest::of(bytes), truncated: false }
    }
}

impl From<&Captured> for Bytes {
    fn from(c: &Captured) -> Self {
        Self { size: c.len, sha256: Digest::of(c.inline_bytes()), truncated: c.truncated }
    }
}

/// What a series of probes gave.
pub struct Probed {
    /// One per probe, in the order of the probes; `None` where the harness failed.
    pub seen: Vec<Option<CaseObservation>>,
    /// One per probe, in the same order.
    pub log: Vec<ProbeRecord>,
    /// Isolation layers of the cells.
    pub isolation: BTreeMap<String, String>,
}

impl Probed {
    /// The probe log, one JSON object a line.
    pub fn to_jsonl(&self) -> String {
        // Serialising plain data with string keys cannot fail.
        self.log.iter().map(|r| serde_json::to_string(r).unwrap_or_default() + "\n").collect()
    }
}

/// A probe with `argv` and nothing else.
pub fn plain(argv: &[&str]) -> Case {
    let steps =
        vec![Step { argv: argv.iter().map(|a| (*a).to_owned()).collect(), ..Step::default() }];
    single(steps, BTreeMap::new())
}

/// The first step of `case` as a probe of its own: an agent's probe log has one record per invocation.
pub fn first_step(case: &Case) -> Case {
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

/// Runs `probes` (one step each, contents inline) on the reference in cells made from `spec`.
///
/// # Errors
/// When no cell can be started, or no probe at all could be run. A probe that the harness cannot run three times in
/// a row is logged as such and skipped: it must not cost the agent the others.
pub fn run(
    spec: &CellSpec,
    workers: usize,
    probes: &[Case],
    progress: &dyn Progress,
) -> Result<Probed, CleanroomError> {
    progress.stage(&format!("probing the reference {} times", probes.len()));
    let layers = Mutex::new(BTreeMap::new());
    let mut seen: Vec<Option<CaseObservation>> = vec![None; probes.len()];
    let mut log: Vec<Option<ProbeRecord>> = vec![None; probes.len()];
    let mut last_error = None;
    let mut done = 0;
    pool::run_all(
        spec,
        workers,
        probes,
        |cell, probe| {
            if let Ok(mut layers) = layers.lock()
                && layers.is_empty()
            {
                *layers = cell.layers();
            }
            let seen = cell.run_case(PROGRAM, probe, &NoBlobs, &Perturbation::default())?;
            Ok((now_rfc3339(), seen))
        },
        |result| {
            let probe = &probes[result.index];
            match result.result {
                Ok((time, observation)) => {
                    log[result.index] = Some(record(probe, time, Ok(&observation)));
                    seen[result.index] = Some(observation);
                }
                Err(error) => {
                    let text = error.to_string();
                    progress.note(&format!("probe {} could not be run: {text}", probe.id));
                    log[result.index] = Some(record(probe, now_rfc3339(), Err(text)));
                    last_error = Some(error);
                }
            }
            done += 1;
            progress.tick(done, probes.len() as u64);
            ControlFlow::Continue(())
        },
    )?;
    if let Some(error) = last_error
        && seen.iter().all(Option::is_none)
    {
        return Err(error.into());
    }
    let isolation = layers.into_inner().unwrap_or_default();
    Ok(Probed { seen, log: log.into_iter().flatten().collect(), isolation })
}

fn record(probe: &Case, time: String, outcome: Result<&CaseObservation, String>) -> ProbeRecord {
    let step = probe.steps.first();
    let mut record = ProbeRecord {
        time,
        argv: step.map(|s| s.argv.clone()).unwrap_or_default(),
        env: step.map(|s| s.env.clone()).unwrap_or_default(),
        tty: step.is_some_and(|s| s.tty.is_some()),
        stdin: step
            .and_then(|s| s.stdin.as_ref())
            .and_then(|c| c.bytes(&NoBlobs).ok().map(|b| Bytes::of(&b))),
        files_before: probe.files.keys().cloned().collect(),
        files_changed: BTreeMap::new(),
        ended: None,
        stdout: None,
        stderr: None,
        wall_us: 0,
        harness_error: None,
    };
    match outcome {
        Err(what) => record.harness_error = Some(what),
        Ok(seen) => {
            record.files_changed = changed_files(probe, seen);
            if let Some(first) = seen.steps.first() {
                record.ended = Some(first.ended.clone());
                record.stdout = Some((&first.stdout).into());
                record.stderr = Some((&first.stderr).into());
                record.wall_us = first.resources.wall_us;
            }
        }
    }
    record
}

fn changed_files(probe: &Case, seen: &CaseObservation) -> BTreeMap<String, Bytes> {
    let before = digests_before(probe);
    let mut changed = BTreeMap::new();
    for (path, entry) in &seen.files {
        if let EntryKind::File { size, sha256, .. } = &entry.kind
            && before.get(path) != Some(sha256)
        {
            changed.insert(path.clone(), Bytes { size: *size, sha256: *sha256, truncated: false });
        }
    }
    changed
}

/// Digests of the regular files that a probe starts with, by path key.
pub(crate) fn digests_before(probe: &Case) -> BTreeMap<String, Digest> {
    let digest = |spec: &FileSpec| match spec {
        FileSpec::File { content, .. } => content.bytes(&NoBlobs).ok().map(|b| Digest::of(&b)),
        FileSpec::Symlink(_) | FileSpec::Dir => None,
    };
    let key = |path: &String| reenact_model::observe::path_key(path.as_bytes());
    probe.files.iter().filter_map(|(p, spec)| Some((key(p), digest(spec)?))).collect()
}

/// What anybody would try first on an unknown program, as probes.
pub fn first_probes() -> Vec<Case> {
    const FIRST: [&[&str]; 7] =
        [&["--help"], &["-h"], &["--version"], &["-V"], &["help"], &["-v"], &[]];
    FIRST.iter().map(|args| plain(args)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use reenact_model::{Content, Observation, Resources};

    fn observation() -> CaseObservation {
        CaseObservation {
            steps: vec![Observation {
                ended: Ended::Exit { code: 3 },
                stdout: Captured::whole(b"out"),
                stderr: Captured::empty(),
                screen: None,
                resources: Resources { wall_us: 42, ..Resources::default() },
            }],
            ..CaseObservation::default()
        }
    }

    #[test]
    fn a_record_holds_sizes_and_digests_never_the_bytes() {
        let mut probe = plain(&["-x", "y"]);
        probe.steps[0].stdin = Some(Content::Text("secret input".to_owned()));
        let record = record(&probe, "2026-01-01T00:00:00Z".to_owned(), Ok(&observation()));
        assert_eq!(record.stdin.unwrap().size, 12);
        assert_eq!(record.stdout.unwrap().sha256, Digest::of(b"out"));
        assert_eq!((record.ended.clone(), record.wall_us), (Some(Ended::Exit { code: 3 }), 42));
        let line = serde_json::to_string(&record).unwrap();
        assert!(!line.contains("secret"), "{line}");
        assert_eq!(serde_json::from_str::<ProbeRecord>(&line).unwrap(), record);
    }

    #[test]
    fn a_harness_error_is_recorded_as_ours() {
        let record = record(&plain(&[]), String::new(), Err("the cell was lost".to_owned()));
        assert_eq!(record.ended, None);
        assert_eq!(record.harness_error.as_deref(), Some("the cell was lost"));
    }

    #[test]
    fn only_the_first_step_of_a_case_is_probed_and_without_expectations() {
        let mut case = plain(&["a"]);
        case.steps.push(Step { argv: vec!["b".to_owned()], ..Step::default() });
        case.steps[0].expect = Some(reenact_model::Expect::default());
        let probe = first_step(&case);
        assert_eq!(probe.steps.len(), 1);
        assert_eq!(
            (probe.steps[0].argv.as_slice(), &probe.steps[0].expect),
            (["a".to_owned()].as_slice(), &None)
        );
    }
}
