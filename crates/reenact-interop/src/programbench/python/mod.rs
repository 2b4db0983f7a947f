//! What Python writes, byte for byte: floats, rounding, sums, JSON. ProgramBench's files are written by it, and compared.

mod float;
mod json;
mod parse;
mod value;

pub use float::{repr, round, sum};
pub use value::{JsonError, Value};
