//! `reenact docker`: the container command of harnesses, without a daemon.

use super::Done;
use crate::context::Context;
use crate::error::CommandError;
use clap::Args as ClapArgs;

/// The command line as docker's users write it; `reenact-docker` reads it, since its options are docker's and not ours.
#[derive(ClapArgs, Debug)]
pub struct Docker {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub words: Vec<String>,
}

pub fn docker(_args: &Docker, _context: &Context) -> Done {
    Err(CommandError::usage("not built yet".to_owned()))
}
