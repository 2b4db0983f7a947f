//! ATTACKS A 36 to 41 and B: references that cannot be sealed, and getting the answer from elsewhere.

use crate::common::bundle;
use reenact_bundle::shape::CellOptions;
use reenact_bundle::{Quiet, TaskBundle};
use reenact_cleanroom::CleanroomError;
use reenact_cleanroom::open::{Opened, Setup, open_room};
use reenact_cleanroom::policy::Policy;
use reenact_cleanroom::record::{integrity, submission};
use reenact_model::integrity::{IntegrityReport, Severity};
use reenact_sandbox::Mount;
use reenact_sandbox::room::{Exec, ExecEnd, Input, Room};
use std::path::Path;
use std::time::Duration;

fn open(task: &TaskBundle, policy: &Policy, setup: &Setup) -> Result<Opened, CleanroomError> {
    open_room(task, policy, &CellOptions::default(), setup, Box::new(|_| {}), &Quiet)
}

fn ready(task: &TaskBundle) -> Opened {
    open(task, &Policy::default(), &Setup::default()).unwrap()
}

fn run(room: &Room, script: &str) -> (String, String, ExecEnd) {
    let exec = Exec {
        argv: ["bash", "-c", script].map(str::to_owned).into(),
        env: Default::default(),
        cwd: None,
        stdin: Input::Null,
        merge_stderr: false,
        wall: Some(Duration::from_secs(120)),
        keep_bytes: 1 << 20,
        max_bytes: None,
    };
    let done = room.exec(exec).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&done.stdout), text(&done.stderr), done.end)
}

/// The bundle's manifest with something else in it.
fn edited(root: &Path, from: &str, to: &str) -> TaskBundle {
    let path = root.join("task.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from));
    std::fs::write(&path, text.replace(from, to)).unwrap();
    TaskBundle::open(root.to_str().unwrap()).unwrap()
}

fn judged(task: &TaskBundle, room: &Room) -> IntegrityReport {
    let dir = tempfile::tempdir().unwrap();
    submission::make(room, task, dir.path()).unwrap();
    integrity::report(task, dir.path()).unwrap()
}

#[test]
fn a36_41_a_reference_that_loads_libraries_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    bundle(temp.path());
    // Which references these are, the forge's seal check says (`reenact-forge/src/seal.rs`).
    let task = edited(
        temp.path(),
        "seal = \"sealed\"",
        "seal = \"unsealable\"\nfindings = [\"imports dlopen\"]",
    );
    let Err(error) = open(&task, &Policy::default(), &Setup::default()) else { panic!("opened") };
    assert!(error.is_usage());
    let text = error.to_string();
    assert!(text.contains("--accept-unsealed") && text.contains("imports dlopen"), "{text}");
    let policy = Policy { accept_unsealed: true, ..Policy::default() };
    let opened = open(&task, &policy, &Setup::default()).unwrap();
    assert!(opened.notes.iter().any(|n| n.contains("without a seal")), "{:?}", opened.notes);
}

#[test]
fn b1_there_is_no_network_in_the_room() {
    let temp = tempfile::tempdir().unwrap();
    let opened = ready(&bundle(temp.path()));
    let script = "python3 - <<'E'
import socket
for family, address in [(socket.AF_INET, ('1.1.1.1', 53)), (socket.AF_INET, ('10.0.0.1', 80)), (socket.AF_INET6, ('2606:4700:4700::1111', 53))]:
    try:
        socket.socket(family).connect(address)
        print('connected', address)
    except OSError as e:
        print('refused')
try:
    print('resolved', socket.getaddrinfo('example.org', 80))
except OSError as e:
    print('refused')
E";
    assert_eq!(run(&opened.room, script).0, "refused\n".repeat(4));
    let (devices, _, _) = run(&opened.room, "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '");
    assert_eq!(devices, "lo\n");
}

