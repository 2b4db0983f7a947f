//! Hidden suites: mined, generated, recorded, calibrated and gated.
pub mod error;
pub mod surface;
pub mod words;
pub mod lab;
pub mod inputs;
pub mod maker;
pub mod bases;
pub mod generate;
