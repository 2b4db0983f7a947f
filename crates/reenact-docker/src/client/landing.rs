//! `cp`: what comes out of a container is written.
//!
//! It is not to be trusted: entries are plain names below the destination, and no link that the stream made, or that was there
//! before, is written through.

use super::local::Spot;
use crate::entries::{self, Allowance};
use crate::error::DockerError;
use std::fs::{File, Metadata, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

/// Unpacks a stream with one file, or with one directory, to `to`. Gives notes of what was left out.
///
/// # Errors
/// Writing; a stream that is no tar.
pub fn unpack(from: &mut dyn Read, spot: &Spot, is_dir: bool) -> Result<Vec<String>, DockerError> {
    let to = spot.path.as_path();
    let mut archive = tar::Archive::new(from);
    let broken = |e| DockerError::io("unpack to", to)(e);
    let mut notes = Vec::new();
    let mut left = Allowance::default();
    if is_dir {
        directory(spot).map_err(DockerError::io("create", to))?;
    }
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        left.entry().and_then(|()| left.bytes(entry.size())).map_err(broken)?;
        let name = entry.path().map_err(broken)?.into_owned();
        let done = if is_dir { place(to, &name, &mut entry) } else { single(spot, &mut entry) };
        match done.map_err(broken)? {
            Placed::Yes => {}
            Placed::No(why) => notes.push(format!("left out: {} ({why})", name.display())),
        }
    }
    Ok(notes)
}

