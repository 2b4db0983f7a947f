//! `manifest.json`, as `docker save` and `podman save` write it.

use super::source::Source;
use super::{Found, Member};
use crate::config::MAX_LAYERS;
use crate::error::ImageError;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// Images of one archive, at most.
const MAX_IMAGES: usize = 1000;

pub(super) fn images(source: &Source) -> Result<Vec<Found>, ImageError> {
    let bad = |why: String| ImageError::Archive { path: source.path.clone(), why };
    let saved: Vec<Saved> = serde_json::from_slice(&source.read("manifest.json")?)
        .map_err(|e| bad(format!("its manifest.json cannot be read: {e}")))?;
    if saved.is_empty() || saved.len() > MAX_IMAGES {
        return Err(bad(format!("it holds {} images", saved.len())));
    }
    saved
        .into_iter()
        .map(|image| {
            let layers = image.layers.unwrap_or_default();
            if layers.len() > MAX_LAYERS {
                return Err(bad(format!("an image of {} layers", layers.len())));
            }
            // The configuration's digest is in its name, where it is one.
            let digest = crate::Digest::parse(&format!(
                "sha256:{}",
                image.config.rsplit('/').next().unwrap_or_default().trim_end_matches(".json")
            ));
            Ok(Found {
                names: image.repo_tags.unwrap_or_default(),
                config: Member { name: image.config, digest },
                // Their digests are in the configuration.
                layers: layers.into_iter().map(|name| Member { name, digest: None }).collect(),
            })
        })
        .collect()
}
