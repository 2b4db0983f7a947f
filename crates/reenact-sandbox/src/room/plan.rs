//! The set-up plan of a room: as a cell's, with a workspace that stays, and with the oracle's broker.

use super::{OracleSpec, RoomSpec, libraries};
use crate::error::SandboxError;
use crate::plan::{ATTR_NODEV, ATTR_NOSUID, ATTR_RDONLY, Plan};
use crate::spec::{CellSpec, HOME, PROGRAM, WORKSPACE, default_step_limits};
use crate::start::{KEPT, Mode, child_plan, outer_namespaces, random_u64};
use crate::{filter, image, rootfs};
use std::path::Path;

/// Capabilities that the broker keeps: CHOWN, DAC_OVERRIDE, KILL, SETGID, SETUID, SYS_ADMIN (bits of capability(7)).
const BROKER_KEPT: u64 = 1 | 1 << 1 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 21;
/// SYS_PTRACE: only for references with private libraries, which are seen while they load and not after.
const TRACE: u64 = 1 << 19;
/// Where these are, by number; only root may enter. The zygote's `oracle/veil.rs` names it too.
const LIBRARIES: &str = "run/.v";
/// Empty files of mode 0, where they belong.
const PLACEHOLDERS: &str = "run/.p";
/// Where the stub lies in the room, beside where it is mounted.
const STUB: &str = "run/.o/executable";
/// `security.capability` of version 2 with the effective bit and no capability at all: executing the file gains nothing, but
/// is a gain, so that the kernel sets AT_SECURE and the loader ignores its environment (linux/capability.h,
/// `struct vfs_cap_data`; ld.so(8), "Secure-execution mode").
const NO_CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// The spec of the cell that a room is.
pub fn cell_spec(spec: &RoomSpec) -> CellSpec {
    CellSpec {
        rootfs: spec.rootfs.clone(),
        mounts: spec.mounts.clone(),
        scratch: Vec::new(),
        cwd: WORKSPACE.to_owned(),
        hostname: spec.hostname.clone(),
        limits: spec.limits,
        step_limits: default_step_limits(),
        env: spec.env.clone(),
        isolation: spec.isolation,
    }
}

/// The whole plan. `stage` is an empty directory of the host.
pub fn make(spec: &RoomSpec, mode: &Mode, cgroup: bool, stage: &str) -> Result<Plan, SandboxError> {
    let cell = cell_spec(spec);
    let ids = mode.ids();
    let mut plan = Plan::default();
    outer_namespaces(&mut plan, mode);
    plan.loopback();
    if let Some(oracle) = &spec.oracle {
        plan.broker(broker(oracle, &cell, mode, cgroup, stage)?);
    }
    plan.unshare("unshare the pid namespace", libc::CLONE_NEWPID);
    plan.fork();
    plan.mount("/ as private", Path::new("none"), "/", "", libc::MS_REC | libc::MS_PRIVATE, "");
    plan.hostname(&spec.hostname);
    rootfs::build(&mut plan, stage, &cell, ids)?;
    workspace(&mut plan, spec, stage, ids);
    if spec.oracle.is_some() {
        plan.mkdir(&format!("{stage}/run/.o"), 0o755);
        plan.write_file(&format!("{stage}/{STUB}"), image::STUB, 0o755);
        plan.mkfile(&format!("{stage}{PROGRAM}"), 0o444);
        cover(&mut plan, stage);
        plan.meet();
    }
    plan.pivot(stage);
    plan.setattr("/", false, ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV);
    plan.child(&child_plan(&spec.limits, mode, cgroup));
    plan.drop_bounding(KEPT);
    plan.no_new_privs();
    plan.not_dumpable();
    let cookie = random_u64()?;
    plan.seccomp(cookie, &filter::program(filter::Kind::Agent, cookie));
    plan.room();
    Ok(plan)
}

/// One tmpfs for everything that can be written, so that one limit holds for all of it.
fn workspace(plan: &mut Plan, spec: &RoomSpec, stage: &str, ids: (u32, u32)) {
    let place = format!("{stage}/run/w");
    let options =
        format!("mode=711,size={},nr_inodes={}", spec.limits.disk_bytes, spec.limits.inodes);
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    plan.mount("the workspace", Path::new("tmpfs"), &place, "tmpfs", flags, &options);
    for (name, mode, target) in [
        ("workspace", 0o755, WORKSPACE),
        ("home", 0o755, HOME),
        ("tmp", 0o1777, "/tmp"),
        ("shm", 0o1777, "/dev/shm"),
    ] {
        let dir = format!("{place}/{name}");
        plan.mkdir(&dir, 0o755);
        plan.chown(&dir, ids.0, ids.1);
        plan.chmod(&dir, mode);
        let full = format!("{stage}{target}");
        plan.mount(target, Path::new(&dir), &full, "", libc::MS_BIND, "");
    }
    plan.umount(&place, libc::MNT_DETACH);
}

