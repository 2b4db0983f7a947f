//! `reenact export`: results and tasks in other people's formats.

pub mod harbor;
pub mod reports;

use super::Done;
use crate::context::Context;
use clap::Subcommand;

/// What `reenact export` was asked for.
#[derive(Subcommand, Debug)]
pub enum Export {
    /// The results of graded runs as JUnit XML
    Junit(reports::Export),
    /// The results of graded runs as CTRF JSON
    Ctrf(reports::Export),
    /// Tasks as Harbor task directories, with a verifier of their own
    Harbor(harbor::Harbor),
    /// The score of a graded task as Harbor's reward.json
    Reward(harbor::Reward),
}

pub fn export(args: &Export, context: &Context) -> Done {
    match args {
        Export::Junit(args) => reports::export(args, reports::Format::Junit, context),
        Export::Ctrf(args) => reports::export(args, reports::Format::Ctrf, context),
        Export::Harbor(args) => harbor::harbor(args, context),
        Export::Reward(args) => harbor::reward(args, context),
    }
}
