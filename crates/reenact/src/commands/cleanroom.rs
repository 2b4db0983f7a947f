//! `reenact cleanroom`.

use super::Done;
use crate::args::Cleanroom;
use crate::context::Context;
use reenact_model::ExitCode;

pub fn cleanroom(_args: &Cleanroom, _context: &Context) -> Done {
    Ok(ExitCode::NothingToDo)
}
