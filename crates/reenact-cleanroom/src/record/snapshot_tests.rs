//! Snapshots of directories that stand for rooms.

use super::files::{Caps, Files, ItemKind, key_bytes};
use super::snapshot::{Snapshots, TREES};
use super::submission::{SUBMISSION_CAPS, from_snapshot, make, make_with};
use super::test_room::{Dir, task};
use crate::tree::SourceTree;
use proptest::prelude::*;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// A workspace with one of everything.
fn sample() -> Dir {
    let room = Dir::new();
    room.write("/workspace/docs/figlet.1.txt", 0o644, b"FIGLET(6)\n");
    room.write("/workspace/docs/sub/more.txt", 0o644, b"changed by the agent\n");
    room.write("/workspace/compile.sh", 0o755, b"#!/bin/sh\ngcc -o executable main.c\n");
    room.write("/workspace/src/main.c", 0o600, b"int main(void) { return 0; }\n");
    room.write("/workspace/build/main.o", 0o644, b"\x7fELF object");
    room.write(
        "/workspace/cache/CACHEDIR.TAG",
        0o644,
        b"Signature: 8a477f597d28d172789f06886806bc55\n",
    );
    room.write("/workspace/cache/dep.d", 0o644, b"main.o: main.c\n");
    room.write("/home/user/.bashrc", 0o644, b"alias l=ls\n");
    room.write("/tmp/note", 0o640, b"x");
    std::fs::create_dir(room.path("/workspace/empty")).unwrap();
    symlink("src/main.c", room.path("/workspace/link")).unwrap();
    symlink("/workspace/src", room.path("/workspace/build/absolute")).unwrap();
    symlink("/usr/bin/python3", room.path("/workspace/outside")).unwrap();
    symlink("../../etc/passwd", room.path("/workspace/src/up")).unwrap();
    let odd = room.path("/workspace").join(std::ffi::OsStr::from_bytes(b"odd\xff\\name\n"));
    std::fs::write(odd, b"odd").unwrap();
    let listener = std::os::unix::net::UnixListener::bind(room.path("/workspace/socket")).unwrap();
    drop(listener);
    room
}

/// What a tree looks like: path, kind, mode, content or target.
fn look(room: &Dir, tree: &str) -> Vec<String> {
    let seen = room.list(tree, 1000).unwrap();
    seen.into_iter()
        .filter(|e| e.path != b"executable")
        .map(|e| {
            let mut bytes = Vec::new();
            if let Ok(Some(mut file)) = room.open(tree, &e.path) {
                file.read_to_end(&mut bytes).ok();
            }
            format!("{:?} {:?} {:o} {} {bytes:?}", e.path, e.kind, e.mode, e.mtime_ns)
        })
        .collect()
}

#[test]
fn a_restored_room_is_the_room_that_was_recorded() {
    let temp = tempfile::tempdir().unwrap();
    let room = sample();
    let mut snapshots = Snapshots::of(temp.path());
    let report = snapshots.take(3, &room).unwrap();
    assert_eq!((report.step, report.notes.len(), report.tally.left_out), (3, 0, 0));
    assert!(report.tally.bytes_new > 0 && report.tally.bytes_new <= report.tally.bytes_read);

    let fresh = Dir::new();
    fresh.write("/workspace/docs/figlet.1.txt", 0o644, b"FIGLET(6)\n");
    fresh.write("/workspace/docs/deleted/by/the/agent.txt", 0o644, b"gone\n");
    // A new process knows nothing of the old one.
    let notes = Snapshots::of(temp.path()).restore(3, &fresh).unwrap();
    assert_eq!(notes, ["/workspace/socket: not restored: a special file"]);
    std::fs::remove_file(room.path("/workspace/socket")).unwrap();
    for tree in TREES {
        let (old, new) = (look(&room, tree), look(&fresh, tree));
        let strip = |all: Vec<String>| -> Vec<String> {
            // Directories and links get a time of their own when they are copied.
            all.into_iter().filter(|l| l.contains(" File ")).collect()
        };
        assert_eq!(old.len(), new.len(), "{tree}: {old:#?} {new:#?}");
        assert_eq!(strip(old), strip(new), "{tree}");
    }
    let mode = |room: &Dir| {
        std::fs::metadata(room.path("/workspace/src/main.c")).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode(&room), mode(&fresh)), (0o600, 0o600));
}

