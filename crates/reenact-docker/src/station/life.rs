//! When a container ends.
//!
//! ```text
//! not started ──start──▶ running ──main ends──▶ end
//!                           │ └──main is killed by a signal that we did not send, no --init──▶ stays ──its time is over──▶ end
//!                           └──stop: signal, grace──▶ end                                        └──stop──▶ end
//! ```
//!
//! With docker and without `--init` the main process is pid 1, which no signal from inside can kill: harnesses sweep a
//! container with `kill -KILL -1` and go on using it. Ours is not pid 1, so the container stays when it dies so, for as long
//! as it would have (a `sleep N`), or until it is stopped.

use super::lock;
use crate::place::State;
use reenact_sandbox::room::{CommandHandle, ExecEnd};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A station ends by itself after this time, whatever runs in it.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// A main process that nobody has started by then is not awaited.
const UNSTARTED: Duration = Duration::from_secs(120);
/// A signal in this time after the start is sent twice.
const JUST_STARTED: Duration = Duration::from_millis(250);
const KILL: i32 = 9;
const KILLED: i32 = 128 + KILL;

enum Main {
    NotStarted,
    Running,
    Over(i32),
}

struct Inner {
    main: Main,
    handle: Option<CommandHandle>,
    /// We sent a signal.
    signalled: bool,
    begun: Instant,
    /// A signal that is sent once more then.
    again: Option<(Instant, i32)>,
    /// When it is over, whatever happens until then.
    deadline: Instant,
    end: Option<i32>,
    error: String,
}

pub(super) struct Life {
    state: State,
    begun: Instant,
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl Life {
    pub(super) fn new(state: State) -> Self {
        let begun = Instant::now();
        let inner = Inner {
            main: Main::NotStarted,
            handle: None,
            signalled: false,
            begun,
            again: None,
            deadline: begun + UNSTARTED,
            end: None,
            error: String::new(),
        };
        Self { state, begun, inner: Mutex::new(inner), changed: Condvar::new() }
    }

    pub(super) fn state(&self) -> State {
        self.state.clone()
    }

    pub(super) fn error(&self) -> String {
        lock(&self.inner).error.clone()
    }

    /// The main process is about to be started; false if it was before.
    pub(super) fn begin(&self) -> bool {
        let mut inner = lock(&self.inner);
        let fresh = matches!(inner.main, Main::NotStarted);
        if fresh {
            inner.main = Main::Running;
            inner.begun = Instant::now();
            inner.deadline = self.begun + LONGEST;
        }
        fresh
    }

    pub(super) fn handle(&self, handle: CommandHandle) {
        lock(&self.inner).handle = Some(handle);
    }

    fn end(&self, inner: &mut Inner, code: i32) {
        inner.end.get_or_insert(code);
        self.changed.notify_all();
    }

    /// The main process could not be started.
    pub(super) fn failed(&self, code: i32, error: String) {
        let mut inner = lock(&self.inner);
        inner.error = error;
        self.end(&mut inner, code);
    }

    /// The main process has ended. `own_time`: how long it would have run.
    pub(super) fn over(&self, end: &ExecEnd, code: i32, init: bool, own_time: Option<Duration>) {
        let mut inner = lock(&self.inner);
        inner.handle = None;
        inner.again = None;
        inner.main = Main::Over(code);
        let foreign = matches!(end, ExecEnd::Signal { .. }) && !inner.signalled;
        if foreign && !init {
            let until = self.begun + own_time.unwrap_or(LONGEST).min(LONGEST);
            inner.deadline = inner.deadline.min(until);
            self.changed.notify_all();
        } else {
            self.end(&mut inner, code);
        }
    }

    /// Signals the main process; everything is killed when `grace` is over.
    pub(super) fn stop(&self, signal: i32, grace: Option<Duration>) {
        let mut inner = lock(&self.inner);
        match inner.main {
            Main::Over(code) => self.end(&mut inner, code),
            Main::NotStarted => self.end(&mut inner, KILLED),
            Main::Running if signal == KILL => self.end(&mut inner, KILLED),
            Main::Running => {
                send(&mut inner, signal);
                if let Some(at) = grace.and_then(|g| Instant::now().checked_add(g)) {
                    inner.deadline = inner.deadline.min(at);
                }
                self.changed.notify_all();
            }
        }
    }

    /// Signals the main process.
    pub(super) fn signal(&self, signal: i32) {
        let mut inner = lock(&self.inner);
        match inner.main {
            Main::Running if signal == KILL => self.end(&mut inner, KILLED),
            Main::Running => {
                send(&mut inner, signal);
                self.changed.notify_all();
            }
            // There is nobody to take it.
            Main::Over(_) | Main::NotStarted => {}
        }
    }

    /// Waits until the container is to end; gives its exit code. `alive`: whether pid 1 still answers.
    pub(super) fn wait_for_end(&self, alive: impl Fn() -> bool) -> i32 {
        let mut inner = lock(&self.inner);
        loop {
            if let Some(code) = inner.end {
                return code;
            }
            let left = inner.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return match inner.main {
                    Main::Over(code) => code,
                    Main::Running | Main::NotStarted => KILLED,
                };
            }
            let mut pause = left.min(Duration::from_secs(1));
            if let Some((at, _)) = inner.again {
                pause = pause.min(at.saturating_duration_since(Instant::now()));
            }
            let waited = self.changed.wait_timeout(inner, pause);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
            if let Some((_, signal)) = inner.again.filter(|(at, _)| *at <= Instant::now()) {
                inner.again = None;
                tell(&inner, signal);
            }
            if !alive() && inner.end.is_none() {
                inner.error = "pid 1 of the container is gone".to_owned();
                return KILLED;
            }
        }
    }
}

