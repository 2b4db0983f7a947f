//! The agents: programs of ours without a model, and those that have one.

mod asking;
pub mod bash;
pub mod command;
mod ground;
mod help;
mod keeper;
mod memorizer;
mod null;
pub mod prompts;
mod questions;
mod reference;
pub mod relay;
pub mod replay;
mod session;
mod shown;
pub mod talk;
mod turns;

pub use help::Help;
pub use memorizer::Memorizer;
pub(crate) use memorizer::memorizer_settings;
pub use null::Null;
pub use questions::first_probes;
pub(crate) use reference::submission as reference_submission;
