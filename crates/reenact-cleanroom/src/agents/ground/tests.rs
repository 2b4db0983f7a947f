//! Commands in real rooms (they need root or user namespaces).

use super::*;
use reenact_sandbox::room::RoomSpec;
use reenact_sandbox::spec::{CellLimits, Isolation};
use reenact_sandbox::{RootBase, Rootfs};

const LONG: Duration = Duration::from_secs(60);

fn room(disk_bytes: u64) -> Room {
    let spec = RoomSpec {
        rootfs: Rootfs { base: RootBase::Host, ..Rootfs::default() },
        limits: CellLimits { disk_bytes, file_bytes: 1 << 30, ..CellLimits::default() },
        isolation: Isolation::default(),
        mounts: Vec::new(),
        hostname: "localhost".to_owned(),
        env: BTreeMap::new(),
        oracle: None,
    };
    Room::start(&spec, Box::new(|_| {})).unwrap()
}

fn text(ran: &Ran) -> String {
    String::from_utf8_lossy(&ran.output).into_owned()
}

#[test]
fn commands_share_files_and_nothing_else() {
    let room = room(64 << 20);
    let shell = RoomShell::find(&room, 1 << 20).unwrap();
    let run = |command: &str| shell.run(command, LONG).unwrap();
    let first = run("x=1; cd /tmp; echo out; echo err >&2; echo 5 > f; exit 3");
    assert_eq!((text(&first), first.returncode()), ("out\nerr\n".to_owned(), 3));
    let second = run("echo [$x] $PWD $(cat /tmp/f); [[ -n $BASH_VERSION ]] && cat");
    assert_eq!((text(&second), second.returncode()), ("[] /workspace 5\n".to_owned(), 0));
}

#[test]
fn endless_loud_and_suicidal_commands_are_ended_and_told() {
    let room = room(64 << 20);
    let shell = RoomShell::find(&room, 4096).unwrap();
    let endless = shell.run("echo begun; sleep 1000", Duration::from_secs(1)).unwrap();
    assert_eq!((endless.returncode(), text(&endless).as_str()), (124, "begun\n"));
    assert!(endless.note.unwrap().contains("killed after 1 s"));

    let loud = shell.run("yes", LONG).unwrap();
    assert_eq!((loud.returncode(), loud.output.len()), (125, 4096));
    assert!(loud.written >= 4096 * FLOOD && loud.note.unwrap().contains("had written"));

    let suicide = shell.run("echo bye; kill -9 $$", LONG).unwrap();
    assert_eq!((suicide.returncode(), text(&suicide).as_str()), (-9, "bye\n"));
    assert!(suicide.note.unwrap().contains("signal 9"));

    shell.run("kill -9 -1", LONG).unwrap();
    assert_eq!(text(&shell.run("echo alive", LONG).unwrap()), "alive\n");
}

#[test]
fn a_full_disk_and_a_workspace_that_is_gone_are_the_agents_problem() {
    let room = room(16 << 20);
    let shell = RoomShell::find(&room, 1 << 20).unwrap();
    let run = |command: &str| shell.run(command, LONG).unwrap();
    let full = run("head -c 100000000 /dev/zero > /tmp/big");
    assert_ne!(full.returncode(), 0);
    assert!(text(&full).contains("No space left on device"), "{}", text(&full));
    assert_eq!(run("rm /tmp/big; echo x > /tmp/y && cat /tmp/y").returncode(), 0);

    run("rm -rf /workspace");
    let after = run("echo new > f && ls /workspace");
    assert_eq!((text(&after), after.returncode()), ("f\n".to_owned(), 0));

    run("chmod 000 /workspace");
    let barred = run("chmod 755 /workspace; pwd");
    assert_eq!(text(&barred), "/\n");
    assert!(barred.note.unwrap().contains("/workspace cannot be entered"));
    assert_eq!(text(&run("pwd")), "/workspace\n");
}

#[test]
fn long_commands_run_whole() {
    let room = room(64 << 20);
    let shell = RoomShell::find(&room, 1 << 20).unwrap();
    let body = "x".repeat(500_000);
    let long = format!("cat > big.txt <<'EOF'\n{body}\nEOF\nwc -c < big.txt; cat; exit 4");
    let ran = shell.run(&long, LONG).unwrap();
    assert_eq!((text(&ran), ran.returncode()), ("500001\n".to_owned(), 4), "{:?}", ran.note);
    let nul = shell.run("echo \0", LONG).unwrap();
    assert!(nul.note.unwrap().contains("NUL"));
}
