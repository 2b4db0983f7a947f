//! `task check`: whether a bundle is what it says it is, and works here.

use crate::docs::help;
use crate::error::ForgeError;
use crate::provenance::Provenance;
use crate::seal::seal_with_runtime;
use crate::walk::{self, Node};
use crate::{archive, leak};
use reenact_bundle::shape::{CellOptions, reference_cell};
use reenact_bundle::{Suite, TaskBundle};
use reenact_model::error::parse_toml;
use reenact_sandbox::Cell;
use serde::Serialize;

/// One named check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckItem {
    /// `digests`, `docs`, `reference_runs`, `seal`, `source_tree`, `provenance`, `suite` or `leaks`.
    pub name: String,
    pub ok: bool,
    /// What was found, one line.
    pub detail: String,
}

/// The checks of one bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    pub id: String,
    /// All checks passed.
    pub ok: bool,
    pub checks: Vec<CheckItem>,
}

/// Runs every check; one that fails does not stop the others.
///
/// # Errors
/// [`ForgeError::Sandbox`] if no cell can be started: that says nothing about the bundle.
pub fn check(task: &TaskBundle, cells: &CellOptions) -> Result<CheckReport, ForgeError> {
    let mut checks = Vec::new();
    let mut add = |name: &str, outcome: Result<String, String>| {
        let ok = outcome.is_ok();
        let (Ok(detail) | Err(detail)) = outcome;
        checks.push(CheckItem { name: name.to_owned(), ok, detail });
    };
    add("digests", digests(task));
    add("docs", docs(task));
    add("reference_runs", reference_runs(task, cells)?);
    add("seal", seal(task));
    if task.manifest.reference.source_tree {
        add("source_tree", source_tree(task));
    }
    add("provenance", provenance(task));
    add("suite", suite(task));
    add("leaks", leaks(task));
    Ok(CheckReport { id: task.id().to_owned(), ok: checks.iter().all(|c| c.ok), checks })
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn digests(task: &TaskBundle) -> Result<String, String> {
    task.verify_reference().map_err(text)?;
    let size = std::fs::metadata(task.reference()).map_err(text)?.len();
    if size != task.manifest.reference.size {
        let want = task.manifest.reference.size;
        return Err(format!("sealed/reference has {size} bytes, task.toml says {want}"));
    }
    Ok(format!("sealed/reference is {}", task.manifest.reference.sha256))
}

fn docs(task: &TaskBundle) -> Result<String, String> {
    let tree = walk::tree(&task.docs()).map_err(text)?;
    let sizes: Vec<u64> = tree
        .values()
        .filter_map(|n| match n {
            Node::File { size, .. } => Some(*size),
            _ => None,
        })
        .collect();
    let total: u64 = sizes.iter().sum();
    if total == 0 {
        return Err("docs/ is empty".to_owned());
    }
    if let Some((path, _)) =
        tree.iter().find(|(_, n)| matches!(n, Node::Symlink(_) | Node::Special))
    {
        return Err(format!("docs/{} is neither file nor directory", path.display()));
    }
    Ok(format!("{} files, {total} bytes", sizes.len()))
}

/// Starts the reference in its cell. What it makes of `--help` is its own business; that it starts is ours.
fn reference_runs(
    task: &TaskBundle,
    cells: &CellOptions,
) -> Result<Result<String, String>, ForgeError> {
    let parts = [Some(task.reference()), task.runtime()];
    if let Some(gone) = parts.into_iter().flatten().find(|p| !p.exists()) {
        return Ok(Err(format!("{} is missing", gone.display())));
    }
    let mut cell = Cell::start(&reference_cell(task, cells))?;
    let answer = help::ask(&mut cell, &["--help"])?;
    Ok(match answer.broken {
        Some(why) => Err(why),
        None => {
            let ended = answer.ended.unwrap_or_else(|| "exit status 0".to_owned());
            Ok(format!("`--help` gave {} bytes, {ended}", answer.text.len()))
        }
    })
}

fn seal(task: &TaskBundle) -> Result<String, String> {
    let bytes = std::fs::read(task.reference()).map_err(text)?;
    let report = seal_with_runtime(&bytes, task.runtime().as_deref(), task.id()).map_err(text)?;
    let stated = &task.manifest.reference;
    if report.seal != stated.seal || report.is_static != stated.r#static {
        return Err(format!(
            "found {:?} (static: {}), task.toml says {:?} (static: {})",
            report.seal, report.is_static, stated.seal, stated.r#static
        ));
    }
    // Findings are words for people, and words change between versions; the level may not.
    let new = report.findings.iter().filter(|f| !stated.findings.contains(f)).count();
    let level = format!("{:?}", report.seal).to_lowercase();
    Ok(format!("{level}, {} findings, {new} of them not in task.toml", report.findings.len()))
}

