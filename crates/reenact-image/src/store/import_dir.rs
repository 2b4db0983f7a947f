//! A directory becomes an image of one layer.

use super::{Image, Store};
use crate::Reference;
use crate::config::{self, ImageConfig};
use crate::error::ImageError;
use crate::layer::UnpackLimits;
use std::path::Path;

impl Store {
    /// A new image whose only layer is a copy of the directory (a root file system, for instance made by debootstrap).
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn import_root(
        &self,
        root: &Path,
        name: &str,
        config: &ImageConfig,
    ) -> Result<Image, ImageError> {
        let name = name.parse::<Reference>()?.to_string();
        let (diff_id, held) = self.add_tree(root, false, &UnpackLimits::default())?;
        let layers = [diff_id.to_string()];
        let raw = config::render(config, &layers, &jiff::Timestamp::now().to_string());
        let made = self.record_image(&raw, &[name]).map_err(|e| self.name_store(e))?;
        drop(held);
        Ok(made)
    }
}
