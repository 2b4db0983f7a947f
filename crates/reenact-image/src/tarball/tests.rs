use super::*;
use crate::testing::{Made, tar_of};
use proptest::prelude::*;
use std::io::BufReader;

fn read_all(bytes: &[u8]) -> Result<Vec<(TarEntry, Vec<u8>)>, TarError> {
    // A small buffer, so that everything crosses its edge somewhere.
    let mut tar = TarReader::new(BufReader::with_capacity(700, bytes));
    let mut found = Vec::new();
    while let Some(entry) = tar.next()? {
        let mut data = Vec::new();
        tar.data(u64::MAX, &mut |piece| {
            data.extend_from_slice(piece);
            Ok(())
        })?;
        found.push((entry, data));
    }
    Ok(found)
}

fn names(found: &[(TarEntry, Vec<u8>)]) -> Vec<String> {
    found.iter().map(|(e, _)| String::from_utf8_lossy(&e.path).into_owned()).collect()
}

#[test]
fn data_that_are_not_read_are_skipped() {
    let bytes = tar_of(&[Made::file("a", &[1; 1000]), Made::file("b", b"two"), Made::dir("d")]);
    let mut tar = TarReader::new(BufReader::new(bytes.as_slice()));
    let mut seen = Vec::new();
    while let Some(entry) = tar.next().unwrap() {
        seen.push(entry.path);
    }
    assert_eq!(seen, [&b"a"[..], b"b", b"d/"]);
}

#[test]
fn long_names_come_in_three_ways() {
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(120));
    for made in [Made::file(&long, b"x").gnu(), Made::file(&long, b"x").pax()] {
        let found = read_all(&tar_of(&[made])).unwrap();
        assert_eq!(names(&found), [long.as_str()]);
        assert_eq!(found[0].1, b"x");
    }
    // The prefix of ustar.
    let mut bytes = tar_of(&[Made::file("name", b"x")]);
    bytes[345..348].copy_from_slice(b"dir");
    crate::testing::fix_checksum(&mut bytes[..BLOCK]);
    assert_eq!(names(&read_all(&bytes).unwrap()), ["dir/name"]);
}

#[test]
fn an_archive_may_end_without_its_mark_but_not_within_an_entry() {
    let whole = tar_of(&[Made::file("a", &[7; 600]), Made::file("b", b"x")]);
    let end = whole.len() - 2 * BLOCK;
    assert_eq!(read_all(&whole[..end]).unwrap().len(), 2);
    assert!(read_all(b"").unwrap().is_empty());
    for cut in [1, BLOCK - 1, BLOCK + 10, 2 * BLOCK, end - 1] {
        let error = read_all(&whole[..cut]).unwrap_err();
        assert!(
            matches!(&error, TarError::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof),
            "{cut}: {error:?}"
        );
    }
    // A long name without the entry that it belongs to.
    let long = tar_of(&[Made::file(&"n".repeat(200), b"x").gnu()]);
    assert!(read_all(&long[..2 * BLOCK]).is_err());
}

#[test]
fn what_is_wrong_is_refused_by_name() {
    let with = |change: &dyn Fn(&mut [u8])| {
        let mut bytes = tar_of(&[Made::file("named", b"x")]);
        change(&mut bytes);
        crate::testing::fix_checksum(&mut bytes[..BLOCK]);
        read_all(&bytes)
    };
    type Change = &'static dyn Fn(&mut [u8]);
    let cases: [(Change, &str); 5] = [
        (&|b| b[156] = b'Z', "unknown type"),
        (&|b| b[124..136].copy_from_slice(b"xxxxxxxxxxxx"), "size"),
        (
            &|b| b[124..136].copy_from_slice(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
            "size",
        ),
        (&|b| b[108..116].copy_from_slice(b"\x80\xff\xff\xff\xff\xff\xff\xff"), "owner"),
        (&|b| b[100..108].copy_from_slice(b"99999999"), "permission"),
    ];
    for (change, what) in cases {
        match with(change) {
            Err(TarError::Format { entry, why }) => {
                assert_eq!(entry, b"named");
                assert!(why.contains(what), "{why}");
            }
            other => panic!("{what}: {other:?}"),
        }
    }
    let mut broken = tar_of(&[Made::file("named", b"x")]);
    broken[0] ^= 1;
    assert!(
        matches!(read_all(&broken), Err(TarError::Format { why, .. }) if why.contains("checksum"))
    );
    // A name of 8 GB is not read.
    let mut bomb = tar_of(&[Made::file(&"n".repeat(200), b"x").gnu()]);
    bomb[124..136].copy_from_slice(b"77777777777\0");
    crate::testing::fix_checksum(&mut bomb[..BLOCK]);
    assert!(matches!(read_all(&bomb), Err(TarError::Format { why, .. }) if why.contains("1 MiB")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let _either = read_all(&bytes);
        let mut fixed = bytes;
        fixed.resize(fixed.len().next_multiple_of(BLOCK), 0);
        crate::testing::fix_checksums(&mut fixed);
        let _either = read_all(&fixed);
    }

    #[test]
    fn what_we_write_we_read(
        path in "[a-z]{1,60}(/[a-zA-Zé]{1,90}){0,3}",
        size in 0u64..(1 << 40),
        mtime in (-1i64 << 33..1i64 << 40, 0u32..1_000_000_000),
        ids in (any::<u32>(), any::<u32>()),
        mode in 0u32..0o10000,
        value in proptest::collection::vec(any::<u8>(), 0..50),
    ) {
        prop_assume!(ids.0 != u32::MAX && ids.1 != u32::MAX);
        let xattrs = vec![(b"user.x".to_vec(), value)];
        let meta = Meta { mode, uid: ids.0, gid: ids.1, mtime, xattrs };
        let bytes = write::header(path.as_bytes(), b'0', &meta, size, b"");
        let mut tar = TarReader::new(bytes.as_slice());
        let entry = tar.next().map_err(|e| TestCaseError::fail(format!("{e:?}")))?.unwrap();
        prop_assert_eq!(entry.path, path.into_bytes());
        prop_assert_eq!(entry.size, size);
        prop_assert_eq!(entry.meta, meta);
    }
}
