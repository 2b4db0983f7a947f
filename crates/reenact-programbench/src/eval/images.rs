//! Where containers' layers come from: the image store, or a directory in tests.

use super::error::EvalError;
use reenact_bundle::fsx::fs_error;
use reenact_image::{ImageConfig, Store};
use std::path::{Path, PathBuf};

/// An image, ready to be run.
#[derive(Clone, Debug)]
pub struct Base {
    pub name: String,
    /// `sha256:…` of its configuration.
    pub id: String,
    pub config: ImageConfig,
    /// Directories in overlayfs form, topmost first.
    pub layers: Vec<PathBuf>,
}

/// Images, and room for what containers write.
pub trait Images: Sync {
    /// An image by name.
    ///
    /// # Errors
    /// [`EvalError::Image`], with the command that gets it.
    fn base(&self, name: &str) -> Result<Base, EvalError>;

    /// An empty directory for a container's changes.
    ///
    /// # Errors
    /// [`EvalError`] if it cannot be made.
    fn scratch(&self) -> Result<PathBuf, EvalError>;

    /// Removes such a directory, whatever a container has made of it.
    fn remove(&self, scratch: &Path);
}

impl Images for Store {
    fn base(&self, name: &str) -> Result<Base, EvalError> {
        let image = self.get(name)?;
        let layers = self.roots(&image)?;
        Ok(Base { name: name.to_owned(), id: image.id, config: image.config, layers })
    }

    fn scratch(&self) -> Result<PathBuf, EvalError> {
        Ok(Store::scratch(self)?)
    }

    fn remove(&self, scratch: &Path) {
        // The store's collection of garbage finds what could not be removed now.
        let _removed = self.remove_scratch(scratch);
    }
}

/// A container's directory, removed when it is no longer needed.
pub(super) struct Scratch<'a> {
    path: PathBuf,
    images: &'a dyn Images,
}

impl<'a> Scratch<'a> {
    pub(super) fn new(images: &'a dyn Images) -> Result<Self, EvalError> {
        Ok(Self { path: images.scratch()?, images })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What the container changed.
    pub(super) fn upper(&self) -> PathBuf {
        self.path.join("upper")
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        self.images.remove(&self.path);
    }
}

/// A root file system in a directory, for tests and for systems that were unpacked by hand.
#[derive(Clone, Debug)]
pub struct DirImages {
    pub root: PathBuf,
    /// Scratch directories are made here.
    pub scratch: PathBuf,
}

impl Images for DirImages {
    fn base(&self, name: &str) -> Result<Base, EvalError> {
        let root = self.root.canonicalize().map_err(fs_error(&self.root, "open"))?;
        Ok(Base {
            name: name.to_owned(),
            id: format!("dir:{}", root.display()),
            config: ImageConfig::default(),
            layers: vec![root],
        })
    }

    fn scratch(&self) -> Result<PathBuf, EvalError> {
        let dir = tempfile::Builder::new()
            .prefix("eval-")
            .tempdir_in(&self.scratch)
            .map_err(fs_error(&self.scratch, "write"))?;
        Ok(dir.keep())
    }
    fn remove(&self, scratch: &Path) {
        // A directory for tests, in a directory of tests.
        let _removed = reenact_sandbox::unpack::remove_tree(scratch);
    }
}
