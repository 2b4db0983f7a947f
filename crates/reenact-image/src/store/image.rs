//! Images of the store.

use super::Store;
use super::files::write_json;
use crate::config::{self, ImageConfig};
use crate::digest::Digest;
use crate::error::{ImageError, io_error};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

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

/// `images/<hex>.json`.
#[derive(Serialize, Deserialize)]
pub(super) struct ImageRecord {
    pub id: String,
    pub config: ImageConfig,
    pub layers: Vec<String>,
    pub size: u64,
    pub created: Option<String>,
    pub os: String,
    pub architecture: String,
    /// The configuration as it came.
    pub raw: String,
}

/// Digits of an id that are enough to ask for it.
const SHORTEST_ID: usize = 12;

impl Store {
    fn image_path(&self, id: &Digest) -> PathBuf {
        self.images().join(format!("{}.json", id.hex()))
    }

    /// The image's record; its file's time becomes that of its last use.
    pub(super) fn record(&self, id: &Digest, use_it: bool) -> Option<ImageRecord> {
        let path = self.image_path(id);
        let text = std::fs::read(&path).ok()?;
        if use_it && let Ok(file) = std::fs::File::options().write(true).open(&path) {
            // In a store that is read-only for us nothing is removed by us either.
            file.set_modified(std::time::SystemTime::now()).ok();
        }
        serde_json::from_slice(&text).ok()
    }

    /// An image by name (`debian`, `debian:12`, `org/name:tag`), by id, or by a unique beginning of its id (12 digits or more).
    ///
    /// # Errors
    /// [`ImageError::NotFound`], [`ImageError::Ambiguous`].
    pub fn get(&self, name: &str) -> Result<Image, ImageError> {
        let names = self.names()?;
        let missing = || ImageError::NotFound {
            name: crate::error::shown(name.as_bytes()),
            store: self.root.clone(),
        };
        let named = name.parse::<crate::Reference>().ok();
        let id = match named.and_then(|r| names.id(&r.to_string())) {
            Some(id) => id,
            None => self.by_id(name)?.ok_or_else(missing)?,
        };
        let record = self.record(&id, true).ok_or_else(missing)?;
        Ok(image(record, names.of(id.as_str())))
    }

