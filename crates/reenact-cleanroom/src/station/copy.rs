//! Files between a station's room and the host, as tar streams.
//!
//! Into the room: the stream is unpacked by the room's own `tar`, as the room's user, so it can do nothing that a command of
//! the agent could not. Out of it: the station lists and opens files itself, following no link, and the client unpacks with
//! [`unpack`], which writes below its destination and nowhere else, whatever the names are.

use super::StationError;
use super::exec::{Outlet, Pieces};
use super::wire::{Answer, Kind};
use reenact_bundle::fsx::fs_error;
use reenact_sandbox::room::{Room, TreeEntry, TreeKind};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

/// Entries of a tree that is fetched.
const MOST_ENTRIES: usize = 200_000;

/// Sends a file or directory of the room.
pub(crate) fn fetch(room: &Room, path: &str, outlet: &Outlet) -> Result<Answer, StationError> {
    let usage = |what: String| StationError::Usage { what };
    if !path.starts_with('/') || path.split('/').any(|p| p == "..") {
        return Err(usage(format!("{path}: give an absolute path in the cleanroom, without `..`")));
    }
    let mut notes = Vec::new();
    let gone = |e: io::Error| StationError::Ended { id: String::new(), why: format!(": {e}") };
    if let Some(file) = room.open_file("/", path.trim_start_matches('/').as_bytes())? {
        outlet.answer(&Answer::Begins { is_dir: false }).map_err(gone)?;
        let mut tar = tar::Builder::new(Pieces { outlet: outlet.clone(), kind: Kind::Output });
        append(&mut tar, b"file", &file, 0).and_then(|()| tar.finish()).map_err(gone)?;
        return Ok(Answer::Done { notes });
    }
    let entries = room.list_tree(path, MOST_ENTRIES).map_err(|e| {
        usage(format!(
            "{path}: cannot be copied out of the cleanroom ({e}); links are not followed"
        ))
    })?;
    outlet.answer(&Answer::Begins { is_dir: true }).map_err(gone)?;
    let mut tar = tar::Builder::new(Pieces { outlet: outlet.clone(), kind: Kind::Output });
    for entry in &entries {
        if !put(&mut tar, room, path, entry).map_err(gone)? {
            notes.push(format!("left out: {}", String::from_utf8_lossy(&entry.path)));
        }
    }
    tar.finish().map_err(gone)?;
    let all = notes.len();
    notes.truncate(20);
    if all > notes.len() {
        notes.push(format!("left out: {} more", all - notes.len()));
    }
    Ok(Answer::Done { notes })
}

/// One entry of a listing; false if it is left out (a device, or what cannot be read any more).
fn put(
    tar: &mut tar::Builder<impl Write>,
    room: &Room,
    dir: &str,
    entry: &TreeEntry,
) -> io::Result<bool> {
    let path = Path::new(OsStr::from_bytes(&entry.path));
    let mut header = tar::Header::new_gnu();
    header.set_mode(entry.mode);
    header.set_size(0);
    match &entry.kind {
        TreeKind::Special => return Ok(false),
        TreeKind::Dir => {
            header.set_entry_type(tar::EntryType::Directory);
            tar.append_data(&mut header, path, io::empty())?;
        }
        TreeKind::Symlink { target } => {
            header.set_entry_type(tar::EntryType::Symlink);
            tar.append_link(&mut header, path, Path::new(OsStr::from_bytes(target)))?;
        }
        TreeKind::File => match room.open_file(dir, &entry.path) {
            Ok(Some(file)) => append(tar, &entry.path, &file, entry.mode)?,
            _ => return Ok(false),
        },
    }
    Ok(true)
}

/// A file, with exactly as many bytes as it says at the start, though it may be written to.
fn append(
    tar: &mut tar::Builder<impl Write>,
    name: &[u8],
    file: &File,
    mode: u32,
) -> io::Result<()> {
    let meta = file.metadata()?;
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(if mode == 0 { meta.permissions().mode() & 0o777 } else { mode });
    header.set_size(meta.len());
    let whole = file.chain(io::repeat(0)).take(meta.len());
    tar.append_data(&mut header, Path::new(OsStr::from_bytes(name)), whole)
}

