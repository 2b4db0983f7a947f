//! `reenact programbench eval`.

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
    DEFAULT_IMAGE_TAG, EvalError, Item, Mode, Options, Reporter, Row, Score, default_cpus, run,
    select,
};
use reenact_report::visible::text;
use reenact_sandbox::container::Network;
use std::fmt::Write as _;
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
    /// Directory of tasks, from `reenact programbench import` or the official package [default: tasks]
    #[arg(long, value_name = "DIR", env = "REENACT_TASKS")]
    tasks: Option<PathBuf>,
    /// Directory of test archives, <instance>/tests/<branch>.tar.gz [default: the tasks' own]
    #[arg(long, value_name = "DIR", env = "PROGRAMBENCH_BLOB_DIR")]
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
    if let Some(blobs) = args.blobs.as_ref().filter(|b| !b.is_dir()) {
        return Err(CommandError::usage(format!("--blobs {}: no such directory", blobs.display()))
            .hint("it holds <instance>/tests/<branch>.tar.gz (PROGRAMBENCH_BLOB_DIR)"));
    }
    let place = Place { blobs: args.blobs.clone(), ..Place::from_env() };
    let chosen = Select::new(&args.filter, &[], &[], &args.slice)?;
    let tasks = Dataset::open_selected(&locate(args.tasks.as_deref())?, &chosen, &place)?;
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

/// Evaluates a run directory where it is, with everything as by default: what `submit verify --tier1` does to a copy.
pub fn in_place(
    run_dir: &Path,
    tasks: &Dataset,
    workers: usize,
    image_tag: &str,
    context: &Context,
) -> Result<(), CommandError> {
    let found = select(run_dir, None, tasks.instances(), &|id| tasks.get(id).is_some())?;
    let store = crate::commands::image::store(None)?;
    let options = Options {
        force: true,
        image_tag: image_tag.to_owned(),
        isolation: context.cells.isolation,
        ..Options::new(harness(), reenact_sandbox::interrupt::stop_flag())
    };
    let show = Show::new(context, found.items.len());
    let rows = run(&found.items, Mode::Evaluate, workers.max(1), &store, &options, &show)?;
    match rows.iter().find_map(|r| r.error.as_ref()) {
        Some(error) => Err(CommandError::environment(error)),
        None => Ok(()),
    }
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

fn print(rows: &[Row], unknown: &[String], context: &Context) {
    if context.json {
        context.print_json(&serde_json::json!({"rows": rows, "unknown": unknown}));
        return;
    }
    if !context.quiet {
        context.out(table(rows).trim_end());
    }
    for row in rows {
        if let Some(error) = &row.error {
            context.err(&format!(
                "{} {}: {}",
                context.paint_error("error:"),
                row.instance,
                text(error.lines().next().unwrap_or_default().as_bytes())
            ));
            for hint in error.lines().skip(1) {
                context.err(&format!("  {}", text(hint.as_bytes())));
            }
        }
        for note in &row.notes {
            context.say(&format!("note: {}: {}", row.instance, text(note.as_bytes())));
        }
    }
    for id in unknown {
        context.err(&format!(
            "{} {}: no such task",
            context.paint_error("error:"),
            text(id.as_bytes())
        ));
    }
    for run in rows.iter().map(|r| &r.run).collect::<std::collections::BTreeSet<_>>() {
        context.out(&run.display().to_string());
    }
}

/// Both scores of every instance; per cent with enough digits that only a solved task says 100.
fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|r| r.instance.chars().count()).max().unwrap_or(0).max(8);
    let mut out =
        format!("{:<width$}  {:>18}  {:>18}  comment\n", "instance", "official", "strict");
    let several = rows.iter().any(|r| r.run != rows[0].run);
    let mut run = None;
    for row in rows {
        if several && run != Some(&row.run) {
            // Writing to a string cannot fail.
            let _written = writeln!(out, "{}", row.run.display());
            run = Some(&row.run);
        }
        let line = format!(
            "{:<width$}  {:>18}  {:>18}  {}",
            row.instance,
            row.official.map_or_else(|| "–".to_owned(), shown),
            row.strict.map_or_else(|| "–".to_owned(), shown),
            comment(row)
        );
        let _written = writeln!(out, "{}", line.trim_end());
    }
    let judged: Vec<&Row> = rows.iter().filter(|r| r.official.is_some()).collect();
    let mean = |value: &dyn Fn(&Row) -> Option<Score>| {
        let scores: Vec<f64> = judged.iter().map(|r| value(r).map_or(0.0, Score::value)).collect();
        if scores.is_empty() {
            0.0
        } else {
            100.0 * scores.iter().sum::<f64>() / scores.len() as f64
        }
    };
    let (official, strict) = (mean(&|r| r.official), mean(&|r| r.strict));
    let average = format!("average of {}", judged.len());
    let _written = writeln!(out, "{average:<width$}  {official:>17.2}%  {strict:>17.2}%");
    out
}

fn shown(score: Score) -> String {
    let percent = if score.passed == score.total && score.total > 0 {
        100.0
    } else {
        // Rounded down: 99.999 is not solved.
        (score.value() * 10_000.0).floor() / 100.0
    };
    format!("{}/{} {percent:.2}%", score.passed, score.total)
}

fn comment(row: &Row) -> String {
    let mut parts = Vec::new();
    if row.error.is_some() {
        parts.push("not evaluated".to_owned());
    }
    if let Some(code) = &row.error_code {
        let details = row.error_details.as_deref().unwrap_or_default();
        let cut: String = details.chars().take(100).collect();
        parts.push(if cut.is_empty() { code.clone() } else { format!("{code}: {cut}") });
    }
    for (branch, codes) in &row.branch_errors {
        parts.push(format!("{branch}: {}", codes.join(", ")));
    }
    if row.differences > 0 {
        let s = if row.differences == 1 { " counts" } else { "s count" };
        parts.push(format!("{} test{s} differently", row.differences));
    }
    if row.warnings > 0 {
        let s = if row.warnings == 1 { "" } else { "s" };
        parts.push(format!("{} warning{s}", row.warnings));
    }
    text(parts.join("; ").as_bytes())
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
