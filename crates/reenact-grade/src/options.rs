//! What a grading is told and whom it tells.

use reenact_bundle::shape::CellOptions;
use reenact_model::run::{Harness, TaskResult};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// How to grade.
#[derive(Clone, Debug)]
pub struct GradeOptions {
    /// Cells at work at once; at least one is used.
    pub workers: usize,
    pub cells: CellOptions,
    /// Wall-clock limit of `compile.sh`, milliseconds; `None` takes the task's.
    pub build_wall_ms: Option<u64>,
    /// Look here for `<id>` before the path that the run's manifest gives.
    pub tasks_root: Option<PathBuf>,
    /// Ids to grade; empty for all.
    pub only: Vec<String>,
    /// Forget what was judged before.
    pub force: bool,
    /// Recorded in results.
    pub harness: Harness,
    /// Set it to stop: no further case is begun, and the same grading resumes later.
    pub stop: Arc<AtomicBool>,
}

/// Is told how a grading goes on. Called from one thread.
pub trait GradeReporter {
    /// A task begins; `resumed` of its `total` cases were judged before.
    fn task_started(&self, task: &str, total: u64, resumed: u64);
    /// The submission is being built.
    fn building(&self, task: &str);
    /// `done` of `total` cases have ended, `passed` of them with a pass.
    fn judged(&self, task: &str, done: u64, total: u64, passed: u64);
    /// A task ended. The result's cases carry no observations; [`crate::load_results`] reads them.
    fn task_finished(&self, result: &TaskResult);
    /// Something worth a line of its own.
    fn note(&self, text: &str);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl GradeReporter for Silent {
    fn task_started(&self, _: &str, _: u64, _: u64) {}
    fn building(&self, _: &str) {}
    fn judged(&self, _: &str, _: u64, _: u64, _: u64) {}
    fn task_finished(&self, _: &TaskResult) {}
    fn note(&self, _: &str) {}
}
