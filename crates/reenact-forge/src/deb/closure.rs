//! The runtime closure: which packages and shared libraries a program needs beside the C library.

use super::apt::{Apt, Package};
use super::control::{Stanza, needs, source_of};
use crate::elf;
use crate::error::ForgeError;
use crate::walk;
use reenact_bundle::Progress;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Libraries of the C library's own family and the loader: they come with any root filesystem and are not carried along.
const BASE_LIBRARIES: [&str; 14] = [
    "ld-linux-x86-64.so.2",
    "libc.so.6",
    "libm.so.6",
    "libmvec.so.1",
    "libpthread.so.0",
    "libdl.so.2",
    "librt.so.1",
    "libresolv.so.2",
    "libutil.so.1",
    "libnsl.so.1",
    "libanl.so.1",
    "libBrokenLocale.so.1",
    "libthread_db.so.1",
    "libgcc_s.so.1",
];
/// Packages that every system has, or that are of no use to a program at run time.
const SKIPPED: [&str; 12] = [
    "libc6",
    "libgcc-s1",
    "libc-bin",
    "debconf",
    "dpkg",
    "perl-base",
    "init-system-helpers",
    "install-info",
    "ucf",
    "adduser",
    "sensible-utils",
    "systemd",
];
/// Directories searched for libraries, in the loader's order.
const LIB_DIRS: [&str; 4] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib", "lib"];
/// A bound against dependency fields that never end; the largest closures of command-line programs are near 150.
const MAX_PACKAGES: usize = 250;

/// Packages and libraries of a closure.
#[derive(Debug, Default)]
pub(crate) struct Closure {
    /// Packages of the same source as the program's, and its data packages: their files come along whole.
    pub kin: Vec<Package>,
    /// Packages fetched for their libraries.
    pub libraries: Vec<Package>,
    /// soname → file on disk.
    pub files: BTreeMap<String, PathBuf>,
    /// Libraries that no fetched package holds.
    pub missing: BTreeSet<String>,
}

impl Closure {
    fn fetched(&self) -> usize {
        self.kin.len() + self.libraries.len()
    }
}

/// Follows dependencies of `main` as far as its ELF files (`elves`, paths in its tree) need them.
///
/// # Errors
/// [`ForgeError::Host`] if a package cannot be fetched.
pub(crate) fn follow(
    apt: &Apt<'_>,
    main: &Package,
    elves: &[PathBuf],
    progress: &dyn Progress,
) -> Result<Closure, ForgeError> {
    let mut closure = Closure::default();
    let mut seen: BTreeSet<String> = BTreeSet::from([main.name().to_owned()]);
    let mut wanted = first_choices(&main.fields, &mut seen);
    loop {
        link(main, elves, &mut closure)?;
        let mut next = Vec::new();
        let candidates = apt.candidates(&wanted)?;
        for stanza in candidates.iter().filter(|s| !is_base(s)) {
            let name = stanza.get("Package").cloned().unwrap_or_default();
            let kin = is_kin(main, &closure, stanza);
            let library = name.starts_with("lib") && !closure.missing.is_empty();
            if !kin && !library {
                continue;
            }
            if closure.fetched() >= MAX_PACKAGES {
                progress.note(&format!("{}: more than {MAX_PACKAGES} packages; stopped", main.name()));
                return Ok(closure);
            }
            progress.note(&format!("dependency {name} {}", stanza.get("Version").map_or("", |v| v)));
            for package in apt.fetch(std::slice::from_ref(&name))? {
                next.extend(first_choices(&package.fields, &mut seen));
                if kin { closure.kin.push(package) } else { closure.libraries.push(package) }
            }
        }
        if next.is_empty() {
            link(main, elves, &mut closure)?;
            return Ok(closure);
        }
        wanted = next;
    }
}

/// First alternative of each dependency that was not seen yet.
fn first_choices(stanza: &Stanza, seen: &mut BTreeSet<String>) -> Vec<String> {
    needs(stanza)
        .into_iter()
        .filter_map(|group| group.into_iter().next())
        .filter(|name| !SKIPPED.contains(&name.as_str()) && seen.insert(name.clone()))
        .collect()
}

/// Parts of the base system, which any root filesystem has.
fn is_base(stanza: &Stanza) -> bool {
    let name = stanza.get("Package").map_or("", String::as_str);
    stanza.get("Essential").is_some_and(|e| e == "yes")
        || stanza.get("Priority").is_some_and(|p| p == "required")
            && !name.starts_with("lib")
        || (name.starts_with("gcc-") && name.ends_with("-base"))
        || SKIPPED.contains(&name)
}

