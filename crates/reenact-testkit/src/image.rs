//! Container images for tests, made of what is installed on this host: no network, no debootstrap, seconds.
//!
//! [`debian_root`] copies installed Debian packages (with what they depend on) into a root file system as a tar file, and
//! keeps it by package versions. [`save_archive`] wraps such a file as `docker save` would. [`Calculator`] is the fixture task
//! that ProgramBench ships, laid out so that its own tool and ours can evaluate it.

mod archive;
mod calculator;
mod dpkg;
mod stream;
mod tree;
mod zip;

pub use archive::{gzip_tar, save_archive};
pub use calculator::Calculator;

use std::path::{Path, PathBuf};

/// What a ProgramBench image needs for its tests, and an agent for its work: a shell, git, Python with pytest, gcc.
pub const PROGRAMBENCH_PACKAGES: &[&str] = &[
    "bash",
    "coreutils",
    "tar",
    "gzip",
    "findutils",
    "grep",
    "sed",
    "diffutils",
    "util-linux",
    "git",
    "python3",
    "python3-pytest",
    "python3-pytest-xdist",
    "python3-pytest-timeout",
    "python3-pip",
    "gcc",
    "libc6-dev",
    "make",
];

/// A small image: a shell and its tools.
pub const SMALL_PACKAGES: &[&str] =
    &["bash", "coreutils", "tar", "gzip", "findutils", "grep", "sed", "diffutils"];

/// Why an image could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageFixtureError {
    #[error("{path}: {error}: images for tests are made of an installed Debian's packages")]
    NoDpkg { path: PathBuf, error: std::io::Error },
    #[error("not installed on this host: {0}; `apt-get install {0}` and run the tests again")]
    Missing(String),
    #[error("{what}: {error}")]
    Io { what: String, error: std::io::Error },
    #[error("{path}: {what}")]
    Malformed { path: PathBuf, what: String },
}

impl ImageFixtureError {
    fn io(what: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::Io { what: what.to_string(), error }
    }
}

/// A root file system as a tar file: the named packages of this host and all that they depend on, `/etc/passwd` with root and
/// `agent` (1000), `/workspace`, `/tmp`, and git told that every directory is safe. Documentation and translations are left
/// out, and so is the mark that keeps pip from installing. Made once for each set of package versions (seconds), then found
/// in the target directory.
///
/// # Errors
/// [`ImageFixtureError::Missing`] names what is to be installed; else what could not be read or written.
pub fn debian_root(packages: &[&str]) -> Result<PathBuf, ImageFixtureError> {
    let installed = dpkg::Installed::of_this_host()?;
    let closure = installed.closure(packages)?;
    let path = cache_dir()?.join(format!("debian-root-{}.tar", installed.key(&closure)));
    if path.exists() {
        return Ok(path);
    }
    let tree = tree::Tree::of(&installed, &closure)?;
    write_beside(&path, |file| tree.write(file))?;
    Ok(path)
}

/// `tmp` in cargo's target directory, or the system's: what is in it may vanish, and is then made again.
fn cache_dir() -> Result<PathBuf, ImageFixtureError> {
    let exe = std::env::current_exe().unwrap_or_default();
    let target = exe.ancestors().find(|d| d.join("CACHEDIR.TAG").is_file());
    let dir = target.map_or_else(std::env::temp_dir, |t| t.join("tmp"));
    std::fs::create_dir_all(&dir).map_err(ImageFixtureError::io(dir.display()))?;
    Ok(dir)
}

/// Writes under another name and renames, so that tests which run at once never see a half.
fn write_beside(
    path: &Path,
    write: impl FnOnce(&mut std::fs::File) -> Result<(), ImageFixtureError>,
) -> Result<(), ImageFixtureError> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let partial = path.with_extension(format!("{}.{count}.partial", std::process::id()));
    let made = std::fs::File::create(&partial)
        .map_err(ImageFixtureError::io(partial.display()))
        .and_then(|mut file| write(&mut file))
        .and_then(|()| {
            std::fs::rename(&partial, path).map_err(ImageFixtureError::io(path.display()))
        });
    if made.is_err() {
        // The error that is told is the one above.
        let _left_behind = std::fs::remove_file(&partial);
    }
    made
}
