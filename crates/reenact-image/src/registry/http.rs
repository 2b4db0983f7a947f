//! Requests, and trying them again.

use crate::error::{ImageError, RegistryError, shown};
use crate::progress::Progress;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use ureq::http::{Request, Response};

/// How often and how long a request is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Tries without progress in between.
    pub tries: u32,
    /// The first wait; each further one is twice as long.
    pub first: Duration,
    /// Longest wait, also where the registry asks for a longer one.
    pub longest: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { tries: 6, first: Duration::from_millis(500), longest: Duration::from_secs(60) }
    }
}

/// Why one try failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Trying again would not help.
    Final(ImageError),
    RateLimited {
        retry_after: Option<Duration>,
    },
    Failing {
        status: u16,
        message: String,
        retry_after: Option<Duration>,
    },
    Unreachable {
        message: String,
    },
    /// There is no such host, or nothing listens there.
    Nobody {
        message: String,
    },
}

/// Tries where nobody answers at all: enough for a registry that is just being started.
const TRIES_OF_NOBODY: u32 = 3;

impl Failure {
    /// As the reason of a wait.
    fn short(&self) -> String {
        match self {
            Self::RateLimited { .. } => "it limits our requests (429)".to_owned(),
            Self::Failing { status, .. } => format!("it fails ({status})"),
            Self::Unreachable { message } | Self::Nobody { message } => message.clone(),
            Self::Final(error) => error.to_string(),
        }
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        Self::Final(error)
    }
}

/// What is asked for.
pub(super) struct Wanted<'a> {
    pub url: &'a str,
    pub accept: Option<&'a str>,
    /// The first byte.
    pub from: u64,
}

/// An answer whose body was not read yet.
pub(super) struct Got {
    pub status: u16,
    response: Response<ureq::Body>,
    /// Of the registry itself, asked without encryption.
    unencrypted: bool,
}

pub(super) struct Http<'a> {
    agent: ureq::Agent,
    registry: String,
    plain: bool,
    /// Somebody was there.
    answered: AtomicBool,
    patience: Patience,
    progress: &'a dyn Progress,
}

/// How much of an error's body is read, bytes.
const MAX_ERROR_BODY: u64 = 64 << 10;

impl<'a> Http<'a> {
    /// # Errors
    /// [`ImageError::Roots`]: the environment names authorities that cannot be read.
    pub(super) fn new(
        registry: &str,
        plain: bool,
        patience: Patience,
        progress: &'a dyn Progress,
    ) -> Result<Self, ImageError> {
        // Without encryption they may still be wanted, where blobs or logins are elsewhere; a file that cannot be read is then
        // no reason not to begin.
        let roots = if plain { reenact_net::roots().ok().flatten() } else { reenact_net::roots()? };
        let config = reenact_net::config(reenact_net::is_loopback(registry), roots)
            .http_status_as_error(false)
            // Blobs are often elsewhere; logins do not go there.
            .max_redirects(5)
            .https_only(!plain)
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            // Of one read: a download may take as long as it takes, but not stand still.
            .timeout_per_read(Some(Duration::from_secs(60)));
        let registry = registry.to_owned();
        let answered = AtomicBool::new(false);
        Ok(Self { agent: config.build().into(), registry, plain, answered, patience, progress })
    }

    /// One try of one request.
    pub(super) fn get(&self, wanted: &Wanted<'_>, login: Option<&str>) -> Result<Got, Failure> {
        let mut request = Request::get(wanted.url);
        if let Some(accept) = wanted.accept {
            request = request.header("accept", accept);
        }
        if let Some(login) = login {
            request = request.header("authorization", login);
        }
        if wanted.from > 0 {
            request = request.header("range", format!("bytes={}-", wanted.from));
        }
        let unusable = |why: String| {
            let (registry, what) = (self.registry.clone(), "a request".to_owned());
            Failure::Final(RegistryError::Nonsense { registry, what, why }.into())
        };
        let request = request.body(()).map_err(|e| unusable(e.to_string()))?;
        match self.agent.run(request) {
            Ok(response) => {
                self.answered.store(true, Ordering::Relaxed);
                let own = wanted.url.strip_prefix("http://").unwrap_or_default();
                let unencrypted = self.plain && own.starts_with(&format!("{}/", self.registry));
                Ok(Got { status: response.status().as_u16(), response, unencrypted })
            }
            Err(ureq::Error::BadUri(why)) => Err(unusable(shown(why.as_bytes()))),
            Err(ureq::Error::RequireHttpsOnly(why)) => {
                Err(unusable(format!("{} is not encrypted", shown(why.as_bytes()))))
            }
            Err(error) => {
                let message = shown(error.to_string().as_bytes());
                Err(if reenact_net::is_certificate_error(&error) {
                    let registry = self.registry.clone();
                    Failure::Final(RegistryError::Certificate { registry, message }.into())
                } else if reenact_net::is_nobody_there(&error)
                    // One that is gone for a moment is waited for.
                    && !self.answered.load(Ordering::Relaxed)
                {
                    Failure::Nobody { message }
                } else {
                    Failure::Unreachable { message }
                })
            }
        }
    }

