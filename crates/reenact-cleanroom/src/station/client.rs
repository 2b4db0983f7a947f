//! What `reenact cleanroom` asks of stations.

use super::state::{Info, Place};
use super::wire::{
    Answer, ExecRequest, Exited, Kind, PIECE, Request, WINDOW, parse, receive, send, send_json,
};
use super::{StationError, copy};
use reenact_model::run::Harness;
use reenact_sandbox::host::HostCommand;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A station that does not answer for this long after it was told to stop is given up.
const STOPPING: Duration = Duration::from_secs(30);

const SIGPIPE: i32 = 13;

/// Writes a command's standard input, from a thread of its own.
pub type Feed = Box<dyn FnOnce(&mut dyn Write) -> Result<(), StationError> + Send>;

/// Starts a station in the background: `program` with `args` and the station's directory, which must lead to
/// [`super::server::serve`]. Waits until it can be asked.
///
/// # Errors
/// Why it did not start.
pub fn start(program: &Path, args: &[String]) -> Result<Info, StationError> {
    let place = Place::make()?;
    let started = launch(program, args, &place);
    if started.is_err() {
        place.remove();
    }
    started
}

fn launch(program: &Path, args: &[String], place: &Place) -> Result<Info, StationError> {
    let log_path = place.log();
    let log =
        File::create(&log_path).map_err(reenact_bundle::fsx::fs_error(&log_path, "create"))?;
    let mut args = args.to_vec();
    args.extend(["--serve".to_owned(), place.dir.display().to_string()]);
    let command = HostCommand::new(&program.display().to_string(), args);
    let mut child = command.spawn_background(&log)?;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(info) = place.info() {
            return Ok(info);
        }
        let ended = child.has_ended();
        if let Some(failure) = place.failure() {
            return Err(StationError::Start { what: failure.what, usage: failure.usage });
        }
        if ended {
            let log = std::fs::read(&log_path).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let last =
                log.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("it said nothing");
            return Err(StationError::Start { what: last.trim().to_owned(), usage: false });
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// How many pieces of input may still be sent.
#[derive(Default)]
struct Window {
    /// Pieces under way; `None`: nobody takes any more.
    under_way: Mutex<Option<usize>>,
    changed: Condvar,
}

impl Window {
    fn open() -> Arc<Self> {
        Arc::new(Self { under_way: Mutex::new(Some(0)), changed: Condvar::new() })
    }

    /// Waits until a piece may be sent; false if none ever may again.
    fn enter(&self) -> bool {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match *under_way {
                None => return false,
                Some(n) if n < WINDOW => {
                    *under_way = Some(n + 1);
                    return true;
                }
                Some(_) => {
                    under_way =
                        self.changed.wait(under_way).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    fn taken(&self) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        *under_way = under_way.map(|n| n.saturating_sub(1));
        self.changed.notify_all();
    }

    fn close(&self) {
        *self.under_way.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.changed.notify_all();
    }
}

/// Standard input on its way to the station.
struct InputPieces {
    stream: UnixStream,
    window: Arc<Window>,
}

impl Write for InputPieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        if !self.window.enter() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let piece = &bytes[..bytes.len().min(PIECE)];
        send(&mut self.stream, Kind::Input, piece)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A station, found by its id.
pub struct Client {
    place: Place,
}

impl Client {
    /// # Errors
    /// [`StationError::Unknown`].
    pub fn find(id: &str) -> Result<Self, StationError> {
        Ok(Self { place: Place::find(id)? })
    }

    fn ask(&self, request: &Request) -> Result<UnixStream, StationError> {
        let mut stream = self.place.connect()?;
        match send_json(&mut stream, Kind::Ask, request) {
            Ok(()) => Ok(stream),
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => Err(StationError::Usage {
                what: format!("arguments and variables of a command: {e}"),
            }),
            Err(e) => Err(self.ended(&e)),
        }
    }

    fn ended(&self, why: &dyn std::fmt::Display) -> StationError {
        StationError::Ended { id: self.place.id.clone(), why: format!(" ({why})") }
    }

    /// The next frame; an end of the stream is an error.
    fn next(&self, stream: &mut UnixStream) -> Result<(Kind, Vec<u8>), StationError> {
        match receive(stream) {
            Ok(Some(frame)) => Ok(frame),
            Ok(None) => Err(self.ended(&"the connection was closed")),
            Err(e) => Err(self.ended(&e)),
        }
    }

    fn answer(&self, payload: &[u8]) -> Result<Answer, StationError> {
        match parse(payload).map_err(|e| self.ended(&e))? {
            Answer::Failed { what, usage } => Err(StationError::Answered { what, usage }),
            answer => Ok(answer),
        }
    }

    /// Runs a command; its output is written as it comes. If `feed` fails, the command has ended on a cut input, and the
    /// feed's error is given.
    ///
    /// # Errors
    /// The station; how the command ended is never an error.
    pub fn exec(
        &self,
        request: ExecRequest,
        feed: Option<Feed>,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> Result<Exited, StationError> {
        let request = Request::Exec(ExecRequest { stdin: feed.is_some(), ..request });
        let mut stream = self.ask(&request)?;
        let window = Window::open();
        let fed = Arc::new(Mutex::new(None));
        if let Some(feed) = feed {
            let sender = stream.try_clone().map_err(|e| self.ended(&e))?;
            let pieces = InputPieces { stream: sender, window: Arc::clone(&window) };
            let fed = Arc::clone(&fed);
            // Not joined: it may wait for a terminal for ever.
            std::thread::spawn(move || feed_all(feed, pieces, &fed));
        }
        let exited = loop {
            let (kind, payload) = self.next(&mut stream)?;
            match kind {
                // Who listened has gone, as with `| head`: closing the connection ends the command.
                Kind::Output if out.write_all(&payload).is_err() => break Exited::Signal(SIGPIPE),
                Kind::Error if err.write_all(&payload).is_err() => break Exited::Signal(SIGPIPE),
                Kind::Output | Kind::Error => {}
                Kind::Taken => window.taken(),
                Kind::Answer => match self.answer(&payload)? {
                    Answer::Exited(exited) => break exited,
                    other => return Err(self.ended(&format!("an unexpected answer: {other:?}"))),
                },
                Kind::Ask | Kind::Input | Kind::InputEnd => {
                    return Err(self.ended(&"an unexpected frame"));
                }
            }
        };
        window.close();
        let failed = fed.lock().unwrap_or_else(PoisonError::into_inner).take();
        match failed {
            Some(error) => Err(error),
            None => Ok(exited),
        }
    }

    /// Copies a host file or directory in: into `to` if that is a directory, else to `to` itself.
    ///
    /// # Errors
    /// Reading; the room's `tar` refused; the station.
    pub fn copy_in(&self, from: &Path, to: &str) -> Result<(), StationError> {
        let source = from.canonicalize().map_err(|e| StationError::Usage {
            what: format!("{}: cannot be read: {e}", from.display()),
        })?;
        if !to.starts_with('/') {
            return Err(StationError::Usage {
                what: format!("{to}: give an absolute path in the cleanroom"),
            });
        }
        let (dir, name) = if self.is_dir(to)? {
            (to.to_owned(), source.file_name().unwrap_or_default().to_owned())
        } else {
            let (dir, name) = to.rsplit_once('/').unwrap_or(("", to));
            if name.is_empty() {
                return Err(StationError::Usage {
                    what: format!("{to}: no such directory in the cleanroom"),
                });
            }
            (format!("{dir}/"), name.into())
        };
        let request = ExecRequest {
            argv: ["tar", "-xpf", "-", "-C", &dir].map(str::to_owned).to_vec(),
            ..ExecRequest::default()
        };
        let feed: Feed = Box::new(move |to| copy::pack(&source, &name, to));
        let mut said = Vec::new();
        let mut nowhere = io::sink();
        let exited = self.exec(request, Some(feed), &mut nowhere, &mut said);
        match exited {
            // A failure of tar explains a broken pipe of ours, so it is told first.
            Ok(Exited::Code(0)) => Ok(()),
            Err(e) if said.is_empty() => Err(e),
            Ok(Exited::NotFound(_)) => Err(StationError::Usage {
                what: "the cleanroom's root file system has no `tar`, which copying in needs"
                    .to_owned(),
            }),
            _ => {
                let said = String::from_utf8_lossy(&said);
                let line = said.lines().next().unwrap_or("tar failed");
                Err(StationError::Usage { what: format!("cannot copy to {to}: {line}") })
            }
        }
    }

    fn is_dir(&self, path: &str) -> Result<bool, StationError> {
        let argv = ["/bin/sh", "-c", "test -d \"$1\"", "sh", path].map(str::to_owned).to_vec();
        let request = ExecRequest { argv, ..ExecRequest::default() };
        let exited = self.exec(request, None, &mut io::sink(), &mut io::sink())?;
        Ok(exited == Exited::Code(0))
    }

    /// Copies a file or directory out: into `to` if that is a directory, else to `to` itself. Gives notes of what was left
    /// out.
    ///
    /// # Errors
    /// There is no such file; writing; the station.
    pub fn copy_out(&self, from: &str, to: &Path) -> Result<Vec<String>, StationError> {
        let mut stream = self.ask(&Request::Fetch { path: from.to_owned() })?;
        let (_, payload) = self.next(&mut stream)?;
        let Answer::Begins { is_dir } = self.answer(&payload)? else {
            return Err(self.ended(&"an unexpected answer"));
        };
        let name = from.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let target = match (to.is_dir(), name) {
            (true, "" | ".") | (false, _) => to.to_path_buf(),
            (true, name) => to.join(name),
        };
        let mut fetched =
            Fetched { client: self, stream, current: io::Cursor::default(), end: None };
        let mut notes = copy::unpack(&mut fetched, &target, is_dir)?;
        notes.extend(fetched.finish()?);
        Ok(notes)
    }

    /// Writes the submission of the room's /workspace into a run directory. Gives notes.
    ///
    /// # Errors
    /// The run directory; the station.
    pub fn submit(
        &self,
        run: &Path,
        agent: &str,
        harness: Harness,
    ) -> Result<Vec<String>, StationError> {
        let run = std::path::absolute(run).map_err(reenact_bundle::fsx::fs_error(run, "find"))?;
        self.plain(&Request::Submit { run, agent: agent.to_owned(), harness })
    }

    /// Ends the station, and waits until it is gone.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(&self) -> Result<(), StationError> {
        match self.plain(&Request::Stop) {
            Ok(_) => {}
            Err(StationError::Dead { .. }) => {
                // What a killed station left behind goes too.
                self.place.remove();
                return Ok(());
            }
            // It ended before it could answer, which is what was wanted.
            Err(StationError::Ended { .. }) => {}
            Err(e) => return Err(e),
        }
        let deadline = Instant::now() + STOPPING;
        while self.place.dir.exists() {
            if Instant::now() > deadline {
                return Err(self.ended(&"it does not stop"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn plain(&self, request: &Request) -> Result<Vec<String>, StationError> {
        let mut stream = self.ask(request)?;
        let (_, payload) = self.next(&mut stream)?;
        match self.answer(&payload)? {
            Answer::Done { notes } => Ok(notes),
            other => Err(self.ended(&format!("an unexpected answer: {other:?}"))),
        }
    }
}

fn feed_all(feed: Feed, mut pieces: InputPieces, fed: &Mutex<Option<StationError>>) {
    let result = feed(&mut pieces);
    if let Err(error) = result {
        let gone =
            matches!(&error, StationError::Fs(e) if e.error.kind() == io::ErrorKind::BrokenPipe);
        if !gone {
            *fed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    }
    // The station may be gone; then its client knows already.
    let _ended = send(&mut pieces.stream, Kind::InputEnd, b"");
}

/// A tar stream in frames.
struct Fetched<'a> {
    client: &'a Client,
    stream: UnixStream,
    current: io::Cursor<Vec<u8>>,
    end: Option<Vec<u8>>,
}

impl Read for Fetched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = self.current.read(buffer)?;
            if n > 0 || buffer.is_empty() || self.end.is_some() {
                return Ok(n);
            }
            match self.client.next(&mut self.stream).map_err(io::Error::other)? {
                (Kind::Output, piece) => self.current = io::Cursor::new(piece),
                (_, payload) => self.end = Some(payload),
            }
        }
    }
}

impl Fetched<'_> {
    /// The station's last word, after whatever of the stream has not been read.
    fn finish(mut self) -> Result<Vec<String>, StationError> {
        io::copy(&mut self, &mut io::sink()).map_err(|e| self.client.ended(&e))?;
        match self.client.answer(&self.end.take().unwrap_or_default())? {
            Answer::Done { notes } => Ok(notes),
            other => Err(self.client.ended(&format!("an unexpected answer: {other:?}"))),
        }
    }
}

/// A station of the list.
pub struct Listed {
    pub id: String,
    /// `None`: it is starting, or has died; then `alive` is false.
    pub info: Option<Info>,
    pub alive: bool,
}

/// All stations of the user. Those that have died are removed, and listed this once.
///
/// # Errors
/// The state directory.
pub fn list() -> Result<Vec<Listed>, StationError> {
    let mut all = Vec::new();
    for place in Place::all()? {
        let info = place.info();
        // Until the information is there, the station is starting.
        let alive = info.is_none() || place.connect().is_ok();
        if !alive {
            place.remove();
        }
        all.push(Listed { id: place.id, info, alive });
    }
    Ok(all)
}

/// One side of `cp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    Host(PathBuf),
    Room { id: String, path: String },
}

impl Side {
    /// `ID:/path` is a room's, everything else the host's.
    pub fn parse(text: &str) -> Self {
        match text.split_once(':') {
            Some((id, path)) if super::state::is_id(id) => {
                Self::Room { id: id.to_owned(), path: path.to_owned() }
            }
            _ => Self::Host(PathBuf::from(text)),
        }
    }
}

/// Copies between host and room; one side must be a room's. Gives notes.
///
/// # Errors
/// See [`Client::copy_in`] and [`Client::copy_out`].
pub fn copy(from: &str, to: &str) -> Result<Vec<String>, StationError> {
    match (Side::parse(from), Side::parse(to)) {
        (Side::Host(from), Side::Room { id, path }) => {
            Client::find(&id)?.copy_in(&from, &path).map(|()| Vec::new())
        }
        (Side::Room { id, path }, Side::Host(to)) => Client::find(&id)?.copy_out(&path, &to),
        _ => Err(StationError::Usage {
            what: "one side must be on the host and the other in a cleanroom: `cp FILE ID:/path` or `cp ID:/path FILE`".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_told_apart_by_the_id() {
        let room = Side::parse("room-Ab12:/workspace/x:y");
        assert_eq!(room, Side::Room { id: "room-Ab12".into(), path: "/workspace/x:y".into() });
        for host in ["file", "./room-x:/y", "C:/x", "/a:b", "room-../x:/y"] {
            assert_eq!(Side::parse(host), Side::Host(host.into()), "{host}");
        }
        assert!(copy("a", "b").unwrap_err().is_usage());
    }

    #[test]
    fn the_window_bounds_what_is_under_way_and_opens_with_what_is_taken() {
        let window = Window::open();
        for _ in 0..WINDOW {
            assert!(window.enter());
        }
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| window.enter());
            window.taken();
            assert!(waiting.join().unwrap());
        });
        window.close();
        assert!(!window.enter());
    }
}
