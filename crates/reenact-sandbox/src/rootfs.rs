//! The root of a cell: a tmpfs skeleton with read-only binds, overlays and masks.

use crate::error::SandboxError;
use crate::plan::{ATTR_NODEV, ATTR_NOSUID, ATTR_RDONLY, Plan};
use crate::room::libraries::Library;
use crate::spec::{CellSpec, HOME, RootBase, WORKSPACE};
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Top-level directories of the host that a cell sees. (`/etc` is built, everything else is absent.)
const HOST_TOP: &[&str] = &["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];
/// What of the host's `/etc` a cell sees; these hold no secrets, and compilers and interpreters need them.
const HOST_ETC: &[&str] = &[
    "alternatives",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "mime.types",
    "magic",
    "perl",
    "python3",
    "python3.11",
    "python3.12",
    "python3.13",
    "protocols",
    "services",
    "terminfo",
    "xattr.conf",
];
/// Directories of every root that are the cell's own.
const OWN: &[&str] =
    &["dev", "proc", "tmp", "run", "workspace", "work", "home", "sys", "root", "var", "etc"];
const BIND: libc::c_ulong = libc::MS_BIND | libc::MS_REC;
const READ_ONLY: u64 = ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV;

struct Builder<'a> {
    plan: &'a mut Plan,
    stage: &'a str,
    spec: &'a CellSpec,
    made: BTreeSet<String>,
}

/// Adds the steps that build the root under `stage` (an empty directory that every step sees). Mounts the devices and
/// `/proc`, but not the workspace.
pub fn build(
    plan: &mut Plan,
    stage: &str,
    spec: &CellSpec,
    ids: (u32, u32),
) -> Result<(), SandboxError> {
    plan.mount(
        "the root skeleton",
        Path::new("tmpfs"),
        stage,
        "tmpfs",
        libc::MS_NOSUID,
        "mode=755,size=8m,nr_inodes=32k",
    );
    let mut b = Builder { plan, stage, spec, made: BTreeSet::new() };
    b.tops()?;
    b.etc()?;
    b.skeleton(ids);
    b.devices();
    b.masks();
    b.toolchain()?;
    b.mounts()?;
    b.scratch(ids);
    b.plan.mount(
        "proc",
        Path::new("proc"),
        &b.at("proc"),
        "proc",
        libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC,
        "",
    );
    Ok(())
}

