//! What tests share: model servers that follow a script, over real HTTP on the loopback interface, and container images
//! made of this host's packages ([`image`]).
//!
//! ```
//! use reenact_testkit::{Fault, ScriptedModel, Turn};
//! let model = ScriptedModel::start([
//!     Turn::bash("ls docs").usage(100, 20),
//!     Turn::bash("cc main.c").fault(3, Fault::status(429).retry_after("0")),
//!     Turn::submit(),
//! ]);
//! let address = model.base_url(); // for --base-url, of either API
//! # assert!(address.starts_with("http://127.0.0.1:"));
//! ```
//!
//! One server speaks OpenAI's chat completions and Anthropic's messages, streamed or not. Which turn it plays depends on
//! the request alone (its number of assistant messages), so that a resumed run goes on where it was; only faults are
//! counted in the server.

mod answer;
mod http;
pub mod image;
mod script;
mod server;
mod stream;
mod view;

pub use http::Recorded;
pub use script::{Call, Fault, Tokens, Turn};
pub use server::ScriptedModel;
pub use view::{Api, View};
