//! Snapshots at the pace that an attempt can afford.

use crate::error::CleanroomError;
use crate::record::snapshot::Snapshots;
use crate::site::Site;
use reenact_sandbox::room::Room;
use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

/// A snapshot that took longer than this widens the interval …
const CHEAP: Duration = Duration::from_millis(500);
/// … so that snapshots take at most one part in so many of the time.
const SHARE: u32 = 10;

/// The snapshots of one attempt.
pub(super) struct Keeper<'a> {
    room: &'a Room,
    snapshots: RefCell<Snapshots>,
    not_before: Cell<Option<Instant>>,
}

impl<'a> Keeper<'a> {
    pub(super) fn new(site: &Site<'a>) -> Self {
        Self {
            room: site.room,
            snapshots: RefCell::new(Snapshots::of(site.dir)),
            not_before: Cell::new(None),
        }
    }

    /// Takes the snapshot of a step, unless the last ones were so slow that this one can wait and `must` is false.
    pub(super) fn keep(&self, step: u64, must: bool) -> Result<(), CleanroomError> {
        if !must && self.not_before.get().is_some_and(|t| Instant::now() < t) {
            return Ok(());
        }
        let report = self.snapshots.borrow_mut().take(step, self.room)?;
        let wait = (report.wall > CHEAP).then(|| Instant::now() + report.wall * SHARE);
        self.not_before.set(wait);
        Ok(())
    }

    /// The last step up to `at_most` that has a snapshot.
    pub(super) fn last(&self, at_most: u64) -> Result<Option<u64>, CleanroomError> {
        let steps = self.snapshots.borrow().steps()?;
        Ok(steps.into_iter().rfind(|s| *s <= at_most))
    }

    /// Brings a snapshot into the room.
    pub(super) fn restore(&self, step: u64) -> Result<(), CleanroomError> {
        self.snapshots.borrow().restore(step, self.room)?;
        Ok(())
    }
}
