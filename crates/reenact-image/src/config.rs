//! Image configurations, as registries and archives have them, and as we write them.

use crate::digest::Digest;
use crate::error::ImageError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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

/// The parts of an image configuration that mean something here.
#[derive(Clone, Debug)]
pub(crate) struct Parsed {
    pub config: ImageConfig,
    /// Lowest first.
    pub diff_ids: Vec<Digest>,
    pub created: Option<String>,
    pub os: String,
    pub architecture: String,
}

/// Most layers of an image: as the common engines, so that what is made here can be used there.
pub(crate) const MAX_LAYERS: usize = 125;

/// Refuses more layers than an image may have.
pub(crate) fn check_layers(layers: usize, what: &str) -> Result<(), ImageError> {
    if layers <= MAX_LAYERS {
        return Ok(());
    }
    let why = format!("an image of {layers} layers, and {MAX_LAYERS} is the most");
    Err(ImageError::TooLarge { layer: what.to_owned(), why })
}

#[derive(Deserialize)]
struct RawImage {
    architecture: Option<String>,
    os: Option<String>,
    created: Option<String>,
    config: Option<RawConfig>,
    rootfs: Option<RawRootfs>,
}

/// Every field may be absent or null.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawConfig {
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    user: Option<String>,
    working_dir: Option<String>,
    labels: Option<BTreeMap<String, Option<String>>>,
}

#[derive(Deserialize)]
struct RawRootfs {
    #[serde(default)]
    diff_ids: Option<Vec<String>>,
}

/// Reads a configuration.
pub(crate) fn parse(bytes: &[u8], what: &str) -> Result<Parsed, ImageError> {
    let damaged = |why: String| ImageError::Damaged { what: what.to_owned(), why };
    let raw: RawImage = serde_json::from_slice(bytes)
        .map_err(|e| damaged(format!("its configuration cannot be read: {e}")))?;
    let ids = raw.rootfs.and_then(|r| r.diff_ids).unwrap_or_default();
    check_layers(ids.len(), what)?;
    let diff_ids = ids.iter().map(|id| Digest::required(id, what)).collect::<Result<_, _>>()?;
    let config = raw.config.unwrap_or_default();
    Ok(Parsed {
        config: ImageConfig {
            env: config.env.unwrap_or_default(),
            entrypoint: config.entrypoint,
            cmd: config.cmd,
            user: config.user.unwrap_or_default(),
            working_dir: config.working_dir.unwrap_or_default(),
            labels: config
                .labels
                .unwrap_or_default()
                .into_iter()
                .map(|(name, value)| (name, value.unwrap_or_default()))
                .collect(),
        },
        diff_ids,
        created: raw.created.filter(|c| c.parse::<jiff::Timestamp>().is_ok()),
        os: raw.os.unwrap_or_else(|| "linux".to_owned()),
        architecture: raw.architecture.unwrap_or_else(|| "amd64".to_owned()),
    })
}

/// Writes an OCI image configuration.
pub(crate) fn render(config: &ImageConfig, layers: &[String], created: &str) -> Vec<u8> {
    #[derive(Serialize)]
    struct Rootfs<'a> {
        r#type: &'a str,
        diff_ids: &'a [String],
    }
    #[derive(Serialize)]
    struct Written<'a> {
        created: &'a str,
        architecture: &'a str,
        os: &'a str,
        config: &'a ImageConfig,
        rootfs: Rootfs<'a>,
    }
    let rootfs = Rootfs { r#type: "layers", diff_ids: layers };
    let written = Written { created, architecture: "amd64", os: "linux", config, rootfs };
    // Strings, lists and maps with string keys always serialise.
    serde_json::to_vec(&written).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_and_null_fields_are_empty() {
        let parsed = parse(br#"{"config":{"Env":null,"Labels":null,"Cmd":["sh"]},"rootfs":{"type":"layers","diff_ids":null},"created":"yesterday"}"#, "x").unwrap();
        assert_eq!(parsed.config.cmd, Some(vec!["sh".to_owned()]));
        assert!(parsed.config.env.is_empty() && parsed.diff_ids.is_empty());
        assert_eq!(parsed.created, None);
        assert!(parse(b"{}", "x").is_ok());
        assert!(parse(b"[1]", "x").is_err());
        assert!(parse(br#"{"rootfs":{"diff_ids":["sha256:../.."]}}"#, "x").is_err());
    }

    #[test]
    fn more_layers_than_engines_have_are_refused_by_name() {
        let of = |n: usize| {
            let ids = vec![Digest::of(b"1").to_string(); n];
            parse(&render(&ImageConfig::default(), &ids, "2024-01-01T00:00:00Z"), "some:image")
        };
        assert!(of(125).is_ok());
        let said = of(126).unwrap_err().to_string();
        assert!(said.contains("some:image") && said.contains("126 layers"), "{said}");
    }

    #[test]
    fn what_is_written_is_read() {
        let mut config = ImageConfig { env: vec!["A=b".to_owned()], ..ImageConfig::default() };
        config.labels.insert("l".to_owned(), "v".to_owned());
        config.working_dir = "/w".to_owned();
        let layers = [Digest::of(b"1").to_string()];
        let parsed = parse(&render(&config, &layers, "2024-01-01T00:00:00Z"), "x").unwrap();
        assert_eq!(parsed.config, config);
        assert_eq!(parsed.diff_ids, [Digest::of(b"1")]);
        assert_eq!(parsed.created.as_deref(), Some("2024-01-01T00:00:00Z"));
    }
}
