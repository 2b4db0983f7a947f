//! What a program in a cell can see, reach and leave behind.

mod support;
use reenact_model::{Ended, EntryKind};
use reenact_sandbox::{Cell, CellSpec, Mount, RootBase};
use support::*;

#[test]
fn layers_are_in_force_in_every_mode() {
    for (mode, spec) in every_mode() {
        let mut cell = start(&spec);
        let status = out(&shell(&mut cell, "cat /proc/self/status"));
        for line in [
            "CapEff:\t0000000000000000",
            "CapPrm:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
        ] {
            assert!(status.contains(line), "{mode}: {line}\n{status}");
        }
        let script = "for p in /usr/x /etc/x /x /workspace/x /dev/x /proc/sys/kernel/hostname; do (echo 1 > $p) 2>/dev/null && echo wrote $p; done; \
            unshare -U true 2>/dev/null && echo userns; unshare -m true 2>/dev/null && echo mountns; \
            mount -t tmpfs x /tmp 2>/dev/null && echo mount; umount /tmp 2>/dev/null && echo umount; \
            chroot / true 2>/dev/null && echo chroot; kill -9 1; kill -TERM 1; kill -STOP 1; \
            ls /root 2>/dev/null; ls /sys; cat /proc/1/environ 2>/dev/null; ls /proc/1/fd 2>/dev/null; echo end";
        assert_eq!(out(&shell(&mut cell, script)), "end\n", "{mode}");
    }
}

#[test]
fn there_is_no_network() {
    let mut cell = cell();
    let script = r"
import socket
for f, a in ((socket.AF_INET, ('1.1.1.1', 53)), (socket.AF_INET, ('127.0.0.1', 22)), (socket.AF_INET6, ('::1', 22))):
    try:
        s = socket.socket(f); s.settimeout(2); s.connect(a); print('reached', a)
    except OSError as e:
        print('no', e.errno)
try:
    socket.socket(40, 1)
except OSError as e:
    print('vsock', e.errno)
";
    let seen = python(&mut cell, script);
    let text = out(&seen.steps[0]);
    assert!(!text.contains("reached"), "{text}");
    assert_eq!(text.matches("no ").count(), 3, "{text}");
    assert!(text.contains("vsock 97"), "{text}");
}

#[test]
fn each_case_starts_with_an_empty_workspace() {
    for (mode, spec) in every_mode() {
        let mut cell = start(&spec);
        let dirty = "echo a > f; mkdir -p d/e; ln -s f l; echo b > $HOME/h; echo c > /tmp/t; echo d > /dev/shm/s; chmod 000 d; mkfifo p";
        assert_eq!(shell(&mut cell, dirty).ended, Ended::Exit { code: 0 }, "{mode}");
        let look = "ls -A . $HOME /tmp /dev/shm; stat -c %a . /tmp";
        assert_eq!(
            out(&shell(&mut cell, look)),
            ".:\n\n/dev/shm:\n\n/home/user:\n\n/tmp:\n755\n1777\n",
            "{mode}"
        );
        // Small and plain: emptied in place; modes of the directories themselves: replaced.
        shell(&mut cell, "echo a > f; echo b > $HOME/h");
        assert_eq!(
            out(&shell(&mut cell, look)),
            ".:\n\n/dev/shm:\n\n/home/user:\n\n/tmp:\n755\n1777\n",
            "{mode}"
        );
        shell(&mut cell, "chmod 777 . $HOME; chmod 700 /tmp");
        assert_eq!(
            out(&shell(&mut cell, look)),
            ".:\n\n/dev/shm:\n\n/home/user:\n\n/tmp:\n755\n1777\n",
            "{mode}"
        );
    }
}

