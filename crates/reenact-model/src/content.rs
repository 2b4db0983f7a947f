//! Byte strings as they stand in the formats: `text` when valid UTF-8, else short `hex`, else a `blob` by digest.

use crate::digest::{Digest, from_hex, to_hex};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;

/// Above this many bytes, [`Content::for_storage`] prefers a blob.
pub const INLINE_TEXT_MAX: usize = 4096;
/// Above this many bytes, binary content goes to a blob rather than `hex`.
pub const INLINE_HEX_MAX: usize = 256;

/// Bytes in one of three notations; exactly one key is present in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Valid UTF-8, verbatim.
    Text(String),
    /// Any bytes, as lower-case hex.
    Hex(HexBytes),
    /// Bytes stored elsewhere under their digest.
    Blob(Digest),
}

/// Bytes serialised as hex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HexBytes(pub Vec<u8>);

impl Serialize for HexBytes {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&to_hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for HexBytes {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        from_hex(&text)
            .map(HexBytes)
            .ok_or_else(|| serde::de::Error::custom("hex must be an even number of hex digits"))
    }
}

/// Where blobs come from. Implementations do the I/O; this crate only asks.
pub trait BlobSource {
    /// The bytes whose digest is `digest`, or `None` if this source does not hold them.
    fn blob(&self, digest: &Digest) -> Option<Cow<'_, [u8]>>;
}

/// A source that holds nothing, for cases without blobs.
pub struct NoBlobs;

impl BlobSource for NoBlobs {
    fn blob(&self, _: &Digest) -> Option<Cow<'_, [u8]>> {
        None
    }
}

/// A blob that no source could give.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
#[error("blob {0} is missing or does not match its digest")]
pub struct MissingBlob(pub Digest);

impl Content {
    /// Bytes in the shortest inline notation, never a blob.
    pub fn inline(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Hex(HexBytes(bytes.to_vec())),
        }
    }

    /// Bytes as the formats prefer them. When the result is a blob, the second value holds what to store under its digest.
    pub fn for_storage(bytes: &[u8]) -> (Self, Option<(Digest, Vec<u8>)>) {
        let inline = match std::str::from_utf8(bytes) {
            Ok(text) if text.len() <= INLINE_TEXT_MAX => Some(Self::Text(text.to_owned())),
            Err(_) if bytes.len() <= INLINE_HEX_MAX => Some(Self::Hex(HexBytes(bytes.to_vec()))),
            _ => None,
        };
        match inline {
            Some(content) => (content, None),
            None => {
                let digest = Digest::of(bytes);
                (Self::Blob(digest), Some((digest, bytes.to_vec())))
            }
        }
    }

    /// The bytes themselves.
    ///
    /// # Errors
    /// [`MissingBlob`] if this is a blob that `blobs` does not hold.
    pub fn bytes<'a>(&'a self, blobs: &'a dyn BlobSource) -> Result<Cow<'a, [u8]>, MissingBlob> {
        match self {
            Self::Text(text) => Ok(Cow::Borrowed(text.as_bytes())),
            Self::Hex(hex) => Ok(Cow::Borrowed(&hex.0)),
            Self::Blob(digest) => blobs.blob(digest).ok_or(MissingBlob(*digest)),
        }
    }

    /// The digest this content refers to, if it is a blob.
    pub fn blob_digest(&self) -> Option<Digest> {
        match self {
            Self::Blob(digest) => Some(*digest),
            _ => None,
        }
    }
}

impl BlobSource for std::collections::BTreeMap<Digest, Vec<u8>> {
    fn blob(&self, digest: &Digest) -> Option<Cow<'_, [u8]>> {
        self.get(digest).map(|b| Cow::Borrowed(b.as_slice()))
    }
}
