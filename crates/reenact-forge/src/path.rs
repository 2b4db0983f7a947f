//! `path:FILE --docs DIR`: an executable at hand.

use crate::docs::collect;
use crate::draft::{Draft, command_paths, task_id};
use crate::elf;
use crate::error::ForgeError;
use crate::provenance::{ArchiveRecord, Provenance};
use crate::walk;
use reenact_bundle::now_rfc3339;
use reenact_model::Digest;
use reenact_model::task::Source;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Where any root filesystem has its libraries; what lies there is not carried along.
const STANDARD_DIRS: [&str; 6] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
];
/// Further directories that loaders are often told about.
const FURTHER_DIRS: [&str; 2] = ["/usr/local/lib", "/usr/local/lib/x86_64-linux-gnu"];

/// Takes an executable and its documentation as they are.
///
/// # Errors
/// [`ForgeError::Input`] if the file is no program, or `--docs` is missing or no directory.
pub(crate) fn draft(file: &Path, docs: Option<&Path>, work: &Path) -> Result<Draft, ForgeError> {
    let Some(docs) = docs else {
        return Err(ForgeError::input(
            format!("path:{} needs its documentation", file.display()),
            "name a directory with --docs DIR",
        ));
    };
    let real = file.canonicalize().ok().filter(|p| p.is_file()).ok_or_else(|| {
        ForgeError::input(
            format!("{}: no such file", file.display()),
            "path: takes an executable file",
        )
    })?;
    if !docs.is_dir() {
        return Err(ForgeError::input(
            format!("{}: not a directory", docs.display()),
            "--docs takes a directory of text files and manual pages",
        ));
    }
    let reference = reenact_bundle::fsx::read(&real)?;
    let name = real.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let digest = Digest::of(&reference);
    let version = digest.short(7);
    let (libraries, missing) = private_libraries(&real, &reference)?;
    let runtime = work.join("runtime");
    for (soname, from) in &libraries {
        walk::copy_file(from, &runtime.join("usr/lib/x86_64-linux-gnu").join(soname), 0o644)?;
    }
    let mut masks: BTreeSet<String> = command_paths(&name).into_iter().collect();
    masks.insert(real.display().to_string());
    Ok(Draft {
        id: task_id("path", &name, &version),
        title: format!("{name}: a program given as a file"),
        source: Source {
            kind: "path".to_owned(),
            name: name.clone(),
            version: version.clone(),
            sha256: digest,
            licence: "unknown".to_owned(),
            homepage: None,
        },
        reference,
        runtime: (!libraries.is_empty()).then_some(runtime),
        source_tree: None,
        masks: masks.into_iter().collect(),
        docs: collect::from_dir(docs)?,
        build_log: format!("{name}: taken as it was; nothing was built\n"),
        copyright: None,
        findings: missing
            .into_iter()
            .map(|n| format!("library {n} was not found on this host"))
            .collect(),
        provenance: provenance(&name, &version, digest),
    })
}

/// Libraries outside the standard directories, by soname, directly needed or through others; and those found nowhere.
fn private_libraries(
    program: &Path,
    bytes: &[u8],
) -> Result<(BTreeMap<String, PathBuf>, BTreeSet<String>), ForgeError> {
    let mut found = BTreeMap::new();
    let mut missing = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut pending = vec![(program.to_path_buf(), elf::read(bytes).unwrap_or_default())];
    while let Some((user, facts)) = pending.pop() {
        let origin = user.parent().unwrap_or(Path::new("/")).display().to_string();
        for name in facts.needed.iter().filter(|n| seen.insert((*n).clone())) {
            let private = facts.rpaths.iter().map(|r| PathBuf::from(r.replace("$ORIGIN", &origin)));
            let all = private
                .chain(STANDARD_DIRS.iter().map(PathBuf::from))
                .chain(FURTHER_DIRS.iter().map(PathBuf::from));
            let Some(path) = all.map(|d| d.join(name)).find(|p| p.is_file()) else {
                missing.insert(name.clone());
                continue;
            };
            let standard = STANDARD_DIRS.iter().any(|d| path.parent() == Some(Path::new(d)));
            if !standard {
                let bytes = reenact_bundle::fsx::read(&path)?;
                pending.push((path.clone(), elf::read(&bytes).unwrap_or_default()));
                found.insert(name.clone(), path);
            }
        }
    }
    Ok((found, missing))
}

fn provenance(name: &str, version: &str, digest: Digest) -> Provenance {
    Provenance {
        source: format!("path:{name}"),
        created: now_rfc3339(),
        forge: env!("CARGO_PKG_VERSION").to_owned(),
        licence: "unknown".to_owned(),
        homepage: None,
        repository: None,
        executable: name.to_owned(),
        build_command: None,
        toolchain: None,
        man_renderer: None,
        notes: Vec::new(),
        archives: vec![ArchiveRecord {
            name: name.to_owned(),
            version: version.to_owned(),
            sha256: digest,
            role: "reference".to_owned(),
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documentation_is_demanded_and_bad_files_are_named() {
        let work = tempfile::tempdir().unwrap();
        let docs = tempfile::tempdir().unwrap();
        let error = draft(Path::new("/bin/true"), None, work.path()).unwrap_err();
        assert!(error.is_usage() && error.to_string().contains("--docs"), "{error}");
        let error = draft(Path::new("/no/such/file"), Some(docs.path()), work.path()).unwrap_err();
        assert!(error.is_usage() && error.to_string().contains("/no/such/file"), "{error}");
        let error =
            draft(Path::new("/bin/true"), Some(Path::new("/no/docs")), work.path()).unwrap_err();
        assert!(error.is_usage() && error.to_string().contains("/no/docs"), "{error}");
    }

    #[test]
    fn a_host_program_needs_nothing_from_outside_the_standard_directories() {
        let bytes = std::fs::read("/bin/true").unwrap();
        let (found, missing) = private_libraries(Path::new("/bin/true"), &bytes).unwrap();
        assert!(found.is_empty() && missing.is_empty(), "{found:?} {missing:?}");
    }
}