/// Adds the steps that lay `layers` over a root that stands at `stage` already, in another mount namespace: what the
/// reference sees and an agent does not. Masks stay in force where the layers have nothing to show. They and the `hidden`
/// libraries are empty files of mode 0 in a topmost layer, made at `placeholders` below the stage; not mounts, since what lies under
/// a mount is seen in a mount namespace that has died.
pub fn lay_over(
    plan: &mut Plan,
    stage: &str,
    spec: &CellSpec,
    layers: &[PathBuf],
    placeholders: &str,
    hidden: &[Library],
) -> Result<(), SandboxError> {
    if layers.is_empty() {
        return Ok(());
    }
    let provided = |mask: &str| {
        layers.iter().any(|l| l.join(mask.trim_start_matches('/')).symlink_metadata().is_ok())
    };
    let spec = CellSpec {
        rootfs: crate::Rootfs {
            layers: layers.iter().cloned().chain(spec.rootfs.layers.clone()).collect(),
            masks: spec.rootfs.masks.iter().filter(|m| !provided(m)).cloned().collect(),
            ..spec.rootfs.clone()
        },
        ..spec.clone()
    };
    let base = match &spec.rootfs.base {
        RootBase::Host => PathBuf::from("/"),
        RootBase::Dir(dir) => dir.clone(),
    };
    let mut b = Builder { plan, stage, spec: &spec, made: BTreeSet::new() };
    let masked = spec.rootfs.masks.iter().filter_map(|m| resolve_in(&base, m));
    let absent: BTreeSet<String> = masked
        .map(|m| m.trim_start_matches('/').to_owned())
        .chain(hidden.iter().map(|l| l.path.display().to_string()))
        .collect();
    let top = b.placeholders(placeholders, &absent);
    // The mount table shows the paths that an overlay was made of: they are given by way of the stage, and the way is taken
    // down again, so that nobody else can use it.
    let mut ways = Vec::new();
    for (i, layer) in spec.rootfs.layers.iter().enumerate() {
        let way = b.at(&format!("run/.l{i}"));
        b.plan.mkdir(&way, 0o700);
        b.plan.mount(&format!("layer {i}"), layer, &way, "", BIND, "");
        ways.push((layer, way));
    }
    let empty = b.at("run/.e");
    b.plan.mkdir(&empty, 0o755);
    for name in b.layer_names()? {
        if OWN.contains(&name.as_str()) {
            continue;
        }
        let source = base.join(&name);
        // Where the base has a symlink (/lib -> usr/lib), bundles hold the real path.
        if source.is_symlink() {
            continue;
        }
        let layered = ways.iter().filter(|(layer, _)| layer.join(&name).is_dir());
        let mut lower: Vec<PathBuf> = layered.map(|(_, way)| Path::new(way).join(&name)).collect();
        if absent.iter().any(|p| Path::new(p).starts_with(&name)) {
            lower.insert(0, Path::new(&top).join(&name));
        }
        // An overlay without an upper directory needs two lower ones.
        let under = if source.is_dir() { b.at(&name) } else { empty.clone() };
        lower.push(PathBuf::from(under));
        b.dir(&name);
        b.stack(&name, &lower);
    }
    for way in ways.iter().map(|(_, way)| way).chain([&top]) {
        b.plan.umount(way, libc::MNT_DETACH);
    }
    for layer in b.layers_with("etc").iter().rev() {
        for name in list(layer)? {
            b.bind_new(&layer.join(&name), &format!("etc/{name}"))?;
        }
    }
    Ok(())
}

/// Fills `dev`, an empty directory of a root under construction: the harmless devices of the host, and terminals of its own.
pub fn devices(plan: &mut Plan, dev: &str) {
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let full = format!("{dev}/{name}");
        plan.mkfile(&full, 0o666);
        let source = Path::new("/dev").join(name);
        plan.mount(&format!("/dev/{name}"), &source, &full, "", libc::MS_BIND, "");
        // The node is the host's: nobody may change its mode or owner. Writing to a device is another matter than writing to
        // the file system that it lies on.
        plan.setattr(&full, false, ATTR_RDONLY | ATTR_NOSUID);
    }
    for (target, name) in [
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
        ("pts/ptmx", "ptmx"),
    ] {
        plan.symlink(target.as_bytes(), &format!("{dev}/{name}"));
    }
    let pts = format!("{dev}/pts");
    plan.mkdir(&pts, 0o755);
    let flags = libc::MS_NOSUID | libc::MS_NOEXEC;
    let options = "newinstance,ptmxmode=0666,mode=620";
    plan.mount("devpts", Path::new("devpts"), &pts, "devpts", flags, options);
}

