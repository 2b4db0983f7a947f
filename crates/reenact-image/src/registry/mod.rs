//! Talking to a registry: the distribution API over HTTP, version 2.

mod auth;
mod blob;
mod http;
mod pull;

pub use pull::PullOptions;

use crate::Reference;
use crate::archive::MAX_JSON;
use crate::digest::Digest;
use crate::error::{ImageError, RegistryError, shown};
use crate::manifest;
use crate::progress::Progress;
use crate::reference::{DEFAULT_REGISTRY, Version};
use auth::{Account, Challenge};
use http::{Got, Http, Patience, Wanted};
use std::sync::{Mutex, PoisonError};

/// How a registry is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Plain,
    Encrypted,
}

/// A repository of a registry, with the login that it asked for.
pub(crate) struct Registry<'a> {
    http: Http<'a>,
    /// As in the reference; for messages and accounts.
    name: String,
    base: String,
    repository: String,
    account: Option<Account>,
    /// The header that worked last.
    login: Mutex<Option<String>>,
}

/// Where the default registry answers.
const DEFAULT_HOST: &str = "registry-1.docker.io";

impl<'a> Registry<'a> {
    /// # Errors
    /// [`ImageError::Roots`].
    pub(crate) fn new(
        reference: &Reference,
        transport: Transport,
        patience: Patience,
        progress: &'a dyn Progress,
    ) -> Result<Self, ImageError> {
        let plain = transport == Transport::Plain;
        let host = match reference.registry.as_str() {
            DEFAULT_REGISTRY => DEFAULT_HOST,
            host => host,
        };
        let scheme = if plain { "http" } else { "https" };
        Ok(Self {
            http: Http::new(&reference.registry, plain, patience, progress)?,
            name: reference.registry.clone(),
            base: format!("{scheme}://{host}"),
            repository: reference.repository.clone(),
            account: auth::account(&reference.registry),
            login: Mutex::new(None),
        })
    }

    /// A manifest or index, with its digest checked where it was asked for by digest.
    pub(crate) fn manifest(&self, version: &Version) -> Result<Vec<u8>, ImageError> {
        let (text, joint) = match version {
            Version::Tag(tag) => (tag.as_str(), ":"),
            Version::Digest(digest) => (digest.as_str(), "@"),
        };
        let what = format!("{}/{}{joint}{text}", self.name, self.repository);
        let url = format!("{}/v2/{}/manifests/{text}", self.base, self.repository);
        let bytes = self.small(&url, &what, Some(manifest::ACCEPTED))?;
        if let Version::Digest(digest) = version {
            digest.check(&bytes, &what)?;
        }
        Ok(bytes)
    }

    /// A small blob, checked.
    pub(crate) fn config(&self, blob: &manifest::Blob) -> Result<Vec<u8>, ImageError> {
        let what = format!("{}/{}: {}", self.name, self.repository, blob.digest);
        if blob.size > MAX_JSON {
            let why = format!("a configuration of {} bytes", blob.size);
            return Err(ImageError::TooLarge { layer: what, why });
        }
        let bytes = self.small(&self.blob_url(&blob.digest), &what, None)?;
        blob.digest.check(&bytes, &what)?;
        Ok(bytes)
    }

    fn blob_url(&self, digest: &Digest) -> String {
        format!("{}/v2/{}/blobs/{digest}", self.base, self.repository)
    }

    fn small(&self, url: &str, what: &str, accept: Option<&str>) -> Result<Vec<u8>, ImageError> {
        self.http.patiently(|| {
            let wanted = Wanted { url, accept, from: 0 };
            let got = self.get(&wanted, what)?;
            http::read_all(got, MAX_JSON, &self.name, what)
        })
    }

    /// One request, logging in if the registry asks for it.
    fn get(&self, wanted: &Wanted<'_>, what: &str) -> Result<Got, http::Failure> {
        let login = self.login.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let first = self.http.get(wanted, login.as_deref())?;
        if first.status != 401 {
            return first.success(&self.name, what);
        }
        // Tokens expire; then the same challenge comes again.
        let header = first.header("www-authenticate").unwrap_or_default();
        let unauthorized = || {
            let (registry, what) = (self.name.clone(), what.to_owned());
            http::Failure::Final(RegistryError::Unauthorized { registry, what }.into())
        };
        let login = match auth::challenge(&header) {
            Some(Challenge::Basic) => self.account.as_ref().ok_or_else(unauthorized)?.header(),
            Some(Challenge::Bearer { realm, service, scope }) => {
                let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", self.repository));
                self.token(&realm, service.as_deref(), &scope, what)?
            }
            None => return Err(unauthorized()),
        };
        *self.login.lock().unwrap_or_else(PoisonError::into_inner) = Some(login.clone());
        let second = self.http.get(wanted, Some(&login))?;
        if second.status == 401 {
            return Err(unauthorized());
        }
        second.success(&self.name, what)
    }

    /// A token from the server that the registry names.
    fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: &str,
        what: &str,
    ) -> Result<String, http::Failure> {
        let nonsense = |why: String| {
            let (registry, what) = (self.name.clone(), "a login".to_owned());
            http::Failure::Final(RegistryError::Nonsense { registry, what, why }.into())
        };
        // Only a registry that was spoken to in the clear may send us to a server in the clear.
        let allowed = realm.starts_with("https://")
            || self.base.starts_with("http://") && realm.starts_with("http://");
        if !allowed {
            return Err(nonsense(format!("its token server is {}", shown(realm.as_bytes()))));
        }
        let joint = if realm.contains('?') { '&' } else { '?' };
        let mut url = format!("{realm}{joint}scope={}", auth::escape(scope));
        if let Some(service) = service {
            url.push_str(&format!("&service={}", auth::escape(service)));
        }
        let login = self.account.as_ref().map(Account::header);
        let got = self.http.get(&Wanted { url: &url, accept: None, from: 0 }, login.as_deref())?;
        let got = got.success(&self.name, what)?;
        let bytes = http::read_all(got, 1 << 20, &self.name, "a login")?;
        let json: serde_json::Value = serde_json::from_slice(&bytes)
            .map_err(|e| nonsense(format!("its token cannot be read: {e}")))?;
        let token = ["token", "access_token"].iter().find_map(|key| json.get(*key)?.as_str());
        let is_plain = |t: &&str| t.bytes().all(|b| b.is_ascii_graphic());
        match token.filter(is_plain) {
            Some(token) => Ok(format!("Bearer {token}")),
            None => Err(nonsense("there is no token in its answer".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests;
