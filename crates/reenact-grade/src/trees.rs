//! Trees on the host that a hostile program has shaped: opened up, removed, however deep they are.

use reenact_bundle::FsError;
use reenact_bundle::fsx::fs_error;
use std::ffi::OsStr;
use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Makes every file of `tree` readable and every directory passable for everyone, since the candidate runs as another user.
/// Links are not followed. Files and directories that are too deep to be named are left as they are.
pub(crate) fn open_modes(tree: &Path) -> Result<(), FsError> {
    let mut todo = vec![tree.to_path_buf()];
    while let Some(dir) = todo.pop() {
        std::fs::set_permissions(&dir, Permissions::from_mode(0o755))
            .map_err(fs_error(&dir, "open up"))?;
        for entry in std::fs::read_dir(&dir).map_err(fs_error(&dir, "list"))? {
            let entry = entry.map_err(fs_error(&dir, "list"))?;
            let path = entry.path();
            // PATH_MAX: nothing that deep can be the candidate, nor be opened by name by it.
            if path.as_os_str().len() > 4000 {
                continue;
            }
            let meta = entry.metadata().map_err(fs_error(&path, "look at"))?;
            if meta.is_dir() {
                todo.push(path);
            } else if meta.is_file() {
                let mode = meta.permissions().mode() & 0o777;
                let wanted = if mode & 0o111 == 0 { mode | 0o444 } else { mode | 0o555 };
                if wanted != mode {
                    std::fs::set_permissions(&path, Permissions::from_mode(wanted))
                        .map_err(fs_error(&path, "open up"))?;
                }
            }
        }
    }
    Ok(())
}

/// Removes a tree however deep it is, without holding one descriptor per level: subtrees that are deep are moved up first.
pub(crate) fn remove_tree(root: &Path) -> Result<(), FsError> {
    const DEEP: usize = 64;
    let mut moved = 0_u64;
    let mut todo = vec![(root.to_path_buf(), 0)];
    while let Some((dir, depth)) = todo.pop() {
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => return Err(fs_error(&dir, "list")(e)),
        };
        for entry in entries {
            let entry = entry.map_err(fs_error(&dir, "list"))?;
            if !entry.file_type().map_err(fs_error(&dir, "list"))?.is_dir() {
                continue;
            }
            let mut path = entry.path();
            let mut level = depth + 1;
            if level == DEEP {
                moved += 1;
                let up = root.join(OsStr::from_bytes(format!(".deep-{moved}").as_bytes()));
                std::fs::rename(&path, &up).map_err(fs_error(&path, "move"))?;
                (path, level) = (up, 1);
            }
            todo.push((path, level));
        }
    }
    match std::fs::remove_dir_all(root) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(fs_error(root, "remove")(e)),
    }
}

/// A directory for work in progress, removed at the end however deep it has become.
pub(crate) struct WorkDir {
    pub path: PathBuf,
}

/// Prefix of work in progress; whatever carries it is left over from a killed process and may be removed under the lock.
pub(crate) const WORK_PREFIX: &str = "tmp-";

impl WorkDir {
    /// Makes one in `parent`.
    pub(crate) fn new(parent: &Path) -> Result<Self, FsError> {
        std::fs::create_dir_all(parent).map_err(fs_error(parent, "create"))?;
        let dir = tempfile::Builder::new()
            .prefix(WORK_PREFIX)
            .tempdir_in(parent)
            .map_err(fs_error(parent, "write in"))?;
        Ok(Self { path: dir.keep() })
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next grading of the task.
        remove_tree(&self.path).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn program(path: &Path, mode: u32) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn private_files_are_opened_up_and_links_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        program(&outside, 0o600);
        let tree = dir.path().join("tree");
        program(&tree.join("d/x"), 0o700);
        program(&tree.join("d/y"), 0o600);
        std::fs::set_permissions(tree.join("d"), Permissions::from_mode(0o700)).unwrap();
        symlink(&outside, tree.join("link")).unwrap();
        open_modes(&tree).unwrap();
        let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            [
                mode(&tree.join("d")),
                mode(&tree.join("d/x")),
                mode(&tree.join("d/y")),
                mode(&outside)
            ],
            [0o755, 0o755, 0o644, 0o600]
        );
    }

    #[test]
    fn a_tree_of_any_depth_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        // Made from the inside out, since no path of that length can be named.
        let mut inner = dir.path().join("d0");
        std::fs::create_dir(&inner).unwrap();
        for i in 1..3000 {
            let outer = dir.path().join(format!("d{i}"));
            std::fs::create_dir(&outer).unwrap();
            std::fs::rename(&inner, outer.join("d")).unwrap();
            inner = outer;
        }
        std::fs::create_dir(&root).unwrap();
        std::fs::rename(&inner, root.join("d")).unwrap();
        remove_tree(&root).unwrap();
        assert!(!root.exists());
        remove_tree(&root).unwrap();
    }
}
