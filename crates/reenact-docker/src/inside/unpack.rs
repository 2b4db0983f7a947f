//! Into a container: a tar stream, which may be anybody's.

use super::{NOTES, absolute, at, enter, make_dir, open_dir, own, split};
use crate::entries::{self, Allowance};
use crate::error::DockerError;
use crate::wire::Target;
use reenact_sandbox::container::Container;
use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

/// Where a stream goes: a directory of the container, and the name of the one thing in it.
struct Unpacker<'a> {
    container: &'a Container,
    /// Path of `base`, absolute.
    path: String,
    base: File,
    /// `Some`: the entry `.` gets this name in `base`, all others go below it.
    name: Option<String>,
    /// The stream is one file, whatever it is called there.
    single: bool,
    /// A link that has this name already is written through, as docker does with a destination that was named.
    through: bool,
    keep_owner: bool,
    /// The directory of the last entry.
    last: Option<(PathBuf, File)>,
    notes: Vec<String>,
    /// Times of directories are set last.
    times: Vec<(File, SystemTime)>,
}

/// Unpacks a tar stream. Gives notes of what was left out.
///
/// # Errors
/// docker's rules about what may go where; writing; a stream that is no tar.
pub fn unpack(
    container: &Container,
    target: &Target,
    from: impl Read,
) -> Result<Vec<String>, DockerError> {
    let mut unpacker = destination(container, target)?;
    let failed = |e: io::Error| DockerError::Failed(format!("cannot copy into the container: {e}"));
    let mut archive = tar::Archive::new(from);
    let mut left = Allowance::default();
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let name = entry.path().map_err(failed)?.into_owned();
        let room = left.entry().and_then(|()| left.bytes(entry.size()));
        room.and_then(|()| unpacker.entry(&name, &mut entry)).map_err(|e| {
            DockerError::Failed(format!("cannot copy {} into the container: {e}", name.display()))
        })?;
    }
    for (dir, time) in &unpacker.times {
        // Times of directories are a courtesy.
        let _set = dir.set_modified(*time);
    }
    Ok(unpacker.notes)
}

fn destination<'a>(container: &'a Container, target: &Target) -> Result<Unpacker<'a>, DockerError> {
    let (typed, keep_owner) = match target {
        Target::Thing { path, keep_owner, .. } | Target::Below { path, keep_owner } => {
            (path, *keep_owner)
        }
    };
    let path = absolute(typed);
    let fail = |what: &str| DockerError::Failed(format!("{typed}: {what} in the container"));
    let there = container.open(&path).and_then(|f| Ok((f.metadata()?.is_dir(), f)));
    let make = |path: String, base: File, name: Option<String>, through: bool| Unpacker {
        container,
        path,
        base,
        name,
        through,
        keep_owner,
        single: matches!(target, Target::Thing { is_dir: false, .. }),
        last: None,
        notes: Vec::new(),
        times: Vec::new(),
    };
    match (target, there) {
        (Target::Below { .. }, Ok((true, dir))) => Ok(make(path, dir, None, false)),
        (Target::Below { .. }, Ok(_)) => Err(fail("not a directory")),
        (Target::Below { .. }, Err(_)) => {
            Err(DockerError::Failed(format!("Could not find the file {typed} in the container")))
        }
        (Target::Thing { contents: true, is_dir: true, .. }, Ok((true, dir))) => {
            Ok(make(path, dir, None, false))
        }
        (Target::Thing { name, .. }, Ok((true, dir))) => {
            Ok(make(path, dir, Some(name.clone()), false))
        }
        (Target::Thing { is_dir: true, .. }, Ok(_)) => {
            Err(fail("cannot copy a directory to a file"))
        }
        (Target::Thing { .. }, Ok(_)) if typed.ends_with('/') => Err(fail("not a directory")),
        (Target::Thing { is_dir: false, .. }, Err(_)) if typed.ends_with('/') => {
            Err(fail("no such directory"))
        }
        (Target::Thing { .. }, there) => {
            let (parent, name) = split(&path);
            let dir = open_dir(container, parent).map_err(|_| {
                DockerError::Failed(format!("Could not find the file {parent} in the container"))
            })?;
            if at(&dir, OsStr::new(name)).symlink_metadata().is_ok_and(|m| m.is_symlink())
                && there.is_err()
            {
                return Err(fail("a link that leads nowhere"));
            }
            Ok(make(parent.to_owned(), dir, Some(name.to_owned()), true))
        }
    }
}

