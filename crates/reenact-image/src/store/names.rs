//! Names of images.

use super::files::write_json;
use super::{Image, Store};
use crate::Reference;
use crate::digest::Digest;
use crate::error::{ImageError, io_error};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `names.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Names {
    /// Normalised name to image id.
    names: BTreeMap<String, String>,
}

impl Names {
    pub(super) fn id(&self, name: &str) -> Option<Digest> {
        self.names.get(name).and_then(|id| Digest::parse(id))
    }

    /// All names of an image, sorted.
    pub(super) fn of(&self, id: &str) -> Vec<String> {
        self.names.iter().filter(|(_, i)| *i == id).map(|(n, _)| n.clone()).collect()
    }

    pub(super) fn set(&mut self, name: &str, id: &Digest) {
        self.names.insert(name.to_owned(), id.to_string());
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.names.remove(name);
    }

    pub(super) fn forget(&mut self, id: &str) {
        self.names.retain(|_, i| i != id);
    }
}

impl Store {
    pub(super) fn names(&self) -> Result<Names, ImageError> {
        let path = self.root.join("names.json");
        let text = match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Names::default()),
            other => other.map_err(io_error(path.display()))?,
        };
        serde_json::from_slice(&text).map_err(|e| ImageError::Damaged {
            what: path.display().to_string(),
            why: e.to_string(),
        })
    }

    pub(super) fn write_names(&self, names: &Names) -> Result<(), ImageError> {
        write_json(&self.root.join("names.json"), names)
    }

    /// Gives an image one more name, taking it from whoever had it.
    ///
    /// # Errors
    /// [`ImageError::Reference`], [`ImageError::NotFound`] if the image was removed meanwhile.
    pub fn tag(&self, image: &Image, name: &str) -> Result<(), ImageError> {
        let name = name.parse::<Reference>()?.to_string();
        let _changing = self.change()?;
        let id = Digest::required(&image.id, "an image of the store")?;
        if self.record(&id, false).is_none() {
            return Err(ImageError::NotFound { name: image.id.clone(), store: self.root.clone() });
        }
        let mut names = self.names()?;
        names.set(&name, &id);
        self.write_names(&names)
    }

    /// Takes a name from its image; an image without names, or one that was asked for by its id, is removed with what only
    /// it used. Layers that a container uses stay until it has ended and [`Store::gc`] comes by.
    ///
    /// # Errors
    /// [`ImageError::NotFound`].
    pub fn remove(&self, name: &str) -> Result<(), ImageError> {
        let image = self.get(name)?;
        {
            let _changing = self.change()?;
            let id = Digest::required(&image.id, "an image of the store")?;
            let mut names = self.names()?;
            let full = name.parse::<Reference>().map(|r| r.to_string());
            match full {
                Ok(full) if names.id(&full).as_ref() == Some(&id) => names.remove(&full),
                _ => names.forget(id.as_str()),
            }
            self.write_names(&names)?;
            if names.of(id.as_str()).is_empty() {
                self.forget(&id)?;
            }
        }
        self.sweep().map(drop)
    }
}