/// Whether a package belongs to the program rather than to its environment: same source, or data of a library that was
/// fetched already (`libmagic-mgc` of `libmagic1`), or named after the program.
fn is_kin(main: &Package, closure: &Closure, stanza: &Stanza) -> bool {
    let source = source_of(stanza);
    let name = stanza.get("Package").map_or("", String::as_str);
    let is_data = ["-data", "-common", "-mgc"].iter().any(|end| name.ends_with(end));
    let named = name.strip_prefix(main.name()).is_some_and(|rest| rest.starts_with('-') && is_data);
    let of_library = is_data && closure.libraries.iter().any(|l| source_of(&l.fields) == source);
    source == source_of(&main.fields) || named || of_library
}

/// Finds every library that the ELF files need, in the trees fetched so far; fills `files` and `missing`.
fn link(main: &Package, elves: &[PathBuf], closure: &mut Closure) -> Result<(), ForgeError> {
    closure.files.clear();
    closure.missing.clear();
    let mut pending: Vec<PathBuf> = elves.iter().map(|e| main.tree.join(e)).collect();
    while let Some(path) = pending.pop() {
        let bytes = reenact_bundle::fsx::read(&path)?;
        let Ok(facts) = elf::read(&bytes) else { continue };
        for name in &facts.needed {
            if BASE_LIBRARIES.contains(&name.as_str()) || closure.files.contains_key(name) {
                continue;
            }
            match find_library(main, closure, &path, &facts.rpaths, name) {
                Some(file) => {
                    pending.push(file.clone());
                    closure.files.insert(name.clone(), file);
                }
                None => {
                    closure.missing.insert(name.clone());
                }
            }
        }
    }
    Ok(())
}

/// Where a library is: private directories named by RPATH first, then the loader's own.
fn find_library(
    main: &Package,
    closure: &Closure,
    user: &Path,
    rpaths: &[String],
    name: &str,
) -> Option<PathBuf> {
    let trees = std::iter::once(main).chain(&closure.kin).chain(&closure.libraries);
    for package in trees {
        let tree = &package.tree;
        let origin = user.parent().and_then(|p| p.strip_prefix(tree).ok());
        let private = rpaths.iter().filter_map(|r| match origin {
            Some(origin) => Some(r.replace("$ORIGIN", &format!("/{}", origin.display()))),
            None => (!r.contains("$ORIGIN")).then(|| r.clone()),
        });
        for dir in private.chain(LIB_DIRS.iter().map(|d| (*d).to_owned())) {
            let path = Path::new(dir.trim_start_matches('/')).join(name);
            if let Some(found) = walk::resolve(tree, &path) {
                return Some(tree.join(found));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::control::stanzas;
    use super::*;

    fn package(control: &str) -> Package {
        Package {
            fields: stanzas(control).remove(0),
            archive: String::new(),
            sha256: reenact_model::Digest::of(b""),
            tree: PathBuf::new(),
            postinst: None,
        }
    }

    #[test]
    fn kin_are_same_source_and_data_packages() {
        let main = package("Package: nethack-console\nSource: nethack (3.6)\n");
        let mut closure = Closure::default();
        let kin = |closure: &Closure, text: &str| is_kin(&main, closure, &stanzas(text)[0]);
        assert!(kin(&closure, "Package: nethack-common\nSource: nethack\n"));
        assert!(kin(&closure, "Package: nethack-console-data\nSource: extra\n"));
        assert!(!kin(&closure, "Package: libncurses6\nSource: ncurses\n"));
        assert!(!kin(&closure, "Package: libmagic-mgc\nSource: file\n"));
        closure.libraries.push(package("Package: libmagic1\nSource: file\n"));
        assert!(kin(&closure, "Package: libmagic-mgc\nSource: file\n"));
    }

    #[test]
    fn the_base_system_is_left_out() {
        let base = |text: &str| is_base(&stanzas(text)[0]);
        assert!(base("Package: bash\nEssential: yes\n"));
        assert!(base("Package: gcc-12-base\nPriority: optional\n"));
        assert!(base("Package: libc6\nPriority: optional\n"));
        assert!(!base("Package: liblzma5\nPriority: required\n"));
        assert!(!base("Package: libreadline8\nPriority: optional\n"));
    }
}
