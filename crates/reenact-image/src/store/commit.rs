//! A container's changes become a layer.

use super::{Image, LayerRecord, Store};
use crate::Reference;
use crate::config::{self, ImageConfig};
use crate::copy;
use crate::digest::Digest;
use crate::error::ImageError;
use crate::layer::UnpackLimits;
use std::path::Path;

impl Store {
    /// A new image: `parent`'s layers, and a copy of an overlay's upper directory as one more. Gets the name, taking it from
    /// whoever had it. The upper directory may be in use; what changes while it is copied is in either state.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn commit(
        &self,
        parent: &Image,
        upper: &Path,
        name: &str,
        config: &ImageConfig,
    ) -> Result<Image, ImageError> {
        let name = name.parse::<Reference>()?.to_string();
        config::check_layers(parent.layers.len() + 1, &name)?;
        let lease = self.lease(&parent.layers)?;
        let (diff_id, held) = self.add_tree(upper, true, &UnpackLimits::default())?;
        let mut layers = parent.layers.clone();
        layers.push(diff_id.to_string());
        let raw = config::render(config, &layers, &jiff::Timestamp::now().to_string());
        let made = self.record_image(&raw, &[name]).map_err(|e| self.name_store(e))?;
        drop((lease, held));
        Ok(made)
    }

    /// A layer from a directory, in the form of overlayfs or plain. Leased until the second value is dropped.
    pub(super) fn add_tree(
        &self,
        from: &Path,
        overlay: bool,
        limits: &UnpackLimits,
    ) -> Result<(Digest, super::lease::Lease), ImageError> {
        let stage = self.stage().map_err(|e| self.name_store(e))?;
        let copied = copy::copy_tree(from, &stage.path().join("root"), overlay, limits)
            .map_err(|e| self.name_store(e))?;
        let record = LayerRecord {
            diff_id: copied.diff_id.to_string(),
            entries: copied.entries,
            bytes: copied.bytes,
            notes: copied.notes,
        };
        let lease = self.lease(std::slice::from_ref(&record.diff_id))?;
        let changing = self.change()?;
        self.adopt(stage, &record, &changing).map_err(|e| self.name_store(e))?;
        Ok((copied.diff_id, lease))
    }
}
