//! The integrity report: what broke the policy, or may have. Evidence, never a verdict.
//!
//! Commands are read by a small splitter ([`shell`]) and judged by what is run on what ([`rules`]); in the cleanroom such
//! commands meet the oracle's stub and no network, so they are notes. What could have given the agent an answer is a breach,
//! and is looked for where it would show: the reference's machine code in the outputs of commands ([`outputs`]) and in the
//! submission, and calls of an installed copy of the tool ([`files`]).

mod bytes;
mod decode;
mod elsewhere;
mod files;
mod lexer;
mod outputs;
pub mod rules;
pub mod shell;
#[cfg(test)]
mod tests;
mod wrappers;

use super::blobs::Blobs;
use super::submission::Listing;
use crate::error::CleanroomError;
use bytes::Secret;
use files::Inspector;
use reenact_bundle::fsx::{fs_error, read};
use reenact_bundle::{TaskBundle, write_atomic};
use reenact_interop::trajectory::{Message, read_mini};
pub use reenact_model::integrity::{IntegrityFinding, IntegrityReport, Severity};
use reenact_model::{FormatError, error::parse_json};
use reenact_sandbox::spec::WORKSPACE;
use rules::Known;
use std::collections::BTreeMap;
use std::path::Path;

/// Findings of each severity that are listed.
const MOST: usize = 200;
/// Characters of evidence.
const EVIDENCE: usize = 400;

/// Looks at the attempt in `dir` (`RUN/<id>`): its trajectory, if there is one, and its submission's listing and blobs. Writes
/// `<id>.integrity.json`; the same attempt gives the same bytes. Call it after [`super::submission::make`].
///
/// # Errors
/// I/O; a trajectory or a listing that cannot be read.
pub fn report(task: &TaskBundle, dir: &Path) -> Result<IntegrityReport, CleanroomError> {
    let (id, blobs) = (task.id(), Blobs::of(dir));
    let (secret, known) = (Secret::of(task)?, Known::of(task));
    let mut report =
        IntegrityReport { schema: 1, task: id.to_owned(), ..IntegrityReport::default() };
    let mut found = Vec::new();
    let path = dir.join(format!("{id}.traj.json"));
    if path.is_file() {
        let messages = read_mini(&path, &read(&path)?)?.trajectory.messages;
        report.commands = Some(trajectory(&messages, &known, &mut found));
        found.extend(shown(&messages, &secret, &blobs));
    }
    let path = dir.join(format!("{id}.submission.json"));
    if path.is_file() {
        let bytes = read(&path)?;
        let text =
            std::str::from_utf8(&bytes).map_err(|_| FormatError::file(&path, "is not UTF-8"))?;
        let listing: Listing = parse_json(&path, None, text)?;
        let inspector = Inspector::new(&secret, &known, &blobs);
        for item in &listing.items {
            inspector.look(item, &mut found)?;
        }
        report.files = listing.refused.is_none().then_some(listing.files);
    }
    fill(&mut report, found);
    let path = dir.join(format!("{id}.integrity.json"));
    let json = serde_json::to_vec_pretty(&report)
        .map_err(|e| fs_error(&path, "write")(std::io::Error::other(e)))?;
    write_atomic(&path, &json)?;
    Ok(report)
}

/// Judges the commands of a conversation; gives their number.
fn trajectory(messages: &[Message], known: &Known, found: &mut Vec<IntegrityFinding>) -> u64 {
    let mut count = 0;
    for (step, message) in steps(messages) {
        if message.role == "tool" {
            continue;
        }
        for action in message.commands() {
            count += 1;
            found.extend(command(&action.command, known, step));
        }
    }
    count
}

/// Judges one command of an agent.
fn command(text: &str, known: &Known, step: u64) -> Vec<IntegrityFinding> {
    let commands = shell::split(text, WORKSPACE);
    let mut found = Vec::new();
    for (i, simple) in commands.iter().enumerate() {
        for rule in rules::broken(&commands, i, known) {
            found.push(IntegrityFinding {
                rule: rule.id.to_owned(),
                severity: Severity::Note,
                step: Some(step),
                path: None,
                offset: None,
                evidence: cut(&simple.text()),
                why: rule.why.to_owned(),
            });
        }
    }
    found
}

/// Outputs that show the reference.
fn shown(messages: &[Message], secret: &Secret, blobs: &Blobs) -> Vec<IntegrityFinding> {
    steps(messages)
        .filter(|(_, m)| m.role == "tool" || m.extra.returncode.is_some())
        .filter_map(|(step, m)| outputs::look(m, step, secret, blobs))
        .collect()
}

/// Messages with the number of the reply that they are, or answer.
fn steps(messages: &[Message]) -> impl Iterator<Item = (u64, &Message)> {
    messages.iter().scan(0, |step, message| {
        *step += u64::from(message.is_call() || !message.commands().is_empty());
        Some((*step, message))
    })
}

/// Puts findings into the report: one of each kind, breaches first, bounded.
fn fill(report: &mut IntegrityReport, found: Vec<IntegrityFinding>) {
    type Key = (Severity, String, Option<String>, String);
    let mut once: BTreeMap<Key, (IntegrityFinding, u64)> = BTreeMap::new();
    for finding in found {
        let key = (
            finding.severity,
            finding.rule.clone(),
            finding.path.clone(),
            finding.evidence.clone(),
        );
        once.entry(key).and_modify(|(_, n)| *n += 1).or_insert((finding, 1));
    }
    let mut all: Vec<IntegrityFinding> = once
        .into_values()
        .map(|(mut finding, times)| {
            if times > 1 {
                finding.evidence.push_str(&format!(" ({times} times, first here)"));
            }
            finding
        })
        .collect();
    let order = |f: &IntegrityFinding| (f.severity, f.step, f.path.clone(), f.rule.clone());
    all.sort_by_key(order);
    let mut listed: BTreeMap<Severity, usize> = BTreeMap::new();
    for finding in all {
        let n = listed.entry(finding.severity).or_default();
        *n += 1;
        match finding.severity {
            _ if *n <= MOST => report.findings.push(finding),
            Severity::Breach => report.more_breaches += 1,
            Severity::Note => report.more_notes += 1,
        }
    }
}

/// Text bounded for a report.
fn cut(text: &str) -> String {
    if text.chars().count() <= EVIDENCE {
        return text.to_owned();
    }
    text.chars().take(EVIDENCE).chain(['…']).collect()
}