fn source_tree(task: &TaskBundle) -> Result<String, String> {
    let Some(path) = task.source_tree() else { return Ok("none".to_owned()) };
    let mut files = 0u64;
    let mut script = false;
    archive::read_tar_gz(&path, |name, _| {
        files += 1;
        script |= name.as_os_str() == "compile.sh";
    })
    .map_err(text)?;
    if !script {
        return Err("sealed/source.tar.gz holds no compile.sh".to_owned());
    }
    Ok(format!("{files} files with compile.sh"))
}

/// That the record of origin reads, and speaks of the archive that the manifest names.
fn provenance(task: &TaskBundle) -> Result<String, String> {
    let path = task.sealed().join("provenance.toml");
    if !path.exists() {
        return Ok("none".to_owned());
    }
    let toml = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let record: Provenance = parse_toml(&path, &toml).map_err(text)?;
    let want = task.manifest.source.sha256;
    if !record.archives.iter().any(|a| a.role == "reference" && a.sha256 == want) {
        return Err(format!("{} names no reference archive {want}", path.display()));
    }
    Ok(format!("{}, {} archives", record.source, record.archives.len()))
}

fn suite(task: &TaskBundle) -> Result<String, String> {
    if !task.suite_dir().join("suite.toml").exists() {
        return Ok("none yet".to_owned());
    }
    let suite = Suite::load(&task.suite_dir()).map_err(text)?;
    if suite.manifest.reference != task.manifest.reference.sha256 {
        return Err("was recorded from another reference than the one in sealed/".to_owned());
    }
    Ok(format!("{} cases, {}", suite.cases.len(), suite.manifest.digest))
}

fn leaks(task: &TaskBundle) -> Result<String, String> {
    let report = leak::scan_bundle(task).map_err(text)?;
    match report.leaks.first() {
        Some(leak) => Err(format!(
            "{} leaks; first: {} at byte {} shares {} bytes with {} ({})",
            report.leaks.len(),
            leak.public,
            leak.at,
            leak.len,
            leak.sealed,
            leak.why
        )),
        None => Ok(format!(
            "{} public files hold no run of {} sealed files ({} bytes)",
            report.public_files, report.sealed_files, report.sealed_bytes
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::tests::tiny_static;
    use crate::testing::bundle;

    #[test]
    fn each_check_finds_its_fault() {
        let dir = tempfile::tempdir().unwrap();
        let task = bundle(dir.path(), &tiny_static());
        assert!(digests(&task).is_ok() && docs(&task).is_ok());
        assert!(seal(&task).unwrap().starts_with("sealed, 1 findings"));
        assert!(suite(&task).unwrap().contains("none"));
        assert_eq!(provenance(&task).unwrap(), "none");
        std::fs::write(task.sealed().join("provenance.toml"), "source = 7\n").unwrap();
        assert!(provenance(&task).unwrap_err().contains("`source`"));
        std::fs::write(dir.path().join("docs/README"), "").unwrap();
        assert!(docs(&task).unwrap_err().contains("empty"));
        std::fs::write(task.reference(), "other").unwrap();
        assert!(digests(&task).unwrap_err().contains("sealed/reference"));
        std::fs::copy("/bin/true", task.reference()).unwrap();
        assert!(seal(&task).unwrap_err().contains("Guarded"));
        std::fs::create_dir(task.suite_dir()).unwrap();
        std::fs::write(task.suite_dir().join("suite.toml"), "schema = 9").unwrap();
        assert!(suite(&task).unwrap_err().contains("suite.toml"));
    }
}