/// Packs a host file or directory for the room, under `name`.
///
/// # Errors
/// Reading; special files.
pub(crate) fn pack(from: &Path, name: &OsStr, to: &mut dyn Write) -> Result<(), StationError> {
    let mut tar = tar::Builder::new(to);
    tar.follow_symlinks(false);
    let meta = std::fs::metadata(from).map_err(fs_error(from, "read"))?;
    if meta.is_dir() {
        tar.append_dir_all(Path::new(name), from).map_err(fs_error(from, "copy"))?;
    } else if meta.is_file() {
        let mut file = File::open(from).map_err(fs_error(from, "open"))?;
        tar.append_file(Path::new(name), &mut file).map_err(fs_error(from, "copy"))?;
    } else {
        return Err(StationError::Usage {
            what: format!("{}: neither a file nor a directory", from.display()),
        });
    }
    tar.finish().map_err(fs_error(from, "copy"))?;
    Ok(())
}

/// Writes what [`fetch`] sent: a single file to `to`, or a directory's content below `to`. Gives notes of what was left out.
///
/// # Errors
/// Writing; a stream that is no tar.
pub(crate) fn unpack(
    from: impl Read,
    to: &Path,
    is_dir: bool,
) -> Result<Vec<String>, StationError> {
    let mut archive = tar::Archive::new(from);
    let broken = |e| StationError::from(fs_error(to, "unpack to")(e));
    let mut notes = Vec::new();
    if is_dir {
        std::fs::create_dir_all(to).map_err(fs_error(to, "create"))?;
    }
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let kind = entry.header().entry_type();
        let mode = entry.header().mode().unwrap_or(0o644) & 0o777;
        if !is_dir {
            write_file(to, mode, &mut entry)?;
            continue;
        }
        let name = entry.path().map_err(broken)?.into_owned();
        let Some(at) = place(to, &name)? else {
            notes.push(format!("left out: {}", name.display()));
            continue;
        };
        match kind {
            tar::EntryType::Directory => make_dir(&at)?,
            tar::EntryType::Regular => write_file(&at, mode, &mut entry)?,
            tar::EntryType::Symlink => {
                let target = entry.link_name().map_err(broken)?.unwrap_or_default().into_owned();
                if stays_inside(&name, &target) {
                    clear(&at)?;
                    symlink(&target, &at).map_err(fs_error(&at, "create"))?;
                } else {
                    notes.push(format!("left out: {} (leads elsewhere)", name.display()));
                }
            }
            _ => notes.push(format!("left out: {}", name.display())),
        }
    }
    Ok(notes)
}

/// Where `name` goes below `to`, with its parents made; `None` if it is not a plain relative path, or a link is in the way.
fn place(to: &Path, name: &Path) -> Result<Option<PathBuf>, StationError> {
    let mut at = to.to_path_buf();
    let parts: Vec<_> = name.components().filter(|c| *c != Component::CurDir).collect();
    let Some((last, parents)) = parts.split_last() else { return Ok(None) };
    for part in parents {
        let Component::Normal(part) = part else { return Ok(None) };
        at.push(part);
        match at.symlink_metadata() {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Ok(None),
            Err(_) => std::fs::create_dir(&at).map_err(fs_error(&at, "create"))?,
        }
    }
    let Component::Normal(last) = last else { return Ok(None) };
    at.push(last);
    Ok(Some(at))
}

fn make_dir(at: &Path) -> Result<(), StationError> {
    if at.symlink_metadata().is_ok_and(|m| m.is_dir()) {
        return Ok(());
    }
    clear(at)?;
    std::fs::create_dir(at).map_err(fs_error(at, "create"))?;
    Ok(())
}

/// Removes a file or link that is to be replaced.
fn clear(at: &Path) -> Result<(), StationError> {
    match std::fs::remove_file(at) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(fs_error(at, "replace")(e).into()),
        _ => Ok(()),
    }
}

fn write_file(at: &Path, mode: u32, from: &mut impl Read) -> Result<(), StationError> {
    clear(at)?;
    let mut options = File::options();
    // A new file: no link is written through. Owner's rights, so that we can write and the user can remove it.
    let file = options.write(true).create_new(true).mode(mode | 0o600).open(at);
    let mut file = file.map_err(fs_error(at, "create"))?;
    io::copy(from, &mut file).map_err(fs_error(at, "write"))?;
    Ok(())
}

