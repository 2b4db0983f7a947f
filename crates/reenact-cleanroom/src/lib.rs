//! Agents and run directories. For now the baseline agents of `reenact run`: programs of ours that make a submission
//! without a language model, so that a suite has a floor (`null`, `help`), a middle (`memorizer`) and a ceiling
//! (`reference`).
//!
//! An agent's world is the public part of a task and the reference as a black box. Suites are out of reach here: nothing
//! in this crate opens `suite/`, and probes come from the caller as invocations without expectations.

pub mod agents;
pub mod audit;
mod baseline;
pub mod ctable;
mod error;
pub mod open;
pub mod policy;
pub mod probes;
pub mod record;
pub mod run;
pub mod rundir;
pub mod site;
pub mod station;
pub mod tree;

pub use agents::first_probes;
pub use baseline::{Baseline, RunOptions, run_baseline};
pub use error::CleanroomError;
pub use rundir::RunDir;
