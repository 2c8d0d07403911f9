//! Time: looks now and then, while Lua code runs, whether it has run for too long.
//!
//! Lua calls [`tick`] at every loop and call; most ticks only count. One watch runs per thread: code that runs is nobody else's.
//!
//! What takes longer than a tick is charged as many: native code by the bytes it works through ([`tick_for_bytes`]), commands by their time. What Lua
//! itself does between two ticks (copies, compares, moves elements) takes as long as a block of its memory is large at most: the larger
//! the blocks it has made, the fewer ticks to the next look ([`made_block`]).

use super::Scripting;
use super::fiber;
use super::lua::Raise;
use crate::log;
use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Ticks between two looks at the clock: some ten microseconds of a tight loop.
const TICKS: u32 = 1000;
/// How long a tick takes, in nanoseconds, and in bytes that native code works through.
const TICK_NANOS: u64 = 10;
const TICK_BYTES: usize = 64;
/// Between two looks Lua works through so many bytes at most: some ten milliseconds of the slowest that it does with a whole block.
const WINDOW_BYTES: usize = 64 << 20;
/// Blocks below this size leave the ticks between two looks as they are.
pub(super) const LARGE_BLOCK: usize = WINDOW_BYTES / TICKS as usize;
/// A call of a command counts as so many ticks.
const TICKS_PER_COMMAND: u32 = 20;
/// How long a suspended script runs before others have a turn again.
const SLICE: Duration = Duration::from_millis(5);
/// How long FUNCTION LOAD may take.
const LOAD_LIMIT: Duration = Duration::from_millis(500);

/// What runs.
#[derive(Clone)]
pub(super) enum Watched {
    /// A script that may be suspended and killed once it has run for a limit; `None` never.
    Script {
        /// Where it is told that it is to end.
        scripting: &'static Scripting,
        /// `busy-reply-threshold`.
        limit: Option<Duration>,
        /// SCRIPT KILL, not FUNCTION KILL.
        eval: bool,
        /// For the log.
        name: String,
    },
    /// The body of a library, which is ended when it takes too long.
    Load,
}

struct Watch {
    watched: Watched,
    began: Instant,
    /// It has passed its limit.
    slow: bool,
    slice_began: Instant,
    killed: bool,
    looked: bool,
}

thread_local! {
    static LEFT: Cell<u32> = const { Cell::new(TICKS) };
    /// Ticks between two looks now.
    static WINDOW: Cell<u32> = const { Cell::new(TICKS) };
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

/// Begins to watch.
pub(super) fn begin(watched: Watched) {
    let now = Instant::now();
    LEFT.set(TICKS);
    WINDOW.set(TICKS);
    WATCH.set(Some(Watch { watched, began: now, slow: false, slice_began: now, killed: false, looked: false }));
}

/// Ends it; says whether the code ran for so long that a clock was looked at.
pub(super) fn end() -> bool {
    WATCH.take().is_some_and(|watch| watch.looked)
}

/// A command was called.
#[inline]
pub(super) fn spend() {
    LEFT.set(LEFT.get().saturating_sub(TICKS_PER_COMMAND).max(1));
}

/// A command took so many nanoseconds.
pub(super) fn spend_nanos(nanos: u64) {
    let ticks = u32::try_from(nanos / TICK_NANOS).unwrap_or(u32::MAX);
    LEFT.set(LEFT.get().saturating_sub(ticks).max(1));
}

/// Lua has made a block of so many bytes, at least [`LARGE_BLOCK`].
pub(super) fn made_block(len: usize) {
    let window = ((WINDOW_BYTES / len) as u32).clamp(1, WINDOW.get());
    WINDOW.set(window);
    LEFT.set(LEFT.get().min(window));
}

/// Called by running code.
///
/// # Errors
/// It is to end.
#[inline]
pub(super) fn tick() -> Result<(), Raise> {
    let left = LEFT.get();
    if left > 1 {
        LEFT.set(left - 1);
        return Ok(());
    }
    look()
}

/// As so many calls of [`tick`].
///
/// # Errors
/// The code is to end.
#[inline]
pub(super) fn tick_for(ticks: u32) -> Result<(), Raise> {
    let left = LEFT.get();
    if left > ticks {
        LEFT.set(left - ticks);
        return Ok(());
    }
    look()
}

/// [`tick`] of native code that works through so many bytes.
///
/// # Errors
/// The code is to end.
#[inline]
pub(super) fn tick_for_bytes(len: usize) -> Result<(), Raise> {
    tick_for(u32::try_from(1 + len / TICK_BYTES).unwrap_or(u32::MAX))
}

#[cold]
fn look() -> Result<(), Raise> {
    LEFT.set(WINDOW.get());
    loop {
        let suspend = WATCH.with_borrow_mut(|watch| match watch {
            Some(watch) => watch.look(),
            None => Ok(false),
        })?;
        if !suspend {
            return Ok(());
        }
        // Nothing is borrowed here: others run.
        fiber::suspend();
        WATCH.with_borrow_mut(|watch| {
            if let Some(watch) = watch {
                watch.slice_began = Instant::now();
            }
        });
    }
}

impl Watch {
    /// Whether others are to have a turn now.
    fn look(&mut self) -> Result<bool, Raise> {
        self.looked = true;
        let Watched::Script { scripting, limit, eval, name } = &self.watched else {
            let timeout = || Raise::reply("FUNCTION LOAD timeout");
            return if self.began.elapsed() > LOAD_LIMIT { Err(timeout()) } else { Ok(false) };
        };
        let Some(limit) = *limit else { return Ok(false) };
        let elapsed = self.began.elapsed();
        if elapsed < limit {
            return Ok(false);
        }
        let kill = if *eval { "SCRIPT KILL" } else { "FUNCTION KILL" };
        if !self.slow {
            self.slow = true;
            log::warning(format_args!(
                "Slow script detected: still in execution after {} milliseconds. You can try killing the script using the \
                 {kill} command. Script name is: {name}.",
                elapsed.as_millis()
            ));
            return Ok(true);
        }
        if self.killed || scripting.kill.load(Ordering::Acquire) {
            if !self.killed {
                log::warning(format_args!("Script killed by user with {kill}: {name}"));
            }
            self.killed = true;
            // Whatever catches the error: the next tick raises it again.
            LEFT.set(1);
            return Err(Raise::reply(&format!("Script killed by user with {kill}...")));
        }
        Ok(self.slice_began.elapsed() >= SLICE)
    }
}
