//! `task new`: from a request to a bundle in its place.

use crate::archive;
use crate::docs::{assemble, collect, help, man};
use crate::draft::Draft;
use crate::error::ForgeError;
use crate::publish::{Staging, refuse_existing};
use crate::request::{NewTask, SourceSpec};
use crate::seal::{SealReport, seal_with_runtime};
use crate::walk::{self, Node};
use crate::{deb, krate, path};
use reenact_bundle::fsx::fs_error;
use reenact_bundle::shape::reference_cell;
use reenact_bundle::{Progress, TaskBundle, now_rfc3339, write_atomic};
use reenact_model::task::{Platform, Reference, TaskInfo, TaskLimits};
use reenact_model::{Digest, SCHEMA, TaskManifest};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Makes a task: fetch, build or unpack, seal-check, document, publish. The bundle is at `req.out/<id>`.
///
/// # Errors
/// [`ForgeError`]; nothing is left behind in `req.out` then.
pub fn new_task(req: &NewTask, progress: &dyn Progress) -> Result<TaskBundle, ForgeError> {
    if let Some(docs) = req.docs.as_ref().filter(|d| !d.is_dir()) {
        return Err(ForgeError::input(
            format!("{}: not a directory", docs.display()),
            "--docs takes a directory of text files and manual pages",
        ));
    }
    let work = tempfile::Builder::new()
        .prefix("reenact-forge-")
        .tempdir()
        .map_err(fs_error(&std::env::temp_dir(), "write in"))?;
    let staging = Staging::new(&req.out)?;
    let mut draft = make_draft(req, work.path(), progress)?;
    refuse_existing(&req.out, &draft.id, req.force)?;
    add_user_docs(req, &mut draft)?;

    let seal =
        seal_with_runtime(&draft.reference, draft.runtime.as_deref(), &req.source.to_string())?;
    let manifest = manifest(req, &draft, seal);
    progress.note(&format!(
        "seal: {:?} ({})",
        manifest.reference.seal,
        manifest.reference.findings.join("; ")
    ));
    write_sealed(&draft, staging.path())?;
    let staged = TaskBundle {
        root: staging.path().to_path_buf(),
        digest: Digest::of(b""),
        manifest: manifest.clone(),
    };
    write_docs(req, &staged, &mut draft, work.path(), progress)?;

    let file = staging.path().join("sealed/provenance.toml");
    write_atomic(&file, draft.provenance.to_toml(&file)?.as_bytes())?;
    let file = staging.path().join("task.toml");
    let toml = toml::to_string(&manifest).map_err(|e| ForgeError::Malformed {
        path: file.clone(),
        what: format!("cannot be serialised: {e}"),
    })?;
    write_atomic(&file, toml.as_bytes())?;
    // Read it back before anybody else can: a bundle that this reader refuses is never published.
    TaskBundle::open(&staging.path().display().to_string())?.verify_reference()?;
    let place = staging.publish(&draft.id, req.force)?;
    Ok(TaskBundle::open(&place.display().to_string())?)
}

fn make_draft(req: &NewTask, work: &Path, progress: &dyn Progress) -> Result<Draft, ForgeError> {
    let bin = req.bin.as_deref();
    match &req.source {
        SourceSpec::Crate { name, version } => {
            let admit = |id: &str| refuse_existing(&req.out, id, req.force);
            krate::draft(name, version.as_deref(), bin, work, &req.cells, &admit, progress)
        }
        SourceSpec::Deb { name, version } => {
            deb::draft(name, version.as_deref(), bin, work, progress)
        }
        SourceSpec::Path { file } if bin.is_some() => Err(ForgeError::input(
            format!("path:{} is one executable; --bin has nothing to choose", file.display()),
            "leave --bin out",
        )),
        SourceSpec::Path { file } => path::draft(file, req.docs.as_deref(), work),
    }
}

/// For `path:` the user's documentation is the draft's own already.
fn add_user_docs(req: &NewTask, draft: &mut Draft) -> Result<(), ForgeError> {
    if let (Some(dir), false) = (&req.docs, matches!(req.source, SourceSpec::Path { .. })) {
        let more = collect::from_dir(dir)?;
        draft.docs.files.extend(more.files);
        draft.docs.pages.extend(more.pages);
    }
    Ok(())
}

