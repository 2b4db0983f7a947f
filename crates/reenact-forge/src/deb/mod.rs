//! `deb:NAME[=VER]`: a Debian binary package.

pub(crate) mod apt;
pub(crate) mod closure;
pub(crate) mod control;
pub(crate) mod copyright;
pub(crate) mod pick;
pub(crate) mod runtime;

use crate::docs::collect;
use crate::draft::{Draft, RawDocs, command_paths, task_id};
use crate::error::ForgeError;
use crate::provenance::{ArchiveRecord, Provenance};
use crate::walk::{self, Node};
use apt::{Apt, Package};
use closure::Closure;
use pick::{Kind, Program};
use reenact_bundle::{Progress, now_rfc3339};
use reenact_model::task::Source;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Fetches a package and everything its program needs.
///
/// # Errors
/// [`ForgeError`]; see [`apt::Apt`] and [`pick::choose`].
pub(crate) fn draft(
    name: &str,
    version: Option<&str>,
    bin: Option<&str>,
    work: &Path,
    progress: &dyn Progress,
) -> Result<Draft, ForgeError> {
    let apt = Apt::new(work)?;
    progress.stage(&format!("fetching deb:{name}"));
    let main = apt.fetch_asked(name, version, progress)?;
    let programs = pick::programs(&main)?;
    let program = pick::choose(name, bin, &programs)?;
    let reference = reenact_bundle::fsx::read(&main.tree.join(&program.file))?;

    progress.stage(&format!("following the libraries of {}", program.name));
    let closure = closure::follow(&apt, &main, &elves(&main, &program)?, progress)?;
    let runtime = runtime::lay_out(&main, &closure, &program.file, &work.join("runtime"))?;
    let provenance = provenance(&main, &closure, &program, apt.version());
    Ok(Draft {
        id: task_id("deb", main.name(), main.field("Version")),
        title: title(&main, &program),
        source: Source {
            kind: "deb".to_owned(),
            name: main.name().to_owned(),
            version: main.field("Version").to_owned(),
            sha256: main.sha256,
            licence: provenance.licence.clone(),
            homepage: provenance.homepage.clone(),
        },
        reference,
        runtime,
        source_tree: None,
        masks: masks(&main, &closure, &program)?,
        docs: raw_docs(&main, &closure)?,
        build_log: format!("taken from {} as distributed; nothing was built\n", main.archive),
        copyright: read_copyright(&main),
        findings: findings(&main, &closure, &program),
        provenance,
    })
}

/// ELF files of the package whose libraries are needed: the program, its helpers, its private plug-ins.
fn elves(main: &Package, program: &Program) -> Result<Vec<PathBuf>, ForgeError> {
    let mut found = vec![program.file.clone()];
    for (path, node) in walk::tree(&main.tree)? {
        if matches!(node, Node::File { .. })
            && path != program.file
            && !path.starts_with("usr/share")
        {
            found.push(path);
        }
    }
    Ok(found)
}

fn title(main: &Package, program: &Program) -> String {
    let summary = main.field("Description").lines().next().unwrap_or_default().to_owned();
    format!("{}: {summary}", program.name)
}

/// The program's own package files wherever a host has them, and every name under which it may be installed.
fn masks(main: &Package, closure: &Closure, program: &Program) -> Result<Vec<String>, ForgeError> {
    let mut all: BTreeSet<String> = BTreeSet::new();
    all.extend(command_paths(&program.name));
    let source = control::source_of(&main.fields);
    let same_source = |p: &&Package| control::source_of(&p.fields) == source;
    let kin = closure.kin.iter().chain(&closure.libraries).filter(same_source);
    for package in std::iter::once(main).chain(kin) {
        all.extend(runtime::own_files(package)?);
        let links = control::alternatives(package.postinst.as_deref().unwrap_or_default());
        all.extend(links.into_keys().filter(|l| l.contains("/bin/") || l.contains("/games/")));
    }
    Ok(all.into_iter().collect())
}

fn raw_docs(main: &Package, closure: &Closure) -> Result<RawDocs, ForgeError> {
    let mut docs = collect::from_deb(&main.tree, main.name())?;
    // Pages of alternatives go by the name that users type (figlet.6, not figlet-figlet.6).
    for (link, path) in control::alternatives(main.postinst.as_deref().unwrap_or_default()) {
        let (link, path) = (collect::page_name(&link), collect::page_name(&path));
        if let Some(bytes) = docs.pages.remove(&path) {
            docs.pages.insert(link, bytes);
        }
    }
    for package in &closure.kin {
        // A library's data package documents the library, not the program.
        if control::source_of(&package.fields) == control::source_of(&main.fields) {
            let more = collect::from_deb(&package.tree, package.name())?;
            for (name, bytes) in more.files {
                docs.files.entry(name).or_insert(bytes);
            }
            for (name, bytes) in more.pages {
                docs.pages.entry(name).or_insert(bytes);
            }
        }
    }
    Ok(docs)
}

fn read_copyright(main: &Package) -> Option<Vec<u8>> {
    let path = Path::new("usr/share/doc").join(main.name()).join("copyright");
    let found = walk::resolve(&main.tree, &path)?;
    std::fs::read(main.tree.join(found)).ok()
}

fn findings(main: &Package, closure: &Closure, program: &Program) -> Vec<String> {
    let mut found = Vec::new();
    if let Kind::Script(interpreter) = &program.kind {
        found.push(format!("{} is a script for {interpreter}", program.name));
    }
    let source = control::source_of(&main.fields);
    for (soname, file) in &closure.files {
        let packages = closure.kin.iter().chain(&closure.libraries);
        let own = packages
            .filter(|p| control::source_of(&p.fields) == source)
            .any(|p| file.starts_with(&p.tree));
        if own {
            found.push(format!("{soname} is the program's own code outside the sealed executable"));
        }
    }
    for name in &closure.missing {
        found.push(format!("library {name} is in no package that {} depends on", main.name()));
    }
    found
}

fn provenance(
    main: &Package,
    closure: &Closure,
    program: &Program,
    apt: Option<String>,
) -> Provenance {
    let record = |p: &Package, role: &str| ArchiveRecord {
        name: p.archive.clone(),
        version: p.field("Version").to_owned(),
        sha256: p.sha256,
        role: role.to_owned(),
    };
    let mut archives = vec![record(main, "reference")];
    archives.extend(closure.kin.iter().map(|p| record(p, "data")));
    archives.extend(closure.libraries.iter().map(|p| record(p, "library")));
    let copyright = read_copyright(main);
    let licence = copyright.map_or_else(
        || copyright::UNKNOWN.to_owned(),
        |bytes| copyright::licence(&String::from_utf8_lossy(&bytes)),
    );
    let homepage = main.field("Homepage");
    Provenance {
        source: format!("deb:{}={}", main.name(), main.field("Version")),
        created: now_rfc3339(),
        forge: env!("CARGO_PKG_VERSION").to_owned(),
        licence,
        homepage: (!homepage.is_empty()).then(|| homepage.to_owned()),
        repository: None,
        executable: format!("/{}", runtime::merged(&program.file).display()),
        build_command: None,
        toolchain: None,
        man_renderer: None,
        notes: apt.into_iter().map(|v| format!("fetched by {v}")).collect(),
        archives,
    }
}
