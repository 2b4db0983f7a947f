//! ATTACKS C6: tar tricks in a submission. Each is refused with the entry's name, and nothing is written outside.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod common;

use common::archive::{Archive, gzip, header};
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use reenact_grade::unpack::{Limit, Refusal};
use reenact_grade::{UnpackError, UnpackLimits, UnpackReport, unpack};
use std::io::{Cursor, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tar::EntryType;

/// Unpacks into a fresh directory beside a canary, and checks that only the directory changed.
fn try_unpack(bytes: &[u8], limits: &UnpackLimits) -> Result<UnpackReport, UnpackError> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("canary"), "sings").unwrap();
    let result = unpack(Cursor::new(bytes), &dir.path().join("tree"), limits);
    let names: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(std::fs::read_to_string(dir.path().join("canary")).unwrap(), "sings");
    result
}

fn refusal(archive: Archive) -> (String, Refusal) {
    match try_unpack(&archive.file("after", "x").gz(), &UnpackLimits::default()) {
        Err(UnpackError::Refused { entry, why }) => (entry, why),
        other => panic!("{other:?}"),
    }
}

fn refused_as(archive: Archive, entry: &str, why: Refusal) {
    assert_eq!(refusal(archive), (entry.to_owned(), why));
}

#[test]
fn c6_absolute_path() {
    refused_as(Archive::new().file("/etc/cron.d/x", "x"), "/etc/cron.d/x", Refusal::AbsolutePath);
}

#[test]
fn c6_parent_path() {
    refused_as(Archive::new().file("a/../../canary", "x"), "a/../../canary", Refusal::ParentPath);
    refused_as(Archive::new().dir("a/.."), "a/..", Refusal::ParentPath);
}

#[test]
fn c6_symlink_out() {
    let bad = |target, why| refused_as(Archive::new().dir("d").symlink("d/l", target), "d/l", why);
    bad("/etc/passwd", Refusal::AbsoluteLink);
    bad("../../canary", Refusal::EscapingLink);
    bad("x/../../../canary", Refusal::EscapingLink);
    bad("", Refusal::EmptyName);
}

#[test]
fn c6_symlinks_that_only_together_lead_out() {
    let archive =
        Archive::new().dir("a/b/c").symlink("a/b/c/esc", "up/..").symlink("a/b/c/up", "../../..");
    refused_as(archive, "a/b/c/esc", Refusal::EscapingLink);
}

#[test]
fn c6_write_through_a_symlink() {
    let archive = Archive::new().dir("d").symlink("l", "d").file("l/x", "x");
    refused_as(archive, "l/x", Refusal::ParentNotADirectory);
    let archive = Archive::new().symlink("l", "later").file("l", "x");
    refused_as(archive, "l", Refusal::Replaces);
    let archive = Archive::new().dir("d").symlink("d", "elsewhere");
    refused_as(archive, "d", Refusal::Replaces);
}

#[test]
fn c6_hard_link_out() {
    let bad = |target: &str| {
        let archive = Archive::new().symlink("s", "f").link(EntryType::Link, "h", target);
        refused_as(archive, "h", Refusal::HardLink);
    };
    for target in ["/etc/shadow", "../canary", "missing", "s", "h", ""] {
        bad(target);
    }
}

#[test]
fn c6_devices_and_fifos() {
    for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo] {
        refused_as(Archive::new().special(kind, "dev"), "dev", Refusal::Special);
    }
    refused_as(Archive::new().special(EntryType::new(b'V'), "v"), "v", Refusal::UnknownType);
}

#[test]
fn c6_setuid() {
    for mode in [0o4755, 0o2755] {
        refused_as(Archive::new().mode("su", b"x", mode), "su", Refusal::SetId);
    }
}

#[test]
fn c6_strange_names() {
    let long = "n".repeat(300);
    let gnu = |name: &[u8]| {
        Archive::new()
            .raw(&header(EntryType::GNULongName, b"././@LongLink", name.len() as u64, 0), name)
            .file("short", "x")
    };
    refused_as(gnu(long.as_bytes()), &long, Refusal::LongName(255));
    refused_as(gnu(b"a\0b"), "a\0b", Refusal::NulInName);
    refused_as(gnu(b"../x\0"), "../x", Refusal::ParentPath);
    refused_as(Archive::new().file("", "x"), "", Refusal::EmptyName);
    refused_as(Archive::new().symlink("./", "x"), "./", Refusal::EmptyName);
}

