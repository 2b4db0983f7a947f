//! `cp`: files of the host.
//!
//! What comes out of a container is not to be trusted: entries are plain names below the destination, and no link that the
//! stream made, or that was there before, is written through.

use crate::error::DockerError;
use std::fs::{File, Permissions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A file or directory that is to be copied into a container.
pub struct Thing {
    path: PathBuf,
    pub name: String,
    pub is_dir: bool,
    /// Only what is in the directory (`DIR/.`).
    pub contents: bool,
    link: bool,
}

/// Looks at a source.
///
/// # Errors
/// There is none, or it is neither file, directory nor link.
pub fn look(path: &Path, follow: bool) -> Result<Thing, DockerError> {
    let text = path.to_string_lossy();
    let contents = text == "." || text.ends_with("/.");
    let meta = if follow || text.ends_with('/') || contents {
        path.metadata()
    } else {
        path.symlink_metadata()
    };
    let meta = meta.map_err(DockerError::io("read", path))?;
    let is_dir = meta.is_dir();
    if !is_dir && !meta.is_file() && !meta.is_symlink() {
        return Err(DockerError::Failed(format!("{text}: neither a file nor a directory")));
    }
    if text.ends_with('/') && !is_dir {
        return Err(DockerError::Failed(format!("{text}: not a directory")));
    }
    let named = if path.file_name().is_some() && !contents {
        path.to_path_buf()
    } else {
        path.canonicalize().map_err(DockerError::io("read", path))?
    };
    let name = named.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Thing { path: path.to_path_buf(), name, is_dir, contents, link: meta.is_symlink() })
}

/// Writes it as a tar stream.
///
/// # Errors
/// Reading. That nobody takes the stream is no error here: who does not says why.
pub fn pack(thing: &Thing, to: &mut dyn Write) -> Result<(), DockerError> {
    let mut tar = tar::Builder::new(to);
    tar.follow_symlinks(false);
    let packed = if thing.is_dir {
        tar.append_dir_all(".", &thing.path)
    } else if thing.link {
        tar.append_path_with_name(&thing.path, "file")
    } else {
        File::open(&thing.path).and_then(|mut file| tar.append_file("file", &mut file))
    };
    match packed.and_then(|()| tar.finish()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(DockerError::io("copy", &thing.path)(e))
        }
        _ => Ok(()),
    }
}

/// Where something called `name` goes, by docker's rules.
///
/// # Errors
/// The rules.
pub fn target(to: &Path, name: &str, is_dir: bool, contents: bool) -> Result<PathBuf, DockerError> {
    let fail = |what: &str| Err(DockerError::Failed(format!("{}: {what}", to.display())));
    let slash = to.to_string_lossy().ends_with('/');
    match to.metadata() {
        Ok(meta) if meta.is_dir() => Ok(if (is_dir && contents) || name.is_empty() {
            to.to_path_buf()
        } else {
            to.join(name)
        }),
        Ok(_) if is_dir => fail("cannot copy a directory to a file"),
        Ok(_) if slash => fail("not a directory"),
        Ok(_) => Ok(to.to_path_buf()),
        Err(_) if slash && !is_dir => fail("no such directory"),
        Err(_) => {
            let parent =
                to.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if parent.is_dir() {
                Ok(to.to_path_buf())
            } else {
                Err(DockerError::Failed(format!("{}: no such directory", parent.display())))
            }
        }
    }
}

/// Unpacks a stream with one file, or with one directory, to `to`. Gives notes of what was left out.
///
/// # Errors
/// Writing; a stream that is no tar.
pub fn unpack(from: &mut dyn Read, to: &Path, is_dir: bool) -> Result<Vec<String>, DockerError> {
    let mut archive = tar::Archive::new(from);
    let broken = |e| DockerError::io("unpack to", to)(e);
    let mut notes = Vec::new();
    if is_dir {
        match std::fs::create_dir(to) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && to.is_dir() => {}
            Err(e) => return Err(DockerError::io("create", to)(e)),
            Ok(()) => {}
        }
    }
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let name = entry.path().map_err(broken)?.into_owned();
        let done = if is_dir { place(to, &name, &mut entry) } else { single(to, &mut entry) };
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

fn times(header: &tar::Header) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(header.mtime().unwrap_or(0).min(1 << 40))
}

fn fill(file: &File, entry: &mut tar::Entry<'_, impl Read>) -> io::Result<()> {
    let mode = entry.header().mode().unwrap_or(0o644) & 0o777;
    let time = times(entry.header());
    let mut to = io::BufWriter::with_capacity(256 << 10, file);
    io::copy(&mut BufReader::with_capacity(256 << 10, &mut *entry), &mut to)?;
    to.flush()?;
    drop(to);
    if file.metadata()?.is_file() {
        file.set_permissions(Permissions::from_mode(mode))?;
        file.set_modified(time)?;
    }
    Ok(())
}

/// A file for which the caller named the place: written in place, if there is one.
fn single(to: &Path, entry: &mut tar::Entry<'_, impl Read>) -> io::Result<Placed> {
    match entry.header().entry_type() {
        tar::EntryType::Regular => {
            let file =
                File::options().write(true).create(true).truncate(true).mode(0o600).open(to)?;
            fill(&file, entry)?;
            Ok(Placed::Yes)
        }
        tar::EntryType::Symlink => {
            let target = entry.link_name()?.unwrap_or_default().into_owned();
            if to.symlink_metadata().is_ok_and(|m| m.is_symlink() || m.is_file()) {
                std::fs::remove_file(to)?;
            }
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
                clear(&at, there.is_some())?;
                std::fs::create_dir(&at)?;
                // Ours to write to, whatever it was in the container.
                std::fs::set_permissions(&at, Permissions::from_mode(mode | 0o700))?;
            }
        }
        tar::EntryType::Regular => {
            clear(&at, there.is_some())?;
            let file = File::options().write(true).create_new(true).mode(0o600).open(&at)?;
            fill(&file, entry)?;
        }
        tar::EntryType::Symlink => {
            let target = entry.link_name()?.unwrap_or_default().into_owned();
            clear(&at, there.is_some())?;
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
            clear(&at, there.is_some())?;
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

/// Removes a file or link that is to be replaced.
fn clear(at: &Path, there: bool) -> io::Result<()> {
    if there { std::fs::remove_file(at) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            unpack(&mut packed(&thing).as_slice(), &to, true).unwrap(),
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
        let notes = unpack(&mut tar.into_inner().unwrap().as_slice(), &to, true).unwrap();
        assert_eq!(notes, ["left out: dir/x (leads elsewhere)"]);
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        assert_eq!(std::fs::read_to_string(to.join("file")).unwrap(), "y");
    }

    #[test]
    fn dockers_rules_of_destinations() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("dir");
        let file = temp.path().join("file");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(&file, "").unwrap();
        let of = |to: &Path, is_dir, contents| {
            target(to, "n", is_dir, contents).map_err(|e| e.to_string())
        };
        assert_eq!(of(&dir, false, false).unwrap(), dir.join("n"));
        assert_eq!(of(&dir, true, false).unwrap(), dir.join("n"));
        assert_eq!(of(&dir, true, true).unwrap(), dir);
        assert_eq!(of(&file, false, false).unwrap(), file);
        assert!(of(&file, true, false).unwrap_err().contains("cannot copy a directory to a file"));
        let new = temp.path().join("new");
        assert_eq!(of(&new, true, false).unwrap(), new);
        assert!(of(&new.join(""), false, false).unwrap_err().contains("no such directory"));
        assert!(of(&new.join("x"), false, false).unwrap_err().contains("no such directory"));
    }
}
