//! Where a model is: its API, its address, its name and its key.

use crate::secret::Secret;
use reenact_net::{RootsError, is_loopback};
use serde::{Deserialize, Serialize};
use std::fmt;
use ureq::tls::RootCerts;

/// The HTTP API that an endpoint speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// Chat completions, as OpenAI defined them and many servers offer them: `POST …/chat/completions`.
    OpenAi,
    /// Anthropic messages: `POST …/v1/messages`.
    Anthropic,
}

impl Api {
    /// The word before the slash in `--model`, also used in manifests.
    pub fn word(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
        }
    }

    /// The provider's own address, taken when no `--base-url` is given.
    pub fn default_base_url(self) -> &'static str {
        match self {
            Self::OpenAi => "https://api.openai.com/v1",
            Self::Anthropic => "https://api.anthropic.com",
        }
    }

    /// The environment variable that holds the key unless another is named.
    pub fn default_key_env(self) -> &'static str {
        match self {
            Self::OpenAi => "OPENAI_API_KEY",
            Self::Anthropic => "ANTHROPIC_API_KEY",
        }
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Why an endpoint cannot be used as it was asked for: the command line or the environment is wrong (exit code 2).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// `--model` is not `openai/NAME` or `anthropic/NAME`.
    #[error(
        "{given:?} is not a model: write openai/NAME (any server with OpenAI's chat completions; its address with \
         --base-url) or anthropic/NAME"
    )]
    UnknownModel { given: String },
    /// The base URL cannot be used.
    #[error("base URL {given:?}: {why}")]
    BaseUrl { given: String, why: &'static str },
    /// No key in the environment.
    #[error(
        "no key for {base_url}: the environment variable {variable} is not set or empty; export it, or name another \
         with --key-env"
    )]
    NoKey { base_url: String, variable: String },
    /// The key has characters that no HTTP header can carry.
    #[error(
        "the key in {variable} has spaces, line ends or other characters that a key cannot have; export it anew"
    )]
    BadKey { variable: String },
    /// A default key would go over an unencrypted connection to another machine.
    #[error(
        "{base_url}: would send the key in {variable} unencrypted to another machine; use https, or say with \
         --key-env NAME which key may go there"
    )]
    Unencrypted { base_url: String, variable: String },
    /// The file of certificate authorities named in the environment cannot be used.
    #[error(transparent)]
    Certificates(#[from] RootsError),
}

/// A model at an address. Made by [`Endpoint::resolve`]; printing it (`{:?}` too) never shows the key.
#[derive(Clone, Debug)]
pub struct Endpoint {
    api: Api,
    base_url: String,
    model: String,
    key: Option<Secret>,
    local: bool,
    /// Certificate authorities of the user's; `None`: the built-in ones.
    roots: Option<RootCerts>,
}

impl Endpoint {
    /// The endpoint for `--model MODEL [--base-url URL] [--key-env NAME]`, with the key from the environment.
    /// Of `SSL_CERT_FILE`, too: a PEM file of certificate authorities to trust instead of the built-in ones.
    ///
    /// # Errors
    /// [`EndpointError`] for what the user must change.
    pub fn resolve(
        model: &str,
        base_url: Option<&str>,
        key_env: Option<&str>,
    ) -> Result<Self, EndpointError> {
        let mut endpoint = Self::resolve_in(model, base_url, key_env, &|name| {
            std::env::var_os(name).map(|v| v.to_string_lossy().into_owned())
        })?;
        if endpoint.base_url.starts_with("https://") {
            endpoint.roots = reenact_net::roots()?;
        }
        Ok(endpoint)
    }

