use super::*;
use crate::tarball::TarReader;
use std::os::unix::fs::{FileExt, MetadataExt};

fn copy_within(
    from: &Path,
    limits: &UnpackLimits,
) -> Result<(tempfile::TempDir, Copied), ImageError> {
    let to = tempfile::tempdir().unwrap();
    let copied = copy_tree(from, to.path(), true, limits)?;
    Ok((to, copied))
}

fn copy(from: &Path) -> (tempfile::TempDir, Copied) {
    copy_within(from, &UnpackLimits::default()).unwrap()
}

#[test]
fn holes_cost_nothing_and_stay_holes() {
    let dir = tempfile::tempdir().unwrap();
    let file = File::create(dir.path().join("sparse")).unwrap();
    // So large that it could neither be read nor written in the time of a test.
    let size = 60u64 << 30;
    file.write_all_at(b"begin", 0).unwrap();
    file.write_all_at(b"middle", 20 << 30).unwrap();
    file.set_len(size).unwrap();
    let (to, copied) = copy(dir.path());
    assert_eq!(copied.bytes, size);
    let made = to.path().join("sparse");
    let meta = made.metadata().unwrap();
    assert_eq!(meta.len(), size);
    assert!(meta.blocks() * 512 < 64 << 20, "{} blocks", meta.blocks());
    let mut text = [0; 6];
    File::open(&made).unwrap().read_exact_at(&mut text, 20 << 30).unwrap();
    assert_eq!(&text, b"middle");
    // Where the data is decides.
    let moved = tempfile::tempdir().unwrap();
    let file = File::create(moved.path().join("sparse")).unwrap();
    file.write_all_at(b"begin", 0).unwrap();
    file.write_all_at(b"middle", 21 << 30).unwrap();
    file.set_len(size).unwrap();
    let time = std::time::SystemTime::UNIX_EPOCH;
    for root in [dir.path(), moved.path()] {
        File::options().write(true).open(root.join("sparse")).unwrap().set_modified(time).unwrap();
        File::open(root).unwrap().set_modified(time).unwrap();
    }
    assert_ne!(copy(dir.path()).1.diff_id, copy(moved.path()).1.diff_id);
    assert_eq!(copy(dir.path()).1.diff_id, copy(dir.path()).1.diff_id);
}

#[test]
fn what_is_hashed_for_a_file_with_holes_is_an_archive() {
    let segments = [(0, 5), (1 << 20, 600), (3 << 20, 0)];
    let long = "n".repeat(150);
    let meta = Meta { mode: 0o640, mtime: (7, 5), ..Meta::default() };
    let mut bytes = sparse_header(long.as_bytes(), &meta, 4 << 20, &segments);
    bytes.extend_from_slice(&[b'x'; 605]);
    bytes.resize(bytes.len().next_multiple_of(BLOCK) + 2 * BLOCK, 0);
    let mut tar = TarReader::new(bytes.as_slice());
    let entry = tar.next().unwrap().unwrap();
    assert_eq!((entry.path.as_slice(), entry.size), (long.as_bytes(), 4 << 20));
    let found = entry.sparse.unwrap();
    let found: Vec<(u64, u64)> = found.iter().map(|s| (s.offset, s.size)).collect();
    assert_eq!(found, segments);
    assert_eq!(entry.meta.mode, 0o640);
}

#[test]
fn a_file_cannot_pass_for_a_removal() {
    for name in [".wh.srv", "sub/.wh..wh..opq", ".wh.", "sub/.wh.x/below"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "").unwrap();
        let error = copy_within(dir.path(), &UnpackLimits::default()).unwrap_err();
        assert!(matches!(error, ImageError::Entry { .. }), "{error:?}");
        assert!(error.to_string().contains(".wh."), "{error}");
    }
}

#[test]
fn limits_are_those_of_layers() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("a/b/c")).unwrap();
    std::fs::write(dir.path().join("a/f"), [1; 1000]).unwrap();
    let usual = UnpackLimits::default();
    for (limits, says) in [
        (UnpackLimits { entries: 4, ..usual }, "more than 4 entries"),
        (UnpackLimits { bytes: 999, ..usual }, "more than 999 bytes"),
        (UnpackLimits { path: 4, ..usual }, "too long"),
        (UnpackLimits { depth: 2, ..usual }, "nested too deep"),
    ] {
        let said = copy_within(dir.path(), &limits).unwrap_err().to_string();
        assert!(said.contains(says), "{said}");
    }
    let (_, copied) =
        copy_within(dir.path(), &UnpackLimits { entries: 5, bytes: 1000, ..usual }).unwrap();
    assert_eq!((copied.entries, copied.bytes), (5, 1000));
}

#[test]
fn attributes_that_an_archive_cannot_tell_apart_are_left_out() {
    let of = |name: &[u8], value: &[u8]| {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = TreeWriter::new(dir.path()).unwrap();
        let file = writer.file(b"f").unwrap();
        let xattrs = vec![(name.to_vec(), value.to_vec())];
        let meta = Meta { mode: 0o644, xattrs, ..Meta::default() };
        writer.end_file(file, &meta).unwrap();
        writer.directory(b"", Meta { mode: 0o755, ..Meta::default() }).unwrap();
        writer.finish().unwrap();
        copy(dir.path()).1
    };
    let (plain, odd) = (of(b"user.a", b"b=c"), of(b"user.a=b", b"c"));
    assert_ne!(plain.diff_id, odd.diff_id);
    assert_eq!((plain.notes.xattrs, odd.notes.xattrs), (0, 1));
}
