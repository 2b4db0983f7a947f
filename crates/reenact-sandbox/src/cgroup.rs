//! A control group per worker: memory and process limits, and the count of OOM kills.

use crate::error::SandboxError;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Processes of our own in a worker's group: the outer process, the zygote, and a little slack for dying ones.
const OURS: u32 = 4;

/// The leaf in a unified hierarchy that our own processes are moved to.
const SELF: &str = "reenact-self";
/// More processes than a kernel can have (`PID_MAX_LIMIT`, threads.h) are no limit that it takes.
const MOST_PROCESSES: u32 = 4 << 20;

/// Which kind of control groups can be used here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hierarchy {
    /// One directory in the unified hierarchy under which workers are made.
    V2(PathBuf),
    /// The directories of the memory and the pids controller under which workers are made.
    V1 { memory: PathBuf, pids: PathBuf },
}

/// A worker's group; removed when dropped.
#[derive(Debug)]
pub struct WorkerCgroup {
    dirs: Vec<PathBuf>,
    kind: &'static str,
    oom: File,
}

/// Where control groups are described; the real system, or a fake one in tests.
pub struct System {
    pub mountinfo: String,
    pub self_cgroup: String,
}

impl System {
    pub fn read() -> std::io::Result<Self> {
        Ok(Self {
            mountinfo: std::fs::read_to_string("/proc/self/mountinfo")?,
            self_cgroup: std::fs::read_to_string("/proc/self/cgroup")?,
        })
    }

    /// (mount point, our own group in it) of the hierarchy with `controller`; `None` for the unified one.
    fn own(&self, controller: Option<&str>) -> Option<PathBuf> {
        let path = self.self_cgroup.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            match controller {
                None => controllers.is_empty().then_some(path),
                Some(c) => controllers.split(',').any(|x| x == c).then_some(path),
            }
        })?;
        let (mount, root) = self.mountinfo.lines().find_map(|line| {
            // proc(5): ... root mount-point options [optional fields] - fstype source super-options
            let (left, right) = line.split_once(" - ")?;
            let left: Vec<&str> = left.split(' ').collect();
            let right: Vec<&str> = right.split(' ').collect();
            let fits = match controller {
                None => right.first() == Some(&"cgroup2"),
                Some(c) => {
                    right.first() == Some(&"cgroup") && right.get(2)?.split(',').any(|x| x == c)
                }
            };
            fits.then_some((*left.get(4)?, *left.get(3)?))
        })?;
        let relative = path.strip_prefix(root).unwrap_or(path);
        Some(Path::new(mount).join(relative.trim_start_matches('/')))
    }

    /// The usable hierarchy, or why there is none.
    pub fn hierarchy(&self) -> Result<Hierarchy, String> {
        if let (Some(memory), Some(pids)) = (self.own(Some("memory")), self.own(Some("pids"))) {
            for dir in [&memory, &pids] {
                if !writable(dir) {
                    return Err(format!("the v1 control group {} is not writable", dir.display()));
                }
            }
            return Ok(Hierarchy::V1 { memory, pids });
        }
        let own = self
            .own(None)
            .ok_or("no control groups with the memory and pids controllers are mounted")?;
        // We, or whoever started us, were moved there by an earlier call.
        let own = match own.file_name() {
            Some(name) if name == SELF => own.parent().unwrap_or(&own),
            _ => &own,
        };
        prepare_v2(own)
    }
}

fn writable(dir: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let Ok(path) = std::ffi::CString::new(dir.as_os_str().as_bytes()) else { return false };
    // SAFETY: the path is NUL-terminated.
    unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::W_OK, libc::AT_EACCESS) == 0 }
}

/// Makes a group under which workers can have the memory and pids controllers. A group that has processes cannot hand
/// controllers to its children ("no internal processes", cgroup-v2.rst), so ours are moved to a leaf first.
fn prepare_v2(own: &Path) -> Result<Hierarchy, String> {
    let controllers = std::fs::read_to_string(own.join("cgroup.controllers"))
        .map_err(|e| format!("{}: {e}", own.join("cgroup.controllers").display()))?;
    if !["memory", "pids"].iter().all(|c| controllers.split_whitespace().any(|x| x == *c)) {
        return Err(format!(
            "{} lacks the memory or pids controller (it has: {})",
            own.display(),
            controllers.trim()
        ));
    }
    if !writable(own) {
        return Err(format!("{} is not writable (not delegated to this user)", own.display()));
    }
    let enabled = |dir: &Path| {
        std::fs::read_to_string(dir.join("cgroup.subtree_control"))
            .is_ok_and(|s| s.contains("memory") && s.contains("pids"))
    };
    if !enabled(own) {
        let leaf = own.join(SELF);
        std::fs::create_dir_all(&leaf).map_err(|e| format!("{}: {e}", leaf.display()))?;
        let procs = std::fs::read_to_string(own.join("cgroup.procs")).unwrap_or_default();
        for pid in procs.lines() {
            std::fs::write(leaf.join("cgroup.procs"), pid)
                .map_err(|e| format!("cannot move {pid} to {}: {e}", leaf.display()))?;
        }
        std::fs::write(own.join("cgroup.subtree_control"), "+memory +pids")
            .map_err(|e| format!("cannot enable controllers in {}: {e}", own.display()))?;
    }
    Ok(Hierarchy::V2(own.to_path_buf()))
}

