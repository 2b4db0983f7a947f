//! The submission made from /workspace.
