//! `crate:NAME[@VER]`: a crate with a binary, fetched outside, built offline in a cell.

mod attempt;
mod build;
mod fetch;
mod metadata;
mod prune;

use crate::docs::collect;
use crate::draft::{Draft, command_paths, task_id};
use crate::error::ForgeError;
use crate::provenance::{ArchiveRecord, Provenance};
use attempt::Built;
use fetch::Fetched;
use metadata::{PackageInfo, Target};
use reenact_bundle::shape::CellOptions;
use reenact_bundle::{Progress, now_rfc3339};
use reenact_model::task::Source;
use reenact_sandbox::host::HostCommand;
use std::collections::BTreeSet;
use std::path::Path;

/// Debian installs these crates' programs under another name.
const RENAMED: [(&str, &str); 2] = [("bat", "batcat"), ("fd", "fdfind")];

/// Fetches a crate and builds its reference. `admit` is asked once the id is known, before anything long begins.
///
/// # Errors
/// [`ForgeError`]; see [`fetch::fetch`], [`metadata::choose_bin`]; [`ForgeError::Build`].
pub(crate) fn draft(
    name: &str,
    version: Option<&str>,
    bin: Option<&str>,
    work: &Path,
    cells: &CellOptions,
    admit: &dyn Fn(&str) -> Result<(), ForgeError>,
    progress: &dyn Progress,
) -> Result<Draft, ForgeError> {
    let fetched = fetch::fetch(name, version, work, progress)?;
    let package = metadata::describe(&fetched.tree)?;
    let target = metadata::choose_bin(&package, bin)?;
    let id = task_id("crate", &fetched.name, &fetched.version);
    admit(&id)?;
    let masks = masks(&fetched.name, &target.name);
    let built = attempt::build(&fetched, &target, &masks, work, cells, progress)?;
    let docs = collect::from_crate(&fetched.tree)?;
    let provenance = provenance(&fetched, &package, &target, &built);
    Ok(Draft {
        id,
        title: title(&package, &target),
        source: Source {
            kind: "crate".to_owned(),
            name: fetched.name.clone(),
            version: fetched.version.clone(),
            sha256: fetched.sha256,
            licence: provenance.licence.clone(),
            homepage: provenance.homepage.clone(),
        },
        reference: built.reference,
        runtime: None,
        copyright: licence_files(&fetched.tree)?,
        source_tree: Some(fetched.tree),
        masks,
        docs,
        build_log: built.log,
        findings: built.findings,
        provenance,
    })
}

fn masks(crate_name: &str, bin: &str) -> Vec<String> {
    let mut names = BTreeSet::from([crate_name, bin]);
    names.extend(RENAMED.iter().filter(|(from, _)| *from == bin).map(|(_, to)| *to));
    let all: BTreeSet<String> = names.into_iter().flat_map(command_paths).collect();
    all.into_iter().collect()
}

fn title(package: &PackageInfo, target: &Target) -> String {
    let text = package.description.as_deref().unwrap_or("a command-line program");
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("{}: {line}", target.name)
}

/// LICENSE and COPYING files of the crate, one after another.
fn licence_files(tree: &Path) -> Result<Option<Vec<u8>>, ForgeError> {
    let mut all = Vec::new();
    for (path, node) in crate::walk::tree(tree)? {
        let name = path.display().to_string();
        let lower = name.to_lowercase();
        let is_law = ["license", "licence", "copying", "unlicense", "copyright"]
            .iter()
            .any(|stem| lower.starts_with(stem));
        if matches!(node, crate::walk::Node::File { .. }) && is_law && !lower.ends_with(".rs") {
            all.extend(format!("== {name}\n").into_bytes());
            all.extend(reenact_bundle::fsx::read(&tree.join(&path))?);
        }
    }
    Ok((!all.is_empty()).then_some(all))
}

fn provenance(
    fetched: &Fetched,
    package: &PackageInfo,
    target: &Target,
    built: &Built,
) -> Provenance {
    let toolchain = HostCommand::new("rustc", ["-V"])
        .run()
        .ok()
        .map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    let mut archives = vec![ArchiveRecord {
        name: format!("{}-{}.crate", fetched.name, fetched.version),
        version: fetched.version.clone(),
        sha256: fetched.sha256,
        role: "reference".to_owned(),
    }];
    archives.extend(built.dependencies.iter().cloned());
    Provenance {
        source: format!("crate:{}@{}", fetched.name, fetched.version),
        created: now_rfc3339(),
        forge: env!("CARGO_PKG_VERSION").to_owned(),
        licence: package.license.clone().unwrap_or_else(|| "unknown".to_owned()),
        homepage: package.homepage.clone().or_else(|| package.repository.clone()),
        repository: package.repository.clone(),
        executable: target.name.clone(),
        build_command: Some("sh compile.sh (in sealed/source.tar.gz, at /workspace)".to_owned()),
        toolchain,
        man_renderer: None,
        notes: built.notes.clone(),
        archives,
    }
}
