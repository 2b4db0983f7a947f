//! Submissions: whatever the archive, unpacking writes only below its destination, keeps to its limits, leaves nothing but
//! regular files, directories and inward links, and blames the archive (an `Fs` or `Read` error would excuse it).
//!
//! The first byte picks how the rest is read: as a gzip stream, as a tar stream, as a tar stream whose checksums are put
//! right first, or as a list of entries to archive.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use flate2::{Compression, write::GzEncoder};
use libfuzzer_sys::fuzz_target;
use reenact_grade::{UnpackLimits, unpack};
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use tar::{EntryType, Header};

const LIMITS: UnpackLimits = UnpackLimits { entries: 64, bytes: 64 << 10 };
const BLOCK: usize = 512;
/// Seeds, and entries made here, try to write this by its absolute path.
const OUTSIDE: &str = "/dev/shm/reenact-fuzz-outside";
/// Links longer than this many hops are loops to the kernel.
const MAX_HOPS: u32 = 40;

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_first() else { return };
    let stream = match mode % 4 {
        0 => rest.to_vec(),
        1 => gzip(rest),
        2 => gzip(&with_checksums(rest)),
        _ => match Vec::arbitrary_take_rest(Unstructured::new(rest)) {
            Ok(entries) => gzip(&archive(&entries)),
            Err(_) => return,
        },
    };
    check(&stream);
});

fn check(stream: &[u8]) {
    let root = scratch();
    let outer = root.path().join("outer");
    let dest = outer.join("dest");
    fs::create_dir(&outer).expect("scratch space");
    for canary in [root.path().join("canary"), outer.join("canary")] {
        fs::write(canary, "untouched").expect("scratch space");
    }

    let result = unpack(stream, &dest, &LIMITS);

    assert_eq!(names(root.path()), ["canary", "outer"], "something was made beside the tree");
    assert_eq!(names(&outer), ["canary", "dest"], "something was made beside the tree");
    for canary in [root.path().join("canary"), outer.join("canary")] {
        assert_eq!(fs::read(canary).expect("a canary"), b"untouched");
    }
    assert!(fs::symlink_metadata(OUTSIDE).is_err(), "an absolute path was written");
    let mut found = Found::default();
    walk(&dest, &mut found);
    assert!(found.bytes <= LIMITS.bytes && found.entries <= LIMITS.entries, "{found:?}");
    match result {
        Ok(report) => {
            assert!(
                found.bytes <= report.bytes && report.bytes <= LIMITS.bytes,
                "{found:?} {report:?}"
            );
            assert!(found.files <= report.files, "{found:?} {report:?}");
            for link in &found.links {
                assert!(stays_inside(&dest, link), "{} leads out", link.display());
            }
        }
        // Links are followed at the end of the archive only; what a refused archive leaves is never used.
        Err(e) => {
            assert!(e.is_archives_fault(), "an archive passed for a fault of the machine: {e:?}")
        }
    }
}

fn scratch() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    let made = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() };
    made.expect("scratch space")
}

fn names(dir: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(dir).expect("a directory that was there");
    let mut names: Vec<_> = entries.map(|e| e.expect("an entry").file_name()).collect();
    names.sort();
    names
}

#[derive(Debug, Default)]
struct Found {
    entries: u64,
    files: u64,
    bytes: u64,
    links: Vec<PathBuf>,
}

fn walk(dir: &Path, found: &mut Found) {
    for name in names(dir) {
        let path = dir.join(name);
        let meta = fs::symlink_metadata(&path).expect("an entry just listed");
        let mode = meta.permissions().mode() & 0o7777;
        found.entries += 1;
        if meta.is_dir() {
            assert_eq!(mode, 0o755, "{}", path.display());
            walk(&path, found);
        } else if meta.is_symlink() {
            found.links.push(path);
        } else {
            assert!(meta.is_file(), "{} is neither file, directory nor link", path.display());
            assert!(mode == 0o644 || mode == 0o755, "{} has mode {mode:o}", path.display());
            assert_eq!(meta.nlink(), 1, "{} is a hard link", path.display());
            found.files += 1;
            found.bytes += meta.len();
        }
    }
}

/// Follows `link` on disk, part by part, as the kernel would.
fn stays_inside(dest: &Path, link: &Path) -> bool {
    let below = link.strip_prefix(dest).expect("a link below the tree");
    let mut todo: Vec<OsString> = below.iter().rev().map(OsString::from).collect();
    let (mut at, mut depth, mut hops) = (dest.to_path_buf(), 0_usize, 0);
    while let Some(part) = todo.pop() {
        if part == ".." {
            if depth == 0 {
                return false;
            }
            depth -= 1;
            at.pop();
            continue;
        }
        at.push(&part);
        depth += 1;
        match fs::symlink_metadata(&at) {
            Ok(meta) if meta.is_dir() => {}
            Ok(meta) if meta.is_symlink() => {
                hops += 1;
                if hops > MAX_HOPS {
                    return true;
                }
                let target = fs::read_link(&at).expect("a link's target");
                if target.is_absolute() {
                    return false;
                }
                at.pop();
                depth -= 1;
                let parts = target.components().filter(|c| *c != Component::CurDir);
                todo.extend(parts.rev().map(|c| c.as_os_str().to_owned()));
            }
            // A file, or nothing: the kernel stops here.
            _ => return true,
        }
    }
    true
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::none());
    out.write_all(bytes).expect("writing to memory");
    out.finish().expect("writing to memory")
}

/// The stream with the checksum of every header put right, as a reader would step from one to the next, and an end mark:
/// without that, mutation would hardly ever get past the first header.
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
    name: Name,
    link: Name,
    mode: u16,
    size: Option<u64>,
    data: &'a [u8],
}

/// Few parts, so that entries meet.
#[derive(Arbitrary, Debug)]
struct Name(Vec<Part>);

#[derive(Arbitrary, Debug)]
enum Part {
    A,
    B,
    C,
    Up,
    Here,
    Root,
    Outside,
    Long(u16),
    Byte(u8),
}

impl Name {
    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for part in &self.0 {
            match part {
                Part::A => out.extend_from_slice(b"a/"),
                Part::B => out.extend_from_slice(b"b/"),
                Part::C => out.extend_from_slice(b"c"),
                Part::Up => out.extend_from_slice(b"../"),
                Part::Here => out.extend_from_slice(b"./"),
                Part::Root => out.push(b'/'),
                Part::Outside => out.extend_from_slice(OUTSIDE.as_bytes()),
                Part::Long(n) => out.resize(out.len() + usize::from(n % 1100), b'n'),
                Part::Byte(b) => out.push(*b),
            }
        }
        out
    }
}

fn archive(entries: &[Made<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        let (name, link) = (entry.name.bytes(), entry.link.bytes());
        // Names that do not fit go before the entry, in GNU's or POSIX's way.
        if name.len() > 100 || link.len() > 100 {
            if entry.kind & 0x80 == 0 {
                put(&mut out, EntryType::GNULongName, b"L", b"", 0, None, &name);
                put(&mut out, EntryType::GNULongLink, b"K", b"", 0, None, &link);
            } else {
                let pax = [record(b"path=", &name), record(b"linkpath=", &link)].concat();
                put(&mut out, EntryType::XHeader, b"x", b"", 0, None, &pax);
            }
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
    let rest = 1 + key.len() + value.len() + 1;
    let digits = (1..).find(|d| (rest + d).to_string().len() == *d).expect("some width fits");
    [format!("{} ", rest + digits).as_bytes(), key, value, b"\n"].concat()
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
