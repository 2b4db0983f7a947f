//! `reenact programbench import`.

use super::eval::from_env;
use super::tasks::SelectArgs;
use crate::commands::Done;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::Ui;
use clap::Args as ClapArgs;
use reenact_model::ExitCode;
use reenact_programbench::dataset::{Counts, ImportError, ImportOptions, Imported, import as run};
use std::path::PathBuf;

#[derive(ClapArgs, Debug)]
#[command(disable_version_flag = true)]
pub struct Import {
    /// Wheel, source archive, or directory to take them from (default: downloaded by pip)
    #[arg(long, value_name = "WHEEL|SDIST|DIR")]
    pub from: Option<PathBuf>,
    /// Version to download (default: the latest)
    #[arg(long, value_name = "VERSION", conflicts_with = "from")]
    pub version: Option<String>,
    /// Directory for the tasks
    #[arg(short, long, default_value = "tasks", value_name = "DIR")]
    pub out: PathBuf,
    /// Attach tests: DIR/<id>/tests/<branch>.tar.gz [default: PROGRAMBENCH_BLOB_DIR]
    #[arg(long, value_name = "DIR")]
    pub blobs: Option<PathBuf>,
    #[command(flatten)]
    pub select: SelectArgs,
    /// Import the package's fixture, too, which is no part of the benchmark
    #[arg(long)]
    pub fixture: bool,
    /// Replace tasks whose contents differ
    #[arg(long)]
    pub force: bool,
}

pub fn import(args: &Import, context: &Context) -> Done {
    let options = ImportOptions {
        from: args.from.clone(),
        version: args.version.clone(),
        out: args.out.clone(),
        blobs: args.blobs.clone().or_else(|| from_env("PROGRAMBENCH_BLOB_DIR")),
        select: args.select.select()?,
        fixture: args.fixture,
        force: args.force,
    };
    let ui = Ui::new(context);
    let stop = reenact_sandbox::interrupt::stop_flag();
    let done = run(&options, &stop, &ui)?;
    drop(ui);
    if context.json {
        context.print_json(&done);
    } else {
        context.made(&summary(&done), &args.out);
    }
    Ok(ExitCode::Done)
}

fn summary(done: &Imported) -> String {
    let tasks = done.made + done.updated + done.unchanged;
    let mut lines = vec![format!(
        "{tasks} tasks ({} new, {} updated, {} as they were): {}",
        done.made,
        done.updated,
        done.unchanged,
        counts(done.totals)
    )];
    match (done.fixture.branches > 0, done.fixture_imported) {
        (true, true) => lines.push(format!("  of these the fixture's: {}", counts(done.fixture))),
        (true, false) => lines.push(format!("  without the fixture's: {}", counts(done.fixture))),
        (false, _) => {}
    }
    if done.blobs > 0 {
        lines.push(format!("  {} branches have their tests here", done.blobs));
    }
    if let Some(first) = done.blobs_missing.first() {
        let n = done.blobs_missing.len();
        lines.push(format!("  {n} have none in --blobs, the first is {first}"));
    }
    lines.join("\n")
}

fn counts(c: Counts) -> String {
    format!("{} branches, {} tests, {} ignored, {} count", c.branches, c.tests, c.ignored, c.active)
}

impl From<ImportError> for CommandError {
    fn from(error: ImportError) -> Self {
        match &error {
            ImportError::Cancelled => Self::cancelled(&error),
            ImportError::NothingSelected => Self::nothing(&error),
            e if e.is_usage() => Self::usage(&error),
            _ => Self::environment(&error),
        }
    }
}
