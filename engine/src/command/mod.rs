//! Commands: one declaration each, the arguments they take, the replies they write, the effects they leave.
//!
//! A command never touches a socket, a clock or the disk. It checks everything before its first change, changes the
//! keyspace, hands its canonical effect to [`Call::effect`], and writes its reply.

mod args;
mod bitmaps;
mod blocking;
mod counters;
pub mod dump;
mod error;
mod expiry;
mod flush;
mod function;
mod geo;
mod hashes;
mod hyperloglog;
mod index_range;
#[cfg(test)]
mod key_tests;
mod keys;
mod lcs;
mod lists;
mod move_keys;
mod msetex;
mod names;
pub(crate) mod object;
mod ranges;
#[cfg(test)]
mod record_tests;
#[cfg(test)]
pub(crate) mod replay_tests;
mod reply;
mod sample;
mod scan;
mod sets;
mod sort;
mod sorted_sets;
mod spec;
mod streams;
#[cfg(test)]
mod string_tests;
mod strings;
pub mod table;
#[cfg(test)]
pub(crate) mod testing;
mod typed;
mod walk;

pub use args::Args;
pub use blocking::{Blocking, timeout_ms};
pub use error::CommandError;
pub(crate) use hashes::reclaim_fields;
pub use names::NameIndex;
pub use object::{encoding, idle_seconds};
pub use reply::{NoReply, Reply};
pub use spec::counted_keys;
pub use spec::{Arity, Categories, Flags, Group, Keys, Spec};

use crate::engine::Engine;
use crate::key::Key;
use crate::log::Lsn;

/// A command on data: its declaration and the function that runs it.
pub struct Command {
    /// Name, arity, flags, keys, documentation: serves dispatch, COMMAND, ACL and the docs.
    pub spec: Spec,
    /// What it does. `Err` means nothing was changed and no reply was begun.
    pub run: Run,
}

/// The body of a command on data.
pub type Run = fn(&mut Call<'_>, &Args<'_>, &mut dyn Reply) -> Result<(), CommandError>;

/// What the engine keeps per client.
#[derive(Debug, Default)]
pub struct Session {
    /// The selected database.
    pub db: usize,
    /// Replies given so far may leave once the policy holds for this LSN (0: at once).
    pub promise: Lsn,
    /// CLIENT NO-TOUCH: reads do not count as use of a key.
    pub no_touch: bool,
    /// The client's number, for those who do not want to hear of their own changes; 0 is nobody.
    pub client: u64,
    /// Whether commands may block, and whether the last one wants to.
    pub blocking: Blocking,
    /// What SORT would give in no order of its own is put in one: for scripts, which are to do the same wherever they run.
    pub ordered: bool,
}

/// One command's run: the engine and the client it runs for.
pub struct Call<'a> {
    /// The single-writer engine.
    pub engine: &'a mut Engine,
    /// The client.
    pub session: &'a mut Session,
}

impl Call<'_> {
    /// Records a change as canonical command words, in the selected database. All effects of one command (or
    /// transaction) form one atomic record.
    #[inline]
    pub fn effect(&mut self, words: &[&[u8]]) {
        self.effect_in(self.session.db, words);
    }

    /// [`Call::effect`] in another database.
    pub fn effect_in(&mut self, db: usize, words: &[&[u8]]) {
        self.engine.effect(db, words);
    }

    /// [`Call::effect`] of the words of `head`, then those of `tail`: a canonical name in front of the client's own words.
    pub fn effect_parts(&mut self, head: &[&[u8]], tail: &[&[u8]]) {
        self.engine.effect_parts(self.session.db, head, tail);
    }

    /// The key at `args[index]`, hashed at most once.
    #[inline]
    pub fn key<'k>(&self, args: &Args<'k>, index: usize) -> Key<'k> {
        args.key(index, &self.engine.keyspace.seed())
    }
}
