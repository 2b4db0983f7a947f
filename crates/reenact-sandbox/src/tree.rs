//! Trees in and out of a cell.

use crate::cell::{Cell, ExportReport};
use crate::error::SandboxError;
use crate::wire::{Wire, failed};
use reenact_model::digest::Hasher;
use reenact_model::observe::path_key;
use reenact_model::{CaseObservation, Content, Entry, EntryKind};
use reenact_zygote::proto::{EntryHead, Reader, Sink, kind, op, re};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Files up to this many bytes are kept whole in an observation; larger ones by size and digest.
pub const KEEP_FILE: u64 = 4 << 20;

/// Queues a LIST frame.
pub fn request_listing(wire: &mut Wire, path: &str, bytes: u64, entries: u64, workspace: bool) {
    let mut f = wire.frame(op::LIST);
    f.cstr(path.as_bytes());
    f.u64(bytes);
    f.u64(entries);
    f.u8(u8::from(workspace));
}

/// Reads a listing of the workspace into an observation.
pub fn read_listing(wire: &mut Wire, seen: &mut CaseObservation) -> Result<(), SandboxError> {
    loop {
        let frame = wire.next()?;
        match frame.op {
            re::LISTED => {
                seen.files_truncated = Reader::new(&frame.payload).u8() != Some(0);
                return Ok(());
            }
            re::ENTRY => {
                let head = head(&frame.payload)?;
                let kind = match head.kind {
                    kind::DIR => EntryKind::Dir,
                    kind::SYMLINK => EntryKind::Symlink { target: path_key(head.target) },
                    kind::FILE => file_entry(wire, &head)?,
                    kind::FIFO => EntryKind::Special { what: "fifo".to_owned() },
                    kind::SOCKET => EntryKind::Special { what: "socket".to_owned() },
                    _ => EntryKind::Special { what: "device".to_owned() },
                };
                seen.files.insert(path_key(head.path), Entry { kind, mode: head.mode });
            }
            _ => return Err(failed(&frame)),
        }
    }
}

fn head(payload: &[u8]) -> Result<EntryHead<'_>, SandboxError> {
    EntryHead::decode(payload).ok_or_else(|| SandboxError::Lost("a malformed listing".to_owned()))
}

/// Hashes a file's content as it arrives and keeps it if it is small.
fn file_entry(wire: &mut Wire, head: &EntryHead<'_>) -> Result<EntryKind, SandboxError> {
    if head.content == u64::MAX {
        // Not sent (caps): the digest of nothing would be a lie, so the size is hashed as a marker that no file has.
        let marker = format!("reenact: content of {} bytes not captured", head.size);
        return Ok(EntryKind::File {
            size: head.size,
            sha256: reenact_model::Digest::of(marker.as_bytes()),
            content: None,
        });
    }
    let mut hasher = Hasher::default();
    let keep = head.content <= KEEP_FILE;
    let mut bytes = Vec::new();
    wire.raw(head.content, |piece| {
        hasher.update(piece);
        if keep {
            bytes.extend_from_slice(piece);
        }
    })?;
    Ok(EntryKind::File {
        size: head.size,
        sha256: hasher.finish(),
        content: keep.then(|| Content::inline(&bytes)),
    })
}

/// Receives a tree and writes it to the new directory `to`. Every entry's parent is a directory that we created here, so
/// no link that the tree contains is ever followed.
pub fn receive_tree(wire: &mut Wire, to: &Path) -> Result<ExportReport, SandboxError> {
    let mut report = ExportReport::default();
    let mut problem: Option<SandboxError> = None;
    if let Err(e) = fs::create_dir(to) {
        problem = Some(SandboxError::host(format!("cannot create {}", to.display()), e));
    }
    loop {
        let frame = wire.next()?;
        match frame.op {
            re::LISTED => {
                if Reader::new(&frame.payload).u8() != Some(0) && problem.is_none() {
                    let what =
                        "the tree is larger than its limits, or partly unreadable".to_owned();
                    problem = Some(SandboxError::Spec { path: to.to_path_buf(), what });
                }
                return problem.map_or(Ok(report), Err);
            }
            re::ENTRY => {
                let head = head(&frame.payload)?;
                // After a problem the rest is read and dropped, so that the cell stays usable.
                let wrote = write_entry(wire, to, &head, problem.is_none(), &mut report)?;
                if problem.is_none()
                    && let Err(e) = wrote
                {
                    problem =
                        Some(SandboxError::host(format!("cannot write under {}", to.display()), e));
                }
            }
            _ => return Err(failed(&frame)),
        }
    }
}

