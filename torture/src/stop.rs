//! Ctrl-C, SIGTERM and the end of the terminal end a run: the load under way ends at once, its cycle is judged, and nothing stays behind. A second signal, a second or
//! more after the first, ends the process at once; `timeout` and others send two together, which are one.

use crate::leftovers;
use std::sync::Once;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The first signal.
static SIGNAL: AtomicI32 = AtomicI32::new(0);
/// How many came.
static COUNT: AtomicU32 = AtomicU32::new(0);
/// What comes within this time is still the first one.
const ONE: Duration = Duration::from_secs(1);
/// How often is looked for a signal.
const LOOK: Duration = Duration::from_millis(20);

extern "C" fn asked(signal: i32) {
    // Atomics only: all else is for `watch`.
    let _ = SIGNAL.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst);
    COUNT.fetch_add(1, Ordering::SeqCst);
}

/// From now on the signals are noted.
pub(crate) fn listen() {
    static LISTEN: Once = Once::new();
    LISTEN.call_once(|| {
        let handler: extern "C" fn(i32) = asked;
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            // SAFETY: the handler only touches atomics, which is safe at any moment.
            let before = unsafe { libc::signal(signal, handler as libc::sighandler_t) };
            // `nohup` asked for that.
            if signal == libc::SIGHUP && before == libc::SIG_IGN {
                // SAFETY: the disposition is the one that was there.
                unsafe { libc::signal(signal, before) };
            }
        }
        std::thread::spawn(watch);
    });
}

fn watch() {
    while COUNT.load(Ordering::SeqCst) == 0 {
        std::thread::sleep(LOOK);
    }
    std::thread::sleep(ONE);
    let first = COUNT.load(Ordering::SeqCst);
    while COUNT.load(Ordering::SeqCst) == first {
        std::thread::sleep(LOOK);
    }
    leftovers::clean_all();
    // SAFETY: `_exit` has no preconditions; what must not stay has just been removed.
    unsafe { libc::_exit(128 + SIGNAL.load(Ordering::SeqCst)) };
}

/// The signal that asks the run to end.
pub(crate) fn signal() -> Option<i32> {
    Some(SIGNAL.load(Ordering::SeqCst)).filter(|&signal| signal != 0)
}

/// A signal's name.
pub(crate) fn name(signal: i32) -> &'static str {
    match signal {
        libc::SIGINT => "SIGINT",
        libc::SIGHUP => "SIGHUP",
        _ => "SIGTERM",
    }
}

/// Whether the run is to end.
pub(crate) fn is_asked() -> bool {
    signal().is_some()
}

/// A pause that ends when the run is to end.
pub(crate) fn sleep(pause: Duration) {
    let end = Instant::now().checked_add(pause);
    while !is_asked() {
        let rest = end.map_or(pause, |end| end.saturating_duration_since(Instant::now()));
        if rest.is_zero() {
            return;
        }
        std::thread::sleep(rest.min(LOOK));
    }
}