#[test]
fn only_changed_files_are_read_again_and_an_unchanged_room_refers_back() {
    let temp = tempfile::tempdir().unwrap();
    let room = sample();
    let mut snapshots = Snapshots::of(temp.path());
    snapshots.take(1, &room).unwrap();
    // Change times must lie a tick behind the reading before they are trusted.
    std::thread::sleep(std::time::Duration::from_millis(150));
    snapshots.take(2, &room).unwrap();
    room.opened.borrow_mut().clear();
    let report = snapshots.take(3, &room).unwrap();
    assert_eq!((report.tally.bytes_read, room.opened.borrow().len()), (0, 0));
    std::fs::write(room.path("/workspace/src/main.c"), b"int main(void) { return 1; }\n").unwrap();
    snapshots.take(4, &room).unwrap();
    assert_eq!(room.opened.borrow().as_slice(), ["main.c"]);

    let text = std::fs::read_to_string(temp.path().join("snapshots/3.json")).unwrap();
    assert!(text.contains("\"same_as\":1") && text.len() < 200, "{text}");
    assert_eq!(snapshots.load(3).unwrap().trees, snapshots.load(1).unwrap().trees);
    assert_ne!(snapshots.load(4).unwrap().trees, snapshots.load(1).unwrap().trees);
    assert_eq!(snapshots.steps().unwrap(), [1, 2, 3, 4]);
    assert!(snapshots.load(9).unwrap_err().to_string().contains("9.json"));
}

#[test]
fn the_stub_is_left_out_and_caps_leave_sizes_and_notes() {
    let temp = tempfile::tempdir().unwrap();
    let room = Dir::new();
    room.write("/workspace/a", 0o644, &[1; 100]);
    room.write("/workspace/b", 0o644, &[2; 600]);
    room.write("/workspace/c", 0o644, &[3; 450]);
    room.write("/workspace/d", 0o644, &[4; 450]);
    room.write("/workspace/deep/executable", 0o755, b"the agent's own");
    let caps = Caps { file_bytes: 500, total_bytes: 600, entries: 1000 };
    let mut snapshots = Snapshots::with_caps(temp.path(), caps);
    let report = snapshots.take(1, &room).unwrap();
    assert_eq!(report.tally.left_out, 2);
    let taken = snapshots.load(1).unwrap();
    let shown: Vec<_> = taken.trees["/workspace"]
        .iter()
        .map(|i| (i.path.as_str(), i.size, i.sha256.is_some(), i.note.as_deref().unwrap_or("")))
        .collect();
    assert_eq!(
        shown,
        [
            ("a", 100, true, ""),
            ("b", 600, false, "not taken: over the cap of one file"),
            ("c", 450, true, ""),
            ("d", 450, false, "not taken: over the cap of all files together"),
            ("deep", taken.trees["/workspace"][4].size, false, ""),
            ("deep/executable", 15, true, ""),
        ]
    );
    let few = Caps { entries: 3, ..caps };
    let report = Snapshots::with_caps(temp.path(), few).take(2, &room).unwrap();
    assert_eq!(report.notes.len(), 1, "{:?}", report.notes);
    assert!(report.notes[0].starts_with("/workspace: not recorded:"));
}

