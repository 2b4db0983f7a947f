//! Run directories in every bad state: a typed outcome or one clear error, and other tasks unaffected.

use crate::support::*;
use std::path::Path;

/// A gzip-compressed tar with these files (path, mode, content).
fn tarball(path: &Path, files: &[(&str, u32, &str)]) {
    let file = std::fs::File::create(path).unwrap();
    let mut tar =
        tar::Builder::new(flate2::write::GzEncoder::new(file, flate2::Compression::fast()));
    for (name, mode, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(*mode);
        header.set_cksum();
        tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap();
}

/// Grades a submission made of these files; gives (outcome, error code, result).
fn outcome(
    s: &Scratch,
    id: &str,
    files: &[(&str, u32, &str)],
    extra: &[&str],
) -> (String, String, serde_json::Value) {
    tarball(&s.path(&format!("run/{id}/submission.tar.gz")), files);
    let mut args = vec!["--json", "grade", "run", "--force"];
    args.extend(extra);
    s.reenact(args).expect(0);
    let result = s.json(&format!("run/{id}/{id}.reenact.json"));
    let text = |v: &serde_json::Value| v.as_str().unwrap_or_default().to_owned();
    (text(&result["outcome"]), text(&result["build"]["error_code"]), result)
}

fn prepared() -> (Scratch, String) {
    let s = Scratch::new();
    let id = s.sort_suite(5);
    s.reenact(["run", &id, "--agent", "null", "-o", "run"]).expect(0);
    (s, id)
}

#[test]
fn builds_that_go_wrong_are_typed() {
    let (s, id) = prepared();
    type Files<'a> = &'a [(&'a str, u32, &'a str)];
    let table: &[(&str, Files<'_>, &str)] = &[
        ("no compile.sh", &[("main.c", 0o644, "")], "no_compile_sh"),
        (
            "it fails",
            &[("compile.sh", 0o755, "#!/bin/sh\necho broken >&2\nexit 3\n")],
            "compile_failed",
        ),
        ("it makes nothing", &[("compile.sh", 0o755, "#!/bin/sh\ntrue\n")], "no_executable"),
        (
            "a directory",
            &[("compile.sh", 0o755, "#!/bin/sh\nmkdir executable\n")],
            "bad_executable",
        ),
        (
            "a dangling link",
            &[("compile.sh", 0o755, "#!/bin/sh\nln -s nowhere executable\n")],
            "bad_executable",
        ),
        (
            "a bad interpreter",
            &[(
                "compile.sh",
                0o755,
                "#!/bin/sh\nprintf '#!/no/such/thing\\n' > executable; chmod 755 executable\n",
            )],
            "bad_executable",
        ),
        (
            "not executable",
            &[("compile.sh", 0o755, "#!/bin/sh\necho x > executable; chmod 644 executable\n")],
            "bad_executable",
        ),
        (
            "only shipped",
            &[
                ("compile.sh", 0o755, "#!/bin/sh\ntrue\n"),
                ("executable", 0o755, "#!/bin/sh\nexit 0\n"),
            ],
            "no_executable",
        ),
    ];
    for (name, files, code) in table {
        let (outcome, error, result) = outcome(&s, &id, files, &[]);
        assert_eq!((outcome.as_str(), error.as_str()), ("build_failed", *code), "{name}: {result}");
        assert_eq!(result["score"], 0.0, "{name}");
        assert_eq!(result["not_run"], result["total"], "{name}");
    }
    let (outcome, error, result) = outcome(
        &s,
        &id,
        &[("compile.sh", 0o755, "#!/bin/sh\nsleep 100\n")],
        &["--build-timeout", "500ms"],
    );
    assert_eq!((outcome.as_str(), error.as_str()), ("build_failed", "compile_timeout"), "{result}");
}

#[test]
fn interpreted_submissions_and_their_data_work() {
    let (s, id) = prepared();
    let files: &[(&str, u32, &str)] = &[
        (
            "compile.sh",
            0o755,
            "#!/bin/sh\nprintf '#!/bin/sh\\nexec sh /workspace/src/real.sh \"$@\"\\n' > executable; chmod 755 executable\n",
        ),
        ("src/real.sh", 0o644, ". /workspace/src/lib.sh\nrun \"$@\"\n"),
        ("src/lib.sh", 0o644, "run() { exec sort \"$@\"; }\n"),
    ];
    // `sort` itself is masked where it is the reference's own file: the wrapper must not be able to cheat.
    let (outcome, _, result) = outcome(&s, &id, files, &[]);
    assert_eq!(outcome, "graded");
    assert_eq!(result["passed"], 0, "an installed copy of the reference was used: {result}");
}

#[test]
fn missing_truncated_and_hostile_tarballs_are_typed() {
    let (s, id) = prepared();
    let tar = s.path(&format!("run/{id}/submission.tar.gz"));
    let whole = std::fs::read(&tar).unwrap();
    let graded = || {
        s.reenact(["grade", "run", "--force"]).expect(0);
        s.json(&format!("run/{id}/{id}.reenact.json"))
    };
    std::fs::write(&tar, &whole[..whole.len() / 2]).unwrap();
    let result = graded();
    assert_eq!(
        (result["outcome"].as_str(), result["build"]["error_code"].as_str()),
        (Some("build_failed"), Some("bad_submission"))
    );
    std::fs::write(&tar, "not a tarball").unwrap();
    assert_eq!(graded()["build"]["error_code"], "bad_submission");
    std::fs::remove_file(&tar).unwrap();
    let result = graded();
    assert_eq!(result["outcome"], "submission_missing");
    assert_eq!(result["not_run"], result["total"]);
    let eval = s.json(&format!("run/{id}/{id}.eval.json"));
    assert_eq!(eval["error_code"], "no_submission");
}

#[test]
fn a_run_that_is_none_and_a_suite_that_changed_are_errors() {
    let (s, id) = prepared();
    s.reenact(["grade", "docs"]).fails(2, &["run.toml"]);
    s.reenact(["show", "run", &id]).fails(4, &["reenact grade"]);
    let cases = s.path(&format!("tasks/{id}/suite/cases.jsonl"));
    let good = std::fs::read(&cases).unwrap();
    std::fs::write(&cases, [&good[..], b"\n\n"].concat()).unwrap();
    let ran = s.reenact(["grade", "run"]);
    assert!(matches!(ran.code, Some(2 | 3)), "{:?}", ran.code);
    assert!((ran.stdout.clone() + &ran.stderr).contains("digest"), "{} {}", ran.stdout, ran.stderr);
    std::fs::write(&cases, good).unwrap();
    s.reenact(["grade", "run"]).expect(0);
    s.reenact(["show", "run", "no-such-task"]).fails(2, &[&id]);
    s.reenact(["show", "run", &id, "zzz"]).fails(2, &["zzz", "--failed"]);
}

#[test]
fn two_gradings_of_one_run_do_not_mix() {
    let (s, id) = prepared();
    tarball(
        &s.path(&format!("run/{id}/submission.tar.gz")),
        &[(
            "compile.sh",
            0o755,
            "#!/bin/sh\nsleep 5\nprintf '#!/bin/sh\\n' > executable; chmod 755 executable\n",
        )],
    );
    let mut first = s
        .command()
        .args(["grade", "run", "--force"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let lock = s.path("run/.reenact/lock");
    for _ in 0..200 {
        if std::fs::read_to_string(&lock).is_ok_and(|t| t.trim() == first.id().to_string()) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    s.reenact(["grade", "run"]).fails(3, &["another", &first.id().to_string()]);
    assert!(first.wait().unwrap().success());
    s.reenact(["grade", "run"]).expect(0);
}

#[test]
fn a_full_disk_is_an_error_and_grading_resumes() {
    let root = std::process::Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    if !root {
        panic!("this test mounts a small tmpfs and needs root; run it as root");
    }
    let (s, id) = prepared();
    let small = s.path("small");
    std::fs::create_dir(&small).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "none"])
        .arg(&small)
        .status()
        .unwrap();
    assert!(mounted.success());
    let copied = std::process::Command::new("cp")
        .args(["-r", "run/.", "small"])
        .current_dir(s.root())
        .status()
        .unwrap();
    assert!(copied.success());
    std::fs::write(s.path("small/ballast"), vec![0u8; 16 << 10]).ok();
    let filled = std::process::Command::new("sh")
        .args(["-c", "cat /dev/zero > small/fill 2>/dev/null; true"])
        .current_dir(s.root())
        .status()
        .unwrap();
    assert!(filled.success());
    let full = s.reenact(["grade", "small"]);
    std::fs::remove_file(s.path("small/fill")).unwrap();
    std::fs::remove_file(s.path("small/ballast")).unwrap();
    let grown = std::process::Command::new("mount")
        .args(["-o", "remount,size=8m"])
        .arg(&small)
        .status()
        .unwrap();
    assert!(grown.success());
    let again = s.reenact(["grade", "small"]);
    let verdicts = again.code.map(|_| s.path(&format!("small/{id}/{id}.reenact.json")).exists());
    let unmounted = std::process::Command::new("umount").arg(&small).status().unwrap();
    assert!(unmounted.success());
    full.fails(3, &["small"]);
    assert_eq!((again.code, verdicts), (Some(0), Some(true)), "{}", again.stderr);
}
