//! How to evaluate.

use reenact_model::run::Harness;
use reenact_sandbox::Isolation;
use reenact_sandbox::container::Network;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// The image that submissions are graded in: the official tool's default.
pub const DEFAULT_IMAGE_TAG: &str = "task_cleanroom_v6";

/// Settings of an evaluation. The defaults are the official tool's, but for the network.
#[derive(Clone, Debug)]
pub struct Options {
    pub image_tag: String,
    /// CPUs of a container, and workers of pytest-xdist where a suite asks for `auto`.
    pub cpus: u32,
    /// Branches of an instance that are tested at once.
    pub branch_workers: usize,
    /// How often a branch is tested again when a worker of pytest-xdist died or a step failed.
    pub branch_retries: u32,
    /// Evaluate again what has a result.
    pub force: bool,
    /// Of builds and tests.
    pub network: Network,
    pub compile_timeout: Duration,
    /// Of one branch.
    pub test_timeout: Duration,
    /// Where a suite's names differ from the listed ones by a prefix only, the strict score takes them for the same.
    pub accept_aliases: bool,
    pub isolation: Isolation,
    pub harness: Harness,
    /// Becomes true when the user wants to stop.
    pub stop: Arc<AtomicBool>,
}

impl Options {
    /// The defaults.
    pub fn new(harness: Harness, stop: Arc<AtomicBool>) -> Self {
        Self {
            image_tag: DEFAULT_IMAGE_TAG.to_owned(),
            cpus: default_cpus(),
            branch_workers: 1,
            branch_retries: 1,
            force: false,
            network: Network::None,
            compile_timeout: Duration::from_secs(900),
            test_timeout: Duration::from_secs(3600),
            accept_aliases: false,
            isolation: Isolation::default(),
            harness,
            stop,
        }
    }
}

/// `PROGRAMBENCH_DOCKER_CPUS`, else what the host has, at most the official ten: more workers than cores only wait.
pub fn default_cpus() -> u32 {
    let set = std::env::var("PROGRAMBENCH_DOCKER_CPUS").ok().and_then(|v| v.trim().parse().ok());
    let host =
        std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
    set.filter(|n| *n > 0).unwrap_or_else(|| host.min(10))
}
