//! What is large and no more: freed in steps, away from the engine's lock, so that nobody waits for it.
//!
//! 1. A step frees a bounded number of blocks, whatever the value looked like: a collection is taken apart chunk by chunk, a flushed
//!    database segment by segment.
//! 2. What is not freed yet is counted ([`Dead::bytes`]): the memory limit holds for it as well.

use super::Db;
use super::blob::{Blob, Form};
use super::directory::last_of;
use super::index::dismantled;
use crate::value::{Collection, Debris};
use std::fmt;

/// A large value, or a whole database, on its way out. Dropping it frees it at once.
pub struct Dead {
    what: What,
    bytes: u64,
    objects: u64,
}

enum What {
    /// A key and its collection.
    Entry(Blob),
    /// What is left of collections.
    Debris(Vec<Box<dyn Debris>>),
    /// A database, whose entries before a position are gone, and what is left of its collections.
    Db(Box<Db>, Option<u64>, Vec<Box<dyn Debris>>),
}

impl fmt::Debug for Dead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dead").field("bytes", &self.bytes).field("objects", &self.objects).finish_non_exhaustive()
    }
}

impl Dead {
    pub(super) fn entry(blob: Blob) -> Dead {
        Dead { bytes: blob.view().used_bytes(), what: What::Entry(blob), objects: 1 }
    }

    /// A database that was flushed.
    pub fn database(db: Db) -> Dead {
        Dead { bytes: db.used_bytes(), objects: db.len() as u64, what: What::Db(Box::new(db), Some(0), Vec::new()) }
    }

    /// Bytes still to be freed, by size classes of the allocator.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Keys that this was.
    pub fn objects(&self) -> u64 {
        self.objects
    }

    /// Frees about `blocks` blocks more; says whether everything is gone.
    pub fn free(&mut self, blocks: usize) -> bool {
        let mut budget = blocks;
        match &mut self.what {
            What::Entry(blob) => {
                let mut debris = Vec::new();
                take_apart(blob, &mut debris);
                self.what = What::Debris(debris);
                false
            }
            What::Debris(debris) => {
                let freed = free_some(debris, &mut budget);
                let gone = debris.is_empty();
                self.bytes = if gone { 0 } else { self.bytes.saturating_sub(freed as u64) };
                gone
            }
            What::Db(db, next, debris) => {
                let mut freed = free_some(debris, &mut budget) as u64;
                while let Some(position) = *next
                    && budget > 0
                {
                    let before = db.index.directory.used_bytes();
                    let Some((owned, depth)) = db.index.directory.take(position) else {
                        *next = None;
                        break;
                    };
                    *next = last_of(position, depth).checked_add(1);
                    for mut blob in dismantled(owned, depth) {
                        freed += blob.view().used_bytes();
                        budget = budget.saturating_sub(1);
                        if blob.view().is_large() {
                            freed -= take_apart(&mut blob, debris);
                        }
                    }
                    freed += before.saturating_sub(db.index.directory.used_bytes());
                }
                freed += free_some(debris, &mut budget) as u64;
                let gone = next.is_none() && debris.is_empty();
                self.bytes = if gone { 0 } else { self.bytes.saturating_sub(freed) };
                if gone {
                    self.what = What::Debris(Vec::new());
                }
                gone
            }
        }
    }
}

/// Takes the collection out of a blob, for later; says how many bytes those are.
fn take_apart(blob: &mut Blob, debris: &mut Vec<Box<dyn Debris>>) -> u64 {
    if blob.view().form() != Form::Chunks {
        return 0;
    }
    let Some(collection) = blob.chunks() else { unreachable!("the form says that there are chunks") };
    let bytes = collection.used_bytes() as u64;
    let empty = Collection::new(collection.kind());
    std::mem::replace(collection, empty).into_debris(debris);
    bytes
}

fn free_some(debris: &mut Vec<Box<dyn Debris>>, budget: &mut usize) -> usize {
    let mut freed = 0;
    while *budget > 0
        && let Some(last) = debris.last_mut()
    {
        freed += last.free(budget);
        if last.is_gone() {
            debris.pop();
        }
    }
    freed
}
