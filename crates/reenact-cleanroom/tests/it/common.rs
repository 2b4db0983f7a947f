//! A hand-made task bundle around a small program, and building and running a submission as the grader does.

use reenact_bundle::TaskBundle;
use reenact_bundle::shape::{CellOptions, build_cell, candidate_cell, reference_cell};
use reenact_cleanroom::RunOptions;
use reenact_model::run::this_harness;
use reenact_model::{Case, CaseObservation, Digest, Ended, NoBlobs};
use reenact_sandbox::host::HostCommand;
use reenact_sandbox::spec::{PROGRAM, WORKSPACE};
use reenact_sandbox::{Cell, CellSpec, ExportLimits, Invocation, Perturbation};
use std::path::Path;

/// A bundle whose reference is `toy.c`, compiled statically.
pub fn bundle(root: &Path) -> TaskBundle {
    let sealed = root.join("sealed");
    std::fs::create_dir_all(&sealed).unwrap();
    std::fs::create_dir_all(root.join("docs")).unwrap();
    std::fs::write(
        root.join("docs/help.txt"),
        "$ ./executable --help\nusage: toy COMMAND [FILE]\n",
    )
    .unwrap();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/toy.c");
    let reference = sealed.join("reference");
    let out = reference.display().to_string();
    let built = HostCommand::new("cc", ["-O1", "-static", "-o", &out, source]).run().unwrap();
    assert!(built.ok(), "{}", String::from_utf8_lossy(&built.stderr));
    let bytes = std::fs::read(&reference).unwrap();
    let digest = Digest::of(&bytes);
    let manifest = format!(
        "schema = 1\n[task]\nid = \"path__toy.1\"\ntitle = \"toy\"\nsplit = \"private\"\ncreated = \"2026-01-01T00:00:00Z\"\n\
         [source]\nkind = \"path\"\nname = \"toy\"\nversion = \"1\"\nsha256 = \"{digest}\"\nlicence = \"unknown\"\n\
         [reference]\nsha256 = \"{digest}\"\nsize = {}\nstatic = true\nseal = \"sealed\"\n\
         [platform]\nos = \"linux\"\narch = \"x86_64\"\nrootfs = \"host\"\n",
        bytes.len()
    );
    std::fs::write(root.join("task.toml"), manifest).unwrap();
    TaskBundle::open(root.to_str().unwrap()).unwrap()
}

pub fn options(out: &Path) -> RunOptions {
    RunOptions {
        settings: Default::default(),
        out: out.to_path_buf(),
        cells: CellOptions::default(),
        policy: Default::default(),
        workers: 2,
        harness: this_harness("0.0.0", None, false),
        force: false,
    }
}

/// Cases from JSON lines.
pub fn cases(lines: &[&str]) -> Vec<Case> {
    lines.iter().map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// Unpacks and builds a submission without network; the cell that runs its executable.
pub fn build(task: &TaskBundle, tarball: &Path, to: &Path, upper_bound: bool) -> CellSpec {
    let unpacked = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(tarball).unwrap();
    tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()))
        .unpack(unpacked.path())
        .unwrap();
    let o = CellOptions::default();
    let mut cell = Cell::start(&build_cell(&task.manifest.reference.masks, 60_000, &o)).unwrap();
    cell.import_tree(unpacked.path(), WORKSPACE).unwrap();
    let compile = Invocation {
        program: "/bin/sh".to_owned(),
        args: vec!["./compile.sh".to_owned()],
        cwd: Some(WORKSPACE.to_owned()),
        merge_stderr: true,
        ..Invocation::default()
    };
    let built = cell.run(&compile).unwrap();
    let log = String::from_utf8_lossy(built.stdout.inline_bytes()).into_owned();
    assert_eq!(built.ended, Ended::Exit { code: 0 }, "{log}");
    let limits = ExportLimits { bytes: 1 << 30, entries: 10_000 };
    cell.export_tree(WORKSPACE, to, limits).unwrap();
    candidate_cell(task, to, upper_bound, &o)
}

/// The cell that runs the reference.
pub fn reference(task: &TaskBundle) -> CellSpec {
    reference_cell(task, &CellOptions::default())
}

/// Runs `case` in a cell made from `spec`.
pub fn observe(spec: &CellSpec, case: &Case) -> CaseObservation {
    let mut cell = Cell::start(spec).unwrap();
    cell.run_case(PROGRAM, case, &NoBlobs, &Perturbation::default()).unwrap()
}

/// What a verdict may depend on: how each step ended, its streams, the workspace.
pub fn behaviour(seen: &CaseObservation) -> impl PartialEq + std::fmt::Debug + use<> {
    let steps: Vec<_> =
        seen.steps.iter().map(|s| (s.ended.clone(), s.stdout.clone(), s.stderr.clone())).collect();
    (steps, seen.files.clone())
}