fn manifest(req: &NewTask, draft: &Draft, seal: SealReport) -> TaskManifest {
    let mut findings = seal.findings;
    findings.extend(draft.findings.iter().cloned());
    TaskManifest {
        schema: SCHEMA,
        task: TaskInfo {
            id: draft.id.clone(),
            title: draft.title.clone(),
            split: req.split,
            created: now_rfc3339(),
        },
        source: draft.source.clone(),
        reference: Reference {
            sha256: Digest::of(&draft.reference),
            size: draft.reference.len() as u64,
            r#static: seal.is_static,
            seal: seal.seal,
            findings,
            runtime: draft.runtime.is_some(),
            masks: draft.masks.clone(),
            source_tree: draft.source_tree.is_some(),
            own_terminal: false,
        },
        platform: Platform {
            os: "linux".to_owned(),
            arch: "x86_64".to_owned(),
            rootfs: rootfs_name(req),
        },
        limits: TaskLimits::default(),
    }
}

fn rootfs_name(req: &NewTask) -> String {
    use reenact_sandbox::RootBase;
    match &req.cells.base {
        RootBase::Host => "host".to_owned(),
        RootBase::Dir(dir) => dir.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    }
}

fn write_sealed(draft: &Draft, root: &Path) -> Result<(), ForgeError> {
    let sealed = root.join("sealed");
    let reference = sealed.join("reference");
    write_atomic(&reference, &draft.reference)?;
    std::fs::set_permissions(&reference, std::fs::Permissions::from_mode(0o755))
        .map_err(fs_error(&reference, "write"))?;
    write_atomic(&sealed.join("build.log"), draft.build_log.as_bytes())?;
    if let Some(copyright) = &draft.copyright {
        write_atomic(&sealed.join("copyright"), copyright)?;
    }
    if let Some(tree) = &draft.source_tree {
        archive::write_tar_gz(tree, &sealed.join("source.tar.gz"))?;
    }
    if let Some(runtime) = &draft.runtime {
        copy_tree(runtime, &sealed.join("runtime"))?;
    }
    Ok(())
}

/// Formats pages, asks the reference for its help, and writes `docs/`.
fn write_docs(
    req: &NewTask,
    staged: &TaskBundle,
    draft: &mut Draft,
    work: &Path,
    progress: &dyn Progress,
) -> Result<(), ForgeError> {
    let (pages, renderer) = man::render_all(&draft.docs.pages, &req.cells, work, progress)?;
    draft.provenance.man_renderer = renderer;
    let answers = help::capture(&reference_cell(staged, &req.cells), progress)?;
    if let Some(why) = answers.iter().find_map(|a| a.broken.clone()) {
        return Err(ForgeError::host(
            format!("{}: the reference does not run in its cell: {why}", draft.id),
            "its libraries or its interpreter are missing from the root filesystem",
        ));
    }
    let (files, notes) = assemble(&draft.docs, &pages, &help::transcript(&answers));
    for note in &notes {
        progress.note(note);
    }
    draft.provenance.notes.extend(notes);
    if files.is_empty() {
        return Err(ForgeError::input(
            format!(
                "{}: there is no documentation, and the program says nothing of itself",
                draft.id
            ),
            "add some with --docs DIR",
        ));
    }
    for (name, text) in files {
        write_atomic(&staged.docs().join(name), text.as_bytes())?;
    }
    Ok(())
}

/// Copies directories, regular files (modes kept) and symlinks.
fn copy_tree(from: &Path, to: &Path) -> Result<(), ForgeError> {
    std::fs::create_dir_all(to).map_err(fs_error(to, "create"))?;
    for (path, node) in walk::tree(from)? {
        let target = to.join(&path);
        match node {
            Node::Dir => std::fs::create_dir_all(&target).map_err(fs_error(&target, "create"))?,
            Node::File { mode, .. } => walk::copy_file(&from.join(&path), &target, mode)?,
            Node::Symlink(link) => {
                std::os::unix::fs::symlink(&link, &target).map_err(fs_error(&target, "create"))?;
            }
            Node::Special => {}
        }
    }
    Ok(())
}
