//! `reenact probes`.

use super::Done;
use crate::args::Probes;
use crate::context::Context;
use reenact_model::ExitCode;

pub fn probes(_args: &Probes, _context: &Context) -> Done {
    Ok(ExitCode::NothingToDo)
}
