//! Containers: rooms whose root is a stack of image layers with a writable one on top, and whose commands choose their user.
//! What harnesses that were written for a container engine expect; weaker than a [`crate::Cell`] (a program may be root in it),
//! so candidates are graded in cells wherever a suite allows it.

use crate::error::SandboxError;
use crate::room::{CommandHandle, Exec, Executed, OracleSink, Room, Sinks};
use crate::spec::{Isolation, Mount};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Whether a container has a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// A loopback interface of its own and nothing else.
    None,
    /// The host's.
    Host,
}

/// Capabilities of a container's root by default: those of the common engines, without MKNOD (there is no device control
/// group here) and without NET_RAW. Bits of capability(7): CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID,
/// SETPCAP, NET_BIND_SERVICE, SYS_CHROOT, AUDIT_WRITE, SETFCAP.
pub const DEFAULT_CAPABILITIES: u64 = 1
    | 1 << 1
    | 1 << 3
    | 1 << 4
    | 1 << 5
    | 1 << 6
    | 1 << 7
    | 1 << 8
    | 1 << 10
    | 1 << 18
    | 1 << 29
    | 1 << 31;

/// Everything needed to start a container.
#[derive(Clone, Debug)]
pub struct ContainerSpec {
    /// Read-only layers, topmost first: directories in the form of overlayfs (a removed entry is a character device 0/0, an
    /// opaque directory has `user.overlay.opaque` = `y`). At least one.
    pub layers: Vec<PathBuf>,
    /// An existing directory of the host, on a file system that can hold an overlay's upper layer (not itself an overlay).
    /// `upper`, `work` and `own` are made in it, and must not be there yet.
    pub scratch: PathBuf,
    pub hostname: String,
    pub network: Network,
    /// Bytes; `None`: no limit.
    pub memory_bytes: Option<u64>,
    /// CPU time per time; `None`: no limit. More than the host has is no limit either.
    pub cpus: Option<f64>,
    /// Processes at once.
    pub processes: u32,
    /// Bytes of /dev/shm.
    pub shm_bytes: u64,
    /// What root may do in it: bits of capability(7).
    pub capabilities: u64,
    /// Set-uid programs gain nothing.
    pub no_new_privileges: bool,
    /// Directories and files of the image that cannot be changed: `usr`, `workspace/eval`. What is neither (`bin`, where it is a
    /// link to `usr/bin`), or lies behind a link, is left alone.
    pub read_only: Vec<String>,
    /// Host files or directories, read-only.
    pub mounts: Vec<Mount>,
    pub isolation: Isolation,
}

impl ContainerSpec {
    /// A container on these layers, with the defaults: no network, no limits but 4,096 processes, 64 MiB of /dev/shm.
    pub fn new(layers: Vec<PathBuf>, scratch: PathBuf) -> Self {
        Self {
            layers,
            scratch,
            hostname: "container".to_owned(),
            network: Network::None,
            memory_bytes: None,
            cpus: None,
            processes: 4096,
            shm_bytes: 64 << 20,
            capabilities: DEFAULT_CAPABILITIES,
            no_new_privileges: false,
            read_only: Vec::new(),
            mounts: Vec::new(),
            isolation: Isolation::default(),
        }
    }
}

/// Whom a command runs as: numbers, as the container sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// One command in a container. `command.env` is the whole environment, `command.cwd` None is `/`.
pub struct Run {
    pub command: Exec,
    pub user: User,
    /// The command has these as descriptors 3, 4, …
    pub descriptors: Vec<OwnedFd>,
}

/// A running container: pid 1 is an init of ours that reaps. Dropping it ends everything in it; its `scratch` stays.
pub struct Container {
    room: Room,
    scratch: PathBuf,
}

impl Container {
    /// Starts a container: some ten milliseconds. Nothing but pid 1 runs in it.
    ///
    /// # Errors
    /// [`SandboxError`] naming the layer or set-up step that failed.
    pub fn start(spec: &ContainerSpec) -> Result<Self, SandboxError> {
        let no_events: OracleSink = Box::new(|_| {});
        let room = Room::contain(spec, no_events)?;
        Ok(Self { room, scratch: spec.scratch.clone() })
    }

    /// Isolation layers in force, by name.
    pub fn layers(&self) -> BTreeMap<String, String> {
        self.room.layers()
    }

    /// Runs a command to its end. Several may run at once, from several threads.
    ///
    /// # Errors
    /// [`SandboxError`] if the container is lost; how the command ended is never an error.
    pub fn exec(&self, run: Run) -> Result<Executed, SandboxError> {
        self.room.run_as(run, None, |_| {})
    }

    /// As [`Container::exec`], with the output passed on as it comes as well; `handle` is given what ends or signals this
    /// command alone, before it is started.
    ///
    /// # Errors
    /// As [`Container::exec`].
    pub fn exec_with_handle(
        &self,
        run: Run,
        sinks: Sinks<'_>,
        handle: impl FnOnce(CommandHandle),
    ) -> Result<Executed, SandboxError> {
        self.room.run_as(run, Some(sinks), handle)
    }

    /// Opens a file of the container for reading. Links are followed as a program in the container would; nothing outside is
    /// reached.
    ///
    /// # Errors
    /// [`std::io::Error`] as `open(2)`; a fifo or device is opened without waiting, so look at its type.
    pub fn open(&self, path: &str) -> std::io::Result<std::fs::File> {
        self.room.open_in_root(path, libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY, 0)
    }

    /// Creates or empties a file, to be written by the caller. Its directory must exist. A new file has this mode and owner.
    ///
    /// # Errors
    /// As [`Container::open`].
    pub fn create(
        &self,
        path: &str,
        mode: u32,
        uid: u32,
        gid: u32,
    ) -> std::io::Result<std::fs::File> {
        let flags =
            libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = self.room.open_in_root(path, flags, mode & 0o7777)?;
        std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode & 0o7777))?;
        Ok(file)
    }

    /// What has been changed: an overlay's upper directory, on the host. Its content is the container's, and so untrusted.
    pub fn upper(&self) -> PathBuf {
        self.scratch.join("upper")
    }

    /// Whether commands can have users. Without root they all are the one user that there is, which the container sees as root.
    pub fn has_users(&self) -> bool {
        self.room.has_users()
    }

    /// Whether pid 1 still answers.
    pub fn is_alive(&self) -> bool {
        self.room.is_alive()
    }

    /// Kills everything in it at once, also where pid 1 no longer does what it is told. Commands under way then fail.
    pub fn kill(&self) {
        self.room.kill();
    }

    /// The container's root, as the host can look at it while the container runs (`/proc/self/fd/N`).
    pub fn root(&self) -> &Path {
        self.room.root()
    }
}
