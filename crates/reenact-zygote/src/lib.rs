//! The zygote: a tiny static program, pid 1 of a cell, that runs one invocation after another and reports facts.
//!
//! It is `no_std`, allocates only by `mmap`, and makes raw system calls, because between `vfork` and `exec` the child
//! shares its memory. The host sends it a set-up plan (which namespaces, mounts and filters, in order), then requests; see
//! [`proto`]. `reenact-sandbox`'s build script compiles `entry.rs` into a static executable that is embedded in every
//! binary that links the sandbox. As a library, the crate gives the host side the protocol.
#![no_std]

#[cfg(not(target_arch = "x86_64"))]
compile_error!(
    "the zygote makes raw x86_64 system calls; other architectures are not supported yet"
);

pub mod buf;
pub mod clean;
pub mod list;
pub mod main_loop;
pub mod oracle;
pub mod proto;
pub mod room;
pub mod run;
pub mod setup;
pub mod spawn;
pub mod sys;
pub mod tty;
