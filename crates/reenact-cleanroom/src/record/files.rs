//! The writable trees of a room, as records need them, and their content by digest. The agent's processes may be writing at
//! the same time: everything is bounded, and what was read is what is recorded.

use super::blobs::Blobs;
use crate::error::CleanroomError;
use reenact_model::Digest;
use reenact_model::observe::path_key;
use reenact_sandbox::SandboxError;
use reenact_sandbox::room::{Exec, Input, Room, TreeEntry, TreeKind};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// The part of a [`Room`] that records need.
pub trait Files {
    /// See [`Room::list_tree`].
    ///
    /// # Errors
    /// As there.
    fn list(&self, dir: &str, max_entries: usize) -> Result<Vec<TreeEntry>, SandboxError>;

    /// See [`Room::open_file`].
    ///
    /// # Errors
    /// As there.
    fn open(&self, dir: &str, path: &[u8]) -> Result<Option<File>, SandboxError>;

    /// See [`Room::put_tree`].
    ///
    /// # Errors
    /// As there.
    fn put(&self, from: &Path, to: &str) -> Result<(), SandboxError>;

    /// Removes paths below `dir`, whatever they are.
    ///
    /// # Errors
    /// [`SandboxError`] if the room is lost.
    fn remove(&self, dir: &str, paths: &[Vec<u8>]) -> Result<(), SandboxError>;

    /// Whether the room is still there: if not, what could not be listed is the room's fault, not the tree's.
    fn alive(&self) -> bool;
}

impl Files for Room {
    fn list(&self, dir: &str, max_entries: usize) -> Result<Vec<TreeEntry>, SandboxError> {
        self.list_tree(dir, max_entries)
    }

    fn open(&self, dir: &str, path: &[u8]) -> Result<Option<File>, SandboxError> {
        self.open_file(dir, path)
    }

    fn put(&self, from: &Path, to: &str) -> Result<(), SandboxError> {
        self.put_tree(from, to)
    }

    fn remove(&self, dir: &str, paths: &[Vec<u8>]) -> Result<(), SandboxError> {
        let mut names = Vec::new();
        for path in paths {
            names.extend_from_slice(path);
            names.push(0);
        }
        // Names come in on standard input: they may be any bytes, and many.
        let script = "exec xargs -0 -r rm -rf --";
        let done = self.exec(Exec {
            argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            env: BTreeMap::new(),
            cwd: Some(dir.to_owned()),
            stdin: Input::Bytes(names),
            merge_stderr: true,
            wall: Some(Duration::from_secs(60)),
            keep_bytes: 4096,
            max_bytes: Some(1 << 20),
        })?;
        match done.end {
            reenact_sandbox::room::ExecEnd::Exit { code: 0 } => Ok(()),
            end => Err(SandboxError::Lost(format!("{dir}: could not be cleared: {end:?}"))),
        }
    }

    fn alive(&self) -> bool {
        self.is_alive()
    }
}

/// What is taken of a tree at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Bytes of one file; a larger one is recorded by its size.
    pub file_bytes: u64,
    /// Bytes of all files together; what comes later is recorded by size.
    pub total_bytes: u64,
    /// Entries of one tree; a tree with more is not recorded at all.
    pub entries: usize,
}

/// An entry of a recorded tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Relative to its tree, as [`path_key`] writes it.
    pub path: String,
    pub kind: ItemKind,
    /// Permission bits.
    pub mode: u32,
    /// Bytes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub size: u64,
    /// Nanoseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtime_ns: Option<i64>,
    /// Of the content; absent for other kinds than files, and for files that were not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// Where a symlink leads, as [`path_key`] writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Why the content is missing, or may be none that the file ever had at one time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ItemKind {
    File,
    Dir,
    Symlink,
    /// fifo, socket or device
    Special,
}

/// What a file looked like when it was read last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    ino: u64,
    size: u64,
    mtime_ns: i128,
    ctime_ns: i128,
}

impl Stamp {
    fn of(entry: &TreeEntry) -> Self {
        let TreeEntry { ino, size, mtime_ns, ctime_ns, .. } = *entry;
        Self { ino, size, mtime_ns, ctime_ns }
    }

    fn read(file: &File) -> Option<Self> {
        let m = file.metadata().ok()?;
        let ns = |s: i64, n: i64| i128::from(s) * 1_000_000_000 + i128::from(n);
        Some(Self {
            ino: m.ino(),
            size: m.size(),
            mtime_ns: ns(m.mtime(), m.mtime_nsec()),
            ctime_ns: ns(m.ctime(), m.ctime_nsec()),
        })
    }
}

/// What is known of files from earlier readings, so that only changed ones are read.
#[derive(Debug, Default)]
pub struct Known(BTreeMap<(String, Vec<u8>), (Stamp, Digest)>);

/// Change times are as fine as the kernel's tick; a file changed less than this before it was read may change again
/// without a trace.
const TICK_NS: i128 = 100_000_000;

/// Times a file that changes while it is read is read again.
const AGAIN: u32 = 2;

/// What a reading cost and could not do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Bytes read from the room.
    pub bytes_read: u64,
    /// Bytes of blobs that were not there before.
    pub bytes_new: u64,
    /// Bytes of all files that were recorded with their content.
    pub bytes: u64,
    /// Files recorded by size only.
    pub left_out: u64,
}