impl Builder<'_> {
    fn at(&self, path: &str) -> String {
        format!("{}/{}", self.stage, path.trim_start_matches('/'))
    }

    /// A small tmpfs at `place` with an empty file of mode 0 at each path; gives its full path.
    fn placeholders(&mut self, place: &str, paths: &BTreeSet<String>) -> String {
        let full = self.at(place);
        self.plan.mkdir(&full, 0o755);
        self.plan.mount(
            "a place for placeholders",
            Path::new("tmpfs"),
            &full,
            "tmpfs",
            libc::MS_NOSUID | libc::MS_NODEV,
            "mode=755,size=4m",
        );
        let mut made = BTreeSet::new();
        for path in paths {
            for (at, _) in path.match_indices('/') {
                if made.insert(path[..at].to_owned()) {
                    self.plan.mkdir(&format!("{full}/{}", &path[..at]), 0o755);
                }
            }
            self.plan.mkfile(&format!("{full}/{path}"), 0);
        }
        full
    }

    /// Creates a directory and its parents in the skeleton, once.
    fn dir(&mut self, path: &str) {
        let clean = path.trim_matches('/');
        for (i, _) in clean.match_indices('/').chain(std::iter::once((clean.len(), ""))) {
            let part = &clean[..i];
            if !part.is_empty() && self.made.insert(part.to_owned()) {
                let full = self.at(part);
                self.plan.mkdir(&full, 0o755);
            }
        }
    }

    fn parent(&mut self, path: &str) {
        if let Some(at) = path.trim_end_matches('/').rfind('/') {
            self.dir(&path[..at]);
        }
    }

    fn bind(&mut self, source: &Path, target: &str, attributes: u64) {
        let full = self.at(target);
        self.plan.mount(&format!("{target} (read-only bind)"), source, &full, "", BIND, "");
        self.plan.setattr(&full, true, attributes);
    }

    /// Binds a file or directory at a path that does not exist in the skeleton yet.
    fn bind_new(&mut self, source: &Path, target: &str) -> Result<(), SandboxError> {
        let meta = std::fs::metadata(source).map_err(|e| SandboxError::Spec {
            path: source.to_path_buf(),
            what: format!("cannot be mounted in a cell: {e}"),
        })?;
        if meta.is_dir() {
            self.dir(target);
        } else {
            self.parent(target);
            let full = self.at(target);
            self.plan.mkfile(&full, 0o644);
        }
        self.bind(source, target, READ_ONLY);
        Ok(())
    }

    /// The base's top-level directories, with the layers over them.
    fn tops(&mut self) -> Result<(), SandboxError> {
        let (base, names) = match &self.spec.rootfs.base {
            RootBase::Host => {
                (PathBuf::from("/"), HOST_TOP.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>())
            }
            RootBase::Dir(dir) => {
                let dir = dir.canonicalize().map_err(|e| SandboxError::Spec {
                    path: dir.clone(),
                    what: format!("root filesystem: {e}"),
                })?;
                let mut names: Vec<String> =
                    list(&dir)?.into_iter().filter(|n| !OWN.contains(&n.as_str())).collect();
                names.sort();
                (dir, names)
            }
        };
        let mut seen = BTreeSet::new();
        for name in names {
            let source = base.join(&name);
            let Ok(meta) = source.symlink_metadata() else { continue };
            seen.insert(name.clone());
            if meta.is_symlink() {
                let target = std::fs::read_link(&source)
                    .map_err(|e| SandboxError::host(source.display().to_string(), e))?;
                let full = self.at(&name);
                self.plan.symlink(target.as_os_str().as_bytes(), &full);
            } else if meta.is_dir() {
                let mut lower = self.layers_with(&name);
                lower.push(source);
                self.dir(&name);
                self.stack(&name, &lower);
            }
        }
        for name in self.layer_names()? {
            if !seen.contains(&name) && !OWN.contains(&name.as_str()) {
                let lower = self.layers_with(&name);
                self.dir(&name);
                self.stack(&name, &lower);
            }
        }
        Ok(())
    }

    fn layers_with(&self, name: &str) -> Vec<PathBuf> {
        self.spec.rootfs.layers.iter().map(|l| l.join(name)).filter(|p| p.is_dir()).collect()
    }

    fn layer_names(&self) -> Result<BTreeSet<String>, SandboxError> {
        let mut names = BTreeSet::new();
        for layer in &self.spec.rootfs.layers {
            names.extend(list(layer)?);
        }
        Ok(names)
    }

    /// One directory: a bind, or a read-only overlay where there are several.
    fn stack(&mut self, name: &str, lower: &[PathBuf]) {
        if let [only] = lower {
            self.bind(only, name, READ_ONLY);
            return;
        }
        // ':' separates and '\' escapes in lowerdir (Documentation/filesystems/overlayfs.rst).
        let escaped: Vec<String> = lower
            .iter()
            .map(|p| {
                p.display()
                    .to_string()
                    .replace('\\', "\\\\")
                    .replace(':', "\\:")
                    .replace(',', "\\,")
            })
            .collect();
        let full = self.at(name);
        let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV;
        let options = format!("lowerdir={}", escaped.join(":"));
        self.plan.mount(
            &format!("/{name} (overlay)"),
            Path::new("overlay"),
            &full,
            "overlay",
            flags,
            &options,
        );
    }

    fn etc(&mut self) -> Result<(), SandboxError> {
        self.dir("etc");
        let (base, names) = match &self.spec.rootfs.base {
            RootBase::Host => {
                (PathBuf::from("/etc"), HOST_ETC.iter().map(|s| (*s).to_owned()).collect())
            }
            RootBase::Dir(dir) => {
                let etc = dir.join("etc");
                let names = if etc.is_dir() { list(&etc)? } else { Vec::new() };
                (etc, names)
            }
        };
        let own = [
            "passwd",
            "group",
            "hosts",
            "hostname",
            "nsswitch.conf",
            "shadow",
            "gshadow",
            "mtab",
            "resolv.conf",
            "localtime",
        ];
        let mut done: BTreeSet<String> = own.iter().map(|s| (*s).to_owned()).collect();
        let mut sources: Vec<PathBuf> = self.layers_with("etc");
        sources.push(base);
        let layered = sources.len() - 1;
        for (i, source) in sources.iter().enumerate() {
            let names: Vec<String> = if i < layered { list(source)? } else { Vec::clone(&names) };
            for name in names {
                let path = source.join(&name);
                // A dangling or absolute symlink would be resolved on the host: it is replicated, not followed.
                let Ok(meta) = path.symlink_metadata() else { continue };
                if !done.insert(name.clone()) {
                    continue;
                }
                if meta.is_symlink() {
                    let target = std::fs::read_link(&path)
                        .map_err(|e| SandboxError::host(path.display().to_string(), e))?;
                    let full = self.at(&format!("etc/{name}"));
                    self.plan.symlink(target.as_os_str().as_bytes(), &full);
                } else if meta.is_dir() || meta.is_file() {
                    self.bind_new(&path, &format!("etc/{name}"))?;
                }
            }
        }
        for (name, text) in [
            (
                "passwd",
                "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
            ),
            ("group", "root:x:0:\ntty:x:5:\nuser:x:1000:\nnogroup:x:65534:\n"),
            ("hosts", "127.0.0.1 localhost\n::1 localhost\n"),
            ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
        ] {
            let full = self.at(&format!("etc/{name}"));
            self.plan.write_file(&full, text.as_bytes(), 0o644);
        }
        let hostname = format!("{}\n", self.spec.hostname);
        let full = self.at("etc/hostname");
        self.plan.write_file(&full, hostname.as_bytes(), 0o644);
        Ok(())
    }

    fn skeleton(&mut self, ids: (u32, u32)) {
        for path in [
            "proc",
            "sys",
            "run/w",
            "var",
            "tmp",
            "home/user",
            "root",
            WORKSPACE,
            &self.spec.cwd.clone(),
        ] {
            self.dir(path);
        }
        let home = self.at(HOME);
        self.plan.chown(&home, ids.0, ids.1);
        let var_tmp = self.at("var/tmp");
        self.plan.symlink(b"/tmp", &var_tmp);
    }

    fn devices(&mut self) {
        self.dir("dev");
        devices(self.plan, &self.at("dev"));
        self.dir("dev/shm");
    }

    /// Covers each masked file that the base really has with an empty, unreadable one.
    fn masks(&mut self) {
        let base = match &self.spec.rootfs.base {
            RootBase::Host => PathBuf::from("/"),
            RootBase::Dir(dir) => dir.clone(),
        };
        let mut covered = BTreeSet::new();
        for mask in &self.spec.rootfs.masks {
            if let Some(real) = resolve_in(&base, mask) {
                covered.insert(real);
            }
        }
        if covered.is_empty() {
            return;
        }
        let cover = self.at("run/.none");
        self.plan.mkfile(&cover, 0);
        for path in covered {
            // Only what the cell shows can be covered; the rest is absent anyway.
            let top = path.trim_start_matches('/').split('/').next().unwrap_or_default().to_owned();
            if self.made.contains(&top) {
                let full = self.at(&path);
                self.plan.mount(
                    &format!("a mask over {path}"),
                    Path::new(&cover),
                    &full,
                    "",
                    libc::MS_BIND,
                    "",
                );
                // Without root the cover belongs to the program's own user.
                self.plan.setattr(&full, false, READ_ONLY);
            }
        }
    }

    fn toolchain(&mut self) -> Result<(), SandboxError> {
        if !self.spec.rootfs.rust_toolchain {
            return Ok(());
        }
        // A host without Rust has nothing to show; a build that needs it then fails by itself.
        match crate::host::rust_sysroot() {
            Some(sysroot) => self.bind_new(&sysroot, "opt/rust"),
            None => Ok(()),
        }
    }

    fn mounts(&mut self) -> Result<(), SandboxError> {
        for mount in &self.spec.mounts {
            let source = mount.source.canonicalize().map_err(|e| SandboxError::Spec {
                path: mount.source.clone(),
                what: format!("cannot be mounted: {e}"),
            })?;
            self.bind_new(&source, &mount.target)?;
        }
        Ok(())
    }

    fn scratch(&mut self, ids: (u32, u32)) {
        for s in &self.spec.scratch {
            self.dir(&s.target);
            let full = self.at(&s.target);
            let options = format!("mode=755,size={},nr_inodes={}", s.size_bytes, s.inodes);
            let flags = libc::MS_NOSUID | libc::MS_NODEV;
            self.plan.mount(
                &format!("scratch {}", s.target),
                Path::new("tmpfs"),
                &full,
                "tmpfs",
                flags,
                &options,
            );
            self.plan.chown(&full, ids.0, ids.1);
        }
    }
}

