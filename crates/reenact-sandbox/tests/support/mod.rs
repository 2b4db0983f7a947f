//! Shared by the sandbox's tests. Cells need root or user namespaces; without either the tests fail and say so.
#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use reenact_model::{Case, CaseObservation, NoBlobs, Observation};
use reenact_sandbox::{Cell, CellSpec, Isolation, Perturbation, Setting};
use std::path::Path;

pub fn start(spec: &CellSpec) -> Cell {
    Cell::start(spec).unwrap_or_else(|e| {
        panic!(
            "a cell cannot be started: {e}\nthese tests need root or user namespaces; try: {}",
            reenact_sandbox::doctor::cell_remedy(&e)
        )
    })
}

pub fn cell() -> Cell {
    start(&CellSpec::host())
}

/// Every way in which a cell can be made on this host.
pub fn every_mode() -> Vec<(&'static str, CellSpec)> {
    let with = |isolation| CellSpec { isolation, ..CellSpec::host() };
    vec![
        ("auto", CellSpec::host()),
        ("user namespace", with(Isolation { force_userns: true, ..Default::default() })),
        ("no control groups", with(Isolation { cgroup: Setting::Fallback, ..Default::default() })),
        ("neither", with(Isolation { cgroup: Setting::Fallback, force_userns: true })),
    ]
}

pub fn parse(json: serde_json::Value) -> Case {
    Case::parse(Path::new("test"), 1, &json.to_string()).unwrap()
}

pub fn shell_case(script: &str) -> Case {
    parse(
        serde_json::json!({"id": "c", "steps": [{"argv": ["-c", script]}], "limits": {"wall_ms": 10_000}}),
    )
}

pub fn run(cell: &mut Cell, program: &str, case: &Case) -> CaseObservation {
    cell.run_case(program, case, &NoBlobs, &Perturbation::default()).unwrap()
}

pub fn shell(cell: &mut Cell, script: &str) -> Observation {
    run(cell, "/bin/sh", &shell_case(script)).steps.remove(0)
}

pub fn python(cell: &mut Cell, script: &str) -> CaseObservation {
    let case = parse(
        serde_json::json!({"id": "c", "steps": [{"argv": ["-c", script]}], "limits": {"wall_ms": 5000}}),
    );
    run(cell, "/usr/bin/python3", &case)
}

pub fn out(o: &Observation) -> String {
    String::from_utf8_lossy(o.stdout.inline_bytes()).into_owned()
}
