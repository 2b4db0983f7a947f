//! What a file is, by its first bytes.

/// Bytes that [`of`] looks at.
pub const HEAD: usize = 300;

/// Kinds that a reviewer should know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A program or a library.
    Elf,
    /// Named by its first line.
    Script,
    /// An archive or a compressed file, by name.
    Archive(&'static str),
    /// An `ar` archive: a static library.
    Library,
    Other,
}

/// Judges a file by its head.
pub fn of(head: &[u8]) -> Kind {
    const ARCHIVES: [(&[u8], &str); 8] = [
        (b"\x1f\x8b", "gzip"),
        (b"PK\x03\x04", "zip"),
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\x04\x22\x4d\x18", "lz4"),
        (b"7z\xbc\xaf\x27\x1c", "7z"),
        (b"\0asm", "WebAssembly"),
    ];
    if head.starts_with(b"\x7fELF") {
        return Kind::Elf;
    }
    if head.starts_with(b"!<arch>\n") || head.starts_with(b"!<thin>\n") {
        return Kind::Library;
    }
    if head.starts_with(b"#!") {
        return Kind::Script;
    }
    if head.get(257..262) == Some(b"ustar") {
        return Kind::Archive("tar");
    }
    let known = ARCHIVES.iter().find(|(magic, _)| head.starts_with(magic));
    known.map_or(Kind::Other, |(_, name)| Kind::Archive(name))
}
