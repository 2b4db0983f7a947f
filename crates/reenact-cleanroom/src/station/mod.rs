//! Rooms for harnesses from outside: `reenact cleanroom start | exec | cp | stop`.

pub mod client;
pub mod server;
