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
/// Streams that wait for their request at once; the oldest gives way to a new one.
const MOST_WAITING: usize = 1024;

pub(super) struct Streams {
    /// That wait for their request at once.
    most: usize,
    /// With the time at which they came: nobody may ever ask for them.
    arrived: Mutex<BTreeMap<(u64, Which), (Instant, UnixStream)>>,
    changed: Condvar,
    closed: AtomicBool,
    /// Copies of those that were taken, for [`Streams::cut`].
    taken: Mutex<BTreeMap<(u64, Which), UnixStream>>,
}

impl Default for Streams {
    fn default() -> Self {
        Self::with_room_for(MOST_WAITING)
    }
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
    fn with_room_for(most: usize) -> Self {
        Self {
            most,
            arrived: Mutex::default(),
            changed: Condvar::new(),
            closed: AtomicBool::new(false),
            taken: Mutex::default(),
        }
    }

    pub(super) fn arrived(&self, token: u64, which: Which, stream: UnixStream) {
        let mut arrived = lock(&self.arrived);
        if arrived.len() >= self.most
            && let Some(oldest) = arrived.iter().min_by_key(|(_, (since, _))| *since).map(|e| *e.0)
        {
            arrived.remove(&oldest);
        }
        arrived.insert((token, which), (Instant::now(), stream));
        self.changed.notify_all();
    }

    /// Closes streams for which no request has come in the time that a request would wait for them.
    pub(super) fn expire(&self) {
        self.expire_older(LATEST);
    }

    fn expire_older(&self, than: Duration) {
        lock(&self.arrived).retain(|_, (since, _)| since.elapsed() <= than);
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
            if let Some((_, stream)) = arrived.remove(&key) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn streams_that_nobody_asks_for_are_closed() {
        let streams = Streams::default();
        let (mut theirs, ours) = UnixStream::pair().unwrap();
        streams.arrived(1, Which::Output, ours);
        streams.expire();
        let (stream, _held) = streams.take(1, Which::Output).unwrap();
        streams.arrived(2, Which::Output, stream);
        streams.expire_older(Duration::ZERO);
        assert!(lock(&streams.arrived).is_empty());
        drop(_held);
        assert_eq!(theirs.read(&mut [0; 1]).unwrap(), 0, "its client sees the end");
    }

    #[test]
    fn a_flood_does_not_keep_a_new_stream_out() {
        let streams = Streams::with_room_for(8);
        let mut clients = Vec::new();
        // The oldest has the highest token: it is age that decides.
        for token in (0..=20).rev() {
            let (theirs, ours) = UnixStream::pair().unwrap();
            clients.push(theirs);
            streams.arrived(token, Which::Output, ours);
        }
        let waiting: Vec<u64> = lock(&streams.arrived).keys().map(|(token, _)| *token).collect();
        assert_eq!(waiting, (0..8).collect::<Vec<_>>());
        assert!(streams.take(0, Which::Output).is_ok());
        // Those that gave way are closed.
        assert_eq!(clients[0].read(&mut [0; 1]).unwrap(), 0);
    }
}
