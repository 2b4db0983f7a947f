//! Images made of this host's packages. They need an installed Debian and fail loudly without.
#![allow(clippy::unwrap_used, reason = "tests")]

use reenact_testkit::image::{SMALL_PACKAGES, debian_root, gzip_tar, save_archive};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Entries by path: (type, mode, uid, link).
fn entries(tar: &Path) -> BTreeMap<PathBuf, (tar::EntryType, u32, u64, Option<PathBuf>)> {
    let mut archive = tar::Archive::new(std::fs::File::open(tar).unwrap());
    let mut found = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        let link = entry.link_name().unwrap().map(|l| l.into_owned());
        let what = (header.entry_type(), header.mode().unwrap(), header.uid().unwrap(), link);
        let path = entry.path().unwrap().into_owned();
        assert_eq!(found.insert(path.clone(), what), None, "{} is there twice", path.display());
    }
    found
}

#[test]
fn a_root_of_installed_packages_is_whole_and_kept() {
    let path = debian_root(SMALL_PACKAGES).unwrap();
    let made = std::fs::metadata(&path).unwrap().modified().unwrap();
    assert_eq!(debian_root(SMALL_PACKAGES).unwrap(), path, "found again");
    assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), made, "and not made again");
    let entries = entries(&path);
    let bash = entries.keys().find(|p| p.ends_with("bin/bash")).unwrap();
    assert_eq!(entries[bash].0, tar::EntryType::Regular);
    assert_eq!(entries[Path::new("tmp")].1, 0o1777);
    assert_eq!(entries[Path::new("workspace")].2, 1000);
    assert!(entries.contains_key(Path::new("etc/passwd")));
    // Every directory comes before what is in it, and under its real name, so that no entry goes through a link.
    let mut before = BTreeSet::from([PathBuf::new()]);
    for (path, (kind, ..)) in &entries {
        assert!(before.contains(path.parent().unwrap()), "{} has no directory", path.display());
        if *kind == tar::EntryType::Directory {
            before.insert(path.clone());
        }
    }
    // What the shell is linked with is there too.
    assert!(entries.keys().any(|p| p.file_name().is_some_and(|n| n == "libc.so.6")));
}

#[test]
fn what_is_not_installed_is_told_with_the_remedy() {
    let error = debian_root(&["bash", "no-such-package"]).unwrap_err().to_string();
    assert!(error.contains("apt-get install no-such-package"), "{error}");
}

#[test]
fn an_archive_as_docker_saves_names_its_parts() {
    let dir = tempfile::tempdir().unwrap();
    let (root, saved) = (dir.path().join("root.tar"), dir.path().join("saved.tar"));
    let mut tar = tar::Builder::new(std::fs::File::create(&root).unwrap());
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    tar.append_data(&mut header, "a", &b"abc"[..]).unwrap();
    tar.finish().unwrap();
    drop(tar);
    save_archive(&root, &["a/b:c"], &saved).unwrap();
    let names: BTreeSet<String> =
        entries(&saved).into_keys().map(|p| p.to_string_lossy().into_owned()).collect();
    let mut archive = tar::Archive::new(std::fs::File::open(&saved).unwrap());
    let manifest = archive
        .entries()
        .unwrap()
        .map(Result::unwrap)
        .find(|e| e.path().unwrap().ends_with("manifest.json"))
        .unwrap();
    let manifest: serde_json::Value = serde_json::from_reader(manifest).unwrap();
    assert_eq!(manifest[0]["RepoTags"][0], "a/b:c");
    for part in [&manifest[0]["Config"], &manifest[0]["Layers"][0]] {
        assert!(names.contains(part.as_str().unwrap()), "{part} of {names:?}");
    }
}

#[test]
fn a_compressed_tar_holds_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("x.tar.gz");
    gzip_tar(&out, &[("compile.sh".to_owned(), 0o755, b"true\n".to_vec())]).unwrap();
    let mut archive =
        tar::Archive::new(flate2::read::GzDecoder::new(std::fs::File::open(&out).unwrap()));
    let entry = archive.entries().unwrap().next().unwrap().unwrap();
    assert_eq!(entry.header().mode().unwrap(), 0o755);
    assert_eq!(entry.path().unwrap(), Path::new("compile.sh"));
}
