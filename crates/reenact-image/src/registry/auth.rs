//! Logins: what a registry's challenge asks for, and where accounts come from.

use crate::reference::DEFAULT_REGISTRY;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What `WWW-Authenticate` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// Reads a challenge; `None` for those that we do not know.
pub(super) fn challenge(header: &str) -> Option<Challenge> {
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut fields = parameters(rest);
    Some(Challenge::Bearer {
        realm: fields.remove("realm")?,
        service: fields.remove("service"),
        scope: fields.remove("scope"),
    })
}

/// `key="value, with commas",key=value`
fn parameters(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut rest = text;
    while let Some((key, after)) = rest.split_once('=') {
        let key = key.trim_matches([',', ' ']).to_ascii_lowercase();
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        found.insert(key, value.trim().to_owned());
        rest = after;
    }
    found
}

/// An account's name and password, in the form of HTTP's basic login. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Account(String);

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Account(…)")
    }
}

impl Account {
    pub(super) fn header(&self) -> String {
        format!("Basic {}", self.0)
    }
}

/// `HOST=USER:PASSWORD`, several with spaces between them.
const VARIABLE: &str = "REENACT_REGISTRY_AUTH";

/// The account for a registry: from the environment, else from docker's configuration (`auths`; helper programs are not
/// started).
pub(super) fn account(registry: &str) -> Option<Account> {
    let from_variable =
        std::env::var(VARIABLE).ok().and_then(|text| from_variable(&text, registry));
    from_variable.or_else(|| {
        let text = std::fs::read(docker_config()?).ok()?;
        from_config(&text, registry)
    })
}

fn from_variable(text: &str, registry: &str) -> Option<Account> {
    text.split_ascii_whitespace().find_map(|entry| {
        let (host, account) = entry.split_once('=')?;
        let fits = host == registry && account.contains(':');
        fits.then(|| Account(base64(account.as_bytes())))
    })
}

fn docker_config() -> Option<PathBuf> {
    let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let dir = var("DOCKER_CONFIG").or_else(|| var("HOME").map(|h| h.join(".docker")))?;
    Some(dir.join("config.json"))
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
}

#[derive(Deserialize)]
struct Auth {
    #[serde(default)]
    auth: String,
}

fn from_config(text: &[u8], registry: &str) -> Option<Account> {
    let config: Config = serde_json::from_slice(text).ok()?;
    let host = |key: &str| -> String {
        let key =
            key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
        let host = key.split('/').next().unwrap_or_default();
        match host {
            "index.docker.io" | "registry-1.docker.io" => DEFAULT_REGISTRY.to_owned(),
            host => host.to_owned(),
        }
    };
    let found =
        config.auths.iter().find(|(key, auth)| host(key) == registry && !auth.auth.is_empty());
    let (_, auth) = found?;
    // It goes into a header: nothing but what base64 has.
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'-' | b'_');
    auth.auth.bytes().all(plain).then(|| Account(auth.auth.clone()))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let mut n = 0u32;
        for i in 0..3 {
            n = n << 8 | u32::from(chunk.get(i).copied().unwrap_or(0));
        }
        for i in 0..4 {
            let digit = DIGITS[(n >> (18 - 6 * i) & 63) as usize];
            out.push(if i > chunk.len() { '=' } else { char::from(digit) });
        }
    }
    out
}

/// A value in a query.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let header = r#"Bearer realm="https://auth.example/token",service="reg.example",scope="repository:a/b:pull,push",error="x""#;
        assert_eq!(
            challenge(header),
            Some(Challenge::Bearer {
                realm: "https://auth.example/token".to_owned(),
                service: Some("reg.example".to_owned()),
                scope: Some("repository:a/b:pull,push".to_owned()),
            })
        );
        assert_eq!(challenge("Basic realm=\"x\""), Some(Challenge::Basic));
        assert_eq!(challenge("basic"), Some(Challenge::Basic));
        assert_eq!(challenge("Bearer service=x"), None);
        assert_eq!(challenge("Negotiate"), None);
        assert_eq!(challenge(""), None);
    }

    #[test]
    fn accounts_are_for_their_own_registry_only() {
        let text = "a.example=me:pass:word b.example=you:x";
        assert_eq!(from_variable(text, "a.example"), Some(Account(base64(b"me:pass:word"))));
        assert_eq!(from_variable(text, "c.example"), None);
        assert_eq!(from_variable("me:password", "a.example"), None);
        let config = br#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"},"a.example":{"auth":"eDp5"},"b.example":{"auth":"x\ny"},"c.example":{}},"credsStore":"x"}"#;
        assert_eq!(from_config(config, "docker.io"), Some(Account("dTpw".to_owned())));
        assert_eq!(from_config(config, "a.example"), Some(Account("eDp5".to_owned())));
        assert_eq!(from_config(config, "b.example"), None);
        assert_eq!(from_config(config, "c.example"), None);
        assert_eq!(format!("{:?}", from_config(config, "a.example").unwrap()), "Account(…)");
    }

    #[test]
    fn base64_pads() {
        assert_eq!(base64(b""), "");
        assert_eq!(base64(b"u:p"), "dTpw");
        assert_eq!(base64(b"ab"), "YWI=");
        assert_eq!(base64(b"a"), "YQ==");
        assert_eq!(escape("a b/:"), "a%20b%2F%3A");
    }
}
