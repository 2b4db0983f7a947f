//! What harnesses ask of a container command, without a daemon: one background process a container.
//!
//! A *station* ([`station`]) holds one container and serves a unix socket in a private directory ([`place`]); every command of
//! the outside ([`client`]) is a process of its own that talks to it ([`wire`]). Standard streams have connections of their
//! own. Images come from `reenact-image`'s store ([`images`]).

mod client;
mod entries;
mod error;
mod flags;
mod images;
mod inside;
mod options;
mod output;
mod place;
mod station;
mod template;
mod units;
mod users;
mod wire;

pub use client::{Settings, main};
pub use error::DockerError;
