//! The demo as an unprivileged user, through user namespaces.

use crate::support::*;
use std::os::unix::fs::PermissionsExt;

#[test]
fn an_unprivileged_user_can_run_the_demo() {
    let s = Scratch::new();
    s.write("docs/gzip.txt", GZIP_DOC);
    let args = [
        "--color",
        "never",
        "demo",
        "--source",
        "path:/usr/bin/gzip",
        "--docs",
        "docs",
        "--cases",
        "40",
        "-o",
        "demo",
    ];
    let root = std::process::Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let output = if root {
        // Nobody must be able to read the binary and write here.
        let binary = s.path("reenact");
        std::fs::copy(REENACT, &binary).unwrap();
        std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::set_permissions(s.root(), std::fs::Permissions::from_mode(0o777)).unwrap();
        std::process::Command::new("setpriv")
            .args([
                "--reuid",
                "65534",
                "--regid",
                "65534",
                "--clear-groups",
                "--no-new-privs",
                "--inh-caps=-all",
            ])
            .arg(&binary)
            .args(args)
            .current_dir(s.root())
            .env("HOME", s.root())
            .output()
            .unwrap()
    } else {
        s.command().args(args).output().unwrap()
    };
    let out = Ran::from(output).expect(0);
    assert!(out.contains("reference") && out.contains("100 %"), "{out}");
    let result = s.json(
        "demo/runs/reference/path__gzip.1/path__gzip.1.reenact.json"
            .replace("path__gzip.1", &task_id(&s))
            .as_str(),
    );
    assert!(
        result["isolation"]["namespaces"].as_str().unwrap().contains("user"),
        "{}",
        result["isolation"]
    );
    assert_eq!(result["passed"], result["total"]);
}

fn task_id(s: &Scratch) -> String {
    let entry = std::fs::read_dir(s.path("demo/tasks")).unwrap().next().unwrap().unwrap();
    entry.file_name().into_string().unwrap()
}

const GZIP_DOC: &str = "\
Usage: gzip [OPTION]... [FILE]...
Compress or uncompress FILEs (by default, compress FILES in-place).

  -c, --stdout      write on standard output, keep original files unchanged
  -d, --decompress  decompress
  -f, --force       force overwrite of output file and compress links
  -k, --keep        keep (don't delete) input files
  -l, --list        list compressed file contents
  -n, --no-name     do not save or restore the original name and timestamp
  -q, --quiet       suppress all warnings
  -S, --suffix=SUF  use suffix SUF on compressed files
  -t, --test        test compressed file integrity
  -1, --fast        compress faster
  -9, --best        compress better
  -h, --help        give this help
";

#[test]
fn doctor_explains_where_user_namespaces_are_not_allowed() {
    // A user namespace in which no further one may be made, entered without any capability.
    let s = Scratch::new();
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --ambient-caps=-all --inh-caps=-all \"$@\"";
    let run = |args: &[&str]| {
        let output = std::process::Command::new("unshare")
            .args(["--user", "--map-user=1000", "--keep-caps", "sh", "-c", script, "sh", REENACT])
            .args(args)
            .current_dir(s.root())
            .output()
            .unwrap();
        Ran::from(output)
    };
    let report = run(&["doctor"]).expect(3);
    assert!(report.contains("no       cells"), "{report}");
    assert!(
        report.contains("user.max_user_namespaces") && report.contains("run as root"),
        "{report}"
    );
    run(&["demo", "-o", "demo"]).fails(3, &["no cell can be started", "reenact doctor"]);
    assert!(!s.path("demo").exists(), "nothing half-written");
}
