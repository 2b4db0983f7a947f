//! What a run leaves: trajectory, snapshots, submission, integrity report.

mod archive;
pub mod blobs;
pub mod files;
pub mod integrity;
pub mod kinds;
mod links;
#[cfg(test)]
mod room_tests;
pub mod snapshot;
#[cfg(test)]
mod snapshot_tests;
pub mod submission;
#[cfg(test)]
pub(crate) mod test_room;
pub mod trajectory;
