//! What a container is and where it is in its life, as files.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What a container is: written once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    pub id: String,
    pub name: String,
    /// As it was asked for, and the id that it meant then.
    pub image: String,
    pub image_id: String,
    /// RFC 3339
    pub created: String,
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    /// As docker writes users; empty is root.
    pub user: String,
    pub cwd: String,
    pub hostname: String,
    pub init: bool,
    pub remove: bool,
    pub interactive: bool,
    /// The image store, and what of it the container uses: layers, topmost first, and the directory of its changes.
    pub store: PathBuf,
    pub layers: Vec<PathBuf>,
    pub scratch: PathBuf,
    pub host_network: bool,
    pub memory: Option<u64>,
    pub cpus: Option<f64>,
    pub processes: u32,
    pub shm_bytes: u64,
    pub capabilities: u64,
    pub no_new_privileges: bool,
    pub mounts: Vec<(PathBuf, String)>,
    pub labels: BTreeMap<String, String>,
    pub stop_signal: i32,
    pub stop_seconds: u64,
    /// `auto`, `cgroup` or `rlimit`.
    pub limits: String,
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    #[default]
    Created,
    Running,
    Exited,
    /// Its station was killed: what it held is gone, but for its changes on disk.
    Dead,
}

impl Status {
    /// docker's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }
}

/// `state.json`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    pub status: Status,
    /// Of the station.
    pub pid: u32,
    pub code: Option<i32>,
    /// RFC 3339; empty: not yet.
    pub started: String,
    pub finished: String,
    pub error: String,
}

/// Why a station did not start; `failed.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub what: String,
    pub code: i32,
}