#[test]
fn files_that_change_or_vanish_while_they_are_read_are_recorded_as_read() {
    let temp = tempfile::tempdir().unwrap();
    let room = Dir::new();
    for name in ["gone", "grows", "link"] {
        room.write(&format!("/workspace/{name}"), 0o644, b"first");
    }
    let mut length = 5;
    *room.meddle.borrow_mut() = Some(Box::new(move |path| {
        if path.ends_with("gone") {
            std::fs::remove_file(path).unwrap();
        } else if path.ends_with("link") && !path.is_symlink() {
            std::fs::remove_file(path).unwrap();
            symlink("/etc/passwd", path).unwrap();
        } else if path.ends_with("grows") {
            length += 1;
            std::fs::write(path, vec![b'x'; length]).unwrap();
        }
    }));
    let mut snapshots = Snapshots::of(temp.path());
    let report = snapshots.take(1, &room).unwrap();
    assert_eq!(report.tally.left_out, 2);
    let taken = snapshots.load(1).unwrap();
    let items = &taken.trees["/workspace"];
    assert_eq!(items[0].note.as_deref(), Some("not taken: gone, or not readable"));
    assert_eq!(
        items[2].note.as_deref(),
        Some("not taken: gone, or not readable"),
        "no link is followed"
    );
    let digest = items[1].sha256.unwrap();
    assert_eq!(snapshots.blobs().get(&digest).unwrap().len() as u64, items[1].size);
}

/// Name, type, mode, time and content or target of an archive's entries.
fn entries(path: &Path) -> Vec<(String, char, u32, u64, String)> {
    let file = std::fs::File::open(path).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let mut out = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut text = Vec::new();
        entry.read_to_end(&mut text).unwrap();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        let kind = match header.entry_type() {
            tar::EntryType::Regular => 'f',
            tar::EntryType::Directory => 'd',
            tar::EntryType::Symlink => 'l',
            other => panic!("{other:?}"),
        };
        if let Some(target) = entry.link_name_bytes() {
            text = target.into_owned();
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let (mode, time) = (entry.header().mode().unwrap(), entry.header().mtime().unwrap());
        out.push((name, kind, mode, time, String::from_utf8_lossy(&text).into_owned()));
    }
    out
}

#[test]
fn a_submission_is_the_workspace_without_stub_and_given_documentation() {
    let temp = tempfile::tempdir().unwrap();
    let task = task(temp.path(), b"reference");
    let dir = temp.path().join("run/deb__figlet.1");
    let made = make(&sample(), &task, &dir).unwrap();
    let (time, product) = (946_684_800, 946_684_740);
    let want = [
        ("build/", 'd', 0o755, time, ""),
        ("build/absolute", 'l', 0o777, time, "../src"),
        ("build/main.o", 'f', 0o644, product, "\u{7f}ELF object"),
        ("cache/", 'd', 0o755, time, ""),
        (
            "cache/CACHEDIR.TAG",
            'f',
            0o644,
            product,
            "Signature: 8a477f597d28d172789f06886806bc55\n",
        ),
        ("cache/dep.d", 'f', 0o644, product, "main.o: main.c\n"),
        ("compile.sh", 'f', 0o755, time, "#!/bin/sh\ngcc -o executable main.c\n"),
        ("docs/", 'd', 0o755, time, ""),
        ("docs/sub/", 'd', 0o755, time, ""),
        ("docs/sub/more.txt", 'f', 0o644, time, "changed by the agent\n"),
        ("empty/", 'd', 0o755, time, ""),
        ("link", 'l', 0o777, time, "src/main.c"),
        ("odd\u{fffd}\\name\n", 'f', 0o644, time, "odd"),
        ("src/", 'd', 0o755, time, ""),
        ("src/main.c", 'f', 0o644, time, "int main(void) { return 0; }\n"),
    ];
    let got = entries(&dir.join("submission.tar.gz"));
    let got: Vec<_> = got
        .iter()
        .map(|(n, k, m, t, c)| (n.trim_end_matches('/'), *k, *m, *t, c.as_str()))
        .collect();
    let want: Vec<_> =
        want.iter().map(|(n, k, m, t, c)| (n.trim_end_matches('/'), *k, *m, *t, *c)).collect();
    assert_eq!(got, want);

    let listing = &made.listing;
    assert_eq!((listing.files, listing.documentation_left_out), (7, 1));
    assert_eq!(listing.executables["build/main.o"], "elf");
    assert_eq!(listing.executables["compile.sh"], "script");
    assert_eq!(listing.symlinks["link"], "src/main.c");
    let left: Vec<&str> = listing.left_out.keys().map(String::as_str).collect();
    assert_eq!(left, ["outside", "socket", "src/up"]);
    assert_eq!(made.notes.len(), 2, "{:?}", made.notes);
    let text = std::fs::read(dir.join("deb__figlet.1.submission.json")).unwrap();
    assert_eq!(serde_json::from_slice::<super::submission::Listing>(&text).unwrap(), *listing);
    let bytes = std::fs::read(dir.join("submission.tar.gz")).unwrap();
    assert_eq!(listing.sha256, Some(reenact_model::Digest::of(&bytes)));
    assert_eq!(listing.size, bytes.len() as u64);
}

