//! JUnit XML as ProgramBench's grader reads it (`eval/eval.py` of PyPI `programbench` 1.2.5 on `junitparser`), from a file that
//! the program under test may have written: bounded everywhere, without document types, and so without entities to expand.
//!
//! A name is `classname.name`. A test case may have one result (`failure`, `error`, `skipped`, at any depth below it); several
//! of one kind count once, several kinds are a `system_error`. Repeated and unlisted names are kept: what they mean is for
//! whoever scores.

mod number;
mod read;
#[cfg(test)]
mod tests;

use crate::programbench::{Extra, Status};

pub use read::parse;

/// What a file may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the file.
    pub bytes: usize,
    /// Elements within each other.
    pub depth: usize,
    /// Test cases.
    pub cases: usize,
    /// Bytes of one attribute's value, as written.
    pub attribute: usize,
}

impl Default for Limits {
    /// 256 MiB; the largest suite there is has 14,637 tests in one task.
    fn default() -> Self {
        Self { bytes: 256 << 20, depth: 64, cases: 1_000_000, attribute: 16 << 20 }
    }
}

/// One test case.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// `classname.name`, never empty.
    pub name: String,
    pub status: Status,
    pub extra: Extra,
}

/// A file's contents.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Junit {
    /// Of the suites, a suite's own cases before those of suites within it.
    pub cases: Vec<Case>,
    /// `testcase` elements anywhere in the file: what retries are compared by.
    pub testcases: usize,
    /// Test cases during which a worker of pytest-xdist died.
    pub worker_crashes: usize,
}

/// Why a file is no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JunitError {
    #[error("is empty")]
    Empty,
    #[error("at byte {at}: {what}")]
    Malformed { at: u64, what: String },
    #[error("has more than {limit} {what}")]
    TooLarge { what: &'static str, limit: usize },
}
