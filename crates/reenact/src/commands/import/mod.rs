//! `reenact import`: other people's results and trajectories as run directories, for `show`, `report` and later analysis.

mod files;
mod harbor;
mod mini;

use super::Done;
use crate::context::Context;
use clap::Subcommand;
use reenact_model::{Digest, RunManifest};
use std::path::PathBuf;

/// What `reenact import` was asked for.
#[derive(Subcommand, Debug)]
pub enum Import {
    /// The trials of a Harbor job (or one trial): scores, typed outcomes, costs, tests, trajectories
    Harbor {
        /// The job's directory, or a trial's
        job: PathBuf,
        #[command(flatten)]
        to: To,
    },
    /// Trajectories of mini-swe-agent: files, or run directories of its benchmark runners with submissions
    Mini {
        /// *.traj.json, or directories
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Take these tasks for those of the trajectories, by id, so that submissions can be graded
        #[arg(long, value_name = "DIR")]
        tasks: Option<PathBuf>,
        #[command(flatten)]
        to: To,
    },
}

/// Where an import goes.
#[derive(clap::Args, Debug)]
pub struct To {
    /// Run directory to make (the directory of run directories, if the trials are several agents' or attempts)
    #[arg(short, long, value_name = "RUN")]
    pub out: PathBuf,
    /// Replace an earlier import there
    #[arg(long)]
    pub force: bool,
}

pub fn import(args: &Import, context: &Context) -> Done {
    match args {
        Import::Harbor { job, to } => harbor::import(job, to, context),
        Import::Mini { paths, tasks, to } => mini::import(paths, tasks.as_deref(), to, context),
    }
}

/// Setting of a manifest that says from which format a run was imported.
pub const IMPORTED: &str = "imported";

/// Digest of a reference that is not known: that of nothing.
pub fn unknown() -> Digest {
    Digest::of(b"")
}

/// The task was imported, and there is no bundle of ours to look its cases up in.
pub fn is_imported(manifest: &RunManifest, id: &str) -> bool {
    manifest.settings.contains_key(IMPORTED)
        && manifest.tasks.get(id).is_some_and(|t| t.reference == unknown())
}
