//! `reenact programbench info|submit|leaderboard`.

use crate::commands::Done;
use crate::context::Context;
use crate::error::CommandError;
use clap::{Args as ClapArgs, Subcommand};

#[derive(ClapArgs, Debug)]
pub struct Info {}

#[derive(ClapArgs, Debug)]
pub struct Leaderboard {}

#[derive(Subcommand, Debug)]
pub enum Submit {
    /// Turn an evaluated run directory into a leaderboard submission, in place
    Package {},
}

pub fn info(_args: &Info, _context: &Context) -> Done {
    Err(CommandError::usage("not built yet".to_owned()))
}

pub fn submit(args: &Submit, _context: &Context) -> Done {
    match args {
        Submit::Package {} => Err(CommandError::usage("not built yet".to_owned())),
    }
}

pub fn leaderboard(_args: &Leaderboard, _context: &Context) -> Done {
    Err(CommandError::usage("not built yet".to_owned()))
}
