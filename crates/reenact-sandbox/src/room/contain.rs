//! The set-up plan of a container: an overlay of image layers, in which nothing of the image is ever followed as a path by us.
//!
//! Whatever we need in the root (`/proc`, `/dev`, `/sys`, `/etc/hosts`, places for mounts) is in a layer of our own, the topmost
//! of the read-only ones: there our entries win over an image's, so that its symlinks cannot lead a mount elsewhere, and what
//! the container changes stays free of them.

use crate::cgroup::{System, WorkerCgroup};
use crate::container::{ContainerSpec, Network};
use crate::error::SandboxError;
use crate::plan::{ATTR_NODEV, ATTR_NOSUID, ATTR_RDONLY, ChildPlan, Plan};
use crate::spec::Setting;
use crate::start::{Mode, random_u64};
use crate::{filter, rootfs};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

/// KILL, SETGID, SETUID (bits of capability(7)).
const PID_1_NEEDS: u64 = 1 << 5 | 1 << 6 | 1 << 7;
/// What `mount(2)` takes as options: a page. It cuts longer ones off without a word.
const OPTIONS_MAX: usize = 4094;
/// A number no host reaches; control groups take it for no limit.
const NO_LIMIT: u64 = 1 << 62;
/// What of /proc is read-only, and what is covered, in containers of the common engines (OCI runtime-spec, `maskedPaths` and
/// `readonlyPaths` of their defaults).
const PROC_READ_ONLY: &[&str] = &["asound", "bus", "fs", "irq", "sys", "sysrq-trigger"];
const PROC_COVERED: &[&str] = &[
    "acpi",
    "interrupts",
    "kallsyms",
    "kcore",
    "keys",
    "kmsg",
    "kpagecount",
    "kpageflags",
    "kpagecgroup",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
];
const SYS_COVERED: &[&str] = &["firmware", "devices/virtual/powercap", "fs/cgroup", "kernel"];

/// The container's control group, and whether it limits the CPU time.
pub fn cgroup(spec: &ContainerSpec) -> Result<Option<(WorkerCgroup, bool)>, SandboxError> {
    if spec.isolation.cgroup == Setting::Fallback {
        return Ok(None);
    }
    let system = System::read().map_err(|e| e.to_string());
    match system.and_then(|s| s.hierarchy().map(|h| (s, h))) {
        Ok((system, hierarchy)) => {
            let memory = spec.memory_bytes.unwrap_or(NO_LIMIT);
            let mut group = WorkerCgroup::create(&hierarchy, memory, spec.processes)?;
            let limited = match spec.cpus.filter(|c| *c < host_cpus()) {
                Some(cpus) => group.limit_cpus(&system, cpus)?,
                None => false,
            };
            Ok(Some((group, limited)))
        }
        Err(why) if spec.isolation.cgroup == Setting::Require => {
            Err(SandboxError::Layer { layer: "cgroup", why })
        }
        Err(_) => Ok(None),
    }
}

fn host_cpus() -> f64 {
    std::thread::available_parallelism().map_or(f64::INFINITY, |n| n.get() as f64)
}

/// Isolation layers, by name.
pub fn layers(
    spec: &ContainerSpec,
    mode: &Mode,
    cgroup: Option<&(WorkerCgroup, bool)>,
) -> BTreeMap<String, String> {
    let by = |what: &str| cgroup.map_or(what.to_owned(), |c| c.0.kind().to_owned());
    let cpu = if cgroup.is_some_and(|c| c.1) { by("") } else { "not limited".to_owned() };
    let network = match spec.network {
        Network::None => "none (empty namespace)",
        Network::Host => "the host's",
    };
    let memory = match spec.memory_bytes {
        Some(_) => by("not limited"),
        None => "not limited".to_owned(),
    };
    [
        (
            "namespaces",
            if mode.userns {
                "user, mount, pid, ipc, uts, cgroup"
            } else {
                "mount, pid, ipc, uts, cgroup"
            }
            .to_owned(),
        ),
        ("network", network.to_owned()),
        ("root", "overlay of image layers, writable, pivot_root".to_owned()),
        (
            "uid",
            if mode.userns { "single-uid user namespace" } else { "as asked; root is possible" }
                .to_owned(),
        ),
        ("capabilities", format!("{:#x}", spec.capabilities)),
        ("no_new_privs", if spec.no_new_privileges { "yes" } else { "no" }.to_owned()),
        ("seccomp", "filter".to_owned()),
        ("memory", memory),
        ("cpu", cpu),
        ("processes", by("not limited")),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), v))
    .collect()
}

