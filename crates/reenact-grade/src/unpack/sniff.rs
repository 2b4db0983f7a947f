//! Kinds of files that a submission need not hold and a reviewer should know of.

/// Bytes looked at.
pub(super) const HEAD: usize = 8;

/// What a file is, judged by its first bytes; `None` for everything ordinary.
pub(super) fn kind(head: &[u8]) -> Option<&'static str> {
    const KINDS: [(&[u8], &str); 9] = [
        (b"\x7fELF", "ELF file"),
        (b"!<arch>\n", "ar archive"),
        (b"\x1f\x8b", "gzip archive"),
        (b"PK\x03\x04", "zip archive"),
        (b"BZh", "bzip2 archive"),
        (b"\xfd7zXZ\0", "xz archive"),
        (b"\x28\xb5\x2f\xfd", "zstd archive"),
        (b"7z\xbc\xaf\x27\x1c", "7z archive"),
        (b"\0asm", "WebAssembly module"),
    ];
    KINDS.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::kind;

    #[test]
    fn programs_and_archives_are_told_from_text() {
        assert_eq!(kind(b"\x7fELF\x02\x01\x01\0"), Some("ELF file"));
        assert_eq!(kind(b"PK\x03\x04...."), Some("zip archive"));
        assert_eq!(kind(b"#!/bin/s"), None);
        assert_eq!(kind(b""), None);
    }
}
