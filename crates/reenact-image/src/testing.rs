//! Archives for tests, made by hand: what no ordinary tool would write.

use crate::tarball::BLOCK;

/// An entry to be written.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    kind: u8,
    path: Vec<u8>,
    link: Vec<u8>,
    mode: u32,
    data: Vec<u8>,
    pax: bool,
}

impl Made {
    pub(crate) fn new(kind: u8, path: &str) -> Self {
        let path = path.as_bytes().to_vec();
        Self { kind, path, link: Vec::new(), mode: 0o644, data: Vec::new(), pax: false }
    }

    pub(crate) fn file(path: &str, data: &[u8]) -> Self {
        Self { data: data.to_vec(), ..Self::new(b'0', path) }
    }

    pub(crate) fn dir(path: &str) -> Self {
        Self { mode: 0o755, ..Self::new(b'5', &format!("{path}/")) }
    }

    pub(crate) fn symlink(path: &str, target: &str) -> Self {
        Self { link: target.as_bytes().to_vec(), ..Self::new(b'2', path) }
    }

    pub(crate) fn hard_link(path: &str, target: &str) -> Self {
        Self { link: target.as_bytes().to_vec(), ..Self::new(b'1', path) }
    }

    pub(crate) fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    pub(crate) fn gnu(self) -> Self {
        self
    }

    pub(crate) fn pax(mut self) -> Self {
        self.pax = true;
        self
    }
}

/// An archive with an end mark.
pub(crate) fn tar_of(entries: &[Made]) -> Vec<u8> {
    let mut out = Vec::new();
    for e in entries {
        if e.pax {
            let mut records = Vec::new();
            for (key, value) in [("path", &e.path), ("linkpath", &e.link)] {
                if !value.is_empty() {
                    let rest = 1 + key.len() + 1 + value.len() + 1;
                    let digits = (1..).find(|d| (rest + d).to_string().len() == *d).unwrap();
                    records.extend_from_slice(format!("{} {key}=", rest + digits).as_bytes());
                    records.extend_from_slice(value);
                    records.push(b'\n');
                }
            }
            put(&mut out, b'x', b"pax", b"", 0, &records);
        } else {
            for (kind, name) in [(b'L', &e.path), (b'K', &e.link)] {
                if name.len() > 100 {
                    put(&mut out, kind, b"././@LongLink", b"", 0, name);
                }
            }
        }
        put(&mut out, e.kind, &e.path, &e.link, e.mode, &e.data);
    }
    out.resize(out.len() + 2 * BLOCK, 0);
    out
}

fn put(out: &mut Vec<u8>, kind: u8, path: &[u8], link: &[u8], mode: u32, data: &[u8]) {
    let mut block = [0u8; BLOCK];
    let mut text = |at: usize, width: usize, text: &[u8]| {
        let n = text.len().min(width);
        block[at..at + n].copy_from_slice(&text[..n]);
    };
    text(0, 100, path);
    text(100, 8, format!("{mode:07o}").as_bytes());
    text(108, 8, b"0000000");
    text(116, 8, b"0000000");
    text(124, 12, format!("{:011o}", data.len()).as_bytes());
    text(136, 12, b"00000000000");
    text(156, 1, &[kind]);
    text(157, 100, link);
    text(257, 8, b"ustar\x0000");
    fix_checksum(&mut block);
    out.extend_from_slice(&block);
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

/// Puts the checksum of a header right.
pub(crate) fn fix_checksum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// Puts the checksums of all headers right, as a reader would step from one to the next.
pub(crate) fn fix_checksums(bytes: &mut [u8]) {
    let mut at = 0;
    while at + BLOCK <= bytes.len() {
        if bytes[at..at + BLOCK].iter().all(|b| *b == 0) {
            at += BLOCK;
            continue;
        }
        fix_checksum(&mut bytes[at..at + BLOCK]);
        let octal = |b: &[u8]| {
            let text: String = b.iter().map(|b| char::from(*b)).collect();
            usize::from_str_radix(text.trim_matches(['\0', ' ']), 8).unwrap_or(0)
        };
        let size = octal(&bytes[at + 124..at + 136]).min(1 << 30);
        at += BLOCK + size.next_multiple_of(BLOCK);
    }
}