fn bad(path: &Path, what: impl Into<String>) -> SandboxError {
    SandboxError::Spec { path: path.to_path_buf(), what: what.into() }
}

/// Our own layer, under construction on the host: `scratch/own`.
struct Own<'a> {
    root: PathBuf,
    below: &'a [PathBuf],
}

impl Own<'_> {
    fn host(path: &Path) -> impl Fn(std::io::Error) -> SandboxError {
        let what = format!("cannot prepare {}", path.display());
        move |e| SandboxError::host(what.clone(), e)
    }

    /// A directory and its parents, each with the mode and owner that the image gives it, if it does.
    fn dir(&self, path: &Path) -> Result<(), SandboxError> {
        let mut so_far = PathBuf::new();
        for part in path.components() {
            let Component::Normal(name) = part else { continue };
            so_far.push(name);
            let full = self.root.join(&so_far);
            if full.is_dir() {
                continue;
            }
            let fail = Self::host(&full);
            std::fs::create_dir(&full).map_err(&fail)?;
            let theirs = self.below.iter().find_map(|layer| {
                layer.join(&so_far).symlink_metadata().ok().filter(std::fs::Metadata::is_dir)
            });
            let mode = theirs.as_ref().map_or(0o755, |m| m.mode() & 0o7777);
            std::fs::set_permissions(&full, PermissionsExt::from_mode(mode)).map_err(&fail)?;
            if let Some(meta) = theirs {
                // Without root there is one owner only.
                let _chowned = std::os::unix::fs::chown(&full, Some(meta.uid()), Some(meta.gid()));
            }
        }
        Ok(())
    }

    fn file(&self, path: &str, text: &[u8]) -> Result<(), SandboxError> {
        let path = Path::new(path);
        self.dir(path.parent().unwrap_or(Path::new("")))?;
        let full = self.root.join(path);
        std::fs::write(&full, text).map_err(Self::host(&full))
    }
}

fn prepare(spec: &ContainerSpec, mode: &Mode) -> Result<(), SandboxError> {
    if spec.layers.is_empty() {
        return Err(bad(&spec.scratch, "a container needs at least one layer"));
    }
    for dir in ["upper", "work", "own"] {
        let full = spec.scratch.join(dir);
        std::fs::create_dir(&full)
            .map_err(|e| bad(&full, format!("cannot be made for the container's changes: {e}")))?;
        std::fs::set_permissions(&full, PermissionsExt::from_mode(0o755))
            .map_err(Own::host(&full))?;
        if mode.userns {
            // Nothing changes unless we are root and made to use a user namespace.
            let (uid, gid) = mode.outer_ids();
            std::os::unix::fs::chown(&full, Some(uid), Some(gid)).map_err(Own::host(&full))?;
        }
    }
    // The root's own mode and owner are the upper directory's.
    if let Some(meta) = spec.layers.iter().find_map(|l| l.metadata().ok()) {
        let upper = spec.scratch.join("upper");
        std::fs::set_permissions(&upper, PermissionsExt::from_mode(meta.mode() & 0o7777))
            .map_err(Own::host(&upper))?;
        if mode.root {
            std::os::unix::fs::chown(&upper, Some(meta.uid()), Some(meta.gid()))
                .map_err(Own::host(&upper))?;
        }
    }
    let own = Own { root: spec.scratch.join("own"), below: &spec.layers };
    for dir in ["proc", "dev", "sys", "etc"] {
        own.dir(Path::new(dir))?;
    }
    let name = &spec.hostname;
    own.file("etc/hostname", format!("{name}\n").as_bytes())?;
    let hosts = format!("127.0.0.1\tlocalhost {name}\n::1\tlocalhost ip6-localhost\n");
    own.file("etc/hosts", hosts.as_bytes())?;
    let resolv = match spec.network {
        // A host without one has no names to resolve either.
        Network::Host => std::fs::read("/etc/resolv.conf").unwrap_or_default(),
        Network::None => Vec::new(),
    };
    own.file("etc/resolv.conf", &resolv)?;
    for mount in &spec.mounts {
        let target = Path::new(&mount.target);
        let plain = target.is_absolute()
            && target.components().all(|c| !matches!(c, Component::ParentDir))
            && target != Path::new("/");
        if !plain || ["/proc", "/dev", "/sys"].iter().any(|p| target.starts_with(p)) {
            return Err(bad(target, "cannot be the place of a mount"));
        }
        let meta = mount.source.metadata().map_err(|e| bad(&mount.source, format!("{e}")))?;
        let relative = mount.target.trim_matches('/');
        if meta.is_dir() {
            own.dir(Path::new(relative))?;
        } else {
            own.file(relative, b"")?;
        }
    }
    Ok(())
}

