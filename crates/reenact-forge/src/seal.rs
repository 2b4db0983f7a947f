//! The seal check: how well a reference's bytes can be kept from somebody who may run it (DESIGN 8, ATTACKS A).

use crate::elf::{self, ElfFacts};
use crate::error::ForgeError;
use crate::walk::{self, Node};
use reenact_model::Seal;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Imports that let a program load code that its caller supplies.
const LOADERS: [&str; 2] = ["dlopen", "dlmopen"];
/// Imports that find a function by name in what is loaded already: harmless (Rust's standard library looks for newer libc
/// functions so), unless the name looked for is a loader's.
const FINDERS: [&str; 2] = ["dlsym", "dlvsym"];
/// Imports that read another process's raw memory.
const PEEKERS: [&str; 3] = ["ptrace", "process_vm_readv", "process_vm_writev"];

/// What the seal check says of a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealReport {
    pub seal: Seal,
    /// No program interpreter and no shared libraries.
    pub is_static: bool,
    /// Why, and what else is worth knowing; one line each.
    pub findings: Vec<String>,
}

/// Judges a reference by its bytes and those of the shared libraries it brings along (soname and bytes; libc's own family
/// left out).
///
/// # Errors
/// What makes the reference no program for this machine, as a fragment.
pub fn seal_check(reference: &[u8], libraries: &[(String, Vec<u8>)]) -> Result<SealReport, String> {
    if let Some(interpreter) = elf::shebang(reference) {
        let finding = format!("a script for `{interpreter}`: readable by whoever may run it");
        return Ok(SealReport {
            seal: Seal::Unsealable,
            is_static: false,
            findings: vec![finding],
        });
    }
    let facts = elf::read(reference)?;
    let mut report = judge(&facts, names_a_loader(reference));
    for (name, bytes) in libraries {
        // A file beside the libraries that is no ELF (a linker script) loads nothing.
        if let Ok(library) = elf::read(bytes) {
            judge_library(name, &library, &mut report);
        }
    }
    Ok(report)
}

/// Whether the name of a loader stands anywhere in the bytes.
fn names_a_loader(bytes: &[u8]) -> bool {
    LOADERS.iter().any(|n| bytes.windows(n.len()).any(|w| w == n.as_bytes()))
}

/// `names_loader`: see [`names_a_loader`]; it only matters where a function that finds others is imported.
fn judge(facts: &ElfFacts, names_loader: bool) -> SealReport {
    let mut report =
        SealReport { seal: Seal::Sealed, is_static: facts.is_static(), findings: Vec::new() };
    if let Some(interpreter) = &facts.interpreter {
        worsen(&mut report, Seal::Guarded, format!("PT_INTERP {interpreter}: dynamically linked"));
    }
    if !facts.needed.is_empty() {
        worsen(&mut report, Seal::Guarded, format!("DT_NEEDED {}", facts.needed.join(" ")));
    }
    if facts.opaque {
        let text = "dynamic section without section headers: imports cannot be read";
        worsen(&mut report, Seal::Unsealable, text.to_owned());
    }
    for name in LOADERS.iter().filter(|n| facts.imports.contains(**n)) {
        worsen(&mut report, Seal::Unsealable, format!("imports {name}: can load code"));
    }
    for name in FINDERS.iter().filter(|n| facts.imports.contains(**n)) {
        if names_loader {
            let text = format!("imports {name} and names dlopen: can load code");
            worsen(&mut report, Seal::Unsealable, text);
        } else {
            report.findings.push(format!("imports {name}, but names no loader"));
        }
    }
    for name in PEEKERS.iter().filter(|n| facts.imports.contains(**n)) {
        let text = format!("imports {name}: can read raw memory of processes");
        worsen(&mut report, Seal::Unsealable, text);
    }
    if report.is_static {
        judge_static(facts, &mut report);
    }
    if !facts.rpaths.is_empty() {
        let text = format!("RPATH/RUNPATH {}: libraries from a fixed path", facts.rpaths.join(":"));
        worsen(&mut report, Seal::Guarded, text);
    }
    if facts.text_relocations {
        report.findings.push("TEXTREL: code pages are written by the loader".to_owned());
    }
    if facts.exec_stack {
        report.findings.push("executable stack".to_owned());
    }
    report
}

/// A static executable is judged by its symbols. glibc's own gconv and NSS loaders are in nearly every static program;
/// they obey variables that the oracle scrubs. A `dlopen` that the program itself calls is linked under that name.
fn judge_static(facts: &ElfFacts, report: &mut SealReport) {
    if facts.defined.is_empty() {
        report.findings.push("stripped: no symbols to look for a loader in".to_owned());
    } else if let Some(name) = ["dlopen", "dlmopen"].iter().find(|n| facts.defined.contains(**n)) {
        worsen(report, Seal::Unsealable, format!("static, but {name} is linked in: can load code"));
    }
}

/// Libraries that load others by a fixed name only (ncurses asks for gpm's mouse library): the oracle's scrubbed
/// environment leaves their caller no say in it.
const FIXED_LOADERS: [&str; 3] = ["libncurses.so.", "libncursesw.so.", "libstdc++.so."];

/// A library that can load code makes the whole process one that can: whether the caller can steer it there is not
/// decidable from symbols, so the cautious answer is taken.
fn judge_library(name: &str, facts: &ElfFacts, report: &mut SealReport) {
    if ["dlopen", "dlmopen"].iter().any(|n| facts.imports.contains(*n)) {
        if FIXED_LOADERS.iter().any(|f| name.starts_with(f)) {
            report.findings.push(format!("library {name} imports dlopen, for a fixed name only"));
        } else {
            let text = format!("library {name} imports dlopen: the process can load code");
            worsen(report, Seal::Unsealable, text);
        }
    }
    if !facts.rpaths.is_empty() {
        report
            .findings
            .push(format!("library {name} has RPATH/RUNPATH {}", facts.rpaths.join(":")));
    }
}

