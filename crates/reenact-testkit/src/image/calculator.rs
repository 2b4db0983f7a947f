//! ProgramBench's own fixture task, out of its package.

use super::{ImageFixtureError, gzip_tar, zip};
use std::path::{Path, PathBuf};

/// The fixture task of ProgramBench as files for `programbench eval`, theirs or ours: blobs, and a run directory for each of
/// its two submissions. The image is [`super::debian_root`] of [`super::PROGRAMBENCH_PACKAGES`], under [`Calculator::IMAGE`].
#[derive(Clone, Debug)]
pub struct Calculator {
    /// `PROGRAMBENCH_BLOB_DIR`: `<instance>/tests/<branch>.tar.gz`.
    pub blobs: PathBuf,
    /// A run directory whose submission calculates. By official arithmetic it scores 0.5: every name misses a prefix.
    pub correct: PathBuf,
    /// A run directory whose submission says 42 to everything.
    pub incorrect: PathBuf,
}

impl Calculator {
    /// The instance's id.
    pub const INSTANCE: &str = "testorg__calculator.abc1234";
    /// The image's name.
    pub const IMAGE: &str = "programbench/testorg_1776_calculator.abc1234:task_cleanroom_v6";

    /// Lays the fixture out in `out`, from `data` of an installed `programbench` package.
    ///
    /// # Errors
    /// [`ImageFixtureError`] if the package has no such fixture, or something cannot be written.
    pub fn lay_out(data: &Path, out: &Path) -> Result<Self, ImageFixtureError> {
        let tests = data.join("tasks").join(Self::INSTANCE).join("tests");
        let blobs = out.join("blobs");
        let blob_dir = blobs.join(Self::INSTANCE).join("tests");
        create(&blob_dir)?;
        for branch in listing(&tests)? {
            let name = branch.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mut files = Vec::new();
            collect(&branch, "", &mut files)?;
            gzip_tar(&blob_dir.join(format!("{name}.tar.gz")), &files)?;
        }
        let run = |name: &str| {
            let zip = data.join("test_runs").join(name).join(Self::INSTANCE).join("submission.zip");
            let run = out.join(name);
            let dir = run.join(Self::INSTANCE);
            create(&dir)?;
            gzip_tar(&dir.join("submission.tar.gz"), &zip::read(&zip)?)?;
            Ok(run)
        };
        Ok(Self { correct: run("correct")?, incorrect: run("incorrect")?, blobs })
    }
}

fn create(dir: &Path) -> Result<(), ImageFixtureError> {
    std::fs::create_dir_all(dir).map_err(ImageFixtureError::io(dir.display()))
}

fn listing(dir: &Path) -> Result<Vec<PathBuf>, ImageFixtureError> {
    let entries = std::fs::read_dir(dir)
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .map_err(ImageFixtureError::io(dir.display()))?;
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|e| e.path()).collect();
    paths.sort();
    Ok(paths)
}

/// Plain files below `dir`, without compiled Python. A script of the tests is executable, as in their blobs.
fn collect(
    dir: &Path,
    prefix: &str,
    files: &mut Vec<(String, u32, Vec<u8>)>,
) -> Result<(), ImageFixtureError> {
    for path in listing(dir)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let inside = format!("{prefix}{name}");
        if path.is_dir() && name != "__pycache__" {
            collect(&path, &format!("{inside}/"), files)?;
        } else if path.is_file() {
            let bytes = std::fs::read(&path).map_err(ImageFixtureError::io(path.display()))?;
            let mode = if name.ends_with(".sh") { 0o755 } else { 0o644 };
            files.push((inside, mode, bytes));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn names(archive: &Path) -> BTreeSet<String> {
        let file = std::fs::File::open(archive).unwrap();
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(file));
        let path = |e: tar::Entry<'_, _>| e.path().unwrap().to_string_lossy().into_owned();
        tar.entries().unwrap().map(|e| path(e.unwrap())).collect()
    }

    #[test]
    fn a_package_becomes_blobs_and_two_runs() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let tests = data.join("tasks").join(Calculator::INSTANCE).join("tests/abc/eval/tests");
        create(&tests.join("__pycache__")).unwrap();
        std::fs::write(tests.join("test_a.py"), "").unwrap();
        std::fs::write(tests.join("__pycache__/test_a.pyc"), "").unwrap();
        for run in ["correct", "incorrect"] {
            let run = data.join("test_runs").join(run).join(Calculator::INSTANCE);
            create(&run).unwrap();
            std::fs::write(run.join("submission.zip"), zip::STORED).unwrap();
        }
        let fixture = Calculator::lay_out(&data, &dir.path().join("out")).unwrap();
        let blob = fixture.blobs.join(Calculator::INSTANCE).join("tests/abc.tar.gz");
        assert_eq!(names(&blob), BTreeSet::from(["eval/tests/test_a.py".to_owned()]));
        for run in [&fixture.correct, &fixture.incorrect] {
            let submission = run.join(Calculator::INSTANCE).join("submission.tar.gz");
            assert_eq!(names(&submission), BTreeSet::from(["a.txt".to_owned()]));
        }
    }
}
