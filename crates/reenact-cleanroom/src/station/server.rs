//! The process that holds a room and serves its socket.

use super::exec::{self, Outlet};
use super::state::{Failure, Info, Place};
use super::wire::{Answer, Request};
use super::{StationError, copy, submit};
use crate::open::{Opened, Setup, open_room};
use crate::policy::Policy;
use crate::probes::log::ProbeLog;
use reenact_bundle::shape::CellOptions;
use reenact_bundle::{Progress, TaskBundle, now_rfc3339, write_atomic};
use reenact_sandbox::room::Room;
use std::collections::BTreeMap;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Connections at once.
const MOST_CONNECTIONS: usize = 256;

/// What a station is to be.
pub struct StationPlan {
    pub task: TaskBundle,
    pub policy: Policy,
    pub cells: CellOptions,
    pub setup: Setup,
    /// It stops by itself after this time.
    pub ttl: Duration,
    pub place: Place,
}

/// A running station, as its connections see it.
pub(crate) struct Station {
    pub plan: StationPlan,
    pub room: Room,
    pub probes: ProbeLog,
    pub info: Info,
    pub accepted_unsealed: bool,
    pub begun: Instant,
    /// One submission at a time.
    pub submitting: Mutex<()>,
    stop: AtomicBool,
    connections: Mutex<BTreeMap<u64, UnixStream>>,
}

/// Opens the room and serves until the time is up, the room dies, `interrupted` becomes true, or a client says stop. Its
/// directory is removed at the end; if it cannot start, the reason is left there for who waits for it.
///
/// Must be called by a thread that lives as long as the station: the room ends with the thread that started it.
///
/// # Errors
/// Why it could not start.
pub fn serve(
    plan: StationPlan,
    interrupted: &AtomicBool,
    progress: &dyn Progress,
) -> Result<(), StationError> {
    let place = plan.place.clone();
    let opened = open(plan, progress);
    let (station, listener) = opened.inspect_err(|e| {
        let failure = Failure { what: e.to_string(), usage: e.is_usage() };
        // Who waits finds no reason then, and shows the log.
        let _told = write_json(&place, "failed.json", &failure);
    })?;
    progress.note(&format!("{}: ready", station.info.id));
    accept(&station, &listener, interrupted);
    drop(listener);
    place.remove();
    Ok(())
}

fn open(
    plan: StationPlan,
    progress: &dyn Progress,
) -> Result<(Station, UnixListener), StationError> {
    let log = plan.place.file("probes.jsonl");
    let probes = ProbeLog::create(&log, BTreeMap::new())?;
    let Opened { room, accepted_unsealed, notes, .. } =
        open_room(&plan.task, &plan.policy, &plan.cells, &plan.setup, probes.sink(), progress)?;
    probes.set_base_env(room.base_env());
    let listener = plan.place.listen()?;
    let info = Info {
        id: plan.place.id.clone(),
        task: plan.task.id().to_owned(),
        path: plan.task.root.clone(),
        pid: std::process::id(),
        started: now_rfc3339(),
        until: reenact_bundle::fsx::rfc3339_in(plan.ttl),
        notes,
    };
    write_json(&plan.place, "info.json", &info)?;
    let station = Station {
        plan,
        room,
        probes,
        info,
        accepted_unsealed,
        begun: Instant::now(),
        submitting: Mutex::new(()),
        stop: AtomicBool::new(false),
        connections: Mutex::new(BTreeMap::new()),
    };
    Ok((station, listener))
}

fn write_json(
    place: &Place,
    name: &str,
    value: &impl serde::Serialize,
) -> Result<(), StationError> {
    // Plain data with string keys can always be serialised.
    let bytes = serde_json::to_vec_pretty(value).unwrap_or_default();
    Ok(write_atomic(&place.file(name), &bytes)?)
}

/// One thread for each connection; ends when the station is to stop and all of them have.
fn accept(station: &Station, listener: &UnixListener, interrupted: &AtomicBool) {
    std::thread::scope(|scope| {
        scope.spawn(|| watch(station, interrupted));
        for (number, connection) in listener.incoming().enumerate() {
            if station.stop.load(Ordering::SeqCst) {
                break;
            }
            let Ok(connection) = connection else {
                // Out of descriptors: those that work will give theirs back.
                std::thread::sleep(Duration::from_millis(20));
                continue;
            };
            let number = number as u64;
            if station.enter(number, &connection) {
                scope.spawn(move || {
                    // A client that does not take its answer has gone.
                    let _answered = attend(station, connection);
                    station.leave(number);
                });
            }
        }
    });
}

/// Ends the station when it is time.
fn watch(station: &Station, interrupted: &AtomicBool) {
    let asked = || station.stop.load(Ordering::SeqCst);
    while !asked()
        && station.begun.elapsed() < station.plan.ttl
        && station.room.is_alive()
        && !interrupted.load(Ordering::SeqCst)
    {
        std::thread::sleep(Duration::from_millis(100));
    }
    station.stop.store(true, Ordering::SeqCst);
    station.room.stopper().stop();
    // Whoever waits for a client is woken up; answers under way still go out.
    let connections = station.connections.lock().unwrap_or_else(PoisonError::into_inner);
    for connection in connections.values() {
        // It may have closed itself.
        let _shut = connection.shutdown(std::net::Shutdown::Read);
    }
    drop(connections);
    // The accepting thread waits for a connection: this one. If it fails, nobody accepts any more.
    let _woken = station.plan.place.connect();
}

impl Station {
    fn enter(&self, number: u64, connection: &UnixStream) -> bool {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if connections.len() >= MOST_CONNECTIONS {
            return false;
        }
        match connection.try_clone() {
            Ok(copy) => connections.insert(number, copy).is_none(),
            Err(_) => false,
        }
    }

    fn leave(&self, number: u64) {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }
}

/// One connection: a request and its answer.
fn attend(station: &Station, mut inlet: UnixStream) -> std::io::Result<()> {
    let outlet = Outlet::new(inlet.try_clone()?);
    let Some(request) = exec::request(&mut inlet)? else { return Ok(()) };
    let answer = match request {
        Request::Exec(request) => {
            exec::serve(&station.room, request, inlet.try_clone()?, &outlet).map_err(Into::into)
        }
        Request::Fetch { path } => copy::fetch(&station.room, &path, &outlet),
        Request::Submit { run, agent, harness } => submit::submit(station, &run, &agent, harness),
        Request::Stop => {
            station.stop.store(true, Ordering::SeqCst);
            Ok(Answer::Done { notes: Vec::new() })
        }
    };
    let answer =
        answer.unwrap_or_else(|e| Answer::Failed { what: e.to_string(), usage: e.is_usage() });
    let sent = outlet.answer(&answer);
    // Both ends: a client waits for the end of the stream, and the thread that reads from it for its end.
    inlet.shutdown(std::net::Shutdown::Both)?;
    sent
}