#[test]
fn files_are_placed_listed_and_shared_by_steps() {
    let mut cell = cell();
    let case = parse(serde_json::json!({
        "id": "c",
        "files": {"in.txt": {"text": "one\n"}, "deep/er/x.bin": {"hex": "00ff"}, "link": {"symlink": "in.txt"}, "empty": {"dir": true},
                  "run.sh": {"text": "#!/bin/sh\necho ran\n", "executable": true}},
        "steps": [
            {"argv": ["-c", "cat link; od -An -tx1 deep/er/x.bin; ./run.sh; echo two >> in.txt; rm -r empty"]},
            {"argv": ["-c", "cat in.txt; cat"], "stdin": {"text": "from stdin"}, "env": {"X": "y"}},
            {"argv": ["-c", "mkfifo pipe; ln -s nowhere dangling; chmod 000 in.txt; printf '%s' $X; head -c 5000000 /dev/zero > big"]}
        ]
    }));
    let seen = run(&mut cell, "/bin/sh", &case);
    let outs: Vec<String> = seen.steps.iter().map(out).collect();
    assert_eq!(outs, ["one\n 00 ff\nran\n", "one\ntwo\nfrom stdin", ""]);
    let names: Vec<&str> = seen.files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["big", "dangling", "deep", "deep/er", "deep/er/x.bin", "in.txt", "link", "pipe", "run.sh"]
    );
    assert_eq!(seen.files["in.txt"].mode, 0);
    assert!(
        matches!(&seen.files["in.txt"].kind, EntryKind::File { size: 8, content: Some(_), .. }),
        "{:?}",
        seen.files["in.txt"]
    );
    assert!(matches!(
        &seen.files["big"].kind,
        EntryKind::File { size: 5_000_000, content: None, .. }
    ));
    assert!(matches!(&seen.files["pipe"].kind, EntryKind::Special { what } if what == "fifo"));
    assert!(
        matches!(&seen.files["dangling"].kind, EntryKind::Symlink { target } if target == "nowhere")
    );
}

#[test]
fn masked_files_cannot_be_read_or_run() {
    let mut spec = CellSpec::host();
    spec.rootfs.masks = vec!["/usr/bin/od".into(), "/bin/head".into(), "/no/such/file".into()];
    let mut cell = start(&spec);
    let text = out(&shell(
        &mut cell,
        "od --version 2>&1; cat /usr/bin/head 2>&1; tail --version | head -1 2>&1; echo; wc --version >/dev/null && echo others work",
    ));
    assert!(
        text.contains("others work") && !text.contains("coreutils") && !text.contains("ELF"),
        "{text}"
    );
}

#[test]
fn layers_and_mounts_are_seen_read_only() {
    for force_userns in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let open = |p: &std::path::Path| {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(p, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        open(dir.path());
        let layer = dir.path().join("layer:with,odd\\name");
        std::fs::create_dir_all(layer.join("usr/share/thing")).unwrap();
        std::fs::create_dir_all(layer.join("etc/thing")).unwrap();
        std::fs::write(layer.join("usr/share/thing/data"), "layered").unwrap();
        std::fs::write(layer.join("etc/thing/conf"), "configured").unwrap();
        let tool = dir.path().join("tool");
        std::fs::write(
            &tool,
            "#!/bin/sh\ncat /usr/share/thing/data /etc/thing/conf; echo \" $0 $1\"\n",
        )
        .unwrap();
        open(&tool);
        let mut spec = CellSpec::host();
        spec.isolation.force_userns = force_userns;
        spec.rootfs.layers = vec![layer];
        spec.mounts = vec![Mount { source: tool, target: reenact_sandbox::spec::PROGRAM.into() }];
        let mut cell = start(&spec);
        let case = parse(serde_json::json!({"id": "c", "steps": [{"argv": ["arg"]}]}));
        let seen = run(&mut cell, reenact_sandbox::spec::PROGRAM, &case);
        assert_eq!(
            out(&seen.steps[0]),
            "layeredconfigured /workspace/executable arg\n",
            "{:?}",
            seen.steps[0]
        );
        assert_eq!(
            out(&shell(
                &mut cell,
                "(echo x > /workspace/executable) 2>/dev/null && echo wrote; rm -f /usr/share/thing/data 2>/dev/null && echo removed; echo end"
            )),
            "end\n"
        );
    }
}

#[test]
fn a_directory_can_be_the_root_filesystem() {
    // A root made of the host's shell and its libraries alone: nothing else of the host is there.
    let dir = tempfile::tempdir().unwrap();
    for (from, to) in [
        ("/bin/dash", "bin/sh"),
        ("/lib64/ld-linux-x86-64.so.2", "lib64/ld-linux-x86-64.so.2"),
        ("/lib/x86_64-linux-gnu/libc.so.6", "lib/x86_64-linux-gnu/libc.so.6"),
    ] {
        let to = dir.path().join(to);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    }
    let mut spec = CellSpec::host();
    spec.rootfs.base = RootBase::Dir(dir.path().to_path_buf());
    let mut cell = start(&spec);
    assert_eq!(
        out(&shell(&mut cell, "echo /*; echo /bin/*")),
        "/bin /dev /etc /home /lib /lib64 /proc /root /run /sys /tmp /var /work /workspace\n/bin/sh\n"
    );
}

#[test]
fn trees_go_in_and_come_out_without_escaping() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    std::fs::create_dir_all(from.join("src")).unwrap();
    std::fs::write(from.join("src/a"), vec![7u8; 3 << 20]).unwrap();
    std::fs::write(from.join("build.sh"), "#!/bin/sh\n").unwrap();
    let mut spec = CellSpec::host();
    spec.scratch = vec![reenact_sandbox::Scratch {
        target: "/workspace".into(),
        size_bytes: 64 << 20,
        inodes: 1000,
    }];
    let mut cell = start(&spec);
    cell.import_tree(&from, "/workspace").unwrap();
    let script = "cd /workspace && cmp -n 100 src/a /dev/zero | head -c 0; stat -c '%s %U' src/a; echo built > executable; chmod 6755 executable; \
        ln -s /etc out; mkdir -p d && ln -s /tmp d/escape; mkfifo fifo; mkdir closed; echo s > closed/s; chmod 000 closed";
    let seen = shell(&mut cell, script);
    assert_eq!(out(&seen), "3145728 user\n", "{seen:?}");
    let to = dir.path().join("to");
    let report = cell
        .export_tree(
            "/workspace",
            &to,
            reenact_sandbox::ExportLimits { bytes: 10 << 20, entries: 100 },
        )
        .unwrap();
    assert_eq!(std::fs::read(to.join("executable")).unwrap(), b"built\n");
    assert_eq!(std::fs::read_link(to.join("d/escape")).unwrap().to_str(), Some("/tmp"));
    assert_eq!(std::fs::read(to.join("closed/s")).unwrap(), b"s\n");
    assert!(
        report.skipped.iter().any(|s| s.contains("fifo"))
            && report.skipped.iter().any(|s| s.contains("setuid")),
        "{report:?}"
    );
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(
        std::fs::metadata(to.join("executable")).unwrap().permissions().mode() & 0o7777,
        0o755
    );
    // Past the caps the export fails and the cell goes on.
    let again = dir.path().join("again");
    assert!(
        cell.export_tree(
            "/workspace",
            &again,
            reenact_sandbox::ExportLimits { bytes: 1000, entries: 100 }
        )
        .is_err()
    );
    assert_eq!(shell(&mut cell, "true").ended, Ended::Exit { code: 0 });
}

