//! `index.json` and `blobs/sha256/…`, as OCI layouts have them.

use super::source::Source;
use super::{Found, Member};
use crate::error::ImageError;
use crate::manifest::{self, Blob, Manifest};

/// Indexes within indexes.
const DEPTH: usize = 4;

/// Annotations that give a name: containerd's is whole, the standard one is often a tag alone.
const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

pub(super) fn images(source: &Source, platform: &str) -> Result<Vec<Found>, ImageError> {
    let what = format!("{}: index.json", source.path.display());
    let Manifest::Index(list) = manifest::parse(&source.read("index.json")?, &what)? else {
        let why = "its index.json is no index".to_owned();
        return Err(ImageError::Archive { path: source.path.clone(), why });
    };
    // Entries without names may be the same image for several platforms.
    let by_platform = list.len() > 1
        && list.iter().all(|l| !l.platform.is_empty())
        && list.iter().all(|l| l.annotations == list[0].annotations);
    let wanted = if by_platform {
        vec![manifest::choose(&list, platform, &what)?]
    } else {
        list.iter().collect()
    };
    let mut found: Vec<Found> = Vec::new();
    for listed in wanted {
        let names = NAMES.iter().find_map(|key| listed.annotations.get(*key)).cloned();
        let (config, layers) = image(source, &listed.blob, platform, DEPTH)?;
        let same = found.iter_mut().find(|f| f.config.digest.as_ref() == Some(&config.digest));
        match same {
            Some(same) => same.names.extend(names),
            None => found.push(Found {
                names: names.into_iter().collect(),
                config: member(&config),
                layers: layers.iter().map(member).collect(),
            }),
        }
    }
    if found.is_empty() {
        let why = "there is no image in it".to_owned();
        return Err(ImageError::Archive { path: source.path.clone(), why });
    }
    Ok(found)
}

fn member(blob: &Blob) -> Member {
    Member {
        name: format!("blobs/sha256/{}", blob.digest.hex()),
        digest: Some(blob.digest.clone()),
    }
}

/// Configuration and layers behind a descriptor.
fn image(
    source: &Source,
    blob: &Blob,
    platform: &str,
    depth: usize,
) -> Result<(Blob, Vec<Blob>), ImageError> {
    let name = member(blob).name;
    let what = format!("{}: {name}", source.path.display());
    let bytes = source.read(&name)?;
    blob.digest.check(&bytes, &what)?;
    match manifest::parse(&bytes, &what)? {
        Manifest::Image { config, layers } => Ok((config, layers)),
        Manifest::Index(list) if depth > 0 => {
            let chosen = manifest::choose(&list, platform, &what)?;
            image(source, &chosen.blob, platform, depth - 1)
        }
        Manifest::Index(_) => {
            let why = "indexes within indexes within indexes".to_owned();
            Err(ImageError::Damaged { what, why })
        }
    }
}
