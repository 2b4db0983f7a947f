//! Our own standard streams, to and from a command in a container.

use super::{DockerError, lost};
use crate::place::Place;
use crate::wire::{self, Request, Which};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

const PIECE: usize = 64 << 10;

/// Exit code of a program that writes where nobody reads (SIGPIPE).
pub const NOBODY_READS: i32 = 141;

/// A connection that is a stream.
pub fn stream(place: &Place, token: u64, which: Which) -> Result<UnixStream, DockerError> {
    let mut connection = place.connect().map_err(lost(place))?;
    wire::send(&mut connection, &Request::Stream { token, which }).map_err(lost(place))?;
    Ok(connection)
}

/// The streams of a command.
pub struct Attached {
    out: JoinHandle<()>,
    err: JoinHandle<()>,
}

impl Attached {
    /// Connects them and copies in the background, unbuffered.
    pub fn connect(place: &Place, token: u64, stdin: bool) -> Result<Self, DockerError> {
        let own =
            |error| DockerError::Io { what: "cannot duplicate our own output".to_owned(), error };
        let from = stream(place, token, Which::Output)?;
        let out = File::from(io::stdout().as_fd().try_clone_to_owned().map_err(own)?);
        let out = std::thread::spawn(move || pass_output(from, out));
        let from = stream(place, token, Which::Error)?;
        let err = File::from(io::stderr().as_fd().try_clone_to_owned().map_err(own)?);
        let err = std::thread::spawn(move || pass_output(from, err));
        if stdin {
            let to = stream(place, token, Which::Input)?;
            // Not joined: it may wait for a terminal for ever.
            std::thread::spawn(move || pass_input(to));
        }
        Ok(Self { out, err })
    }

    /// Waits until everything has been written.
    pub fn join(self) {
        // A panic of theirs has been printed.
        let _written = (self.out.join(), self.err.join());
    }
}

/// Copies until the command's end. A reader that has gone ends us, as SIGPIPE would.
fn pass_output(mut from: UnixStream, mut to: File) {
    let mut buffer = vec![0; PIECE];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => {
                if write_all(&mut to, &buffer[..n]).is_err() {
                    std::process::exit(NOBODY_READS);
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// As `write_all`; waits where our caller has made the descriptor non-blocking.
pub fn write_all(to: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Copies our standard input until its end, or until the command no longer reads it.
fn pass_input(mut to: UnixStream) {
    let mut stdin = io::stdin().lock();
    let mut buffer = vec![0; PIECE];
    loop {
        match stdin.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                if to.write_all(&buffer[..n]).is_err() {
                    return;
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(_) => break,
        }
    }
    // The command may have ended.
    let _ended = to.shutdown(Shutdown::Write);
}
