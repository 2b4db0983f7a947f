//! Unpacking a submission: a hostile stream becomes a tree of regular files, directories and harmless links, or an error
//! that names the entry (ATTACKS C6).

mod block;
mod entry;
mod error;
mod sniff;
mod tree;

pub use error::{Limit, Refusal, UnpackError};

use block::Blocks;
use entry::{RawEntry, next_entry};
use reenact_bundle::fsx::fs_error;
use reenact_model::observe::path_key;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tar::EntryType;
use tree::{Node, Tree, clean, leads_out};

/// Caps on an archive. There is no "unlimited".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnpackLimits {
    /// Entries, extension headers and implied directories included.
    pub entries: u64,
    /// Bytes of all files, hard links counted as copies.
    pub bytes: u64,
}

impl Default for UnpackLimits {
    fn default() -> Self {
        Self { entries: 100_000, bytes: 1 << 30 }
    }
}

/// What was unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnpackReport {
    pub files: u64,
    pub bytes: u64,
    /// Files a reviewer may want to look at (programs, archives, large files), as `<name>: <why>`; in the archive's order.
    pub notable: Vec<String>,
}

/// Files larger than this are notable, bytes.
const LARGE: u64 = 1 << 20;
/// Notable files that are listed.
const MAX_NOTABLE: usize = 100;

/// Unpacks the gzipped tar `reader` into `dest`, an empty directory (made if it does not exist) that nobody else writes.
/// Modes are reduced to 0644 and 0755; owners are dropped; modification times are kept, since `make` looks at them.
///
/// # Errors
/// [`UnpackError`]; `dest` may then hold a part of the tree.
pub fn unpack(
    reader: impl Read,
    dest: &Path,
    limits: &UnpackLimits,
) -> Result<UnpackReport, UnpackError> {
    std::fs::create_dir_all(dest).map_err(fs_error(dest, "create"))?;
    // Room for headers and padding beside the files' own bytes.
    let stream_limit = limits.bytes.saturating_add(limits.entries.saturating_mul(2048)) + (1 << 20);
    let mut blocks = Blocks::new(reader, stream_limit, limits.bytes);
    let mut unpacker = Unpacker {
        dest,
        limits: *limits,
        tree: Tree::default(),
        entries: 0,
        report: UnpackReport::default(),
    };
    loop {
        let (entries, most) = (&mut unpacker.entries, limits.entries);
        let next = next_entry(&mut blocks, &mut |label| count(entries, most, label))?;
        let Some(entry) = next else { break };
        unpacker.entry(&entry, &mut blocks)?;
    }
    blocks.drain()?;
    unpacker
        .tree
        .check_links()
        .map_err(|(path, why)| UnpackError::Refused { entry: path_key(&path), why })?;
    Ok(unpacker.report)
}

fn count(entries: &mut u64, most: u64, label: &str) -> Result<(), UnpackError> {
    *entries += 1;
    if *entries > most {
        let what = Limit::Entries(most);
        return Err(UnpackError::Limit { entry: label.to_owned(), what });
    }
    Ok(())
}

struct Unpacker<'a> {
    dest: &'a Path,
    limits: UnpackLimits,
    tree: Tree,
    entries: u64,
    report: UnpackReport,
}

