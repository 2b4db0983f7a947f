//! What may pass the relay, and what callers are told when it may not: in the error shape of the API they speak.

use reenact_llm::Api;
use serde_json::{Value, json};

/// Where a request may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// A call of the model.
    Call,
    /// The list of models.
    Models,
}

/// The gate of a request for an endpoint that speaks `api`; `None` is refused.
pub(super) fn gate(api: Api, method: &str, path: &str) -> Option<Gate> {
    match (api, method, path) {
        (_, "GET", "/v1/models") => Some(Gate::Models),
        (Api::OpenAi, "POST", "/v1/chat/completions" | "/v1/responses")
        | (Api::Anthropic, "POST", "/v1/messages") => Some(Gate::Call),
        _ => None,
    }
}

/// The request's body with the run's model in it, and usage asked for where a stream would not tell it. An error is a text
/// for the caller.
pub(super) fn prepare(path: &str, body: &[u8], model: &str) -> Result<Value, &'static str> {
    let mut value: Value =
        serde_json::from_slice(body).map_err(|_| "the request's body is not JSON")?;
    let Some(fields) = value.as_object_mut() else {
        return Err("the request's body is not a JSON object");
    };
    fields.insert("model".to_owned(), model.into());
    let streamed = fields.get("stream").and_then(Value::as_bool).unwrap_or(false);
    if streamed && path == "/v1/chat/completions" {
        match fields.get_mut("stream_options").and_then(Value::as_object_mut) {
            Some(options) => drop(options.insert("include_usage".to_owned(), true.into())),
            None => {
                fields.insert("stream_options".to_owned(), json!({"include_usage": true}));
            }
        }
    }
    Ok(value)
}

/// An error for a caller.
pub(super) fn error(api: Api, status: u16, message: &str) -> Vec<u8> {
    let value = match api {
        Api::Anthropic => {
            let kind = match status {
                402 => "billing_error",
                403 => "permission_error",
                404 => "not_found_error",
                413 => "request_too_large",
                500.. => "api_error",
                _ => "invalid_request_error",
            };
            json!({"type": "error", "error": {"type": kind, "message": message}})
        }
        Api::OpenAi => {
            let (kind, code) = match status {
                402 => ("insufficient_quota", Value::from("insufficient_quota")),
                500.. => ("server_error", Value::Null),
                _ => ("invalid_request_error", Value::Null),
            };
            json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
        }
    };
    value.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_models_own_calls_pass() {
        use Api::{Anthropic, OpenAi};
        assert_eq!(gate(OpenAi, "POST", "/v1/chat/completions"), Some(Gate::Call));
        assert_eq!(gate(OpenAi, "POST", "/v1/responses"), Some(Gate::Call));
        assert_eq!(gate(Anthropic, "POST", "/v1/messages"), Some(Gate::Call));
        assert_eq!(gate(Anthropic, "GET", "/v1/models"), Some(Gate::Models));
        for (api, method, path) in [
            (OpenAi, "POST", "/v1/messages"),
            (Anthropic, "POST", "/v1/chat/completions"),
            (OpenAi, "GET", "/v1/chat/completions"),
            (OpenAi, "DELETE", "/v1/models"),
            (OpenAi, "POST", "/v1/files"),
            (OpenAi, "POST", "/v1/chat/completions/../../admin"),
            (OpenAi, "GET", "http://elsewhere/"),
            (OpenAi, "CONNECT", "elsewhere:443"),
        ] {
            assert_eq!(gate(api, method, path), None, "{method} {path}");
        }
    }

    #[test]
    fn the_runs_model_is_asked_whatever_the_agent_names() {
        let chat = "/v1/chat/completions";
        let plain = prepare(chat, br#"{"model":"other","messages":[]}"#, "ours").unwrap();
        assert_eq!(plain, json!({"model": "ours", "messages": []}));
        let streamed =
            prepare(chat, br#"{"stream":true,"stream_options":{"x":1}}"#, "ours").unwrap();
        assert_eq!(streamed["stream_options"], json!({"x": 1, "include_usage": true}));
        let messages = prepare("/v1/messages", br#"{"stream":true}"#, "ours").unwrap();
        assert_eq!(messages, json!({"model": "ours", "stream": true}));
        assert!(prepare(chat, b"[]", "ours").is_err() && prepare(chat, b"{", "ours").is_err());
    }
}
