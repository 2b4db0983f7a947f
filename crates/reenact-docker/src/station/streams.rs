//! Streams on their way from the connections that bring them to the requests that want them.

use super::lock;
use crate::error::DockerError;
use crate::wire::Which;
use std::collections::BTreeMap;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A client that asked for something connects its streams within this time.
const LATEST: Duration = Duration::from_secs(30);
/// Streams that wait for their request: those of requests that failed before they took them stay.
const MOST_WAITING: usize = 1024;

#[derive(Default)]
pub(super) struct Streams {
    arrived: Mutex<BTreeMap<(u64, Which), UnixStream>>,
    changed: Condvar,
    closed: AtomicBool,
    /// Copies of those that were taken, for [`Streams::cut`].
    taken: Mutex<BTreeMap<(u64, Which), UnixStream>>,
}

/// Keeps a stream open; the client sees its end when this is dropped.
pub(super) struct Held<'a> {
    streams: &'a Streams,
    key: (u64, Which),
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(stream) = lock(&self.streams.taken).remove(&self.key) {
            // What was written is still delivered. A client that has gone is as good.
            let _ended = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Streams {
    pub(super) fn arrived(&self, token: u64, which: Which, stream: UnixStream) {
        let mut arrived = lock(&self.arrived);
        if arrived.len() < MOST_WAITING {
            arrived.insert((token, which), stream);
        }
        self.changed.notify_all();
    }

    /// Waits for a stream.
    pub(super) fn take(
        &self,
        token: u64,
        which: Which,
    ) -> Result<(UnixStream, Held<'_>), DockerError> {
        let deadline = Instant::now() + LATEST;
        let key = (token, which);
        let mut arrived = lock(&self.arrived);
        loop {
            if let Some(stream) = arrived.remove(&key) {
                let copy = stream.try_clone().map_err(|error| DockerError::Io {
                    what: "cannot duplicate a connection".to_owned(),
                    error,
                })?;
                lock(&self.taken).insert(key, copy);
                return Ok((stream, Held { streams: self, key }));
            }
            if self.closed.load(Ordering::SeqCst) {
                return Err(DockerError::Failed("the container is being stopped".to_owned()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let what = "the client did not connect its streams";
                return Err(DockerError::Failed(what.to_owned()));
            }
            let waited = self.changed.wait_timeout(arrived, left);
            arrived = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends every stream, so that nobody waits for a client any more.
    pub(super) fn cut(&self) {
        // Under the lock, so that who has just looked is woken up.
        let arrived = lock(&self.arrived);
        self.closed.store(true, Ordering::SeqCst);
        self.changed.notify_all();
        drop(arrived);
        for stream in lock(&self.taken).values() {
            // Gone already is as good.
            let _cut = stream.shutdown(Shutdown::Both);
        }
    }
}
