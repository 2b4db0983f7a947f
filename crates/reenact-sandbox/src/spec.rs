//! What a cell is made of.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where the program under test is mounted in every cell that runs one: `/workspace/executable`.
pub const WORKSPACE: &str = "/workspace";
/// The program under test, in the cell.
pub const PROGRAM: &str = "/workspace/executable";
/// Default working directory of a case. Fresh and empty for each case, like HOME and /tmp.
pub const DEFAULT_CWD: &str = "/work";
/// HOME of every program.
pub const HOME: &str = "/home/user";

/// Everything needed to start a cell. Cells are cheap to clone and restart from their spec.
#[derive(Clone, Debug)]
pub struct CellSpec {
    /// Root filesystem, read-only in the cell.
    pub rootfs: Rootfs,
    /// Host files or directories mounted read-only in the cell.
    pub mounts: Vec<Mount>,
    /// Writable tmpfs trees beside the workspace (builds); kept for the life of the cell, not reset between cases.
    pub scratch: Vec<Scratch>,
    /// Working directory; see [`DEFAULT_CWD`].
    pub cwd: String,
    /// Host name in the cell.
    pub hostname: String,
    /// Limits of the cell as a whole.
    pub limits: CellLimits,
    /// Default limits of one step, where the case gives none.
    pub step_limits: reenact_model::Limits,
    /// Variables of every step (PATH, HOME, LANG, … are set by [`CellSpec::base_env`] unless given here).
    pub env: BTreeMap<String, String>,
    /// Which isolation layers are demanded.
    pub isolation: Isolation,
}

/// A root filesystem.
#[derive(Clone, Debug, Default)]
pub struct Rootfs {
    pub base: RootBase,
    /// Directories laid over the base (read-only overlay), first is topmost. Each is a tree such as `usr/bin/…`.
    pub layers: Vec<PathBuf>,
    /// Absolute paths of files hidden from the cell, where the base has them.
    pub masks: Vec<String>,
    /// Make the host's Rust toolchain visible (builds), at `/opt/rust`.
    pub rust_toolchain: bool,
}

/// The lowest layer of a root filesystem.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RootBase {
    /// A read-only view of the host's `/usr`, `/bin`, `/lib*`, `/sbin`, `/opt`-less, and selected `/etc`.
    #[default]
    Host,
    /// A directory that holds a whole root filesystem (for instance made by debootstrap).
    Dir(PathBuf),
}

/// A read-only bind mount. The target is created in the cell's skeleton.
#[derive(Clone, Debug)]
pub struct Mount {
    pub source: PathBuf,
    pub target: String,
}

/// A writable tmpfs in the cell.
#[derive(Clone, Debug)]
pub struct Scratch {
    pub target: String,
    pub size_bytes: u64,
    pub inodes: u64,
}

/// Limits of a cell as a whole. There is no "unlimited".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellLimits {
    /// Memory of all processes and tmpfs pages, bytes.
    pub memory_bytes: u64,
    /// Processes and threads at once.
    pub processes: u32,
    /// Workspace (cwd, HOME, /tmp, /dev/shm together), bytes.
    pub disk_bytes: u64,
    /// Workspace inodes.
    pub inodes: u64,
    /// Open files of one process.
    pub open_files: u32,
    /// Largest file, bytes (RLIMIT_FSIZE).
    pub file_bytes: u64,
}

impl Default for CellLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 1 << 30,
            processes: 128,
            disk_bytes: 64 << 20,
            inodes: 20_000,
            open_files: 1024,
            file_bytes: 64 << 20,
        }
    }
}

/// How one isolation layer is to be applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Setting {
    /// The strongest form that the host gives; which one is recorded. An error where the host gives none.
    #[default]
    Auto,
    /// The named strong form (cgroup), or an error.
    Require,
    /// Only the fallback form (rlimits and polling), even where cgroups work. For tests and for hosts with broken cgroups.
    Fallback,
}

/// Demands on isolation. Namespaces, read-only root, seccomp, no_new_privs and capability drop have no switch: a cell
/// without them is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Isolation {
    /// Memory and process-count limits: cgroup, or rlimits with polling.
    pub cgroup: Setting,
    /// Use an unprivileged user namespace even as root.
    pub force_userns: bool,
}

/// Perturbation of one case run, for calibration. The default perturbs nothing.
#[derive(Clone, Debug, Default)]
pub struct Perturbation {
    /// Variables set over the step's own (for instance `COLUMNS`).
    pub env: BTreeMap<String, String>,
    /// Processes spawned and reaped first, so that pids differ.
    pub skip_pids: u32,
    /// Start with address-space randomisation off.
    pub no_aslr: bool,
    /// Feed stdin in pieces of this many bytes.
    pub stdin_chunk: Option<u32>,
}

impl CellSpec {
    /// A cell on a view of the host, with default limits.
    pub fn host() -> Self {
        Self {
            rootfs: Rootfs::default(),
            mounts: Vec::new(),
            scratch: Vec::new(),
            cwd: DEFAULT_CWD.to_owned(),
            hostname: "localhost".to_owned(),
            limits: CellLimits::default(),
            step_limits: default_step_limits(),
            env: BTreeMap::new(),
            isolation: Isolation::default(),
        }
    }

    /// The environment of a step before the step's own variables.
    pub fn base_env(&self) -> BTreeMap<String, String> {
        let path = if self.rootfs.rust_toolchain {
            "/opt/rust/bin:/usr/local/bin:/usr/bin:/bin:/usr/games"
        } else {
            "/usr/local/bin:/usr/bin:/bin:/usr/games"
        };
        let mut env: BTreeMap<String, String> = [
            ("PATH", path),
            ("HOME", HOME),
            ("USER", "user"),
            ("LOGNAME", "user"),
            ("LANG", "C.UTF-8"),
            ("TZ", "UTC"),
            ("SHELL", "/bin/sh"),
        ]
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
        env.extend(self.env.clone());
        env
    }
}

/// Limits of a step where neither case nor spec says otherwise.
pub fn default_step_limits() -> reenact_model::Limits {
    reenact_model::Limits {
        wall_ms: Some(10_000),
        cpu_ms: Some(10_000),
        output_bytes: Some(1 << 20),
    }
}
