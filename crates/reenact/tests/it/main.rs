//! Integration tests: the real binary on real programs. They need root or user namespaces and fail loudly without.
#![expect(clippy::disallowed_methods, reason = "these tests drive the real binary")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod agents;
mod bad_input;
mod bad_runs;
mod cleanroom;
mod command_agent;
mod docker;
mod formats_out;
mod images;
mod kill_nine;
mod main_job;
mod probes;
mod programbench_again;
mod programbench_eval;
mod programbench_formats;
mod programbench_meddling;
mod programbench_official;
mod programbench_steps;
mod support;
mod unprivileged;