    /// [`Endpoint::resolve`] with an environment of the caller's.
    ///
    /// # Errors
    /// As [`Endpoint::resolve`].
    pub fn resolve_in(
        model: &str,
        base_url: Option<&str>,
        key_env: Option<&str>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, EndpointError> {
        let (api, name) = parse_model(model)?;
        let base = BaseUrl::parse(api, base_url.unwrap_or(api.default_base_url()))?;
        let variable = key_env.unwrap_or(api.default_key_env());
        let key = match env(variable).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty()) {
            Some(text) => Some(
                Secret::new(text)
                    .ok_or_else(|| EndpointError::BadKey { variable: variable.to_owned() })?,
            ),
            None if base.local && key_env.is_none() => None,
            None => {
                return Err(EndpointError::NoKey {
                    base_url: base.text,
                    variable: variable.to_owned(),
                });
            }
        };
        if !base.encrypted && !base.local && key_env.is_none() {
            return Err(EndpointError::Unencrypted {
                base_url: base.text,
                variable: variable.to_owned(),
            });
        }
        Ok(Self {
            api,
            base_url: base.text,
            model: name.to_owned(),
            key,
            local: base.local,
            roots: None,
        })
    }

    pub fn api(&self) -> Api {
        self.api
    }

    /// The model's name as the provider knows it (without `openai/`).
    pub fn model(&self) -> &str {
        &self.model
    }

    /// `openai/NAME`, as in `--model` and in manifests.
    pub fn spec(&self) -> String {
        format!("{}/{}", self.api, self.model)
    }

    /// The address, without a slash at its end and never with credentials: fit for manifests.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Whether the address is on this machine's loopback interface.
    pub fn is_local(&self) -> bool {
        self.local
    }

    /// Whether requests carry a key.
    pub fn has_key(&self) -> bool {
        self.key.is_some()
    }

    pub(crate) fn key(&self) -> Option<&Secret> {
        self.key.as_ref()
    }

    pub(crate) fn roots(&self) -> Option<&RootCerts> {
        self.roots.as_ref()
    }

    /// The full URL of an API path that begins with `/v1/`, as clients of that API write it.
    pub(crate) fn url(&self, path: &str) -> String {
        match self.api {
            Api::OpenAi => {
                format!("{}{}", self.base_url, path.strip_prefix("/v1").unwrap_or(path))
            }
            Api::Anthropic => format!("{}{path}", self.base_url),
        }
    }
}

fn parse_model(given: &str) -> Result<(Api, &str), EndpointError> {
    let unknown = || EndpointError::UnknownModel { given: given.chars().take(200).collect() };
    let (word, name) = given.split_once('/').ok_or_else(unknown)?;
    let api = match word {
        "openai" => Api::OpenAi,
        "anthropic" => Api::Anthropic,
        _ => return Err(unknown()),
    };
    if name.is_empty() || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(unknown());
    }
    Ok((api, name))
}

/// A checked base URL.
struct BaseUrl {
    text: String,
    encrypted: bool,
    local: bool,
}

impl BaseUrl {
    /// Follows the habits of the providers' own libraries: OpenAI's base URL ends in `/v1` (added when there is no path
    /// at all), Anthropic's does not (removed when given).
    fn parse(api: Api, given: &str) -> Result<Self, EndpointError> {
        let trimmed = given.trim().trim_end_matches('/');
        // What follows could hold a password: it must not be shown.
        let shown = if trimmed.contains('@') { "(with credentials)" } else { trimmed };
        let bad = |why| EndpointError::BaseUrl { given: shown.chars().take(200).collect(), why };
        let (encrypted, rest) = match trimmed.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            _ => return Err(bad("must begin with https:// or http://")),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if trimmed.contains('@') {
            return Err(bad("must not hold credentials; the key comes from the environment"));
        }
        if trimmed.contains(['?', '#']) {
            return Err(bad("must not have a query or a fragment"));
        }
        if authority.is_empty() || trimmed.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(bad("is not an address"));
        }
        let local = is_loopback(authority);
        let path = match api {
            Api::OpenAi if path.is_empty() => "/v1",
            Api::OpenAi => path,
            Api::Anthropic => path.strip_suffix("/v1").unwrap_or(path),
        };
        let scheme = if encrypted { "https" } else { "http" };
        Ok(Self { text: format!("{scheme}://{authority}{path}"), encrypted, local })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "sk-test-0123456789abcdef";

