//! The user's state directory: one directory for each station, with its socket, what it is, and its log.

use super::StationError;
use reenact_bundle::fsx::fs_error;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// What a station is; `info.json`, written when it can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    pub id: String,
    pub task: String,
    /// The bundle's directory.
    pub path: PathBuf,
    /// Process that holds the room.
    pub pid: u32,
    /// RFC 3339 time of its start, and of its end at the latest.
    pub started: String,
    pub until: String,
    /// What a reader should know: no seal, no documentation, related code that can be read.
    pub notes: Vec<String>,
}

/// Why a station did not start; `failed.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub what: String,
    pub usage: bool,
}

/// The directory of all stations of the user: `$XDG_RUNTIME_DIR/reenact`, else `reenact-UID` in the directory for temporary
/// files. Made with mode 0700 where it is missing.
///
/// # Errors
/// [`StationError::State`] if it is not ours alone; it cannot be made.
pub fn root() -> Result<PathBuf, StationError> {
    let me = std::fs::metadata("/proc/self").map_err(fs_error(Path::new("/proc/self"), "read"))?;
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let root = match runtime.filter(|d| d.is_absolute() && d.is_dir()) {
        Some(dir) => dir.join("reenact"),
        None => std::env::temp_dir().join(format!("reenact-{}", me.uid())),
    };
    match std::fs::DirBuilder::new().mode(0o700).create(&root) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(fs_error(&root, "create")(e).into());
        }
        _ => {}
    }
    let meta = root.symlink_metadata().map_err(fs_error(&root, "read"))?;
    if !meta.is_dir() || meta.uid() != me.uid() || meta.permissions().mode() & 0o077 != 0 {
        return Err(StationError::State { path: root });
    }
    Ok(root)
}

/// The directory of one station.
#[derive(Clone, Debug)]
pub struct Place {
    pub id: String,
    pub dir: PathBuf,
}

impl Place {
    /// A new one, with an id that no other has.
    ///
    /// # Errors
    /// See [`root`]; it cannot be made.
    pub fn make() -> Result<Self, StationError> {
        let root = root()?;
        let made = tempfile::Builder::new().prefix("room-").rand_bytes(8).tempdir_in(&root);
        let dir = made.map_err(fs_error(&root, "create a directory in"))?.keep();
        Ok(Self::at(&dir))
    }

    /// The one at `dir`.
    pub fn at(dir: &Path) -> Self {
        let id = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { id, dir: dir.to_path_buf() }
    }

    /// The one with this id.
    ///
    /// # Errors
    /// [`StationError::Unknown`]; see [`root`].
    pub fn find(id: &str) -> Result<Self, StationError> {
        let unknown = || StationError::Unknown { id: id.to_owned() };
        if !is_id(id) {
            return Err(unknown());
        }
        let dir = root()?.join(id);
        if dir.is_dir() { Ok(Self::at(&dir)) } else { Err(unknown()) }
    }

    /// All of them, by id.
    ///
    /// # Errors
    /// See [`root`].
    pub fn all() -> Result<Vec<Self>, StationError> {
        let root = root()?;
        let mut all = Vec::new();
        for entry in std::fs::read_dir(&root).map_err(fs_error(&root, "read"))? {
            let dir = entry.map_err(fs_error(&root, "read"))?.path();
            let place = Self::at(&dir);
            if is_id(&place.id) && dir.is_dir() {
                all.push(place);
            }
        }
        all.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(all)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// What the station wrote to its standard output and error.
    pub fn log(&self) -> PathBuf {
        self.file("log")
    }

    /// What the station is; `None` as long as it cannot be asked.
    pub fn info(&self) -> Option<Info> {
        serde_json::from_slice(&std::fs::read(self.file("info.json")).ok()?).ok()
    }

    pub(crate) fn failure(&self) -> Option<Failure> {
        serde_json::from_slice(&std::fs::read(self.file("failed.json")).ok()?).ok()
    }

    /// Removes it; what is missing already is no error.
    pub fn remove(&self) {
        // The next `list` tries again.
        let _gone = std::fs::remove_dir_all(&self.dir);
    }

    /// The socket's path by way of a descriptor: the address of a unix socket may be 107 bytes long, a path may be longer.
    fn socket(&self) -> Result<(File, PathBuf), StationError> {
        let dir = File::open(&self.dir).map_err(fs_error(&self.dir, "open"))?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/sock", dir.as_raw_fd()));
        Ok((dir, path))
    }

    pub(crate) fn listen(&self) -> Result<UnixListener, StationError> {
        let (_dir, path) = self.socket()?;
        UnixListener::bind(path).map_err(|e| fs_error(&self.file("sock"), "listen on")(e).into())
    }

    /// A connection to the station.
    ///
    /// # Errors
    /// [`StationError::Dead`] if nobody listens any more.
    pub(crate) fn connect(&self) -> Result<UnixStream, StationError> {
        let (_dir, path) = self.socket()?;
        UnixStream::connect(path)
            .map_err(|_| StationError::Dead { id: self.id.clone(), log: self.log() })
    }
}

/// Whether `text` can be an id: nothing that leads elsewhere as a file name.
pub fn is_id(text: &str) -> bool {
    let rest = text.strip_prefix("room-").unwrap_or_default();
    !rest.is_empty() && rest.len() < 64 && rest.bytes().all(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_no_paths() {
        assert!(is_id("room-aZ09"));
        for bad in ["", "room", "room-", "../room-a", "room-a/b", "room-..", "room-a b", "ROOM-a"] {
            assert!(!is_id(bad), "{bad:?}");
        }
    }
}
