//! The archive of a submission, written from blobs.

use super::blobs::Blobs;
use super::files::{Item, ItemKind, key_bytes};
use super::kinds::{self, Kind};
use super::submission::{LARGE, Listing};
use crate::error::CleanroomError;
use flate2::{Compression, GzBuilder};
use reenact_bundle::FsError;
use reenact_bundle::fsx::fs_error;
use reenact_model::Digest;
use reenact_model::digest::Hasher;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Time of everything in the archive: 2000-01-01.
const TIME: u64 = 946_684_800;
/// Time of what a build made.
const PRODUCT_TIME: u64 = TIME - 60;

/// Writes the archive beside its place and renames it; gives its digest.
pub(super) fn write_archive(
    items: &[Item],
    blobs: &Blobs,
    out: &Path,
    listing: &mut Listing,
) -> Result<Digest, CleanroomError> {
    let parent = out.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(fs_error(parent, "create"))?;
    let temp = tempfile::Builder::new()
        .prefix(".tmp-")
        .tempfile_in(parent)
        .map_err(fs_error(out, "write"))?;
    let sink = Hashed { to: BufWriter::new(temp), hasher: Hasher::default() };
    let gz = GzBuilder::new().mtime(0).write(sink, Compression::new(6));
    let mut tar = tar::Builder::new(gz);
    let caches = cache_dirs(items, blobs)?;
    for item in items {
        add(&mut tar, item, &caches, blobs, listing)?;
    }
    let done = tar.into_inner().and_then(flate2::write::GzEncoder::finish);
    let Hashed { to, hasher } = done.map_err(fs_error(out, "write"))?;
    let temp = to.into_inner().map_err(|e| fs_error(out, "write")(e.into_error()))?;
    let digest = hasher.finish();
    use std::os::unix::fs::PermissionsExt;
    temp.as_file()
        .set_permissions(std::fs::Permissions::from_mode(0o644))
        .map_err(fs_error(out, "write"))?;
    temp.persist(out).map_err(|e| fs_error(out, "write")(e.error))?;
    Ok(digest)
}

/// Directories that say of themselves that all in them can be made again.
fn cache_dirs(items: &[Item], blobs: &Blobs) -> Result<Vec<String>, FsError> {
    let mut dirs = Vec::new();
    for item in items {
        let dir = item.path.strip_suffix("/CACHEDIR.TAG");
        if let (Some(dir), Some(digest)) = (dir, &item.sha256)
            && head(&blobs.path(digest))?
                .starts_with(b"Signature: 8a477f597d28d172789f06886806bc55")
        {
            dirs.push(format!("{dir}/"));
        }
    }
    Ok(dirs)
}

fn head(path: &Path) -> Result<Vec<u8>, FsError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(fs_error(path, "open"))?;
    file.take(kinds::HEAD as u64).read_to_end(&mut bytes).map_err(fs_error(path, "read"))?;
    Ok(bytes)
}

fn add<W: Write>(
    tar: &mut tar::Builder<W>,
    item: &Item,
    caches: &[String],
    blobs: &Blobs,
    listing: &mut Listing,
) -> Result<(), CleanroomError> {
    let bytes = key_bytes(&item.path);
    let path = Path::new(OsStr::from_bytes(&bytes));
    let mut header = tar::Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(TIME);
    header.set_size(0);
    let fail = |e: std::io::Error| CleanroomError::from(fs_error(path, "pack")(e));
    match (item.kind, &item.sha256, &item.target) {
        (ItemKind::Dir, ..) => {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(0o755);
            tar.append_data(&mut header, path, std::io::empty()).map_err(fail)
        }
        (ItemKind::Symlink, _, Some(target)) => {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            let to = key_bytes(target);
            listing.symlinks.insert(item.path.clone(), target.clone());
            tar.append_link(&mut header, path, Path::new(OsStr::from_bytes(&to))).map_err(fail)
        }
        (ItemKind::File, Some(digest), _) => {
            let blob = blobs.path(digest);
            let kind = kinds::of(&head(&blob)?);
            note_kind(item, kind, listing);
            let product = matches!(kind, Kind::Elf | Kind::Library)
                || caches.iter().any(|dir| item.path.starts_with(dir));
            header.set_mtime(if product { PRODUCT_TIME } else { TIME });
            header.set_entry_type(tar::EntryType::Regular);
            header.set_mode(if item.mode & 0o111 == 0 { 0o644 } else { 0o755 });
            header.set_size(item.size);
            let file = File::open(&blob).map_err(fs_error(&blob, "open"))?;
            tar.append_data(&mut header, path, file.take(item.size)).map_err(fail)
        }
        _ => Ok(()),
    }
}

fn note_kind(item: &Item, kind: Kind, listing: &mut Listing) {
    listing.files += 1;
    listing.bytes += item.size;
    let path = item.path.clone();
    if item.size > LARGE {
        listing.large.insert(path.clone(), item.size);
    }
    match kind {
        Kind::Elf => {
            listing.executables.insert(path, "elf".to_owned());
        }
        Kind::Script if item.mode & 0o111 != 0 => {
            listing.executables.insert(path, "script".to_owned());
        }
        Kind::Archive(name) => {
            listing.archives.insert(path, name.to_owned());
        }
        Kind::Library => {
            listing.archives.insert(path, "static library".to_owned());
        }
        Kind::Script | Kind::Other => {}
    }
}

/// Digests what is written.
struct Hashed<W> {
    to: W,
    hasher: Hasher,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.to.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}
