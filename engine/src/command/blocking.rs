//! What commands that may block have in common: their timeouts, and asking to block. How it goes on: `waiting.rs`.

use super::{Args, Call, CommandError};
use crate::key::Key;
use crate::number::{Extended, parse_integer};
use crate::waiting::{Block, Request};

/// Whether a session's commands may block, and what became of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Blocking {
    /// They may not: they answer as if their time were up.
    #[default]
    Never,
    /// They may: the shell can park the client.
    Allowed,
    /// The last command wants to. It has written no reply.
    Requested(Box<Request>),
    /// A parked command is run again.
    Again,
    /// It found nothing and waits on.
    Still,
}

impl Call<'_> {
    /// Whether the command may block. If not, it answers what it would answer when its time is up.
    pub fn may_block(&self) -> bool {
        self.session.blocking != Blocking::Never
    }

    /// Has the command wait for one of `keys`: it writes no reply, changes nothing, and is run again when it may be served.
    pub fn block<'k>(&mut self, block: Block, keys: impl IntoIterator<Item = &'k [u8]>) {
        debug_assert!(self.may_block(), "asked before");
        self.session.blocking = match self.session.blocking {
            Blocking::Again | Blocking::Still => Blocking::Still,
            _ => {
                let seed = self.engine.keyspace.seed();
                let keys = keys.into_iter().map(|bytes: &[u8]| -> Key<'_> { seed.key(bytes) });
                Blocking::Requested(Box::new(Request::new(block, keys)))
            }
        };
    }

    /// A timeout in seconds, maybe with a fraction, in ms; `None` is for ever.
    ///
    /// # Errors
    /// Redis' own: not a float, negative, out of range.
    pub fn timeout_seconds(&self, args: &Args<'_>, index: usize) -> Result<Option<u64>, CommandError> {
        let word = args.get(index);
        let seconds = Extended::parse(word)
            .ok_or_else(|| CommandError::Text("ERR timeout is not a float or out of range".into()))?;
        let ms = seconds.thousandfold().ok_or_else(|| CommandError::Text("ERR timeout is out of range".into()))?;
        timeout(ms, self.engine.now_ms)
    }

    /// [`timeout_ms`] of a word, from now on.
    ///
    /// # Errors
    /// Redis' own.
    pub fn timeout_ms(&self, args: &Args<'_>, index: usize) -> Result<Option<u64>, CommandError> {
        timeout_ms(args.get(index), self.engine.now_ms)
    }
}

/// A timeout in ms from `now_ms` on; `None` is for ever.
///
/// # Errors
/// Redis' own: not an integer, negative, out of range.
pub fn timeout_ms(word: &[u8], now_ms: u64) -> Result<Option<u64>, CommandError> {
    let ms = parse_integer(word)
        .ok_or_else(|| CommandError::Text("ERR timeout is not an integer or out of range".into()))?;
    timeout(ms, now_ms)
}

/// Fails if `ms` from now is beyond the end of time.
fn timeout(ms: i64, now_ms: u64) -> Result<Option<u64>, CommandError> {
    match ms {
        0 => Ok(None),
        ..0 => Err(CommandError::Text("ERR timeout is negative".into())),
        _ if ms.checked_add_unsigned(now_ms).is_none() => Err(CommandError::Text("ERR timeout is out of range".into())),
        _ => Ok(Some(ms as u64)),
    }
}
