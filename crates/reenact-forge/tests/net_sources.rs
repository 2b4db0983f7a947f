//! `crate:` and `deb:` sources end to end. These tests need cargo's registry and apt's mirror; without network they fail.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is a failed test")]

use reenact_bundle::shape::reference_cell;
use reenact_bundle::{Quiet, TaskBundle};
use reenact_forge::{ForgeError, NewTask, check, new_task};
use reenact_model::Seal;
use reenact_model::task::Split;
use reenact_sandbox::spec::PROGRAM;
use reenact_sandbox::{Cell, Invocation};
use std::path::Path;

fn request(source: &str, out: &Path) -> NewTask {
    NewTask {
        source: source.parse().unwrap(),
        out: out.to_path_buf(),
        bin: None,
        docs: None,
        split: Split::Public,
        force: false,
        cells: Default::default(),
    }
}

/// What the reference prints for `args` and `stdin`, in its cell.
fn run(task: &TaskBundle, args: &[&str], stdin: &str) -> String {
    let mut cell = Cell::start(&reference_cell(task, &Default::default())).unwrap();
    let seen = cell
        .run(&Invocation {
            program: PROGRAM.to_owned(),
            args: args.iter().map(|s| (*s).to_owned()).collect(),
            stdin: Some(stdin.as_bytes().to_vec()),
            ..Invocation::default()
        })
        .unwrap();
    String::from_utf8_lossy(seen.stdout.inline_bytes()).into_owned()
}

fn assert_checks(task: &TaskBundle) {
    let report = check(task, &Default::default()).unwrap();
    assert!(report.ok, "{report:#?}");
}

#[test]
fn net_a_small_package_becomes_a_task() {
    let out = tempfile::tempdir().unwrap();
    let task = new_task(&request("deb:figlet", out.path()), &Quiet).unwrap();
    assert!(task.id().starts_with("deb__figlet.2.2.5-3"), "{}", task.id());
    assert_eq!(task.manifest.source.licence, "BSD-3-clause");
    assert_eq!(task.manifest.reference.seal, Seal::Guarded);
    assert!(task.manifest.reference.masks.contains(&"/usr/share/figlet/standard.flf".to_owned()));
    // The fonts come along; the program itself, under whatever name, does not.
    let runtime = task.runtime().unwrap();
    assert!(runtime.join("usr/share/figlet/standard.flf").is_file());
    assert!(!runtime.join("usr/bin/figlet-figlet").exists());
    let banner = run(&task, &["Hi"], "");
    assert!(banner.starts_with(" _   _ _ \n| | | (_)\n"), "{banner}");
    let page = std::fs::read_to_string(task.docs().join("man/figlet.6.txt")).unwrap();
    assert!(page.contains("-C controlfile") && !page.contains('\u{8}'), "{page}");
    assert!(!task.docs().join("changelog").exists() && !task.docs().join("copyright").exists());
    assert_checks(&task);
}

#[test]
fn net_a_small_crate_is_built_statically_and_becomes_a_task() {
    let out = tempfile::tempdir().unwrap();
    let task = new_task(&request("crate:csview@1.3.4", out.path()), &Quiet).unwrap();
    assert_eq!(task.id(), "crate__csview.1.3.4");
    let reference = &task.manifest.reference;
    assert_eq!((reference.seal, reference.r#static), (Seal::Sealed, true), "{reference:?}");
    assert_eq!(task.manifest.source.licence, "MIT OR Apache-2.0");
    let table = run(&task, &["--style", "ascii"], "a,b\n1,2\n");
    assert!(table.contains("| a | b |"), "{table}");
    let help = std::fs::read_to_string(task.docs().join("help.txt")).unwrap();
    assert!(help.contains("--style"), "{help}");
    let log = std::fs::read_to_string(task.sealed().join("build.log")).unwrap();
    assert!(log.contains("crt-static") && log.contains("Exit { code: 0 }"), "{log}");
    assert_checks(&task);
}

#[test]
fn net_what_does_not_exist_or_cannot_be_chosen_is_a_usage_error() {
    let out = tempfile::tempdir().unwrap();
    let fail = |source: &str, bin: Option<&str>| -> ForgeError {
        let mut req = request(source, out.path());
        req.bin = bin.map(str::to_owned);
        new_task(&req, &Quiet).unwrap_err()
    };
    for (source, bin, want) in [
        ("crate:no-such-crate-reenact-7", None, "no such crate or version"),
        ("crate:csview@99.0.0", None, "no such crate or version"),
        ("crate:itoa", None, "ships no binary"),
        ("crate:csview", Some("nope"), "it ships: csview"),
        ("deb:no-such-package-reenact-7", None, "apt-cache policy"),
        ("deb:figlet=99", None, "99"),
        ("deb:figlet", Some("nope"), "showfigfonts (script)"),
        ("deb:tzdata", None, "ships no executable"),
    ] {
        let error = fail(source, bin);
        assert!(error.is_usage(), "{source}: {error}");
        assert!(error.to_string().contains(want), "{source}: {error}");
        assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0, "{source}");
    }
}
