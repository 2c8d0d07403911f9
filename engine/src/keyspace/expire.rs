//! Finding dead keys in bounded steps.

use super::Keyspace;
use crate::key::Key;

/// Keys found dead, with their databases and positions. Reused from call to call.
#[derive(Debug, Default)]
pub struct DeadKeys {
    bytes: Vec<u8>,
    /// Database, position, where the key ends in `bytes`.
    keys: Vec<(usize, u64, usize)>,
}

impl DeadKeys {
    /// How many.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Each with its database.
    pub fn iter(&self) -> impl Iterator<Item = (usize, Key<'_>)> {
        let mut start = 0;
        self.keys.iter().map(move |&(db, position, end)| {
            let bytes = &self.bytes[start..end];
            start = end;
            (db, Key { bytes, position })
        })
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.keys.clear();
    }

    pub(super) fn push(&mut self, db: usize, key: Key<'_>) {
        self.bytes.extend_from_slice(key.bytes);
        self.keys.push((db, key.position, self.bytes.len()));
    }
}

/// How far a search for dead keys came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExpirePass {
    /// The bound of this call was reached; the next call goes on from here.
    More,
    /// The end of the last database was reached: every key that was dead when its place was visited has been reported. The next
    /// call begins a new pass.
    Complete,
}

impl Keyspace {
    /// Replaces `dead` by keys whose deadline is at or before `now_ms`, going on where the last call stopped, in bounded time: about
    /// `limit` keys at most, and a bounded number of others looked at. Nothing is deleted: the caller removes what it finds, and what
    /// it does not remove is found again by a later pass.
    pub fn expired(&mut self, now_ms: u64, limit: usize, dead: &mut DeadKeys) -> ExpirePass {
        dead.clear();
        for (number, db) in self.dbs.iter().enumerate() {
            for ((position, key), taken) in &db.map {
                if dead.len() >= limit {
                    return ExpirePass::More;
                }
                if taken.deadline.is_some_and(|at| at <= now_ms) {
                    dead.push(number, Key { bytes: key, position: *position });
                }
            }
        }
        ExpirePass::Complete
    }
}
