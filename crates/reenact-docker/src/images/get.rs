//! Choosing an image for `run`, getting it, and what a container keeps of the store.

use super::{missing, say_error, store};
use crate::client::Settings;
use crate::error::DockerError;
use crate::options::Pull;
use crate::place::Config;
use crate::units;
use reenact_image::{Image, ImageError, Progress, PullOptions, Silent, Store};
use std::path::{Path, PathBuf};

/// An image with its layers, topmost first.
pub struct Chosen {
    store: Store,
    pub image: Image,
    pub layers: Vec<PathBuf>,
}

impl Chosen {
    /// A directory for a container's changes.
    ///
    /// # Errors
    /// [`DockerError::Image`].
    pub fn scratch(&self) -> Result<PathBuf, DockerError> {
        Ok(self.store.scratch()?)
    }
}

/// Finds an image, or gets it.
///
/// # Errors
/// There is none; the registry.
pub fn choose(
    name: &str,
    pull: Pull,
    quiet: bool,
    settings: &Settings,
) -> Result<Chosen, DockerError> {
    let (store, limit) = (store(settings)?, limit()?);
    let image = match (pull, store.get(name)) {
        (Pull::Missing | Pull::Never, Ok(image)) => image,
        (Pull::Missing, Err(ImageError::NotFound { .. })) | (Pull::Always, _) => {
            if !quiet {
                say_error(&format!("Unable to find image '{name}' in the store, pulling it"));
            }
            fetch(&store, name, quiet, limit)?
        }
        (_, Err(e)) => return Err(missing(name, e)),
    };
    let layers = store.roots(&image)?;
    Ok(Chosen { store, image, layers })
}

/// Notes on standard error.
struct Notes;

impl Progress for Notes {
    fn note(&self, text: &str) {
        say_error(text);
    }
}

/// Gets an image from its registry.
///
/// # Errors
/// The registry.
pub(super) fn fetch(
    store: &Store,
    name: &str,
    quiet: bool,
    limit: Option<u64>,
) -> Result<Image, DockerError> {
    let progress: &dyn Progress = if quiet { &Silent } else { &Notes };
    let image = store.pull(name, &PullOptions::default(), progress)?;
    make_room(store, limit, &image)?;
    Ok(image)
}

/// The size that the store is to have at most, as `reenact image` has it.
///
/// # Errors
/// [`DockerError::Usage`] if it is no size.
pub fn limit() -> Result<Option<u64>, DockerError> {
    const LIMIT: &str = "REENACT_IMAGES_LIMIT";
    let text = std::env::var_os(LIMIT).filter(|text| !text.is_empty());
    text.map(|text| units::bytes(LIMIT, &text.to_string_lossy())).transpose()
}

/// Removes images that were not used for longest, where there is a limit, but not this one.
///
/// # Errors
/// [`DockerError::Image`].
pub fn make_room(store: &Store, limit: Option<u64>, image: &Image) -> Result<(), DockerError> {
    let Some(limit) = limit else { return Ok(()) };
    for gone in store.keep_below(limit, image)? {
        say_error(&format!("note: {gone} was removed to keep the store below its limit"));
    }
    Ok(())
}

/// Makes this process, a station, the one for which the store keeps a container's layers and changes.
///
/// # Errors
/// [`DockerError::Image`].
pub fn own(config: &Config) -> Result<(), DockerError> {
    let store = Store::open(&config.store)?;
    store.hold(&config.layers, &config.image)?;
    if !config.remove {
        store.keep_scratch(&config.scratch)?;
    }
    Ok(store.own_scratch(&config.scratch)?)
}

/// Removes a container's changes.
///
/// # Errors
/// [`DockerError::Image`].
pub fn remove_scratch(store: &Path, scratch: &Path) -> Result<(), DockerError> {
    // It may have been removed by `image gc` when it was old.
    if !scratch.exists() {
        return Ok(());
    }
    Ok(Store::open(store)?.remove_scratch(scratch)?)
}
