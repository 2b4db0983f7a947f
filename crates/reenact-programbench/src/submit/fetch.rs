//! Downloads that a submission names: bounded, over http(s) only, checked against their digest.

use super::error::SubmitError;
use super::files::{SMALL_MAX, plain_text};
use reenact_model::digest::Hasher;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

/// For connecting, and for a whole download. The official tool waits 60 s for each read.
const CONNECT: Duration = Duration::from_secs(60);
const WHOLE: Duration = Duration::from_secs(3600);

/// A SHA-256 in bare hex, as `sha256sum` writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected(String);

impl Expected {
    /// From a `.sha256` file; `None` if there is none.
    ///
    /// # Errors
    /// [`SubmitError`] if it is there and holds no digest.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, SubmitError> {
        if path.symlink_metadata().is_err() {
            return Ok(None);
        }
        let text = plain_text(path, SMALL_MAX)?;
        let word = text.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
        if word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(Some(Self(word)));
        }
        Err(SubmitError::file(path, "holds no SHA-256"))
    }

    /// What is wrong with `got`.
    pub(super) fn mismatch(&self, got: &str) -> Option<String> {
        (self.0 != got).then(|| format!("has SHA-256 {}…, not {}…", &got[..12], &self.0[..12]))
    }
}

/// Downloads at most `limit` bytes from `url` to `to`.
///
/// # Errors
/// [`SubmitError::Fetch`] for what is wrong with the address or what it gives, [`SubmitError::Unreachable`] for what is not.
pub(super) fn to_writer(
    url: &str,
    expected: Option<&Expected>,
    limit: u64,
    to: &mut impl Write,
) -> Result<(), SubmitError> {
    let url = checked(url)?;
    let fail = |what: String| SubmitError::Fetch { url: url.to_owned(), what };
    let unreachable = |what: String| SubmitError::Unreachable { url: url.to_owned(), what };
    let mut reply = agent(url)?.get(url).call().map_err(|e| match e {
        // What is not there is the submission's affair; what is not there just now is nobody's.
        ureq::Error::StatusCode(400..=407 | 409..=428 | 430..=499) => fail(e.to_string()),
        _ => unreachable(e.to_string()),
    })?;
    let mut body = reply.body_mut().with_config().limit(limit.saturating_add(1)).reader();
    let (mut hasher, mut buffer, mut size) = (Hasher::default(), vec![0; 1 << 16], 0u64);
    loop {
        let n = body
            .read(&mut buffer)
            .map_err(|e| unreachable(format!("the download broke off: {e}")))?;
        if n == 0 {
            break;
        }
        size += n as u64;
        if size > limit {
            return Err(fail(format!("is larger than {limit} bytes")));
        }
        hasher.update(&buffer[..n]);
        to.write_all(&buffer[..n]).map_err(|e| unreachable(format!("cannot be stored: {e}")))?;
    }
    match expected.and_then(|e| e.mismatch(&hasher.finish().hex())) {
        Some(what) => Err(fail(what)),
        None => Ok(()),
    }
}

/// As [`to_writer`], into memory.
///
/// # Errors
/// As [`to_writer`].
pub(super) fn bytes(
    url: &str,
    expected: Option<&Expected>,
    limit: u64,
) -> Result<Vec<u8>, SubmitError> {
    let mut out = Vec::new();
    to_writer(url, expected, limit, &mut out)?;
    Ok(out)
}

/// The address that a `.url` file or a reference names, if it may be asked for.
///
/// # Errors
/// [`SubmitError::Fetch`] for other schemes than http and https.
pub(super) fn checked(url: &str) -> Result<&str, SubmitError> {
    let url = url.trim();
    let scheme = url.split_once("://").map(|(s, _)| s.to_ascii_lowercase());
    let clean = !url.bytes().any(|b| b <= b' ' || b == 0x7f);
    if clean && matches!(scheme.as_deref(), Some("http" | "https")) {
        return Ok(url);
    }
    let shown: String = url.chars().filter(|c| !c.is_control()).take(200).collect();
    Err(SubmitError::Fetch {
        url: shown,
        what: "is no http or https address, and is not fetched".to_owned(),
    })
}

fn agent(url: &str) -> Result<ureq::Agent, SubmitError> {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    let local = reenact_net::is_loopback(authority);
    let roots = reenact_net::roots().map_err(|e| SubmitError::file(&e.path, e.why))?;
    let config = reenact_net::config(local, roots)
        .timeout_connect(Some(CONNECT))
        .timeout_global(Some(WHOLE))
        .max_redirects(5);
    Ok(config.build().into())
}

/// SHA-256 of a file, in bare hex.
///
/// # Errors
/// [`SubmitError::Fs`].
pub(super) fn sha256(path: &Path) -> Result<String, SubmitError> {
    Ok(crate::dataset::file_digest(path)?.hex())
}

/// The digest of some bytes.
#[cfg(test)]
pub(super) fn hex_of(bytes: &[u8]) -> String {
    reenact_model::Digest::of(bytes).hex()
}

#[cfg(test)]
pub(super) mod stub {
    use super::*;

    /// Answers one request with `reply`.
    pub(in crate::submit) fn server(reply: Vec<u8>) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/a/b.tar.gz", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _request = stream.read(&mut request).unwrap();
            stream.write_all(&reply).unwrap();
        });
        url
    }

    pub(in crate::submit) fn ok(body: &[u8]) -> Vec<u8> {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::stub::{ok, server};
    use super::*;

    #[test]
    fn downloads_are_bounded_and_checked() {
        let body = b"the submission".to_vec();
        let good = Expected(hex_of(&body));
        assert_eq!(bytes(&server(ok(&body)), Some(&good), 100).unwrap(), body);
        assert_eq!(bytes(&format!(" {}\n", server(ok(&body))), None, 100).unwrap(), body);
        let error = |reply: Vec<u8>, expected: &Expected, limit| {
            bytes(&server(reply), Some(expected), limit).unwrap_err().to_string()
        };
        assert!(error(ok(&body), &Expected(hex_of(b"x")), 100).contains("SHA-256"));
        assert!(error(ok(&body), &good, 5).contains("larger than 5"));
        let gone =
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
        assert!(error(gone, &good, 100).contains("404"));
        let mut cut = ok(&body);
        cut.truncate(cut.len() - 3);
        assert!(!error(cut, &good, 100).is_empty());
    }

    #[test]
    fn other_schemes_are_not_fetched() {
        for url in [
            "file:///etc/passwd",
            "ftp://x/y",
            "/etc/passwd",
            "",
            "javascript:1",
            "http:x",
            "https://a b",
        ] {
            assert!(bytes(url, None, 10).unwrap_err().to_string().contains("not fetched"), "{url}");
        }
    }

    #[test]
    fn digests_are_read_as_sha256sum_writes_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sha256");
        assert_eq!(Expected::read(&path).unwrap(), None);
        std::fs::write(&path, format!("{}  submission.tar.gz\n", hex_of(b"x").to_uppercase()))
            .unwrap();
        assert_eq!(Expected::read(&path).unwrap(), Some(Expected(hex_of(b"x"))));
        std::fs::write(&path, "\n").unwrap();
        assert!(Expected::read(&path).is_err());
    }
}