    fn by_id(&self, text: &str) -> Result<Option<Digest>, ImageError> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        let is_hex = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if hex.len() < SHORTEST_ID || hex.len() > 64 || !is_hex {
            return Ok(None);
        }
        let mut found = self.image_ids()?;
        found.retain(|id| id.hex().starts_with(hex));
        if found.len() > 1 {
            return Err(ImageError::Ambiguous { prefix: hex.to_owned() });
        }
        Ok(found.pop())
    }

    /// Ids of all images, sorted.
    pub(super) fn image_ids(&self) -> Result<Vec<Digest>, ImageError> {
        let dir = self.images();
        let fail = || io_error(dir.display());
        let mut ids = Vec::new();
        for entry in std::fs::read_dir(&dir).map_err(fail())? {
            let name = entry.map_err(fail())?.file_name();
            let hex = name.to_str().and_then(|n| n.strip_suffix(".json"));
            ids.extend(hex.and_then(|hex| Digest::parse(&format!("sha256:{hex}"))));
        }
        ids.sort();
        Ok(ids)
    }

    /// All images, sorted by their first names; those without come last.
    ///
    /// # Errors
    /// [`ImageError::Io`].
    pub fn list(&self) -> Result<Vec<Image>, ImageError> {
        let names = self.names()?;
        let mut images: Vec<Image> = self
            .image_ids()?
            .iter()
            .filter_map(|id| Some(image(self.record(id, false)?, names.of(id.as_str()))))
            .collect();
        images.sort_by(|a, b| {
            (a.names.is_empty(), &a.names, &a.id).cmp(&(b.names.is_empty(), &b.names, &b.id))
        });
        Ok(images)
    }

    /// The configuration as it came, JSON.
    ///
    /// # Errors
    /// [`ImageError::NotFound`].
    pub fn raw_config(&self, image: &Image) -> Result<String, ImageError> {
        let record = Digest::parse(&image.id).and_then(|id| self.record(&id, false));
        record.map(|r| r.raw).ok_or_else(|| ImageError::NotFound {
            name: image.id.clone(),
            store: self.root.clone(),
        })
    }

    /// The unpacked layers of an image as directories in overlayfs form, topmost first. They are kept from [`Store::gc`] as
    /// long as this process lives.
    ///
    /// # Errors
    /// [`ImageError`] if one is missing.
    pub fn roots(&self, image: &Image) -> Result<Vec<PathBuf>, ImageError> {
        let mut roots = self.held(&image.layers, image.names.first().unwrap_or(&image.id))?;
        roots.reverse();
        Ok(roots)
    }

    /// Keeps what [`Store::roots`] gave, perhaps to another process that is gone since, from [`Store::gc`] as long as this
    /// process lives. The image, called `what` in errors, may have been removed meanwhile.
    ///
    /// # Errors
    /// [`ImageError`] if one is missing.
    pub fn hold(&self, roots: &[PathBuf], what: &str) -> Result<(), ImageError> {
        let hex = |root: &PathBuf| Some(root.parent()?.file_name()?.to_str()?.to_owned());
        let digest = |root| format!("sha256:{}", hex(root).unwrap_or_default());
        let layers: Vec<String> = roots.iter().rev().map(digest).collect();
        self.held(&layers, what).map(drop)
    }

    /// Leases layers until this process ends, and gives their directories.
    fn held(&self, layers: &[String], what: &str) -> Result<Vec<PathBuf>, ImageError> {
        self.lease_for_life(layers)?;
        self.tidy_leases();
        // Not before: what is there now stays there.
        let held = layers.iter().map(|layer| {
            let digest = Digest::required(layer, "an image of the store")?;
            if self.layer(&digest).is_some() {
                return Ok(self.layer_dir(&digest).join("root"));
            }
            let why = format!("its layer {digest} is not in the store any more; get it again");
            Err(ImageError::Damaged { what: what.to_owned(), why })
        });
        held.collect()
    }

    /// Records an image whose layers are all there (and leased), and gives it names, taking them from whoever had them.
    pub(crate) fn record_image(&self, raw: &[u8], names: &[String]) -> Result<Image, ImageError> {
        let id = Digest::of(raw);
        let parsed = config::parse(raw, id.as_str())?;
        let mut size = 0;
        let _changing = self.change()?;
        for diff_id in &parsed.diff_ids {
            let layer = self.layer(diff_id).ok_or_else(|| ImageError::Damaged {
                what: id.to_string(),
                why: format!("its layer {diff_id} is not in the store"),
            })?;
            size += layer.bytes;
        }
        let record = ImageRecord {
            id: id.to_string(),
            config: parsed.config,
            layers: parsed.diff_ids.iter().map(Digest::to_string).collect(),
            size,
            created: parsed.created,
            os: parsed.os,
            architecture: parsed.architecture,
            raw: String::from_utf8_lossy(raw).into_owned(),
        };
        write_json(&self.image_path(&id), &record)?;
        let mut index = self.names()?;
        for name in names {
            index.set(name, &id);
        }
        self.write_names(&index)?;
        Ok(image(record, index.of(id.as_str())))
    }

    pub(super) fn forget(&self, id: &Digest) -> Result<(), ImageError> {
        let path = self.image_path(id);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(io_error(path.display())),
        }
    }

    /// When the image was last used.
    pub(super) fn last_use(&self, id: &Digest) -> Option<std::time::SystemTime> {
        self.image_path(id).metadata().ok()?.modified().ok()
    }
}

fn image(record: ImageRecord, names: Vec<String>) -> Image {
    let ImageRecord { id, config, layers, size, created, .. } = record;
    Image { id, names, config, layers, size, created }
}
