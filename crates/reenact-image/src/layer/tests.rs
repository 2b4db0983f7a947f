use super::*;
use crate::testing::{Made, fix_checksums, tar_of};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// A destination with something beside it that must stay as it is.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("outside")).unwrap();
        std::fs::write(dir.path().join("outside/file"), "untouched").unwrap();
        let place = Self { dir };
        place.fresh();
        place
    }

    fn dest(&self) -> PathBuf {
        self.dir.path().join("dest")
    }

    fn fresh(&self) {
        reenact_sandbox::unpack::remove_tree(&self.dest()).unwrap();
        std::fs::create_dir(self.dest()).unwrap();
    }

    fn unpack(&self, bytes: &[u8], limits: &UnpackLimits) -> Result<Unpacked, ImageError> {
        unpack_layer(bytes, &self.dest(), limits, "the layer", true)
    }

    fn assert_outside_untouched(&self) {
        let mut names: Vec<_> = std::fs::read_dir(self.dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["dest", "outside"]);
        let outside = self.dir.path().join("outside");
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
        let file = outside.join("file");
        assert_eq!(std::fs::read(&file).unwrap(), b"untouched");
        assert_eq!(std::fs::metadata(&file).unwrap().nlink(), 1, "a hard link to what is outside");
    }
}

fn limits() -> UnpackLimits {
    UnpackLimits { entries: 1000, bytes: 8 << 20, ..UnpackLimits::default() }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

#[test]
fn every_compression_gives_the_same_layer() {
    let tar = tar_of(&[Made::dir("d"), Made::file("d/f", &[b'x'; 100_000])]);
    let zstd = zstd::encode_all(tar.as_slice(), 3).unwrap();
    // As some tools write it: members one after the other, and a skippable frame before zstd's.
    let (one, two) = tar.split_at(1000);
    let gzips = [gzip(one), gzip(two)].concat();
    let skippable = [&b"\x50\x2a\x4d\x18\x04\0\0\0abcd"[..], &zstd].concat();
    for packed in [tar.clone(), gzip(&tar), gzips, zstd, skippable] {
        let place = Place::new();
        let unpacked = place.unpack(&packed, &limits()).unwrap();
        assert_eq!(unpacked.diff_id, Digest::of(&tar));
        assert_eq!(unpacked.packed, Digest::of(&packed));
        assert_eq!((unpacked.entries, unpacked.bytes), (2, 100_000));
        assert_eq!(std::fs::metadata(place.dest().join("d/f")).unwrap().len(), 100_000);
    }
}

#[test]
fn what_is_behind_the_end_mark_belongs_to_the_digest() {
    let mut tar = tar_of(&[Made::file("f", b"x")]);
    tar.resize(10_240, 0);
    tar.extend_from_slice(b"and more");
    let unpacked = Place::new().unpack(&gzip(&tar), &limits()).unwrap();
    assert_eq!(unpacked.diff_id, Digest::of(&tar));
}

#[test]
fn hostile_entries_are_refused_by_name_and_write_nothing_outside() {
    let place = Place::new();
    let outside = place.dir.path().join("outside").display().to_string();
    let file = format!("{outside}/file");
    let deep = vec!["d"; 300].join("/");
    let long = "n".repeat(5000);
    let cases: Vec<(Vec<Made>, &str)> = vec![
        (vec![Made::file("../outside/file", b"x")], "goes up"),
        (vec![Made::file("a/../../outside/x", b"x")], "goes up"),
        (vec![Made::symlink("l", &outside), Made::file("l/x", b"x")], "leads nowhere"),
        (vec![Made::symlink("l", "../outside"), Made::file("l/x", b"x")], "leads nowhere"),
        (
            vec![Made::symlink("a", "b"), Made::symlink("b", "a"), Made::file("a/x", b"x")],
            "circles",
        ),
        (vec![Made::hard_link("h", &file)], "does not come before it"),
        (vec![Made::hard_link("h", "../outside/file")], "goes up"),
        (vec![Made::symlink("l", "../outside"), Made::hard_link("h", "l/file")], "does not come"),
        (vec![Made::dir("d"), Made::hard_link("h", "d")], "directory"),
        (vec![Made::file("f", b"x"), Made::file("f/x", b"x")], "not a directory"),
        (vec![Made::file("a/.wh...", b"")], "removal of no name"),
        (vec![Made::file(".wh.", b"")], "removal of no name"),
        (vec![Made::file(".wh.a/b", b"")], "marks a removal"),
        (vec![Made::file(&deep, b"")], "too deep"),
        (vec![Made::file(&long, b"")], "255"),
        (vec![Made::new(b'2', "l")], "nowhere"),
        (vec![Made::new(b'Z', "odd\u{1b}[2J")], "unknown type"),
        (vec![Made::file("./", b"x").mode(0o644), Made::file("", b"")], "root"),
    ];
    for (entries, why) in cases {
        place.fresh();
        let error = match place.unpack(&tar_of(&entries), &limits()) {
            Err(error) => error.to_string(),
            // A name that ends in a slash is a directory: the second entry must be refused.
            Ok(_) => panic!("{entries:?} was taken"),
        };
        assert!(error.contains(why), "{why}: {error}");
        assert!(error.starts_with("the layer: ") && !error.contains('\u{1b}'), "{error}");
        place.assert_outside_untouched();
    }
    // Harmless: absolute names are names in the layer, devices are left out, aufs's files mean nothing.
    place.fresh();
    let entries = [
        Made::file(&file, b"inside"),
        Made::new(b'3', "dev/null"),
        Made::new(b'4', "dev/sda"),
        Made::file(".wh..wh.plnk/1.2", b"x"),
        Made::symlink("etc", "/../../../../etc"),
    ];
    let unpacked = place.unpack(&tar_of(&entries), &limits()).unwrap();
    assert_eq!(unpacked.notes.devices, 2);
    assert_eq!(std::fs::read(place.dest().join(file.trim_start_matches('/'))).unwrap(), b"inside");
    assert!(!place.dest().join("dev").exists());
    place.assert_outside_untouched();
}

#[test]
fn bombs_are_refused() {
    let zeros = vec![0u8; 6 << 20];
    let place = Place::new();
    let many: Vec<Made> = (0..1001).map(|i| Made::file(&format!("f{i}"), b"")).collect();
    let small = UnpackLimits { bytes: 1 << 20, ..limits() };
    let ratio = UnpackLimits { ratio: 100, ratio_from: 1 << 20, ..limits() };
    for (tar, limits, why) in [
        (tar_of(&many), limits(), "more than 1000 entries"),
        (gzip(&tar_of(&[Made::file("zeros", &zeros)])), small, "1048576 bytes"),
        (gzip(&tar_of(&[Made::file("zeros", &zeros)])), ratio, "times as many"),
        (
            zstd::encode_all(tar_of(&[Made::file("zeros", &zeros)]).as_slice(), 3).unwrap(),
            ratio,
            "times as many",
        ),
    ] {
        place.fresh();
        let error = place.unpack(&tar, &limits).unwrap_err();
        assert!(matches!(error, ImageError::TooLarge { .. }), "{error:?}");
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn truncated_and_damaged_layers_are_told() {
    let noise: Vec<u8> =
        (0..60_000u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let tar = tar_of(&[Made::file("f", &noise)]);
    let zstd = zstd::encode_all(tar.as_slice(), 3).unwrap();
    let xz = b"\xfd7zXZ\0rest".to_vec();
    for packed in [&tar, &gzip(&tar), &zstd] {
        let error = Place::new().unpack(&packed[..packed.len() / 2], &limits()).unwrap_err();
        assert!(matches!(error, ImageError::Damaged { .. }), "{error:?}");
        assert!(error.to_string().contains("the layer is truncated or damaged"), "{error}");
    }
    let mut flipped = gzip(&tar);
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0xff;
    for bytes in [flipped, xz, b"hello, this is no archive".to_vec()] {
        let error = Place::new().unpack(&bytes, &limits()).unwrap_err();
        assert!(matches!(error, ImageError::Damaged { .. }), "{error:?}");
    }
}

/// xorshift, so that the same layers are tried everywhere.
struct Chance(u64);

impl Chance {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

fn random_entry(chance: &mut Chance, outside: &str) -> Made {
    const PARTS: [&str; 12] =
        ["a", "b", "c/d", "..", ".", "/", ".wh.a", ".wh..wh..opq", ".wh.", ".wh...", "l", "etc/x"];
    let mut path = String::new();
    for _ in 0..=chance.next(3) {
        path.push_str(PARTS[chance.next(PARTS.len())]);
        path.push('/');
    }
    let path = path.trim_end_matches('/').to_owned();
    let targets = [outside, "..", "/", "../outside", "a", "b/c", "/etc", "l", "../../../../../tmp"];
    let target = targets[chance.next(targets.len())];
    let made = match chance.next(9) {
        0 => Made::dir(&path),
        1 | 2 => Made::symlink(&path, target),
        3 => Made::hard_link(&path, &format!("{target}/file")),
        4 => Made::hard_link(&path, target),
        5 => Made::new(b"34679xgLKSDV"[chance.next(12)], &path),
        _ => Made::file(&path, &vec![b'h'; chance.next(2000)]),
    };
    let mode = chance.next(0o10000) as u32;
    if chance.next(4) == 0 { made.mode(mode).pax() } else { made.mode(mode) }
}

#[test]
fn a_thousand_hostile_layers_write_nothing_outside() {
    let place = Place::new();
    let outside = place.dir.path().join("outside").display().to_string();
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let (mut taken, mut refused) = (0, 0);
    for round in 0..1000 {
        place.fresh();
        let count = 1 + chance.next(12);
        let entries: Vec<Made> = (0..count).map(|_| random_entry(&mut chance, &outside)).collect();
        let mut bytes = tar_of(&entries);
        // Half of them are mutated on top, most with their checksums put right again.
        if round % 2 == 1 {
            for _ in 0..1 + chance.next(8) {
                let at = chance.next(bytes.len());
                bytes[at] = chance.next(256) as u8;
            }
            if round % 8 != 7 {
                fix_checksums(&mut bytes);
            }
        }
        if round % 5 == 0 {
            bytes = gzip(&bytes);
        }
        match place.unpack(&bytes, &limits()) {
            Ok(_) => taken += 1,
            Err(
                ImageError::Entry { .. } | ImageError::TooLarge { .. } | ImageError::Damaged { .. },
            ) => {
                refused += 1;
            }
            Err(error) => {
                panic!("round {round}: an archive passed for the host's fault: {error:?}")
            }
        }
        place.assert_outside_untouched();
    }
    place.fresh();
    assert!(taken > 50 && refused > 500, "{taken} taken, {refused} refused");
}