#[test]
fn the_same_workspace_gives_the_same_bytes_and_so_does_its_snapshot() {
    let temp = tempfile::tempdir().unwrap();
    let task = task(temp.path(), b"reference");
    let (a, b) = (temp.path().join("a"), temp.path().join("b"));
    let room = sample();
    let first = make(&room, &task, &a).unwrap();
    let second = make(&sample(), &task, &b).unwrap();
    assert_eq!(first.listing.sha256, second.listing.sha256);
    let mut snapshots = Snapshots::of(&a);
    snapshots.take(7, &room).unwrap();
    let out = temp.path().join("graded-later.tar.gz");
    let later = from_snapshot(&snapshots, 7, &task, &out).unwrap();
    assert_eq!(later.listing.sha256, first.listing.sha256);
    let tree: SourceTree = snapshots.to_source_tree(7).unwrap_or_default();
    assert_eq!(tree.get("compile.sh"), None, "a name that is not UTF-8 is refused, not dropped");
    std::fs::remove_file(
        room.path("/workspace").join(std::ffi::OsStr::from_bytes(b"odd\xff\\name\n")),
    )
    .unwrap();
    snapshots.take(8, &room).unwrap();
    let tree = snapshots.to_source_tree(8).unwrap();
    assert_eq!(tree.get("src/main.c"), Some(b"int main(void) { return 0; }\n".as_slice()));
}

#[test]
fn a_workspace_over_the_cap_is_a_clear_outcome() {
    let temp = tempfile::tempdir().unwrap();
    let task = task(temp.path(), b"reference");
    let dir = temp.path().join("run");
    let room = Dir::new();
    room.write("/workspace/target/big", 0o644, &vec![7; 3 << 20]);
    room.write("/workspace/main.c", 0o644, b"x");
    let docs = task.docs();
    make_with(&room, task.id(), &docs, &dir, SUBMISSION_CAPS).unwrap();
    assert!(dir.join("submission.tar.gz").is_file());
    for caps in [
        Caps { total_bytes: 2 << 20, ..SUBMISSION_CAPS },
        Caps { file_bytes: 2 << 20, total_bytes: 2 << 20, ..SUBMISSION_CAPS },
        Caps { entries: 2, ..SUBMISSION_CAPS },
    ] {
        let made = make_with(&room, task.id(), &docs, &dir, caps).unwrap();
        assert_eq!(made.archive, None);
        assert!(!dir.join("submission.tar.gz").exists(), "no older archive stays");
        let why = made.listing.refused.unwrap();
        assert!(
            why.contains("larger than 2 MiB") && why.contains("target (3 MiB)")
                || why.contains("entries"),
            "{why}"
        );
        assert_eq!(made.notes, [format!("no submission: {why}")]);
    }
}

proptest! {
    #[test]
    fn path_keys_turn_back_into_their_bytes(name in proptest::collection::vec(any::<u8>(), 0..40)) {
        prop_assert_eq!(key_bytes(&reenact_model::observe::path_key(&name)), name);
    }

    #[test]
    fn any_key_is_some_bytes(key in "[\\\\xa-f0-9ü]{0,20}") {
        key_bytes(&key);
    }
}

#[test]
fn kinds_have_names() {
    assert_eq!(serde_json::to_string(&ItemKind::Symlink).unwrap(), "\"symlink\"");
}