    fn with_key(model: &str, url: Option<&str>) -> Result<Endpoint, EndpointError> {
        Endpoint::resolve_in(model, url, None, &|_| Some(format!(" {KEY}\n")))
    }

    fn without_key(model: &str, url: Option<&str>) -> Result<Endpoint, EndpointError> {
        Endpoint::resolve_in(model, url, None, &|_| None)
    }

    #[test]
    fn addresses_follow_the_habits_of_the_providers() {
        let url = |model, base: Option<&str>, path| with_key(model, base).unwrap().url(path);
        let chat = "/v1/chat/completions";
        assert_eq!(url("openai/m", None, chat), "https://api.openai.com/v1/chat/completions");
        assert_eq!(
            url("openai/m", Some("http://127.0.0.1:80"), chat),
            "http://127.0.0.1:80/v1/chat/completions"
        );
        assert_eq!(
            url("openai/a/b", Some("https://x.example/api/v1/"), chat),
            "https://x.example/api/v1/chat/completions"
        );
        let messages = "/v1/messages";
        assert_eq!(url("anthropic/m", None, messages), "https://api.anthropic.com/v1/messages");
        assert_eq!(
            url("anthropic/m", Some("http://localhost:9/v1"), messages),
            "http://localhost:9/v1/messages"
        );
        assert_eq!(with_key("openai/a/b", None).unwrap().model(), "a/b");
        assert_eq!(with_key("openai/a/b", None).unwrap().spec(), "openai/a/b");
    }

    #[test]
    fn what_is_not_a_model_is_refused() {
        for bad in ["gpt", "openai/", "google/x", "", "openai/a b", "openai/a\n"] {
            assert!(
                matches!(with_key(bad, None), Err(EndpointError::UnknownModel { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn base_urls_with_credentials_or_queries_are_refused_without_showing_them() {
        for bad in ["https://u:hunter2@h/v1", "https://h/v1?k=1", "ftp://h", "h:80", "http:///v1"] {
            let error = with_key("openai/m", Some(bad)).unwrap_err();
            assert!(matches!(error, EndpointError::BaseUrl { .. }), "{bad}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn a_key_is_needed_except_on_the_loopback_interface() {
        let error = without_key("openai/m", None).unwrap_err();
        assert!(error.to_string().contains("OPENAI_API_KEY"), "{error}");
        let error = without_key("anthropic/m", None).unwrap_err();
        assert!(error.to_string().contains("ANTHROPIC_API_KEY"), "{error}");
        for local in ["http://127.0.0.1:8000/v1", "http://localhost", "http://[::1]:8000"] {
            let endpoint = without_key("openai/m", Some(local)).unwrap();
            assert!(endpoint.is_local() && !endpoint.has_key(), "{local}");
        }
        let named =
            Endpoint::resolve_in("openai/m", Some("http://localhost"), Some("K"), &|_| None);
        assert!(matches!(named, Err(EndpointError::NoKey { variable, .. }) if variable == "K"));
    }

    #[test]
    fn a_default_key_is_not_sent_unencrypted_to_another_machine() {
        let url = Some("http://10.0.0.7:8000/v1");
        assert!(matches!(with_key("openai/m", url), Err(EndpointError::Unencrypted { .. })));
        let named = Endpoint::resolve_in("openai/m", url, Some("LAB"), &|_| Some("x".into()));
        assert!(named.unwrap().has_key());
        // A host that only begins like a loopback address is another machine.
        let near = Some("http://127.0.0.1.example");
        assert!(matches!(with_key("openai/m", near), Err(EndpointError::Unencrypted { .. })));
    }

    #[test]
    fn keys_with_line_ends_inside_are_refused_and_never_shown() {
        let env = |_: &str| Some("sk-one\nsk-two".to_owned());
        let error = Endpoint::resolve_in("openai/m", None, None, &env).unwrap_err();
        assert!(matches!(error, EndpointError::BadKey { .. }));
        assert!(!format!("{error} {error:?}").contains("sk-one"));
        let shown = format!("{:?}", with_key("openai/m", None).unwrap());
        assert!(!shown.contains("0123456789"), "{shown}");
    }
}
