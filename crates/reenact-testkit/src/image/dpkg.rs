//! What is installed on this host, as dpkg records it.

use super::ImageFixtureError;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const DPKG: &str = "/var/lib/dpkg";

/// In every root, named or not: what makes it a Debian at all. `dash` is `/bin/sh`.
const BASE: &[&str] = &[
    "base-files",
    "dash",
    "debianutils",
    "hostname",
    "libc-bin",
    "mawk",
    "ncurses-base",
    "procps",
];

/// Bump when [`super::tree`] writes something else for the same packages.
const FORM: &str = "2";

struct Package {
    version: String,
    architecture: String,
    /// `Depends` and `Pre-Depends`: each one of several alternatives.
    depends: Vec<Vec<String>>,
}

/// The installed packages by name.
pub(super) struct Installed {
    packages: BTreeMap<String, Package>,
    /// Virtual name → packages that provide it.
    provided: BTreeMap<String, Vec<String>>,
}

impl Installed {
    pub(super) fn of_this_host() -> Result<Self, ImageFixtureError> {
        let path = Path::new(DPKG).join("status");
        let status =
            std::fs::read(&path).map_err(|error| ImageFixtureError::NoDpkg { path, error })?;
        Ok(Self::parse(&String::from_utf8_lossy(&status)))
    }

    fn parse(status: &str) -> Self {
        let mut all = Self { packages: BTreeMap::new(), provided: BTreeMap::new() };
        for stanza in status.split("\n\n") {
            let field = |name: &str| {
                stanza.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": ")).unwrap_or("")
            };
            if !field("Status").ends_with(" installed") {
                continue;
            }
            let name = field("Package").to_owned();
            let depends =
                [field("Pre-Depends"), field("Depends")].into_iter().flat_map(relations).collect();
            for provided in relations(field("Provides")).into_iter().flatten() {
                all.provided.entry(provided).or_default().push(name.clone());
            }
            let package = Package {
                version: field("Version").to_owned(),
                architecture: field("Architecture").to_owned(),
                depends,
            };
            all.packages.insert(name, package);
        }
        all
    }

    /// The installed package that answers to a name.
    fn find(&self, name: &str) -> Option<&str> {
        let real = self.packages.get_key_value(name).map(|(name, _)| name);
        real.or_else(|| self.provided.get(name)?.first()).map(String::as_str)
    }

    /// The named packages, the base, and all that they depend on. A dependency that is not there in any of its alternatives is
    /// passed over: dpkg would not have configured the package if it mattered.
    pub(super) fn closure(&self, named: &[&str]) -> Result<BTreeSet<String>, ImageFixtureError> {
        let missing: Vec<&str> = named.iter().copied().filter(|n| self.find(n).is_none()).collect();
        if !missing.is_empty() {
            return Err(ImageFixtureError::Missing(missing.join(" ")));
        }
        let mut todo: Vec<&str> = named.iter().chain(BASE).filter_map(|n| self.find(n)).collect();
        let mut found = BTreeSet::new();
        while let Some(name) = todo.pop() {
            if found.insert(name.to_owned())
                && let Some(package) = self.packages.get(name)
            {
                let needed = |any: &Vec<String>| any.iter().find_map(|n| self.find(n));
                todo.extend(package.depends.iter().filter_map(needed));
            }
        }
        Ok(found)
    }

    /// Names this set of packages in their versions.
    pub(super) fn key(&self, closure: &BTreeSet<String>) -> String {
        let mut hash = Sha256::new();
        hash.update(FORM);
        for name in closure {
            let version = self.packages.get(name).map_or("", |p| &p.version);
            hash.update(format!("\n{name} {version}"));
        }
        hash.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect()
    }

    /// Paths that a package has put in place.
    pub(super) fn files(&self, name: &str) -> Result<Vec<PathBuf>, ImageFixtureError> {
        let info = Path::new(DPKG).join("info");
        let architecture = self.packages.get(name).map_or("", |p| &p.architecture);
        let path = [format!("{name}:{architecture}.list"), format!("{name}.list")]
            .into_iter()
            .map(|file| info.join(file))
            .find(|path| path.exists())
            .unwrap_or_else(|| info.join(format!("{name}.list")));
        let list = std::fs::read_to_string(&path)
            .map_err(|error| ImageFixtureError::NoDpkg { path, error })?;
        Ok(list.lines().filter(|l| *l != "/.").map(PathBuf::from).collect())
    }
}

/// `a (>= 1) | b:any, c` → `[[a, b], [c]]`
fn relations(field: &str) -> Vec<Vec<String>> {
    let name = |word: &str| {
        let word = word.trim();
        let end = word.find([' ', '(', '[', ':']).unwrap_or(word.len());
        word[..end].to_owned()
    };
    field
        .split(',')
        .filter(|any| !any.trim().is_empty())
        .map(|any| any.split('|').map(name).collect())
        .collect()
}

/// The links of the alternatives system: (link, link in `/etc/alternatives`) of every group.
pub(super) fn alternatives() -> Vec<(PathBuf, PathBuf)> {
    let entries = std::fs::read_dir(Path::new(DPKG).join("alternatives")).into_iter().flatten();
    let mut links = Vec::new();
    for entry in entries.filter_map(Result::ok) {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        let master = entry.file_name().to_string_lossy().into_owned();
        links.extend(group(&master, &text));
    }
    links.sort();
    links
}

/// A group's file: a mode, the master link, then name and link of each slave until an empty line.
fn group(master: &str, text: &str) -> Vec<(PathBuf, PathBuf)> {
    let mut lines = text.lines().skip(1);
    let etc = Path::new("/etc/alternatives");
    let mut links: Vec<_> =
        lines.next().map(|link| (PathBuf::from(link), etc.join(master))).into_iter().collect();
    while let (Some(name), Some(link)) = (lines.next().filter(|n| !n.is_empty()), lines.next()) {
        links.push((PathBuf::from(link), etc.join(name)));
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n\
        Depends: gone | b:any (>= 2), v, nowhere\n\n\
        Package: b\nStatus: install ok installed\nVersion: 2\nPre-Depends: a\n\n\
        Package: c\nStatus: install ok installed\nVersion: 3\nProvides: v (= 1), w\n\n\
        Package: d\nStatus: deinstall ok config-files\nVersion: 4\n";

    #[test]
    fn a_closure_follows_alternatives_virtual_names_and_circles() {
        let installed = Installed::parse(STATUS);
        let closure = installed.closure(&["a"]).unwrap();
        assert_eq!(closure.iter().map(String::as_str).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_ne!(installed.key(&closure), installed.key(&installed.closure(&["c"]).unwrap()));
    }

    #[test]
    fn what_is_not_installed_is_named_at_once() {
        let error = Installed::parse(STATUS).closure(&["a", "d", "e"]).err().unwrap();
        assert!(error.to_string().contains("apt-get install d e"), "{error}");
    }

    #[test]
    fn a_group_of_alternatives_has_a_master_and_slaves() {
        let text =
            "auto\n/usr/bin/awk\nawk.1.gz\n/usr/share/man/man1/awk.1.gz\n\n/usr/bin/mawk\n5\n";
        let links = group("awk", text);
        assert_eq!(links.len(), 2);
        assert_eq!(links[0].0, Path::new("/usr/bin/awk"));
        assert_eq!(links[1].1, Path::new("/etc/alternatives/awk.1.gz"));
    }
}
