//! Grading: build a submission in a sealed cell, run the hidden suite on what it built, judge outside, record at once.
//!
//! The journal is the truth about progress: whatever kills a grading, the same call goes on where it was and judges nothing
//! twice. A failure of the sandbox, the disk or a bundle is never a program's failure: it ends as an error or as an outcome
//! that is excluded from scores (DESIGN 10). What a submission may rely on is written in `docs/submissions.md`.

mod build;
mod candidate;
mod compile;
mod doubt;
mod ending;
mod error;
mod grade;
mod integrity;
mod journal;
mod lean;
mod lock;
mod options;
mod regrade;
mod result;
mod rundir;
mod suite_run;
mod task;
mod trees;
pub mod trim;
pub mod unpack;

pub use error::GradeError;
pub use grade::{grade, load_results};
pub use integrity::{Adjudicated, adjudicate};
pub use options::{GradeOptions, GradeReporter, Silent};
pub use regrade::regrade;
pub use result::ALMOST;
pub use unpack::{UnpackError, UnpackLimits, UnpackReport, unpack};
