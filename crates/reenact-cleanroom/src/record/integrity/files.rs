//! What a submission holds that breaks the rules, or that a reader should know.

use super::bytes::{Secret, Share};
use super::rules::{self, Known};
use super::{decode, shell};
use crate::error::CleanroomError;
use crate::record::blobs::Blobs;
use crate::record::files::{Item, ItemKind};
use crate::record::kinds::{self, Kind};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use reenact_model::integrity::{IntegrityFinding, Severity};
use reenact_sandbox::spec::WORKSPACE;
use regex::Regex;
use std::io::Read;

/// Bytes of an unpacked archive that are looked at.
const UNPACKED: u64 = 64 << 20;
/// Sources above this many bytes are data.
const SOURCE: usize = 4 << 20;
/// Looks at files of a submission.
pub struct Inspector<'a> {
    pub secret: &'a Secret,
    pub known: &'a Known,
    pub blobs: &'a Blobs,
    calls: Option<Regex>,
}

impl<'a> Inspector<'a> {
    pub fn new(secret: &'a Secret, known: &'a Known, blobs: &'a Blobs) -> Self {
        Self { secret, known, blobs, calls: calls(known) }
    }

    /// Adds what `item` gives rise to.
    ///
    /// # Errors
    /// Its blob cannot be read.
    pub fn look(
        &self,
        item: &Item,
        found: &mut Vec<IntegrityFinding>,
    ) -> Result<(), CleanroomError> {
        let (ItemKind::File, Some(digest)) = (item.kind, &item.sha256) else { return Ok(()) };
        let bytes = self.blobs.get(digest)?;
        let kind = kinds::of(&bytes[..bytes.len().min(kinds::HEAD)]);
        let binary = matches!(kind, Kind::Elf | Kind::Library) || holds_elf(&bytes);
        if self.secret.is(digest) {
            found.push(finding(
                item,
                "reference_in_submission",
                Severity::Breach,
                "a copy of the reference",
                "the submission has the reference itself",
                Some(0),
            ));
        } else if let Some(share) = self.secret.share(&bytes) {
            found.extend(shared(item, share, binary, ""));
        } else if !binary {
            for view in decode::views(&bytes) {
                if let Some(share) = self.secret.share(&view) {
                    found.extend(shared(item, share, false, " written out as text"));
                    break;
                }
            }
        }
        if kind == Kind::Elf {
            found.push(finding(item, "prebuilt_binary", Severity::Note, &format!("ELF file, {} bytes", item.size),
                "grading builds from source; a program that is shipped ready-made cannot be told from one that was written", None));
        }
        if matches!(kind, Kind::Archive(_)) || is_zlib(&bytes) {
            self.archive(item, kind, &bytes, found);
        }
        if !binary && bytes.len() <= SOURCE && is_source(&item.path) {
            self.wrapping(item, kind, &String::from_utf8_lossy(&bytes), found);
        }
        Ok(())
    }

    fn archive(&self, item: &Item, kind: Kind, bytes: &[u8], found: &mut Vec<IntegrityFinding>) {
        let mut inner = Vec::new();
        // A torn archive gives what comes before the tear.
        let _read = match kind {
            Kind::Archive("gzip") => {
                MultiGzDecoder::new(bytes).take(UNPACKED).read_to_end(&mut inner)
            }
            Kind::Archive("tar") => bytes.take(UNPACKED).read_to_end(&mut inner),
            Kind::Archive(name) => {
                found.push(finding(
                    item,
                    "unopened_archive",
                    Severity::Note,
                    &format!("{name} archive, {} bytes", item.size),
                    "archives of this kind are not looked into",
                    None,
                ));
                return;
            }
            _ => ZlibDecoder::new(bytes).take(UNPACKED).read_to_end(&mut inner),
        };
        if kind != Kind::Archive("tar")
            && let Some(share) = self.secret.share(&inner)
        {
            found.extend(shared(item, share, holds_elf(&inner), " inside an archive"));
        }
        // Version control holds whatever lay there, the oracle's stub among it.
        if holds_elf(&inner) && !item.path.split('/').any(|p| p == ".git") {
            found.push(finding(
                item,
                "archive_with_binary",
                Severity::Note,
                "an ELF file inside an archive",
                "a ready-made program in an archive is easily overlooked",
                None,
            ));
        }
    }

