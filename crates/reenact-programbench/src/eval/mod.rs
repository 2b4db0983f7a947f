//! The evaluation of submissions: the official steps, in their order, with their codes, in containers of ours; two scores.
//!
//! The steps, their names, limits and codes, the rules of retries and what `<id>.eval.json` holds are those of PyPI
//! `programbench` 1.2.5 (`eval/eval.py`, `eval/eval_batch.py`). What differs: no network in builds and tests; failing tests
//! are run again by a plugin of ours ([`plugin`]); pytest tells us its verdicts ([`channel`]), and the strict score rests on
//! them; every failure has a type.

mod attempts;
mod batch;
mod branch;
mod build;
mod channel;
mod clean;
mod error;
mod images;
mod instance;
mod meddling;
mod official;
mod options;
mod output;
mod packages;
mod partial;
mod plugin;
mod pool;
mod row;
mod sidecar;
mod station;
mod stored;
mod strict;
mod submission;
mod suite;
#[cfg(test)]
mod testing;
mod workspace;

pub use batch::{Mode, Selected, run, select};
pub use channel::{Evidence, Told};
pub use error::EvalError;
pub use images::{Base, DirImages, Images};
pub use official::{Score, reprocess, score};
pub use options::{DEFAULT_IMAGE_TAG, Options, default_cpus};
pub use row::Row;
pub use sidecar::{KIND, Policy, SCHEMA, Sidecar, SidecarBranch};
pub use stored::load;
pub use strict::{Alias, Difference, StrictBranch, Why};

use crate::dataset::Instance;
use std::path::PathBuf;

/// A submission to evaluate.
#[derive(Clone, Debug)]
pub struct Item<'a> {
    pub instance: &'a Instance,
    /// The run directory that has `<id>/submission.tar.gz`.
    pub source: PathBuf,
    /// The run directory that gets the results.
    pub target: PathBuf,
}

impl Item<'_> {
    pub(self) fn id(&self) -> &str {
        &self.instance.id
    }
}

/// Is told how far an evaluation is; from several threads.
pub trait Reporter: Sync {
    fn building(&self, _instance: &str) {}
    fn testing(&self, _instance: &str, _branches: usize, _resumed: usize) {}
    fn tested(&self, _instance: &str, _branch: &str, _done: usize, _total: usize) {}
    fn failed(&self, _instance: &str, _error: &EvalError) {}
    fn finished(&self, _row: &Row) {}
}

/// Tells nobody.
pub struct Silent;

impl Reporter for Silent {}
