//! The section on an attempt's integrity: findings with their evidence, and a person's verdict on them.

use super::Left;
use crate::visible::text;
use reenact_model::integrity::{IntegrityFinding, Judgement, Severity};
use serde::Serialize;

/// Findings that are shown.
const MAX_FINDINGS: usize = 100;
/// Characters of one piece of evidence.
const MAX_EVIDENCE: usize = 600;

#[derive(Serialize)]
pub(super) struct IntegritySection {
    breaches: u64,
    notes: u64,
    findings: Vec<Finding>,
    more: u64,
    /// A person's verdict in words; whether it clears the attempt.
    verdict: Option<(String, bool)>,
}

#[derive(Serialize)]
struct Finding {
    breach: bool,
    rule: String,
    place: String,
    evidence: String,
    why: String,
}

impl IntegritySection {
    /// `None` if there is no report, or nothing in it and nobody judged.
    pub(super) fn new(left: &Left) -> Option<Self> {
        let report = left.integrity.as_ref()?;
        let verdict = left.adjudication.as_ref().map(|a| {
            let clean = a.verdict == Judgement::Clean;
            let word = if clean { "clean" } else { "tampered" };
            let by = if a.by.is_empty() { String::new() } else { format!(" by {}", a.by) };
            (text(format!("judged {word}{by} on {}: {}", a.time, a.why).as_bytes()), clean)
        });
        let (breaches, notes) = (report.breaches(), report.notes());
        if breaches + notes == 0 && verdict.is_none() {
            return None;
        }
        let findings: Vec<Finding> =
            report.findings.iter().take(MAX_FINDINGS).map(finding).collect();
        let more = (breaches + notes).saturating_sub(findings.len() as u64);
        Some(Self { breaches, notes, findings, more, verdict })
    }
}

fn finding(f: &IntegrityFinding) -> Finding {
    let mut place: Vec<String> = Vec::new();
    place.extend(f.step.map(|s| format!("step {s}")));
    place.extend(f.path.as_ref().map(|p| text(p.as_bytes())));
    place.extend(f.offset.map(|o| format!("offset {o}")));
    Finding {
        breach: f.severity == Severity::Breach,
        rule: text(f.rule.as_bytes()),
        place: place.join(", "),
        evidence: text(f.evidence.as_bytes()).chars().take(MAX_EVIDENCE).collect(),
        why: text(f.why.as_bytes()),
    }
}
