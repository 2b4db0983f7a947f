//! Usage of replies that only pass by.

use crate::usage::Usage;
use serde_json::Value;

/// Longest line of a stream, and largest other body, that is looked into, bytes.
const MAX_HELD: usize = 32 << 20;

/// Reads the usage out of a reply that passes by, streamed (server-sent events) or not, of any of the APIs that
/// [`Usage::from_json`] knows.
#[derive(Debug, Default)]
pub struct UsageMeter {
    streamed: bool,
    held: Vec<u8>,
    /// A line or body was longer than we hold: what it says is lost.
    overlong: bool,
    usage: Option<Usage>,
}

impl UsageMeter {
    /// A meter for a reply with this `content-type`.
    pub fn new(content_type: &str) -> Self {
        let streamed = content_type.to_ascii_lowercase().starts_with("text/event-stream");
        Self { streamed, ..Self::default() }
    }

    /// Looks at the next bytes of the body.
    pub fn feed(&mut self, bytes: &[u8]) {
        if !self.streamed {
            self.hold(bytes);
            return;
        }
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            self.hold(&rest[..end]);
            self.line();
            rest = &rest[end + 1..];
        }
        self.hold(rest);
    }

    /// The usage so far; all of it once the body has ended. `None` if the reply told none.
    pub fn finish(mut self) -> Option<Usage> {
        if self.streamed {
            self.line();
        } else if !self.overlong {
            let body: Value = serde_json::from_slice(&self.held).ok()?;
            self.usage = body.get("usage").and_then(Usage::from_json);
        }
        self.usage
    }

    fn hold(&mut self, bytes: &[u8]) {
        if self.held.len() + bytes.len() > MAX_HELD {
            self.overlong = true;
            self.held.clear();
        } else if !self.overlong {
            self.held.extend_from_slice(bytes);
        }
    }

    fn line(&mut self) {
        let line = std::mem::take(&mut self.held);
        if std::mem::take(&mut self.overlong) {
            return;
        }
        let Some(data) = line.strip_prefix(b"data:") else { return };
        let Ok(event) = serde_json::from_slice::<Value>(data) else { return };
        // Chat completions tell it in the last chunk; Anthropic in the first event and, for the output, in the last;
        // Responses within the completed response.
        for place in ["/usage", "/message/usage", "/response/usage"] {
            if let Some(said) = event.pointer(place).and_then(Usage::from_json) {
                self.usage = Some(self.usage.map_or(said, |before| later(before, said)));
            }
        }
    }
}

/// Counts in a stream are totals so far, and a later event may leave some out.
fn later(before: Usage, said: Usage) -> Usage {
    Usage {
        input: before.input.max(said.input),
        cached_input: before.cached_input.max(said.cached_input),
        cache_write: before.cache_write.max(said.cache_write),
        output: before.output.max(said.output),
        reasoning: before.reasoning.max(said.reasoning),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(content_type: &str, body: &str, piece: usize) -> Option<Usage> {
        let mut meter = UsageMeter::new(content_type);
        body.as_bytes().chunks(piece).for_each(|c| meter.feed(c));
        meter.finish()
    }

    #[test]
    fn streams_of_all_apis_are_read_in_any_pieces() {
        let chat = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":null}\n\n\
            data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":3,\
            \"prompt_tokens_details\":{\"cached_tokens\":4}}}\n\ndata: [DONE]\n\n";
        let messages = "event: message_start\r\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":\
            {\"input_tokens\":6,\"cache_read_input_tokens\":4,\"output_tokens\":1}}}\r\n\r\n\
            event: message_delta\r\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":3}}\r\n\r\n";
        let responses = "data: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":10,\
            \"input_tokens_details\":{\"cached_tokens\":4},\"output_tokens\":3}}}";
        let wanted = Usage { input: 6, cached_input: 4, output: 3, ..Usage::default() };
        for body in [chat, messages, responses] {
            for piece in [1, 7, 4096] {
                assert_eq!(meter("text/event-stream; charset=utf-8", body, piece), Some(wanted));
            }
        }
    }

    #[test]
    fn other_bodies_are_read_whole() {
        let body = "{\"usage\":{\"prompt_tokens\":2,\"completion_tokens\":1}}";
        let wanted = Usage { input: 2, output: 1, ..Usage::default() };
        assert_eq!(meter("application/json", body, 5), Some(wanted));
        assert_eq!(meter("application/json", "{\"id\":1}", 5), None);
        assert_eq!(meter("application/json", "<html>", 5), None);
    }
}
