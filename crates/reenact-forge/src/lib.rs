//! The forge: from a package on the shelf to a task bundle (DESIGN 5).
//!
//! A *source* (`crate:`, `deb:`, `path:`) is fetched by the host's own tools, built or unpacked, sealed, documented and
//! written as a bundle that appears in one rename. What came from outside runs only in cells: builds, the reference, and
//! even the formatter of manual pages. User page: `docs/tasks.md`.

mod archive;
mod check;
mod deb;
mod docs;
mod draft;
mod elf;
mod error;
mod krate;
mod leak;
mod list;
mod new;
mod pack;
mod path;
mod provenance;
mod publish;
mod request;
mod seal;
#[cfg(test)]
mod testing;
mod tool;
mod walk;

pub use check::{CheckItem, CheckReport, check};
pub use error::ForgeError;
pub use leak::{Leak, LeakReport, scan_bundle as leak_check};
pub use list::{ListEntry, list};
pub use new::new_task;
pub use pack::{PackReport, Packed, pack};
pub use request::{NewTask, SourceSpec};
pub use seal::{SealReport, seal_check};
