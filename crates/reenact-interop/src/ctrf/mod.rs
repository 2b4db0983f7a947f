//! Common Test Report Format (CTRF), a JSON format for test results that Harbor and many CI tools read.
//!
//! Facts were read from its published JSON Schema (npm `ctrf` 0.3.0, `ctrf-schema-0.0.json`, specification 0.0.0). What is
//! written uses only fields that older editions of the schema have too, since each edition refuses fields it does not know; what
//! has no place of its own goes into `extra`.

mod read;
mod write;

pub use read::{ReadTest, Status, read_ctrf};
pub use write::{Span, to_ctrf};
