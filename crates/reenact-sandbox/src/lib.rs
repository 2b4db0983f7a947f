//! Cells: prepared Linux sandboxes in which programs run and are observed.
//!
//! This is the only crate that spawns processes or makes kernel calls. A [`Cell`] is a set of namespaces whose pid 1 is a
//! tiny static program (the *zygote*, crate `reenact-zygote`); it runs one invocation after another and reports facts.
//! The crate knows cases and observations, but not what a task, a suite or a verdict is.

pub mod cell;
pub mod cgroup;
pub mod container;
pub mod doctor;
pub mod error;
pub mod filter;
pub mod floor;
pub mod host;
mod image;
pub mod interrupt;
mod observe;
mod plan;
pub mod pool;
pub mod room;
mod rootfs;
pub mod spec;
mod start;
mod tree;
mod tty;
pub mod unpack;
mod wire;

pub use cell::{Cell, ExportLimits, ExportReport, Invocation};
pub use error::SandboxError;
pub use spec::{CellSpec, Isolation, Mount, Perturbation, RootBase, Rootfs, Scratch, Setting};
