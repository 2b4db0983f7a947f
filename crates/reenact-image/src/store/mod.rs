//! The store: a directory.
//!
//! ```text
//! names.json             names to image ids
//! images/<hex>.json      one image: configuration, layers; its time is that of its last use
//! layers/<hex>/root      an unpacked layer, in the form of overlayfs; layer.json beside it
//! blobs/<hex>.part       compressed layers on their way, kept when a pull breaks off
//! scratch/<random>       writable layers of containers
//! leases/<random>        which layers a living process uses
//! tmp/stage-<random>     what is being made
//! lock                   held for a moment by whoever changes names, images or layers
//! ```

mod commit;
pub(crate) mod files;
mod gc;
mod image;
mod import_dir;
mod lease;
mod names;
mod scratch;

pub use gc::{Gc, GcOptions};
pub use image::Image;
pub use scratch::KEPT_FOR;

use crate::digest::Digest;
use crate::error::{ImageError, io_error};
use crate::layer::Notes;
use files::{Stage, check_private, private_dir, write_json};
use reenact_sandbox::unpack::remove_tree;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::{Path, PathBuf};

/// The store of images: a directory.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) root: PathBuf,
}

/// `layer.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    pub diff_id: String,
    pub entries: u64,
    /// Bytes of its files.
    pub bytes: u64,
    #[serde(default)]
    pub notes: Notes,
}

/// How names in `tmp` begin that are being removed.
const GONE: &str = "gone-";

/// Held while names, images or layers are changed. The kernel lets go of it when the process dies.
pub(crate) struct Changing(#[expect(dead_code, reason = "its lock is what counts")] File);

impl Store {
    /// Opens the store, making it where it is missing. `REENACT_IMAGES`, else `$XDG_DATA_HOME/reenact/images`, else
    /// `~/.local/share/reenact/images` is where the command line puts it ([`Store::default_root`]).
    ///
    /// # Errors
    /// [`ImageError::Foreign`] if it, or a directory in it, is somebody else's or can be changed by others; [`ImageError::Io`].
    pub fn open(root: &Path) -> Result<Self, ImageError> {
        let absolute = std::path::absolute(root).map_err(io_error(root.display()))?;
        // By parts, since a slash at the end would have the kernel follow a link.
        let store = Self { root: absolute.components().collect() };
        let parts = ["images", "layers", "blobs", "scratch", "leases", "tmp"];
        let dirs = parts.iter().map(|name| store.root.join(name));
        for dir in std::iter::once(store.root.clone()).chain(dirs) {
            if dir.symlink_metadata().is_err() {
                private_dir(&dir)?;
            }
            check_private(&dir)?;
        }
        Ok(store)
    }

    /// Where the store is when nobody says otherwise; `None` without a home directory.
    pub fn default_root() -> Option<PathBuf> {
        let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        var("REENACT_IMAGES")
            .or_else(|| var("XDG_DATA_HOME").map(|d| d.join("reenact/images")))
            .or_else(|| var("HOME").map(|d| d.join(".local/share/reenact/images")))
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub(crate) fn leases(&self) -> PathBuf {
        self.root.join("leases")
    }

    pub(crate) fn scratches(&self) -> PathBuf {
        self.root.join("scratch")
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(crate) fn layer_dir(&self, diff_id: &Digest) -> PathBuf {
        self.layers().join(diff_id.hex())
    }

    pub(crate) fn change(&self) -> Result<Changing, ImageError> {
        let path = self.root.join("lock");
        let fail = || io_error(path.display());
        let file =
            File::options().write(true).create(true).truncate(false).open(&path).map_err(fail())?;
        file.lock().map_err(fail())?;
        Ok(Changing(file))
    }

    /// What is known of a layer; `None`: it is not there, or damaged (there is no `fsync`).
    pub(crate) fn layer(&self, diff_id: &Digest) -> Option<LayerRecord> {
        let dir = self.layer_dir(diff_id);
        if !dir.join("root").is_dir() {
            return None;
        }
        let text = std::fs::read(dir.join("layer.json")).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// A directory to make a layer in, with an empty `root`.
    pub(crate) fn stage(&self) -> Result<Stage, ImageError> {
        let stage = Stage::new(&self.tmp())?;
        let root = stage.path().join("root");
        std::fs::create_dir(&root).map_err(io_error(root.display()))?;
        Ok(stage)
    }

    /// Makes a staged directory a layer. If there is one of that digest already, that stays, unless it is damaged. Its caller
    /// holds a lease of it.
    pub(crate) fn adopt(
        &self,
        stage: Stage,
        record: &LayerRecord,
        _changing: &Changing,
    ) -> Result<(), ImageError> {
        let digest = Digest::required(&record.diff_id, "a layer")?;
        if self.layer(&digest).is_some() {
            return Ok(());
        }
        let place = self.layer_dir(&digest);
        // An ordinary umask or an archive without an entry for its root must not decide what containers see.
        write_json(&stage.path().join("layer.json"), record)?;
        let damaged = self.set_aside(&place)?;
        if damaged.as_ref() == Some(&place) {
            remove_tree(&place).map_err(io_error(place.display()))?;
        }
        stage.publish(&place)?;
        if let Some(damaged) = damaged.filter(|d| *d != place) {
            // What cannot be removed now is removed by the next `gc`.
            remove_tree(&damaged).ok();
        }
        Ok(())
    }

    /// Moves a directory out of the way at once, so that removing it can take its time; `None`: there is none, or somebody else
    /// was quicker. Where not even a name can be written any more, it is given back in its place.
    pub(crate) fn set_aside(&self, from: &Path) -> Result<Option<PathBuf>, ImageError> {
        let tmp = self.tmp();
        let moved =
            tempfile::Builder::new().prefix(GONE).make_in(&tmp, |to| std::fs::rename(from, to));
        use std::io::ErrorKind::{NotFound, QuotaExceeded, StorageFull};
        match moved {
            Ok(moved) => moved
                .keep()
                .map(|((), place)| Some(place))
                .map_err(|e| io_error(tmp.display())(e.error)),
            Err(e) if e.kind() == NotFound => Ok(None),
            Err(e) if matches!(e.kind(), StorageFull | QuotaExceeded) => {
                Ok(Some(from.to_path_buf()))
            }
            Err(e) => Err(io_error(from.display())(e)),
        }
    }

    /// Names the store in errors about a full file system.
    pub(crate) fn name_store(&self, error: ImageError) -> ImageError {
        match error {
            ImageError::Full { .. } => ImageError::Full { store: self.root.clone() },
            ImageError::Io { error, .. } if reenact_sandbox::unpack::is_full(&error) => {
                ImageError::Full { store: self.root.clone() }
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests;
