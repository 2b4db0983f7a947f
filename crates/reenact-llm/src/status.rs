//! What an HTTP status and its body mean: which failure, and in which words of the provider.

use crate::endpoint::Endpoint;
use crate::error::ModelError;
use crate::retry::Failure;
use crate::secret::presentable;
use serde_json::Value;
use std::time::Duration;

/// Texts by which providers say that a conversation is too long, in lower case. There is no common code for it.
const TOO_LONG: [&str; 12] = [
    "context_length_exceeded",
    "maximum context length",
    "context length exceeded",
    "exceeds the context",
    "exceed context limit",
    "exceeds the available context",
    "exceed_context_size",
    "context window",
    "prompt is too long",
    "input is too long",
    "reduce the length of the",
    "exceeds the maximum number of tokens",
];

/// Texts by which providers say that an account is empty, in lower case.
const NO_CREDIT: [&str; 3] =
    ["insufficient_quota", "credit balance is too low", "insufficient balance"];

/// The failure behind a status other than 2xx.
pub(crate) fn failure(
    endpoint: &Endpoint,
    status: u16,
    retry_after: Option<Duration>,
    body: &[u8],
) -> Failure {
    let said = what_it_says(body);
    let lower = said.to_lowercase();
    let message = match presentable(&said, endpoint.key()) {
        empty if empty.is_empty() => "(no message)".to_owned(),
        message => message,
    };
    let base_url = endpoint.base_url().to_owned();
    let says = |texts: &[&str]| texts.iter().any(|t| lower.contains(t));
    let last = |error| Failure::Final(error);
    match status {
        402 => last(ModelError::NoCredit { base_url, status, message }),
        400 | 403 | 429 if says(&NO_CREDIT) => {
            last(ModelError::NoCredit { base_url, status, message })
        }
        401 | 403 => last(ModelError::Auth { base_url, status, message }),
        413 => last(ModelError::ContextTooLong { message }),
        400 | 422 if says(&TOO_LONG) => last(ModelError::ContextTooLong { message }),
        429 => Failure::RateLimited { message, retry_after },
        408 | 409 | 425 | 500..=599 => Failure::Overloaded { status, message, retry_after },
        300..=399 => {
            let message = "it redirects, which is not followed; give the final --base-url".into();
            last(ModelError::BadRequest { base_url, status, message })
        }
        _ => last(ModelError::BadRequest { base_url, status, message }),
    }
}

/// The failure in a reply with status 200 that holds an error instead of an answer, as gateways send it when they learn
/// of the error late; `None` if it holds none.
pub(crate) fn failure_inside(endpoint: &Endpoint, reply: &Value) -> Option<Failure> {
    let error = reply.get("error").filter(|e| e.is_object() || e.is_string())?;
    let status = error.get("code").and_then(Value::as_u64).and_then(|c| u16::try_from(c).ok());
    // Without a status of its own it says nothing about the request: worth another try.
    let status = status.filter(|s| (400..600).contains(s)).unwrap_or(502);
    Some(failure(endpoint, status, None, reply.to_string().as_bytes()))
}

/// The provider's message, in one of the shapes they use, with its code where that tells more; else the body's begin.
fn what_it_says(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(64 << 10)]);
    let Ok(value) = serde_json::from_str::<Value>(&text) else {
        return text.trim().to_owned();
    };
    let places = ["/error/message", "/message", "/detail", "/error", "/0/error/message"];
    let said = places.iter().find_map(|p| value.pointer(p).and_then(Value::as_str));
    let code = ["/error/code", "/error/type"]
        .iter()
        .find_map(|p| value.pointer(p).and_then(Value::as_str));
    match (said, code) {
        (Some(said), Some(code)) if !said.contains(code) => format!("{said} ({code})"),
        (Some(said), _) => said.to_owned(),
        (None, Some(code)) => code.to_owned(),
        (None, None) => text.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn endpoint() -> Endpoint {
        Endpoint::resolve_in("openai/m", None, None, &|_| Some("sk-0123456789abcdef".into()))
            .unwrap()
    }

    fn classify(status: u16, body: &Value) -> Failure {
        failure(&endpoint(), status, None, body.to_string().as_bytes())
    }

    #[test]
    fn too_long_conversations_are_recognised_in_the_words_of_several_providers() {
        for message in [
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
            "prompt is too long: 210000 tokens > 200000 maximum",
            "input length and `max_tokens` exceed context limit: 199000 + 8192 > 200000",
            "Your input exceeds the context window of this model.",
            "the request exceeds the available context size, try increasing it",
            "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576).",
        ] {
            let failure = classify(400, &json!({"error": {"message": message}}));
            assert!(
                matches!(failure, Failure::Final(ModelError::ContextTooLong { .. })),
                "{message}: {failure:?}"
            );
        }
        let by_code = json!({"error": {"message": "no", "code": "context_length_exceeded"}});
        assert!(matches!(
            classify(400, &by_code),
            Failure::Final(ModelError::ContextTooLong { .. })
        ));
    }

    #[test]
    fn empty_accounts_are_not_waited_for() {
        let quota = json!({"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}});
        let balance = json!({"type": "error", "error": {"type": "invalid_request_error",
            "message": "Your credit balance is too low to access the API"}});
        for (status, body) in [(429, quota), (400, balance), (402, json!({}))] {
            let failure = classify(status, &body);
            assert!(matches!(failure, Failure::Final(ModelError::NoCredit { .. })), "{failure:?}");
        }
    }

    #[test]
    fn messages_are_found_in_all_shapes() {
        let say = |body: Value| what_it_says(body.to_string().as_bytes());
        assert_eq!(say(json!({"error": {"message": "a", "code": "c"}})), "a (c)");
        assert_eq!(say(json!({"type": "error", "error": {"type": "t", "message": "a"}})), "a (t)");
        assert_eq!(say(json!({"object": "error", "message": "b"})), "b");
        assert_eq!(say(json!({"detail": "d"})), "d");
        assert_eq!(say(json!({"error": "e"})), "e");
        assert_eq!(what_it_says(b"<html>502</html>\n"), "<html>502</html>");
        assert_eq!(what_it_says(b"\xff\xfe"), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn keys_do_not_come_back_in_errors() {
        let body = json!({"error": {"message": "Incorrect API key: sk-0123456789abcdef or sk-01***cdef."}});
        let shown = format!("{:?}", classify(401, &body));
        assert!(
            shown.contains("Auth") && !shown.contains("0123") && !shown.contains("cdef"),
            "{shown}"
        );
    }

    #[test]
    fn an_error_inside_a_good_status_is_an_error() {
        let endpoint = endpoint();
        let limited = json!({"error": {"code": 429, "message": "slow down"}});
        let odd = json!({"error": {"message": "upstream"}});
        assert!(matches!(failure_inside(&endpoint, &limited), Some(Failure::RateLimited { .. })));
        assert!(matches!(
            failure_inside(&endpoint, &odd),
            Some(Failure::Overloaded { status: 502, .. })
        ));
        assert!(failure_inside(&endpoint, &json!({"error": null, "choices": []})).is_none());
    }
}
