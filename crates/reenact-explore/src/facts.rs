//! What of an observation counts: everything but resources, modes, and the raw byte stream of a terminal.

use reenact_model::observe::path_key;
use reenact_model::{
    Case, CaseObservation, Content, Digest, Ended, EntryKind, FileSpec, NoBlobs, Observation, Step,
};

/// Bytes of the observable channels of one step. A terminal step is its screens.
pub fn channels<'a>(step: &Step, seen: &'a Observation) -> Vec<(&'static str, &'a [u8])> {
    if step.tty.is_some() {
        return vec![("screen", seen.screen.as_deref().unwrap_or_default().as_bytes())];
    }
    vec![("stdout", seen.stdout.inline_bytes()), ("stderr", seen.stderr.inline_bytes())]
}

/// The first channel on which two observations of a case differ.
pub fn difference(case: &Case, a: &CaseObservation, b: &CaseObservation) -> Option<&'static str> {
    if a.steps.len() != b.steps.len() {
        return Some("exit");
    }
    for ((step, x), y) in case.steps.iter().zip(&a.steps).zip(&b.steps) {
        if x.ended != y.ended {
            return Some("exit");
        }
        for ((name, left), (_, right)) in channels(step, x).into_iter().zip(channels(step, y)) {
            if left != right {
                return Some(name);
            }
        }
    }
    let kinds = |seen: &CaseObservation| -> Vec<(String, EntryKind)> {
        seen.files.iter().map(|(name, entry)| (name.clone(), entry.kind.clone())).collect()
    };
    (kinds(a) != kinds(b)).then_some("files")
}

/// Digest of everything that counts: equal behaviour, equal digest.
pub fn behaviour(case: &Case, seen: &CaseObservation) -> Digest {
    let mut text = Vec::new();
    for (step, observation) in case.steps.iter().zip(&seen.steps) {
        text.extend(format!("{:?}\0", observation.ended).into_bytes());
        for (name, bytes) in channels(step, observation) {
            text.extend(format!("{name} {}\0", Digest::of(bytes)).into_bytes());
        }
    }
    for (name, entry) in &seen.files {
        // What was placed and left alone is input, not behaviour.
        if !case.files.get(name).is_some_and(|spec| untouched(spec, &entry.kind)) {
            text.extend(format!("{name} {:?}\0", entry.kind).into_bytes());
        }
    }
    for name in case.files.keys().filter(|name| !seen.files.contains_key(*name)) {
        text.extend(format!("{name} gone\0").into_bytes());
    }
    Digest::of(&text)
}

/// Whether an entry is still what the case placed.
pub fn untouched(spec: &FileSpec, kind: &EntryKind) -> bool {
    match (spec, kind) {
        (FileSpec::File { content: Content::Blob(digest), .. }, EntryKind::File { sha256, .. }) => {
            digest == sha256
        }
        (FileSpec::File { content, .. }, EntryKind::File { sha256, .. }) => {
            content.bytes(&NoBlobs).is_ok_and(|bytes| Digest::of(&bytes) == *sha256)
        }
        (FileSpec::Dir, EntryKind::Dir) => true,
        (FileSpec::Symlink(want), EntryKind::Symlink { target }) => {
            path_key(want.as_bytes()) == *target
        }
        _ => false,
    }
}

/// Why an observation cannot become an expectation, if so: a limit, a program that could not be run.
pub fn unusable(case: &Case, seen: &CaseObservation) -> Option<String> {
    let limit = |ended: &Ended| {
        Some(match ended {
            Ended::WallLimit { .. } => "limit:wall",
            Ended::CpuLimit { .. } => "limit:cpu",
            Ended::MemoryLimit { .. } => "limit:memory",
            Ended::OutputLimit { .. } => "limit:output",
            Ended::ExecFailed { .. } => "exec-failed",
            Ended::ScriptEnded { waiting_for: Some(_) } => "script",
            Ended::Exit { .. }
            | Ended::Signal { .. }
            | Ended::ScriptEnded { waiting_for: None } => return None,
        })
    };
    let by_limit = seen.steps.iter().find_map(|s| limit(&s.ended)).map(str::to_owned);
    let truncated = || {
        seen.files_truncated || seen.steps.iter().any(|s| s.stdout.truncated || s.stderr.truncated)
    };
    let leftovers = || {
        seen.steps
            .iter()
            .any(|s| s.resources.leftovers > 0 && !matches!(s.ended, Ended::ScriptEnded { .. }))
    };
    let killed = || seen.steps.iter().any(|s| s.resources.oom_kills > 0);
    by_limit
        .or_else(|| (seen.steps.len() != case.steps.len()).then(|| "not-reached".to_owned()))
        .or_else(|| truncated().then(|| "too-large".to_owned()))
        .or_else(|| killed().then(|| "limit:memory".to_owned()))
        .or_else(|| leftovers().then(|| "leftover-processes".to_owned()))
}

/// Whether the case ended in what looks like a refusal: a failure that printed nothing on stdout.
pub fn is_refusal(case: &Case, seen: &CaseObservation) -> bool {
    match (case.steps.last(), seen.steps.last()) {
        (Some(step), Some(last)) => {
            step.tty.is_none() && last.ended != (Ended::Exit { code: 0 }) && last.stdout.len == 0
        }
        _ => true,
    }
}

/// How much a case has to show: output bytes on a logarithmic scale, files, several steps. Selection prefers more.
pub fn richness(case: &Case, seen: &CaseObservation) -> u32 {
    let bytes: u64 = seen.steps.iter().map(|s| s.stdout.len + s.stderr.len / 4).sum();
    let new_files = seen.files.keys().filter(|n| !case.files.contains_key(*n)).count();
    let ok = seen.steps.iter().all(|s| s.ended == (Ended::Exit { code: 0 }));
    bytes.checked_ilog2().unwrap_or(0).min(12) + 4 * u32::from(new_files > 0) + 6 * u32::from(ok)
}
