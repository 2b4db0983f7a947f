//! Files of a running container, from its station: paths as its programs see them, tar streams out and in.
//!
//! Programs of the container may change everything at the same time. So each path is entered once, by the container's own
//! rules and inside its root ([`Container::open`]), and from there on only by a descriptor of a directory and one name below
//! it, which no link can lead elsewhere.

mod pack;
mod sparse;
mod unpack;

pub use pack::{look, pack};
pub use unpack::unpack;

use crate::error::DockerError;
use reenact_sandbox::container::Container;
use reenact_sandbox::unpack::holds_files;
use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;

/// Notes about what was left out that are passed on.
const NOTES: usize = 20;

/// A path of the container as an absolute one without `.`, `..` and doubled slashes; docker's are relative to `/`.
pub fn absolute(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// The directory above, and the last name (empty for `/`).
pub fn split(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((parent, name)) => (parent, name),
        None => ("/", path),
    }
}

/// A name below an open directory. The name itself is not followed by calls that do not follow links.
fn at(dir: &File, name: &OsStr) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name)
}

/// Opens a directory of the container, following links as its programs do.
pub fn open_dir(container: &Container, path: &str) -> io::Result<File> {
    let file = container.open(path)?;
    if file.metadata()?.is_dir() { Ok(file) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

/// Makes a directory with its parents, where they are missing.
pub fn make_dirs(container: &Container, path: &str) -> io::Result<File> {
    let path = absolute(path);
    match open_dir(container, &path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound && path != "/" => {}
        other => return other,
    }
    let (parent, name) = split(&path);
    let dir = make_dirs(container, parent)?;
    make_dir(&dir, OsStr::new(name))
}

/// Refuses what is not on the container's own file systems: a link or mount of the container must not lead what we write, with
/// rights that its programs do not have, into /proc or /sys.
fn own(file: &File) -> io::Result<()> {
    if holds_files(file)? {
        return Ok(());
    }
    let why = "not on a file system of the container's own files (in /proc, /sys or a bind)";
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

/// Makes one directory with the usual rights, whatever the umask, and opens it.
fn make_dir(parent: &File, name: &OsStr) -> io::Result<File> {
    own(parent)?;
    let path = at(parent, name);
    match std::fs::create_dir(&path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => enter(parent, name),
        Err(e) => Err(e),
        Ok(()) => {
            let dir = enter(parent, name)?;
            dir.set_permissions(Permissions::from_mode(0o755))?;
            Ok(dir)
        }
    }
}

/// Opens a directory below another, if it is one and no link.
fn enter(parent: &File, name: &OsStr) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_DIRECTORY | libc::O_NONBLOCK;
    File::options().read(true).custom_flags(flags).open(at(parent, name))
}

/// Opens a file below a directory without following a link or waiting for a fifo.
fn open_file(parent: &File, name: &OsStr) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    File::options().read(true).custom_flags(flags).open(at(parent, name))
}

/// Whether a program that is started with these words could be found.
pub fn find_program(
    container: &Container,
    name: &str,
    search: &str,
    cwd: &str,
) -> Result<(), DockerError> {
    let candidates: Vec<String> = match (name.contains('/'), name.starts_with('/')) {
        (true, true) => vec![name.to_owned()],
        (true, false) => vec![format!("{cwd}/{name}")],
        _ => search
            .split(':')
            .filter(|d| d.starts_with('/'))
            .map(|d| format!("{d}/{name}"))
            .collect(),
    };
    let mut errno = libc::ENOENT;
    for candidate in candidates {
        match container.open(&candidate).and_then(|f| f.metadata()) {
            Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => return Ok(()),
            Ok(_) => errno = libc::EACCES,
            Err(e) => match e.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR) => {}
                // Whoever runs it may be allowed what we are not.
                _ => return Ok(()),
            },
        }
    }
    Err(not_executed(name, errno))
}

/// docker's words and codes for a program that cannot be executed.
pub fn not_executed(name: &str, errno: i32) -> DockerError {
    let why = match (errno, name.contains('/')) {
        (libc::ENOENT, false) => "executable file not found in $PATH".to_owned(),
        (libc::ENOENT, true) => "no such file or directory".to_owned(),
        (libc::EACCES, _) => "permission denied".to_owned(),
        (other, _) => io::Error::from_raw_os_error(other).to_string(),
    };
    DockerError::Program {
        what: format!("unable to start container process: exec: {name:?}: {why}"),
        code: if errno == libc::ENOENT { 127 } else { 126 },
    }
}
/// The last name of a path, for tar streams that carry it.
pub fn last_name(path: &str) -> &OsStr {
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    OsStr::from_bytes(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute_and_plain() {
        for (typed, is) in [
            ("/a/b", "/a/b"),
            ("a", "/a"),
            ("/a/../..//b/.", "/b"),
            ("", "/"),
            ("/", "/"),
            ("../../etc", "/etc"),
        ] {
            assert_eq!(absolute(typed), is, "{typed}");
        }
        assert_eq!(split("/a/b"), ("/a", "b"));
        assert_eq!(split("/a"), ("/", "a"));
        assert_eq!(split("/"), ("/", ""));
    }
}
