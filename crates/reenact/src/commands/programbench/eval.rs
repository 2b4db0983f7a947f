//! `reenact programbench eval`.

use crate::commands::Done;
use crate::context::Context;
use crate::error::CommandError;
use clap::Args as ClapArgs;

#[derive(ClapArgs, Debug)]
pub struct Eval {}

pub fn eval(_args: &Eval, _context: &Context) -> Done {
    Err(CommandError::usage("not built yet".to_owned()))
}
