//! Tasks of ProgramBench's: read from their package's task directories, or as [`import`] left them.

mod error;
mod import;
mod instance;
mod load;
mod manifest;
mod select;

pub use error::DatasetError;
pub use import::{ImportError, ImportOptions, Imported, import};
pub use instance::{Counts, Instance, Place};
pub use load::{Dataset, locate};
pub(crate) use manifest::file_digest;
pub use manifest::{About, Origin, TaskToml};
pub use select::{Select, Slice};

/// Ids of tasks that are no part of the benchmark start with this: the package's own fixture.
pub const FIXTURE_PREFIX: &str = "testorg__";

/// Tasks of the benchmark: the denominator of every headline, whatever was attempted.
pub const BENCHMARK_SIZE: usize = 200;

/// The package whose formats and arithmetic are followed.
pub const PROGRAMBENCH_VERSION: &str = "1.2.5";
