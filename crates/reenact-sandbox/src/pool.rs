//! Several cells at work on a list of items.

use crate::cell::Cell;
use crate::error::SandboxError;
use crate::spec::CellSpec;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

/// Attempts at one item before its error is passed on.
pub const ATTEMPTS: u32 = 3;

/// What the pool delivers for one item.
pub struct Done<R> {
    /// Index of the item.
    pub index: usize,
    /// Attempts that ended in a harness failure before this result.
    pub retries: u32,
    pub result: Result<R, SandboxError>,
}

/// Runs `work` on every item, in `workers` cells started from `spec`, and hands results to `sink` on the caller's thread in
/// order of completion. A cell that fails is replaced and the item tried again, [`ATTEMPTS`] times in all. `sink` may stop
/// the pool; items not yet begun are then dropped.
///
/// # Errors
/// The error of starting a first cell, when no cell at all could be started.
pub fn run_all<T: Sync, R: Send>(
    spec: &CellSpec,
    workers: usize,
    items: &[T],
    work: impl Fn(&mut Cell, &T) -> Result<R, SandboxError> + Sync,
    mut sink: impl FnMut(Done<R>) -> ControlFlow<()>,
) -> Result<(), SandboxError> {
    if items.is_empty() {
        return Ok(());
    }
    let first = Cell::start(spec)?;
    let first = Mutex::new(Some(first));
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let (tx, rx) = mpsc::sync_channel::<Done<R>>(256);
    std::thread::scope(|scope| {
        for _ in 0..workers.clamp(1, items.len()) {
            let tx = tx.clone();
            let (first, next, stop, work) = (&first, &next, &stop, &work);
            scope.spawn(move || {
                let mut cell = first.lock().ok().and_then(|mut slot| slot.take());
                while !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    let done = attempt(spec, &mut cell, index, item, work);
                    if tx.send(done).is_err() {
                        break;
                    }
                }
            });
        }
        drop(tx);
        for done in &rx {
            if sink(done).is_break() {
                stop.store(true, Ordering::Relaxed);
                break;
            }
        }
        // Dropping the receiver lets blocked workers end.
        drop(rx);
    });
    Ok(())
}

fn attempt<T, R>(
    spec: &CellSpec,
    cell: &mut Option<Cell>,
    index: usize,
    item: &T,
    work: &(impl Fn(&mut Cell, &T) -> Result<R, SandboxError> + Sync),
) -> Done<R> {
    let mut retries = 0;
    loop {
        let result = match cell.as_mut() {
            Some(cell) => work(cell, item),
            None => Cell::start(spec).and_then(|fresh| work(cell.insert(fresh), item)),
        };
        match result {
            Err(_) if retries + 1 < ATTEMPTS => {
                *cell = None;
                retries += 1;
            }
            Err(error) => {
                *cell = None;
                return Done { index, retries, result: Err(error) };
            }
            Ok(value) => return Done { index, retries, result: Ok(value) },
        }
    }
}
