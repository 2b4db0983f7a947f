//! Digests, as images write them.

use crate::error::ImageError;
use sha2::{Digest as _, Sha256};
use std::fmt;

/// `sha256:` and 64 digits. Other algorithms are refused: registries do not use them for images.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(String);

const PREFIX: &str = "sha256:";

impl Digest {
    /// Reads `sha256:HEX`.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix(PREFIX)?;
        let valid = hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        valid.then(|| Self(text.to_owned()))
    }

    /// As [`Digest::parse`], with an error that says where it stands.
    ///
    /// # Errors
    /// [`ImageError::Damaged`].
    pub fn required(text: &str, what: &str) -> Result<Self, ImageError> {
        Self::parse(text).ok_or_else(|| ImageError::Damaged {
            what: what.to_owned(),
            why: format!("{:?} is no sha256 digest", crate::error::shown(text.as_bytes())),
        })
    }

    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_hasher(Sha256::new_with_prefix(bytes))
    }

    pub(crate) fn from_hasher(hasher: Sha256) -> Self {
        use fmt::Write;
        let mut text = PREFIX.to_owned();
        for byte in hasher.finalize() {
            // Writing to a string cannot fail.
            write!(text, "{byte:02x}").ok();
        }
        Self(text)
    }

    /// The 64 digits.
    pub fn hex(&self) -> &str {
        &self.0[PREFIX.len()..]
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Checks bytes that were promised to have this digest.
    ///
    /// # Errors
    /// [`ImageError::Digest`].
    pub fn check(&self, bytes: &[u8], what: &str) -> Result<(), ImageError> {
        self.check_against(&Self::of(bytes), what)
    }

    pub(crate) fn check_against(&self, actual: &Self, what: &str) -> Result<(), ImageError> {
        if self == actual {
            return Ok(());
        }
        let (expected, actual) = (self.to_string(), actual.to_string());
        Err(ImageError::Digest { what: what.to_owned(), expected, actual })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lower_case_sha256_is_a_digest() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").as_str(), empty);
        assert_eq!(Digest::parse(empty), Some(Digest::of(b"")));
        for bad in ["", "sha256:", &empty[..70], &empty.to_uppercase(), "md5:00", "sha256:../../x"]
        {
            assert_eq!(Digest::parse(bad), None, "{bad}");
        }
        let long = format!("{empty}0");
        assert_eq!(Digest::parse(&long), None);
        assert!(Digest::of(b"a").check(b"b", "x").is_err());
    }
}
