//! Test support: archives, a small task with a recorded suite, and gradings of it.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod archive;
pub mod bench;