    /// Tries until it works, or until it makes no sense any more.
    pub(super) fn patiently<T>(
        &self,
        mut attempt: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, ImageError> {
        let mut tries = 0;
        loop {
            let failure = match attempt() {
                Ok(done) => return Ok(done),
                Err(Failure::Final(error)) => return Err(error),
                Err(failure) => failure,
            };
            tries += 1;
            self.pause(failure, tries)?;
        }
    }

    /// Waits before the next try, and says so.
    ///
    /// # Errors
    /// There were tries enough.
    pub(super) fn pause(&self, failure: Failure, tries: u32) -> Result<(), ImageError> {
        let most = match failure {
            Failure::Nobody { .. } => self.patience.tries.min(TRIES_OF_NOBODY),
            _ => self.patience.tries,
        };
        if tries >= most {
            return Err(self.give_up(failure, tries).into());
        }
        let wait = self.wait(tries, &failure);
        let (registry, why, seconds) = (&self.registry, failure.short(), wait.as_secs_f64());
        self.progress
            .note(&format!("{registry}: {why}; again in {seconds:.1} s ({tries} of {most} tries)"));
        std::thread::sleep(wait);
        Ok(())
    }

    fn wait(&self, tries: u32, failure: &Failure) -> Duration {
        let asked = match failure {
            Failure::RateLimited { retry_after } | Failure::Failing { retry_after, .. } => {
                *retry_after
            }
            _ => None,
        };
        let ours = self.patience.first.saturating_mul(1 << tries.saturating_sub(1).min(16));
        asked.unwrap_or(ours).min(self.patience.longest)
    }

    fn give_up(&self, failure: Failure, tries: u32) -> RegistryError {
        let registry = self.registry.clone();
        match failure {
            Failure::RateLimited { .. } => RegistryError::RateLimited { registry, tries },
            Failure::Failing { status, message, .. } => {
                RegistryError::Failing { registry, status, tries, message }
            }
            Failure::Unreachable { message } => {
                RegistryError::Unreachable { registry, tries, message }
            }
            Failure::Nobody { message } => RegistryError::Nobody { registry, message },
            Failure::Final(error) => RegistryError::Nonsense {
                registry,
                what: "a request".to_owned(),
                why: error.to_string(),
            },
        }
    }
}

impl Got {
    pub(super) fn header(&self, name: &str) -> Option<String> {
        Some(self.response.headers().get(name)?.to_str().ok()?.to_owned())
    }

    /// Itself if it is what was asked for; else what is wrong.
    pub(super) fn success(mut self, registry: &str, what: &str) -> Result<Self, Failure> {
        let registry = registry.to_owned();
        let what = what.to_owned();
        let retry_after = || {
            // As seconds; a date is rare, and then our own wait has to do.
            let seconds: f64 = self.header("retry-after")?.trim().parse().ok()?;
            (0.0..1e6).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
        };
        let error = match self.status {
            200 | 206 | 416 => return Ok(self),
            401 => RegistryError::Unauthorized { registry, what },
            403 => RegistryError::Forbidden { registry, what },
            404 => RegistryError::Missing { registry, what },
            429 => return Err(Failure::RateLimited { retry_after: retry_after() }),
            status @ (408 | 500..) => {
                let retry_after = retry_after();
                return Err(Failure::Failing { status, message: self.message(), retry_after });
            }
            status => {
                let message = self.message();
                // So do Go's server ("Client sent an HTTP request to an HTTPS server.") and nginx.
                if self.unencrypted && status == 400 && message.contains("HTTPS") {
                    RegistryError::Encrypted { registry, message }
                } else {
                    let why = format!("status {status}: {message}");
                    RegistryError::Nonsense { registry, what, why }
                }
            }
        };
        Err(Failure::Final(error.into()))
    }

    fn message(&mut self) -> String {
        let mut text = Vec::new();
        // A message that cannot be read is none.
        self.response.body_mut().as_reader().take(MAX_ERROR_BODY).read_to_end(&mut text).ok();
        let json: Option<serde_json::Value> = serde_json::from_slice(&text).ok();
        let message = json.as_ref().and_then(|j| j.pointer("/errors/0/message")?.as_str());
        match message {
            Some(message) => shown(message.as_bytes()),
            None => shown(text.trim_ascii()),
        }
    }

    pub(super) fn into_reader(self) -> impl Read {
        self.response.into_body().into_reader()
    }
}

/// The whole body, up to `most` bytes.
pub(super) fn read_all(
    got: Got,
    most: u64,
    registry: &str,
    what: &str,
) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    got.into_reader()
        .take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Failure::Unreachable { message: shown(e.to_string().as_bytes()) })?;
    if bytes.len() as u64 > most {
        let why = format!("more than {most} bytes");
        let (registry, what) = (registry.to_owned(), what.to_owned());
        return Err(Failure::Final(RegistryError::Nonsense { registry, what, why }.into()));
    }
    Ok(bytes)
}
