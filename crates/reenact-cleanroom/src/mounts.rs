//! What is mounted in a room beside the task's own: named in the manifest by digest (ATTACKS B 7).

use crate::error::CleanroomError;
use reenact_bundle::fsx::{fs_error, read};
use reenact_model::Digest;
use reenact_model::digest::Hasher;
use reenact_sandbox::Mount;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// `mount /opt/agent` → digest, for the settings of a run.
///
/// # Errors
/// A file that cannot be read.
pub fn digests(mounts: &[Mount]) -> Result<BTreeMap<String, String>, CleanroomError> {
    mounts
        .iter()
        .map(|m| Ok((format!("mount {}", m.target), tree_digest(&m.source)?.to_string())))
        .collect()
}

/// Digest over every path below `root` (or of the file itself), in order: what it is, whether it is executable, its content or
/// target. Owners and times do not count.
///
/// # Errors
/// A file that cannot be read.
pub fn tree_digest(root: &Path) -> Result<Digest, CleanroomError> {
    let mut entries = BTreeMap::new();
    let mut queue = vec![root.to_path_buf()];
    while let Some(path) = queue.pop() {
        let meta = path.symlink_metadata().map_err(fs_error(&path, "read"))?;
        let name = path.strip_prefix(root).unwrap_or(&path).as_os_str().as_bytes().to_vec();
        let line = if meta.is_symlink() {
            let target = std::fs::read_link(&path).map_err(fs_error(&path, "read"))?;
            format!("link {}", Digest::of(target.as_os_str().as_bytes()))
        } else if meta.is_dir() {
            for entry in std::fs::read_dir(&path).map_err(fs_error(&path, "read"))? {
                queue.push(entry.map_err(fs_error(&path, "read"))?.path());
            }
            "directory".to_owned()
        } else if meta.is_file() {
            let executable = meta.permissions().mode() & 0o111 != 0;
            format!("file {executable} {}", Digest::of(&read(&path)?))
        } else {
            "special".to_owned()
        };
        entries.insert(name, line);
    }
    let mut hasher = Hasher::default();
    for (name, line) in entries {
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(&name);
        hasher.update(line.as_bytes());
        hasher.update(b"\n");
    }
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_name_and_mode_counts() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let mut seen = std::collections::BTreeSet::new();
        let mut differs = |what: &str| {
            assert!(seen.insert(tree_digest(root).unwrap().to_string()), "{what} does not count");
        };
        differs("nothing");
        std::fs::write(root.join("a"), "x").unwrap();
        differs("a file");
        std::fs::write(root.join("a"), "y").unwrap();
        differs("its content");
        std::fs::set_permissions(root.join("a"), std::fs::Permissions::from_mode(0o755)).unwrap();
        differs("its mode");
        std::fs::rename(root.join("a"), root.join("b")).unwrap();
        differs("its name");
        std::os::unix::fs::symlink("b", root.join("l")).unwrap();
        differs("a link");
        std::fs::create_dir(root.join("d")).unwrap();
        differs("a directory");
    }
}
