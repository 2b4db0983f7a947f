//! Ctrl-C: the first asks to stop, the second ends the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);
static LAST: AtomicI32 = AtomicI32::new(0);

extern "C" fn on_signal(signal: libc::c_int) {
    LAST.store(signal, Ordering::SeqCst);
    if ASKED.swap(true, Ordering::SeqCst) {
        // SAFETY: both calls are async-signal-safe. The default action of a second signal is what the user wants.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
    }
}

/// Installs the handler for SIGINT and SIGTERM; the flag becomes true with the first of them, within a tenth of a second.
/// Journals make both ways of ending safe.
pub fn stop_flag() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let handler = on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: the handler touches an atomic and calls async-signal-safe functions only.
    unsafe {
        libc::signal(libc::SIGINT, handler);
        libc::signal(libc::SIGTERM, handler);
    }
    let copy = Arc::clone(&flag);
    std::thread::spawn(move || {
        while !ASKED.load(Ordering::SeqCst) {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        copy.store(true, Ordering::SeqCst);
    });
    flag
}

/// The number of the signal that asked last, if one did.
pub fn last_signal() -> Option<i32> {
    Some(LAST.load(Ordering::SeqCst)).filter(|signal| *signal != 0)
}
