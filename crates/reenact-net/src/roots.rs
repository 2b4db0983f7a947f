//! Certificate authorities of one's own.

use std::path::{Path, PathBuf};
use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

/// Names the file, as for OpenSSL and the libraries made with it.
pub const VARIABLE: &str = "SSL_CERT_FILE";

/// A file of authorities that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} (named by SSL_CERT_FILE): {why}", path = path.display())]
pub struct RootsError {
    pub path: PathBuf,
    pub why: String,
}

/// The authorities in the file that the environment names; `None` where it names none.
///
/// # Errors
/// As [`load`].
pub fn roots() -> Result<Option<RootCerts>, RootsError> {
    match std::env::var_os(VARIABLE).filter(|v| !v.is_empty()) {
        Some(path) => load(Path::new(&path)).map(Some),
        None => Ok(None),
    }
}

/// The authorities in a PEM file, to be trusted instead of Mozilla's, which are built in.
///
/// # Errors
/// [`RootsError`] if the file cannot be read, is no PEM or holds no certificate.
pub fn load(path: &Path) -> Result<RootCerts, RootsError> {
    let bad = |why: String| RootsError { path: path.to_owned(), why };
    let pem = std::fs::read(path).map_err(|e| bad(e.to_string()))?;
    let mut certificates: Vec<Certificate<'static>> = Vec::new();
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(e) => return Err(bad(e.to_string())),
        }
    }
    if certificates.is_empty() {
        return Err(bad("no certificate in it".to_owned()));
    }
    Ok(RootCerts::from(certificates))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_without_certificates_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("roots.pem");
        for (text, why) in [
            ("", "no certificate"),
            ("hello", "no certificate"),
            ("-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", "PEM"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = load(&path).unwrap_err().to_string();
            assert!(error.contains("roots.pem") && error.contains(why), "{text:?}: {error}");
        }
        assert!(load(&dir.path().join("none")).is_err());
    }
}
