//! `reenact trajectory`.

use super::Done;
use super::report::manifest;
use crate::args::{Trajectory, TrajectoryExport, TrajectoryFormat};
use crate::context::Context;
use crate::error::CommandError;
use reenact_bundle::{fsx, write_atomic};
use reenact_interop::trajectory::{Subject, check_atif, read_mini, repaired, to_atif};
use reenact_model::{ExitCode, RunManifest};
use std::path::Path;

pub fn trajectory(args: &Trajectory, context: &Context) -> Done {
    match args {
        Trajectory::Export(args) => export(args, context),
    }
}

fn export(args: &TrajectoryExport, context: &Context) -> Done {
    let manifest = manifest(&args.run)?;
    let path = args.run.join(&args.task).join(format!("{}.traj.json", args.task));
    let atif_file = args.run.join(&args.task).join(format!("{}.atif.json", args.task));
    if !path.is_file() && atif_file.is_file() && args.format == TrajectoryFormat::Atif {
        // Imported from Harbor: it is in the format that is asked for.
        return put(args, &fsx::read(&atif_file)?, context);
    }
    if !path.is_file() {
        let known: Vec<&str> = manifest.tasks.keys().map(String::as_str).collect();
        let what = format!("{}: no trajectory of task {:?}", args.run.display(), args.task);
        let hint = format!("tasks of the run: {}; baselines leave no trajectory", known.join(", "));
        return Err(CommandError::nothing(what).hint(hint));
    }
    let bytes = fsx::read(&path)?;
    let out = match args.format {
        TrajectoryFormat::Mini => repaired(&path, &bytes).map_err(CommandError::usage)?,
        TrajectoryFormat::Atif => atif(&path, &bytes, &manifest, &args.run)?,
    };
    put(args, &out, context)
}

/// Writes the document where it was asked for.
fn put(args: &TrajectoryExport, out: &[u8], context: &Context) -> Done {
    match &args.out {
        Some(file) => {
            write_atomic(file, out)?;
            if context.json {
                context.print_json(&serde_json::json!({"file": file}));
            } else {
                context.made("", file);
            }
        }
        // It is JSON, in either format.
        None => context.out(String::from_utf8_lossy(out).trim_end()),
    }
    Ok(ExitCode::Done)
}

fn atif(
    path: &Path,
    bytes: &[u8],
    manifest: &RunManifest,
    run: &Path,
) -> Result<Vec<u8>, CommandError> {
    let read = read_mini(path, bytes).map_err(CommandError::usage)?;
    let setup = manifest.setup.as_ref();
    let mut extra = serde_json::Map::new();
    if let Some(setup) = setup {
        extra.insert("policy_digest".to_owned(), setup.policy_digest.to_string().into());
    }
    let subject = Subject {
        agent: manifest.agent.clone(),
        version: manifest.harness.version.clone(),
        model: setup.and_then(|s| s.model.as_ref()).map(|m| m.name.clone()),
        session_id: Some(super::grade::name(run)),
        extra,
    };
    let document = to_atif(&read.trajectory, &subject);
    if document.steps.is_empty() {
        let what = format!("{}: holds no message yet", path.display());
        return Err(CommandError::nothing(what).hint("ATIF needs at least one step"));
    }
    // Ours is to write valid documents; one that is not is our fault, and is not written.
    if let Some(broken) = check_atif(&document).first() {
        let what = format!("{}: the export breaks a rule of ATIF: {broken}", path.display());
        return Err(CommandError::environment(what));
    }
    serde_json::to_vec_pretty(&document).map_err(CommandError::environment)
}
