//! Somebody else's request, sent on with our key.

use crate::client::Client;
use crate::error::ModelError;
use crate::exchange::error_body;
use crate::retry::Retries;
use crate::secret::presentable;
use std::io::{Cursor, Read};
use ureq::http::{HeaderName, Method};

/// A request to send on. Its model, body and API are the sender's business.
#[derive(Clone, Copy, Debug)]
pub struct Forward<'a> {
    /// API path as clients of the API write it, from `/v1/` on.
    pub path: &'a str,
    /// Body of a POST; `None` sends a GET.
    pub body: Option<&'a [u8]>,
    /// Headers to pass on. Only [`Forward::PASSED`] are; the rest, and any key among them, is dropped.
    pub headers: &'a [(&'a str, &'a str)],
}

impl Forward<'_> {
    /// Headers of requests that are passed on.
    pub const PASSED: [&'static str; 3] = ["accept", "anthropic-version", "anthropic-beta"];
    /// Headers of replies that are given back.
    pub const RETURNED: [&'static str; 5] =
        ["content-type", "retry-after", "request-id", "x-request-id", "cache-control"];
}

/// What the endpoint answered.
pub struct Forwarded {
    pub status: u16,
    /// In lower case; only [`Forward::RETURNED`].
    pub headers: Vec<(String, String)>,
    /// The body, as it arrives. Its size is not bounded here. Of an error (400 and above), at most 64 KiB, with
    /// everything taken out that looks like a key.
    pub body: Box<dyn Read + Send>,
}

impl Client {
    /// Sends one request on, with the key added, and gives the reply as it arrives. No retries: they are the sender's.
    ///
    /// # Errors
    /// [`ModelError`] when there was no reply: `Unreachable`, `Timeout`, or `BadRequest` for a path outside `/v1/`.
    pub fn forward(&self, forward: &Forward<'_>) -> Result<Forwarded, ModelError> {
        if !is_plain_path(forward.path) {
            let base_url = self.endpoint().base_url().to_owned();
            let message = "only paths below /v1/ can be forwarded".to_owned();
            return Err(ModelError::BadRequest { base_url, status: 0, message });
        }
        let passes = |name: &str, value: &str| {
            Forward::PASSED.iter().any(|p| p.eq_ignore_ascii_case(name))
                && value.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
        };
        let headers: Vec<_> =
            forward.headers.iter().copied().filter(|(n, v)| passes(n, v)).collect();
        let method = if forward.body.is_some() { Method::POST } else { Method::GET };
        let response = self
            .agent()
            .send(method, forward.path, &headers, forward.body.unwrap_or_default())
            .map_err(|e| {
                let failure = self.agent().failure_of(e);
                let mut once = Retries::new(self.options().patience, 0);
                once.next_wait(&failure, true);
                once.give_up(failure, self.endpoint(), self.options())
            })?;
        let status = response.status().as_u16();
        let is_returned = |name: &HeaderName| Forward::RETURNED.contains(&name.as_str());
        let headers = response
            .headers()
            .iter()
            .filter(|(name, _)| is_returned(name))
            .filter_map(|(n, v)| Some((n.as_str().to_owned(), v.to_str().ok()?.to_owned())))
            .collect();
        let reader = response.into_body().into_with_config().limit(u64::MAX).reader();
        let body: Box<dyn Read + Send> = if status < 400 {
            Box::new(reader)
        } else {
            Box::new(Cursor::new(self.without_key(error_body(reader))))
        };
        Ok(Forwarded { status, headers, body })
    }

    /// An error's body, still JSON if it was, without the key or parts of it.
    fn without_key(&self, body: Vec<u8>) -> Vec<u8> {
        let key = self.endpoint().key();
        match serde_json::from_slice(&body) {
            Ok(mut value) => {
                clean_strings(&mut value, &|text| presentable(text, key));
                serde_json::Value::to_string(&value).into_bytes()
            }
            Err(_) => presentable(&String::from_utf8_lossy(&body), key).into_bytes(),
        }
    }
}

/// Whether a path is below `/v1/` and cannot lead elsewhere.
fn is_plain_path(path: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/_-.:".contains(&b);
    path.starts_with("/v1/") && !path.contains("..") && path.bytes().all(plain)
}

fn clean_strings(value: &mut serde_json::Value, clean: &dyn Fn(&str) -> String) {
    match value {
        serde_json::Value::String(text) => *text = clean(text),
        serde_json::Value::Array(items) => items.iter_mut().for_each(|v| clean_strings(v, clean)),
        serde_json::Value::Object(fields) => {
            fields.values_mut().for_each(|v| clean_strings(v, clean));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_below_v1_are_forwarded() {
        assert!(is_plain_path("/v1/chat/completions") && is_plain_path("/v1/models/a-b.c"));
        for bad in ["/", "/v2/x", "/v1/../admin", "/v1/a?b", "/v1/a b", "/v1/%2e%2e/x", "v1/x"] {
            assert!(!is_plain_path(bad), "{bad}");
        }
    }
}
