//! The process that holds one container and serves its socket.
//!
//! Its main thread starts the container (which ends with the thread that started it), waits for the end, and takes everything
//! down. One thread accepts, each connection has one of its own.

mod command;
mod copy;
mod life;
mod streams;

use crate::error::DockerError;
use crate::inside;
use crate::output::Recorder;
use crate::place::{Config, Failure, Place, State, Status, now};
use crate::wire::{self, Answer, Request};
use life::Life;
use reenact_sandbox::container::{Container, ContainerSpec, Network};
use reenact_sandbox::room::CommandHandle;
use reenact_sandbox::{Isolation, Mount, Setting};
use std::collections::BTreeMap;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};
use streams::Streams;

/// Connections at once.
const MOST_CONNECTIONS: usize = 4096;
/// A client that connects says within this time what it wants.
const FIRST_WORDS: Duration = Duration::from_secs(30);
/// Commands end within this time when the container is to end; then pid 1 is killed with all the rest.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A container and its station, as its connections see it.
struct Station {
    place: Place,
    config: Config,
    container: Container,
    recorder: Recorder,
    life: Life,
    streams: Streams,
    /// What runs now; `None`: it is about to.
    commands: Mutex<BTreeMap<u64, Option<CommandHandle>>>,
    connections: Mutex<BTreeMap<u64, UnixStream>>,
    /// Who is answered when the container is down; and whether it is the client of an attached `run`, to whom a main process
    /// that could not run is a failure.
    waiting: Mutex<Vec<(UnixStream, bool)>>,
    closing: AtomicBool,
    next: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the container whose `config.json` is in `place`, and serves it to its end. If it cannot start, the reason is left in
/// `failed.json` for who waits for it.
///
/// Must be called by a thread that lives as long as the station.
///
/// # Errors
/// Why it could not start.
pub fn serve(place: &Place) -> Result<(), DockerError> {
    let (station, listener) = open(place).inspect_err(|e| {
        let failure = Failure { what: e.to_string(), code: e.code(0) };
        // Who waits finds no reason then, and shows the log.
        let _told = place.write("failed.json", &failure);
    })?;
    let code = station.run(&listener);
    station.finish(code, listener)
}

fn spec(config: &Config) -> ContainerSpec {
    let mut spec = ContainerSpec::new(config.layers.clone(), config.scratch.clone());
    spec.hostname.clone_from(&config.hostname);
    spec.network = if config.host_network { Network::Host } else { Network::None };
    spec.memory_bytes = config.memory;
    spec.cpus = config.cpus;
    spec.processes = config.processes;
    spec.shm_bytes = config.shm_bytes;
    spec.capabilities = config.capabilities;
    spec.no_new_privileges = config.no_new_privileges;
    let mount = |(source, target): &(_, String)| Mount {
        source: Clone::clone(source),
        target: target.clone(),
    };
    spec.mounts = config.mounts.iter().map(mount).collect();
    let cgroup = match config.limits.as_str() {
        "cgroup" => Setting::Require,
        "rlimit" => Setting::Fallback,
        _ => Setting::Auto,
    };
    spec.isolation = Isolation { cgroup, force_userns: false };
    spec
}

/// Starts a container as its config says. For stations, and for looking into a container that has ended.
///
/// # Errors
/// [`DockerError::Sandbox`].
pub fn start(config: &Config) -> Result<Container, DockerError> {
    Ok(Container::start(&spec(config))?)
}

fn open(place: &Place) -> Result<(Station, UnixListener), DockerError> {
    let config = place.config()?;
    crate::images::own(&config)?;
    let container = start(&config)?;
    inside::make_dirs(&container, &config.cwd).map_err(|error| DockerError::Io {
        what: format!("cannot make the working directory {} in the container", config.cwd),
        error,
    })?;
    let output = place.file("output");
    let recorder = Recorder::create(&output).map_err(DockerError::io("create", &output))?;
    let state = State {
        status: Status::Running,
        pid: std::process::id(),
        started: now(),
        ..State::default()
    };
    place.write("state.json", &state)?;
    let listener = place.listen()?;
    let station = Station {
        place: place.clone(),
        config,
        container,
        recorder,
        life: Life::new(state),
        streams: Streams::default(),
        commands: Mutex::default(),
        connections: Mutex::default(),
        waiting: Mutex::default(),
        closing: AtomicBool::new(false),
        next: AtomicU64::new(1),
    };
    Ok((station, listener))
}

impl Station {
    /// Serves until the container is to end; gives its exit code. Nothing of ours runs in it any more then.
    fn run(&self, listener: &UnixListener) -> i32 {
        std::thread::scope(|scope| {
            scope.spawn(|| self.accept(scope, listener));
            let code = self.life.wait_for_end(|| {
                self.streams.expire();
                self.container.is_alive()
            });
            self.closing.store(true, Ordering::SeqCst);
            self.end_commands();
            for connection in lock(&self.connections).values() {
                // It may have closed itself. Answers under way still go out.
                let _shut = connection.shutdown(std::net::Shutdown::Read);
            }
            // The accepting thread waits for a connection: this one. If it fails, nobody accepts any more.
            let _woken = self.place.connect();
            code
        })
    }

