//! `reenact programbench eval`.

use super::table::{print, shown};
use crate::args::duration;
use crate::commands::Done;
use crate::context::{Context, harness};
use crate::error::CommandError;
use crate::ui::Ui;
use clap::{Args as ClapArgs, ValueEnum};
use reenact_bundle::Progress as _;
use reenact_model::ExitCode;
use reenact_programbench::dataset::{Dataset, Place, Select, locate};
use reenact_programbench::eval::{
    DEFAULT_IMAGE_TAG, EvalError, Item, Mode, Options, Reporter, Row, default_cpus, run, select,
};
use reenact_programbench::submit::SubmitError;
use reenact_sandbox::container::Network;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

#[derive(ClapArgs, Debug)]
pub struct Eval {
    /// Run directories: each holds <instance>/submission.tar.gz
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Instances that are evaluated at once
    #[arg(short, long, default_value = "1", value_name = "N")]
    workers: NonZeroUsize,
    /// Branches of an instance that are tested at once [default: processors for each instance]
    #[arg(short, long, value_name = "N")]
    branch_workers: Option<NonZeroUsize>,
    /// Only instances that begin with a match of this regular expression
    #[arg(long, value_name = "RE", default_value = "", hide_default_value = true)]
    filter: String,
    /// Of what is left, this slice, as in Python: 0:5, -10:
    #[arg(
        long,
        value_name = "A:B",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    slice: String,
    /// Evaluate again what has a result
    #[arg(short, long)]
    force: bool,
    /// Run nothing: show what is stored, with today's lists of ignored tests
    #[arg(long, conflicts_with = "force")]
    summarize_only: bool,
    /// Write results to DIR/<run>/<instance>/ and not into the runs
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Test a branch again this often when a worker of pytest-xdist died in it
    #[arg(long, default_value_t = 1, value_name = "N")]
    branch_retries: u32,
    /// CPUs of a container, and workers where a suite says `-n auto` [default: PROGRAMBENCH_DOCKER_CPUS, or the cores, at most 10]
    #[arg(long, value_name = "N")]
    docker_cpus: Option<u32>,
    /// Tag of the images
    #[arg(long, default_value = DEFAULT_IMAGE_TAG, value_name = "TAG")]
    image_tag: String,
    /// Directory of tasks, from `reenact programbench import` or the official package [default: REENACT_TASKS, or tasks]
    #[arg(long, value_name = "DIR")]
    tasks: Option<PathBuf>,
    /// Directory of test archives, <instance>/tests/<branch>.tar.gz [default: PROGRAMBENCH_BLOB_DIR, or the tasks' own]
    #[arg(long, value_name = "DIR")]
    blobs: Option<PathBuf>,
    /// Network of builds and tests
    #[arg(long, value_enum, default_value_t = NetworkArg::None)]
    network: NetworkArg,
    /// Time for compile.sh
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "900s")]
    compile_timeout: Duration,
    /// Time for the tests of a branch
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "3600s")]
    test_timeout: Duration,
    /// In the strict score, take names for the listed ones that differ from them by a prefix only
    #[arg(long)]
    accept_aliases: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum NetworkArg {
    /// None; a loopback interface alone
    None,
    /// The host's: builds can download what they are to rebuild
    Host,
}

impl Eval {
    fn options(&self, context: &Context) -> Options {
        Options {
            image_tag: self.image_tag.clone(),
            cpus: self.docker_cpus.unwrap_or_else(default_cpus).max(1),
            // Branches are apart from each other, so that this changes nothing but the time.
            branch_workers: self.branch_workers.map_or_else(
                || {
                    (std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
                        / self.workers.get())
                    .max(1)
                },
                NonZeroUsize::get,
            ),
            branch_retries: self.branch_retries,
            force: self.force,
            network: match self.network {
                NetworkArg::None => Network::None,
                NetworkArg::Host => Network::Host,
            },
            compile_timeout: self.compile_timeout,
            test_timeout: self.test_timeout,
            accept_aliases: self.accept_aliases,
            isolation: context.cells.isolation,
            ..Options::new(harness(), reenact_sandbox::interrupt::stop_flag())
        }
    }
}

pub fn eval(args: &Eval, context: &Context) -> Done {
    let place = place(args)?;
    let asked = args.tasks.clone().or_else(|| from_env("REENACT_TASKS"));
    let chosen = Select::new(&args.filter, &[], &[], &args.slice)?;
    let tasks = Dataset::open_selected(&locate(asked.as_deref())?, &chosen, &place)?;
    let known = |id: &str| tasks.root().join(id).join("task.yaml").is_file();
    let (mut items, mut unknown): (Vec<Item<'_>>, Vec<String>) = (Vec::new(), Vec::new());
    for run in &args.runs {
        let found = select(run, args.output.as_deref(), tasks.instances(), &known)?;
        items.extend(found.items);
        unknown.extend(found.unknown.into_iter().map(|id| format!("{}/{id}", run.display())));
    }
    if items.is_empty() && unknown.is_empty() {
        return Err(CommandError::nothing("no instance to evaluate").hint(
            "a run directory holds <instance>/submission.tar.gz; --tasks has the instance, and --filter and --slice leave it",
        ));
    }
    let store = crate::commands::image::store(None)?;
    let mode = if args.summarize_only { Mode::Summarize } else { Mode::Evaluate };
    let show = Show::new(context, items.len());
    let rows = run(&items, mode, args.workers.get(), &store, &args.options(context), &show)?;
    drop(show);
    if rows.is_empty() && unknown.is_empty() {
        return Err(
            CommandError::nothing("no results yet").hint("without --summarize-only they are made")
        );
    }
    print(&rows, &unknown, context);
    Ok(verdict(&rows, &unknown))
}

/// A directory from the environment; empty is unset, as for the official tool.
pub fn from_env(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from)
}

