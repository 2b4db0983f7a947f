//! The integrity report `<id>.integrity.json`, evidence and never a verdict, and a person's verdict on it,
//! `<id>.adjudication.json`.

use crate::digest::Digest;
use crate::run::Outcome;
use serde::{Deserialize, Serialize};

/// What was found in one attempt at one task. The same attempt gives the same report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntegrityReport {
    pub schema: u32,
    pub task: String,
    /// Commands that were looked at; absent if there is no trajectory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commands: Option<u64>,
    /// Files of the submission that were looked at; absent if there is no submission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// Breaches first, then in order of step and path.
    #[serde(default)]
    pub findings: Vec<IntegrityFinding>,
    /// Findings beyond those listed, by severity: a report is bounded.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_breaches: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_notes: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl IntegrityReport {
    /// Findings that hold the result back.
    pub fn breaches(&self) -> u64 {
        self.count(Severity::Breach) + self.more_breaches
    }

    /// Findings that a reader should know, and that change nothing.
    pub fn notes(&self) -> u64 {
        self.count(Severity::Note) + self.more_notes
    }

    fn count(&self, severity: Severity) -> u64 {
        self.findings.iter().filter(|f| f.severity == severity).count() as u64
    }
}

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntegrityFinding {
    /// Name of the rule, as `docs/trajectories.md` lists them.
    pub rule: String,
    pub severity: Severity,
    /// The agent's step, from 1, where the evidence is a command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// File of the submission, where the evidence is a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Byte offset in the file, or in the command's output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The command, or what the file holds; cut to a few hundred characters. Untrusted text.
    pub evidence: String,
    /// Why it matters.
    pub why: String,
}

/// What a finding means for the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Could have given the agent an answer: the result waits for a person.
    Breach,
    /// Against the rules or worth knowing, but it cannot have given an answer.
    Note,
}

/// A person's verdict: contents of `<id>.adjudication.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adjudication {
    pub schema: u32,
    pub task: String,
    pub verdict: Judgement,
    pub why: String,
    /// Who judged; may be empty.
    pub by: String,
    /// RFC 3339, UTC.
    pub time: String,
    /// Digest of the integrity report that was judged; absent if there was none. The verdict says nothing of another report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Digest>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// Nothing was broken: the result counts as graded.
    Clean,
    /// The policy was broken: the result stays out of every score.
    Tampered,
}

/// Where a result stands with its integrity report; part of `<id>.reenact.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntegrityStanding {
    /// Digest of the report; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Digest>,
    pub breaches: u64,
    pub notes: u64,
    /// The verdict on this very report, if a person gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adjudication: Option<Adjudication>,
    /// The outcome that grading gave, and why: what counts where nothing is held against the result.
    pub graded: Outcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graded_why: Option<String>,
}

impl IntegrityStanding {
    /// Whether the result is held back.
    pub fn holds(&self) -> bool {
        match &self.adjudication {
            Some(judged) => judged.verdict == Judgement::Tampered,
            None => self.breaches > 0,
        }
    }

    /// The outcome that counts, and why.
    pub fn outcome(&self) -> (Outcome, Option<String>) {
        // What is no score of the agent's stays what it is.
        if !self.holds() || self.graded.standing() != crate::run::Standing::Valid {
            return (self.graded, self.graded_why.clone());
        }
        let why = match &self.adjudication {
            Some(a) if a.by.is_empty() => format!("judged tampered: {}", a.why),
            Some(a) => format!("judged tampered by {}: {}", a.by, a.why),
            None => format!(
                "{} of the integrity report's findings wait for a person (`reenact adjudicate`)",
                self.breaches
            ),
        };
        (Outcome::TamperingDetected, Some(why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(breaches: u64, verdict: Option<Judgement>) -> IntegrityStanding {
        IntegrityStanding {
            report: Some(Digest::of(b"r")),
            breaches,
            notes: 3,
            adjudication: verdict.map(|verdict| Adjudication {
                schema: 1,
                task: "t".to_owned(),
                verdict,
                why: "looked at it".to_owned(),
                by: "ann".to_owned(),
                time: "2026-01-01T00:00:00Z".to_owned(),
                report: Some(Digest::of(b"r")),
            }),
            graded: Outcome::Graded,
            graded_why: None,
        }
    }

    #[test]
    fn a_breach_holds_a_score_until_a_person_judges_and_notes_never_do() {
        assert_eq!(standing(0, None).outcome(), (Outcome::Graded, None));
        let (outcome, why) = standing(2, None).outcome();
        assert_eq!(outcome, Outcome::TamperingDetected);
        assert!(why.unwrap().starts_with("2 of"));
        assert_eq!(standing(2, Some(Judgement::Clean)).outcome(), (Outcome::Graded, None));
        let (outcome, why) = standing(0, Some(Judgement::Tampered)).outcome();
        assert_eq!(outcome, Outcome::TamperingDetected);
        assert_eq!(why.as_deref(), Some("judged tampered by ann: looked at it"));
    }

    #[test]
    fn what_is_no_score_stays_what_it_is() {
        let failed = IntegrityStanding {
            graded: Outcome::SandboxFailed,
            graded_why: Some("no cell".to_owned()),
            ..standing(1, None)
        };
        assert_eq!(failed.outcome(), (Outcome::SandboxFailed, Some("no cell".to_owned())));
    }
}
