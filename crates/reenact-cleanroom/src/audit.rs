//! The whole-filesystem audit: is anything of the reference readable in the room?
//!
//! Looked for are whole copies of the reference and of its private runtime files, by digest, and long runs of their bytes, by
//! samples at positions that the content chooses ([`sample`]). Compressed and encrypted copies are not found.
//!
//! A host's files are read once: samples are kept in a cache by what tells a file's states apart (inode, size, times). What an
//! audit found for one secret is kept too, with the state of every directory; a later room is then checked by comparing
//! directories alone, and each file with something of the secret is looked up in the room itself, where it may be masked.

mod cache;
mod codec;
mod index;
pub(crate) mod matching;
pub(crate) mod sample;
mod secret;
#[cfg(test)]
mod tests;
mod verdict;
mod walk;

use crate::error::CleanroomError;
pub use cache::Cache;
use index::Index;
use matching::{EXPOSED, Hit, Pattern};
use reenact_bundle::Progress;
use reenact_bundle::fsx::fs_error;
pub use secret::Secret;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use verdict::Verdict;
use walk::{Listing, User, join};

/// Directories of a room that hold nothing of the host's, or nothing that is a file.
const NOT_WALKED: [&[u8]; 3] = [b"proc", b"sys", b"dev"];

/// Notes of one audit.
const MOST_NOTES: usize = 5;

/// What an audit did and found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AuditReport {
    /// Files (of at least 4 KiB) in the room.
    pub files: u64,
    /// Files and bytes that had to be read, since they were not in the cache.
    pub read_files: u64,
    pub read_bytes: u64,
    /// Directories and files that we may not read.
    pub unread: u64,
    /// Milliseconds.
    pub ms: u64,
    /// Most telling first.
    pub findings: Vec<Finding>,
}

/// A file of the room that has something of the reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// In the room.
    pub path: String,
    /// What it has something of: `the reference`, or a private runtime file.
    pub of: String,
    /// Share of the distinctive byte runs, per mille.
    pub per_mille: u32,
    /// A whole copy.
    pub exact: bool,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.exact {
            write!(f, "{} is a copy of {}", self.path, self.of)
        } else {
            write!(f, "{} holds {} % of {}'s byte runs", self.path, self.per_mille / 10, self.of)
        }
    }
}

impl Finding {
    /// What a person can do about it.
    pub fn remedy(&self) -> String {
        format!(
            "remove {} from the host, add it to `masks` under [reference] in task.toml, or use another --rootfs",
            self.path
        )
    }
}

impl AuditReport {
    /// The finding that gives the reference away, if there is one.
    pub fn exposed(&self) -> Option<&Finding> {
        self.findings.iter().find(|f| f.exact || f.per_mille >= EXPOSED)
    }

    /// Findings that do not, as notes for the run: the most telling ones.
    pub fn notes(&self) -> Vec<String> {
        let related = |f: &&Finding| !f.exact && f.per_mille < EXPOSED;
        let all = self.findings.iter().filter(related).count();
        let mut notes: Vec<String> = self
            .findings
            .iter()
            .filter(related)
            .take(MOST_NOTES)
            .map(|f| format!("related code readable: {f}"))
            .collect();
        if all > MOST_NOTES {
            notes.push(format!("related code readable: {} more files", all - MOST_NOTES));
        }
        notes
    }
}

/// Looks at everything below `root` that the room's user can read.
///
/// # Errors
/// The root or the secret's own files cannot be read.
pub fn audit(
    root: &Path,
    secret: &Secret,
    cache: &Cache,
    progress: &dyn Progress,
) -> Result<AuditReport, CleanroomError> {
    let begun = Instant::now();
    // A room's root is given as a link of /proc.
    let root = &root.join(".");
    let mut auditor = Auditor {
        root,
        secret,
        cache,
        progress,
        user: user(root),
        pattern: None,
        report: AuditReport::default(),
    };
    auditor.skeleton()?;
    let mut report = auditor.report;
    report.findings.sort_by(|a, b| {
        (b.exact, b.per_mille).cmp(&(a.exact, a.per_mille)).then_with(|| a.path.cmp(&b.path))
    });
    report.findings.dedup();
    report.ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(report)
}

/// The room's user: the owner of its HOME. Without one, somebody with no rights of his own.
fn user(root: &Path) -> User {
    let home = reenact_sandbox::spec::HOME.trim_start_matches('/');
    match root.join(home).symlink_metadata() {
        Ok(meta) => User { uid: meta.uid(), gid: meta.gid() },
        Err(_) => User { uid: u32::MAX, gid: u32::MAX },
    }
}

struct Auditor<'a> {
    root: &'a Path,
    secret: &'a Secret,
    cache: &'a Cache,
    progress: &'a dyn Progress,
    user: User,
    /// Made when it is first needed.
    pattern: Option<Pattern>,
    report: AuditReport,
}

