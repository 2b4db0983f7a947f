//! Building a crate offline, in a cell, by the same `compile.sh` that a submission brings.

use crate::error::ForgeError;
use reenact_bundle::Progress;
use reenact_bundle::shape::{CellOptions, build_cell};
use reenact_model::task::TaskLimits;
use reenact_model::{Ended, Limits};
use reenact_sandbox::spec::WORKSPACE;
use reenact_sandbox::{Cell, ExportLimits, Invocation};
use std::path::Path;

/// How a crate is to be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub bin: String,
    pub features: Vec<String>,
    /// Link the C library in.
    pub static_link: bool,
}

/// What a build gave.
#[derive(Debug)]
pub(crate) enum Outcome {
    Built(Vec<u8>),
    /// How it ended.
    Failed(String),
}

/// Largest executable taken out of a build cell, bytes.
const EXECUTABLE_CAP: u64 = 1 << 30;

/// The build script. Flags beyond cargo's defaults: no debug information and no symbols, as a distributed program has.
pub(crate) fn compile_sh(plan: &Plan) -> String {
    let link = if plan.static_link { "-C target-feature=+crt-static " } else { "" };
    let features = match plan.features.join(",") {
        none if none.is_empty() => String::new(),
        some => format!(" --features {some}"),
    };
    let bin = &plan.bin;
    format!(
        "#!/bin/sh\n\
         # Builds ./executable without network, from this tree and its vendored dependencies.\n\
         set -eu\n\
         cd \"$(dirname \"$0\")\"\n\
         export CARGO_HOME=/tmp/cargo-home CARGO_TARGET_DIR=/tmp/cargo-target\n\
         export RUSTFLAGS=\"{link}-C debuginfo=0 -C strip=symbols\"\n\
         target=$(rustc -vV | sed -n 's/^host: //p')\n\
         cargo build --release --offline --locked --target \"$target\" --bin {bin}{features}\n\
         cp \"$CARGO_TARGET_DIR/$target/release/{bin}\" ./executable\n"
    )
}

/// Writes `compile.sh` into `tree`, builds it in a fresh cell, and takes the executable out. The output of the build is
/// appended to `log`.
///
/// # Errors
/// [`ForgeError::Sandbox`], [`ForgeError::Fs`]. A build that fails is an [`Outcome`].
pub(crate) fn build(
    tree: &Path,
    plan: &Plan,
    masks: &[String],
    cells: &CellOptions,
    work: &Path,
    log: &mut String,
    progress: &dyn Progress,
) -> Result<Outcome, ForgeError> {
    let script = compile_sh(plan);
    let path = tree.join("compile.sh");
    reenact_bundle::write_atomic(&path, script.as_bytes())?;
    set_executable(&path)?;
    let kind = if plan.static_link { "static" } else { "dynamic" };
    progress.stage(&format!("building {} ({kind}) in the sandbox", plan.bin));

    let mut cell = Cell::start(&build_cell(masks, TaskLimits::default().build_wall_ms, cells))?;
    cell.import_tree(tree, WORKSPACE)?;
    let seen = cell.run(&Invocation {
        program: "/bin/sh".to_owned(),
        args: vec!["compile.sh".to_owned()],
        cwd: Some(WORKSPACE.to_owned()),
        limits: Limits::default(),
        merge_stderr: true,
        ..Invocation::default()
    })?;
    log.push_str(&format!("== compile.sh ({kind})\n{script}== output\n"));
    log.push_str(&String::from_utf8_lossy(seen.stdout.inline_bytes()));
    log.push_str(&format!("== ended: {:?}\n", seen.ended));
    if seen.ended != (Ended::Exit { code: 0 }) {
        return Ok(Outcome::Failed(how(&seen.ended)));
    }
    take_out(&mut cell, work).map(Outcome::Built)
}

/// Moves the executable to a directory of its own, so that the rest of the tree stays in the cell.
fn take_out(cell: &mut Cell, work: &Path) -> Result<Vec<u8>, ForgeError> {
    let copy = format!("mkdir -p /tmp/out && cp {WORKSPACE}/executable /tmp/out/executable");
    let copied = cell.run(&Invocation {
        program: "/bin/sh".to_owned(),
        args: vec!["-c".to_owned(), copy],
        ..Invocation::default()
    })?;
    if copied.ended != (Ended::Exit { code: 0 }) {
        let said = String::from_utf8_lossy(copied.stderr.inline_bytes()).trim().to_owned();
        return Err(ForgeError::host(
            format!("the built executable cannot be taken out of the cell: {said}"),
            "check that the build cell's /tmp has room for it",
        ));
    }
    let to = tempfile::Builder::new()
        .prefix("built-")
        .tempdir_in(work)
        .map_err(reenact_bundle::fsx::fs_error(work, "create"))?;
    let out = to.path().join("out");
    cell.export_tree("/tmp/out", &out, ExportLimits { bytes: EXECUTABLE_CAP, entries: 2 })?;
    Ok(reenact_bundle::fsx::read(&out.join("executable"))?)
}

fn how(ended: &Ended) -> String {
    match ended {
        Ended::Exit { code } => format!("compile.sh exited with {code}"),
        Ended::Signal { signal } => format!("compile.sh died of signal {signal}"),
        Ended::WallLimit { limit_ms } => format!("not done within {} s", limit_ms / 1000),
        Ended::MemoryLimit { limit_bytes } => format!("needed more than {} MiB", limit_bytes >> 20),
        other => format!("{other:?}"),
    }
}

/// Whether the compiler refused source code (its numbered errors), which no other linkage can mend.
pub(crate) fn is_source_error(log: &str) -> bool {
    log.lines().any(|l| l.starts_with("error[E"))
}

/// The lines of a log that tell most: the first errors and what is missing, or the last lines.
pub(crate) fn telling_lines(log: &str) -> String {
    let mut telling: Vec<&str> = Vec::new();
    for line in log.lines().map(str::trim) {
        let is_error = line.starts_with("error");
        let is_lack = line.contains("not installed") || line.contains("command not found");
        if (is_error || is_lack) && !telling.contains(&line) {
            telling.push(line);
        }
    }
    telling.truncate(4);
    if telling.is_empty() {
        let said = log.lines().rev().filter(|l| !l.trim().is_empty() && !l.starts_with("=="));
        telling = said.take(3).collect();
        telling.reverse();
    }
    telling.join(" / ")
}

fn set_executable(path: &Path) -> Result<(), ForgeError> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
        .map_err(reenact_bundle::fsx::fs_error(path, "write"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_names_binary_features_and_linkage() {
        let mut plan =
            Plan { bin: "x".into(), features: vec!["cli".into(), "b".into()], static_link: true };
        let script = compile_sh(&plan);
        assert!(
            script.contains("--bin x --features cli,b\n") && script.contains("+crt-static"),
            "{script}"
        );
        plan.static_link = false;
        plan.features.clear();
        let script = compile_sh(&plan);
        assert!(script.contains("--bin x\n") && !script.contains("crt-static"), "{script}");
    }

    #[test]
    fn a_failed_build_shows_the_compiler_s_errors() {
        let log = "== output\n   Compiling a\nerror[E0282]: type annotations needed\n --> x\nerror: could not compile `a`\n== ended: x\n";
        assert_eq!(
            telling_lines(log),
            "error[E0282]: type annotations needed / error: could not compile `a`"
        );
        assert!(is_source_error(log) && !is_source_error("error: linking with `cc` failed"));
        assert_eq!(telling_lines("== o\none\n\ntwo\n== ended\n"), "one / two");
    }
}
