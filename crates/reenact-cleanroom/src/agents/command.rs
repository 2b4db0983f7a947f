//! Any agent program inside the cleanroom.
