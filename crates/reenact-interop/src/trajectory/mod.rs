//! Trajectories: what an agent said and did, step by step.
//!
//! - [`mini`]: mini-swe-agent's format, which we write ourselves ([`lines`] says how it lies on disk);
//! - [`read_mini`]: reading it, whoever wrote it;
//! - [`adopt`]: bringing anybody's into that layout;
//! - [`atif`]: Harbor's interchange format, with its rules, and [`to_atif`], the translation.

mod adopt;
pub mod atif;
mod export;
pub mod lines;
pub mod mini;
mod read;
mod rules;

pub use adopt::{Adopted, adopt};
pub use export::{Subject, to_atif};
pub use mini::{Action, BlobRef, Extra, Info, Message, MiniTrajectory, Stats, ToolCall, Usage};
pub use read::{MAX_BYTES, Read, read_mini, repaired};
pub use rules::{Broken, check_atif};

#[cfg(test)]
mod tests;