/// Whether a link at `name` (relative) with this target leads to somewhere in the same tree.
fn stays_inside(name: &Path, target: &Path) -> bool {
    let mut depth = name.components().count().saturating_sub(1);
    for part in target.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tar stream with any names, as a hostile room could wish for.
    fn archive(entries: &[(&str, Option<&str>, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, link, content) in entries {
            let mut header = tar::Header::new_gnu();
            let old = header.as_old_mut();
            old.name[..name.len()].copy_from_slice(name.as_bytes());
            if let Some(target) = link {
                old.linkname[..target.len()].copy_from_slice(target.as_bytes());
            }
            header.set_entry_type(match link {
                Some(_) => tar::EntryType::Symlink,
                None => tar::EntryType::Regular,
            });
            header.set_mode(0o4777);
            header.set_size(content.len() as u64);
            header.set_cksum();
            bytes.extend(header.as_bytes());
            bytes.extend(content.as_bytes());
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }

    #[test]
    fn hostile_names_and_links_stay_inside_the_destination() {
        let temp = tempfile::tempdir().unwrap();
        let outside = temp.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("precious"), "mine").unwrap();
        let to = temp.path().join("to");
        let out = outside.to_str().unwrap();
        let tar = archive(&[
            ("../outside/precious", None, "gone"),
            ("/etc/reenact-was-here", None, "x"),
            ("a/../../outside/precious", None, "gone"),
            ("link", Some(out), ""),
            ("link/precious", None, "gone"),
            ("up", Some("../outside"), ""),
            ("ok/inner", Some("../plain"), ""),
            ("ok/inner", None, "a file where a link was"),
            ("plain", None, "content"),
        ]);
        let notes = unpack(tar.as_slice(), &to, true).unwrap();
        assert_eq!(std::fs::read_to_string(outside.join("precious")).unwrap(), "mine");
        assert!(!Path::new("/etc/reenact-was-here").exists());
        assert_eq!(std::fs::read_to_string(to.join("plain")).unwrap(), "content");
        assert_eq!(
            std::fs::read_to_string(to.join("ok/inner")).unwrap(),
            "a file where a link was"
        );
        assert!(notes.iter().any(|n| n.contains("link (leads elsewhere)")), "{notes:?}");
        let mode = to.join("plain").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o7000, 0, "no set-user-id bits");
    }

    #[test]
    fn a_link_from_an_earlier_copy_is_not_written_through() {
        let temp = tempfile::tempdir().unwrap();
        let outside = temp.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        let to = temp.path().join("to");
        std::fs::create_dir(&to).unwrap();
        symlink(&outside, to.join("dir")).unwrap();
        symlink(outside.join("file"), to.join("file")).unwrap();
        let tar = archive(&[("dir/x", None, "x"), ("file", None, "y")]);
        let notes = unpack(tar.as_slice(), &to, true).unwrap();
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "{notes:?}");
        assert_eq!(std::fs::read_to_string(to.join("file")).unwrap(), "y");
    }

    #[test]
    fn a_tree_packed_here_unpacks_here() {
        let temp = tempfile::tempdir().unwrap();
        let from = temp.path().join("from");
        std::fs::create_dir_all(from.join("a/b")).unwrap();
        std::fs::write(from.join("a/b/file"), "x").unwrap();
        symlink("b/file", from.join("a/link")).unwrap();
        let mut bytes = Vec::new();
        pack(&from, OsStr::new("top"), &mut bytes).unwrap();
        let to = temp.path().join("to");
        assert_eq!(unpack(bytes.as_slice(), &to, true).unwrap(), Vec::<String>::new());
        assert_eq!(std::fs::read_to_string(to.join("top/a/link")).unwrap(), "x");
    }

    #[test]
    fn links_are_judged_by_where_they_lead() {
        let inside = |name: &str, target: &str| stays_inside(Path::new(name), Path::new(target));
        assert!(inside("a/b/l", "../c") && inside("l", "x/y") && inside("a/l", "../b"));
        assert!(!inside("l", "..") && !inside("l", "/etc") && !inside("a/l", "../../x"));
        assert!(!inside("l", "x/../../y"));
    }
}