impl Auditor<'_> {
    /// The room's own file systems are looked at as they are; what is mounted in them from the host goes through the cache.
    fn skeleton(&mut self) -> Result<(), CleanroomError> {
        let root = self.root;
        let listing =
            walk::list(root, |path| NOT_WALKED.contains(&path)).map_err(fs_error(root, "audit"))?;
        let mut mounts = listing.others.clone();
        self.fresh(b"", &listing)?;
        while let Some(path) = mounts.pop() {
            let at = join(root, &path);
            let Ok(meta) = at.symlink_metadata() else { continue };
            if meta.is_file() {
                let file = walk::Node { path, stamp: walk::Stamp::of(&meta) };
                self.fresh(b"", &Listing { files: vec![file], ..Listing::default() })?;
                continue;
            }
            let nested = if is_own(&path) {
                let listing = walk::list(&at, |_| false).map_err(fs_error(&at, "audit"))?;
                self.fresh(&path, &listing)?;
                listing.others
            } else {
                self.cached(&path, &format!("{:x}-{:x}", meta.dev(), meta.ino()))?
            };
            mounts.extend(nested.into_iter().map(|n| below(&path, &n)));
        }
        Ok(())
    }

    /// Reads everything of a listing.
    fn fresh(&mut self, path: &[u8], listing: &Listing) -> Result<(), CleanroomError> {
        let base = join(self.root, path);
        let mut index = Index::default();
        let read = index.complete(&base, listing, self.progress);
        let secret = self.secret;
        let hits = self.pattern()?.hits(&base, listing, &index, secret);
        self.report.unread += listing.unread + read.unread;
        self.report.files += listing.files.len() as u64;
        self.found(path, &hits);
        Ok(())
    }

    /// A tree of the host's. Gives the mounts in it.
    fn cached(&mut self, path: &[u8], key: &str) -> Result<Vec<Vec<u8>>, CleanroomError> {
        let base = join(self.root, path);
        let subjects = self.secret.subjects.len();
        let kept = |cache: &Cache| {
            cache.verdict(key, self.secret.id, subjects).filter(|v| v.stands(&base, now()))
        };
        let mut verdict = kept(self.cache);
        if verdict.is_none() {
            let lock = self.cache.lock();
            // Another process may have done the work while we waited.
            verdict = kept(self.cache);
            if verdict.is_none() {
                verdict = Some(self.look(&base, key)?);
            }
            drop(lock);
        }
        let Some(verdict) = verdict else { return Ok(Vec::new()) };
        self.report.files += verdict.files;
        self.report.unread += verdict.unread;
        self.found(path, &verdict.hits);
        Ok(verdict.others)
    }

    /// The slow way: every file's state is compared, and what is not in the index is read.
    fn look(&mut self, base: &Path, key: &str) -> Result<Verdict, CleanroomError> {
        let walked = now();
        let listing = walk::list(base, |_| false).map_err(fs_error(base, "audit"))?;
        let mut index = self.cache.index(key);
        let read = index.complete(base, &listing, self.progress);
        if read.files > 0 {
            self.cache.keep_index(key, &index, &listing);
        }
        self.report.read_files += read.files;
        self.report.read_bytes += read.bytes;
        let secret = self.secret;
        let hits = self.pattern()?.hits(base, &listing, &index, secret);
        let verdict = Verdict::new(walked, listing, read.unread, hits);
        self.cache.keep_verdict(key, self.secret.id, &verdict);
        Ok(verdict)
    }

    fn pattern(&mut self) -> Result<&Pattern, CleanroomError> {
        let pattern = match self.pattern.take() {
            Some(pattern) => pattern,
            None => Pattern::of(self.secret)?,
        };
        Ok(self.pattern.insert(pattern))
    }

    /// Records those hits that the room's user can read.
    fn found(&mut self, path: &[u8], hits: &[Hit]) {
        for hit in hits {
            let at = below(path, &hit.node.path);
            if self.user.reads(self.root, &at).is_some() {
                self.report.findings.push(Finding {
                    path: format!("/{}", String::from_utf8_lossy(&at)),
                    of: self.secret.subjects[hit.subject].name.clone(),
                    per_mille: hit.per_mille,
                    exact: hit.exact,
                });
            }
        }
    }
}

/// Whether a path of the room is one of its own writable trees.
fn is_own(path: &[u8]) -> bool {
    const OWN: [&[u8]; 5] = [b"workspace", b"home", b"tmp", b"run", b"work"];
    OWN.contains(&path.split(|b| *b == b'/').next().unwrap_or_default())
}

fn below(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut whole = path.to_vec();
    if !path.is_empty() && !name.is_empty() {
        whole.push(b'/');
    }
    whole.extend(name);
    whole
}

/// Nanoseconds since the epoch.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}
