//! Snapshots of the room's writable trees, by content: `RUN/<id>/snapshots/<step>.json` and blobs. They let progress be graded
//! later, and a stopped attempt go on in a fresh room.

use super::blobs::Blobs;
use super::files::{Caps, Files, Item, ItemKind, Known, Reader, Tally, key_bytes};
use crate::error::CleanroomError;
use crate::tree::SourceTree;
use reenact_bundle::fsx::{fs_error, read, write_atomic};
use reenact_bundle::{FsError, now_rfc3339};
use reenact_model::FormatError;
use reenact_model::error::parse_json;
use reenact_sandbox::spec::{HOME, PROGRAM, WORKSPACE};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// The trees that are recorded.
pub const TREES: [&str; 3] = [WORKSPACE, HOME, "/tmp"];

/// Caps of one snapshot.
pub const SNAPSHOT_CAPS: Caps =
    Caps { file_bytes: 64 << 20, total_bytes: 1 << 30, entries: 200_000 };

/// `<step>.json`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// 1
    pub schema: u32,
    pub step: u64,
    /// RFC 3339, UTC.
    pub time: String,
    /// Nothing has changed since this step's snapshot, which has the trees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_as: Option<u64>,
    /// Entries by tree, sorted by path. A tree that could not be recorded is absent, and there is a note.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub trees: BTreeMap<String, Vec<Item>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What a snapshot cost. Whether that is too much is the runner's decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotReport {
    pub step: u64,
    pub entries: u64,
    /// Bytes read from the room, stored anew, and in all recorded files.
    pub tally: Tally,
    pub wall: Duration,
    /// What is not in it.
    pub notes: Vec<String>,
}

/// The snapshots of one attempt.
#[derive(Debug)]
pub struct Snapshots {
    dir: PathBuf,
    blobs: Blobs,
    caps: Caps,
    known: Known,
    last: Option<Snapshot>,
}

impl Snapshots {
    /// The snapshots of an attempt: `dir` is `RUN/<id>`.
    pub fn of(dir: &Path) -> Self {
        Self::with_caps(dir, SNAPSHOT_CAPS)
    }

    /// With other caps.
    pub fn with_caps(dir: &Path, caps: Caps) -> Self {
        let blobs = Blobs::of(dir);
        Self { dir: dir.join("snapshots"), blobs, caps, known: Known::default(), last: None }
    }

    /// Records the room's trees as they are after `step`. The agent's processes may be at work.
    ///
    /// # Errors
    /// The room is lost, or our own disk fails; a tree that cannot be listed is a note.
    pub fn take(&mut self, step: u64, room: &dyn Files) -> Result<SnapshotReport, CleanroomError> {
        let began = Instant::now();
        let mut reader = Reader {
            room,
            blobs: &self.blobs,
            caps: self.caps,
            known: &mut self.known,
            tally: Tally::default(),
        };
        let (mut trees, mut notes) = (BTreeMap::new(), Vec::new());
        for tree in TREES {
            match reader.tree(tree, &|path| is_stub(tree, path))? {
                Ok(items) => {
                    trees.insert(tree.to_owned(), items);
                }
                Err(why) => notes.push(format!("{tree}: not recorded: {why}")),
            }
        }
        let tally = reader.tally;
        let entries = trees.values().map(Vec::len).sum::<usize>() as u64;
        let snapshot = Snapshot {
            schema: 1,
            step,
            time: now_rfc3339(),
            same_as: None,
            trees,
            notes: notes.clone(),
        };
        self.store(snapshot)?;
        Ok(SnapshotReport { step, entries, tally, wall: began.elapsed(), notes })
    }

    fn store(&mut self, snapshot: Snapshot) -> Result<(), CleanroomError> {
        let same = self.last.as_ref().filter(|last| {
            last.step != snapshot.step
                && last.trees == snapshot.trees
                && last.notes == snapshot.notes
        });
        let written = match same {
            Some(last) => Snapshot {
                same_as: Some(last.step),
                trees: BTreeMap::new(),
                notes: Vec::new(),
                ..snapshot.clone()
            },
            None => snapshot.clone(),
        };
        let path = self.path(snapshot.step);
        let mut json = serde_json::to_vec(&written)
            .map_err(|e| fs_error(&path, "write")(std::io::Error::other(e)))?;
        json.push(b'\n');
        write_atomic(&path, &json)?;
        if written.same_as.is_none() {
            self.last = Some(snapshot);
        }
        Ok(())
    }

