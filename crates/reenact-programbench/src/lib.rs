//! ProgramBench: its tasks and suites read, its evaluation run, its submissions written. The formats are in `reenact-interop`.

pub mod dataset;
pub mod eval;
pub mod submit;
