//! Progress of long work, as events; the command line decides how to show them.

/// Receives progress. Called from one thread at a time.
pub trait Progress {
    /// A new stage begins; a short phrase such as `calibrating 412 cases`.
    fn stage(&self, text: &str);
    /// `done` of `total` units of the current stage are finished.
    fn tick(&self, done: u64, total: u64);
    /// Something worth a line of its own (a warning, a decision).
    fn note(&self, text: &str);
}

/// Shows nothing.
pub struct Quiet;

impl Progress for Quiet {
    fn stage(&self, _: &str) {}
    fn tick(&self, _: u64, _: u64) {}
    fn note(&self, _: &str) {}
}
