//! What people read: the summary table, one failing case, failures grouped by likeness, and the HTML report.
//!
//! Pure functions from results to strings; no I/O. Results hold bytes that hostile programs wrote, so nothing of them
//! reaches a terminal or a page raw: every text passes through [`visible`], and the page is escaped once more by its
//! template.

mod channel;
mod compare;
mod diff;
mod failures;
#[cfg(test)]
mod fixtures;
mod hex;
mod html;
pub mod probes;
mod recipe;
mod show;
mod summary;
mod table;
mod term;
pub mod visible;
mod words;

pub use failures::{FailureGroup, failures, group_failures};
pub use html::{Left, ReportError, RunView, SuiteView, html};
pub use show::show_case;
pub use summary::{Row, Summary, Totals, summarise};
pub use table::{comparison_table, table};
