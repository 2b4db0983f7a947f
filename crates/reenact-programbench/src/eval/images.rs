//! Where containers' layers come from: the image store, or a directory in tests.

use super::error::EvalError;
use super::meddling::is_opaque;
use super::station::Account;
use reenact_bundle::fsx::fs_error;
use reenact_image::{ImageConfig, Store};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Files of a container that are looked at.
const ENTRIES: usize = 10_000_000;

/// An image, ready to be run.
#[derive(Clone, Debug)]
pub struct Base {
    pub name: String,
    /// `sha256:…` of its configuration.
    pub id: String,
    pub config: ImageConfig,
    /// Directories in overlayfs form, topmost first.
    pub layers: Vec<PathBuf>,
    /// The user of its commands, once it is known.
    pub(super) account: Arc<OnceLock<Account>>,
}

impl Base {
    /// An image of these layers.
    pub fn new(name: &str, id: String, config: ImageConfig, layers: Vec<PathBuf>) -> Self {
        Self { name: name.to_owned(), id, config, layers, account: Arc::default() }
    }

    #[cfg(test)]
    pub(super) fn of_layers(layers: Vec<PathBuf>) -> Self {
        Self::new("i", "i".to_owned(), ImageConfig::default(), layers)
    }

    /// The directory that the image has at a place below its root. Links are not followed.
    pub(super) fn directory(&self, place: &Path) -> Option<Metadata> {
        for layer in &self.layers {
            let mut at = layer.clone();
            let mut found = at.symlink_metadata().ok();
            let mut hides = false;
            for part in place {
                at.push(part);
                found = at.symlink_metadata().ok();
                match &found {
                    Some(meta) if meta.is_dir() => hides |= is_opaque(&at).unwrap_or(true),
                    // Removed, or something else.
                    Some(_) => return None,
                    None => break,
                }
            }
            if found.is_some() || hides {
                return found;
            }
        }
        None
    }
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
        Ok(Base::new(name, image.id, image.config, layers))
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

    /// Whether the container has written more than this many bytes of the disk.
    pub(super) fn holds_more_than(&self, bytes: u64) -> bool {
        let (mut todo, mut blocks, mut seen) = (vec![self.upper()], 0u64, 0usize);
        while let Some(dir) = todo.pop() {
            // What nobody can look at is not counted.
            let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
            for (entry, meta) in entries.filter_map(|e| Some((e.path(), e.metadata().ok()?))) {
                seen += 1;
                blocks = blocks.saturating_add(meta.blocks());
                if blocks > bytes / 512 || seen > ENTRIES {
                    return true;
                }
                if meta.is_dir() {
                    todo.push(entry);
                }
            }
        }
        false
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
        let id = format!("dir:{}", root.display());
        Ok(Base::new(name, id, ImageConfig::default(), vec![root]))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_container_wrote_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let images = DirImages { root: dir.path().into(), scratch: dir.path().into() };
        let scratch = Scratch::new(&images).unwrap();
        assert!(!scratch.holds_more_than(0), "there is nothing yet");
        std::fs::create_dir_all(scratch.upper().join("var/tmp")).unwrap();
        std::fs::write(scratch.upper().join("var/tmp/x"), vec![1; 1 << 20]).unwrap();
        // A link is not followed, and a hole is nothing.
        std::os::unix::fs::symlink("/", scratch.upper().join("root")).unwrap();
        std::fs::File::create(scratch.upper().join("hole")).unwrap().set_len(1 << 40).unwrap();
        assert!(scratch.holds_more_than(1 << 19) && !scratch.holds_more_than(1 << 24));
    }
}
