//! Tests on real cells.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests; clippy excuses only the test functions themselves"
)]

mod attacks;
mod baselines;
mod common;
mod table;
