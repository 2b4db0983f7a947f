//! Directory trees in a fixed order.

use reenact_bundle::FsError;
use reenact_bundle::fsx::fs_error;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a path of a tree is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// Size in bytes and permission bits.
    File {
        size: u64,
        mode: u32,
    },
    Dir,
    Symlink(PathBuf),
    /// Fifo, socket or device.
    Special,
}

/// Every path below `root` (the root itself excluded), relative, sorted by bytes. Symlinks are not followed.
///
/// # Errors
/// [`FsError`] naming the directory that cannot be read.
pub(crate) fn tree(root: &Path) -> Result<BTreeMap<PathBuf, Node>, FsError> {
    let mut found = BTreeMap::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(dir) = pending.pop() {
        let full = root.join(&dir);
        let entries = std::fs::read_dir(&full).map_err(fs_error(&full, "list"))?;
        for entry in entries {
            let entry = entry.map_err(fs_error(&full, "list"))?;
            let relative = dir.join(entry.file_name());
            let node = node(&entry.path())?;
            if node == Node::Dir {
                pending.push(relative.clone());
            }
            found.insert(relative, node);
        }
    }
    Ok(found)
}

/// What `path` itself is.
pub(crate) fn node(path: &Path) -> Result<Node, FsError> {
    use std::os::unix::fs::PermissionsExt;
    let meta = path.symlink_metadata().map_err(fs_error(path, "read"))?;
    let kind = meta.file_type();
    Ok(if kind.is_dir() {
        Node::Dir
    } else if kind.is_symlink() {
        Node::Symlink(std::fs::read_link(path).map_err(fs_error(path, "read"))?)
    } else if kind.is_file() {
        Node::File { size: meta.len(), mode: meta.permissions().mode() & 0o777 }
    } else {
        Node::Special
    })
}

/// Resolves `path` inside `root` as if `root` were `/`: symlinks, absolute ones too, never leave it.
/// `None` if it does not exist or loops.
pub(crate) fn resolve(root: &Path, path: &Path) -> Option<PathBuf> {
    const MAX_LINKS: u32 = 40;
    let mut pending: Vec<std::ffi::OsString> = parts(path);
    pending.reverse();
    let mut done = PathBuf::new();
    let mut links = 0;
    while let Some(part) = pending.pop() {
        if part == ".." {
            done.pop();
            continue;
        }
        let next = done.join(&part);
        match node(&root.join(&next)).ok()? {
            Node::Symlink(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return None;
                }
                if target.is_absolute() {
                    done = PathBuf::new();
                }
                let mut more = parts(&target);
                more.reverse();
                pending.extend(more);
            }
            _ => done = next,
        }
    }
    Some(done)
}

fn parts(path: &Path) -> Vec<std::ffi::OsString> {
    use std::path::Component;
    path.components()
        .filter_map(|c| match c {
            Component::Normal(p) => Some(p.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

/// Copies one regular file, making its parents; permission bits become `mode`.
///
/// # Errors
/// [`FsError`].
pub(crate) fn copy_file(from: &Path, to: &Path, mode: u32) -> Result<(), FsError> {
    use std::os::unix::fs::PermissionsExt;
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent).map_err(fs_error(parent, "create"))?;
    }
    std::fs::copy(from, to).map_err(fs_error(to, "write"))?;
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(mode))
        .map_err(fs_error(to, "write"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolving_stays_inside_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir_all(root.join("usr/bin")).unwrap();
        std::fs::write(root.join("usr/bin/real"), "x").unwrap();
        let link = |to: &str, at: &str| std::os::unix::fs::symlink(to, root.join(at)).unwrap();
        link("usr/bin", "bin");
        link("/bin/real", "usr/bin/absolute");
        link("../../../../../../usr/bin/real", "usr/bin/climbs");
        link("loop", "usr/bin/loop");
        let want = Some(PathBuf::from("usr/bin/real"));
        for path in ["bin/real", "usr/bin/absolute", "usr/bin/climbs", "/bin/climbs"] {
            assert_eq!(resolve(root, Path::new(path)), want, "{path}");
        }
        assert_eq!(resolve(root, Path::new("usr/bin/loop")), None);
        assert_eq!(resolve(root, Path::new("usr/bin/gone")), None);
    }

    #[test]
    fn a_tree_lists_every_kind() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("d/f"), "abc").unwrap();
        std::os::unix::fs::symlink("d", dir.path().join("l")).unwrap();
        let tree = tree(dir.path()).unwrap();
        let names: Vec<_> = tree.keys().map(|p| p.display().to_string()).collect();
        assert_eq!(names, ["d", "d/f", "l"]);
        assert!(matches!(tree[Path::new("d/f")], Node::File { size: 3, .. }));
    }
}
