//! Which file of a package is the program.

use super::apt::Package;
use super::control::alternatives;
use crate::elf;
use crate::error::ForgeError;
use crate::walk::{self, Node};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Directories of a package whose executables are programs.
const BIN_DIRS: [&str; 6] = ["usr/bin", "usr/games", "bin", "usr/sbin", "sbin", "usr/local/bin"];

/// What a program file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Elf,
    /// With the interpreter it names.
    Script(String),
}

/// A program of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// The name a user would type.
    pub name: String,
    /// The regular file in the unpacked tree, relative.
    pub file: PathBuf,
    pub kind: Kind,
}

/// Every program of the package by name; links and alternatives are followed inside the package.
///
/// # Errors
/// [`ForgeError::Fs`].
pub(crate) fn programs(package: &Package) -> Result<BTreeMap<String, Program>, ForgeError> {
    let mut names: BTreeMap<String, PathBuf> = BTreeMap::new();
    for dir in BIN_DIRS {
        let full = package.tree.join(dir);
        if full.is_dir() {
            for path in walk::tree(&full)?.into_keys().filter(|p| p.components().count() == 1) {
                names.insert(path.display().to_string(), Path::new(dir).join(path));
            }
        }
    }
    // The name that users type may exist only once the package is installed (figlet is figlet-figlet's alternative).
    for (link, path) in alternatives(package.postinst.as_deref().unwrap_or_default()) {
        let link = Path::new(link.trim_start_matches('/'));
        if BIN_DIRS.iter().any(|d| link.parent() == Some(Path::new(d))) {
            let name = link.file_name().unwrap_or_default().to_string_lossy().into_owned();
            names.entry(name).or_insert_with(|| PathBuf::from(path.trim_start_matches('/')));
        }
    }
    let mut found = BTreeMap::new();
    for (name, path) in names {
        let Some(file) = walk::resolve(&package.tree, &path) else { continue };
        if let Some(kind) = kind_of(&package.tree.join(&file))? {
            found.insert(name.clone(), Program { name, file, kind });
        }
    }
    Ok(found)
}

/// `None` for what is not executable or neither ELF nor script.
fn kind_of(path: &Path) -> Result<Option<Kind>, ForgeError> {
    let Node::File { mode, .. } = walk::node(path)? else { return Ok(None) };
    if mode & 0o111 == 0 {
        return Ok(None);
    }
    let mut head = Vec::new();
    let file = std::fs::File::open(path).map_err(reenact_bundle::fsx::fs_error(path, "read"))?;
    file.take(256).read_to_end(&mut head).map_err(reenact_bundle::fsx::fs_error(path, "read"))?;
    Ok(if elf::is_elf(&head) { Some(Kind::Elf) } else { elf::shebang(&head).map(Kind::Script) })
}

