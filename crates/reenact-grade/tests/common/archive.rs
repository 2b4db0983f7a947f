//! Archives, honest and hostile.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use tar::{EntryType, Header};

/// A tar stream under construction; every field of every entry can be forged.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
}

/// A ustar header with a right checksum.
pub fn header(kind: EntryType, name: &[u8], size: u64, mode: u32) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(1_600_000_000);
    let n = name.len().min(100);
    header.as_mut_bytes()[..n].copy_from_slice(&name[..n]);
    header.set_cksum();
    header
}

impl Archive {
    pub fn new() -> Self {
        Self::default()
    }

    /// One entry, verbatim.
    pub fn raw(mut self, header: &Header, data: &[u8]) -> Self {
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, name: &str, text: &str) -> Self {
        self.mode(name, text.as_bytes(), 0o644)
    }

    pub fn script(self, name: &str, text: &str) -> Self {
        self.mode(name, text.as_bytes(), 0o755)
    }

    pub fn mode(self, name: &str, data: &[u8], mode: u32) -> Self {
        let header = header(EntryType::Regular, name.as_bytes(), data.len() as u64, mode);
        self.raw(&header, data)
    }

    pub fn dir(self, name: &str) -> Self {
        self.raw(&header(EntryType::Directory, name.as_bytes(), 0, 0o755), b"")
    }

    pub fn special(self, kind: EntryType, name: &str) -> Self {
        self.raw(&header(kind, name.as_bytes(), 0, 0o644), b"")
    }

    /// A symbolic or hard link.
    pub fn link(self, kind: EntryType, name: &str, target: &str) -> Self {
        let mut header = header(kind, name.as_bytes(), 0, 0o777);
        header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        self.raw(&header, b"")
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.link(EntryType::Symlink, name, target)
    }

    /// The tar stream with its end mark.
    pub fn tar(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1024, 0);
        self.bytes
    }

    pub fn gz(self) -> Vec<u8> {
        gzip(&self.tar())
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}
