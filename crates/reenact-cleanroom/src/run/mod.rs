//! Runs: many tasks, attempts and workers under one policy.

pub mod runner;
