//! A root file system out of installed packages, by path.

use super::ImageFixtureError;
use super::dpkg::{Installed, alternatives};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Component, Path, PathBuf};

/// Nothing in a test reads these, and they are half of the bytes.
const LEFT_OUT: &[&str] = &[
    "/usr/share/doc/",
    "/usr/share/man/",
    "/usr/share/locale/",
    "/usr/share/info/",
    "/usr/share/lintian/",
    "/usr/share/bug/",
    "/usr/lib/git-core/git-gui/",
];

/// Directories that a root needs whatever is installed, with their modes.
const DIRECTORIES: &[(&str, u32)] = &[
    ("/dev", 0o755),
    ("/etc", 0o755),
    ("/home", 0o755),
    ("/mnt", 0o755),
    ("/opt", 0o755),
    ("/proc", 0o555),
    ("/root", 0o700),
    ("/run", 0o755),
    ("/srv", 0o755),
    ("/sys", 0o555),
    ("/tmp", 0o1777),
    ("/usr/local/bin", 0o755),
    ("/var/cache", 0o755),
    ("/var/lib", 0o755),
    ("/var/log", 0o755),
    ("/var/tmp", 0o1777),
];

/// Files that maintainer scripts would make.
const FILES: &[(&str, &str)] = &[
    (
        "/etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\nagent:x:1000:1000::/home/agent:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    ),
    ("/etc/group", "root:x:0:\ntty:x:5:\nagent:x:1000:\nnogroup:x:65534:\n"),
    ("/etc/gitconfig", "[safe]\n\tdirectory = *\n"),
    ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
    ("/etc/hosts", "127.0.0.1 localhost\n"),
];

/// Files of the host that belong to no package's list: (there, here). Left out where the host has none.
const GENERATED: &[(&str, &str)] = &[
    ("/usr/share/base-files/profile", "/etc/profile"),
    ("/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/ca-certificates.crt"),
];

pub(super) enum Entry {
    Directory {
        mode: u32,
        owner: u64,
    },
    Text(&'static str),
    /// A file, link or directory of the host.
    Host(PathBuf),
}

/// Entries by absolute path, parents first.
pub(super) struct Tree {
    pub(super) entries: BTreeMap<PathBuf, Entry>,
}

impl Tree {
    pub(super) fn of(
        installed: &Installed,
        closure: &BTreeSet<String>,
    ) -> Result<Self, ImageFixtureError> {
        let mut tree = Self { entries: BTreeMap::new() };
        for name in closure {
            for path in installed.files(name)? {
                tree.add(&path);
            }
        }
        tree.add_alternatives();
        tree.add_bytecode();
        for (path, mode) in DIRECTORIES {
            tree.entries.insert(path.into(), Entry::Directory { mode: *mode, owner: 0 });
        }
        for path in ["/workspace", "/home/agent"] {
            tree.entries.insert(path.into(), Entry::Directory { mode: 0o755, owner: 1000 });
        }
        for (path, text) in FILES {
            tree.entries.insert(path.into(), Entry::Text(text));
        }
        for (from, to) in GENERATED {
            if Path::new(from).is_file() {
                tree.entries.insert(to.into(), Entry::Host(from.into()));
            }
        }
        let paths: Vec<PathBuf> = tree.entries.keys().cloned().collect();
        for path in &paths {
            tree.add_parents(path);
        }
        Ok(tree)
    }

    /// Adds a path of the host where it really is: `/bin/bash` is `/usr/bin/bash` and `/bin` a link on a merged system.
    fn add(&mut self, listed: &Path) {
        let name = listed.to_string_lossy();
        let unwanted = LEFT_OUT.iter().any(|p| name.starts_with(p));
        if unwanted || name.ends_with("/EXTERNALLY-MANAGED") {
            return;
        }
        let Some(place) = self.resolve(listed) else { return };
        if std::fs::symlink_metadata(&place).is_ok() {
            self.entries.entry(place.clone()).or_insert(Entry::Host(place));
        }
    }

    /// The path with every link in its directories followed; the links themselves are added. `None`: it is not here, or in a
    /// circle.
    fn resolve(&mut self, path: &Path) -> Option<PathBuf> {
        let mut done = PathBuf::from("/");
        let mut todo: Vec<std::ffi::OsString> = names(path);
        todo.reverse();
        for _ in 0..256 {
            let Some(name) = todo.pop() else { return Some(done) };
            let next = done.join(&name);
            let last = todo.is_empty();
            match std::fs::read_link(&next) {
                Ok(target) if !last => {
                    self.entries.insert(next.clone(), Entry::Host(next));
                    if target.is_absolute() {
                        done = PathBuf::from("/");
                    }
                    for part in target.components().rev() {
                        match part {
                            Component::Normal(part) => todo.push(part.to_owned()),
                            Component::ParentDir => return None,
                            _ => {}
                        }
                    }
                }
                _ => done = next,
            }
        }
        None
    }

    fn add_parents(&mut self, path: &Path) {
        for parent in path.ancestors().skip(1).filter(|p| p.parent().is_some()) {
            let directory = Entry::Directory { mode: 0o755, owner: 0 };
            self.entries.entry(parent.to_path_buf()).or_insert(directory);
        }
    }

    /// `/usr/bin/cc` and its like, where what they lead to is here.
    fn add_alternatives(&mut self) {
        for (link, etc) in alternatives() {
            let target = std::fs::read_link(&etc).unwrap_or_default();
            let Some(place) = self.resolve(&target) else { continue };
            if self.entries.contains_key(&place) && std::fs::read_link(&link).is_ok() {
                self.add(&etc);
                self.add(&link);
            }
        }
    }

    /// Python's compiled modules belong to no package, and without them every fresh container would compile its own.
    fn add_bytecode(&mut self) {
        let sources: Vec<PathBuf> = self
            .entries
            .keys()
            .filter(|p| p.extension().is_some_and(|e| e == "py"))
            .cloned()
            .collect();
        let mut caches: HashMap<PathBuf, Vec<PathBuf>> = HashMap::new();
        for source in sources {
            let (Some(dir), Some(stem)) = (source.parent(), source.file_stem()) else { continue };
            let cache = dir.join("__pycache__");
            let prefix = format!("{}.cpython-", stem.to_string_lossy());
            let files = caches.entry(cache.clone()).or_insert_with(|| listing(&cache));
            let compiled: Vec<PathBuf> = files
                .iter()
                .filter(|f| f.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&prefix)))
                .cloned()
                .collect();
            for file in compiled {
                self.entries.entry(cache.clone()).or_insert_with(|| Entry::Host(cache.clone()));
                self.entries.insert(file.clone(), Entry::Host(file));
            }
        }
    }
}

fn names(path: &Path) -> Vec<std::ffi::OsString> {
    let normal = |c: Component<'_>| match c {
        Component::Normal(name) => Some(name.to_owned()),
        _ => None,
    };
    path.components().filter_map(normal).collect()
}

fn listing(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.filter_map(Result::ok).map(|e| e.path()).collect();
    files.sort();
    files
}
