//! `reenact programbench import`.

use crate::commands::Done;
use crate::context::Context;
use crate::error::CommandError;
use clap::Args as ClapArgs;

#[derive(ClapArgs, Debug)]
pub struct Import {}

pub fn import(_args: &Import, _context: &Context) -> Done {
    Err(CommandError::usage("not built yet".to_owned()))
}
