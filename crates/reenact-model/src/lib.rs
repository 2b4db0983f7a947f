//! The vocabulary of Reenact: tasks, suites, cases, observations, expectations, verdicts, run manifests and exit codes.
//!
//! This crate does no I/O. It defines the serialised formats (documented in `docs/formats.md`), parses them with errors
//! that name file, line and field, and judges an observation against an expectation.

pub mod case;
pub mod content;
pub mod digest;
pub mod error;
pub mod exit;
pub mod expect;
pub mod integrity;
pub mod judge;
pub mod observe;
pub mod policy;
pub mod probe;
pub mod run;
pub mod suite;
pub mod surface;
pub mod task;
pub mod verdict;

pub use case::{Case, FileSpec, Key, Limits, Origin, Step, Tty};
pub use content::{BlobSource, Content, NoBlobs};
pub use digest::Digest;
pub use error::FormatError;
pub use exit::ExitCode;
pub use expect::{AfterExpect, ExitExpect, Expect, Masked, Matcher};
pub use judge::{Judged, judge};
pub use observe::{
    Captured, CaseObservation, Ended, Entry, EntryKind, Observation, Resources, Stream,
};
pub use policy::Policy;
pub use run::{Outcome, RunManifest};
pub use suite::SuiteManifest;
pub use task::{Seal, TaskManifest};
pub use verdict::{Channel, FailKind, FailReason, Verdict};

/// Version of every on-disk format this crate writes.
pub const SCHEMA: u32 = 1;
