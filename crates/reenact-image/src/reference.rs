//! Names of images, as the container command writes them.

use crate::digest::Digest;
use crate::error::ImageError;
use std::fmt;
use std::str::FromStr;

/// Where names without a host live.
pub const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_TAG: &str = "latest";
/// Longest name, without tag and digest (the distribution project's reference grammar).
const LONGEST: usize = 255;

/// A normalised name: `registry/repository:tag` or `registry/repository@sha256:…`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// Host, and port where there is one.
    pub registry: String,
    /// `library/debian`
    pub repository: String,
    pub version: Version,
}

/// Which image of a repository. A tag beside a digest says nothing and is dropped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Tag(String),
    Digest(Digest),
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        match &self.version {
            Version::Tag(tag) => write!(f, ":{tag}"),
            Version::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

impl FromStr for Reference {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let bad = |why| ImageError::Reference { text: text.chars().take(300).collect(), why };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = Digest::parse(digest);
                (rest, Some(digest.ok_or_else(|| bad("after @ there must be sha256:… in full"))?))
            }
            None => (text, None),
        };
        // A colon before the last slash is a port's.
        let after_slash = rest.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match rest[after_slash..].find(':') {
            Some(at) => (&rest[..after_slash + at], Some(&rest[after_slash + at + 1..])),
            None => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(bad(
                "a tag has up to 128 letters, digits, `_`, `.` and `-`, and begins with one of the first three",
            ));
        }
        let (registry, path) = split_registry(name);
        if name.len() > LONGEST {
            return Err(bad("it is longer than 255 characters"));
        }
        if !is_host(registry) {
            return Err(bad("its registry is no host name"));
        }
        let repository = if registry == DEFAULT_REGISTRY && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        if !repository.split('/').all(is_part) {
            return Err(bad(
                "its parts are made of lower-case letters and digits, with `.`, `_`, `__` or `-` between them",
            ));
        }
        let version = match digest {
            Some(digest) => Version::Digest(digest),
            None => Version::Tag(tag.unwrap_or(DEFAULT_TAG).to_owned()),
        };
        Ok(Self { registry: registry.to_owned(), repository, version })
    }
}

/// The first part is a registry if it looks like a host: a dot, a port, or `localhost`.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        // The old names of the default registry.
        Some(("index.docker.io" | "registry-1.docker.io", path)) => (DEFAULT_REGISTRY, path),
        Some((host, path))
            if host.contains(['.', ':'])
                || host == "localhost"
                || host.chars().any(|c| c.is_ascii_uppercase()) =>
        {
            (host, path)
        }
        _ => (DEFAULT_REGISTRY, name),
    }
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        // IPv6 in brackets.
        Some(rest) => match rest.split_once(']') {
            Some((host, port)) => {
                if host.parse::<std::net::Ipv6Addr>().is_err() {
                    return false;
                }
                return port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
            }
            None => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

/// Runs of lower-case letters and digits, joined by `.`, `_`, `__` or any number of `-`.
fn is_part(part: &str) -> bool {
    let alnum = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    if !bytes.first().is_some_and(alnum) || !bytes.last().is_some_and(alnum) {
        return false;
    }
    bytes
        .split(alnum)
        .filter(|s| !s.is_empty())
        .all(|s| matches!(s, b"." | b"_" | b"__") || s.iter().all(|b| *b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn normal(text: &str) -> String {
        text.parse::<Reference>().unwrap().to_string()
    }

    #[test]
    fn short_names_are_completed() {
        let digest = Digest::of(b"x");
        for (given, full) in [
            ("debian", "docker.io/library/debian:latest"),
            ("debian:12", "docker.io/library/debian:12"),
            ("org/name", "docker.io/org/name:latest"),
            ("index.docker.io/org/name:v1", "docker.io/org/name:v1"),
            ("docker.io/debian", "docker.io/library/debian:latest"),
            ("localhost/x", "localhost/x:latest"),
            ("localhost:5000/a/b:c", "localhost:5000/a/b:c"),
            ("127.0.0.1:5000/x", "127.0.0.1:5000/x:latest"),
            ("[::1]:5000/x", "[::1]:5000/x:latest"),
            ("ghcr.io/a/b/c-d__e.f:G", "ghcr.io/a/b/c-d__e.f:G"),
            (
                "programbench/a_1776_b.abc1234:task_v6",
                "docker.io/programbench/a_1776_b.abc1234:task_v6",
            ),
        ] {
            assert_eq!(normal(given), full);
        }
        assert_eq!(
            normal(&format!("debian:12@{digest}")),
            format!("docker.io/library/debian@{digest}")
        );
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for bad in [
            "",
            ":",
            "a:",
            "A",
            "a//b",
            "/a",
            "a/",
            "a@sha256:12",
            "a b",
            "a:b:c",
            "-a",
            "a-",
            "a___b",
            "a..b",
            "../a",
            "a/../b",
            "host.x:99999/a",
            "host.x:/a",
            ".x/a",
            "x\n",
            "[::1/a",
            "a:-x",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
        }
        assert!("a".repeat(256).parse::<Reference>().is_err());
        assert!(format!("a:{}", "t".repeat(129)).parse::<Reference>().is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_name_or_refused_and_normal_names_stay(text in "\\PC{0,40}") {
            if let Ok(reference) = text.parse::<Reference>() {
                let full = reference.to_string();
                prop_assert_eq!(full.parse::<Reference>().unwrap(), reference);
            }
        }

        #[test]
        fn well_formed_names_are_read(
            host in "(|localhost/|localhost:[1-9][0-9]{0,3}/|[a-z]{1,5}\\.[a-z]{2,3}/)",
            path in "[a-z0-9]{1,6}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,5}){0,2}",
            tag in "(|:[A-Za-z0-9_][A-Za-z0-9_.-]{0,8})",
        ) {
            // `a.b/c` has a host.
            prop_assume!(!host.is_empty() || !path.split_once('/').is_some_and(|(p, _)| p.contains('.')));
            let reference: Reference = format!("{host}{path}{tag}").parse().unwrap();
            prop_assert!(reference.repository.ends_with(&path));
            let again: Reference = reference.to_string().parse().unwrap();
            prop_assert_eq!(again, reference);
        }
    }
}
