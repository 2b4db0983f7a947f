//! Starting a cell: who we are on this host, the plan, the zygote.

use crate::cgroup::{System, WorkerCgroup};
use crate::error::SandboxError;
use crate::plan::{ATTR_NODEV, ATTR_NOSUID, ATTR_RDONLY, ChildPlan, Plan};
use crate::spec::{CellLimits, CellSpec, HOME, Isolation, RootBase, Setting};
use crate::wire::Wire;
use crate::{filter, image, rootfs};
use reenact_zygote::proto::{Reader, Sink, oom, op, re};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The user of every program in a cell.
pub const USER: u32 = 1000;
/// First outer uid of cells that need one of their own (no control groups, or a forced user namespace).
const OUTER_BASE: u32 = 61_000;
/// The zygote answers a set-up within this, or is lost.
const SETUP_TIMEOUT: Duration = Duration::from_secs(30);
/// Capabilities that the zygote keeps: CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, KILL, SETGID, SETUID, SYS_ADMIN,
/// SYS_RESOURCE (bits of capability(7)).
pub(crate) const KEPT: u64 =
    1 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 21 | 1 << 24;

/// A started zygote and what belongs to it.
pub struct Running {
    pub wire: Wire,
    pub process: Child,
    pub cgroup: Option<WorkerCgroup>,
    pub layers: BTreeMap<String, String>,
    /// Memory limit to be enforced by polling, bytes; 0 if a control group does it.
    pub poll_memory: u64,
}

/// How a cell gets its rights on this host.
pub(crate) struct Mode {
    pub root: bool,
    pub userns: bool,
    euid: u32,
    egid: u32,
    /// Uid that the zygote's process is started with, where it differs from ours.
    switch_to: Option<u32>,
    /// Uid of the programs, as the cell sees it.
    child_uid: u32,
}

impl Mode {
    /// Ids of the programs, as the cell sees them.
    pub fn ids(&self) -> (u32, u32) {
        (self.child_uid, if self.userns { USER } else { self.child_uid })
    }

    /// Owner, on the host, of what programs create.
    pub fn outer_ids(&self) -> (u32, u32) {
        if self.userns { (self.euid, self.egid) } else { self.ids() }
    }
}

static NEXT_WORKER: AtomicU32 = AtomicU32::new(0);

pub(crate) fn mode(isolation: &Isolation, cgroup: bool) -> Mode {
    // SAFETY: these calls cannot fail and have no arguments.
    let (euid, egid) = unsafe { (libc::geteuid(), libc::getegid()) };
    let root = euid == 0;
    let own = || {
        OUTER_BASE
            + (std::process::id().wrapping_mul(31) + NEXT_WORKER.fetch_add(1, Ordering::Relaxed))
                % 4000
    };
    if root && isolation.force_userns {
        let uid = own();
        return Mode {
            root: false,
            userns: true,
            euid: uid,
            egid: uid,
            switch_to: Some(uid),
            child_uid: USER,
        };
    }
    // Without control groups the kernel counts processes by user, so each worker needs a user of its own.
    let child_uid = if root && !cgroup { own() } else { USER };
    Mode { root, userns: !root, euid, egid, switch_to: None, child_uid }
}

/// Starts a zygote and performs the set-up plan.
pub fn start(spec: &CellSpec) -> Result<Running, SandboxError> {
    check(spec)?;
    let cgroup = worker_cgroup(&spec.isolation, &spec.limits)?;
    let mode = mode(&spec.isolation, cgroup.is_some());
    let stage = stage()?;
    let plan = make_plan(spec, &mode, cgroup.is_some(), stage_path(&stage)?)?;
    let (ours, theirs) =
        UnixStream::pair().map_err(|e| SandboxError::host("cannot make a socket pair", e))?;
    let process = spawn_zygote(theirs, Stdio::null(), &mode)?;
    let mut running = Running {
        wire: Wire::new(ours),
        process,
        layers: layers(&spec.rootfs.base, &mode, cgroup.as_ref()),
        poll_memory: if cgroup.is_some() { 0 } else { spec.limits.memory_bytes },
        cgroup,
    };
    if let Err(e) = set_up(&mut running, &plan) {
        end(&mut running);
        return Err(e);
    }
    Ok(running)
}

