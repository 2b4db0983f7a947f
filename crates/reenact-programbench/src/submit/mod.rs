//! Evaluated run directories: their scores, as leaderboard submissions and back, checked; and the leaderboard.
//!
//! The official tool scores a run directory the same way wherever it does (`submission.py`), and so do we: [`score`].

mod artifact;
mod error;
mod fetch;
mod files;
mod git;
mod info;
mod leaderboard;
mod manifest;
mod package;
mod recombine;
pub mod score;
mod split;
mod verify;
mod words;

pub use error::SubmitError;
pub use info::{Info, InfoRow, Standing, info};
pub use leaderboard::{Compiled, LeaderboardOptions, compile};
pub use package::{Packaged, package};
pub use recombine::{Recombined, recombine};
pub(crate) use recombine::{United, united};
pub use verify::{Check, Evaluate, Verified, verify, verify_tier1};
