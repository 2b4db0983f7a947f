//! The submission made from /workspace: `submission.tar.gz` and a listing of what is in it.
//!
//! The same workspace gives the same bytes: entries are sorted by path, modes are 0644 or 0755, owner and group are 0, and
//! times are fixed. What a build had made (objects, libraries, programs, and all that lies in a directory marked by a
//! `CACHEDIR.TAG`) is dated a minute before everything else, so that `make` builds it anew from the sources.

use super::archive::write_archive;
use super::blobs::Blobs;
use super::files::{Caps, Files, Item, ItemKind, Known, Reader, Tally, key_bytes};
use super::links;
use super::snapshot::{Snapshots, is_stub};
use crate::error::CleanroomError;
use reenact_bundle::fsx::{fs_error, write_atomic};
use reenact_bundle::{FsError, TaskBundle};
use reenact_model::Digest;
use reenact_sandbox::spec::WORKSPACE;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Caps of a submission. Grading takes 100,000 entries.
pub const SUBMISSION_CAPS: Caps =
    Caps { file_bytes: 256 << 20, total_bytes: 256 << 20, entries: 90_000 };

/// Files above this many bytes are listed as large.
pub const LARGE: u64 = 1 << 20;

/// `<id>.submission.json`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// 1
    pub schema: u32,
    pub task: String,
    /// Digest and size of `submission.tar.gz`; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    #[serde(default)]
    pub size: u64,
    /// Why there is no archive: the workspace is over a cap, or could not be listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Regular files, and their bytes.
    pub files: u64,
    pub bytes: u64,
    /// ELF files (`elf`) and scripts that may be executed (`script`), by path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub executables: BTreeMap<String, String>,
    /// Archives, compressed files and static libraries, with their kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub archives: BTreeMap<String, String>,
    /// Files over 1 MiB, with their size.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub large: BTreeMap<String, u64>,
    /// Symlinks, with their targets in the archive.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub symlinks: BTreeMap<String, String>,
    /// What is in the workspace and not in the archive, with the reason; documentation that is as it was given is only counted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<String, String>,
    #[serde(default)]
    pub documentation_left_out: u64,
    /// Every file of the archive.
    pub items: Vec<Item>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct SubmissionReport {
    pub listing: Listing,
    /// The archive, if there is one.
    pub archive: Option<PathBuf>,
    /// What a reader of the run should know, one line each.
    pub notes: Vec<String>,
}

/// Makes `dir/submission.tar.gz` and `dir/<id>.submission.json` from the room's workspace; `dir` is `RUN/<id>`. A workspace
/// over the caps gives no archive (an older one is removed) and a listing that says why.
///
/// # Errors
/// The room is lost, or our own disk fails.
pub fn make(
    room: &dyn Files,
    task: &TaskBundle,
    dir: &Path,
) -> Result<SubmissionReport, CleanroomError> {
    make_with(room, task.id(), &task.docs(), dir, SUBMISSION_CAPS)
}

/// [`make`] with other caps; `docs` is the documentation that the agent was given.
///
/// # Errors
/// As [`make`].
pub fn make_with(
    room: &dyn Files,
    id: &str,
    docs: &Path,
    dir: &Path,
    caps: Caps,
) -> Result<SubmissionReport, CleanroomError> {
    let blobs = Blobs::of(dir);
    let mut known = Known::default();
    let tally = Tally::default();
    let mut reader = Reader { room, blobs: &blobs, caps, known: &mut known, tally };
    let items = reader.tree(WORKSPACE, &|path| is_stub(WORKSPACE, path))?;
    let made = match items {
        Ok(items) => pack(items, id, docs, &blobs, &dir.join("submission.tar.gz"), caps)?,
        Err(why) => refused(id, why, &dir.join("submission.tar.gz"))?,
    };
    let path = dir.join(format!("{id}.submission.json"));
    let json = serde_json::to_vec_pretty(&made.listing)
        .map_err(|e| fs_error(&path, "write")(std::io::Error::other(e)))?;
    write_atomic(&path, &json)?;
    Ok(made)
}

/// The submission as it would have been made after `step`, at `out`: the same bytes that [`make`] would have given then.
///
/// # Errors
/// There is no such snapshot, a blob is missing, or our own disk fails.
pub fn from_snapshot(
    snapshots: &Snapshots,
    step: u64,
    task: &TaskBundle,
    out: &Path,
) -> Result<SubmissionReport, CleanroomError> {
    let mut snapshot = snapshots.load(step)?;
    match snapshot.trees.remove(WORKSPACE) {
        Some(items) => {
            pack(items, task.id(), &task.docs(), snapshots.blobs(), out, SUBMISSION_CAPS)
        }
        None => refused(task.id(), snapshot.notes.join("; "), out),
    }
}

fn refused(id: &str, why: String, out: &Path) -> Result<SubmissionReport, CleanroomError> {
    match std::fs::remove_file(out) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(fs_error(out, "remove")(e).into());
        }
        _ => {}
    }
    let notes = vec![format!("no submission: {why}")];
    let listing =
        Listing { schema: 1, task: id.to_owned(), refused: Some(why), ..Listing::default() };
    Ok(SubmissionReport { listing, archive: None, notes })
}

