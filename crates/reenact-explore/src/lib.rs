//! Hidden suites: mined, generated, recorded, calibrated and gated (`docs/suites.md`).
//!
//! The way of a generated suite: [`surface`] (what documentation and `--help` say) → [`bases`] (inputs that the reference
//! accepts) → [`generate`] (candidates, two rounds) → [`feedback`] (worth keeping?) → [`select`] (balance) → [`calibrate`]
//! (repeat under perturbation; mask or drop) → [`dummies`] (gate) → [`finish`] (final passes, `suite.toml`). People's own
//! cases enter at calibration ([`manual`]).
//!
//! Nothing here judges candidates, and the reference runs in cells only. Within its budget a generated suite is a function
//! of the task, the number of cases and the seed: candidates are drawn from seeded sources, results are kept in the order of
//! the candidates, and the clock has no say.

pub mod bases;
pub mod calibrate;
pub mod check;
pub mod describe;
pub mod documented;
pub mod dummies;
pub mod engine;
pub mod environment;
pub mod error;
pub mod facts;
pub mod feedback;
pub mod finish;
pub mod generate;
pub mod inputs;
pub mod lab;
pub mod maker;
pub mod manual;
pub mod mask;
pub mod record;
pub mod select;
pub mod surface;
pub mod taint;
pub mod words;

pub use check::{Gate, SuiteCheck, check};
pub use describe::describe;
pub use documented::documented;
pub use engine::{GenerateOptions, generate, propose};
pub use error::ExploreError;
pub use feedback::Feedback;
pub use lab::ExploreOptions;
pub use manual::{import, record};
