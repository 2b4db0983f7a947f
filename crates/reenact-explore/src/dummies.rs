//! Dummy programs that know nothing of the reference. A case that one of them passes tells nothing about a submission.

use crate::calibrate::{Verified, passes};
use crate::error::ExploreError;
use crate::lab::{Blobs, Circumstances, ExploreOptions, Lab};
use crate::surface::HelpText;
use reenact_bundle::shape::candidate_cell;
use reenact_bundle::{Progress, TaskBundle, write_atomic};
use reenact_model::Case;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Name of the dummy that prints the reference's help text.
pub const PRINT_HELP: &str = "print-help";

/// Share of a suite that `print-help` may pass (help cases inevitably equal it). Every other dummy must pass nothing.
pub const HELP_SHARE: f64 = 0.01;
/// Cases that `print-help` may pass, whatever the suite's size.
pub const HELP_CASES: usize = 2;

/// Name and shell script of each dummy.
const SCRIPTS: [(&str, &str); 6] = [
    ("true", "exit 0"),
    ("false", "exit 1"),
    // Prints the files it is given, or its input: stronger than `cat`, which would stop at an option.
    (
        "cat",
        "found=\nfor a in \"$@\"; do if [ -f \"$a\" ]; then cat \"$a\"; found=1; fi; done\n[ -n \"$found\" ] || exec cat",
    ),
    ("echo-args", "printf '%s\\n' \"$*\""),
    (
        PRINT_HELP,
        "cat /workspace/help.out\ncat /workspace/help.err >&2\nexit \"$(cat /workspace/help.code)\"",
    ),
    ("empty", ":"),
];

/// How many cases of a suite of `n` `print-help` may pass.
pub fn help_allowance(n: usize) -> usize {
    // A hundredth, rounded down: 99 cases allow none.
    (n / 100).min(HELP_CASES)
}

/// Runs every dummy on every case; by name, one entry per case.
///
/// # Errors
/// [`ExploreError`] when the scripts cannot be written or no cell starts.
pub fn measure(
    task: &TaskBundle,
    options: &ExploreOptions,
    help: Option<&HelpText>,
    cases: &[&Case],
    blobs: Blobs<'_>,
    progress: &dyn Progress,
) -> Result<BTreeMap<String, Vec<bool>>, ExploreError> {
    let mut passed = BTreeMap::new();
    for (name, script) in SCRIPTS {
        progress.stage(&format!("gate: dummy program `{name}`"));
        let dir = tempfile::Builder::new()
            .prefix("reenact-dummy-")
            .tempdir()
            .map_err(reenact_bundle::fsx::fs_error(&std::env::temp_dir(), "write in"))?;
        place(dir.path(), script, help)?;
        let spec = candidate_cell(task, dir.path(), false, &options.cells);
        let lab = Lab::new(spec, options.workers, progress);
        let verdicts = passes(&lab, cases, blobs, &Circumstances::default())?;
        if let Some(Verified::Unknown(what)) =
            verdicts.iter().find(|v| matches!(v, Verified::Unknown(_)))
        {
            let what = format!("dummy `{name}` could not be run: {what}");
            return Err(reenact_sandbox::SandboxError::Lost(what).into());
        }
        passed.insert(name.to_owned(), verdicts.iter().map(Verified::passed).collect());
    }
    Ok(passed)
}

fn place(dir: &Path, script: &str, help: Option<&HelpText>) -> Result<(), ExploreError> {
    let mode = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
            .map_err(reenact_bundle::fsx::fs_error(path, "write"))
    };
    let executable = dir.join("executable");
    write_atomic(&executable, format!("#!/bin/sh\n{script}\n").as_bytes())?;
    mode(&executable, 0o755)?;
    mode(dir, 0o755)?;
    let (out, err, code) =
        help.map_or((&[][..], &[][..], 0), |h| (&h.stdout[..], &h.stderr[..], h.exit));
    write_atomic(&dir.join("help.out"), out)?;
    write_atomic(&dir.join("help.err"), err)?;
    write_atomic(&dir.join("help.code"), code.to_string().as_bytes())?;
    Ok(())
}

/// `None` for the cases that may stay, and for the others the dummy that passes them. `print-help` may pass as many as the
/// allowance says; it is used up.
pub fn gate(
    passed: &BTreeMap<String, Vec<bool>>,
    cases: usize,
    allowance: &mut usize,
) -> Vec<Option<String>> {
    (0..cases)
        .map(|i| {
            let mut by =
                passed.iter().filter(|(_, list)| list.get(i) == Some(&true)).map(|(name, _)| name);
            let first = by.clone().find(|name| *name != PRINT_HELP);
            match (first, by.next()) {
                (Some(name), _) => Some(format!("dummy:{name}")),
                (None, Some(_)) if *allowance > 0 => {
                    *allowance -= 1;
                    None
                }
                (None, Some(name)) => Some(format!("dummy:{name}")),
                (None, None) => None,
            }
        })
        .collect()
}

/// Share of cases each dummy passes, 0 to 1.
pub fn shares(passed: &BTreeMap<String, Vec<bool>>) -> BTreeMap<String, f64> {
    let share =
        |list: &Vec<bool>| list.iter().filter(|p| **p).count() as f64 / list.len().max(1) as f64;
    passed.iter().map(|(name, list)| (name.clone(), share(list))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn print_help_may_pass_a_hundredth_and_nothing_else_anything() {
        let passed = BTreeMap::from([
            (PRINT_HELP.to_owned(), vec![true, true, true, false]),
            ("true".to_owned(), vec![false, false, false, true]),
        ]);
        let gated = gate(&passed, 4, &mut help_allowance(400));
        assert_eq!(
            gated,
            [None, None, Some("dummy:print-help".to_owned()), Some("dummy:true".to_owned())]
        );
        assert!(gate(&passed, 4, &mut help_allowance(40))[0].is_some());
        assert_eq!(shares(&passed)["true"], 0.25);
    }
}
