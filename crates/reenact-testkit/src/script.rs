//! Scripts: what the model says, and what goes wrong before it does.

use std::time::Duration;

/// What the model says at one point of a conversation.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    pub(crate) text: String,
    pub(crate) reasoning: String,
    pub(crate) calls: Vec<Call>,
    pub(crate) tokens: Tokens,
    pub(crate) finish: Option<&'static str>,
    pub(crate) faults: Vec<(Times, Fault)>,
}

/// A tool call.
#[derive(Clone, Debug)]
pub struct Call {
    pub name: String,
    /// JSON text as the model writes it; need not be valid.
    pub arguments: String,
}

/// Tokens that the server claims. `input` is all of it; `cached` and `written` are parts of it.
#[derive(Clone, Copy, Debug)]
pub struct Tokens {
    pub input: u64,
    pub cached: u64,
    pub written: u64,
    pub output: u64,
}

impl Default for Tokens {
    fn default() -> Self {
        Self { input: 100, cached: 0, written: 0, output: 10 }
    }
}

/// How often a fault happens, counted over the server's life for each turn.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Times {
    First(u64),
    Always,
}

/// What goes wrong instead of an answer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// An HTTP status with an error body in the shape of the request's API.
    Status { code: u16, message: String, retry_after: Option<String>, location: Option<String> },
    /// This text as the body of a 200.
    Body(String),
    /// The right answer, cut in the middle; the length in its header is that of the cut body.
    TruncatedJson,
    /// The right answer, cut in the middle by closing the connection.
    Cut,
    /// The connection is closed without a byte.
    Close,
    /// No answer before the server is dropped.
    Hang,
    /// The right answer, after a while.
    Slow(Duration),
    /// A 200 with a text of this many bytes. `announced`: with a Content-Length.
    Huge { bytes: u64, announced: bool },
    /// Another turn instead of this one.
    Says(Box<Turn>),
}

impl Fault {
    /// An HTTP error.
    pub fn status(code: u16) -> Self {
        let message = format!("scripted error {code}");
        Self::Status { code, message, retry_after: None, location: None }
    }

    /// Adds a `Retry-After` header to an HTTP error.
    #[must_use]
    pub fn retry_after(mut self, value: &str) -> Self {
        if let Self::Status { retry_after, .. } = &mut self {
            *retry_after = Some(value.to_owned());
        }
        self
    }

    /// Sets the message of an HTTP error.
    #[must_use]
    pub fn message(mut self, text: &str) -> Self {
        if let Self::Status { message, .. } = &mut self {
            *message = text.to_owned();
        }
        self
    }

    /// A redirect to another address.
    pub fn redirect(to: &str) -> Self {
        let location = Some(to.to_owned());
        Self::Status { code: 307, message: String::new(), retry_after: None, location }
    }
}

impl Turn {
    /// Text without a tool call.
    pub fn text(text: &str) -> Self {
        Self { text: text.to_owned(), ..Self::default() }
    }

    /// One command of the `bash` tool.
    pub fn bash(command: &str) -> Self {
        Self::default().and_bash(command)
    }

    /// Ends the task the way mini-swe-agent and `reenact run --agent bash` do.
    pub fn submit() -> Self {
        Self::bash("echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT")
    }

    /// A call with arguments that need not be JSON.
    pub fn call(name: &str, arguments: &str) -> Self {
        let call = Call { name: name.to_owned(), arguments: arguments.to_owned() };
        Self { calls: vec![call], ..Self::default() }
    }

    /// Adds a further command to the same reply.
    #[must_use]
    pub fn and_bash(mut self, command: &str) -> Self {
        let arguments = serde_json::json!({ "command": command }).to_string();
        self.calls.push(Call { name: "bash".to_owned(), arguments });
        self
    }

    /// Sets the text beside tool calls.
    #[must_use]
    pub fn saying(mut self, text: &str) -> Self {
        text.clone_into(&mut self.text);
        self
    }

    /// Sets what the model thought.
    #[must_use]
    pub fn thinking(mut self, text: &str) -> Self {
        text.clone_into(&mut self.reasoning);
        self
    }

    /// Sets input and output tokens.
    #[must_use]
    pub fn usage(mut self, input: u64, output: u64) -> Self {
        self.tokens.input = input;
        self.tokens.output = output;
        self
    }

    /// Sets how many of the input tokens were read from and written to a cache.
    #[must_use]
    pub fn cache(mut self, cached: u64, written: u64) -> Self {
        self.tokens.cached = cached;
        self.tokens.written = written;
        self
    }

    /// Sets the reason of the end (`length`, `content_filter`, `refusal`), in the word of the API that is asked.
    #[must_use]
    pub fn finish(mut self, reason: &'static str) -> Self {
        self.finish = Some(reason);
        self
    }

    /// Lets the first `times` requests for this turn meet `fault`. Several faults happen one after the other.
    #[must_use]
    pub fn fault(mut self, times: u64, fault: Fault) -> Self {
        self.faults.push((Times::First(times), fault));
        self
    }

    /// Lets every further request for this turn meet `fault`.
    #[must_use]
    pub fn always(mut self, fault: Fault) -> Self {
        self.faults.push((Times::Always, fault));
        self
    }

    /// The fault that request number `nth` (from 0) for this turn meets.
    pub(crate) fn fault_of(&self, mut nth: u64) -> Option<&Fault> {
        for (times, fault) in &self.faults {
            match times {
                Times::Always => return Some(fault),
                Times::First(n) if nth < *n => return Some(fault),
                Times::First(n) => nth -= n,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_happen_one_after_the_other() {
        let turn = Turn::submit().fault(2, Fault::status(429)).fault(1, Fault::Close);
        let kinds: Vec<_> = (0..5)
            .map(|n| match turn.fault_of(n) {
                Some(Fault::Status { code, .. }) => *code,
                Some(_) => 1,
                None => 0,
            })
            .collect();
        assert_eq!(kinds, [429, 429, 1, 0, 0]);
        assert!(Turn::submit().always(Fault::Hang).fault_of(1000).is_some());
    }
}