fn pack(
    items: Vec<Item>,
    id: &str,
    docs: &Path,
    blobs: &Blobs,
    out: &Path,
    caps: Caps,
) -> Result<SubmissionReport, CleanroomError> {
    let over = |i: &&Item| i.note.as_deref().is_some_and(|n| n.contains("over the cap"));
    if items.iter().any(|i| over(&i))
        || items.iter().map(|i| i.size).sum::<u64>() > caps.total_bytes
    {
        let why = format!(
            "the workspace is larger than {} MiB, the most that is submitted; {}",
            caps.total_bytes >> 20,
            largest(&items)
        );
        return refused(id, why, out);
    }
    let mut listing = Listing { schema: 1, task: id.to_owned(), ..Listing::default() };
    let items = select(items, docs, &mut listing)?;
    let digest = write_archive(&items, blobs, out, &mut listing)?;
    listing.sha256 = Some(digest);
    listing.size = std::fs::metadata(out).map_err(fs_error(out, "read"))?.len();
    listing.items = items.into_iter().filter(|i| i.kind != ItemKind::Dir).collect();
    // Times are not in the archive.
    listing.items.iter_mut().for_each(|i| i.mtime_ns = None);
    let notes = notes(&listing);
    Ok(SubmissionReport { listing, archive: Some(out.to_path_buf()), notes })
}

fn notes(listing: &Listing) -> Vec<String> {
    let mut notes = Vec::new();
    if listing.files == 0 {
        notes.push("the submission is empty".to_owned());
    }
    let reasons: BTreeSet<&str> = listing.left_out.values().map(String::as_str).collect();
    for reason in reasons.into_iter().take(8) {
        let paths: Vec<&str> = listing
            .left_out
            .iter()
            .filter(|(_, r)| *r == reason)
            .map(|(p, _)| p.as_str())
            .collect();
        let first = paths.iter().take(3).copied().collect::<Vec<_>>().join(", ");
        let more =
            if paths.len() > 3 { format!(" and {} more", paths.len() - 3) } else { String::new() };
        notes.push(format!("left out of the submission: {first}{more}: {reason}"));
    }
    notes
}

/// The largest top-level entries, for the message about a workspace over the cap.
fn largest(items: &[Item]) -> String {
    let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
    for item in items {
        let top = item.path.split('/').next().unwrap_or_default();
        *sizes.entry(top).or_default() += item.size;
    }
    let mut sizes: Vec<(&str, u64)> = sizes.into_iter().collect();
    sizes.sort_by_key(|(name, size)| (std::cmp::Reverse(*size), *name));
    let shown: Vec<String> =
        sizes.iter().take(3).map(|(n, s)| format!("{n} ({} MiB)", s >> 20)).collect();
    format!("largest: {}", shown.join(", "))
}

/// What goes into the archive.
fn select(
    items: Vec<Item>,
    docs: &Path,
    listing: &mut Listing,
) -> Result<Vec<Item>, CleanroomError> {
    let given = digests(docs)?;
    let mut targets = BTreeMap::new();
    for item in items.iter().filter(|i| i.kind == ItemKind::Symlink) {
        let (path, target) = (key_bytes(&item.path), item.target.as_deref().map(key_bytes));
        if let Some(to) = target.and_then(|t| links::relative(WORKSPACE, &path, &t)) {
            targets.insert(path, to);
        }
    }
    let mut kept = Vec::new();
    for mut item in items {
        let path = key_bytes(&item.path);
        let why = match item.kind {
            ItemKind::Special => Some("a fifo, a socket or a device".to_owned()),
            ItemKind::File if item.sha256.is_none() => {
                Some(item.note.clone().unwrap_or_else(|| "not taken".to_owned()))
            }
            ItemKind::File if is_given(&given, &path, &item) => {
                listing.documentation_left_out += 1;
                continue;
            }
            ItemKind::Symlink => match targets.get(&path) {
                Some(to) if !links::leads_out(&targets, &path) => {
                    item.target = Some(reenact_model::observe::path_key(to));
                    None
                }
                _ => Some("a symlink that leads out of the workspace".to_owned()),
            },
            ItemKind::File | ItemKind::Dir => None,
        };
        match why {
            Some(why) => {
                listing.left_out.insert(item.path, why);
            }
            None => kept.push(item),
        }
    }
    Ok(without_bare_docs(kept))
}

fn is_given(given: &BTreeMap<Vec<u8>, Digest>, path: &[u8], item: &Item) -> bool {
    path.strip_prefix(b"docs/")
        .and_then(|rest| given.get(rest))
        .is_some_and(|digest| Some(*digest) == item.sha256)
}

/// Directories of the documentation that hold nothing any more are left out as well.
fn without_bare_docs(items: Vec<Item>) -> Vec<Item> {
    let full: BTreeSet<String> = items
        .iter()
        .filter(|i| i.kind != ItemKind::Dir)
        .flat_map(|i| i.path.match_indices('/').map(|(at, _)| i.path[..at].to_owned()))
        .collect();
    let is_docs = |path: &str| path == "docs" || path.starts_with("docs/");
    let bare = |i: &Item| i.kind == ItemKind::Dir && is_docs(&i.path) && !full.contains(&i.path);
    items.into_iter().filter(|i| !bare(i)).collect()
}

/// Digests of the regular files under a directory, by relative path. A task without documentation has none.
fn digests(root: &Path) -> Result<BTreeMap<Vec<u8>, Digest>, FsError> {
    let mut found = BTreeMap::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(dir) = todo.pop() {
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(fs_error(&dir, "list")(e)),
        };
        for entry in entries {
            let entry = entry.map_err(fs_error(&dir, "list"))?;
            let (path, kind) = (entry.path(), entry.file_type());
            let kind = kind.map_err(fs_error(&path, "read"))?;
            if kind.is_dir() {
                todo.push(path);
            } else if kind.is_file()
                && let Ok(name) = path.strip_prefix(root)
            {
                let digest = Digest::of(&reenact_bundle::fsx::read(&path)?);
                found.insert(name.as_os_str().as_bytes().to_vec(), digest);
            }
        }
    }
    Ok(found)
}
