//! What can go wrong with an image, a registry, an archive or the store.

use std::io;
use std::path::PathBuf;

/// What went wrong, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    #[error(
        "no image {name} in the store at {store}: `reenact image pull {name}` or `reenact image import FILE` gets it"
    )]
    NotFound { name: String, store: PathBuf },
    #[error("{prefix} is the beginning of several images' ids: give more digits")]
    Ambiguous { prefix: String },
    #[error("{text:?} is no name of an image: {why}")]
    Reference { text: String, why: &'static str },
    #[error("{what}: {error}")]
    Io { what: String, error: io::Error },
    #[error(
        "no room left on the file system of the store at {store}; what was begun is removed again\n`reenact image gc` frees what is not used, or REENACT_IMAGES names a directory elsewhere"
    )]
    Full { store: PathBuf },
    #[error("{layer}: {entry}: {why}")]
    Entry { layer: String, entry: String, why: String },
    #[error("{layer} is larger than is allowed: {why}")]
    TooLarge { layer: String, why: String },
    #[error(
        "{path}: {why}\nREENACT_IMAGES (or --store) names a directory that is yours alone (mode 0700)"
    )]
    Foreign { path: PathBuf, why: String },
    #[error("{what} is truncated or damaged: {why}")]
    Damaged { what: String, why: String },
    #[error(
        "{what} has the wrong digest: {expected} was promised and {actual} came\nit was damaged or replaced on its way, and is not used; get it again"
    )]
    Digest { what: String, expected: String, actual: String },
    #[error("{path}: {why}")]
    Archive { path: PathBuf, why: String },
    #[error(
        "{what} is not there for {platform} (only for {found})\n--platform OS/ARCH chooses another"
    )]
    Platform { what: String, platform: String, found: String },
    #[error("{0}")]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Roots(#[from] reenact_net::RootsError),
    #[error("{0}")]
    Other(String),
}

/// What a registry refused or failed to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    #[error(
        "{registry} wants a login for {what} (401)\nREENACT_REGISTRY_AUTH=HOST=USER:PASSWORD or the `auths` of docker's config.json give one"
    )]
    Unauthorized { registry: String, what: String },
    #[error("{registry} does not let us have {what} (403): the account has no right to it")]
    Forbidden { registry: String, what: String },
    #[error("{registry} has no {what} (404): check name and tag")]
    Missing { registry: String, what: String },
    #[error(
        "{registry} limits our requests (429) and still did after {tries} tries\nwait and run it again (what was downloaded is kept), or log in (REENACT_REGISTRY_AUTH=HOST=USER:PASSWORD)"
    )]
    RateLimited { registry: String, tries: u32 },
    #[error("{registry} fails ({status}) and still did after {tries} tries: {message}")]
    Failing { registry: String, status: u16, tries: u32, message: String },
    #[error(
        "{registry} breaks off or cannot be reached, {tries} tries: {message}\nrun it again: what was downloaded is kept"
    )]
    Unreachable { registry: String, tries: u32, message: String },
    #[error("{registry}: {message}: check the registry's name and port, and that it runs")]
    Nobody { registry: String, message: String },
    #[error(
        "{registry}: {message}\nSSL_CERT_FILE can name a PEM file of certificate authorities to trust"
    )]
    Certificate { registry: String, message: String },
    #[error("{registry} speaks HTTPS only: leave --insecure out ({message})")]
    Encrypted { registry: String, message: String },
    #[error("{registry} answers {what} with what we cannot use: {why}")]
    Nonsense { registry: String, what: String, why: String },
}

impl ImageError {
    /// Whether what the user typed or gave is at fault, and not the harness, the host or the network.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::NotFound { .. }
            | Self::Ambiguous { .. }
            | Self::Reference { .. }
            | Self::Entry { .. }
            | Self::TooLarge { .. }
            | Self::Foreign { .. }
            | Self::Damaged { .. }
            | Self::Archive { .. }
            | Self::Platform { .. }
            | Self::Roots(_)
            | Self::Registry(RegistryError::Missing { .. }) => true,
            Self::Io { error, .. } => error.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }
}

/// For `map_err`: says what was at hand.
pub(crate) fn io_error(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> ImageError {
    let what = what.to_string();
    move |error| ImageError::Io { what, error }
}

/// Bytes of an untrusted name for a message: printable, and not too long.
pub(crate) fn shown(bytes: &[u8]) -> String {
    const LONGEST: usize = 200;
    let cut = &bytes[..bytes.len().min(LONGEST)];
    let mut text: String = String::from_utf8_lossy(cut)
        .chars()
        .flat_map(|c| {
            let plain = !c.is_control() && !is_reordering(c);
            let escaped: Vec<char> = if plain { vec![c] } else { c.escape_default().collect() };
            escaped
        })
        .collect();
    if bytes.len() > LONGEST {
        text.push('…');
    }
    text
}

/// Characters that change the order in which others are shown, or do not show at all.
fn is_reordering(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_speak_to_a_terminal() {
        assert_eq!(shown(b"a/b c"), "a/b c");
        assert_eq!(shown(b"\x1b[31m\n"), "\\u{1b}[31m\\n");
        assert_eq!(shown("x\u{202e}y".as_bytes()), "x\\u{202e}y");
        assert!(shown(&[b'n'; 5000]).chars().count() < 210);
    }
}