/// The whole plan. `stage` is an empty directory of the host.
pub fn plan(spec: &ContainerSpec, mode: &Mode, stage: &str) -> Result<Plan, SandboxError> {
    prepare(spec, mode)?;
    let mut plan = Plan::default();
    namespaces(&mut plan, spec, mode);
    plan.unshare("unshare the pid namespace", libc::CLONE_NEWPID);
    plan.fork();
    plan.mount("/ as private", Path::new("none"), "/", "", libc::MS_REC | libc::MS_PRIVATE, "");
    plan.hostname(&spec.hostname);
    let root = overlay(&mut plan, spec, stage)?;
    for name in read_only(spec)? {
        let dir = format!("{root}/{name}");
        plan.mount(&format!("/{name} on itself"), Path::new(&dir), &dir, "", libc::MS_BIND, "");
        plan.setattr(&dir, false, ATTR_RDONLY | ATTR_NODEV);
    }
    kernel_trees(&mut plan, spec, mode, &root);
    for mount in &spec.mounts {
        let target = format!("{root}/{}", mount.target.trim_matches('/'));
        let flags = libc::MS_BIND | libc::MS_REC;
        plan.mount(&mount.target, &mount.source, &target, "", flags, "");
        plan.setattr(&target, true, ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV);
    }
    plan.pivot(&root);
    plan.child(&ChildPlan {
        uid: 0,
        gid: 0,
        set_ids: mode.root,
        set_groups: mode.root,
        oom: reenact_zygote::proto::oom::AS_IS,
        rlimits: vec![(libc::RLIMIT_CORE, 0, 0)],
    });
    let allowed = spec.capabilities & crate::container::DEFAULT_CAPABILITIES;
    plan.drop_bounding(allowed);
    if spec.no_new_privileges {
        plan.no_new_privs();
    }
    plan.not_dumpable();
    plan.seccomp(random_u64()?, &filter::program(filter::Kind::Container, random_u64()?));
    // Nothing beyond what the container's root has, and changing users and killing. (What a root of the container may do comes
    // from the bounding set when it executes; but it enters its directory and finds its program before that.)
    plan.capabilities(allowed | PID_1_NEEDS);
    plan.room();
    Ok(plan)
}

/// The places to be made read-only. What the topmost layer that has the name says is what the overlay shows.
fn read_only(spec: &ContainerSpec) -> Result<Vec<&str>, SandboxError> {
    let mut names = Vec::new();
    for name in &spec.read_only {
        let path = Path::new(name);
        let plain = path.components().all(|c| matches!(c, Component::Normal(_)));
        if name.is_empty() || !plain {
            return Err(bad(path, "is not a path below the image's root"));
        }
        let seen = |place: &Path| {
            spec.layers
                .iter()
                .find_map(|l| l.join(place).symlink_metadata().ok())
                .map(|m| m.file_type())
        };
        // A link on the way could lead anywhere.
        let way = path.ancestors().skip(1).filter(|p| *p != Path::new(""));
        let reached = way.into_iter().all(|p| seen(p).is_some_and(|t| t.is_dir()));
        if reached && seen(path).is_some_and(|t| t.is_dir() || t.is_file()) {
            names.push(name.as_str());
        }
    }
    Ok(names)
}

fn namespaces(plan: &mut Plan, spec: &ContainerSpec, mode: &Mode) {
    if mode.userns {
        let (uid, gid) = mode.outer_ids();
        plan.unshare("unshare the user namespace", libc::CLONE_NEWUSER);
        plan.write_file("/proc/self/setgroups", b"deny", 0o644);
        plan.write_file("/proc/self/uid_map", format!("0 {uid} 1").as_bytes(), 0o644);
        plan.write_file("/proc/self/gid_map", format!("0 {gid} 1").as_bytes(), 0o644);
    }
    plan.unshare("unshare the mount namespace", libc::CLONE_NEWNS);
    if spec.network == Network::None {
        plan.unshare("unshare the network namespace", libc::CLONE_NEWNET);
        plan.loopback();
    }
    plan.unshare("unshare the ipc namespace", libc::CLONE_NEWIPC);
    plan.unshare("unshare the uts namespace", libc::CLONE_NEWUTS);
    plan.unshare("unshare the cgroup namespace", libc::CLONE_NEWCGROUP);
}

