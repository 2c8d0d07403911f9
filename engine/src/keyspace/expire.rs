//! Finding dead keys in bounded steps, without touching entries that have no deadline.
//!
//! Every page of the directory and every segment states a time before which none of its deadlines lies. A pass looks at pages, in those
//! that are due at segments, in those at the slots marked as having a deadline, and states the bounds anew.

use super::directory::{SegmentMut, SegmentRef, last_of};
use super::{Db, Keyspace};
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

/// Where the search goes on.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    db: usize,
    position: u64,
}

/// Segments whose header is looked at in one call at most, about.
const SEGMENTS_MAX: usize = 2048;
/// Blobs with a deadline that are looked at in one call at most, about.
const BLOBS_MAX: usize = 4096;

impl Db {
    /// Searches from `position` on; says where to go on, `None` at the end.
    fn expired_from(
        &mut self,
        mut position: u64,
        now_ms: u64,
        budget: &mut (usize, usize),
        found: &mut dyn FnMut(Key<'_>) -> bool,
    ) -> Option<u64> {
        let seed = *self.index.seed();
        let directory = &mut self.index.directory;
        let mut blobs = Vec::new();
        loop {
            let page = directory.page_deadlines(position)?;
            budget.0 = budget.0.saturating_sub(1);
            if page.earliest > now_ms {
                position = page.last.checked_add(1)?;
                if budget.0 == 0 {
                    return Some(position);
                }
                continue;
            }
            // The whole page's bound can be stated anew only by one who has seen all of it.
            let whole = position == page.first;
            let mut page_earliest = u64::MAX;
            loop {
                let depth = directory.depth(position)?;
                let mut more = true;
                let mut earliest = match directory.get(position)? {
                    SegmentRef::Lines(lines) => lines.earliest(),
                    SegmentRef::Crowded(crowded) => crowded.earliest,
                };
                budget.0 = budget.0.saturating_sub(1);
                if earliest <= now_ms {
                    blobs.clear();
                    match directory.get(position)? {
                        SegmentRef::Lines(lines) => blobs.extend(lines.mortal()),
                        SegmentRef::Crowded(crowded) => blobs.extend(crowded.from(0).map(|(_, blob)| blob)),
                    }
                    blobs.iter().for_each(|blob| blob.prefetch());
                    budget.1 = budget.1.saturating_sub(blobs.len());
                    // Dead ones stay in the bound until they are gone: whoever removes them may fail to.
                    earliest = u64::MAX;
                    for blob in &blobs {
                        let Some(deadline) = blob.wakes_at() else { continue };
                        earliest = earliest.min(deadline);
                        if deadline <= now_ms {
                            more &= found(Key { bytes: blob.key(), position: seed.position(blob.key()) });
                        }
                    }
                    blobs = Vec::new();
                    match directory.get_mut(position)? {
                        SegmentMut::Lines(mut lines) => lines.set_earliest(earliest),
                        SegmentMut::Crowded(crowded) => crowded.earliest = earliest,
                    }
                }
                page_earliest = page_earliest.min(earliest);
                let last = last_of(position, depth);
                if last == page.last {
                    if whole {
                        directory.set_page_earliest(position, page_earliest);
                    }
                    position = last.checked_add(1)?;
                    if !more || budget.0 == 0 || budget.1 == 0 {
                        return Some(position);
                    }
                    break;
                }
                position = last + 1;
                if !more || budget.0 == 0 || budget.1 == 0 {
                    return Some(position);
                }
            }
        }
    }
}

impl Keyspace {
    /// Replaces `dead` by keys that have died, or that hold fields that have: whose deadline is at or before `now_ms`, going on where the last call stopped, in bounded time: about
    /// `limit` keys at most (those of one segment more), and a bounded number of others looked at. Nothing is deleted: the caller
    /// removes what it finds, and what it does not remove is found again by a later pass. Blobs without a deadline are not touched.
    pub fn expired(&mut self, now_ms: u64, limit: usize, dead: &mut DeadKeys) -> ExpirePass {
        dead.clear();
        let mut budget = (SEGMENTS_MAX, BLOBS_MAX);
        while let Some(db) = self.dbs.get_mut(self.expiry.db) {
            if dead.len() >= limit || budget.0 == 0 || budget.1 == 0 {
                return ExpirePass::More;
            }
            let number = self.expiry.db;
            let next = if db.wakeful() == 0 {
                None
            } else {
                db.expired_from(self.expiry.position, now_ms, &mut budget, &mut |key| {
                    dead.push(number, key);
                    dead.len() < limit
                })
            };
            match next {
                Some(position) => self.expiry.position = position,
                None => self.expiry = Cursor { db: number + 1, position: 0 },
            }
        }
        self.expiry = Cursor::default();
        ExpirePass::Complete
    }

    /// The next call of [`Keyspace::expired`] goes on here: not everything that it found from here on was removed.
    pub fn expire_from(&mut self, db: usize, position: u64) {
        self.expiry = Cursor { db, position };
    }
}