    fn path(&self, step: u64) -> PathBuf {
        self.dir.join(format!("{step}.json"))
    }

    /// Steps with a snapshot, ascending.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn steps(&self) -> Result<Vec<u64>, FsError> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(fs_error(&self.dir, "list")(e)),
        };
        let mut steps = Vec::new();
        for entry in entries {
            let name = entry.map_err(fs_error(&self.dir, "list"))?.file_name();
            steps.extend(name.to_str().and_then(|n| n.strip_suffix(".json")?.parse::<u64>().ok()));
        }
        steps.sort_unstable();
        Ok(steps)
    }

    /// Reads the snapshot of a step, with its trees.
    ///
    /// # Errors
    /// [`FormatError`], I/O.
    pub fn load(&self, step: u64) -> Result<Snapshot, CleanroomError> {
        let found = self.load_one(step)?;
        let Some(base) = found.same_as else { return Ok(found) };
        let based = self.load_one(base)?;
        if based.same_as.is_some() {
            let what = "refers to a snapshot that has no trees of its own";
            return Err(FormatError::field(&self.path(step), None, "same_as", what).into());
        }
        Ok(Snapshot { trees: based.trees, notes: based.notes, ..found })
    }

    fn load_one(&self, step: u64) -> Result<Snapshot, CleanroomError> {
        let path = self.path(step);
        let bytes = read(&path)?;
        let text =
            std::str::from_utf8(&bytes).map_err(|_| FormatError::file(&path, "is not UTF-8"))?;
        let snapshot: Snapshot = parse_json(&path, None, text)?;
        if snapshot.schema != 1 {
            let what = format!("schema {} is not supported; 1 is", snapshot.schema);
            return Err(FormatError::field(&path, None, "schema", what).into());
        }
        Ok(snapshot)
    }

    /// Makes a fresh room's trees what they were: content, modes, times and symlinks. Special files are not made again, nor
    /// files that were recorded by size only; gives a note for each of these.
    ///
    /// # Errors
    /// A missing blob, I/O, the room.
    pub fn restore(&self, step: u64, room: &dyn Files) -> Result<Vec<String>, CleanroomError> {
        let snapshot = self.load(step)?;
        let mut notes = snapshot.notes.clone();
        for (tree, items) in &snapshot.trees {
            let kept: BTreeSet<Vec<u8>> = items.iter().map(|i| key_bytes(&i.path)).collect();
            let there = room.list(tree, self.caps.entries)?;
            let surplus: Vec<Vec<u8>> = there
                .into_iter()
                .map(|e| e.path)
                .filter(|path| !is_stub(tree, path) && !kept.contains(path))
                .collect();
            if !surplus.is_empty() {
                room.remove(tree, &outermost(surplus))?;
            }
            let temp = tempfile::Builder::new()
                .prefix(".restore-")
                .tempdir_in(&self.dir)
                .map_err(fs_error(&self.dir, "create"))?;
            notes.extend(
                self.materialise(items, temp.path())?.iter().map(|n| format!("{tree}/{n}")),
            );
            room.put(temp.path(), tree)?;
            set_times(room, tree, items)?;
        }
        Ok(notes)
    }

    /// The workspace of a snapshot as a source tree in memory: regular files only. To grade a snapshot, prefer
    /// [`super::submission::from_snapshot`], which keeps symlinks and does not hold it in memory.
    ///
    /// # Errors
    /// As [`Snapshots::load`]; a missing blob; a path that is not UTF-8.
    pub fn to_source_tree(&self, step: u64) -> Result<SourceTree, CleanroomError> {
        let snapshot = self.load(step)?;
        let mut tree = SourceTree::default();
        for item in snapshot.trees.get(WORKSPACE).into_iter().flatten() {
            let (ItemKind::File, Some(digest)) = (item.kind, &item.sha256) else { continue };
            let path = String::from_utf8(key_bytes(&item.path)).map_err(|_| {
                let what = format!("{}: its name is not UTF-8", item.path);
                FormatError::file(&self.path(step), what)
            })?;
            tree.add(&path, item.mode & 0o777, self.blobs.get(digest)?);
        }
        Ok(tree)
    }

    /// The attempt's blobs.
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// Lays items out under `root` on the host. Gives a note for each that could not be.
    fn materialise(&self, items: &[Item], root: &Path) -> Result<Vec<String>, CleanroomError> {
        let mut notes = Vec::new();
        let at = |item: &Item| root.join(OsStr::from_bytes(&key_bytes(&item.path)));
        for item in items {
            let path = at(item);
            if !is_plain(&key_bytes(&item.path)) {
                notes.push(format!("{}: not restored: no relative path", item.path));
                continue;
            }
            match (item.kind, &item.sha256, &item.target) {
                (ItemKind::Dir, ..) => {
                    std::fs::create_dir_all(&path).map_err(fs_error(&path, "create"))?;
                }
                (ItemKind::File, Some(digest), _) => {
                    let from = self.blobs.path(digest);
                    std::fs::copy(&from, &path).map_err(fs_error(&from, "copy"))?;
                    set_mode(&path, item)?;
                }
                (ItemKind::Symlink, _, Some(target)) => {
                    let target = key_bytes(target);
                    std::os::unix::fs::symlink(OsStr::from_bytes(&target), &path)
                        .map_err(fs_error(&path, "create"))?;
                }
                _ => {
                    let why = item.note.as_deref().unwrap_or("a special file");
                    notes.push(format!("{}: not restored: {why}", item.path));
                }
            }
        }
        // Innermost first, so that a directory's time is not touched by what is put into it.
        for item in items.iter().rev().filter(|i| i.kind == ItemKind::Dir) {
            set_mode(&at(item), item)?;
        }
        Ok(notes)
    }
}

