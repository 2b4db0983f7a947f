//! `reenact programbench info|submit|leaderboard`.

use super::verify;
use crate::commands::Done;
use crate::context::Context;
use crate::error::CommandError;
use clap::{Args as ClapArgs, Subcommand};
use reenact_model::ExitCode;
use reenact_programbench::dataset::{Dataset, Place, Select, locate};
use reenact_programbench::submit::score::{Headline, Score};
use reenact_programbench::submit::{self, LeaderboardOptions, Standing, SubmitError};
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

#[derive(ClapArgs, Debug)]
pub struct Info {
    /// Run directory
    pub run: PathBuf,
    #[command(flatten)]
    pub tasks: TasksArgs,
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

#[derive(ClapArgs, Debug)]
pub struct Leaderboard {
    /// Directory of <id>/ entries, or the registry's root
    #[arg(long, value_name = "DIR")]
    pub registry: PathBuf,
    /// Tests to strike out, {task: [test]} (default: the registry's ignored_tests.json)
    #[arg(long, value_name = "FILE")]
    pub ignore: Option<PathBuf>,
    /// Ids whose earlier details stay, one a line (default: the registry's .compile_skip)
    #[arg(long, value_name = "FILE")]
    pub skip: Option<PathBuf>,
    /// Root of the website: data/leaderboard.json and data/details/ are written in it
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,
    /// Date to write (default: today, UTC)
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    pub updated: Option<String>,
}

pub fn info(args: &Info, context: &Context) -> Done {
    let tasks = args.tasks.of_run(&args.run)?;
    let info = submit::info(&args.run, &tasks)?;
    let broken = info.rows.iter().any(|r| matches!(r.standing, Standing::Unreadable { .. }));
    if context.json {
        context.print_json(&info);
    } else {
        let width = info.rows.iter().map(|r| text(r.id.as_bytes()).chars().count()).max();
        let width = width.unwrap_or(0).max(8);
        context.out(&format!("{:width$}  {:>8}  {:>8}  remarks", "task", "official", "strict"));
        for row in &info.rows {
            let (official, strict, remark) = cells(row.known, &row.standing);
            let id = text(row.id.as_bytes());
            context.out(format!("{id:width$}  {official:>8}  {strict:>8}  {remark}").trim_end());
        }
        let evaluated = info.rows.iter().filter(|r| r.official().is_some()).count();
        context.out(&format!(
            "{:width$}  {:>8}            {evaluated} of {} tasks evaluated",
            "average",
            percent(info.average),
            info.rows.len()
        ));
        context.out(&format!("over the benchmark: {}", headline(&info.headline)));
    }
    Ok(if broken { ExitCode::CheckFailed } else { ExitCode::Done })
}

/// Official score, strict score, remarks.
fn cells(known: bool, standing: &Standing) -> (String, String, String) {
    let dash = || "–".to_owned();
    let score = |s: &Score| percent(s.value());
    match standing {
        Standing::NotEvaluated => {
            (dash(), dash(), "not evaluated: there is a submission, and no eval.json".to_owned())
        }
        Standing::Unreadable { error } => (dash(), dash(), text(error.as_bytes())),
        Standing::Evaluated {
            official,
            listed,
            strict,
            error_code,
            branch_errors,
            system_errors,
            warnings,
        } => {
            let mut remarks = vec![format!("{}/{} tests", official.passed, official.total)];
            if !known {
                remarks.push("unknown task: nothing could be left out".to_owned());
            }
            remarks.extend(error_code.iter().map(|code| text(code.as_bytes())));
            let (off, over) = (official.value(), listed.map_or(official.value(), Score::value));
            if off != over {
                remarks.push(format!("{} over the names that are listed", percent(over)));
            }
            for (branch, codes) in branch_errors {
                let line = format!("branch {branch}: {}", codes.join(", "));
                remarks.push(text(line.as_bytes()));
            }
            if *system_errors > 0 {
                remarks.push(format!("{system_errors} system errors"));
            }
            if *warnings > 0 {
                remarks.push(format!("{warnings} warnings"));
            }
            (score(official), strict.as_ref().map_or_else(dash, score), remarks.join("; "))
        }
    }
}

/// Never 100 for what is not all: the official table's rounding says so too often.
fn percent(value: f64) -> String {
    if value >= 1.0 {
        return "100 %".to_owned();
    }
    let tenths = (value * 1000.0).round().min(999.0);
    let tenths = if value > 0.0 { tenths.max(1.0) } else { tenths };
    format!("{:.1} %", tenths / 10.0)
}

fn headline(h: &Headline) -> String {
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
        context.err(&format!("note: submission.yaml: to be filled in: {}", done.to_fill_in.join(", ")));
    }
    let prose = format!("{} tasks packaged; {}", done.tasks.len(), headline(&done.headline));
    context.made(&prose, &args.run);
    Ok(ExitCode::Done)
}

pub fn leaderboard(args: &Leaderboard, context: &Context) -> Done {
    let today = || jiff::Timestamp::now().to_string().chars().take(10).collect();
    let options = LeaderboardOptions {
        registry: args.registry.clone(),
        ignore: args.ignore.clone(),
        skip: args.skip.clone(),
        out: args.out.clone(),
        updated: args.updated.clone().unwrap_or_else(today),
    };
    let done = submit::compile(&options)?;
    if context.json {
        context.print_json(&done);
    } else {
        for note in &done.notes {
            context.err(&format!("note: {}", text(note.as_bytes())));
        }
        context.made(&format!("{} entries", done.entries), &done.path);
    }
    Ok(ExitCode::Done)
}

/// `YYYY-MM-DD`.
fn date(text: &str) -> Result<String, String> {
    let shape = text.len() == 10
        && text.bytes().enumerate().all(|(i, b)| match i {
            4 | 7 => b == b'-',
            _ => b.is_ascii_digit(),
        });
    if shape { Ok(text.to_owned()) } else { Err("expected YYYY-MM-DD".to_owned()) }
}

impl From<SubmitError> for CommandError {
    fn from(error: SubmitError) -> Self {
        match &error {
            SubmitError::NoRun(_) | SubmitError::NothingToPackage(_) => Self::nothing(&error),
            e if e.is_usage() => Self::usage(&error),
            _ => Self::environment(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_everything_is_a_hundred_percent_and_only_nothing_is_none() {
        for (value, want) in
            [(1.0, "100 %"), (0.9999, "99.9 %"), (0.00001, "0.1 %"), (0.0, "0.0 %"), (0.5, "50.0 %")]
        {
            assert_eq!(percent(value), want);
        }
    }

    #[test]
    fn dates_are_dates() {
        assert!(date("2026-08-23").is_ok());
        assert!(["2026-8-23", "today", "2026-08-2x", ""].into_iter().all(|d| date(d).is_err()));
    }
}