#[test]
fn impossible_specs_are_refused_with_the_path() {
    let mut spec = CellSpec::host();
    spec.cwd = "/usr/x".into();
    assert!(Cell::start(&spec).err().unwrap().to_string().contains("/usr/x"));
    let mut spec = CellSpec::host();
    spec.mounts = vec![Mount { source: "/no/such/thing".into(), target: "/workspace".into() }];
    assert!(Cell::start(&spec).err().unwrap().to_string().contains("/no/such/thing"));
}

#[test]
fn placed_files_carry_the_same_time_in_every_run() {
    let mut cell = cell();
    let case = parse(
        serde_json::json!({"id":"c","files":{"a":{"text":"x"},"d/b":{"text":"y"},"l":{"symlink":"a"},"e":{"dir":true}},
        "steps":[{"argv":["-c","stat -c '%n %Y' . a d d/b l e"]}]}),
    );
    let seen = run(&mut cell, "/bin/sh", &case);
    let time = 1_704_067_200;
    assert_eq!(
        out(&seen.steps[0]),
        format!(". {time}\na {time}\nd {time}\nd/b {time}\nl {time}\ne {time}\n")
    );
}

#[test]
fn programs_start_with_default_signals_whatever_the_harness_ignores() {
    // As in the background of a script, or under nohup.
    // SAFETY: ignoring signals that nothing in this test process relies on.
    let before = unsafe {
        (libc::signal(libc::SIGINT, libc::SIG_IGN), libc::signal(libc::SIGHUP, libc::SIG_IGN))
    };
    let mut cell = cell();
    // SAFETY: puts back what was there.
    unsafe {
        libc::signal(libc::SIGINT, before.0);
        libc::signal(libc::SIGHUP, before.1);
    }
    let masks = out(&shell(&mut cell, "grep -E '^Sig(Ign|Blk)' /proc/self/status"));
    assert_eq!(masks, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
    assert_eq!(shell(&mut cell, "kill -INT $$; echo survived").ended, Ended::Signal { signal: 2 });
}
