//! Ctrl-C and SIGTERM end a run between two cycles, so that nothing stays mounted; a second one ends the process at once.

use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

extern "C" fn asked(signal: i32) {
    if ASKED.swap(true, Ordering::SeqCst) {
        // SAFETY: `_exit` may be called from a signal handler.
        unsafe { libc::_exit(128 + signal) };
    }
}

/// From now on the signals are noted.
pub(crate) fn listen() {
    let handler: extern "C" fn(i32) = asked;
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only touches an atomic and calls `_exit`, both safe at any moment.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}

/// Whether the run is to end.
pub(crate) fn is_asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}
