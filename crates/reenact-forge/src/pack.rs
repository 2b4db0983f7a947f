//! `task pack`: the solver pack (what an agent may have) and the grader pack (everything).

use crate::archive;
use crate::error::ForgeError;
use crate::leak::{self, LeakReport};
use crate::walk::{self, Node};
use reenact_bundle::TaskBundle;
use reenact_bundle::fsx::{fs_error, read};
use reenact_model::Digest;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// One written pack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Packed {
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// Equal bundles give equal digests.
    pub sha256: Digest,
}

/// What packing gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PackReport {
    /// `None` when something leaks: such a pack is not written, and an older one of the same name is removed.
    pub solver: Option<Packed>,
    pub grader: Packed,
    pub leak_check: LeakReport,
}

/// Writes `<id>.solver.tar.zst` and `<id>.grader.tar.zst` to `out_dir`; entries stand under `<id>/`.
///
/// # Errors
/// [`ForgeError`]; a leak is not an error but part of the report.
pub fn pack(task: &TaskBundle, out_dir: &Path) -> Result<PackReport, ForgeError> {
    task.verify_reference()?;
    let leak_check = leak::scan_bundle(task)?;
    std::fs::create_dir_all(out_dir).map_err(fs_error(out_dir, "create"))?;
    let solver_path = out_dir.join(format!("{}.solver.tar.zst", task.id()));
    let solver = if leak_check.clean() {
        Some(write(task, leak::public_paths(task)?, &solver_path)?)
    } else {
        if solver_path.exists() {
            std::fs::remove_file(&solver_path).map_err(fs_error(&solver_path, "remove"))?;
        }
        None
    };
    let grader_path = out_dir.join(format!("{}.grader.tar.zst", task.id()));
    let grader = write(task, all_paths(task)?, &grader_path)?;
    Ok(PackReport { solver, grader, leak_check })
}

/// The four parts of a bundle; stray files beside them (an unfinished suite, an editor's backup) stay out.
fn all_paths(task: &TaskBundle) -> Result<Vec<(PathBuf, Node)>, ForgeError> {
    let mut all = leak::public_paths(task)?;
    for part in ["sealed", "suite"] {
        let root = task.root.join(part);
        if root.is_dir() {
            all.push((PathBuf::from(part), Node::Dir));
            for (path, node) in walk::tree(&root)? {
                all.push((Path::new(part).join(path), node));
            }
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(all)
}

fn write(task: &TaskBundle, paths: Vec<(PathBuf, Node)>, to: &Path) -> Result<Packed, ForgeError> {
    let dir = to.parent().unwrap_or(Path::new("."));
    let temp = tempfile::Builder::new()
        .prefix(".pack-")
        .tempdir_in(dir)
        .map_err(fs_error(dir, "write in"))?;
    let partial = temp.path().join("pack");
    let top = Path::new(task.id());
    let entries =
        paths.into_iter().map(|(path, node)| (top.join(&path), task.root.join(&path), node));
    archive::write_tar_zst(entries, &partial)?;
    let bytes = read(&partial)?;
    std::fs::rename(&partial, to).map_err(fs_error(to, "write"))?;
    Ok(Packed { path: to.to_path_buf(), size: bytes.len() as u64, sha256: Digest::of(&bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::tests::tiny_static;
    use crate::testing::bundle;

    fn names(pack: &Path) -> Vec<String> {
        let file = std::fs::File::open(pack).unwrap();
        let mut tar = tar::Archive::new(zstd::Decoder::new(file).unwrap());
        tar.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect()
    }

    #[test]
    fn packs_are_deterministic_and_the_solver_s_holds_the_public_part_only() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let out = tempfile::tempdir().unwrap();
        let reports = dirs.each_ref().map(|dir| {
            let task = bundle(dir.path(), &tiny_static());
            std::fs::write(dir.path().join("stray"), "x").unwrap();
            pack(&task, out.path()).unwrap()
        });
        assert_eq!(reports[0], reports[1]);
        let solver = reports[0].solver.as_ref().unwrap();
        let want = ["path__tiny.1/docs", "path__tiny.1/docs/README", "path__tiny.1/task.toml"];
        assert_eq!(names(&solver.path), want);
        let grader = names(&reports[0].grader.path);
        assert!(grader.contains(&"path__tiny.1/sealed/reference".to_owned()), "{grader:?}");
        assert!(!grader.iter().any(|n| n.contains("stray")), "{grader:?}");
    }

    #[test]
    fn a_leaking_solver_pack_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let out = tempfile::tempdir().unwrap();
        let task = bundle(dir.path(), &tiny_static());
        assert!(pack(&task, out.path()).unwrap().solver.is_some());
        std::fs::copy(task.reference(), dir.path().join("docs/x")).unwrap();
        let report = pack(&task, out.path()).unwrap();
        assert!(report.solver.is_none() && !report.leak_check.clean());
        assert!(!out.path().join("path__tiny.1.solver.tar.zst").exists());
    }
}
