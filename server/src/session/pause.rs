//! CLIENT PAUSE: commands wait, all of them or those that may write, until a time or CLIENT UNPAUSE.
//!
//! 1. A command that has to wait is not begun: it stays in its connection's buffer and is looked at again when the pause is over.
//! 2. While writes are paused nothing changes by itself either: keys are hidden when their deadline has passed, and deleted later.
//! 3. A server that is not paused pays one load of [`Pause::level`] for each command.

use crate::client::Client;
use crate::command::{Answer, EngineLock, Pending, ServerCall};
use crate::dispatch::Plan;
use crate::scripting::only_reads_known;
use crate::server::Server;
use firn_engine::command::{Args, CommandError, Flags, Reply};
use firn_engine::number::parse_integer;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// Which commands wait.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(crate) enum Level {
    /// None.
    None = 0,
    /// Those that may change data.
    Write = 1,
    /// All.
    All = 2,
}

/// The server's pause.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    /// What was asked for: a [`Level`]. It may have ended by now.
    level: AtomicU8,
    /// When it ends, in ms of `Server::clock_ms`.
    until_ms: Mutex<u64>,
    /// Wakes those who wait, when the pause changes.
    changed: Notify,
}

impl Pause {
    /// Which commands may have to wait.
    #[inline]
    pub(crate) fn level(&self) -> Level {
        match self.level.load(Ordering::Relaxed) {
            0 => Level::None,
            1 => Level::Write,
            _ => Level::All,
        }
    }

    /// How long the pause lasts for commands of a level; `None` if it does not hold them.
    fn left(&self, level: Level, now_ms: u64) -> Option<Duration> {
        let until_ms = self.until_ms.lock();
        if *until_ms <= now_ms {
            self.level.store(Level::None as u8, Ordering::Relaxed);
            return None;
        }
        // Commands that may write wait at both levels, others only when all do.
        let holds = self.level() >= level;
        holds.then(|| Duration::from_millis(*until_ms - now_ms))
    }

    /// Pauses. A pause that is stricter or longer stays so.
    fn begin(&self, level: Level, until_ms: u64) {
        let mut until = self.until_ms.lock();
        *until = until_ms.max(*until);
        self.level.store(level.max(self.level()) as u8, Ordering::Relaxed);
        drop(until);
        self.changed.notify_waiters();
    }

    fn end(&self) {
        let mut until = self.until_ms.lock();
        *until = 0;
        self.level.store(Level::None as u8, Ordering::Relaxed);
        drop(until);
        self.changed.notify_waiters();
    }
}

/// Whether a command may change data, or send something to others, and so waits while writes are paused.
fn may_write(server: &Server, client: &Client, lock: &mut EngineLock, plan: &Plan, words: &[&[u8]]) -> bool {
    let name = server.commands.entry(plan.entry).spec.name;
    let flags = match &client.transaction {
        Some(queue) if name == "EXEC" => queue.flags(),
        _ => plan.flags,
    };
    flags.has(Flags::WRITE) || flags.has(Flags::MAY_REPLICATE) && !only_reads_known(server.scripting, lock, name, words)
}

/// What a command that has to wait awaits; `None` if it need not. Only for a paused server.
#[cold]
pub(crate) fn postpone(
    server: &Arc<Server>,
    client: &Client,
    lock: &mut EngineLock,
    plan: &Plan,
    words: &[&[u8]],
) -> Option<Pending> {
    let level = if may_write(server, client, lock, plan, words) { Level::Write } else { Level::All };
    server.pause.left(level, server.clock_ms())?;
    let server = server.clone();
    Some(Box::pin(async move {
        loop {
            // Before it is looked: a change in between is not missed.
            let changed = server.pause.changed.notified();
            let Some(left) = server.pause.left(level, server.clock_ms()) else { return Answer::Retry };
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(left) => {}
            }
        }
    }))
}

/// `CLIENT PAUSE timeout [WRITE | ALL]`.
pub(super) fn pause(call: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let level = match args.len() {
        3 => Level::All,
        _ if args.is(3, "write") => Level::Write,
        _ if args.is(3, "all") => Level::All,
        _ => return Err(CommandError::text("ERR CLIENT PAUSE mode must be WRITE or ALL")),
    };
    let ms = parse_integer(args.get(2))
        .ok_or_else(|| CommandError::text("ERR timeout is not an integer or out of range"))?;
    let ms = u64::try_from(ms).map_err(|_| CommandError::text("ERR timeout is negative"))?;
    let now_ms = call.server.clock_ms();
    let until_ms = now_ms.checked_add(ms).filter(|&until| i64::try_from(until).is_ok_and(|until| until < i64::MAX / 2));
    let until_ms = until_ms.ok_or_else(|| CommandError::text("ERR timeout is out of range"))?;
    call.server.pause.begin(level, until_ms);
    let hold_ms = call.server.pause.left(Level::Write, now_ms).unwrap_or_default().as_millis() as u64;
    call.engine().pause_expiry(hold_ms);
    reply.ok();
    Ok(())
}

/// `CLIENT UNPAUSE`.
pub(super) fn unpause(call: &mut ServerCall<'_, '_>, reply: &mut dyn Reply) {
    call.engine().pause_expiry(0);
    call.server.pause.end();
    reply.ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_holds_what_it_says_for_as_long_as_the_longest_asked() {
        let pause = Pause::default();
        let left = |level, now_ms| pause.left(level, now_ms).map(|left| left.as_millis());
        assert_eq!((pause.level(), left(Level::Write, 0)), (Level::None, None));
        pause.begin(Level::Write, 100);
        assert_eq!((left(Level::Write, 40), left(Level::All, 40)), (Some(60), None), "reads go on");
        pause.begin(Level::All, 50);
        assert_eq!((left(Level::Write, 40), left(Level::All, 40)), (Some(60), Some(60)));
        pause.begin(Level::Write, 60);
        assert_eq!(left(Level::All, 40), Some(60), "nothing gets shorter or milder");
        assert_eq!((left(Level::All, 100), pause.level()), (None, Level::None), "it ends by itself");
        pause.begin(Level::Write, 200);
        assert_eq!(left(Level::All, 150), None, "and leaves nothing behind");
        pause.end();
        assert_eq!(left(Level::Write, 150), None);
    }
}
