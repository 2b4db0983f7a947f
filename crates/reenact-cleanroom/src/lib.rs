//! The cleanroom: any agent works on a task in a room where it can run the reference but never read it ([`open`]), with
//! budgets and resume ([`run`]), and leaves a trajectory, snapshots, a submission, an integrity report ([`record`]) and a log
//! of every probe ([`probes`]). Agents are in [`agents`]; [`station`] lends rooms to other harnesses.
//!
//! An agent's world is the public part of a task and the reference as a black box. Suites are out of reach here: nothing
//! in this crate opens `suite/`, and probes come from the caller as invocations without expectations.

pub mod agents;
pub mod audit;
mod baseline;
pub mod ctable;
mod error;
pub mod mounts;
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
