//! What programs are fed: contents of files and of standard input, typed values of options, small programs.

pub mod corpora;
pub mod languages;
pub mod values;

pub use corpora::Kind;