    /// Kills what clients started, until their threads have seen it. What left its session ends with the container; where pid 1
    /// does not do as it is told, everything does.
    fn end_commands(&self) {
        let begun = Instant::now();
        let mut killed = false;
        while !lock(&self.commands).is_empty() && begun.elapsed() < Duration::from_secs(60) {
            for handle in lock(&self.commands).values().flatten() {
                handle.stop();
            }
            if begun.elapsed() > Duration::from_millis(500) {
                // A thread may wait for a client that does not read.
                self.streams.cut();
            }
            if begun.elapsed() > LAST_WORDS && !killed {
                self.container.kill();
                killed = true;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.streams.cut();
    }

    fn accept<'s>(&'s self, scope: &'s Scope<'s, '_>, listener: &'s UnixListener) {
        for connection in listener.incoming() {
            if self.closing.load(Ordering::SeqCst) {
                break;
            }
            let Ok(connection) = connection else {
                // Out of descriptors: those that work will give theirs back.
                std::thread::sleep(Duration::from_millis(20));
                continue;
            };
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if self.enter(number, &connection) {
                scope.spawn(move || {
                    // A client that does not take its answer has gone.
                    let _answered = self.attend(scope, connection);
                    lock(&self.connections).remove(&number);
                });
            }
        }
    }

    fn enter(&self, number: u64, connection: &UnixStream) -> bool {
        let mut connections = lock(&self.connections);
        if connections.len() >= MOST_CONNECTIONS {
            return false;
        }
        match connection.try_clone() {
            Ok(copy) => connections.insert(number, copy).is_none(),
            Err(_) => false,
        }
    }

    /// One connection: a request and its answers.
    fn attend<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        mut connection: UnixStream,
    ) -> std::io::Result<()> {
        connection.set_read_timeout(Some(FIRST_WORDS))?;
        let request = wire::receive(&mut connection)?;
        connection.set_read_timeout(None)?;
        let answer = match request {
            Request::Stream { token, which } => {
                self.streams.arrived(token, which, connection);
                return Ok(());
            }
            Request::Start { attach, stdin } => {
                let started = self.start_main(scope, attach, stdin);
                if let (Ok(answer), Some(_)) = (&started, attach) {
                    wire::send(&mut connection, answer)?;
                    return self.answer_at_the_end(connection, true);
                }
                started
            }
            Request::Exec(exec) => self.exec(scope, exec),
            Request::Fetch { path, prefix, follow, token } => {
                self.fetch(&mut connection, &path, prefix.as_deref(), follow, token)
            }
            Request::Put { target, token } => self.put(&target, token),
            Request::Stop { signal, grace_ms } => {
                self.life.stop(signal, grace_ms.map(Duration::from_millis));
                return self.answer_at_the_end(connection, false);
            }
            Request::Signal { signal } => {
                self.life.signal(signal);
                Ok(Answer::Done { notes: Vec::new() })
            }
            Request::Wait => return self.answer_at_the_end(connection, false),
        };
        let answer =
            answer.unwrap_or_else(|e| Answer::Failed { what: e.to_string(), code: e.code(0) });
        wire::send(&mut connection, &answer)
    }

    fn answer_at_the_end(&self, connection: UnixStream, attached: bool) -> std::io::Result<()> {
        lock(&self.waiting).push((connection, attached));
        Ok(())
    }

    /// Takes the container down, and tells who waits.
    fn finish(self, code: i32, listener: UnixListener) -> Result<(), DockerError> {
        let Self { place, config, container, life, waiting, .. } = self;
        drop(container);
        let error = life.error();
        let state = State {
            status: Status::Exited,
            code: Some(code),
            finished: now(),
            error: error.clone(),
            ..life.state()
        };
        let written = place.write("state.json", &state);
        // Not earlier: who finds nobody listening looks at the state. Now nobody connects in vain.
        drop(listener);
        let _gone = std::fs::remove_file(place.file("sock"));
        let removed = if config.remove { remove(&place, &config) } else { Ok(()) };
        for (mut connection, attached) in
            waiting.into_inner().unwrap_or_else(PoisonError::into_inner)
        {
            let answer = match &error {
                // 126 and 127 are a program that cannot be executed; all else is our failure, which has a code of its own.
                what if attached && !what.is_empty() => Answer::Failed {
                    what: what.clone(),
                    code: if matches!(code, 126 | 127) { code } else { 0 },
                },
                _ => Answer::Exited { code },
            };
            // Who waited may have gone.
            let _told = wire::send(&mut connection, &answer);
        }
        written.and(removed)
    }
}

/// Removes a container that is down, with its changes.
///
/// # Errors
/// Removing.
pub fn remove(place: &Place, config: &Config) -> Result<(), DockerError> {
    place.remove()?;
    crate::images::remove_scratch(&config.store, &config.scratch)
}
