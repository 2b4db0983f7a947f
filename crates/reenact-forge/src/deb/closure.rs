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
    let mut wanted = needs(&main.fields);
    loop {
        link(main, elves, &mut closure)?;
        let candidates = known(apt, &wanted, &mut seen)?;
        let chosen = choose(main, &closure, &candidates);
        if closure.fetched() + chosen.len() > MAX_PACKAGES {
            progress.note(&format!("{}: more than {MAX_PACKAGES} packages; stopped", main.name()));
            return Ok(closure);
        }
        let mut next = Vec::new();
        for package in apt.fetch(&chosen)? {
            progress.note(&format!("dependency {} {}", package.name(), package.field("Version")));
            next.extend(needs(&package.fields));
            if is_kin(main, &closure, &package.fields) {
                closure.kin.push(package);
            } else {
                closure.libraries.push(package);
            }
        }
        if next.is_empty() {
            link(main, elves, &mut closure)?;
            return Ok(closure);
        }
        wanted = next;
    }
}

/// Names of the candidates worth fetching: kin always, library packages while libraries are missing.
fn choose(main: &Package, closure: &Closure, candidates: &[Stanza]) -> Vec<String> {
    candidates
        .iter()
        .filter(|s| !is_base(s))
        .filter(|s| is_kin(main, closure, s) || (is_library(s) && !closure.missing.is_empty()))
        .filter_map(|s| s.get("Package").cloned())
        .collect()
}

/// Control data of the first alternative of each dependency that apt knows (the others are virtual, or of another
/// release), without those seen before.
fn known(
    apt: &Apt<'_>,
    wanted: &[Vec<String>],
    seen: &mut BTreeSet<String>,
) -> Result<Vec<Stanza>, ForgeError> {
    let names: BTreeSet<String> = wanted.iter().flatten().cloned().collect();
    let names: Vec<String> = names.into_iter().filter(|n| !seen.contains(n)).collect();
    let stanzas: BTreeMap<String, Stanza> = apt
        .candidates(&names)?
        .into_iter()
        .filter_map(|s| Some((s.get("Package")?.clone(), s)))
        .collect();
    let mut found = Vec::new();
    for group in wanted {
        // A dependency met by what is there already needs nothing more.
        if group.iter().any(|n| seen.contains(n) || SKIPPED.contains(&n.as_str())) {
            continue;
        }
        if let Some(stanza) = group.iter().find_map(|n| stanzas.get(n)) {
            seen.insert(stanza.get("Package").cloned().unwrap_or_default());
            found.push(stanza.clone());
        }
    }
    Ok(found)
}

/// Whether a package is made to hold libraries (not all are called so: zlib1g).
fn is_library(stanza: &Stanza) -> bool {
    let is = |field: &str, test: fn(&str) -> bool| stanza.get(field).is_some_and(|v| test(v));
    is("Package", |name| name.starts_with("lib"))
        || is("Section", |s| s.rsplit('/').next().is_some_and(|s| s == "libs" || s == "oldlibs"))
}

/// Parts of the base system, which any root filesystem has.
fn is_base(stanza: &Stanza) -> bool {
    let name = stanza.get("Package").map_or("", String::as_str);
    stanza.get("Essential").is_some_and(|e| e == "yes")
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
    fn libraries_are_known_by_name_or_section() {
        let library = |text: &str| is_library(&stanzas(text)[0]);
        assert!(library("Package: zlib1g\nSection: libs\nPriority: required\n"));
        assert!(library("Package: libfoo1\nSection: contrib/misc\n"));
        assert!(!library("Package: git\nSection: vcs\n"));
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