/// Gives the files of a room the times they were recorded with, which `make` and its like look at.
fn set_times(room: &dyn Files, tree: &str, items: &[Item]) -> Result<(), CleanroomError> {
    for item in items.iter().filter(|i| i.kind == ItemKind::File && i.sha256.is_some()) {
        if let Some(time) = modified(item)
            && let Some(file) = room.open(tree, &key_bytes(&item.path))?
        {
            // A time that the file system cannot hold is no reason to lose the file.
            file.set_modified(time).ok();
        }
    }
    Ok(())
}

fn modified(item: &Item) -> Option<SystemTime> {
    let ns = u64::try_from(item.mtime_ns?).ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_nanos(ns))
}

/// Mode. What its owner may not read (or search) cannot be copied on, so these bits are always set.
fn set_mode(path: &Path, item: &Item) -> Result<(), FsError> {
    let own = if item.kind == ItemKind::Dir { 0o700 } else { 0o400 };
    let mode = Permissions::from_mode(item.mode & 0o777 | own);
    std::fs::set_permissions(path, mode).map_err(fs_error(path, "restore"))
}

/// Whether `path` of `tree` is the oracle's stub.
pub(super) fn is_stub(tree: &str, path: &[u8]) -> bool {
    PROGRAM
        .strip_prefix(tree)
        .and_then(|rest| rest.strip_prefix('/'))
        .is_some_and(|stub| stub.as_bytes() == path)
}

/// No absolute path, no `..`: what a listing of ours never holds, but a file on disk could.
fn is_plain(path: &[u8]) -> bool {
    !path.is_empty() && path.split(|b| *b == b'/').all(|part| !matches!(part, b"" | b"." | b".."))
}

/// Paths that lie below no other of them. `paths` are sorted.
fn outermost(paths: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for path in paths {
        let below = |dir: &Vec<u8>| path.starts_with(dir) && path.get(dir.len()) == Some(&b'/');
        if !kept.iter().any(below) {
            kept.push(path);
        }
    }
    kept
}
