//! `reenact programbench submit verify`.

use super::eval::in_place;
use super::submit::TasksArgs;
use crate::commands::Done;
use crate::context::Context;
use clap::Args as ClapArgs;
use reenact_model::ExitCode;
use reenact_programbench::dataset::Select;
use reenact_programbench::eval::DEFAULT_IMAGE_TAG;
use reenact_programbench::submit::{self, Verified};
use reenact_report::visible::text;
use std::path::{Path, PathBuf};

#[derive(ClapArgs, Debug)]
pub struct Verify {
    /// Packaged submission
    pub dir: PathBuf,
    #[command(flatten)]
    pub tasks: TasksArgs,
    /// Evaluate the submissions anew and compare the scores
    #[arg(long)]
    pub tier1: bool,
    /// With --tier1: tasks evaluated at once
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    pub workers: usize,
    /// With --tier1: only ids that begin with a match of this regular expression
    #[arg(long, value_name = "RE", default_value = "", hide_default_value = true)]
    pub filter: String,
    /// With --tier1: tag of the images
    #[arg(long, value_name = "TAG", default_value = DEFAULT_IMAGE_TAG)]
    pub image_tag: String,
}

pub fn verify(args: &Verify, context: &Context) -> Done {
    let tasks = args.tasks.of_run(&args.dir)?;
    let found = if args.tier1 {
        let select = Select::new(&args.filter, &[], &[], "")?;
        let mut evaluate =
            |run: &Path| in_place(run, &tasks, args.workers, &args.image_tag, context);
        submit::verify_tier1(&args.dir, &tasks, &select, &mut evaluate)?
    } else {
        submit::verify(&args.dir, &tasks)?
    };
    print(&found, context);
    Ok(match (found.ok(), found.undone()) {
        (true, _) => ExitCode::Done,
        // What could not be evaluated speaks neither for the submission nor against it.
        (false, true) => ExitCode::Environment,
        (false, false) => ExitCode::CheckFailed,
    })
}

fn print(found: &Verified, context: &Context) {
    if context.json {
        context.print_json(&serde_json::json!({"ok": found.ok(), "result": found}));
        return;
    }
    for note in &found.notes {
        context.err(&format!("note: {}", text(note.as_bytes())));
    }
    for check in found.checks.iter().filter(|c| !c.ok) {
        let line = format!("{}: claimed {}, found {}", check.task, check.claimed, check.found);
        let word = if check.undone { "NOT DONE" } else { "FAILED" };
        context.out(&format!("{word}  {}", text(line.as_bytes())));
    }
    let good = found.checks.iter().filter(|c| c.ok).count();
    let verdict = match (found.ok(), found.undone()) {
        (true, _) => "consistent",
        (false, true) => "not wholly checked",
        (false, false) => "NOT consistent",
    };
    context.out(&format!(
        "tier {}: {good} of {} checks hold: {verdict}",
        found.tier,
        found.checks.len()
    ));
}