/// Mounts the root; gives its path under the stage. The layers are bound to short names first: the options of a mount are a
/// page at most, whatever the store's path is, and the mount table then shows nothing of the host.
fn overlay(plan: &mut Plan, spec: &ContainerSpec, stage: &str) -> Result<String, SandboxError> {
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    plan.mount("the stage", Path::new("tmpfs"), stage, "tmpfs", flags, "mode=755,size=1m");
    let own = spec.scratch.join("own");
    let mut ways = Vec::new();
    for (i, layer) in std::iter::once(&own).chain(&spec.layers).enumerate() {
        let way = format!("{stage}/{i}");
        plan.mkdir(&way, 0o700);
        plan.mount(&format!("layer {i}"), layer, &way, "", libc::MS_BIND, "");
        ways.push(way);
    }
    let changes = format!("{stage}/c");
    plan.mkdir(&changes, 0o700);
    plan.mount("the container's changes", &spec.scratch, &changes, "", libc::MS_BIND, "");
    let root = format!("{stage}/root");
    plan.mkdir(&root, 0o755);
    // `volatile`: nothing here is to survive a crash of the host, so nothing waits for the disk. `userxattr`: marks of layers
    // are in the namespace that needs no rights (Documentation/filesystems/overlayfs.rst).
    let options = format!(
        "lowerdir={},upperdir={changes}/upper,workdir={changes}/work,userxattr,volatile",
        ways.join(":")
    );
    if options.len() > OPTIONS_MAX {
        let what = format!("an image of {} layers is too much for one mount", spec.layers.len());
        return Err(bad(&spec.scratch, what));
    }
    plan.mount(
        "the root (overlay)",
        Path::new("overlay"),
        &root,
        "overlay",
        libc::MS_NODEV,
        &options,
    );
    for way in ways.iter().chain([&changes]) {
        plan.umount(way, libc::MNT_DETACH);
    }
    Ok(root)
}

/// /proc, /sys and /dev as the common engines give them.
fn kernel_trees(plan: &mut Plan, spec: &ContainerSpec, mode: &Mode, root: &str) {
    let quiet = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    let proc = format!("{root}/proc");
    plan.mount("proc", Path::new("proc"), &proc, "proc", quiet, "");
    for name in PROC_READ_ONLY.iter().filter(|n| Path::new("/proc").join(n).exists()) {
        let full = format!("{proc}/{name}");
        plan.mount(name, Path::new(&full), &full, "", libc::MS_BIND, "");
        plan.setattr(&full, false, ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV);
    }
    cover(plan, "/proc", &proc, PROC_COVERED);
    // A user namespace may not mount another sysfs where parts of the first are covered.
    if mode.root {
        let sys = format!("{root}/sys");
        plan.mount("sysfs", Path::new("sysfs"), &sys, "sysfs", quiet | libc::MS_RDONLY, "");
        cover(plan, "/sys", &sys, SYS_COVERED);
    }
    let dev = format!("{root}/dev");
    plan.mount("/dev", Path::new("tmpfs"), &dev, "tmpfs", libc::MS_NOSUID, "mode=755,size=64k");
    rootfs::devices(plan, &dev);
    let shm = format!("{dev}/shm");
    plan.mkdir(&shm, 0o755);
    let options = format!("mode=1777,size={}", spec.shm_bytes);
    plan.mount("/dev/shm", Path::new("tmpfs"), &shm, "tmpfs", quiet, &options);
}

/// Covers those that this kernel has: files by /dev/null, directories by an empty one.
fn cover(plan: &mut Plan, host: &str, place: &str, names: &[&str]) {
    for name in names {
        let Ok(meta) = Path::new(host).join(name).metadata() else { continue };
        let full = format!("{place}/{name}");
        if meta.is_dir() {
            let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
            plan.mount(&full, Path::new("tmpfs"), &full, "tmpfs", flags, "size=4k");
        } else {
            plan.mount(&full, Path::new("/dev/null"), &full, "", libc::MS_BIND, "");
            plan.setattr(&full, false, ATTR_RDONLY | ATTR_NOSUID);
        }
    }
}
