//! Certificate authorities of one's own.

use crate::endpoint::EndpointError;
use std::path::Path;
use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

/// Names the file, as for OpenSSL and the libraries made with it.
pub(crate) const VARIABLE: &str = "SSL_CERT_FILE";

/// The authorities in a PEM file, to be trusted instead of Mozilla's, which are built in.
pub(crate) fn load(path: &Path) -> Result<RootCerts, EndpointError> {
    let bad = |why: String| EndpointError::Certificates { path: path.to_owned(), why };
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