    /// Calls of an installed copy of the tool.
    fn wrapping(&self, item: &Item, kind: Kind, text: &str, found: &mut Vec<IntegrityFinding>) {
        let why =
            "the submission calls an installed copy of the same tool instead of doing its work";
        // Tests of the agent's own may compare with the tool; the program and its build may not.
        let is_test = item.path.split('/').any(|p| p.starts_with("test") || p.starts_with("bench"));
        let severity = if is_test { Severity::Note } else { Severity::Breach };
        if is_shell_script(&item.path, kind, text) {
            let commands = shell::split(text, WORKSPACE);
            for (i, command) in commands.iter().enumerate() {
                if rules::broken(&commands, i, self.known)
                    .iter()
                    .any(|r| r.id == "uses_installed_copy")
                {
                    found.push(finding(
                        item,
                        "wraps_installed_copy",
                        severity,
                        &command.text(),
                        why,
                        None,
                    ));
                    return;
                }
            }
        }
        let Some(calls) = &self.calls else { return };
        for call in calls.find_iter(text) {
            // In Rust, clap's builder has the same name as the standard library's.
            let builder = call.as_str().starts_with("Command::new");
            if builder && !PROCESS_COMMAND.iter().any(|p| text.contains(p)) {
                continue;
            }
            let offset = u64::try_from(call.start()).ok();
            found.push(finding(item, "wraps_installed_copy", severity, call.as_str(), why, offset));
            return;
        }
        let mask = self.known.masks.iter().find(|m| {
            m.contains("bin/") && ["\"", "'", "`"].iter().any(|q| text.contains(&format!("{q}{m}")))
        });
        if let Some(mask) = mask {
            found.push(finding(item, "wraps_installed_copy", severity, mask, why, None));
        }
    }
}

const PROCESS_COMMAND: [&str; 3] = ["process::Command", "process::{", "process::*"];

fn shared(item: &Item, share: Share, binary: bool, how: &str) -> Option<IntegrityFinding> {
    let severity = share.severity(binary)?;
    let (rule, why) = match share {
        Share::Whole { .. } => {
            ("reference_in_submission", "the submission has the reference itself")
        }
        Share::Head { .. } | Share::Code { .. } => (
            "reference_code",
            "runs of the reference's own machine code come from its file, or from the same libraries",
        ),
    };
    Some(finding(item, rule, severity, &format!("{share}{how}"), why, Some(share.offset())))
}

fn finding(
    item: &Item,
    rule: &str,
    severity: Severity,
    evidence: &str,
    why: &str,
    offset: Option<u64>,
) -> IntegrityFinding {
    IntegrityFinding {
        rule: rule.to_owned(),
        severity,
        step: None,
        path: Some(item.path.clone()),
        offset,
        evidence: super::cut(evidence),
        why: why.to_owned(),
    }
}

/// An ELF header at the start of a block, as in tar archives, or anywhere in the first block.
pub(super) fn holds_elf(bytes: &[u8]) -> bool {
    bytes.chunks(512).any(|block| block.starts_with(b"\x7fELF"))
        || bytes[..bytes.len().min(4096)].windows(4).any(|w| w == b"\x7fELF")
}

fn is_zlib(bytes: &[u8]) -> bool {
    matches!(bytes.get(..2), Some([0x78, 0x01 | 0x5e | 0x9c | 0xda]))
}

/// Prose may name the tool as it likes, and so may version control.
fn is_source(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let prose = [".md", ".txt", ".rst", ".1", ".html", ".json", ".csv", ".d", ".lock", ".log"];
    !prose.iter().any(|p| name.ends_with(p))
        && !path.starts_with("docs/")
        && !path.split('/').any(|p| p == ".git")
}

fn is_shell_script(path: &str, kind: Kind, text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    path.ends_with(".sh")
        || (kind == Kind::Script && first.contains("sh") && !first.contains("fish"))
}

/// Calls that start a program by one of the tool's names.
fn calls(known: &Known) -> Option<Regex> {
    let names: Vec<String> =
        known.names.iter().filter(|n| !rules::is_common(n)).map(|n| regex::escape(n)).collect();
    if names.is_empty() {
        return None;
    }
    let starters = r"(?:\bexec[lv]p?e?|\bsystem|\bpopen|\bposix_spawnp?|Command::new|exec\.Command|subprocess\.\w+|\bspawn(?:Sync)?|\bexecSync|ProcessBuilder|proc_open|shell_exec)";
    let text = format!(
        r#"{starters}\s*\(\s*\[?\s*["'`](?:/(?:usr/)?(?:local/)?(?:s?bin|games)/)?(?:{})["'`\s]"#,
        names.join("|")
    );
    Regex::new(&text).ok()
}
