//! `reenact adjudicate`.

use super::Done;
use crate::args::Adjudicate;
use crate::context::Context;
use reenact_model::ExitCode;

pub fn adjudicate(_args: &Adjudicate, _context: &Context) -> Done {
    Ok(ExitCode::NothingToDo)
}
