//! Container images without a daemon: registries, archives, layouts, and a content-addressed store of unpacked layers.
//!
//! A layer is unpacked once, as a directory that overlayfs can use as it is; an image is a configuration and an ordered list
//! of such directories. Nothing here starts a process; kernel calls that `std` lacks are `reenact_sandbox`'s.

mod archive;
mod config;
mod copy;
mod digest;
mod error;
mod layer;
mod manifest;
mod pipe;
mod progress;
mod reference;
mod registry;
mod store;
mod tarball;
#[cfg(test)]
mod testing;

pub use archive::ImportOptions;
pub use config::ImageConfig;
pub use digest::Digest;
pub use error::{ImageError, RegistryError};
pub use layer::{Notes, UnpackLimits, Unpacked, unpack_layer};
pub use progress::{Progress, Silent};
pub use reference::{DEFAULT_REGISTRY, Reference, Version};
pub use registry::PullOptions;
pub use store::{Gc, GcOptions, Image, KEPT_FOR, Store};
