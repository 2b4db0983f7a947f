//! Headers of a canonical archive: what a tree's digest is taken over. PAX, with nothing that depends on when or by whom.

use super::BLOCK;
use reenact_sandbox::unpack::Meta;

/// One header with the extended one before it where that is needed.
pub(crate) fn header(path: &[u8], kind: u8, meta: &Meta, size: u64, link: &[u8]) -> Vec<u8> {
    with_records(path, kind, meta, size, link, Vec::new())
}

/// What comes before the data of a file with holes: headers and map (GNU's format 1.0). `segments`: offset and length of
/// each stretch of data, in order.
pub(crate) fn sparse_header(
    path: &[u8],
    meta: &Meta,
    size: u64,
    segments: &[(u64, u64)],
) -> Vec<u8> {
    let mut map = format!("{}\n", segments.len());
    for (offset, length) in segments {
        map.push_str(&format!("{offset}\n{length}\n"));
    }
    let mut map = map.into_bytes();
    map.resize(map.len().next_multiple_of(BLOCK), 0);
    let stored = segments.iter().map(|(_, length)| length).sum::<u64>() + map.len() as u64;
    let mut records = Vec::new();
    record(&mut records, b"GNU.sparse.major", b"1");
    record(&mut records, b"GNU.sparse.minor", b"0");
    record(&mut records, b"GNU.sparse.name", path);
    record(&mut records, b"GNU.sparse.realsize", size.to_string().as_bytes());
    let mut all = with_records(b"GNUSparseFile.0", b'0', meta, stored, b"", records);
    all.extend_from_slice(&map);
    all
}

fn with_records(
    path: &[u8],
    kind: u8,
    meta: &Meta,
    size: u64,
    link: &[u8],
    mut records: Vec<u8>,
) -> Vec<u8> {
    let mut block = [0u8; BLOCK];
    let mut field = |at: usize, length: usize, key: &str, text: &[u8], block: &mut [u8; BLOCK]| {
        if text.len() > length {
            record(&mut records, key.as_bytes(), text);
        }
        let n = text.len().min(length);
        block[at..at + n].copy_from_slice(&text[..n]);
    };
    field(0, 100, "path", path, &mut block);
    field(157, 100, "linkpath", link, &mut block);
    if meta.mtime.0 < 0 || meta.mtime.0 > 0o77777777777 || meta.mtime.1 != 0 {
        record(&mut records, b"mtime", time(meta.mtime).as_bytes());
    }
    for (key, n) in [("uid", u64::from(meta.uid)), ("gid", u64::from(meta.gid)), ("size", size)] {
        let most = if key == "size" { 0o77777777777 } else { 0o7777777 };
        if n > most {
            record(&mut records, key.as_bytes(), n.to_string().as_bytes());
        }
    }
    for (name, value) in &meta.xattrs {
        record(&mut records, &[b"SCHILY.xattr.", name.as_slice()].concat(), value);
    }
    octal(&mut block[100..108], u64::from(meta.mode));
    octal(&mut block[108..116], u64::from(meta.uid).min(0o7777777));
    octal(&mut block[116..124], u64::from(meta.gid).min(0o7777777));
    octal(&mut block[124..136], size.min(0o77777777777));
    octal(&mut block[136..148], u64::try_from(meta.mtime.0).unwrap_or(0).min(0o77777777777));
    block[156] = kind;
    finish(&mut block);
    if records.is_empty() {
        return block.to_vec();
    }
    let mut extended = [0u8; BLOCK];
    extended[..9].copy_from_slice(b"PaxHeader");
    octal(&mut extended[124..136], records.len() as u64);
    extended[156] = b'x';
    finish(&mut extended);
    records.resize(records.len().next_multiple_of(BLOCK), 0);
    [&extended[..], &records, &block].concat()
}

/// Seconds with nine digits behind the point; (-1, 1) is -0.999999999.
fn time((seconds, nanos): (i64, u32)) -> String {
    if seconds < 0 && nanos > 0 {
        return format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanos);
    }
    format!("{seconds}.{nanos:09}")
}

fn octal(field: &mut [u8], n: u64) {
    let width = field.len() - 1;
    field[..width].copy_from_slice(format!("{n:0width$o}").as_bytes());
}

fn finish(block: &mut [u8; BLOCK]) {
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = 1 + key.len() + 1 + value.len() + 1;
    // The length counts its own digits.
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length += 1;
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}
