//! `reenact programbench`: everything that the official tool does, and what it lacks.

mod eval;
mod import;
mod info;
mod leaderboard;
mod submit;
mod table;
pub mod tasks;
mod verify;

use super::Done;
use crate::context::Context;
use clap::Subcommand;

#[derive(Subcommand, Debug)]
pub enum Programbench {
    /// Make tasks of ProgramBench's: from its wheel, its directory, or the package index
    Import(import::Import),
    /// Build and test the submissions of run directories; resumes
    Eval(eval::Eval),
    /// Show the scores of an evaluated run directory
    Info(info::Info),
    /// Package, verify and recombine leaderboard submissions
    #[command(subcommand)]
    Submit(submit::Submit),
    /// Compile the leaderboard from a registry of submissions
    Leaderboard(leaderboard::Leaderboard),
}

pub fn programbench(args: &Programbench, context: &Context) -> Done {
    match args {
        Programbench::Import(args) => import::import(args, context),
        Programbench::Eval(args) => eval::eval(args, context),
        Programbench::Info(args) => info::info(args, context),
        Programbench::Submit(args) => submit::submit(args, context),
        Programbench::Leaderboard(args) => leaderboard::leaderboard(args, context),
    }
}