/// An empty directory on which a cell's root is mounted, in the cell's own mount namespace.
pub(crate) fn stage() -> Result<tempfile::TempDir, SandboxError> {
    tempfile::Builder::new()
        .prefix("cell-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .map_err(|e| SandboxError::host("cannot create a directory for the cell's root", e))
}

pub(crate) fn stage_path(stage: &tempfile::TempDir) -> Result<&str, SandboxError> {
    stage.path().to_str().ok_or_else(|| SandboxError::Spec {
        path: stage.path().to_path_buf(),
        what: "the temporary directory's path is not UTF-8".to_owned(),
    })
}

/// How long a zygote may take to end after its socket closed, before its outer process is killed.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Ends a zygote and everything in its cell, and reaps the outer process. The socket is closed first: the zygote then
/// exits by itself, is reaped by the outer process, and no orphan is left for the host's init.
pub fn end(running: &mut Running) {
    running.wire.close();
    let deadline = Instant::now() + LAST_WORDS;
    while Instant::now() < deadline {
        if !matches!(running.process.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    // Either it is gone already, or the kill ends it; there is nothing to do about a failure in a destructor.
    let _killed = running.process.kill();
    let _reaped = running.process.wait();
}

fn check(spec: &CellSpec) -> Result<(), SandboxError> {
    let cwd = Path::new(&spec.cwd);
    let under = |p: &str| cwd.starts_with(p);
    let clean = cwd.components().all(|c| !matches!(c, std::path::Component::ParentDir));
    let taken = [
        "/proc",
        "/dev",
        "/sys",
        "/usr",
        "/bin",
        "/lib",
        "/etc",
        "/workspace",
        HOME,
        "/tmp",
        "/run/w",
    ];
    if !cwd.is_absolute() || !clean || cwd == Path::new("/") || taken.iter().any(|p| under(p)) {
        let what = format!(
            "cannot be the working directory of cases; it must be absolute and not under {}",
            taken.join(", ")
        );
        return Err(SandboxError::Spec { path: cwd.to_path_buf(), what });
    }
    Ok(())
}

pub(crate) fn worker_cgroup(
    isolation: &Isolation,
    limits: &CellLimits,
) -> Result<Option<WorkerCgroup>, SandboxError> {
    if isolation.cgroup == Setting::Fallback {
        return Ok(None);
    }
    let found = System::read().map_err(|e| e.to_string()).and_then(|s| s.hierarchy());
    match found {
        Ok(hierarchy) => {
            WorkerCgroup::create(&hierarchy, limits.memory_bytes, limits.processes).map(Some)
        }
        Err(why) if isolation.cgroup == Setting::Require => {
            Err(SandboxError::Layer { layer: "cgroup", why })
        }
        Err(_) => Ok(None),
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that starts zygotes")]
pub(crate) fn spawn_zygote(
    socket: UnixStream,
    stdout: Stdio,
    mode: &Mode,
) -> Result<Child, SandboxError> {
    let mut command = std::process::Command::new(image::zygote_path()?);
    command
        .arg0("init")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(socket)))
        .stdout(stdout)
        .stderr(Stdio::null())
        // Ctrl-C at our terminal is for us to handle, not for cells to die of.
        .process_group(0);
    if let Some(uid) = mode.switch_to {
        command.uid(uid).gid(uid);
    }
    command.spawn().map_err(|e| SandboxError::host("cannot start the zygote", e))
}

pub(crate) fn set_up(running: &mut Running, plan: &Plan) -> Result<(), SandboxError> {
    if let Some(cgroup) = &running.cgroup {
        cgroup.join(running.process.id())?;
    }
    running.wire.set_timeout(SETUP_TIMEOUT)?;
    running.wire.frame(op::SETUP).put(plan.bytes());
    running.wire.flush()?;
    let frame = running.wire.next()?;
    let mut r = Reader::new(&frame.payload);
    match frame.op {
        re::SETUP_OK => Ok(()),
        re::SETUP_FAILED => {
            let (index, errno) = (r.u32().unwrap_or(0), r.u32().unwrap_or(0));
            let (step, errno) = plan.failure(index, errno);
            Err(SandboxError::Setup { step, error: std::io::Error::from_raw_os_error(errno) })
        }
        _ => Err(crate::wire::failed(&frame)),
    }
}

fn make_plan(
    spec: &CellSpec,
    mode: &Mode,
    cgroup: bool,
    stage: &str,
) -> Result<Plan, SandboxError> {
    let mut plan = Plan::default();
    outer_namespaces(&mut plan, mode);
    plan.unshare("unshare the pid namespace", libc::CLONE_NEWPID);
    plan.fork();
    plan.mount("/ as private", Path::new("none"), "/", "", libc::MS_REC | libc::MS_PRIVATE, "");
    plan.hostname(&spec.hostname);
    let ids = mode.ids();
    rootfs::build(&mut plan, stage, spec, ids)?;
    plan.pivot(stage);
    let options =
        format!("mode=711,size={},nr_inodes={}", spec.limits.disk_bytes, spec.limits.inodes);
    let roots = [
        ("w", 0o755, spec.cwd.as_str()),
        ("h", 0o755, HOME),
        ("t", 0o1777, "/tmp"),
        ("s", 0o1777, "/dev/shm"),
    ];
    plan.workspace(ids.0, ids.1, "/run/w", &options, roots);
    plan.setattr("/", false, ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV);
    plan.child(&child_plan(&spec.limits, mode, cgroup));
    plan.drop_bounding(KEPT);
    plan.no_new_privs();
    plan.not_dumpable();
    let cookie = random_u64()?;
    plan.seccomp(cookie, &filter::program(filter::Kind::Case, cookie));
    Ok(plan)
}

/// The namespaces that are made before the pid namespace.
pub(crate) fn outer_namespaces(plan: &mut Plan, mode: &Mode) {
    if mode.userns {
        plan.unshare("unshare the user namespace", libc::CLONE_NEWUSER);
        plan.write_file("/proc/self/setgroups", b"deny", 0o644);
        plan.write_file("/proc/self/uid_map", format!("{USER} {} 1", mode.euid).as_bytes(), 0o644);
        plan.write_file("/proc/self/gid_map", format!("{USER} {} 1", mode.egid).as_bytes(), 0o644);
    }
    plan.unshare("unshare the mount namespace", libc::CLONE_NEWNS);
    plan.unshare("unshare the network namespace", libc::CLONE_NEWNET);
    plan.unshare("unshare the ipc namespace", libc::CLONE_NEWIPC);
    plan.unshare("unshare the uts namespace", libc::CLONE_NEWUTS);
    plan.unshare("unshare the cgroup namespace", libc::CLONE_NEWCGROUP);
}

pub(crate) fn child_plan(l: &CellLimits, mode: &Mode, cgroup: bool) -> ChildPlan {
    let ids = mode.ids();
    let mut rlimits = vec![
        (libc::RLIMIT_FSIZE, l.file_bytes, l.file_bytes),
        (libc::RLIMIT_CORE, 0, 0),
        (libc::RLIMIT_NOFILE, u64::from(l.open_files), u64::from(l.open_files)),
        (libc::RLIMIT_STACK, 8 << 20, 64 << 20),
        (libc::RLIMIT_MEMLOCK, 64 << 10, 64 << 10),
    ];
    if !cgroup {
        rlimits.push((libc::RLIMIT_NPROC, u64::from(l.processes), u64::from(l.processes)));
        rlimits.push((libc::RLIMIT_DATA, l.memory_bytes, l.memory_bytes));
    }
    ChildPlan {
        uid: ids.0,
        gid: ids.1,
        set_ids: mode.root,
        set_groups: mode.root,
        oom: oom_mode(mode),
        rlimits,
    }
}

fn oom_mode(mode: &Mode) -> u8 {
    const CAP_SYS_RESOURCE: u32 = 24;
    let capable = std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        let caps = status
            .lines()
            .find_map(|l| l.strip_prefix("CapEff:"))
            .map(str::trim)
            .unwrap_or_default();
        u64::from_str_radix(caps, 16).is_ok_and(|caps| caps & (1 << CAP_SYS_RESOURCE) != 0)
    });
    match (mode.root, capable) {
        (true, true) => oom::PROTECT,
        (true, false) => oom::PREFER_CHILDREN,
        (false, _) => oom::AS_IS,
    }
}

pub(crate) fn layers(
    base: &RootBase,
    mode: &Mode,
    cgroup: Option<&WorkerCgroup>,
) -> BTreeMap<String, String> {
    let limits = |fallback: &str| cgroup.map_or(fallback.to_owned(), |c| c.kind().to_owned());
    let root = match base {
        RootBase::Host => "host view".to_owned(),
        RootBase::Dir(_) => "directory".to_owned(),
    };
    [
        (
            "namespaces",
            if mode.userns {
                "user, mount, pid, network, ipc, uts, cgroup"
            } else {
                "mount, pid, network, ipc, uts, cgroup"
            }
            .to_owned(),
        ),
        ("network", "none (empty namespace)".to_owned()),
        ("root", format!("{root}, read-only, pivot_root")),
        (
            "uid",
            if mode.userns {
                "single-uid user namespace".to_owned()
            } else {
                "setresuid to an unprivileged user".to_owned()
            },
        ),
        ("capabilities", "none".to_owned()),
        ("no_new_privs", "yes".to_owned()),
        ("seccomp", "filter".to_owned()),
        ("memory", limits("RLIMIT_DATA and polling")),
        ("processes", limits("RLIMIT_NPROC")),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), v))
    .collect()
}

pub(crate) fn random_u64() -> Result<u64, SandboxError> {
    let mut raw = [0u8; 8];
    // SAFETY: the buffer is valid for its length.
    let n = unsafe { libc::getrandom(raw.as_mut_ptr().cast(), raw.len(), 0) };
    if n == 8 {
        Ok(u64::from_ne_bytes(raw))
    } else {
        Err(SandboxError::host("getrandom", std::io::Error::last_os_error()))
    }
}
