//! Snapshots and submissions of real rooms.

use super::files::Files;
use super::snapshot::{Snapshots, TREES};
use super::submission::{from_snapshot, make};
use super::test_room::task;
use reenact_sandbox::room::{Exec, ExecEnd, Input, Room, RoomSpec};
use reenact_sandbox::spec::CellLimits;
use reenact_sandbox::{Isolation, Rootfs};
use std::collections::BTreeMap;
use std::time::Duration;

fn room(force_userns: bool) -> Room {
    let spec = RoomSpec {
        rootfs: Rootfs::default(),
        limits: CellLimits {
            memory_bytes: 512 << 20,
            processes: 100,
            disk_bytes: 64 << 20,
            inodes: 5000,
            ..CellLimits::default()
        },
        isolation: Isolation { force_userns, ..Isolation::default() },
        mounts: Vec::new(),
        hostname: "localhost".to_owned(),
        env: BTreeMap::new(),
        oracle: None,
    };
    Room::start(&spec, Box::new(|_| {}))
        .unwrap_or_else(|e| panic!("these tests need root or user namespaces: {e}"))
}

fn sh(room: &Room, script: &str) -> String {
    let done = room
        .exec(Exec {
            argv: ["sh", "-c", script].map(str::to_owned).into(),
            env: BTreeMap::new(),
            cwd: None,
            stdin: Input::Null,
            merge_stderr: true,
            wall: Some(Duration::from_secs(120)),
            keep_bytes: 1 << 20,
            max_bytes: None,
        })
        .unwrap();
    let out = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(done.end, ExecEnd::Exit { code: 0 }, "{script}: {out}");
    out
}

const WORK: &str = "mkdir -p src docs 'odd dir' ~/.cfg && echo 'int main(void){return 0;}' > src/main.c && echo x > ~/.cfg/a
ln -s src/main.c link; ln -s /etc/passwd out; mkfifo pipe; mkdir -m 700 private; echo s > private/s; chmod 640 private/s
printf '#!/bin/sh\\nexec cc -o executable src/main.c\\n' > compile.sh; chmod 755 compile.sh
echo data > \"$(printf 'odd dir/\\377\\n')\"; echo y > /tmp/y; touch -d '2020-02-02 02:02:02' src/main.c; cp /dev/null empty
head -c 3000000 /dev/urandom > big";

const LOOK: &str = "cd / && for t in workspace home/user tmp; do \
find $t -mindepth 1 \\( -name executable -o -type p \\) -prune -o -type f -printf '%p %m %s %T@ ' -exec sha256sum -b {} \\; -o -printf '%p %y %m %l\\n'; done | sort";

#[test]
fn a_room_goes_on_in_another_room_and_hands_in_the_same_bytes() {
    for force_userns in [false, true] {
        let temp = tempfile::tempdir().unwrap();
        let task = task(temp.path(), b"reference");
        let (one, two) = (temp.path().join("one"), temp.path().join("two"));
        let first = room(force_userns);
        sh(&first, WORK);
        let mut snapshots = Snapshots::of(&one);
        let report = snapshots.take(1, &first).unwrap();
        assert_eq!((report.notes.len(), report.tally.left_out), (0, 0), "{report:?}");
        assert!(report.tally.bytes_new >= 3_000_000);
        let handed_in = make(&first, &task, &one).unwrap();
        let look = sh(&first, LOOK);
        drop(first);

        let second = room(force_userns);
        sh(&second, "mkdir docs && echo old > docs/x && echo old > /tmp/old");
        let notes = Snapshots::of(&one).restore(1, &second).unwrap();
        assert_eq!(notes, ["/workspace/pipe: not restored: a special file"]);
        assert_eq!(sh(&second, LOOK), look);
        // It all belongs to the room's user.
        sh(
            &second,
            "echo more >> src/main.c && rm -r private && rm ~/.cfg/a && git init -q . 2>/dev/null; rm -rf .git; ! grep -q old /tmp/y",
        );
        Snapshots::of(&one).restore(1, &second).unwrap();
        assert_eq!(sh(&second, LOOK), look);
        let again = make(&second, &task, &two).unwrap();
        assert_eq!(again.listing.sha256, handed_in.listing.sha256);
        assert_eq!(again.listing.left_out.keys().collect::<Vec<_>>(), ["out"]);
        let later = from_snapshot(&snapshots, 1, &task, &temp.path().join("later.tar.gz")).unwrap();
        assert_eq!(later.listing.sha256, handed_in.listing.sha256);
    }
}

#[test]
fn a_workspace_that_is_written_to_is_recorded_all_the_same() {
    let temp = tempfile::tempdir().unwrap();
    let room = room(false);
    sh(
        &room,
        "(while :; do date >> log; rm -rf d; mkdir -p d/e; echo x > d/e/f; mv d/e/f d/g; ln -sf /etc/passwd d/e/f; done) >/dev/null 2>&1 & sleep 0.1",
    );
    let mut snapshots = Snapshots::of(temp.path());
    for step in 1..=30 {
        let report = snapshots.take(step, &room).unwrap();
        assert_eq!(report.notes, Vec::<String>::new());
        let taken = snapshots.load(step).unwrap();
        for item in taken.trees.values().flatten() {
            if let Some(digest) = &item.sha256 {
                assert_eq!(snapshots.blobs().get(digest).unwrap().len() as u64, item.size);
            }
        }
    }
    assert!(room.alive());
    let passwd = std::fs::read("/etc/passwd").unwrap();
    assert!(!snapshots.blobs().path(&reenact_model::Digest::of(&passwd)).exists());
    assert_eq!(TREES.len(), 3);
}
