//! Image layers: whatever the archive, unpacking writes only below its destination, keeps to its limits, makes nothing but
//! files, directories, links, fifos and whiteouts, and blames the archive, not the machine.
//!
//! The first byte picks how the rest is read: as it is (any compression), as a tar stream, as one whose checksums are put right
//! first, as the same packed with gzip or zstd, or as a list of entries to archive.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use reenact_image::{ImageError, UnpackLimits, unpack_layer};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use tar::{EntryType, Header};

const BLOCK: usize = 512;
/// Seeds, and entries made here, try to write this by its absolute path.
const OUTSIDE: &str = "/dev/shm/reenact-fuzz-outside";

fn limits() -> UnpackLimits {
    UnpackLimits {
        entries: 64,
        bytes: 256 << 10,
        path: 1000,
        depth: 12,
        ratio: 400,
        ratio_from: 64 << 10,
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_first() else { return };
    let stream = match mode % 6 {
        0 => rest.to_vec(),
        1 => with_checksums(rest),
        2 => gzip(&with_checksums(rest)),
        3 => gzip(rest),
        _ => match Vec::arbitrary_take_rest(Unstructured::new(rest)) {
            Ok(entries) => archive(&entries),
            Err(_) => return,
        },
    };
    check(&stream);
});

fn check(stream: &[u8]) {
    let shm = Path::new("/dev/shm");
    let scratch = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() };
    let scratch = scratch.expect("scratch space");
    let dest = scratch.path().join("outer/dest");
    fs::create_dir_all(&dest).expect("scratch space");
    let canaries = [scratch.path().join("canary"), scratch.path().join("outer/canary")];
    for canary in &canaries {
        fs::write(canary, "untouched").expect("scratch space");
    }

    let result = unpack_layer(stream, &dest, &limits(), "layer", true);

    assert_eq!(names(scratch.path()), ["canary", "outer"], "something was made beside the tree");
    assert_eq!(
        names(&scratch.path().join("outer")),
        ["canary", "dest"],
        "something was made beside the tree"
    );
    for canary in &canaries {
        assert_eq!(fs::read(canary).expect("a canary"), b"untouched");
        assert_eq!(fs::metadata(canary).expect("a canary").nlink(), 1, "linked from within");
    }
    assert!(fs::symlink_metadata(OUTSIDE).is_err(), "an absolute path was written");
    let (mut entries, mut bytes) = (0, 0);
    // What a refused layer leaves is removed by whoever asked for it; closed directories are looked into as root only.
    walk(&dest, 0, &mut entries, &mut bytes);
    // Parents that no entry names are made too.
    assert!(entries <= limits().entries * limits().depth as u64, "{entries} entries");
    assert!(bytes <= limits().bytes, "{bytes} bytes");
    match result {
        Ok(unpacked) => assert!(bytes <= unpacked.bytes, "{bytes} {unpacked:?}"),
        Err(
            ImageError::Entry { .. } | ImageError::TooLarge { .. } | ImageError::Damaged { .. },
        ) => {}
        Err(error) => panic!("an archive passed for a fault of the machine: {error:?}"),
    }
    reenact_sandbox::unpack::remove_tree(&dest).expect("whatever was made can be removed");
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn walk(dir: &Path, depth: usize, entries: &mut u64, bytes: &mut u64) {
    assert!(depth <= limits().depth, "{} is too deep", dir.display());
    let Ok(list) = fs::read_dir(dir) else { return };
    for path in list.map(|e| e.expect("an entry").path()).collect::<Vec<PathBuf>>() {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        *entries += 1;
        let kind = meta.file_type();
        if kind.is_dir() {
            walk(&path, depth + 1, entries, bytes);
        } else if kind.is_char_device() {
            assert_eq!(meta.rdev(), 0, "{} is a device", path.display());
        } else {
            assert!(kind.is_file() || kind.is_symlink() || kind.is_fifo(), "{}", path.display());
            // A file with several names was written once.
            *bytes += if kind.is_file() { meta.len() / meta.nlink() } else { 0 };
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    out.write_all(bytes).expect("writing to memory");
    out.finish().expect("writing to memory")
}

/// The stream with the checksum of every header put right, as a reader would step from one to the next, and an end mark.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out.resize(out.len().next_multiple_of(BLOCK), 0);
    let mut at = 0;
    while at < out.len() {
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(&out[at..at + BLOCK]);
        header.set_cksum();
        out[at..at + BLOCK].copy_from_slice(header.as_bytes());
        let size = usize::try_from(header.entry_size().unwrap_or(0)).unwrap_or(0);
        at += BLOCK + size.min(1 << 30).next_multiple_of(BLOCK);
    }
    out.resize(out.len() + 2 * BLOCK, 0);
    out
}

#[derive(Arbitrary, Debug)]
struct Made<'a> {
    kind: u8,
    name: Vec<Part>,
    link: Vec<Part>,
    mode: u16,
    size: Option<u64>,
    data: &'a [u8],
    records: Vec<Record<'a>>,
}

