//! Files of the store: locks that end with their process, atomic writes, directories being made.

use crate::error::{ImageError, io_error};
use reenact_sandbox::unpack::remove_tree;
use serde::Serialize;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// In a directory that belongs to a process: locked while it lives.
pub(crate) const OWNER: &str = ".owner";
/// Things without an owner may be about to get one; older than this, they are not.
const GRACE: Duration = Duration::from_secs(600);

/// Makes a file that is locked from the moment at which its name is there.
pub(crate) fn locked_file(dir: &Path, name: &str, content: &[u8]) -> Result<File, ImageError> {
    let path = dir.join(name);
    let fail = || io_error(path.display());
    let mut temp = tempfile::Builder::new().prefix(".new-").tempfile_in(dir).map_err(fail())?;
    temp.as_file().lock().map_err(fail())?;
    temp.write_all(content).map_err(fail())?;
    temp.persist(&path).map_err(|e| fail()(e.error))
}

/// Whether nobody holds the lock of a file; `None`: there is no such file.
pub(crate) fn is_free(path: &Path) -> Option<bool> {
    let file = File::open(path).ok()?;
    Some(file.try_lock().is_ok())
}

/// Whether something was last changed so long ago that nobody is in the middle of making it.
pub(crate) fn is_old(path: &Path) -> bool {
    age(path).is_some_and(|age| age > GRACE)
}

/// Time since it was changed.
pub(crate) fn age(path: &Path) -> Option<Duration> {
    let changed = path.symlink_metadata().ok()?.modified().ok()?;
    SystemTime::now().duration_since(changed).ok()
}

/// Writes a file as JSON by a temporary file and a rename.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), ImageError> {
    let fail = || io_error(path.display());
    let parent = path.parent().unwrap_or(Path::new("."));
    let mut temp = tempfile::Builder::new().prefix(".new-").tempfile_in(parent).map_err(fail())?;
    let json = serde_json::to_vec(value).map_err(|e| fail()(e.into()))?;
    temp.write_all(&json).map_err(fail())?;
    temp.persist(path).map_err(|e| fail()(e.error)).map(drop)
}

/// Makes a directory with its parents, closed to others: an image may hold set-uid programs, which belong to us if we are
/// not root.
pub(crate) fn private_dir(path: &Path) -> Result<(), ImageError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(io_error(path.display()))
}

/// Checks that a directory is a real one, ours or root's, and that nobody else can change it. What is in it was then made by
/// us or by root, and no name in it leads elsewhere.
pub(crate) fn check_private(path: &Path) -> Result<(), ImageError> {
    use std::os::unix::fs::MetadataExt;
    let foreign = |why: String| Err(ImageError::Foreign { path: path.to_path_buf(), why });
    let meta = path.symlink_metadata().map_err(io_error(path.display()))?;
    if meta.is_symlink() {
        return foreign("a symbolic link and not a directory: name the one it leads to".to_owned());
    }
    if !meta.is_dir() {
        return foreign("not a directory".to_owned());
    }
    let (owner, me) = (meta.uid(), reenact_sandbox::unpack::effective_user());
    if owner != me && owner != 0 {
        return foreign(format!("belongs to user {owner}, who could change images in it"));
    }
    if meta.mode() & 0o022 != 0 {
        return foreign(format!(
            "others may write to it (mode {:04o}), and could change images in it",
            meta.mode() & 0o7777
        ));
    }
    Ok(())
}

/// A directory that is being made: it vanishes when dropped, or when its process has died, by the next `gc`.
pub(crate) struct Stage {
    path: PathBuf,
    lock: PathBuf,
    _held: File,
}

impl Stage {
    pub(crate) fn new(tmp: &Path) -> Result<Self, ImageError> {
        let dir = tempfile::Builder::new()
            .prefix("stage-")
            .tempdir_in(tmp)
            .map_err(io_error(tmp.display()))?;
        let path = dir.keep();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{name}.lock");
        match locked_file(tmp, &name, b"") {
            Ok(held) => Ok(Self { lock: tmp.join(name), path, _held: held }),
            Err(error) => {
                // Nothing is in it yet.
                std::fs::remove_dir(&path).ok();
                Err(error)
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves it to its place, where nothing is.
    pub(crate) fn publish(self, to: &Path) -> Result<(), ImageError> {
        std::fs::rename(&self.path, to).map_err(io_error(to.display()))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next `gc`.
        remove_tree(&self.path).ok();
        std::fs::remove_file(&self.lock).ok();
    }
}
