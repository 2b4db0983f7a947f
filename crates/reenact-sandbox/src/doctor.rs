//! Which isolation layers and tools this host gives, each with a remedy where it is missing.
//!
//! Layers are proven by use: cells are started and programs in them report what they see.

use crate::cell::{Cell, Invocation};
use crate::cgroup::System;
use crate::error::SandboxError;
use crate::host::{self, HostCommand};
use crate::spec::{CellSpec, Perturbation};
use reenact_model::{Case, NoBlobs, Observation, Step, Tty};
use serde::Serialize;

/// State of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Yes,
    Degraded,
    No,
}

/// One line of the doctor's report.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// Short name (`cells`, `user-namespaces`, `memory-limit`, `seccomp`, `apt`, `cargo`, …).
    pub name: &'static str,
    pub status: Status,
    /// What was found.
    pub found: String,
    /// What to do about it, where it is not `yes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// Without it nothing can be graded.
    pub required: bool,
}

/// The whole report.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub checks: Vec<Check>,
    /// Whether cells can be started here: the proof is that one was.
    pub usable: bool,
}

/// What a probe program in a cell prints, one `name=value` a line.
const PROBE: &str = r#"
while read -r name value _; do case $name in
  NoNewPrivs:) echo "no_new_privs=$value";; Seccomp:) echo "seccomp=$value";; CapEff:) echo "caps=$value";;
esac; done < /proc/self/status
if (: > /usr/.reenact) 2>/dev/null; then echo root=writable; else echo root=read-only; fi
if [ -e /proc/sys/net ] && grep -qE '^ *(e|w)' /proc/net/dev; then echo net=yes; else echo net=none; fi
"#;

/// Examines the host by really starting cells.
pub fn examine() -> Report {
    let mut checks = vec![platform()];
    let cell = Cell::start(&CellSpec::host());
    let usable = cell.is_ok();
    match cell {
        Ok(mut cell) => {
            let layers = cell.layers();
            let uid = layers.get("uid").cloned().unwrap_or_default();
            checks.push(yes("cells", format!("a cell was started ({uid})"), true));
            checks.extend(layers_of(&mut cell));
            checks.push(limit("memory-limit", layers.get("memory")));
            checks.push(limit("process-limit", layers.get("processes")));
            checks.push(terminal(&mut cell));
        }
        Err(e) => checks.push(no("cells", e.to_string(), cell_remedy(&e), true)),
    }
    if usable {
        checks.push(overlay());
    }
    checks.push(user_namespaces());
    checks.extend(tools());
    checks.push(disk());
    Report { checks, usable }
}

fn yes(name: &'static str, found: impl Into<String>, required: bool) -> Check {
    Check { name, status: Status::Yes, found: found.into(), remedy: None, required }
}

fn no(
    name: &'static str,
    found: impl Into<String>,
    remedy: impl Into<String>,
    required: bool,
) -> Check {
    Check { name, status: Status::No, found: found.into(), remedy: Some(remedy.into()), required }
}