enum Placed {
    Yes,
    No(&'static str),
}

/// The directory that everything goes below.
fn directory(spot: &Spot) -> io::Result<()> {
    let to = &spot.path;
    match to.symlink_metadata() {
        // The caller wrote a slash behind the link.
        Ok(meta) if meta.is_dir() || (spot.named && to.is_dir()) => Ok(()),
        Ok(_) if spot.named => Err(io::ErrorKind::NotADirectory.into()),
        there => {
            clear(to, there.ok().as_ref())?;
            std::fs::create_dir(to)
        }
    }
}

fn write(file: &File, entry: &mut tar::Entry<'_, impl Read>) -> io::Result<()> {
    let mode = entry.header().mode().unwrap_or(0o644) & 0o777;
    let time = entries::time(entry.header());
    entries::fill(file, entry)?;
    if file.metadata()?.is_file() {
        file.set_permissions(Permissions::from_mode(mode))?;
        file.set_modified(time)?;
    }
    Ok(())
}

/// Opens the destination of a file. Where the caller named it, what is there is written in place (also a device).
fn open(spot: &Spot) -> io::Result<File> {
    let to = &spot.path;
    let mut options = File::options();
    options.write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    if spot.named {
        return options.create(true).truncate(true).open(to);
    }
    clear(to, to.symlink_metadata().ok().as_ref())?;
    options.create_new(true).open(to)
}

/// A file or link that is all there is.
fn single(spot: &Spot, entry: &mut tar::Entry<'_, impl Read>) -> io::Result<Placed> {
    match entry.header().entry_type() {
        kind if entries::is_file(kind) => {
            let file = open(spot)?;
            write(&file, entry)?;
            Ok(Placed::Yes)
        }
        tar::EntryType::Symlink => {
            let to = &spot.path;
            let target = entry.link_name()?.unwrap_or_default().into_owned();
            clear(to, to.symlink_metadata().ok().as_ref())?;
            symlink(target, to)?;
            Ok(Placed::Yes)
        }
        _ => Ok(Placed::No("neither a file nor a link")),
    }
}

/// One entry of a directory's stream.
fn place(to: &Path, name: &Path, entry: &mut tar::Entry<'_, impl Read>) -> io::Result<Placed> {
    let Some((dir, last)) = below(to, name) else {
        return Ok(Placed::No("leads elsewhere"));
    };
    let Some(last) = last else { return Ok(Placed::Yes) };
    let at = dir.join(last);
    let there = at.symlink_metadata().ok();
    let mode = entry.header().mode().unwrap_or(0o755) & 0o777;
    match entry.header().entry_type() {
        tar::EntryType::Directory => {
            if !there.as_ref().is_some_and(|m| m.is_dir()) {
                clear(&at, there.as_ref())?;
                std::fs::create_dir(&at)?;
                // Ours to write to, whatever it was in the container.
                std::fs::set_permissions(&at, Permissions::from_mode(mode | 0o700))?;
            }
        }
        kind if entries::is_file(kind) => {
            let file = open(&Spot { path: at, named: false })?;
            write(&file, entry)?;
        }
        tar::EntryType::Symlink => {
            let target = entry.link_name()?.unwrap_or_default().into_owned();
            clear(&at, there.as_ref())?;
            symlink(target, &at)?;
        }
        tar::EntryType::Link => {
            let first = entry.link_name()?.unwrap_or_default().into_owned();
            let Some((from, Some(first))) = below(to, &first) else {
                return Ok(Placed::No("leads elsewhere"));
            };
            let first = from.join(first);
            if !first.symlink_metadata().is_ok_and(|m| m.is_file()) {
                return Ok(Placed::No("another name of a file that is not there"));
            }
            clear(&at, there.as_ref())?;
            std::fs::hard_link(first, &at)?;
        }
        _ => return Ok(Placed::No("a device or fifo")),
    }
    Ok(Placed::Yes)
}

/// The directory of an entry, which is a real one below `to`, and its name; `None`: it has no place there.
fn below(to: &Path, name: &Path) -> Option<(PathBuf, Option<std::ffi::OsString>)> {
    let mut parts = Vec::new();
    for part in name.components() {
        match part {
            Component::Normal(part) => parts.push(part.to_owned()),
            Component::CurDir => {}
            _ => return None,
        }
    }
    let last = parts.pop();
    let mut dir = to.to_path_buf();
    for part in parts {
        dir.push(part);
        // The stream names directories before what is in them.
        if !dir.symlink_metadata().is_ok_and(|m| m.is_dir()) {
            return None;
        }
    }
    Some((dir, last))
}

/// Removes a file or link that is to be replaced, and nothing else: devices and the like are the host's.
fn clear(at: &Path, there: Option<&Metadata>) -> io::Result<()> {
    match there {
        None => Ok(()),
        Some(meta) if meta.is_file() || meta.is_symlink() => std::fs::remove_file(at),
        Some(_) => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("{}: something that is neither a file nor a link is there", at.display()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::local::{Thing, look, pack};
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn spot(path: &Path, named: bool) -> Spot {
        Spot { path: path.to_path_buf(), named }
    }

    fn packed(thing: &Thing) -> Vec<u8> {
        let mut bytes = Vec::new();
        pack(thing, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_tree_comes_back() {
        let temp = tempfile::tempdir().unwrap();
        let from = temp.path().join("from");
        std::fs::create_dir_all(from.join("a/b")).unwrap();
        std::fs::write(from.join("a/b/file"), "x").unwrap();
        std::fs::set_permissions(from.join("a/b/file"), Permissions::from_mode(0o4755)).unwrap();
        symlink("b/file", from.join("a/link")).unwrap();
        let thing = look(&from, false).unwrap();
        assert!(thing.is_dir && thing.name == "from" && !thing.contents);
        let to = temp.path().join("to");
        assert_eq!(
            unpack(&mut packed(&thing).as_slice(), &spot(&to, true), true).unwrap(),
            Vec::<String>::new()
        );
        assert_eq!(std::fs::read_to_string(to.join("a/link")).unwrap(), "x");
        let mode = to.join("a/b/file").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755, "no set-user-id bits on the host");
    }

    #[test]
    fn no_link_is_written_through() {
        let temp = tempfile::tempdir().unwrap();
        let outside = temp.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        let to = temp.path().join("to");
        std::fs::create_dir(&to).unwrap();
        symlink(&outside, to.join("dir")).unwrap();
        symlink(outside.join("file"), to.join("file")).unwrap();
        let mut tar = tar::Builder::new(Vec::new());
        for name in ["dir/x", "file"] {
            let mut header = tar::Header::new_gnu();
            header.set_size(1);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, &b"y"[..]).unwrap();
        }
        let notes =
            unpack(&mut tar.into_inner().unwrap().as_slice(), &spot(&to, true), true).unwrap();
        assert_eq!(notes, ["left out: dir/x (leads elsewhere)"]);
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        assert_eq!(std::fs::read_to_string(to.join("file")).unwrap(), "y");
    }

    fn one(kind: tar::EntryType, name: &str, link: &str, bytes: &[u8]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        if link.is_empty() {
            tar.append_data(&mut header, name, bytes).unwrap();
        } else {
            tar.append_link(&mut header, name, link).unwrap();
        }
        tar.into_inner().unwrap()
    }

    #[test]
    fn a_link_of_an_earlier_copy_is_replaced_and_never_followed() {
        let temp = tempfile::tempdir().unwrap();
        let victim = temp.path().join("victim");
        std::fs::create_dir(&victim).unwrap();
        std::fs::write(victim.join("file"), "original").unwrap();
        let out = temp.path().join("out");
        std::fs::create_dir(&out).unwrap();
        // The container lets a link be fetched first, and then a file and a directory of the same names.
        for (name, leads) in [("log", victim.join("file")), ("d", victim.clone())] {
            let link = one(tar::EntryType::Symlink, "file", leads.to_str().unwrap(), b"");
            unpack(&mut link.as_slice(), &spot(&out.join(name), false), false).unwrap();
            assert!(out.join(name).symlink_metadata().unwrap().is_symlink());
        }
        let file = one(tar::EntryType::Regular, "file", "", b"new");
        unpack(&mut file.as_slice(), &spot(&out.join("log"), false), false).unwrap();
        let tree = one(tar::EntryType::Regular, "key", "", b"new");
        unpack(&mut tree.as_slice(), &spot(&out.join("d"), false), true).unwrap();
        assert_eq!(std::fs::read_to_string(victim.join("file")).unwrap(), "original");
        assert_eq!(std::fs::read_dir(&victim).unwrap().count(), 1);
        assert_eq!(std::fs::read_to_string(out.join("log")).unwrap(), "new");
        assert_eq!(std::fs::read_to_string(out.join("d/key")).unwrap(), "new");
        assert!(!out.join("d").symlink_metadata().unwrap().is_symlink());
        // Also where the caller named it and something else was quicker.
        std::fs::remove_file(out.join("log")).unwrap();
        symlink(victim.join("file"), out.join("log")).unwrap();
        assert!(unpack(&mut file.as_slice(), &spot(&out.join("log"), true), false).is_err());
        assert_eq!(std::fs::read_to_string(victim.join("file")).unwrap(), "original");
    }

    #[test]
    fn what_is_neither_file_nor_link_is_not_replaced() {
        let temp = tempfile::tempdir().unwrap();
        let socket = temp.path().join("socket");
        let _bound = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let file = one(tar::EntryType::Regular, "socket", "", b"x");
        for is_dir in [false, true] {
            let to = if is_dir { temp.path() } else { &socket };
            let said = unpack(&mut file.as_slice(), &spot(to, false), is_dir).unwrap_err();
            assert!(said.to_string().contains("neither a file nor a link"), "{said}");
        }
    }

    #[test]
    fn holes_stay_holes() {
        let temp = tempfile::tempdir().unwrap();
        let size: u64 = 64 << 20;
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::GNUSparse);
        header.set_mode(0o600);
        header.set_size(4);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.set_real_size(size);
        gnu.sparse[0].set_offset(40 << 20);
        gnu.sparse[0].set_length(4);
        gnu.sparse[1].set_offset(size);
        gnu.sparse[1].set_length(0);
        let mut tar = tar::Builder::new(Vec::new());
        tar.append_data(&mut header, "file", &b"data"[..]).unwrap();
        let to = temp.path().join("file");
        unpack(&mut tar.into_inner().unwrap().as_slice(), &spot(&to, true), false).unwrap();
        let meta = to.metadata().unwrap();
        assert_eq!(meta.len(), size);
        assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
        let bytes = std::fs::read(&to).unwrap();
        assert_eq!(&bytes[40 << 20..][..4], b"data");
        assert_eq!(bytes.iter().filter(|b| **b != 0).count(), 4);
    }
}