impl Unpacker<'_> {
    /// Where an entry goes, relative to `base`; `None`: it has no place (`..`).
    fn relative(&self, name: &Path) -> Option<PathBuf> {
        let mut path: PathBuf = self.name.iter().collect();
        if self.single {
            return Some(path);
        }
        for part in name.components() {
            match part {
                Component::Normal(part) => path.push(part),
                Component::CurDir | Component::RootDir => {}
                Component::ParentDir | Component::Prefix(_) => return None,
            }
        }
        Some(path)
    }

    fn entry(&mut self, name: &Path, entry: &mut tar::Entry<'_, impl Read>) -> io::Result<()> {
        let Some(path) = self.relative(name) else {
            self.note(name, "leads elsewhere");
            return Ok(());
        };
        let Some(last) = path.file_name() else { return Ok(()) };
        let dir = self.parent(path.parent().unwrap_or(Path::new("")))?;
        own(&dir)?;
        let kind = entry.header().entry_type();
        match kind {
            tar::EntryType::Directory => self.directory(&dir, &path, entry.header())?,
            kind if entries::is_file(kind) => {
                let file = self.create(&dir, last, &path)?;
                entries::fill(&file, entry)?;
                self.owner(entry.header(), |u, g| std::os::unix::fs::fchown(&file, u, g))?;
                file.set_permissions(Permissions::from_mode(mode(entry.header())))?;
                file.set_modified(entries::time(entry.header()))?;
            }
            tar::EntryType::Symlink => {
                let target = entry.link_name()?.unwrap_or_default().into_owned();
                clear(&dir, last)?;
                let link = at(&dir, last);
                symlink(&target, &link)?;
                self.owner(entry.header(), |u, g| lchown(&link, u, g))?;
            }
            tar::EntryType::Link => {
                let first = entry.link_name()?.unwrap_or_default().into_owned();
                let Some(first) = self.relative(&first) else {
                    self.note(name, "leads elsewhere");
                    return Ok(());
                };
                let from = self.parent(first.parent().unwrap_or(Path::new("")))?;
                clear(&dir, last)?;
                let first = first.file_name().unwrap_or_default();
                std::fs::hard_link(at(&from, first), at(&dir, last))?;
            }
            tar::EntryType::XGlobalHeader => {}
            _ => self.note(name, "a device or fifo"),
        }
        Ok(())
    }

    fn note(&mut self, name: &Path, why: &str) {
        if self.notes.len() < NOTES {
            self.notes.push(format!("left out: {} ({why})", name.display()));
        }
    }

    fn directory(&mut self, dir: &File, path: &Path, header: &tar::Header) -> io::Result<()> {
        let name = path.file_name().unwrap_or_default();
        match at(dir, name).symlink_metadata() {
            // One that is there keeps its rights, and a link to one (as the container sees it) its meaning.
            Ok(meta) if meta.is_dir() => return Ok(()),
            Ok(meta) if meta.is_symlink() && self.leads_to_directory(path) => return Ok(()),
            Ok(_) => clear(dir, name)?,
            Err(_) => {}
        }
        let made = make_dir(dir, name)?;
        self.owner(header, |u, g| std::os::unix::fs::fchown(&made, u, g))?;
        made.set_permissions(Permissions::from_mode(mode(header)))?;
        // Bounded, since each holds a descriptor.
        if self.times.len() < 256 {
            self.times.push((made, entries::time(header)));
        }
        Ok(())
    }

    fn leads_to_directory(&self, path: &Path) -> bool {
        let full = Path::new(&self.path).join(path);
        full.to_str().is_some_and(|full| open_dir(self.container, full).is_ok())
    }

    /// A file to be written: new, or behind a link that was named as the destination.
    fn create(&self, dir: &File, name: &OsStr, path: &Path) -> io::Result<File> {
        let there = at(dir, name);
        let is_link = there.symlink_metadata().is_ok_and(|m| m.is_symlink());
        if self.through && is_link && path.components().count() == 1 {
            let full = format!("{}/{}", self.path, path.display());
            if let Ok(target) = self.container.open(&full)
                && target.metadata()?.is_file()
            {
                own(&target)?;
                let again = format!("/proc/self/fd/{}", target.as_raw_fd());
                return File::options().write(true).truncate(true).open(again);
            }
        }
        clear(dir, name)?;
        File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(there)
    }

    /// Sets the owner that the stream names, where that was asked for. Otherwise it is root, who makes everything here.
    fn owner(
        &self,
        header: &tar::Header,
        set: impl FnOnce(Option<u32>, Option<u32>) -> io::Result<()>,
    ) -> io::Result<()> {
        if !self.keep_owner {
            return Ok(());
        }
        let number = |n: io::Result<u64>| n.ok().and_then(|n| u32::try_from(n).ok());
        set(number(header.uid()), number(header.gid()))
    }

    /// The directory `path` below `base`, made where it is missing; links are followed inside the container.
    fn parent(&mut self, path: &Path) -> io::Result<File> {
        if let Some((last, dir)) = &self.last
            && last == path
        {
            return dir.try_clone();
        }
        let mut dir = self.base.try_clone()?;
        let mut walked = PathBuf::from(&self.path);
        for part in path.components() {
            let name = part.as_os_str();
            walked.push(name);
            dir = match enter(&dir, name) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => make_dir(&dir, name)?,
                Err(e) if matches!(e.raw_os_error(), Some(libc::ELOOP | libc::ENOTDIR)) => {
                    let text = walked.to_str().ok_or(io::ErrorKind::InvalidInput)?;
                    open_dir(self.container, text)?
                }
                other => other?,
            };
        }
        self.last = Some((path.to_path_buf(), dir.try_clone()?));
        Ok(dir)
    }
}

fn mode(header: &tar::Header) -> u32 {
    header.mode().unwrap_or(0o644) & 0o7777
}

/// Removes a file or link that is to be replaced.
fn clear(dir: &File, name: &OsStr) -> io::Result<()> {
    match std::fs::remove_file(at(dir, name)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
