//! `reenact programbench submit`.

use super::verify;
use crate::commands::Done;
use crate::context::Context;
use crate::error::CommandError;
use clap::{Args as ClapArgs, Subcommand};
use reenact_model::ExitCode;
use reenact_programbench::dataset::{Dataset, Place, Select, locate};
use reenact_programbench::submit::score::Headline;
use reenact_programbench::submit::{self, SubmitError};
use reenact_report::visible::text;
use std::path::{Path, PathBuf};

/// Where the lists of tests are.
#[derive(ClapArgs, Clone, Debug)]
pub struct TasksArgs {
    /// Directory of imported tasks, or ProgramBench's own (default: tasks)
    #[arg(long, value_name = "DIR")]
    pub tasks: Option<PathBuf>,
}

impl TasksArgs {
    /// The tasks that `run` has directories for; others are not read.
    pub fn of_run(&self, run: &Path) -> Result<Dataset, CommandError> {
        let root = locate(self.tasks.as_deref())?;
        let named = std::fs::read_dir(run).into_iter().flatten().flatten();
        let names = named.filter_map(|e| e.file_name().into_string().ok());
        Ok(Dataset::open_selected(&root, &Select::ids(names), &Place::from_env())?)
    }
}

#[derive(Subcommand, Debug)]
pub enum Submit {
    /// Turn an evaluated run directory into a leaderboard submission, in place
    Package(Package),
    /// Check a submission against its own results (and, with --tier1, its results against its submissions)
    Verify(verify::Verify),
    /// Put every packaged eval.json together again
    Recombine {
        /// Run or submission directory
        run: PathBuf,
    },
}

#[derive(ClapArgs, Debug)]
pub struct Package {
    /// Run directory
    pub run: PathBuf,
    #[command(flatten)]
    pub tasks: TasksArgs,
    /// Not done here: see the message
    #[arg(long, value_name = "ORG", hide = true)]
    pub upload_to: Option<String>,
}

/// A run's headline in a line.
pub fn headline(h: &Headline) -> String {
    format!(
        "mean {:.2} %, resolved {:.1} %, nearly resolved {:.1} %; {} of {} attempted",
        h.mean_score * 100.0,
        h.resolved_pct,
        h.near_resolved_pct,
        h.attempted,
        h.benchmark
    )
}

pub fn submit(args: &Submit, context: &Context) -> Done {
    match args {
        Submit::Package(args) => package(args, context),
        Submit::Verify(args) => verify::verify(args, context),
        Submit::Recombine { run } => {
            let done = submit::recombine(run)?;
            if context.json {
                context.print_json(&done);
            } else {
                context.made(&format!("{} eval.json put together", done.tasks.len()), run);
                for id in &done.unchecked {
                    context.err(&format!("note: {}: its log had no digest", text(id.as_bytes())));
                }
            }
            Ok(ExitCode::Done)
        }
    }
}

fn package(args: &Package, context: &Context) -> Done {
    if let Some(org) = &args.upload_to {
        let what = format!("--upload-to {org:?}: reenact uploads nothing");
        return Err(CommandError::usage(what)
            .hint("package without it; then upload each submission.tar.gz and <id>.eval.log.json yourself,")
            .hint("and put <file>.url and <file>.sha256 in their place: verify and recombine follow them")
            .hint("or let the official tool upload: programbench submit package RUN --upload-to ORG takes this directory"));
    }
    let tasks = args.tasks.of_run(&args.run)?;
    let done = submit::package(&args.run, &tasks)?;
    if context.json {
        context.print_json(&done);
        return Ok(ExitCode::Done);
    }
    let list = |ids: &[String]| text(ids.join(", ").as_bytes());
    for (ids, what) in [
        (&done.not_evaluated, "not evaluated, and counted as 0"),
        (&done.no_submission, "left out: results, but no submission"),
        (&done.unknown, "left out: no task of the benchmark, or not imported here"),
    ] {
        if !ids.is_empty() {
            context.err(&format!("note: {}: {what}", list(ids)));
        }
    }
    if !done.to_fill_in.is_empty() {
        context.err(&format!(
            "note: submission.yaml: to be filled in: {}",
            done.to_fill_in.join(", ")
        ));
    }
    let prose = format!("{} tasks packaged; {}", done.tasks.len(), headline(&done.headline));
    context.made(&prose, &args.run);
    Ok(ExitCode::Done)
}

impl From<SubmitError> for CommandError {
    fn from(error: SubmitError) -> Self {
        match &error {
            SubmitError::NoRun(_) | SubmitError::NothingToPackage(_) => Self::nothing(&error),
            SubmitError::Cancelled => Self::cancelled(&error),
            e if e.is_usage() => Self::usage(&error),
            _ => Self::environment(&error),
        }
    }
}
