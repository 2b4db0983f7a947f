//! What an agent asked of the reference: the table of probes, and what of the documented surface they covered.
//!
//! Pure functions of the probe log and of what the documentation says; both are untrusted text.

mod call;
mod coverage;
mod errors;
#[cfg(test)]
pub(crate) mod fixtures;
pub(crate) mod line;
mod list;
mod missing;
mod text;
mod timeline;

pub use coverage::{
    Covered, ErrorCoverage, ExitCoverage, OptionCoverage, ProbeCoverage, StdinCoverage, Tally,
    coverage,
};
pub use errors::ErrorKind;
pub use list::probe_table;
pub use missing::{Missing, missing};
pub use text::coverage_text;
pub use timeline::{Moment, Timeline, Unit};
