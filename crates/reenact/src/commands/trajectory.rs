//! `reenact trajectory`.

use super::Done;
use crate::args::Trajectory;
use crate::context::Context;
use reenact_model::ExitCode;

pub fn trajectory(_args: &Trajectory, _context: &Context) -> Done {
    Ok(ExitCode::NothingToDo)
}
