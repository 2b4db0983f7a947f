//! From the oracle's events to one line of the probe log.

use reenact_model::observe::path_key;
use reenact_model::probe::{FileChange, Probe, ProbeStream};
use reenact_model::{Content, Digest};
use reenact_sandbox::room::oracle::{ProbeBegan, ProbeEnded, StreamSeen};
use std::collections::BTreeMap;

/// Variables that every shell sets for itself; they say nothing of what an agent tried. `PWD` is left out where it is the
/// working directory, which has a field of its own.
const OF_THE_SHELL: [&str; 3] = ["_", "SHLVL", "OLDPWD"];

/// What the log knows of a probe besides the oracle's events.
pub(super) struct Start<'a> {
    pub id: u64,
    pub step: Option<u64>,
    pub time: String,
    /// Since its beginning, for probes that have not ended.
    pub elapsed_us: u64,
    /// The first bytes of streams are kept.
    pub heads: bool,
    pub base_env: &'a BTreeMap<String, String>,
}

/// Now, UTC, RFC 3339, milliseconds.
pub(super) fn now_millis() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// The record of a probe; `ended` is absent if its end was not seen.
pub(super) fn probe(start: &Start<'_>, began: &ProbeBegan, ended: Option<&ProbeEnded>) -> Probe {
    let keys = |list: &[Vec<u8>]| list.iter().map(|a| path_key(a)).collect::<Vec<String>>();
    let unseen = |kind| ProbeStream { kind, bytes: 0, sha256: None, head: None, complete: false };
    let seen = |stream: &StreamSeen| stream_of(stream, start.heads);
    Probe {
        id: start.id,
        time: start.time.clone(),
        step: start.step,
        argv: keys(&began.argv),
        argv_cut: began.argv_cut,
        env: env_difference(start.base_env, began),
        cwd: path_key(&began.cwd),
        parent: keys(&began.parent),
        stdin: seen(ended.and_then(|e| e.stdin.as_ref()).unwrap_or(&began.stdin)),
        stdout: ended.map_or_else(|| unseen(began.stdout), |e| seen(&e.stdout)),
        stderr: ended.map_or_else(|| unseen(began.stderr), |e| seen(&e.stderr)),
        merged: ended.is_some_and(|e| e.merged),
        files: ended.map(files).unwrap_or_default(),
        ended: ended.map(|e| e.ended.clone()),
        wall_us: ended.map_or(start.elapsed_us, |e| e.wall_us),
        cpu_us: ended.map_or(0, |e| e.user_us.saturating_add(e.sys_us)),
    }
}

/// The line, without its newline.
pub(super) fn text(probe: &Probe) -> String {
    // Plain data with string keys; serialising it cannot fail.
    serde_json::to_string(probe).unwrap_or_default()
}

fn stream_of(seen: &StreamSeen, heads: bool) -> ProbeStream {
    ProbeStream {
        kind: seen.kind,
        bytes: seen.bytes,
        sha256: seen.sha256.map(Digest::from_raw),
        head: (heads && !seen.head.is_empty()).then(|| Content::inline(&seen.head)),
        complete: seen.complete,
    }
}

fn files(ended: &ProbeEnded) -> BTreeMap<String, FileChange> {
    let change = |new: &bool| if *new { FileChange::Created } else { FileChange::Changed };
    ended.files.iter().map(|(path, new)| (path_key(path), change(new))).collect()
}

fn env_difference(
    base: &BTreeMap<String, String>,
    began: &ProbeBegan,
) -> BTreeMap<String, Option<String>> {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for variable in &began.env {
        let cut = variable.iter().position(|b| *b == b'=').unwrap_or(variable.len());
        let value = variable.get(cut + 1..).unwrap_or_default();
        // Of two variables of one name, `getenv` finds the first.
        seen.entry(path_key(&variable[..cut])).or_insert_with(|| path_key(value));
    }
    let cwd = path_key(&began.cwd);
    let noise = |name: &str, value: Option<&String>| {
        OF_THE_SHELL.contains(&name) || (name == "PWD" && value.is_none_or(|v| *v == cwd))
    };
    let mut difference: BTreeMap<String, Option<String>> = BTreeMap::new();
    for (name, value) in &seen {
        let ours = base.get(name).map(|v| path_key(v.as_bytes()));
        if ours.as_ref() != Some(value) && !noise(name, Some(value)) {
            difference.insert(name.clone(), Some(value.clone()));
        }
    }
    // Where not all variables are known, one that is missing may only have been cut off.
    for name in base.keys().filter(|_| !began.env_cut) {
        if !seen.contains_key(&path_key(name.as_bytes())) && !noise(name, None) {
            difference.insert(path_key(name.as_bytes()), None);
        }
    }
    difference
}