impl Unpacker<'_> {
    fn entry<R: Read>(
        &mut self,
        entry: &RawEntry,
        blocks: &mut Blocks<R>,
    ) -> Result<(), UnpackError> {
        let refuse = |why| UnpackError::Refused { entry: entry.label(), why };
        let path = clean(&entry.name).map_err(refuse)?;
        if path.is_empty() {
            // The root itself, `./`.
            return match entry.kind {
                EntryType::Directory => Ok(()),
                _ => Err(refuse(Refusal::EmptyName)),
            };
        }
        if entry.mode & 0o6000 != 0 && entry.kind != EntryType::Directory {
            return Err(refuse(Refusal::SetId));
        }
        match entry.kind {
            EntryType::Directory => self.directory(&path).map_err(|e| e.named(entry)),
            EntryType::Regular | EntryType::Continuous => self.file(entry, &path, blocks),
            EntryType::Symlink => self.symlink(entry, &path),
            EntryType::Link => self.hard_link(entry, &path),
            EntryType::Char | EntryType::Block | EntryType::Fifo => Err(refuse(Refusal::Special)),
            _ => Err(refuse(Refusal::UnknownType)),
        }
    }

    /// Reserves `path` for `node` and makes the directories above it.
    fn place(&mut self, path: &[u8], node: Node) -> Result<tree::Placement, Trouble> {
        let placement = self.tree.place(path, node).map_err(Trouble::Refused)?;
        for dir in &placement.make {
            count(&mut self.entries, self.limits.entries, &path_key(dir))
                .map_err(Trouble::Other)?;
            self.make_dir(dir).map_err(Trouble::Other)?;
        }
        Ok(placement)
    }

    fn make_dir(&self, path: &[u8]) -> Result<(), UnpackError> {
        let dir = self.on_disk(path);
        std::fs::create_dir(&dir).map_err(fs_error(&dir, "create"))?;
        let mode = Permissions::from_mode(0o755);
        std::fs::set_permissions(&dir, mode).map_err(fs_error(&dir, "create"))?;
        Ok(())
    }

    fn directory(&mut self, path: &[u8]) -> Result<(), Trouble> {
        let placement = self.place(path, Node::Dir)?;
        if !placement.exists {
            self.make_dir(path).map_err(Trouble::Other)?;
        }
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        entry: &RawEntry,
        path: &[u8],
        blocks: &mut Blocks<R>,
    ) -> Result<(), UnpackError> {
        self.charge(entry, entry.size)?;
        let mut file = self.create(entry, path, entry.size)?;
        let target = self.on_disk(path);
        let mut head = Vec::with_capacity(sniff::HEAD);
        blocks.data(entry.size, &entry.label(), &mut |piece| {
            let more = piece.len().min(sniff::HEAD - head.len());
            head.extend_from_slice(&piece[..more]);
            file.write_all(piece).map_err(fs_error(&target, "write"))?;
            Ok(())
        })?;
        if let Some(time) = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(entry.mtime)) {
            // A time the file system cannot hold is no reason to refuse the file.
            file.set_modified(time).ok();
        }
        self.note(path, entry.size, &head);
        Ok(())
    }

    /// A hard link becomes a copy, so that it costs what it will cost inside the build cell.
    fn hard_link(&mut self, entry: &RawEntry, path: &[u8]) -> Result<(), UnpackError> {
        let refuse = |why| UnpackError::Refused { entry: entry.label(), why };
        let source = clean(&entry.link).map_err(|_| refuse(Refusal::HardLink))?;
        let size = match self.tree.get(&source) {
            Some(Node::File { size }) if source != path => *size,
            _ => return Err(refuse(Refusal::HardLink)),
        };
        self.charge(entry, size)?;
        let from = self.on_disk(&source);
        let mut original = File::open(&from).map_err(fs_error(&from, "read"))?;
        let mode = original.metadata().map_err(fs_error(&from, "read"))?.permissions().mode();
        let mut file = self.create(
            &RawEntry { name: entry.name.clone(), link: Vec::new(), mode, ..*entry },
            path,
            size,
        )?;
        let target = self.on_disk(path);
        std::io::copy(&mut original, &mut file).map_err(fs_error(&target, "write"))?;
        Ok(())
    }

    fn symlink(&mut self, entry: &RawEntry, path: &[u8]) -> Result<(), UnpackError> {
        let refuse = |why| UnpackError::Refused { entry: entry.label(), why };
        let target = &entry.link;
        match target.as_slice() {
            b"" => return Err(refuse(Refusal::EmptyName)),
            t if t.contains(&0) => return Err(refuse(Refusal::NulInName)),
            t if t.starts_with(b"/") => return Err(refuse(Refusal::AbsoluteLink)),
            t if t.len() > tree::MAX_PATH => return Err(refuse(Refusal::LongName(tree::MAX_PATH))),
            t if leads_out(path, t) => return Err(refuse(Refusal::EscapingLink)),
            _ => {}
        }
        self.place(path, Node::Symlink(target.clone())).map_err(|e| e.named(entry))?;
        let link = self.on_disk(path);
        std::os::unix::fs::symlink(OsStr::from_bytes(target), &link)
            .map_err(fs_error(&link, "create"))?;
        Ok(())
    }

    /// Adds to the bytes unpacked so far.
    fn charge(&mut self, entry: &RawEntry, size: u64) -> Result<(), UnpackError> {
        self.report.bytes = self.report.bytes.saturating_add(size);
        if self.report.bytes > self.limits.bytes {
            let what = Limit::Bytes(self.limits.bytes);
            return Err(UnpackError::Limit { entry: entry.label(), what });
        }
        self.report.files += 1;
        Ok(())
    }

    /// A new, empty file at `path`; never one that was there before.
    fn create(&mut self, entry: &RawEntry, path: &[u8], size: u64) -> Result<File, UnpackError> {
        let placement = self.place(path, Node::File { size }).map_err(|e| e.named(entry))?;
        let target = self.on_disk(path);
        if placement.replace {
            std::fs::remove_file(&target).map_err(fs_error(&target, "replace"))?;
        }
        let mode = if entry.mode & 0o111 == 0 { 0o644 } else { 0o755 };
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&target)
            .map_err(fs_error(&target, "create"))?;
        // The mode at creation is subject to the umask.
        file.set_permissions(Permissions::from_mode(mode)).map_err(fs_error(&target, "create"))?;
        Ok(file)
    }

    fn note(&mut self, path: &[u8], size: u64, head: &[u8]) {
        let what = sniff::kind(head).or((size > LARGE).then_some("large file"));
        if let Some(what) = what
            && self.report.notable.len() < MAX_NOTABLE
        {
            self.report.notable.push(format!("{}: {what}, {size} bytes", path_key(path)));
        }
    }

    fn on_disk(&self, path: &[u8]) -> PathBuf {
        self.dest.join(OsStr::from_bytes(path))
    }
}

/// A refusal that still lacks the entry's name, or an error that has everything.
enum Trouble {
    Refused(Refusal),
    Other(UnpackError),
}

impl Trouble {
    fn named(self, entry: &RawEntry) -> UnpackError {
        match self {
            Self::Refused(why) => UnpackError::Refused { entry: entry.label(), why },
            Self::Other(error) => error,
        }
    }
}
