//! A root file system as a tar stream.

use super::ImageFixtureError;
use super::tree::{Entry, Tree};
use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

impl Tree {
    /// Writes the tree as a tar stream.
    pub(super) fn write(&self, out: &mut std::fs::File) -> Result<(), ImageFixtureError> {
        let fail = |path: &Path| ImageFixtureError::io(format!("tar of {}", path.display()));
        let mut tar = tar::Builder::new(std::io::BufWriter::with_capacity(1 << 20, out));
        let mut seen: HashMap<(u64, u64), PathBuf> = HashMap::new();
        for (path, entry) in &self.entries {
            let name = path.strip_prefix("/").unwrap_or(path);
            match entry {
                Entry::Directory { mode, owner } => {
                    let mut header = header(tar::EntryType::Directory, *mode, *owner);
                    tar.append_data(&mut header, name, std::io::empty())
                }
                Entry::Text(text) => {
                    let mut header = header(tar::EntryType::Regular, 0o644, 0);
                    header.set_size(text.len() as u64);
                    tar.append_data(&mut header, name, text.as_bytes())
                }
                Entry::Host(from) => append_host(&mut tar, &mut seen, from, name),
            }
            .map_err(fail(path))?;
        }
        let mut inner = tar.into_inner().map_err(fail(Path::new("/")))?;
        std::io::Write::flush(&mut inner).map_err(fail(Path::new("/")))
    }
}

fn header(kind: tar::EntryType, mode: u32, owner: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(owner);
    header.set_gid(owner);
    header.set_mtime(946_684_800);
    header.set_size(0);
    header
}

fn append_host(
    tar: &mut tar::Builder<impl std::io::Write>,
    seen: &mut HashMap<(u64, u64), PathBuf>,
    from: &Path,
    name: &Path,
) -> std::io::Result<()> {
    let meta = std::fs::symlink_metadata(from)?;
    let kind = meta.file_type();
    if kind.is_symlink() {
        let mut header = host_header(tar::EntryType::Symlink, &meta);
        return tar.append_link(&mut header, name, std::fs::read_link(from)?);
    }
    if kind.is_dir() {
        return tar.append_data(
            &mut host_header(tar::EntryType::Directory, &meta),
            name,
            std::io::empty(),
        );
    }
    if !kind.is_file() {
        return Ok(());
    }
    if meta.nlink() > 1 {
        if let Some(first) = seen.get(&(meta.dev(), meta.ino())) {
            let mut header = host_header(tar::EntryType::Link, &meta);
            return tar.append_link(&mut header, name, first);
        }
        seen.insert((meta.dev(), meta.ino()), name.to_path_buf());
    }
    let mut header = host_header(tar::EntryType::Regular, &meta);
    header.set_size(meta.len());
    // A file that grows meanwhile must not shift the rest.
    let bytes = std::io::Read::take(std::fs::File::open(from)?, meta.len());
    tar.append_data(&mut header, name, bytes)
}

fn host_header(kind: tar::EntryType, meta: &Metadata) -> tar::Header {
    let mut header = header(kind, meta.mode() & 0o7777, 0);
    header.set_uid(u64::from(meta.uid()));
    header.set_gid(u64::from(meta.gid()));
    header.set_mtime(u64::try_from(meta.mtime()).unwrap_or(0));
    header
}
