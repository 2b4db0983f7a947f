//! The clients against scripted servers, over real HTTP on the loopback interface. Timings decide nothing: where a retry
//! must succeed, patience is a minute and waits are milliseconds; where it must run out, it is zero or the fault is final.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is a failed test")]

mod failures;
mod forward;
mod replies;
mod secrets;

use reenact_llm::{
    Client, ClientOptions, Conversation, Endpoint, ModelError, Patience, Reply, Tool,
};
use reenact_testkit::ScriptedModel;
use std::time::Duration;

/// The key of all tests.
const KEY: &str = "sk-test-abcdefghijklmnop-0123456789";

/// Both APIs.
const APIS: [&str; 2] = ["openai", "anthropic"];

/// Patience that outlasts any loaded machine, with waits that nobody notices.
fn patient() -> ClientOptions {
    let wait = Duration::from_millis(1);
    let long = Duration::from_secs(60);
    ClientOptions {
        patience: Patience {
            total: long,
            first_contact: long,
            first: wait,
            longest: wait,
            malformed_tries: 3,
        },
        ..ClientOptions::default()
    }
}

/// Gives up after the first failure.
fn impatient() -> ClientOptions {
    let mut options = patient();
    options.patience.total = Duration::ZERO;
    options
}

fn endpoint(api: &str, base_url: &str) -> Endpoint {
    let env = |_: &str| Some(KEY.to_owned());
    Endpoint::resolve_in(&format!("{api}/some-model"), Some(base_url), None, &env).unwrap()
}

fn client(api: &str, model: &ScriptedModel, options: ClientOptions) -> Client {
    Client::new(endpoint(api, &model.base_url()), options)
}

fn conversation() -> Conversation {
    let mut conversation = Conversation::new("You are an engineer.");
    conversation.user("Rebuild the program.");
    conversation
}

fn ask(client: &Client) -> Result<Reply, ModelError> {
    client.complete(&conversation(), &Tool::bash(), &|| false, &|_| {})
}