fn write_entry(
    wire: &mut Wire,
    to: &Path,
    head: &EntryHead<'_>,
    wanted: bool,
    report: &mut ExportReport,
) -> Result<std::io::Result<()>, SandboxError> {
    let path = to.join(OsStr::from_bytes(head.path));
    let shown = || path_key(head.path);
    if head.mode & 0o7000 != 0 {
        report.skipped.push(format!("{}: setuid, setgid or sticky bit dropped", shown()));
    }
    // Whoever grades must be able to read what was built, and to remove it.
    let mode = head.mode & 0o777 | if head.kind == kind::DIR { 0o700 } else { 0o600 };
    match head.kind {
        kind::FILE if head.content != u64::MAX => {
            let mut file = None;
            let mut result = Ok(());
            if wanted {
                match fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&path) {
                    Ok(f) => file = Some(f),
                    Err(e) => result = Err(e),
                }
            }
            wire.raw(head.content, |piece| {
                if let (Some(f), true) = (&mut file, result.is_ok()) {
                    result = File::write_all(f, piece);
                }
            })?;
            report.files += 1;
            report.bytes += head.content;
            if result.is_ok() && file.is_some() {
                result = fs::set_permissions(&path, fs::Permissions::from_mode(mode));
            }
            Ok(result)
        }
        kind::DIR if wanted => Ok(fs::create_dir(&path)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)))),
        kind::SYMLINK if wanted => {
            Ok(std::os::unix::fs::symlink(OsStr::from_bytes(head.target), &path))
        }
        kind::FILE | kind::DIR | kind::SYMLINK => Ok(Ok(())),
        other => {
            let what = if other == kind::FIFO {
                "fifo"
            } else if other == kind::SOCKET {
                "socket"
            } else {
                "device"
            };
            report.skipped.push(format!("{}: {what}", shown()));
            Ok(Ok(()))
        }
    }
}

/// Queues a host directory's content for the cell.
pub fn import(cell: &mut Cell, from: &Path, target: &str) -> Result<(), SandboxError> {
    let mut queue = vec![(from.to_path_buf(), target.trim_end_matches('/').to_owned())];
    while let Some((dir, place)) = queue.pop() {
        let fail = |path: &Path| {
            let path = path.display().to_string();
            move |e| SandboxError::host(path, e)
        };
        let mut entries = fs::read_dir(&dir)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(fail(&dir))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                return Err(SandboxError::Spec {
                    path,
                    what: "a file name that is not UTF-8 cannot go into a cell".to_owned(),
                });
            };
            let inside = format!("{place}/{name}");
            let meta = path.symlink_metadata().map_err(fail(&path))?;
            if meta.is_dir() {
                cell.put(kind::DIR, meta.permissions().mode() & 0o777 | 0o700, &inside, b"")?;
                queue.push((path, inside));
            } else if meta.is_symlink() {
                let link = fs::read_link(&path).map_err(fail(&path))?;
                cell.put_link(link.as_os_str().as_bytes(), &inside)?;
            } else if meta.is_file() {
                let bytes = fs::read(&path).map_err(fail(&path))?;
                cell.put_file(meta.permissions().mode() & 0o777, &inside, &bytes)?;
            } else {
                return Err(SandboxError::Spec {
                    path,
                    what: "is neither a file, a directory nor a symlink".to_owned(),
                });
            }
        }
    }
    Ok(())
}