static NEXT: AtomicU64 = AtomicU64::new(0);

impl WorkerCgroup {
    /// Makes a group with these limits.
    ///
    /// # Errors
    /// [`SandboxError::Host`] naming the file that could not be written.
    pub fn create(
        hierarchy: &Hierarchy,
        memory_bytes: u64,
        processes: u32,
    ) -> Result<Self, SandboxError> {
        let name =
            format!("reenact-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let max = processes.saturating_add(OURS).min(MOST_PROCESSES).to_string();
        let bytes = memory_bytes.to_string();
        let (dirs, kind, oom, files): (Vec<PathBuf>, _, _, Vec<(usize, &str, &str)>) =
            match hierarchy {
                Hierarchy::V2(parent) => (
                    vec![parent.join(&name)],
                    "cgroup-v2",
                    "memory.events",
                    vec![
                        (0, "memory.max", &bytes),
                        (0, "memory.swap.max", "0"),
                        (0, "pids.max", &max),
                    ],
                ),
                Hierarchy::V1 { memory, pids } => (
                    vec![memory.join(&name), pids.join(&name)],
                    "cgroup-v1",
                    "memory.oom_control",
                    vec![
                        (0, "memory.limit_in_bytes", &bytes),
                        (0, "memory.memsw.limit_in_bytes", &bytes),
                        (1, "pids.max", &max),
                    ],
                ),
            };
        sweep(hierarchy);
        for dir in &dirs {
            std::fs::create_dir(dir)
                .map_err(|e| SandboxError::host(format!("cannot create {}", dir.display()), e))?;
        }
        for (at, file, value) in files {
            let path = dirs[at].join(file);
            // Swap accounting is often compiled out or switched off; without swap there is nothing to limit.
            if (file.contains("swap") || file.contains("memsw")) && !path.exists() {
                continue;
            }
            std::fs::write(&path, value)
                .map_err(|e| SandboxError::host(format!("cannot write {}", path.display()), e))?;
        }
        let path = dirs[0].join(oom);
        let oom = File::open(&path)
            .map_err(|e| SandboxError::host(format!("cannot open {}", path.display()), e))?;
        Ok(Self { dirs, kind, oom })
    }

    /// Limits the CPU time per time (1.5: one and a half processors; the quota of a period of 100 ms, as the common engines
    /// set it). False where this host gives us no CPU controller.
    ///
    /// # Errors
    /// [`SandboxError::Host`] naming the file that could not be written.
    pub fn limit_cpus(&mut self, system: &System, cpus: f64) -> Result<bool, SandboxError> {
        const PERIOD_US: f64 = 100_000.0;
        // The kernel takes no quota below a millisecond.
        let quota = (cpus * PERIOD_US).clamp(1_000.0, 1e12) as u64;
        let write = |path: PathBuf, text: String| {
            std::fs::write(&path, text)
                .map_err(|e| SandboxError::host(format!("cannot write {}", path.display()), e))
        };
        if self.kind == "cgroup-v2" {
            let Some(parent) = self.dirs[0].parent() else { return Ok(false) };
            if !self.dirs[0].join("cpu.max").exists()
                && std::fs::write(parent.join("cgroup.subtree_control"), "+cpu").is_err()
            {
                return Ok(false);
            }
            write(self.dirs[0].join("cpu.max"), format!("{quota} {PERIOD_US}"))?;
            return Ok(true);
        }
        let (Some(own), Some(name)) = (system.own(Some("cpu")), self.dirs[0].file_name()) else {
            return Ok(false);
        };
        let dir = own.join(name);
        if !writable(&own)
            || !own.join("cpu.cfs_quota_us").exists() && !own.join("cpu.shares").exists()
        {
            return Ok(false);
        }
        sweep_in(&own);
        std::fs::create_dir(&dir)
            .map_err(|e| SandboxError::host(format!("cannot create {}", dir.display()), e))?;
        self.dirs.push(dir.clone());
        write(dir.join("cpu.cfs_quota_us"), quota.to_string())?;
        Ok(true)
    }

    /// `cgroup-v1` or `cgroup-v2`.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Moves a process into the group.
    ///
    /// # Errors
    /// [`SandboxError::Host`].
    pub fn join(&self, pid: u32) -> Result<(), SandboxError> {
        for dir in &self.dirs {
            let path = dir.join("cgroup.procs");
            std::fs::write(&path, pid.to_string())
                .map_err(|e| SandboxError::host(format!("cannot write {}", path.display()), e))?;
        }
        Ok(())
    }

    /// OOM kills counted so far (`oom_kill` of memory.oom_control or memory.events).
    pub fn oom_kills(&self) -> u64 {
        let mut text = [0u8; 256];
        let n = self.oom.read_at(&mut text, 0).unwrap_or(0);
        String::from_utf8_lossy(&text[..n])
            .lines()
            .find_map(|l| l.strip_prefix("oom_kill ").and_then(|v| v.trim().parse().ok()))
            .unwrap_or(0)
    }
}

impl Drop for WorkerCgroup {
    fn drop(&mut self) {
        for dir in &self.dirs {
            // Dying processes may hold the group for a moment; what remains is swept by the next run.
            for _ in 0..50 {
                if std::fs::remove_dir(dir).is_ok() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
    }
}

/// Removes groups of harness processes that are gone (killed with SIGKILL).
fn sweep(hierarchy: &Hierarchy) {
    let parents = match hierarchy {
        Hierarchy::V2(dir) => vec![dir],
        Hierarchy::V1 { memory, pids } => vec![memory, pids],
    };
    parents.into_iter().for_each(|dir| sweep_in(dir));
}

fn sweep_in(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|n| n.strip_prefix("reenact-")?.split('-').next()?.parse::<u32>().ok());
        if let Some(pid) = owner
            && !Path::new(&format!("/proc/{pid}")).exists()
        {
            // Another process may sweep at the same time; either one suffices.
            let _swept = std::fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_hosts_use_their_v1_controllers() {
        let dir = tempfile::tempdir().unwrap();
        let (mem, pids) = (dir.path().join("memory"), dir.path().join("pids"));
        std::fs::create_dir_all(mem.join("a")).unwrap();
        std::fs::create_dir_all(pids.join("a")).unwrap();
        let system = System {
            mountinfo: format!(
                "30 20 0:1 / {} rw - cgroup cgroup rw,memory\n31 20 0:2 / {} rw - cgroup cgroup rw,pids\n32 20 0:3 / /u rw - cgroup2 cgroup2 rw\n",
                mem.display(),
                pids.display()
            ),
            self_cgroup: "8:pids:/a\n4:memory:/a\n0::/x\n".to_owned(),
        };
        assert_eq!(
            system.hierarchy(),
            Ok(Hierarchy::V1 { memory: mem.join("a"), pids: pids.join("a") })
        );
    }

    #[test]
    fn unified_hosts_move_themselves_to_a_leaf() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("scope");
        std::fs::create_dir_all(&own).unwrap();
        std::fs::write(own.join("cgroup.controllers"), "cpu memory pids\n").unwrap();
        std::fs::write(own.join("cgroup.subtree_control"), "").unwrap();
        std::fs::write(own.join("cgroup.procs"), "77\n").unwrap();
        let system = System {
            mountinfo: format!("30 20 0:1 / {} rw - cgroup2 cgroup2 rw\n", dir.path().display()),
            self_cgroup: "0::/scope\n".to_owned(),
        };
        assert_eq!(system.hierarchy(), Ok(Hierarchy::V2(own.clone())));
        assert_eq!(std::fs::read_to_string(own.join("reenact-self/cgroup.procs")).unwrap(), "77");
        assert_eq!(
            std::fs::read_to_string(own.join("cgroup.subtree_control")).unwrap(),
            "+memory +pids"
        );
        // Asked again by a process that is in the leaf by now, or by one that it started.
        let system = System { self_cgroup: "0::/scope/reenact-self\n".to_owned(), ..system };
        assert_eq!(system.hierarchy(), Ok(Hierarchy::V2(own.clone())));
        assert!(!own.join("reenact-self/reenact-self").exists());
    }

    #[test]
    fn hosts_without_controllers_say_why() {
        let system = System { mountinfo: String::new(), self_cgroup: "0::/\n".to_owned() };
        assert!(system.hierarchy().unwrap_err().contains("no control groups"));
    }
}
