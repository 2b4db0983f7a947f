//! Container images without a daemon: registries, archives, layouts, and a content-addressed store of unpacked layers.
//!
//! A layer is unpacked once, as a directory that overlayfs can use as it is; an image is a configuration and an ordered list
//! of such directories. Nothing here starts a process; kernel calls that `std` lacks are `reenact_sandbox`'s.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What an image says of how it is to be run (`config` of an OCI image configuration).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// `NAME=VALUE`
    pub env: Vec<String>,
    pub entrypoint: Option<Vec<String>>,
    pub cmd: Option<Vec<String>>,
    /// `user`, `uid`, `user:group`, `uid:gid`, or empty.
    pub user: String,
    pub working_dir: String,
    pub labels: BTreeMap<String, String>,
}

/// An image of the store.
#[derive(Clone, Debug)]
pub struct Image {
    /// `sha256:…` of its configuration.
    pub id: String,
    /// Every name that it has in the store, normalised (`docker.io/library/debian:12`), sorted.
    pub names: Vec<String>,
    pub config: ImageConfig,
    /// Diff ids (`sha256:…` of the uncompressed layers), lowest first.
    pub layers: Vec<String>,
    /// Bytes of the unpacked layers.
    pub size: u64,
    /// RFC 3339.
    pub created: Option<String>,
}

/// The store of images: a directory.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// What went wrong with an image, a registry, an archive or the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    #[error(
        "no image {name} in the store at {store}: `reenact image pull {name}` or `reenact image import FILE` gets it"
    )]
    NotFound { name: String, store: PathBuf },
    #[error("{what}: {error}")]
    Io { what: String, error: std::io::Error },
    #[error("{0}")]
    Other(String),
}

impl Store {
    /// Opens the store, making it where it is missing. `REENACT_IMAGES`, else `$XDG_DATA_HOME/reenact/images`, else
    /// `~/.local/share/reenact/images` is where the command line puts it ([`Store::default_root`]).
    ///
    /// # Errors
    /// [`ImageError::Io`].
    pub fn open(root: &Path) -> Result<Self, ImageError> {
        std::fs::create_dir_all(root)
            .map_err(|error| ImageError::Io { what: root.display().to_string(), error })?;
        Ok(Self { root: root.to_path_buf() })
    }

    /// An image by name (`debian`, `debian:12`, `org/name:tag`), by id, or by a unique beginning of its id (12 digits or more).
    ///
    /// # Errors
    /// [`ImageError::NotFound`].
    pub fn get(&self, name: &str) -> Result<Image, ImageError> {
        Err(ImageError::NotFound { name: name.to_owned(), store: self.root.clone() })
    }

    /// The unpacked layers of an image as directories in overlayfs form, topmost first.
    ///
    /// # Errors
    /// [`ImageError`] if one is missing or damaged.
    pub fn roots(&self, _image: &Image) -> Result<Vec<PathBuf>, ImageError> {
        Err(ImageError::Other("not built yet".to_owned()))
    }

    /// An empty directory on the store's file system for a container's changes. It stays until it is removed; `gc` removes
    /// those whose owner (a locked file in it) has gone.
    ///
    /// # Errors
    /// [`ImageError::Io`].
    pub fn scratch(&self) -> Result<PathBuf, ImageError> {
        Err(ImageError::Other("not built yet".to_owned()))
    }

    /// A new image: `parent`'s layers, and a copy of an overlay's upper directory as one more. Gets the name, taking it from
    /// whoever had it.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn commit(
        &self,
        _parent: &Image,
        _upper: &Path,
        _name: &str,
        _config: &ImageConfig,
    ) -> Result<Image, ImageError> {
        Err(ImageError::Other("not built yet".to_owned()))
    }
}