#[test]
fn b2_a_copy_left_in_the_room_stops_the_start() {
    let temp = tempfile::tempdir().unwrap();
    let task = bundle(temp.path());
    let left = tempfile::tempdir().unwrap();
    let reference = std::fs::read(task.reference()).unwrap();
    let in_another: Vec<u8> =
        b"a file of something else ".iter().cycle().take(5000).chain(&reference).copied().collect();
    for (name, bytes) in [("_inject_exe", &reference), ("image.bin", &in_another)] {
        std::fs::write(left.path().join(name), bytes).unwrap();
        let setup = Setup {
            mounts: vec![Mount {
                source: left.path().to_path_buf(),
                target: "/opt/left".to_owned(),
            }],
            ..Setup::default()
        };
        let Err(error) = open(&task, &Policy::default(), &setup) else { panic!("{name}: opened") };
        assert!(matches!(error, CleanroomError::Exposed { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
        std::fs::remove_file(left.path().join(name)).unwrap();
    }
}

#[test]
fn b3_prebuilt_programs_are_listed_and_reported() {
    let temp = tempfile::tempdir().unwrap();
    let task = bundle(temp.path());
    let opened = ready(&task);
    run(
        &opened.room,
        "cp /bin/true prebuilt; mkdir d; tar cf d/a.tar -C /bin ls; printf 'cp prebuilt executable\\n' > compile.sh",
    );
    let dir = tempfile::tempdir().unwrap();
    let made = submission::make(&opened.room, &task, dir.path()).unwrap();
    assert!(made.listing.executables.contains_key("prebuilt"), "{:?}", made.listing);
    assert!(made.listing.archives.contains_key("d/a.tar"), "{:?}", made.listing);
    let report = integrity::report(&task, dir.path()).unwrap();
    for path in ["prebuilt", "d/a.tar"] {
        assert!(
            report.findings.iter().any(|f| f.path.as_deref() == Some(path)),
            "{path}: {report:?}"
        );
    }
    // The reference itself, had it been got hold of, would be a breach.
    let bytes = std::fs::read(task.reference()).unwrap();
    opened.room.put_file("/workspace/got", 0o755, &bytes).unwrap();
    let report = judged(&task, &opened.room);
    let breach = report.findings.iter().find(|f| f.severity == Severity::Breach).unwrap();
    assert_eq!(breach.path.as_deref(), Some("got"), "{report:?}");
}

#[test]
fn b4_an_installed_copy_is_masked_and_wrapping_is_reported() {
    let temp = tempfile::tempdir().unwrap();
    bundle(temp.path());
    edited(temp.path(), "name = \"toy\"", "name = \"cmp\"");
    let task =
        edited(temp.path(), "seal = \"sealed\"", "seal = \"sealed\"\nmasks = [\"/usr/bin/cmp\"]");
    let opened = ready(&task);
    let (_, err, end) =
        run(&opened.room, "cmp /dev/null /dev/null; cat /usr/bin/cmp; cp /usr/bin/cmp got");
    assert!(err.matches("Permission denied").count() >= 2, "{err}");
    assert_ne!(end, ExecEnd::Exit { code: 0 });
    run(
        &opened.room,
        "rm -f got; printf '#!/bin/sh\\nexec /usr/bin/cmp \"$@\"\\n' > tool; \
                       printf 'cp tool executable\\nchmod +x executable\\n' > compile.sh",
    );
    let report = judged(&task, &opened.room);
    assert!(report.findings.iter().any(|f| f.path.as_deref() == Some("tool")), "{report:?}");
    // Calling something else of the same directory is ordinary work.
    run(&opened.room, "printf '#!/bin/sh\\nexec /usr/bin/sort \"$@\"\\n' > tool");
    let report = judged(&task, &opened.room);
    assert!(report.breaches() == 0, "{report:?}");
}

#[test]
fn b5_there_are_no_caches_to_read() {
    let temp = tempfile::tempdir().unwrap();
    let opened = ready(&bundle(temp.path()));
    let (found, _, _) = run(
        &opened.room,
        "find / -xdev \\( -path /proc -o -path /sys \\) -prune -o -type d \\( -path '*/registry/src' -o -path '*/registry/cache' \
         -o -path '*/pkg/mod' -o -name .npm -o -path '*/.cache/pip' -o -path '/var/cache/*' -o -path '/var/lib/*' \\) -print 2>/dev/null; \
         ls -A /root /home/user /var 2>/dev/null | grep -v -e ^/ -e ^tmp -e '^$'",
    );
    assert_eq!(found, "");
}

#[test]
fn b6_there_is_no_history_to_read() {
    let temp = tempfile::tempdir().unwrap();
    let opened = ready(&bundle(temp.path()));
    let (found, _, _) = run(
        &opened.room,
        "find / \\( -path /proc -o -path /sys \\) -prune -o \\( -name .git -o -name .hg -o -name .svn -o -name '*.bundle' -o -name '_darcs' \\) -print 2>/dev/null",
    );
    assert_eq!(found, "");
}

#[test]
fn b7_what_is_mounted_is_in_the_manifest() {
    let temp = tempfile::tempdir().unwrap();
    let task = bundle(temp.path());
    let tools = tempfile::tempdir().unwrap();
    std::fs::write(tools.path().join("config"), "answers?").unwrap();
    let mount = Mount { source: tools.path().to_path_buf(), target: "/opt/agent".to_owned() };
    let setup = Setup { mounts: vec![mount], ..Setup::default() };
    let named = reenact_cleanroom::mounts::digests(&setup.mounts).unwrap();
    let opened = open(&task, &Policy::default(), &setup).unwrap();
    let (mounted, _, _) = run(&opened.room, "cut -d' ' -f5 /proc/self/mountinfo");
    assert!(mounted.lines().any(|m| m == "/opt/agent"), "{mounted}");
    // The rest is the room's own: the root file system's top level, a few files of /etc, devices, the writable places, masks,
    // the toolchain.
    let own = [
        "/usr",
        "/bin",
        "/sbin",
        "/lib",
        "/etc/",
        "/dev",
        "/proc",
        "/workspace",
        "/home/user",
        "/tmp",
        "/opt/rust",
    ];
    for point in mounted.lines().filter(|p| *p != "/") {
        let known = own.iter().any(|o| point.starts_with(o));
        assert!(
            known || named.contains_key(&format!("mount {point}")),
            "{point} is not in the manifest"
        );
    }
    // Another content is another digest, and so another run.
    std::fs::write(tools.path().join("config"), "answers!").unwrap();
    assert_ne!(named, reenact_cleanroom::mounts::digests(&setup.mounts).unwrap());
}
