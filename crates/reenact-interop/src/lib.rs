//! Other people's formats (`docs/formats.md`): types that read and write them exactly, and the translation of our results.
//!
//! Knows no policy: what counts as a pass was decided before a result comes here.

pub mod causes;
mod clean;
pub mod ctrf;
pub mod harbor;
pub mod junit;
pub mod junit_out;
pub mod programbench;
mod story;
pub mod trajectory;
