//! A task bundle directory (DESIGN 5; `docs/formats.md`).

use crate::fsx::{FsError, read};
use reenact_model::{Digest, FormatError, TaskManifest};
use std::path::{Path, PathBuf};

/// An opened bundle. `root` is canonical.
#[derive(Clone, Debug)]
pub struct TaskBundle {
    pub root: PathBuf,
    pub manifest: TaskManifest,
    /// Digest of the bytes of `task.toml`.
    pub digest: Digest,
}

/// Why a bundle could not be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("{0}: no such task (a task is a directory with task.toml, or an id under ./tasks)")]
    NotFound(String),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error(transparent)]
    Fs(#[from] FsError),
    #[error("{path}: does not match the digest in {manifest}: expected {want}, found {got}")]
    Digest { path: PathBuf, manifest: &'static str, want: Digest, got: Digest },
    #[error("{path}: {what}")]
    Invalid { path: PathBuf, what: String },
}

impl TaskBundle {
    /// Opens a bundle: `name` is a directory, or an id under `./tasks`.
    ///
    /// # Errors
    /// [`BundleError`] naming the file and field.
    pub fn open(name: &str) -> Result<Self, BundleError> {
        let direct = Path::new(name);
        let under = Path::new("tasks").join(name);
        let root = [direct, &under]
            .into_iter()
            .find(|p| p.join("task.toml").is_file())
            .ok_or_else(|| BundleError::NotFound(name.to_owned()))?;
        let root = root.canonicalize().map_err(crate::fsx::fs_error(root, "open"))?;
        let file = root.join("task.toml");
        let bytes = read(&file)?;
        let text =
            std::str::from_utf8(&bytes).map_err(|_| FormatError::file(&file, "is not UTF-8"))?;
        let manifest = TaskManifest::parse(&file, text)?;
        Ok(Self { digest: Digest::of(&bytes), root, manifest })
    }

    /// The task's id.
    pub fn id(&self) -> &str {
        &self.manifest.task.id
    }

    /// What the agent may read.
    pub fn docs(&self) -> PathBuf {
        self.root.join("docs")
    }

    /// Never shown to agents.
    pub fn sealed(&self) -> PathBuf {
        self.root.join("sealed")
    }

    /// The reference executable.
    pub fn reference(&self) -> PathBuf {
        self.sealed().join("reference")
    }

    /// Libraries and data laid over the root filesystem when the reference runs; only if the manifest says so.
    pub fn runtime(&self) -> Option<PathBuf> {
        self.manifest.reference.runtime.then(|| self.sealed().join("runtime"))
    }

    /// Source tree with `compile.sh` that builds the reference, if the bundle has one.
    pub fn source_tree(&self) -> Option<PathBuf> {
        self.manifest.reference.source_tree.then(|| self.sealed().join("source.tar.gz"))
    }

    /// The suite's directory.
    pub fn suite_dir(&self) -> PathBuf {
        self.root.join("suite")
    }

    /// Reads the reference and checks it against the manifest's digest.
    ///
    /// # Errors
    /// [`BundleError::Digest`] if the bytes are others.
    pub fn verify_reference(&self) -> Result<(), BundleError> {
        let path = self.reference();
        let got = Digest::of(&read(&path)?);
        let want = self.manifest.reference.sha256;
        if got != want {
            return Err(BundleError::Digest { path, manifest: "task.toml", want, got });
        }
        Ok(())
    }
}
