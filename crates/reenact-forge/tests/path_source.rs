//! `path:` sources end to end, in real cells, without any network.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is a failed test")]

use reenact_bundle::{Quiet, TaskBundle};
use reenact_forge::{NewTask, SourceSpec, check, list, new_task, pack};
use reenact_model::Seal;
use reenact_model::task::Split;
use std::path::{Path, PathBuf};

fn request(file: &str, out: &Path, docs: Option<PathBuf>) -> NewTask {
    NewTask {
        source: SourceSpec::Path { file: PathBuf::from(file) },
        out: out.to_path_buf(),
        bin: None,
        docs,
        split: Split::Private,
        force: false,
        cells: Default::default(),
    }
}

fn docs(dir: &Path) -> PathBuf {
    let docs = dir.join("manual");
    std::fs::create_dir(&docs).unwrap();
    std::fs::write(docs.join("guide.txt"), "base64 encodes and decodes.\n").unwrap();
    std::fs::write(
        docs.join("base64.1"),
        ".TH BASE64 1\n.SH NAME\nbase64 \\- encode data\n.SH OPTIONS\n.TP\n\\fB\\-d\\fR, \\fB\\-\\-decode\\fR\nDecode.\n",
    )
    .unwrap();
    docs
}

#[test]
fn a_program_at_hand_becomes_a_task_that_checks_and_packs() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("tasks");
    let mut req = request("/usr/bin/base64", &out, Some(docs(dir.path())));
    let task = new_task(&req, &Quiet).unwrap();

    assert!(task.id().starts_with("path__base64."), "{}", task.id());
    assert_eq!(task.manifest.reference.seal, Seal::Guarded);
    assert_eq!(task.manifest.task.split, Split::Private);
    assert!(task.manifest.reference.masks.contains(&"/usr/bin/base64".to_owned()));
    let read = |name: &str| std::fs::read_to_string(task.docs().join(name)).unwrap();
    assert!(read("guide.txt").contains("encodes"));
    let page = read("man/base64.1.txt");
    assert!(page.contains("-d, --decode") && page.contains("encode data"), "{page}");
    assert!(!page.contains('\u{8}') && !page.contains('\u{1b}'), "{page}");
    let help = read("help.txt");
    assert!(help.contains("$ ./executable --help") && help.contains("--wrap"), "{help}");

    let report = check(&task, &Default::default()).unwrap();
    assert!(report.ok, "{report:?}");
    let packs = dir.path().join("packs");
    let packed = pack(&task, &packs).unwrap();
    assert!(packed.leak_check.clean() && packed.solver.is_some(), "{packed:?}");
    assert!(packed.grader.size > packed.solver.unwrap().size);

    // The same again: refused, then replaced, with the suite gone.
    let error = new_task(&req, &Quiet).unwrap_err();
    assert!(error.is_usage() && error.to_string().contains("--force"), "{error}");
    std::fs::create_dir(task.suite_dir()).unwrap();
    req.force = true;
    let again = new_task(&req, &Quiet).unwrap();
    assert!(!again.suite_dir().exists());
    assert_eq!(again.manifest.reference, task.manifest.reference);

    let all = list(&out).unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].source.as_deref(), Some("path:base64"));
    let leftovers: Vec<_> = std::fs::read_dir(&out).unwrap().flatten().collect();
    assert_eq!(leftovers.len(), 1, "{leftovers:?}");
}

#[test]
fn a_tampered_bundle_fails_the_check_that_is_about_it() {
    let dir = tempfile::tempdir().unwrap();
    let req = request("/usr/bin/base64", &dir.path().join("tasks"), Some(docs(dir.path())));
    let task = new_task(&req, &Quiet).unwrap();
    let failing = |task: &TaskBundle| -> Vec<String> {
        let report = check(task, &Default::default()).unwrap();
        assert_eq!(report.ok, report.checks.iter().all(|c| c.ok));
        report.checks.into_iter().filter(|c| !c.ok).map(|c| c.name).collect()
    };
    assert!(failing(&task).is_empty());

    std::fs::copy(task.reference(), task.docs().join("tool.txt")).unwrap();
    assert_eq!(failing(&task), ["leaks"]);
    std::fs::remove_file(task.docs().join("tool.txt")).unwrap();

    std::fs::write(task.reference(), "#!/no/such/interpreter\n").unwrap();
    let failed = failing(&task);
    for name in ["digests", "reference_runs", "seal"] {
        assert!(failed.contains(&name.to_owned()), "{name} in {failed:?}");
    }
}

#[test]
fn what_is_no_program_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("tasks");
    let text = dir.path().join("notes.txt");
    std::fs::write(&text, "just text").unwrap();
    let script = dir.path().join("script");
    std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    let manual = docs(dir.path());
    for (file, usage) in [(&text, true), (&script, false)] {
        let req = request(&file.display().to_string(), &out, Some(manual.clone()));
        let error = new_task(&req, &Quiet).unwrap_err();
        assert_eq!(error.is_usage(), usage, "{error}");
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0, "{error}");
    }
}