/// Reads trees of a room into blobs.
pub struct Reader<'a> {
    pub room: &'a dyn Files,
    pub blobs: &'a Blobs,
    pub caps: Caps,
    pub known: &'a mut Known,
    pub tally: Tally,
}

impl Reader<'_> {
    /// Records `dir`, without the paths that `skip` names. The inner error says why the tree could not be listed.
    ///
    /// # Errors
    /// The room is lost, or our own disk fails.
    pub fn tree(
        &mut self,
        dir: &str,
        skip: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Result<Vec<Item>, String>, CleanroomError> {
        let listed = match self.room.list(dir, self.caps.entries) {
            Ok(listed) => listed,
            Err(e) if !self.room.alive() => return Err(e.into()),
            Err(e) => return Ok(Err(e.to_string())),
        };
        let mut items = Vec::with_capacity(listed.len());
        let mut seen = BTreeSet::new();
        for entry in listed {
            if skip(&entry.path) {
                continue;
            }
            items.push(self.item(dir, &entry)?);
            seen.insert(entry.path);
        }
        self.known.0.retain(|(tree, path), _| tree != dir || seen.contains(path));
        items.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Ok(items))
    }

    fn item(&mut self, dir: &str, entry: &TreeEntry) -> Result<Item, CleanroomError> {
        let mut item = Item {
            path: path_key(&entry.path),
            kind: ItemKind::Special,
            mode: entry.mode & 0o7777,
            size: 0,
            mtime_ns: i64::try_from(entry.mtime_ns).ok(),
            sha256: None,
            target: None,
            note: None,
        };
        match &entry.kind {
            TreeKind::File => {
                item.kind = ItemKind::File;
                item.size = entry.size;
                self.content(dir, entry, &mut item)?;
            }
            TreeKind::Dir => item.kind = ItemKind::Dir,
            TreeKind::Symlink { target } => {
                item.kind = ItemKind::Symlink;
                item.target = Some(path_key(target));
            }
            TreeKind::Special => {}
        }
        Ok(item)
    }

    fn content(
        &mut self,
        dir: &str,
        entry: &TreeEntry,
        item: &mut Item,
    ) -> Result<(), CleanroomError> {
        let key = (dir.to_owned(), entry.path.clone());
        let left = self.caps.total_bytes.saturating_sub(self.tally.bytes);
        let over = |what: &str| Some(format!("not taken: over the cap of {what}"));
        if entry.size > self.caps.file_bytes || entry.size > left {
            let file = entry.size > self.caps.file_bytes;
            item.note = over(if file { "one file" } else { "all files together" });
            self.tally.left_out += 1;
            return Ok(());
        }
        if let Some((stamp, digest)) = self.known.0.get(&key)
            && *stamp == Stamp::of(entry)
        {
            item.sha256 = Some(*digest);
            self.tally.bytes += entry.size;
            return Ok(());
        }
        self.known.0.remove(&key);
        let cap = self.caps.file_bytes.min(left);
        for again in 0..=AGAIN {
            let began = jiff::Timestamp::now().as_nanosecond();
            let Some(mut file) = self.room.open(dir, &entry.path)? else {
                item.note = Some("not taken: gone, or not readable".to_owned());
                self.tally.left_out += 1;
                return Ok(());
            };
            let before = Stamp::read(&file);
            let taken = match self.blobs.put_reader(&mut file, cap)? {
                Ok(Some(taken)) => taken,
                Ok(None) => {
                    item.note = over("one file, while it grew");
                    self.tally.left_out += 1;
                    return Ok(());
                }
                Err(e) => {
                    item.note = Some(format!("not taken: cannot be read: {e}"));
                    self.tally.left_out += 1;
                    return Ok(());
                }
            };
            self.tally.bytes_read += taken.size;
            self.tally.bytes_new += if taken.new { taken.size } else { 0 };
            let after = Stamp::read(&file);
            let still = before == after && before.is_some_and(|s| s.size == taken.size);
            if !still && again < AGAIN {
                continue;
            }
            (item.size, item.sha256) = (taken.size, Some(taken.sha256));
            self.tally.bytes += taken.size;
            match before.filter(|_| still) {
                None => item.note = Some("changed while it was read".to_owned()),
                Some(stamp) if stamp.ctime_ns + TICK_NS < began => {
                    self.known.0.insert(key, (stamp, taken.sha256));
                }
                Some(_) => {}
            }
            return Ok(());
        }
        Ok(())
    }
}

/// The bytes that [`path_key`] wrote; the inverse of it.
pub fn key_bytes(key: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let first;
        let hex = || reenact_model::digest::from_hex(std::str::from_utf8(tail.get(1..3)?).ok()?);
        (first, rest) = match (byte, tail.first()) {
            (b'\\', Some(b'\\')) => (b'\\', &tail[1..]),
            (b'\\', Some(b'x')) => match hex() {
                Some(raw) => (raw[0], &tail[3..]),
                None => (byte, tail),
            },
            _ => (byte, tail),
        };
        out.push(first);
    }
    out
}
