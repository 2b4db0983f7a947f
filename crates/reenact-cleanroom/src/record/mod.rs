//! What a run leaves: trajectory, snapshots, submission, integrity report.

pub mod integrity;
pub mod snapshot;
pub mod submission;
pub mod trajectory;