#[test]
fn c6_pax_headers_cannot_smuggle_a_path() {
    let pax = |record: &[u8]| {
        let header = header(EntryType::XHeader, b"PaxHeaders/x", record.len() as u64, 0o644);
        Archive::new().raw(&header, record).file("innocent", "x")
    };
    refused_as(pax(b"16 path=/canary\n"), "/canary", Refusal::AbsolutePath);
    refused_as(pax(b"15 path=../xyz\n"), "../xyz", Refusal::ParentPath);
    refused_as(pax(b"22 GNU.sparse.major=1\n"), "innocent", Refusal::Sparse);
    refused_as(pax(b"999 path=x\n"), "PaxHeaders/x", Refusal::BadExtension);
}

#[test]
fn c6_long_extension_headers_are_not_read_into_memory() {
    let header = header(EntryType::GNULongName, b"././@LongLink", 1 << 40, 0);
    match try_unpack(&Archive::new().raw(&header, b"").gz(), &UnpackLimits::default()) {
        Err(UnpackError::Limit { what: Limit::Header(_), .. }) => {}
        other => panic!("{other:?}"),
    }
}

/// An endless stream of the same block.
struct Repeat {
    block: Vec<u8>,
    left: u64,
    at: usize,
}

impl Read for Repeat {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.block.len() {
            self.at = 0;
            self.left = self.left.saturating_sub(1);
        }
        if self.left == 0 {
            return Ok(0);
        }
        let n = out.len().min(self.block.len() - self.at);
        out[..n].copy_from_slice(&self.block[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

#[test]
fn c6_ten_million_entries() {
    // As many gzip members as a real bomb would have, generated while they are read.
    let member = gzip(header(EntryType::Directory, b"d", 0, 0o755).as_bytes());
    let dir = tempfile::tempdir().unwrap();
    let mut stream = Repeat { block: member, left: 10_000_000, at: 0 };
    let result = unpack(&mut stream, &dir.path().join("tree"), &UnpackLimits::default());
    match result {
        Err(UnpackError::Limit { entry, what: Limit::Entries(100_000) }) => assert_eq!(entry, "d"),
        other => panic!("{other:?}"),
    }
    assert!(stream.left > 9_800_000, "stopped at the limit, with {} left", stream.left);
}

#[test]
fn c6_entries_hidden_in_implied_directories_count_too() {
    let mut archive = Archive::new();
    for i in 0..30 {
        archive = archive.file(&format!("{i}/a/b/c/d/e/f"), "");
    }
    let limits = UnpackLimits { entries: 100, ..UnpackLimits::default() };
    match try_unpack(&archive.gz(), &limits) {
        Err(UnpackError::Limit { what: Limit::Entries(100), .. }) => {}
        other => panic!("{other:?}"),
    }
}

/// `size` zero bytes as one file, compressed about a thousandfold.
fn bomb(size: u64) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(header(EntryType::Regular, b"bomb", size, 0o644).as_bytes()).unwrap();
    let zeros = vec![0; 1 << 20];
    for _ in 0..size >> 20 {
        out.write_all(&zeros).unwrap();
    }
    out.write_all(&[0; 1024]).unwrap();
    out.finish().unwrap()
}

#[test]
fn c6_zip_bomb() {
    let limits = UnpackLimits { bytes: 8 << 20, ..UnpackLimits::default() };
    match try_unpack(&bomb(64 << 20), &limits) {
        Err(UnpackError::Limit { entry, what: Limit::Bytes(b) }) => {
            assert_eq!((entry.as_str(), b), ("bomb", 8 << 20));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn c6_bomb_behind_the_end_mark() {
    let mut tar = Archive::new().file("f", "x").tar();
    tar.resize(tar.len() + (64 << 20), 0);
    let limits = UnpackLimits { bytes: 1 << 20, entries: 10 };
    match try_unpack(&gzip(&tar), &limits) {
        Err(UnpackError::Limit { what: Limit::Bytes(_), .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn c6_hard_links_multiply_bytes_and_are_charged() {
    let mut archive = Archive::new().file("f", &"x".repeat(1 << 16));
    for i in 0..100 {
        archive = archive.link(EntryType::Link, &format!("h{i}"), "f");
    }
    let limits = UnpackLimits { bytes: 1 << 20, ..UnpackLimits::default() };
    match try_unpack(&archive.gz(), &limits) {
        Err(UnpackError::Limit { entry, what: Limit::Bytes(_) }) => assert_eq!(entry, "h15"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn c6_truncated_at_every_byte() {
    let whole = Archive::new().script("compile.sh", "#!/bin/sh\n").file("d/f", "data").gz();
    try_unpack(&whole, &UnpackLimits::default()).unwrap();
    for cut in 0..whole.len() {
        match try_unpack(&whole[..cut], &UnpackLimits::default()) {
            Err(UnpackError::Truncated(_)) => {}
            other => panic!("cut at {cut}: {other:?}"),
        }
    }
    // A whole gzip stream around half a tar.
    let tar = Archive::new().file("f", "data").tar();
    for cut in [100, 512, 600, 1024] {
        match try_unpack(&gzip(&tar[..cut]), &UnpackLimits::default()) {
            Err(UnpackError::Truncated(_)) => {}
            other => panic!("tar cut at {cut}: {other:?}"),
        }
    }
}

#[test]
fn c6_not_gzip_and_flipped_bits() {
    let tar = Archive::new().file("f", "data").tar();
    match try_unpack(&tar, &UnpackLimits::default()) {
        Err(UnpackError::NotGzip) => {}
        other => panic!("{other:?}"),
    }
    let mut garbage = gzip(&tar);
    garbage.extend_from_slice(b"trailing garbage");
    assert!(try_unpack(&garbage, &UnpackLimits::default()).is_err());
    let mut bad_sum = tar.clone();
    bad_sum[0] ^= 1;
    match try_unpack(&gzip(&bad_sum), &UnpackLimits::default()) {
        Err(UnpackError::Corrupt(_)) => {}
        other => panic!("{other:?}"),
    }
    let mut crc = gzip(&tar);
    let at = crc.len() - 8;
    crc[at] ^= 1;
    match try_unpack(&crc, &UnpackLimits::default()) {
        Err(UnpackError::Corrupt(_)) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_honest_archive_is_unpacked_with_its_links_modes_and_times() {
    let pax = b"29 path=long/pa\nth/f\xc3\xa9\xff.name\n";
    assert_eq!(pax.len(), 29);
    let archive = Archive::new()
        .dir("./")
        .script("./compile.sh", "#!/bin/sh\n")
        .file("src/main.c", "int main;")
        .file("src/main.c", "int other;")
        .symlink("src/link", "../compile.sh")
        .symlink("dead", "no/where")
        .link(EntryType::Link, "copy", "src/main.c")
        .raw(&header(EntryType::XHeader, b"PaxHeaders/f", 29, 0o644), pax)
        .file("f", "pax")
        .mode("prog", b"\x7fELF...", 0o755);
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    let report = unpack(Cursor::new(archive.gz()), &tree, &UnpackLimits::default()).unwrap();
    assert_eq!((report.files, report.bytes), (6, 10 + 9 + 10 + 10 + 3 + 7));
    assert_eq!(report.notable, ["prog: ELF file, 7 bytes"]);
    let read = |p: &str| std::fs::read_to_string(tree.join(p)).unwrap();
    assert_eq!(read("src/main.c"), "int other;");
    assert_eq!(read("copy"), "int other;");
    assert_eq!(read("src/link"), "#!/bin/sh\n");
    assert_eq!(std::fs::read_link(tree.join("dead")).unwrap(), Path::new("no/where"));
    use std::os::unix::ffi::OsStrExt;
    let odd = std::ffi::OsStr::from_bytes(b"long/pa\nth/f\xc3\xa9\xff.name");
    assert_eq!(std::fs::read(tree.join(odd)).unwrap(), b"pax");
    let meta = std::fs::metadata(tree.join("compile.sh")).unwrap();
    assert_eq!(meta.permissions().mode() & 0o7777, 0o755);
    let time = meta.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(time.as_secs(), 1_600_000_000);
    assert_eq!(std::fs::metadata(tree.join("copy")).unwrap().permissions().mode() & 0o7777, 0o644);
}

#[test]
fn archives_of_the_usual_tools_are_accepted() {
    // The tar crate's own builder writes GNU headers and long names.
    let mut builder = tar::Builder::new(Vec::new());
    let deep = format!("{}/file", "directory-name".repeat(10));
    for name in ["compile.sh", deep.as_str()] {
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append_data(&mut header, name, &b"abc"[..]).unwrap();
    }
    let tar = builder.into_inner().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    unpack(Cursor::new(gzip(&tar)), &tree, &UnpackLimits::default()).unwrap();
    assert_eq!(std::fs::read(tree.join(deep)).unwrap(), b"abc");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_it_write_outside_or_panic(
        edits in prop::collection::vec((0_usize..2048, any::<u8>()), 0..12),
        fix_sums in any::<bool>(),
    ) {
        let mut tar = Archive::new().dir("d").file("d/f", "data").symlink("l", "d/f").tar();
        for (at, byte) in edits {
            tar[at] = byte;
        }
        if fix_sums {
            for block in [0, 512, 1536] {
                let mut header = tar::Header::from_byte_slice(&tar[block..block + 512]).clone();
                header.set_cksum();
                tar[block..block + 512].copy_from_slice(header.as_bytes());
            }
        }
        let limits = UnpackLimits { entries: 50, bytes: 1 << 20 };
        if let Err(e) = try_unpack(&gzip(&tar), &limits) {
            prop_assert!(e.is_archives_fault(), "{e}");
        }
    }
}
