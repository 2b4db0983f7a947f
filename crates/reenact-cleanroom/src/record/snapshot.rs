//! Snapshots of the workspace, by content.
