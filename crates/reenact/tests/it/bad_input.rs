//! Wrong input to making tasks and suites: one clear error, the right exit code, nothing half-written.

use crate::support::*;
use std::os::unix::fs::PermissionsExt;

#[test]
fn unknown_sources_are_named() {
    let s = Scratch::new();
    s.reenact(["task", "new", "nix:hello"]).fails(2, &["nix", "crate:NAME"]);
    s.reenact(["task", "new", "hello"]).fails(2, &["hello", "crate:NAME"]);
    s.reenact(["task", "new", "path:/no/such/file", "--docs", "."]).fails(2, &["/no/such/file"]);
    s.reenact(["task", "new", "path:/usr/bin/sort"]).fails(2, &["--docs"]);
    s.reenact(["task", "new", "path:/etc/passwd", "--docs", "."]).fails(2, &["/etc/passwd"]);
    assert!(
        !s.path("tasks").exists() || std::fs::read_dir(s.path("tasks")).unwrap().next().is_none(),
        "nothing half-written"
    );
}

#[test]
fn hosts_without_tools_name_the_other_way() {
    let s = Scratch::new();
    let without = |source: &str| {
        Ran::from(
            s.command().args(["task", "new", source]).env("PATH", "/nowhere").output().unwrap(),
        )
    };
    without("deb:figlet").fails(3, &["apt", "crate:"]);
    without("crate:hexyl").fails(3, &["cargo"]);
}

#[test]
fn an_existing_task_is_not_replaced_silently() {
    let s = Scratch::new();
    let id = s.sort_task();
    s.reenact(["task", "new", "path:/usr/bin/sort", "--docs", "docs"]).fails(2, &["--force"]);
    s.reenact(["task", "new", "path:/usr/bin/sort", "--docs", "docs", "--force"]).expect(0);
    s.reenact(["task", "show", &id]).expect(0);
}

#[test]
fn missing_and_corrupt_tasks_name_file_line_and_field() {
    let s = Scratch::new();
    s.reenact(["task", "show", "nothing"]).fails(2, &["nothing", "task.toml"]);
    let id = s.sort_suite(5);
    let file = s.path(&format!("tasks/{id}/task.toml"));
    let good = std::fs::read_to_string(&file).unwrap();
    for (from, to, parts) in [
        ("split = \"public\"", "split = \"secret\"", &["task.toml", "line", "task.split"][..]),
        ("[platform]", "[platform]\nplanet = \"earth\"", &["task.toml", "planet"]),
        ("schema = 1", "schema = 99", &["schema", "99"]),
        ("[source]", "[source", &["task.toml", "line"]),
    ] {
        std::fs::write(&file, good.replace(from, to)).unwrap();
        s.reenact(["task", "show", &id]).fails(2, parts);
    }
    std::fs::write(&file, &good).unwrap();
    std::fs::write(s.path(&format!("tasks/{id}/sealed/reference")), "changed").unwrap();
    let check = s.reenact(["task", "check", &id]);
    assert!(
        matches!(check.code, Some(1 | 2)) && (check.stdout + &check.stderr).contains("reference")
    );
}

#[test]
fn corrupt_suites_name_line_and_field() {
    let s = Scratch::new();
    let id = s.sort_suite(6);
    let cases = s.path(&format!("tasks/{id}/suite/cases.jsonl"));
    let good = std::fs::read_to_string(&cases).unwrap();
    let third = good.lines().nth(2).unwrap().to_owned();
    let with = |line: &str| std::fs::write(&cases, good.replace(&third, line)).unwrap();
    let broken = |parts: &[&str]| {
        s.reenact(["suite", "show", &id]).fails(2, parts);
        s.reenact(["suite", "check", &id]).fails(2, parts);
    };
    with(&third.replace("\"argv\"", "\"arrgv\""));
    broken(&["cases.jsonl", "line 3", "arrgv"]);
    with(&third.replace("\"steps\":[", "\"steps\":7,\"x\":["));
    broken(&["cases.jsonl", "line 3", "steps"]);
    with(&third[..third.len() / 2]);
    broken(&["cases.jsonl", "line 3"]);
    with(good.lines().next().unwrap());
    broken(&["cases.jsonl", "line 3", "already"]);
    // Well-formed, but not what was digested.
    std::fs::write(&cases, good.lines().take(5).map(|l| format!("{l}\n")).collect::<String>())
        .unwrap();
    broken(&["digest", "cases.jsonl"]);
    std::fs::remove_file(&cases).unwrap();
    broken(&["cases.jsonl"]);
}

#[test]
fn wrong_invocations_are_refused_with_their_line() {
    let s = Scratch::new();
    let id = s.sort_task();
    let good = sort_invocation(0).to_string();
    let record = |text: &str, parts: &[&str]| {
        s.write("bad.jsonl", text);
        s.reenact(["suite", "record", &id, "bad.jsonl"]).fails(2, parts);
        assert!(!s.path(&format!("tasks/{id}/suite")).exists(), "nothing half-written");
    };
    record(&format!("{good}\n{{\"id\":\"x\",\"steps\":[]}}\n"), &["bad.jsonl", "line 2", "steps"]);
    record(
        &format!(
            "{good}\n{{\"id\":\"x\",\"steps\":[{{}}],\"files\":{{\"../x\":{{\"text\":\"\"}}}}}}\n"
        ),
        &["line 2", "../x"],
    );
    record("not json\n", &["line 1"]);
    s.reenact(["suite", "record", &id, "missing.jsonl"]).fails(2, &["missing.jsonl"]);
    // Complete cases that the reference itself fails are refused by name.
    let wrong = r#"{"id":"wrong","steps":[{"argv":["-r"],"stdin":{"text":"a\nb\n"},"expect":{"exit":0,"stdout":[{"exact":{"text":"a\nb\n"}}]}}]}"#;
    s.write("bad.jsonl", &format!("{wrong}\n"));
    s.reenact(["suite", "import", &id, "bad.jsonl"]).fails(2, &["wrong"]);
}

#[test]
fn read_only_places_are_named() {
    // Root passes permission checks, so the read-only place is one that nobody can write to.
    let s = Scratch::new();
    let id = s.sort_suite(5);
    s.reenact(["run", &id, "--agent", "null", "-o", "/proc/nowhere/run"])
        .fails(3, &["/proc/nowhere"]);
    s.reenact(["task", "new", "path:/usr/bin/sort", "--docs", "docs", "-o", "/proc/nowhere"])
        .fails(3, &["/proc/nowhere"]);
    s.reenact(["run", &id, "--agent", "null", "-o", "run"]).expect(0);
    s.reenact(["grade", "run"]).expect(0);
    s.reenact(["report", "run", "-o", "/proc/nowhere/r.html"]).fails(3, &["/proc/nowhere"]);
    std::fs::set_permissions(s.path("docs"), std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn unknown_agents_and_nonsense_options_are_usage_errors() {
    let s = Scratch::new();
    let id = s.sort_suite(5);
    s.reenact(["run", &id, "--agent", "genius", "-o", "run"]).fails(2, &["genius", "memorizer"]);
    s.reenact(["run", "nothing", "--agent", "null", "-o", "run"]).fails(2, &["nothing"]);
    assert!(!s.path("run").exists(), "nothing half-written");
    assert_eq!(s.reenact(["suite", "generate", &id, "--budget", "1d"]).code, Some(2));
    s.reenact(["--rootfs", "/no/such/root", "suite", "check", &id]).fails(3, &["/no/such/root"]);
}