fn send(inner: &mut Inner, signal: i32) {
    inner.signalled = true;
    // A process that is being started has nobody in it yet who could be told.
    if inner.begun.elapsed() < JUST_STARTED {
        inner.again = Some((Instant::now() + JUST_STARTED, signal));
    }
    tell(inner, signal);
}

fn tell(inner: &Inner, signal: i32) {
    if let Some(handle) = &inner.handle {
        // Whoever is gone cannot be told; that shows in `alive`.
        let _sent = handle.signal(signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life() -> Life {
        Life::new(State::default())
    }

    #[test]
    fn it_ends_with_its_main_process() {
        let life = life();
        assert!(life.begin() && !life.begin());
        life.over(&ExecEnd::Exit { code: 7 }, 7, false, None);
        assert_eq!(life.wait_for_end(|| true), 7);
    }

    #[test]
    fn a_sweep_from_inside_does_not_end_it_without_init_until_its_time_is_over() {
        let swept = ExecEnd::Signal { signal: 9 };
        let with_init = life();
        with_init.begin();
        with_init.over(&swept, 137, true, None);
        assert_eq!(with_init.wait_for_end(|| true), 137);

        let stays = life();
        stays.begin();
        stays.over(&swept, 137, false, None);
        assert!(lock(&stays.inner).end.is_none());
        stays.stop(15, Some(Duration::from_secs(10)));
        assert_eq!(stays.wait_for_end(|| true), 137);

        let timed = life();
        timed.begin();
        timed.over(&swept, 137, false, Some(Duration::ZERO));
        assert_eq!(timed.wait_for_end(|| true), 137);
    }

    #[test]
    fn a_stop_that_is_not_heeded_ends_when_its_grace_is_over() {
        let life = life();
        life.begin();
        life.stop(15, Some(Duration::ZERO));
        assert_eq!(life.wait_for_end(|| true), KILLED);
        let lost = super::tests::life();
        lost.begin();
        assert_eq!(lost.wait_for_end(|| false), KILLED);
        assert!(lost.error().contains("pid 1"));
    }
}