/// Where the test archives are.
fn place(args: &Eval) -> Result<Place, CommandError> {
    let env = Place::from_env();
    let (blobs, said) = match &args.blobs {
        Some(dir) => (Some(dir.clone()), "--blobs"),
        None => (env.blobs.clone(), "PROGRAMBENCH_BLOB_DIR"),
    };
    match blobs {
        Some(dir) if !dir.is_dir() => {
            Err(CommandError::usage(format!("{said} {}: no such directory", dir.display()))
                .hint("it holds <instance>/tests/<branch>.tar.gz (--blobs, PROGRAMBENCH_BLOB_DIR)"))
        }
        blobs => Ok(Place { blobs, ..env }),
    }
}

/// Evaluates a run directory where it is, with everything as by default: what `submit verify --tier1` does to a copy. Gives
/// why instances could not be evaluated, by id.
///
/// # Errors
/// What ends it for all of them.
pub fn in_place(
    run_dir: &Path,
    tasks: &Dataset,
    workers: usize,
    image_tag: &str,
    context: &Context,
) -> Result<BTreeMap<String, String>, SubmitError> {
    let ended = |e: EvalError| match e {
        EvalError::Cancelled => SubmitError::Cancelled,
        other => SubmitError::Evaluation(other.to_string()),
    };
    let known = |id: &str| tasks.get(id).is_some();
    let found = select(run_dir, None, tasks.instances(), &known).map_err(ended)?;
    let store = crate::commands::image::store(None)
        .map_err(|e| SubmitError::Evaluation(e.what().to_owned()))?;
    let options = Options {
        force: true,
        image_tag: image_tag.to_owned(),
        isolation: context.cells.isolation,
        ..Options::new(harness(), reenact_sandbox::interrupt::stop_flag())
    };
    let show = Show::new(context, found.items.len());
    let rows = run(&found.items, Mode::Evaluate, workers.max(1), &store, &options, &show)
        .map_err(ended)?;
    Ok(rows.into_iter().filter_map(|r| Some((r.instance, r.error?))).collect())
}

/// What could not be judged is the environment's (3) or the input's (2), and never a score.
fn verdict(rows: &[Row], unknown: &[String]) -> ExitCode {
    if rows.iter().any(|r| r.error.is_some() && !r.error_is_usage) {
        ExitCode::Environment
    } else if !unknown.is_empty() || rows.iter().any(|r| r.error.is_some()) {
        ExitCode::Usage
    } else {
        ExitCode::Done
    }
}

/// Progress, from whichever worker has some.
struct Show<'a> {
    ui: Mutex<Ui<'a>>,
    total: usize,
    done: Mutex<usize>,
}

impl<'a> Show<'a> {
    fn new(context: &'a Context, total: usize) -> Self {
        Self { ui: Mutex::new(Ui::new(context)), total, done: Mutex::new(0) }
    }

    fn with(&self, show: impl FnOnce(&Ui<'_>)) {
        show(&self.ui.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Reporter for Show<'_> {
    fn building(&self, instance: &str) {
        self.with(|ui| ui.stage(&format!("{instance}: building")));
    }

    fn testing(&self, instance: &str, branches: usize, resumed: usize) {
        self.with(|ui| {
            if resumed > 0 {
                ui.note(&format!(
                    "{instance}: {resumed} of {branches} branches were tested before"
                ));
            }
            ui.stage(&format!("{instance}: testing {branches} branches"));
            ui.tick(resumed as u64, branches as u64);
        });
    }

    fn tested(&self, _: &str, _: &str, done: usize, total: usize) {
        self.with(|ui| ui.tick(done as u64, total as u64));
    }

    fn finished(&self, row: &Row) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        *done += 1;
        let scores = match (row.official, row.strict) {
            (Some(official), Some(strict)) => {
                format!("official {}, strict {}", shown(official), shown(strict))
            }
            (Some(official), None) => format!("official {}", shown(official)),
            (None, _) => "not evaluated".to_owned(),
        };
        self.with(|ui| {
            ui.stage(&format!("{} of {}: {}: {scores}", *done, self.total, row.instance))
        });
    }
}

impl From<EvalError> for CommandError {
    fn from(error: EvalError) -> Self {
        match error {
            EvalError::Cancelled => Self::cancelled(error),
            EvalError::Image(e) => e.into(),
            EvalError::Sandbox(e) => e.into(),
            EvalError::Fs(e) => e.into(),
            EvalError::Dataset(e) => e.into(),
            usage if usage.is_usage() => Self::usage(usage),
            other => Self::environment(other),
        }
    }
}