/// Mounts the stub where the reference is to be called.
fn cover(plan: &mut Plan, stage: &str) {
    let target = format!("{stage}{PROGRAM}");
    let stub = format!("{stage}/{STUB}");
    plan.mount("the stub", Path::new(&stub), &target, "", libc::MS_BIND, "");
    plan.setattr(&target, false, ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV);
}

/// What the broker does, in a mount namespace of its own, when the root is built: lays the reference's files over it, puts the
/// reference *between* the agent's stub and one more mount of it, and keeps the only handle to it. So the reference's path
/// reads as the agent knows it, and whoever opens that path, the reference's own children included, meets the stub.
fn broker(
    oracle: &OracleSpec,
    cell: &CellSpec,
    mode: &Mode,
    cgroup: bool,
    stage: &str,
) -> Result<Plan, SandboxError> {
    let fail = |what: String| SandboxError::Spec { path: oracle.reference.clone(), what };
    let reference =
        oracle.reference.canonicalize().map_err(|e| fail(format!("the reference: {e}")))?;
    let size = reference.metadata().map_err(|e| fail(format!("the reference: {e}")))?.len();
    if oracle.secure && mode.userns {
        return Err(SandboxError::Layer {
            layer: "secure execution of a dynamic reference",
            why: "it needs a file capability, which only root can give".to_owned(),
        });
    }
    let mut plan = Plan::default();
    plan.unshare("a mount namespace of its own", libc::CLONE_NEWNS);
    // Without root the reference is not run in secure-execution mode, and so has no seal anyway.
    let hidden = if oracle.secure { libraries::in_layers(&oracle.layers)? } else { Vec::new() };
    keep_libraries(&mut plan, stage, &hidden);
    rootfs::lay_over(&mut plan, stage, cell, &oracle.layers, PLACEHOLDERS, &hidden)?;
    // A copy on a tmpfs: neutral in mountinfo, with mode and attributes of our choice, whatever file system the bundle is on.
    let place = format!("{stage}/run/.r");
    plan.mkdir(&place, 0o700);
    let options = format!("mode=711,size={},nr_inodes=8", size + (1 << 20));
    plan.mount(
        "a place for the reference",
        Path::new("tmpfs"),
        &place,
        "tmpfs",
        libc::MS_NODEV,
        &options,
    );
    let copy = format!("{place}/executable");
    plan.copy(&reference, &copy, 0o111);
    if oracle.secure {
        plan.setxattr(&copy, "security.capability", &NO_CAPABILITY);
    }
    let target = format!("{stage}{PROGRAM}");
    plan.mount("the reference", Path::new(&copy), &target, "", libc::MS_BIND, "");
    // Not `nosuid`: that would take the file capability's effect away.
    plan.setattr(&target, false, ATTR_RDONLY | ATTR_NODEV);
    plan.reference(&target);
    cover(&mut plan, stage);
    plan.umount(&place, libc::MNT_DETACH);
    plan.pid_ns(&format!("{stage}/proc/1/ns/pid"));
    plan.pivot(stage);
    plan.setattr("/", false, ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV);
    let mut child = child_plan(&cell.limits, mode, cgroup);
    // The broker's own /proc/self is not there: it is in another pid namespace.
    child.oom = reenact_zygote::proto::oom::AS_IS;
    plan.child(&child);
    plan.drop_bounding(if hidden.is_empty() { BROKER_KEPT } else { BROKER_KEPT | TRACE });
    plan.hide(&libraries::paths(&hidden));
    plan.no_new_privs();
    plan.not_dumpable();
    let cookie = random_u64()?;
    plan.seccomp(cookie, &filter::program(filter::Kind::Oracle, cookie));
    // A terminal of its own for every caller on a terminal. The other way, the caller's terminal bound over /dev/tty in a mount
    // namespace of each run's own, would leave dead namespaces behind, in which masks no longer cover (`docs/threat-model.md`).
    plan.serve(true);
    Ok(plan)
}

/// Copies the private libraries to where sessions take them from.
fn keep_libraries(plan: &mut Plan, stage: &str, hidden: &[libraries::Library]) {
    if hidden.is_empty() {
        return;
    }
    let place = format!("{stage}/{LIBRARIES}");
    let size: u64 = hidden.iter().map(|l| l.size + 4096).sum();
    plan.mkdir(&place, 0o700);
    let options = format!("mode=700,size={},nr_inodes={}", size + (1 << 20), hidden.len() + 8);
    let flags = libc::MS_NODEV | libc::MS_NOSUID;
    plan.mount("the libraries", Path::new("tmpfs"), &place, "tmpfs", flags, &options);
    for (i, library) in hidden.iter().enumerate() {
        plan.copy(&library.source, &format!("{place}/{i}"), 0o444);
    }
}