fn worsen(report: &mut SealReport, to: Seal, finding: String) {
    report.seal = report.seal.max(to);
    report.findings.push(finding);
}

/// The seal check of a reference with those libraries of its runtime tree that it links, directly or through others.
///
/// # Errors
/// [`ForgeError::Input`] if the reference is no program for this machine.
pub(crate) fn seal_with_runtime(
    reference: &[u8],
    runtime: Option<&Path>,
    name: &str,
) -> Result<SealReport, ForgeError> {
    let libraries = match runtime {
        Some(tree) => linked_libraries(reference, tree)?,
        None => Vec::new(),
    };
    seal_check(reference, &libraries).map_err(|what| {
        ForgeError::input(format!("{name}: {what}"), "only x86-64 Linux programs can be references")
    })
}

fn linked_libraries(reference: &[u8], tree: &Path) -> Result<Vec<(String, Vec<u8>)>, ForgeError> {
    let mut by_name: BTreeMap<String, PathBuf> = BTreeMap::new();
    for (path, node) in walk::tree(tree)? {
        // A soname is often a link to the file with the full version.
        if node != Node::Dir
            && path.starts_with("usr/lib")
            && let Some(file) = walk::resolve(tree, &path).filter(|f| tree.join(f).is_file())
        {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            by_name.entry(name).or_insert(file);
        }
    }
    let needed = |bytes: &[u8]| elf::read(bytes).map(|f| f.needed).unwrap_or_default();
    let mut pending = needed(reference);
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    while let Some(name) = pending.pop() {
        let Some(path) = by_name.get(&name).filter(|_| seen.insert(name.clone())) else { continue };
        let bytes = reenact_bundle::fsx::read(&tree.join(path))?;
        pending.extend(needed(&bytes));
        found.push((name, bytes));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::tests::tiny_static;

    #[test]
    fn static_is_sealed_dynamic_is_guarded_script_is_unsealable() {
        let tiny = seal_check(&tiny_static(), &[]).unwrap();
        assert_eq!((tiny.seal, tiny.is_static), (Seal::Sealed, true), "{tiny:?}");
        let host = seal_check(&std::fs::read("/bin/true").unwrap(), &[]).unwrap();
        assert_eq!((host.seal, host.is_static), (Seal::Guarded, false), "{host:?}");
        assert!(host.findings.iter().any(|f| f.starts_with("PT_INTERP")), "{host:?}");
        let script = seal_check(b"#!/usr/bin/perl\nprint 1", &[]).unwrap();
        assert_eq!(script.seal, Seal::Unsealable);
        assert!(script.findings[0].contains("/usr/bin/perl"));
        assert!(seal_check(b"plain text", &[]).is_err());
    }

    #[test]
    fn loaders_rpaths_and_odd_pages_are_found() {
        let dynamic = ElfFacts {
            interpreter: Some("/lib64/ld-linux-x86-64.so.2".into()),
            needed: vec!["libc.so.6".into()],
            ..ElfFacts::default()
        };
        let with = |f: fn(&mut ElfFacts)| {
            let mut facts = dynamic.clone();
            f(&mut facts);
            judge(&facts, false)
        };
        assert_eq!(judge(&dynamic, false).seal, Seal::Guarded);
        assert_eq!(with(|f| _ = f.imports.insert("dlopen".into())).seal, Seal::Unsealable);
        assert_eq!(with(|f| _ = f.imports.insert("ptrace".into())).seal, Seal::Unsealable);
        assert_eq!(with(|f| f.opaque = true).seal, Seal::Unsealable);
        let finder = |f: &mut ElfFacts| _ = f.imports.insert("dlsym".into());
        assert_eq!(with(finder).seal, Seal::Guarded);
        let mut facts = dynamic.clone();
        finder(&mut facts);
        assert_eq!(judge(&facts, names_a_loader(b"\0dlopen\0")).seal, Seal::Unsealable);
        let rpath = with(|f| f.rpaths = vec!["$ORIGIN/lib".into()]);
        assert!(rpath.findings.iter().any(|f| f.contains("$ORIGIN/lib")), "{rpath:?}");
        let odd = with(|f| (f.text_relocations, f.exec_stack) = (true, true));
        assert_eq!(odd.seal, Seal::Guarded);
        assert_eq!(odd.findings.len(), judge(&dynamic, false).findings.len() + 2, "{odd:?}");
    }

    #[test]
    fn a_static_program_with_its_own_dlopen_is_unsealable() {
        let mut facts = ElfFacts::default();
        facts.defined.insert("__libc_dlopen_mode".into());
        assert_eq!(judge(&facts, false).seal, Seal::Sealed);
        facts.defined.insert("dlopen".into());
        assert_eq!(judge(&facts, false).seal, Seal::Unsealable);
    }

    #[test]
    fn a_library_that_loads_code_counts_against_the_program() {
        let mut report = judge(&ElfFacts::default(), false);
        let mut library = ElfFacts::default();
        judge_library("liba.so.1", &library, &mut report);
        assert_eq!(report.seal, Seal::Sealed);
        library.imports.insert("dlopen".into());
        judge_library("libncursesw.so.6", &library, &mut report);
        assert_eq!(report.seal, Seal::Sealed);
        judge_library("libb.so.1", &library, &mut report);
        assert_eq!(report.seal, Seal::Unsealable);
        assert!(report.findings.iter().any(|f| f.contains("libb.so.1")));
    }
}
