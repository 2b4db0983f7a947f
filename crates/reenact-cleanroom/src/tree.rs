//! A source tree in memory and its deterministic tarball: same tree, same bytes.

use flate2::{Compression, GzBuilder};
use reenact_sandbox::SandboxError;
use reenact_sandbox::room::Room;
use reenact_sandbox::spec::WORKSPACE;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Regular files by relative path. Submissions of the baselines need nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceTree {
    files: BTreeMap<String, (u32, Vec<u8>)>,
}

impl SourceTree {
    /// A tree that holds `compile.sh`.
    pub fn with_compile_sh(script: &str) -> Self {
        let mut tree = Self::default();
        tree.add("compile.sh", 0o755, script.as_bytes().to_vec());
        tree
    }

    /// Adds (or replaces) a regular file with permission bits `mode`.
    pub fn add(&mut self, path: &str, mode: u32, bytes: Vec<u8>) {
        self.files.insert(path.to_owned(), (mode, bytes));
    }

    /// Bytes of a file of the tree.
    pub fn get(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(|(_, bytes)| bytes.as_slice())
    }

    /// Writes the tree into a room's /workspace.
    ///
    /// # Errors
    /// The room is lost, or its disk is full.
    pub fn place(&self, room: &Room) -> Result<(), SandboxError> {
        for (path, (mode, bytes)) in &self.files {
            room.put_file(&format!("{WORKSPACE}/{path}"), *mode, bytes)?;
        }
        Ok(())
    }

    /// The gzipped tarball: entries sorted by path, owner and group 0, all times 0, no host name or user name.
    ///
    /// # Errors
    /// A path that does not fit into a tar header; writing to memory itself does not fail.
    pub fn to_tar_gz(&self) -> io::Result<Vec<u8>> {
        let gz = GzBuilder::new().mtime(0).write(Vec::new(), Compression::new(6));
        let mut tar = tar::Builder::new(gz);
        for (path, (mode, bytes)) in &self.files {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(tar::EntryType::Regular);
            header.set_mode(*mode);
            header.set_size(bytes.len() as u64);
            header.set_mtime(0);
            header.set_uid(0);
            header.set_gid(0);
            tar.append_data(&mut header, path, bytes.as_slice())?;
        }
        let mut gz = tar.into_inner()?;
        gz.flush()?;
        gz.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn sample(reverse: bool) -> SourceTree {
        let mut names = vec![("a.txt", b"A".to_vec()), ("dir/b.bin", vec![0, 255, 10])];
        if reverse {
            names.reverse();
        }
        let mut tree = SourceTree::with_compile_sh("#!/bin/sh\n");
        for (name, bytes) in names {
            tree.add(name, 0o644, bytes);
        }
        tree
    }

    #[test]
    fn the_order_of_adding_does_not_show_in_the_bytes() {
        assert_eq!(sample(false).to_tar_gz().unwrap(), sample(true).to_tar_gz().unwrap());
    }

    #[test]
    fn the_tarball_says_nothing_of_the_machine_that_made_it() {
        let gz = sample(false).to_tar_gz().unwrap();
        assert_eq!(&gz[4..8], &[0; 4], "gzip mtime");
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(gz.as_slice()));
        let mut seen = Vec::new();
        for entry in tar.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            let header = entry.header();
            assert_eq!(header.mtime().unwrap(), 0);
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            assert_eq!(header.username().unwrap().unwrap_or_default(), "");
            let name = entry.path().unwrap().display().to_string();
            seen.push((name, entry.header().mode().unwrap(), bytes));
        }
        assert_eq!(
            seen,
            vec![
                ("a.txt".to_owned(), 0o644, b"A".to_vec()),
                ("compile.sh".to_owned(), 0o755, b"#!/bin/sh\n".to_vec()),
                ("dir/b.bin".to_owned(), 0o644, vec![0, 255, 10]),
            ]
        );
    }
}
