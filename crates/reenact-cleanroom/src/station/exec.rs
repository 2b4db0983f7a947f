//! One command for a client: output goes out as frames, input comes in, and a client that goes away ends its command.

use super::wire::{Answer, ExecRequest, Exited, Kind, parse, receive, send, send_json};
use reenact_sandbox::room::{CommandHandle, Exec, ExecEnd, Input, Room, Sinks};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A connection to which whole frames are written from several threads.
#[derive(Clone)]
pub(crate) struct Outlet(Arc<Mutex<UnixStream>>);

impl Outlet {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self(Arc::new(Mutex::new(stream)))
    }

    pub(crate) fn send(&self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        send(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), kind, payload)
    }

    pub(crate) fn answer(&self, answer: &Answer) -> io::Result<()> {
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        send_json(&mut *stream, Kind::Answer, answer)
    }
}

/// Writes pieces of a stream as frames of one kind.
pub(crate) struct Pieces {
    pub outlet: Outlet,
    pub kind: Kind,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(super::wire::PIECE)];
        self.outlet.send(self.kind, piece)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The command's standard input: pieces as they arrive. Each piece taken is told to the client, which has at most
/// [`super::wire::WINDOW`] of them under way; so the channel stays small, and whoever reads the socket never waits.
struct Arriving {
    pieces: Receiver<Vec<u8>>,
    current: io::Cursor<Vec<u8>>,
    outlet: Outlet,
}

impl Read for Arriving {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = self.current.read(buffer)?;
            if n > 0 || buffer.is_empty() {
                return Ok(n);
            }
            let Ok(next) = self.pieces.recv() else { return Ok(0) };
            self.current = io::Cursor::new(next);
            self.outlet.send(Kind::Taken, b"")?;
        }
    }
}

/// Runs a command; `inlet` is the reading side of the connection.
pub(crate) fn serve(
    room: &Room,
    request: ExecRequest,
    inlet: UnixStream,
    outlet: &Outlet,
) -> Result<Answer, reenact_sandbox::SandboxError> {
    let (sender, pieces) = channel();
    let stdin = if request.stdin {
        let current = io::Cursor::new(Vec::new());
        Input::Stream(Box::new(Arriving { pieces, current, outlet: outlet.clone() }))
    } else {
        Input::Null
    };
    let exec = Exec {
        argv: request.argv,
        env: request.env,
        cwd: request.cwd,
        stdin,
        merge_stderr: false,
        wall: request.timeout_ms.map(Duration::from_millis),
        keep_bytes: 0,
        max_bytes: None,
    };
    let mut stdout = Pieces { outlet: outlet.clone(), kind: Kind::Output };
    let mut stderr = Pieces { outlet: outlet.clone(), kind: Kind::Error };
    let sinks = Sinks { stdout: &mut stdout, stderr: &mut stderr };
    let over = Arc::new(AtomicBool::new(false));
    let watched = Arc::clone(&over);
    let watch = |handle: CommandHandle| {
        std::thread::spawn(move || listen(inlet, sender, &handle, &watched));
    };
    let executed = room.exec_with_handle(exec, sinks, watch);
    over.store(true, Ordering::SeqCst);
    Ok(Answer::Exited(match executed?.end {
        ExecEnd::Exit { code } => Exited::Code(code),
        ExecEnd::Signal { signal } => Exited::Signal(signal),
        ExecEnd::WallLimit => Exited::TimedOut,
        ExecEnd::NotFound { errno } => Exited::NotFound(errno),
        ExecEnd::Stopped | ExecEnd::OutputLimit => Exited::Stopped,
    }))
}

/// Passes input on until the client has closed the connection; then ends the command, if it still runs.
fn listen(
    mut inlet: UnixStream,
    sender: Sender<Vec<u8>>,
    handle: &CommandHandle,
    over: &AtomicBool,
) {
    let mut sender = Some(sender);
    while let Ok(Some((kind, payload))) = receive(&mut inlet) {
        match (kind, &sender) {
            // A command that no longer reads has dropped its end.
            (Kind::Input, Some(to)) if to.send(payload).is_ok() => {}
            _ => sender = None,
        }
    }
    drop(sender);
    // The command may not have been started yet when it is to be stopped.
    while !over.load(Ordering::SeqCst) {
        handle.stop();
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The request with which a client begins.
pub(crate) fn request(inlet: &mut UnixStream) -> io::Result<Option<super::wire::Request>> {
    match receive(inlet)? {
        Some((Kind::Ask, payload)) => parse(&payload).map(Some),
        Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "no request")),
        None => Ok(None),
    }
}