/// The program asked for by `bin`, or the one named like the package, or the only ELF program.
///
/// # Errors
/// [`ForgeError::Input`] that lists the programs.
pub(crate) fn choose(
    package: &str,
    bin: Option<&str>,
    programs: &BTreeMap<String, Program>,
) -> Result<Program, ForgeError> {
    let list = |all: &mut dyn Iterator<Item = &Program>| -> String {
        all.map(|p| match &p.kind {
            Kind::Elf => p.name.clone(),
            Kind::Script(_) => format!("{} (script)", p.name),
        })
        .collect::<Vec<_>>()
        .join(", ")
    };
    if programs.is_empty() {
        return Err(ForgeError::input(
            format!("deb:{package} ships no executable"),
            "name a package that does (the program may be in one of its dependencies)",
        ));
    }
    if let Some(bin) = bin {
        return programs.get(bin).cloned().ok_or_else(|| {
            ForgeError::input(
                format!("deb:{package} ships no executable {bin:?}"),
                format!("it ships: {}", list(&mut programs.values())),
            )
        });
    }
    let is_elf = |p: &&Program| p.kind == Kind::Elf;
    if let Some(named) = programs.get(package).filter(is_elf) {
        return Ok(named.clone());
    }
    let files: BTreeSet<&Path> =
        programs.values().filter(is_elf).map(|p| p.file.as_path()).collect();
    match files.len() {
        0 => Err(ForgeError::input(
            format!("deb:{package} ships only scripts, which cannot be sealed"),
            format!(
                "choose one with --bin if you want it anyway: {}",
                list(&mut programs.values())
            ),
        )),
        1 => programs.values().find(is_elf).cloned().ok_or_else(|| {
            ForgeError::input(format!("deb:{package} ships no executable"), "name another package")
        }),
        _ => Err(ForgeError::input(
            format!("deb:{package} ships several executables and none is named like it"),
            format!("choose one with --bin: {}", list(&mut programs.values())),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(name: &str, file: &str, kind: Kind) -> (String, Program) {
        (name.to_owned(), Program { name: name.to_owned(), file: PathBuf::from(file), kind })
    }

    #[test]
    fn a_program_is_chosen_by_name_or_because_it_is_the_only_one() {
        let script = || Kind::Script("/bin/sh".to_owned());
        let two = BTreeMap::from([
            program("lua5.4", "usr/bin/lua5.4", Kind::Elf),
            program("luac5.4", "usr/bin/luac5.4", Kind::Elf),
        ]);
        assert_eq!(choose("lua5.4", None, &two).unwrap().name, "lua5.4");
        assert_eq!(choose("lua5.4", Some("luac5.4"), &two).unwrap().name, "luac5.4");
        let error = choose("lua", None, &two).unwrap_err();
        assert!(error.is_usage() && error.to_string().contains("lua5.4, luac5.4"), "{error}");
        let error = choose("lua5.4", Some("nope"), &two).unwrap_err();
        assert!(error.to_string().contains("luac5.4"), "{error}");

        let linked = BTreeMap::from([
            program("rg", "usr/bin/rg", Kind::Elf),
            program("ripgrep2", "usr/bin/rg", Kind::Elf),
            program("helper", "usr/bin/helper", script()),
        ]);
        assert_eq!(choose("ripgrep", None, &linked).unwrap().name, "rg");

        let scripts = BTreeMap::from([program("a", "usr/bin/a", script())]);
        assert!(choose("a", None, &scripts).unwrap_err().to_string().contains("a (script)"));
        assert!(choose("a", Some("a"), &scripts).is_ok());
        assert!(
            choose("a", None, &BTreeMap::new()).unwrap_err().to_string().contains("no executable")
        );
    }

    #[test]
    fn programs_follow_links_and_alternatives() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("usr/bin");
        std::fs::create_dir_all(&bin).unwrap();
        for (name, bytes, mode) in [
            ("fig-fig", &b"\x7fELFx"[..], 0o755),
            ("list", b"#!/bin/sh\n", 0o755),
            ("data", b"\x7fELF", 0o644),
        ] {
            std::fs::write(bin.join(name), bytes).unwrap();
            std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(mode))
                .unwrap();
        }
        std::os::unix::fs::symlink("fig-fig", bin.join("fig2")).unwrap();
        std::os::unix::fs::symlink("/etc/alternatives/x", bin.join("dangling")).unwrap();
        let package = Package {
            fields: Default::default(),
            archive: String::new(),
            sha256: reenact_model::Digest::of(b""),
            tree: dir.path().to_path_buf(),
            postinst: Some(
                "update-alternatives --install /usr/bin/fig fig /usr/bin/fig-fig 1".into(),
            ),
        };
        let found = programs(&package).unwrap();
        let names: Vec<_> = found.keys().cloned().collect();
        assert_eq!(names, ["fig", "fig-fig", "fig2", "list"]);
        assert_eq!(found["fig"].file, Path::new("usr/bin/fig-fig"));
        assert_eq!(found["list"].kind, Kind::Script("/bin/sh".into()));
    }
}
