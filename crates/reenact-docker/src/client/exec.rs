//! `exec`.

use super::streams::Attached;
use super::{answer, connect, lost, say_error, token};
use crate::error::DockerError;
use crate::options;
use crate::place::Root;
use crate::wire::{self, Answer, Request};

pub fn exec(words: &[String]) -> Result<i32, DockerError> {
    let options = options::exec(words)?;
    let place = Root::open()?.find(&options.container)?;
    let token = token();
    let request = Request::Exec(wire::Exec {
        argv: options.command,
        env: options.env,
        cwd: options.workdir,
        user: options.user,
        stdin: options.interactive && !options.detach,
        token: (!options.detach).then_some(token),
    });
    let mut connection = connect(&place)?;
    wire::send(&mut connection, &request).map_err(lost(&place))?;
    if options.detach {
        answer(&place, &mut connection)?;
        return Ok(0);
    }
    Attached::connect(&place, token, options.interactive)?.join();
    match answer(&place, &mut connection)? {
        Answer::Exited { code } => Ok(code),
        other => {
            say_error(&format!("an unexpected answer: {other:?}"));
            Ok(super::OURS)
        }
    }
}
