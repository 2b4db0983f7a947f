//! Manifests and indexes: OCI's, and docker's second schema, which differ in names of types only.

use crate::config::MAX_LAYERS;
use crate::digest::Digest;
use crate::error::ImageError;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What a registry is told that we read.
pub(crate) const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// Largest blob that is believed, bytes.
const MAX_BLOB: u64 = 64 << 30;

/// A blob that is promised.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub digest: Digest,
    pub size: u64,
}

/// An entry of an index.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub blob: Blob,
    /// `OS/ARCH[/VARIANT]`; empty where it says nothing.
    pub platform: String,
    pub annotations: BTreeMap<String, String>,
}

/// What was found.
#[derive(Clone, Debug)]
pub(crate) enum Manifest {
    Index(Vec<Listed>),
    Image { config: Blob, layers: Vec<Blob> },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: i64,
    #[serde(default)]
    urls: Option<Vec<String>>,
    #[serde(default)]
    platform: Option<RawPlatform>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct RawPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawManifest {
    #[serde(default)]
    schema_version: i64,
    #[serde(default)]
    manifests: Option<Vec<RawDescriptor>>,
    #[serde(default)]
    config: Option<RawDescriptor>,
    #[serde(default)]
    layers: Option<Vec<RawDescriptor>>,
}

/// Entries of an index, at most.
const MAX_LISTED: usize = 10_000;

/// Reads either.
pub(crate) fn parse(bytes: &[u8], what: &str) -> Result<Manifest, ImageError> {
    let bad = |why: String| ImageError::Damaged { what: what.to_owned(), why };
    let raw: RawManifest = serde_json::from_slice(bytes)
        .map_err(|e| bad(format!("its manifest cannot be read: {e}")))?;
    if raw.schema_version == 1 {
        return Err(bad(
            "a manifest of schema 1, which is not supported (nor by engines)".to_owned()
        ));
    }
    if let Some(list) = raw.manifests {
        if list.len() > MAX_LISTED {
            return Err(bad(format!("an index of {} entries", list.len())));
        }
        return list
            .into_iter()
            .map(|d| {
                let platform = d.platform.as_ref().map_or_else(String::new, |p| {
                    let variant = p.variant.as_deref().filter(|v| !v.is_empty());
                    let variant = variant.map_or_else(String::new, |v| format!("/{v}"));
                    format!("{}/{}{variant}", p.os, p.architecture)
                });
                let annotations = d.annotations.clone().unwrap_or_default();
                Ok(Listed { blob: blob(&d, what)?, platform, annotations })
            })
            .collect::<Result<_, _>>()
            .map(Manifest::Index);
    }
    let config = raw.config.ok_or_else(|| bad("neither an index nor a manifest".to_owned()))?;
    let layers = raw.layers.unwrap_or_default();
    if layers.len() > MAX_LAYERS {
        return Err(bad(format!("an image of {} layers", layers.len())));
    }
    if let Some(foreign) = layers.iter().find(|l| {
        l.urls.as_ref().is_some_and(|u| !u.is_empty()) || l.media_type.contains(".foreign.")
    }) {
        return Err(bad(format!(
            "its layer {} is somewhere else (a foreign layer)",
            foreign.digest
        )));
    }
    Ok(Manifest::Image {
        config: blob(&config, what)?,
        layers: layers.iter().map(|l| blob(l, what)).collect::<Result<_, _>>()?,
    })
}

fn blob(raw: &RawDescriptor, what: &str) -> Result<Blob, ImageError> {
    let digest = Digest::required(&raw.digest, what)?;
    match u64::try_from(raw.size).ok().filter(|n| *n <= MAX_BLOB) {
        Some(size) => Ok(Blob { digest, size }),
        None => Err(ImageError::Damaged {
            what: what.to_owned(),
            why: format!("{digest} is said to be {} bytes long", raw.size),
        }),
    }
}

/// The entry for a platform (`linux/amd64`): the same with any variant counts, and so does one without a platform if it is the
/// only entry.
pub(crate) fn choose<'a>(
    list: &'a [Listed],
    platform: &str,
    what: &str,
) -> Result<&'a Listed, ImageError> {
    let with_variant = format!("{platform}/");
    let exact = list.iter().find(|l| l.platform == platform);
    let close = || list.iter().find(|l| l.platform.starts_with(&with_variant));
    let only = || if let [one] = list { Some(one).filter(|l| l.platform.is_empty()) } else { None };
    exact.or_else(close).or_else(only).ok_or_else(|| {
        let mut found: Vec<String> = list
            .iter()
            // Attestations say unknown/unknown.
            .filter(|l| !l.platform.is_empty() && !l.platform.starts_with("unknown"))
            .map(|l| crate::error::shown(l.platform.as_bytes()))
            .collect();
        found.sort();
        found.dedup();
        let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
        ImageError::Platform { what: what.to_owned(), platform: platform.to_owned(), found }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn descriptor(os: &str, arch: &str, variant: &str) -> String {
        let digest = Digest::of(format!("{os}{arch}{variant}").as_bytes());
        format!(
            r#"{{"mediaType":"m","digest":"{digest}","size":3,"platform":{{"os":"{os}","architecture":"{arch}","variant":"{variant}"}}}}"#
        )
    }

    #[test]
    fn an_index_gives_the_platform_that_was_asked_for() {
        let list = [
            descriptor("unknown", "unknown", ""),
            descriptor("linux", "arm64", "v8"),
            descriptor("linux", "amd64", ""),
        ]
        .join(",");
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{list}]}}"#);
        let Manifest::Index(list) = parse(text.as_bytes(), "x").unwrap() else {
            panic!("an index")
        };
        assert_eq!(
            choose(&list, "linux/amd64", "x").unwrap().blob.digest,
            Digest::of(b"linuxamd64")
        );
        assert_eq!(
            choose(&list, "linux/arm64", "x").unwrap().blob.digest,
            Digest::of(b"linuxarm64v8")
        );
        let error = choose(&list, "linux/s390x", "x").unwrap_err().to_string();
        assert!(
            error.contains("linux/amd64, linux/arm64/v8") && error.contains("--platform"),
            "{error}"
        );
    }

    #[test]
    fn manifests_that_cannot_be_used_are_refused() {
        let digest = Digest::of(b"");
        for (text, why) in [
            (r#"{"schemaVersion":1}"#.to_owned(), "schema 1"),
            ("{}".to_owned(), "neither"),
            (format!(r#"{{"config":{{"digest":"{digest}","size":-1}}}}"#), "-1 bytes"),
            (r#"{"config":{"digest":"sha256:../x","size":1}}"#.to_owned(), "digest"),
            (
                format!(
                    r#"{{"config":{{"digest":"{digest}","size":1}},"layers":[{{"digest":"{digest}","size":1,"urls":["http://x/"]}}]}}"#
                ),
                "foreign",
            ),
        ] {
            let error = parse(text.as_bytes(), "x").unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _either = parse(&bytes, "x");
        }
    }
}
