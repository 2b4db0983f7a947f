//! Deterministic archives: equal trees give equal bytes.

use crate::error::ForgeError;
use crate::walk::{self, Node};
use reenact_bundle::FsError;
use reenact_bundle::fsx::fs_error;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Component, Path, PathBuf};

/// Level of both compressors; a balance found good enough for sources, where size matters more than time.
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 9;

/// Writes the tree at `root` as a `.tar.gz` whose entries are relative to it. Owner, times and order are fixed.
///
/// # Errors
/// [`FsError`].
pub(crate) fn write_tar_gz(root: &Path, to: &Path) -> Result<(), FsError> {
    let file = File::create(to).map_err(fs_error(to, "create"))?;
    // GzBuilder's default header carries time 0 and no name.
    let level = flate2::Compression::new(GZIP_LEVEL);
    let encoder = flate2::GzBuilder::new().write(BufWriter::new(file), level);
    let entries = walk::tree(root)?;
    let list = entries.iter().map(|(path, node)| (path.clone(), root.join(path), node.clone()));
    let encoder = write_entries(encoder, to, list)?;
    let mut file = encoder.finish().map_err(fs_error(to, "write"))?;
    file.flush().map_err(fs_error(to, "write"))
}

/// Writes `entries` (name in the archive, file on disk) as a `.tar.zst`.
///
/// # Errors
/// [`FsError`].
pub(crate) fn write_tar_zst(
    entries: impl Iterator<Item = (PathBuf, PathBuf, Node)>,
    to: &Path,
) -> Result<(), FsError> {
    let file = File::create(to).map_err(fs_error(to, "create"))?;
    let encoder =
        zstd::Encoder::new(BufWriter::new(file), ZSTD_LEVEL).map_err(fs_error(to, "write"))?;
    let encoder = write_entries(encoder, to, entries)?;
    let mut file = encoder.finish().map_err(fs_error(to, "write"))?;
    file.flush().map_err(fs_error(to, "write"))
}

/// Special files are left out: nothing that the forge makes holds any.
fn write_entries<W: Write>(
    writer: W,
    archive: &Path,
    entries: impl Iterator<Item = (PathBuf, PathBuf, Node)>,
) -> Result<W, FsError> {
    let mut builder = tar::Builder::new(writer);
    for (name, on_disk, node) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        let wrote = match node {
            Node::Dir => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(0o755);
                builder.append_data(&mut header, &name, std::io::empty())
            }
            Node::Symlink(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_mode(0o777);
                builder.append_link(&mut header, &name, &target)
            }
            Node::File { size, mode } => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_mode(if mode & 0o111 == 0 { 0o644 } else { 0o755 });
                header.set_size(size);
                let file = File::open(&on_disk).map_err(fs_error(&on_disk, "read"))?;
                builder.append_data(&mut header, &name, BufReader::new(file).take(size))
            }
            Node::Special => Ok(()),
        };
        wrote.map_err(fs_error(archive, "write"))?;
    }
    builder.into_inner().map_err(fs_error(archive, "write"))
}

/// Calls `visit` with path and bytes of every regular file of a `.tar.gz`.
///
/// # Errors
/// [`ForgeError::Malformed`] naming the archive.
pub(crate) fn read_tar_gz(
    archive: &Path,
    mut visit: impl FnMut(&Path, &[u8]),
) -> Result<(), ForgeError> {
    let malformed = |e: std::io::Error| ForgeError::Malformed {
        path: archive.to_path_buf(),
        what: format!("is not a readable .tar.gz: {e}"),
    };
    let file = File::open(archive).map_err(fs_error(archive, "read"))?;
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(BufReader::new(file)));
    for entry in tar.entries().map_err(malformed)? {
        let mut entry = entry.map_err(malformed)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path().map_err(malformed)?.into_owned();
        if path.components().any(|c| !matches!(c, Component::Normal(_) | Component::CurDir)) {
            let what = format!("entry {:?} points out of the archive", path.display());
            return Err(ForgeError::Malformed { path: archive.to_path_buf(), what });
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(malformed)?;
        visit(&path, &bytes);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn sample(root: &Path) {
        std::fs::create_dir_all(root.join("src")).unwrap();
        std::fs::write(root.join("src/main.rs"), "fn main() {}").unwrap();
        std::fs::write(root.join("compile.sh"), "#!/bin/sh\n").unwrap();
        let mode = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(root.join("compile.sh"), mode).unwrap();
        std::os::unix::fs::symlink("src", root.join("link")).unwrap();
        // A name longer than the 100 bytes of the old header field.
        std::fs::write(root.join("x".repeat(180)), "long").unwrap();
    }

    #[test]
    fn equal_trees_give_equal_bytes_and_read_back() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let out = tempfile::tempdir().unwrap();
        let mut archives = Vec::new();
        for (i, dir) in dirs.iter().enumerate() {
            sample(dir.path());
            let to = out.path().join(format!("{i}.tar.gz"));
            write_tar_gz(dir.path(), &to).unwrap();
            archives.push(std::fs::read(&to).unwrap());
        }
        assert_eq!(archives[0], archives[1]);
        let mut seen = Vec::new();
        read_tar_gz(&out.path().join("0.tar.gz"), |p, b| {
            seen.push((p.display().to_string(), b.to_vec()));
        })
        .unwrap();
        assert!(seen.contains(&("src/main.rs".to_owned(), b"fn main() {}".to_vec())));
        assert!(seen.contains(&("x".repeat(180), b"long".to_vec())));
    }

    #[test]
    fn a_truncated_archive_is_named() {
        let dir = tempfile::tempdir().unwrap();
        sample(dir.path());
        let out = tempfile::tempdir().unwrap();
        let to = out.path().join("a.tar.gz");
        write_tar_gz(dir.path(), &to).unwrap();
        let bytes = std::fs::read(&to).unwrap();
        std::fs::write(&to, &bytes[..bytes.len() / 2]).unwrap();
        let error = read_tar_gz(&to, |_, _| ()).unwrap_err();
        assert!(error.to_string().contains("a.tar.gz"), "{error}");
    }
}
