//! Runs of agents: tasks, attempts, workers, budgets, resume.
//!
//! [`runner::run`] is the way in. [`attempt`] is one agent on one task, from the opening of its room to the submission;
//! [`layout`] decides the run directories; [`governor`] which work may start.

pub mod attempt;
pub mod governor;
pub mod layout;
pub mod runner;

pub use governor::Governor;
pub use runner::{Finished, NotStarted, PlannedTask, RunPlan, RunReport, RunReporter, WorkId, run};
