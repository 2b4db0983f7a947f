//! `cp`: the station's side.

use super::Station;
use crate::error::DockerError;
use crate::inside;
use crate::wire::{self, Answer, Target, Which};
use std::io::{BufReader, BufWriter, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

impl Station {
    /// Sends a file or directory as a tar stream, named `prefix` or `.`.
    pub(super) fn fetch(
        &self,
        connection: &mut UnixStream,
        path: &str,
        prefix: Option<&str>,
        follow: bool,
        token: u64,
    ) -> Result<Answer, DockerError> {
        let (stream, _held) = self.streams.take(token, Which::Archive)?;
        let thing = inside::look(&self.container, path, follow)?;
        let gone = |error| DockerError::Io { what: format!("cannot copy {path}"), error };
        wire::send(connection, &Answer::Begins { is_dir: thing.is_dir }).map_err(gone)?;
        let mut to = BufWriter::with_capacity(256 << 10, stream);
        let name = Path::new(prefix.unwrap_or(if thing.is_dir { "." } else { "file" }));
        let notes = inside::pack(&thing, name, &mut to).and_then(|notes| {
            to.flush()?;
            Ok(notes)
        });
        Ok(Answer::Done { notes: notes.map_err(gone)? })
    }

    /// Unpacks a tar stream.
    pub(super) fn put(&self, target: &Target, token: u64) -> Result<Answer, DockerError> {
        let (stream, _held) = self.streams.take(token, Which::Archive)?;
        let from = BufReader::with_capacity(256 << 10, stream);
        let notes = inside::unpack(&self.container, target, from)?;
        Ok(Answer::Done { notes })
    }
}
