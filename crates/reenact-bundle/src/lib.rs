//! Task bundles, suites and blobs on disk, and the shape of the cells that run references and candidates.
//!
//! Everything above the sandbox reads and writes bundles through this crate, so that a bundle has one reader, one writer
//! and one set of error messages.

pub mod bundle;
pub mod fsx;
pub mod lock;
pub mod progress;
pub mod shape;
pub mod suite;

pub use bundle::{BundleError, TaskBundle};
pub use fsx::{FsError, now_rfc3339, write_atomic};
pub use progress::{Progress, Quiet};
pub use suite::{Suite, SuiteDraft};