/// Few parts, so that entries meet.
#[derive(Arbitrary, Debug)]
enum Part {
    A,
    B,
    C,
    Up,
    Here,
    Root,
    Outside,
    Gone,
    Opaque,
    Byte(u8),
}

/// Records of an extended header.
#[derive(Arbitrary, Debug)]
enum Record<'a> {
    Size(u64),
    Major(u8),
    RealSize(u64),
    Map(Vec<u16>),
    Xattr(&'a [u8]),
    Any(&'a [u8], &'a [u8]),
}

fn text(parts: &[Part]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        match part {
            Part::A => out.extend_from_slice(b"a/"),
            Part::B => out.extend_from_slice(b"b/"),
            Part::C => out.extend_from_slice(b"c"),
            Part::Up => out.extend_from_slice(b"../"),
            Part::Here => out.extend_from_slice(b"./"),
            Part::Root => out.push(b'/'),
            Part::Outside => out.extend_from_slice(OUTSIDE.as_bytes()),
            Part::Gone => out.extend_from_slice(b".wh."),
            Part::Opaque => out.extend_from_slice(b".wh..wh..opq"),
            Part::Byte(b) => out.push(*b),
        }
    }
    out
}

fn archive(entries: &[Made<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        let (name, link) = (text(&entry.name), text(&entry.link));
        let mut pax = Vec::new();
        for r in &entry.records {
            let number = |n: &u64| n.to_string().into_bytes();
            pax.extend(match r {
                Record::Size(n) => record(b"size", &number(n)),
                Record::Major(n) => record(b"GNU.sparse.major", &number(&u64::from(n % 3))),
                Record::RealSize(n) => record(b"GNU.sparse.realsize", &number(n)),
                Record::Map(map) => {
                    let map: Vec<String> = map.iter().map(u16::to_string).collect();
                    record(b"GNU.sparse.map", map.join(",").as_bytes())
                }
                Record::Xattr(value) => record(b"SCHILY.xattr.user.overlay.opaque", value),
                Record::Any(key, value) => record(key, value),
            });
        }
        if name.len() > 100 || link.len() > 100 {
            if entry.kind & 0x80 == 0 {
                put(&mut out, EntryType::GNULongName, b"L", b"", 0, None, &name);
                put(&mut out, EntryType::GNULongLink, b"K", b"", 0, None, &link);
            } else {
                pax.extend(record(b"path", &name));
                pax.extend(record(b"linkpath", &link));
            }
        }
        if !pax.is_empty() {
            put(&mut out, EntryType::XHeader, b"x", b"", 0, None, &pax);
        }
        let kind = match entry.kind & 0x7f {
            0..0x30 => EntryType::Regular,
            0x30..0x50 => EntryType::Symlink,
            0x50..0x60 => EntryType::Directory,
            0x60..0x70 => EntryType::Link,
            other => EntryType::new(b"0123456789gxLKSV"[usize::from(other & 15)]),
        };
        put(&mut out, kind, &name, &link, u32::from(entry.mode), entry.size, entry.data);
    }
    out.resize(out.len() + 2 * BLOCK, 0);
    out
}

/// A record of a POSIX extended header; its length counts itself.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = 2 + key.len() + value.len() + 1;
    let digits = (1..).find(|d| (rest + d).to_string().len() == *d).expect("some width fits");
    [format!("{} ", rest + digits).as_bytes(), key, b"=", value, b"\n"].concat()
}

fn put(
    out: &mut Vec<u8>,
    kind: EntryType,
    name: &[u8],
    link: &[u8],
    mode: u32,
    size: Option<u64>,
    data: &[u8],
) {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    let bare = matches!(kind, EntryType::Symlink | EntryType::Link | EntryType::Directory);
    let data = if bare { &[] } else { data };
    header.set_size(size.filter(|n| n % 8 == 0).unwrap_or(data.len() as u64));
    let bytes = header.as_mut_bytes();
    for (at, text) in [(0, name), (157, link)] {
        let n = text.len().min(100);
        bytes[at..at + n].copy_from_slice(&text[..n]);
    }
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}