fn degraded(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Check {
    Check {
        name,
        status: Status::Degraded,
        found: found.into(),
        remedy: Some(remedy.into()),
        required: false,
    }
}

fn platform() -> Check {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let mut parts = release.split(['.', '-']).map(|p| p.parse::<u32>().unwrap_or(0));
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    let found = format!("Linux {release}, x86_64");
    if version >= (5, 12) {
        yes("platform", found, true)
    } else {
        no("platform", found, "a kernel of 5.12 or newer is needed (mount_setattr)", true)
    }
}

/// What to do when a cell cannot be started.
pub fn cell_remedy(error: &SandboxError) -> String {
    let text = error.to_string();
    if text.contains("user namespace") || text.contains("/proc/self/") {
        "run as root, or allow unprivileged user namespaces: `sysctl -w user.max_user_namespaces=10000` and, where they \
         exist, `sysctl -w kernel.unprivileged_userns_clone=1` (Debian) and \
         `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` (Ubuntu 24.04 and later)"
            .to_owned()
    } else if text.contains("proc") {
        "the cell needs its own /proc; in a container, run with an unmasked /proc (podman: `--security-opt unmask=ALL`; \
         docker: `--security-opt systempaths=unconfined`)"
            .to_owned()
    } else {
        "run as root, or in a container with CAP_SYS_ADMIN; Ubuntu 24.04 and later restrict user namespaces: `sysctl -w \
         kernel.apparmor_restrict_unprivileged_userns=0`"
            .to_owned()
    }
}

fn run_shell(cell: &mut Cell, script: &str) -> Result<Observation, SandboxError> {
    cell.run(&Invocation {
        program: "/bin/sh".to_owned(),
        args: vec!["-c".to_owned(), script.to_owned()],
        ..Default::default()
    })
}

fn layers_of(cell: &mut Cell) -> Vec<Check> {
    let text = match run_shell(cell, PROBE) {
        Ok(seen) => String::from_utf8_lossy(seen.stdout.inline_bytes()).into_owned(),
        Err(e) => return vec![no("layers", e.to_string(), "report this as a bug", true)],
    };
    let has = |line: &str| text.lines().any(|l| l == line);
    let layer = |name, ok: bool, found: &str| {
        if ok {
            yes(name, found, true)
        } else {
            no(name, format!("not in force; the probe saw: {text}"), "report this as a bug", true)
        }
    };
    vec![
        layer("seccomp", has("seccomp=2"), "filter in force"),
        layer("no-new-privs", has("no_new_privs=1"), "set"),
        layer("capabilities", has("caps=0000000000000000"), "none left"),
        layer("read-only-root", has("root=read-only"), "pivot_root on a read-only view"),
        layer("no-network", has("net=none"), "an empty network namespace"),
    ]
}

fn limit(name: &'static str, form: Option<&String>) -> Check {
    let form = form.cloned().unwrap_or_default();
    if form.starts_with("cgroup") {
        return yes(name, form, false);
    }
    let why = System::read()
        .map_err(|e| e.to_string())
        .and_then(|s| s.hierarchy().map(|_| String::new()));
    let why = why.err().unwrap_or_default();
    degraded(
        name,
        format!("{form}: {why}"),
        "run as root, or in a delegated control group: `systemd-run --user --scope -p Delegate=yes reenact …`",
    )
}

fn terminal(cell: &mut Cell) -> Check {
    let tty = Tty { rows: 24, cols: 80, keys: Vec::new() };
    let step = Step {
        argv: vec!["-c".into(), "test -t 0 && stty size".into()],
        tty: Some(tty),
        ..Default::default()
    };
    let case = Case {
        id: "doctor".to_owned(),
        group: "doctor".to_owned(),
        steps: vec![step],
        files: Default::default(),
        after: Default::default(),
        limits: Default::default(),
        origin: None,
        tags: Default::default(),
        weight: 1,
    };
    match cell.run_case("/bin/sh", &case, &NoBlobs, &Perturbation::default()) {
        Ok(seen) if seen.steps[0].screen.as_deref().is_some_and(|s| s.contains("24 80")) => {
            yes("terminals", "a program saw a terminal of 24 x 80", false)
        }
        Ok(seen) => degraded(
            "terminals",
            format!("unexpected: {:?}", seen.steps[0].ended),
            "terminal cases will fail here",
        ),
        Err(e) => degraded(
            "terminals",
            e.to_string(),
            "devpts must be mountable in a cell; terminal cases will fail here",
        ),
    }
}

fn overlay() -> Check {
    let remedy = "overlayfs must be available (kernel 5.11 or newer for unprivileged users): references with shared \
                  libraries or data files cannot run here";
    let result = (|| -> Result<bool, SandboxError> {
        let layer =
            tempfile::tempdir().map_err(|e| SandboxError::host("temporary directory", e))?;
        let dir = layer.path().join("usr/share/reenact-doctor");
        std::fs::create_dir_all(&dir).map_err(|e| SandboxError::host("temporary directory", e))?;
        use std::os::unix::fs::PermissionsExt;
        for made in [layer.path(), &layer.path().join("usr"), &layer.path().join("usr/share")] {
            std::fs::set_permissions(made, std::fs::Permissions::from_mode(0o755))
                .map_err(|e| SandboxError::host("temporary directory", e))?;
        }
        let mut spec = CellSpec::host();
        spec.rootfs.layers.push(layer.path().to_path_buf());
        let mut cell = Cell::start(&spec)?;
        let seen =
            run_shell(&mut cell, "test -d /usr/share/reenact-doctor && test -x /usr/bin/env")?;
        Ok(seen.ended == reenact_model::Ended::Exit { code: 0 })
    })();
    match result {
        Ok(true) => yes("overlay", "a layer was seen in a cell", false),
        Ok(false) => no("overlay", "the layer was not visible", remedy, false),
        Err(e) => no("overlay", e.to_string(), remedy, false),
    }
}

fn user_namespaces() -> Check {
    let mut spec = CellSpec::host();
    spec.isolation.force_userns = true;
    match Cell::start(&spec) {
        Ok(_) => yes("user-namespaces", "an unprivileged cell was started", false),
        Err(e) => degraded("user-namespaces", e.to_string(), cell_remedy(&e)),
    }
}

fn tools() -> Vec<Check> {
    let tool = |name: &'static str, programs: &[&str], use_for: &str, remedy: &str| {
        let missing: Vec<&str> =
            programs.iter().copied().filter(|p| host::find(p).is_none()).collect();
        if missing.is_empty() {
            yes(name, format!("{} found", programs.join(", ")), false)
        } else {
            no(name, format!("{} not found: no {use_for}", missing.join(", ")), remedy, false)
        }
    };
    let mut checks = vec![
        tool(
            "cargo",
            &["cargo", "rustc"],
            "`crate:` sources and no Rust submissions",
            "install Rust (rustup)",
        ),
        tool(
            "apt",
            &["apt-get", "dpkg-deb"],
            "`deb:` sources",
            "use `crate:` sources, or a Debian or Ubuntu host",
        ),
        tool(
            "c-compiler",
            &["cc"],
            "C submissions and no `memorizer` agent",
            "install gcc or clang",
        ),
    ];
    if let Ok(output) = HostCommand::new("cc", ["-print-file-name=libc.a"]).run() {
        let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        checks.push(if path.starts_with('/') {
            yes("static-libc", path, false)
        } else {
            degraded(
                "static-libc",
                "libc.a not found",
                "install libc6-dev (Debian) or glibc-static: references link statically with it",
            )
        });
    }
    checks
}

fn disk() -> Check {
    let dir = std::env::temp_dir();
    let free = free_bytes(&dir);
    let found = format!("{:.1} GiB free in {}", free as f64 / f64::from(1 << 30), dir.display());
    if free >= 4 << 30 {
        yes("disk", found, false)
    } else {
        degraded("disk", found, "builds of references need some GiB; set TMPDIR to a larger disk")
    }
}

/// Bytes free for this user on the file system of `path`; 0 if unknown.
pub fn free_bytes(path: &std::path::Path) -> u64 {
    use std::os::unix::ffi::OsStrExt;
    let Ok(c) = std::ffi::CString::new(path.as_os_str().as_bytes()) else { return 0 };
    // SAFETY: an all-zero statvfs is valid; the path is NUL-terminated.
    unsafe {
        let mut st: libc::statvfs = std::mem::zeroed();
        if libc::statvfs(c.as_ptr(), &raw mut st) == 0 { st.f_bavail * st.f_frsize } else { 0 }
    }
}