fn list(dir: &Path) -> Result<Vec<String>, SandboxError> {
    let fail = |e| SandboxError::host(dir.display().to_string(), e);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(fail)? {
        // Names that are not UTF-8 do not occur at the top of a root filesystem.
        if let Ok(name) = entry.map_err(fail)?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The regular file that `path` leads to inside `base`, as an absolute path in `base`'s own terms, with every symlink on the
/// way resolved within `base`. `None` if there is no regular file.
fn resolve_in(base: &Path, path: &str) -> Option<String> {
    let mut done = PathBuf::from("/");
    let mut todo: Vec<std::ffi::OsString> = Vec::new();
    let push = |todo: &mut Vec<std::ffi::OsString>, p: &Path| {
        for part in p.components().rev() {
            match part {
                Component::Normal(name) => todo.push(name.to_owned()),
                Component::ParentDir => todo.push("..".into()),
                _ => {}
            }
        }
    };
    push(&mut todo, Path::new(path));
    let mut links = 0;
    while let Some(part) = todo.pop() {
        if part == ".." {
            done.pop();
            continue;
        }
        let next = done.join(&part);
        let host = base.join(next.strip_prefix("/").ok()?);
        let meta = host.symlink_metadata().ok()?;
        if meta.is_symlink() {
            links += 1;
            if links > 40 {
                return None;
            }
            let target = std::fs::read_link(&host).ok()?;
            if target.is_absolute() {
                done = PathBuf::from("/");
            }
            push(&mut todo, &target);
        } else {
            done = next;
            if todo.is_empty() {
                return meta.is_file().then(|| done.to_str().map(str::to_owned)).flatten();
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_resolved_inside_the_base() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        std::fs::create_dir_all(base.join("usr/bin")).unwrap();
        std::fs::write(base.join("usr/bin/real"), "x").unwrap();
        std::os::unix::fs::symlink("usr/bin", base.join("bin")).unwrap();
        std::os::unix::fs::symlink("/usr/bin/real", base.join("usr/bin/abs")).unwrap();
        std::os::unix::fs::symlink("loop", base.join("usr/bin/loop")).unwrap();
        assert_eq!(resolve_in(base, "/bin/abs").as_deref(), Some("/usr/bin/real"));
        assert_eq!(resolve_in(base, "/usr/bin/real").as_deref(), Some("/usr/bin/real"));
        assert_eq!(resolve_in(base, "/usr/bin/loop"), None);
        assert_eq!(resolve_in(base, "/usr/bin"), None);
        assert_eq!(resolve_in(base, "/etc/passwd"), None);
    }
}
