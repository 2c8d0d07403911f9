//! One database: entries by key, with exact counts of what they take.

use super::blob::{Blob, BlobRef, Body, Form, Traits};
use super::capture::DbCapture;
use super::dead::Dead;
use super::directory::{SegmentRef, last_of};
use super::index::Index;
use super::prefixes::Prefixes;
use super::segment::Place;
use super::usage::Usage;
use super::{Deadline, Entry, Value, entry_digest};
use crate::key::{HashSeed, Key};
use crate::value::{Collection, Kind};
use std::fmt;

/// A string that was edited in place and is longer than this stays in a buffer of its own, which grows without a copy each time.
const EDITED_INLINE_MAX: usize = 192;
/// A scratch buffer of more than this many bytes is not kept.
const SCRATCH_MAX: usize = 64 * 1024;

/// An entry taken out of the keyspace, whole (RENAME, MOVE). Dropping it frees it; it can be sent to another thread for that.
#[derive(Clone)]
pub struct Taken {
    pub(super) blob: Blob,
}

impl Taken {
    /// Its deadline, as [`Entry::deadline`].
    pub fn deadline(&self) -> Option<u64> {
        self.blob.view().deadline()
    }

    /// Its value.
    pub fn value(&self) -> Value<'_> {
        self.blob.view().value()
    }
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Taken").field(&self.blob.view().entry()).finish()
    }
}

/// What [`Db::edit_collection`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Edited<T> {
    /// What the closure gave.
    pub result: T,
    /// There was no such key before.
    pub created: bool,
    /// The key was removed, because nothing was left.
    pub removed: bool,
}

/// One database.
pub struct Db {
    pub(super) index: Index,
    pub(super) counts: Counts,
    scratch: Vec<u8>,
    /// Large collections that were deleted or replaced, to be dropped away from the engine's lock.
    pub(super) buried: Vec<Dead>,
    /// Bytes of those.
    pub(super) buried_bytes: u64,
    pub(super) capture: Option<Box<DbCapture>>,
    /// What [`Entry::access`] becomes when an entry is written or used.
    usage: Usage,
    /// Statistics by prefix, if they are on and this database is the one that changes.
    pub(super) prefixes: Option<Box<Prefixes>>,
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let segments = self.index.directory.segments();
        f.debug_struct("Db").field("counts", &self.counts).field("segments", &segments).finish_non_exhaustive()
    }
}

/// What is known of all entries without looking at them.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Counts {
    pub(super) entries: usize,
    /// Entries with a deadline.
    pub(super) mortal: usize,
    /// Sum of the deadlines.
    pub(super) deadlines: u128,
    /// Entries that have a deadline, or a field with one.
    pub(super) wakeful: usize,
    /// Bytes of blobs and of values outside them.
    pub(super) bytes: u64,
}

impl Counts {
    /// Counts of one entry.
    #[inline]
    pub(super) fn of(blob: BlobRef<'_>) -> Counts {
        let deadline = blob.deadline();
        Counts {
            entries: 1,
            mortal: usize::from(deadline.is_some()),
            deadlines: u128::from(deadline.unwrap_or(0)),
            wakeful: usize::from(blob.wakes_at().is_some()),
            bytes: blob.used_bytes(),
        }
    }

    #[inline]
    pub(super) fn add(&mut self, other: Counts) {
        self.entries += other.entries;
        self.mortal += other.mortal;
        self.deadlines += other.deadlines;
        self.wakeful += other.wakeful;
        self.bytes += other.bytes;
    }

    #[inline]
    fn subtract(&mut self, other: Counts) {
        self.entries -= other.entries;
        self.mortal -= other.mortal;
        self.deadlines -= other.deadlines;
        self.wakeful -= other.wakeful;
        self.bytes -= other.bytes;
    }
}

impl Db {
    pub(super) fn new(seed: HashSeed) -> Db {
        Db {
            index: Index::new(seed),
            counts: Counts::default(),
            scratch: Vec::new(),
            buried: Vec::new(),
            buried_bytes: 0,
            capture: None,
            usage: Usage::NOTHING,
            prefixes: None,
        }
    }

    /// The entry of `key`, whether its deadline has passed or not: commands use `Call::read` and `Call::write`, which look at the clock.
    #[inline]
    pub fn get(&self, key: Key<'_>) -> Option<Entry<'_>> {
        self.index.get(key).map(BlobRef::entry)
    }

    /// This database, where entries that are written or used from now on remember it ([`Entry::access`]).
    #[inline]
    pub fn at(&mut self, usage: Usage) -> &mut Db {
        self.usage = usage;
        self
    }

    /// [`Db::get`], marking the entry as used now: see [`Db::at`].
    #[inline]
    pub fn touch(&mut self, key: Key<'_>) -> Option<Entry<'_>> {
        let mut place = self.index.place(key)?;
        use_place(&mut place, self.usage);
        Some(place.into_view().entry())
    }

    /// Sets a string, creating or replacing the entry; `edited` becomes false.
    pub fn set_string(&mut self, key: Key<'_>, value: &[u8], deadline: Deadline) {
        self.before_write(key.position);
        let Some(mut place) = self.index.place(key) else {
            let deadline = if let Deadline::At(ms) = deadline { Some(ms) } else { None };
            let traits = Traits { deadline, edited: false, access: self.usage.fresh() };
            let blob = Blob::new(key.bytes, Body::Copy(Form::String, value), traits);
            self.link(key.position, blob);
            return;
        };
        let before = Counts::of(place.view());
        let old = place.view().traits();
        let deadline = match deadline {
            Deadline::Clear => None,
            Deadline::Keep => old.deadline,
            Deadline::At(ms) => Some(ms),
        };
        let access = self.usage.touched(old.access);
        let overwritten = place.change(|blob| {
            if access != old.access {
                blob.set_access(access);
            }
            blob.overwrite(Form::String, value, deadline, false)
        });
        let mut old = None;
        if !overwritten {
            let traits = Traits { deadline, edited: false, access };
            old = Some(place.replace(Blob::new(key.bytes, Body::Copy(Form::String, value), traits)));
        }
        let after = Counts::of(place.view());
        self.recount(key, before, after);
        if let Some(old) = old {
            self.bury(old);
        }
    }

    /// Puts a blob in whose key is not there.
    fn link(&mut self, position: u64, mut blob: Blob) {
        let counts = Counts::of(blob.view());
        let deadline = blob.view().wakes_at();
        if let Some(prefixes) = &mut self.prefixes {
            prefixes.change(blob.view().key(), position, None, Some(counts.bytes));
        }
        while let Err(back) = self.index.try_insert(position, blob) {
            blob = back;
            self.before_relayout(position);
            self.index.make_room(position);
        }
        self.counts.add(counts);
        if let Some(deadline) = deadline {
            self.index.directory.note_deadline(position, deadline);
        }
    }

    /// After an entry changed.
    #[inline]
    fn recount(&mut self, key: Key<'_>, before: Counts, after: Counts) {
        let position = key.position;
        if let Some(prefixes) = &mut self.prefixes
            && before.bytes != after.bytes
        {
            prefixes.change(key.bytes, position, Some(before.bytes), Some(after.bytes));
        }
        self.counts.add(after);
        self.counts.subtract(before);
        if after.mortal != 0 && before.deadlines != after.deadlines || after.mortal > before.mortal {
            self.index.directory.note_deadline(position, after.deadlines as u64);
        }
    }

    /// Drops a blob, or has it dropped elsewhere if that would take long.
    #[inline]
    fn bury(&mut self, blob: Blob) {
        if blob.view().is_large() && self.buried.len() < super::DEAD_MAX {
            let dead = Dead::entry(blob);
            self.buried_bytes += dead.bytes();
            self.buried.push(dead);
        }
    }

    /// Changes the collection of `key`, which must be of type `kind` if it exists; creates one if it does not, and removes it if nothing
    /// is left in it afterwards.
    ///
    /// # Panics
    /// If the key holds another type.
    pub fn edit_collection<T>(
        &mut self,
        key: Key<'_>,
        kind: Kind,
        edit: impl FnOnce(&mut Collection) -> T,
    ) -> Edited<T> {
        self.before_write(key.position);
        let usage = self.usage;
        let Some(mut place) = self.index.place(key) else {
            let mut collection = Collection::new(kind);
            let result = edit(&mut collection);
            let created = !collection.is_gone();
            if created {
                let traits = Traits { deadline: None, edited: false, access: usage.fresh() };
                self.link(key.position, blob_of(key.bytes, collection, traits));
            }
            return Edited { result, created, removed: false };
        };
        assert_eq!(place.view().value().kind(), kind, "the type must be checked before a collection is changed");
        use_place(&mut place, usage);
        let before = Counts::of(place.view());
        let woke = place.view().wakes_at();
        let traits = place.view().traits();
        let (result, gone) = match place.view().form() {
            Form::Chunks => {
                let (result, gone, packed) = place.change(|blob| {
                    let Some(collection) = blob.chunks() else { unreachable!("the form says that there are chunks") };
                    let result = edit(collection);
                    let gone = collection.is_gone();
                    let packed = (!gone && collection.is_packed())
                        .then(|| std::mem::replace(collection, Collection::new(kind)).into_packed());
                    (result, gone, packed)
                });
                if let Some(Ok((packing, mut bytes))) = packed {
                    drop(place.replace(packed_blob(key.bytes, packing, &mut bytes, traits)));
                }
                (result, gone)
            }
            Form::Packed(packing) => {
                let mut buffer = std::mem::take(&mut self.scratch);
                buffer.clear();
                buffer.extend_from_slice(place.view().bytes());
                let mut collection = Collection::from_packed(packing, buffer);
                let result = edit(&mut collection);
                let gone = collection.is_gone();
                match collection.into_packed() {
                    Ok((packing, mut bytes)) => {
                        let form = Form::Packed(packing);
                        if !gone && !place.change(|blob| blob.overwrite(form, &bytes, traits.deadline, false)) {
                            drop(place.replace(packed_blob(key.bytes, packing, &mut bytes, traits)));
                        }
                        if bytes.capacity() <= SCRATCH_MAX {
                            self.scratch = bytes;
                        }
                    }
                    Err(collection) => {
                        drop(place.replace(Blob::new(key.bytes, Body::Chunks(Box::new(collection)), traits)));
                    }
                }
                (result, gone)
            }
            Form::String => unreachable!("the type was just checked"),
        };
        let wakes = place.view().wakes_at();
        if wakes.is_some() != woke.is_some() {
            place.remark();
        }
        let after = Counts::of(place.view());
        self.recount(key, before, after);
        if let Some(wakes) = wakes
            && woke.is_none_or(|woke| wakes < woke)
        {
            self.index.directory.note_deadline(key.position, wakes);
        }
        if gone {
            self.remove(key);
        }
        Edited { result, created: false, removed: gone }
    }

    /// Puts a collection that is not empty under `key`, replacing what is there.
    pub fn put_collection(&mut self, key: Key<'_>, collection: Collection, deadline: Option<u64>) {
        let traits = Traits { deadline, edited: false, access: self.usage.fresh() };
        self.put(key, Taken { blob: blob_of(key.bytes, collection, traits) });
    }

    /// Changes a string in place, creating an empty one if missing; the deadline stays, `edited` becomes true. For APPEND,
    /// SETRANGE, SETBIT: repeated growth costs amortized time, not a copy each.
    pub fn edit_string<T>(&mut self, key: Key<'_>, edit: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        self.before_write(key.position);
        let mut buffer = std::mem::take(&mut self.scratch);
        buffer.clear();
        let Some(mut place) = self.index.place(key) else {
            let result = edit(&mut buffer);
            let traits = Traits { deadline: None, edited: true, access: self.usage.fresh() };
            let blob = edited_blob(key.bytes, &mut buffer, traits);
            self.keep_scratch(buffer);
            self.link(key.position, blob);
            return result;
        };
        use_place(&mut place, self.usage);
        let before = Counts::of(place.view());
        // The closure is called in exactly one of two places.
        let mut edit = Some(edit);
        let in_place = place.change(|blob| {
            let vector = blob.edit()?;
            edit.take().map(|edit| edit(vector))
        });
        let result = match (in_place, edit) {
            (Some(result), _) => result,
            (None, Some(edit)) => {
                buffer.extend_from_slice(place.view().bytes());
                let result = edit(&mut buffer);
                let traits = Traits { edited: true, ..place.view().traits() };
                let small = buffer.len() <= EDITED_INLINE_MAX;
                if !(small && place.change(|blob| blob.overwrite(Form::String, &buffer, traits.deadline, true))) {
                    let blob = edited_blob(key.bytes, &mut buffer, traits);
                    place.replace(blob);
                }
                result
            }
            (None, None) => unreachable!("the closure is taken only to be called"),
        };
        let after = Counts::of(place.view());
        self.keep_scratch(buffer);
        self.recount(key, before, after);
        result
    }

    fn keep_scratch(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() <= SCRATCH_MAX {
            self.scratch = buffer;
        }
    }

    /// Sets or clears the deadline; false if the key does not exist.
    pub fn set_deadline(&mut self, key: Key<'_>, deadline: Option<u64>) -> bool {
        self.before_write(key.position);
        let Some(mut place) = self.index.place(key) else { return false };
        let before = Counts::of(place.view());
        let traits = Traits { deadline, ..place.view().traits() };
        let done = match deadline {
            Some(ms) => place.change(|blob| blob.replace_deadline(ms)),
            None => place.view().deadline().is_none(),
        };
        if !done {
            place.remake(traits);
        }
        let after = Counts::of(place.view());
        self.recount(key, before, after);
        true
    }

    /// Sets the bits of use ([`Entry::access`]) of a key; false if it does not exist. Not a change of the data.
    pub fn set_access(&mut self, key: Key<'_>, access: u32) -> bool {
        let Some(mut place) = self.index.place(key) else { return false };
        place.change(|blob| blob.set_access(access));
        true
    }

    /// Removes the entry; true if there was one. A large one is freed elsewhere.
    pub fn remove(&mut self, key: Key<'_>) -> bool {
        match self.take(key) {
            Some(taken) => {
                self.bury(taken.blob);
                true
            }
            None => false,
        }
    }

    /// Removes the entry and gives it away.
    pub fn take(&mut self, key: Key<'_>) -> Option<Taken> {
        self.before_write(key.position);
        let (blob, sparse) = self.index.remove(key);
        let blob = blob?;
        let counts = Counts::of(blob.view());
        self.counts.subtract(counts);
        if let Some(prefixes) = &mut self.prefixes {
            prefixes.change(key.bytes, key.position, Some(counts.bytes), None);
        }
        if sparse {
            self.shrink(key.position);
        }
        Some(Taken { blob })
    }

    /// Makes the index smaller around a position where an entry was removed.
    #[cold]
    #[inline(never)]
    fn shrink(&mut self, position: u64) {
        self.before_relayout(position);
        self.index.shrink(position);
        while let Some(buddy) = self.index.buddy(position) {
            self.before_relayout(buddy);
            if !self.index.merge(position, buddy) {
                return;
            }
        }
    }

    /// Puts an entry under `key`, replacing what is there.
    pub fn put(&mut self, key: Key<'_>, taken: Taken) {
        self.before_write(key.position);
        let mut blob = taken.blob;
        if blob.view().key() != key.bytes {
            let traits = blob.view().traits();
            blob = blob.remade(Some(key.bytes), traits);
        }
        let Some(mut place) = self.index.place(key) else {
            self.link(key.position, blob);
            return;
        };
        let before = Counts::of(place.view());
        let after = Counts::of(blob.view());
        let wakes = blob.view().wakes_at();
        let old = place.replace(blob);
        self.recount(key, before, after);
        if let Some(wakes) = wakes {
            self.index.directory.note_deadline(key.position, wakes);
        }
        self.bury(old);
    }

    /// A copy of the entry (COPY).
    pub fn duplicate(&self, key: Key<'_>) -> Option<Taken> {
        let blob = self.index.get(key)?;
        Some(Taken { blob: Blob::new(blob.key(), blob.copied(), blob.traits()) })
    }

    /// Entries, dead ones not yet reclaimed included.
    #[inline]
    pub fn len(&self) -> usize {
        self.counts.entries
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entries with a deadline.
    pub fn with_deadline(&self) -> usize {
        self.counts.mortal
    }

    /// Entries that have a deadline, or a field that has one.
    pub(super) fn wakeful(&self) -> usize {
        self.counts.wakeful
    }

    /// The mean time that entries with a deadline have left, in ms; 0 if there are none (INFO's `avg_ttl`).
    pub fn average_ttl(&self, now_ms: u64) -> u64 {
        let mean = self.counts.deadlines.checked_div(self.counts.mortal as u128).unwrap_or(0);
        (mean as u64).saturating_sub(now_ms)
    }

    /// Bytes of keys and values.
    #[cfg(test)]
    pub(crate) fn entries_bytes(&self) -> u64 {
        self.counts.bytes
    }

    /// Bytes taken, index included, by size classes of the allocator.
    pub fn used_bytes(&self) -> u64 {
        self.counts.bytes + self.index.directory.used_bytes()
    }

    /// Visits entries from position `cursor` on, in order of position, at least `count` of them if there are so many (never half
    /// of those that share a position), and says where to go on; 0 when the end was reached. An entry that exists from
    /// start to end of a scan is visited exactly once.
    pub fn scan(&self, cursor: u64, count: usize, visit: &mut dyn FnMut(Entry<'_>)) -> u64 {
        self.scan_blobs(cursor, count, &mut |blob| visit(blob.entry()))
    }

    /// [`Db::scan`] for whoever wants more than the entry.
    pub(super) fn scan_blobs(&self, cursor: u64, count: usize, visit: &mut dyn FnMut(BlobRef<'_>)) -> u64 {
        let (mut visited, mut last) = (0, 0);
        let mut step = |position: u64, blob: BlobRef<'_>| {
            if position < cursor {
                return true;
            }
            if visited >= count.max(1) && position != last {
                last = position;
                return false;
            }
            visited += 1;
            last = position;
            visit(blob);
            true
        };
        let mut at = cursor;
        let mut group = Vec::new();
        loop {
            let Some(segment) = self.index.directory.get(at) else { return 0 };
            let went_through = match segment {
                SegmentRef::Lines(lines) => (lines.group_of(at)..lines.groups()).all(|number| {
                    group.clear();
                    lines.group(number, self.index.seed(), &mut group);
                    group.iter().all(|(position, blob)| step(*position, *blob))
                }),
                SegmentRef::Crowded(crowded) => crowded.from(at).all(|(position, blob)| step(position, blob)),
            };
            if !went_through {
                return last;
            }
            match last_of(at, self.index.directory.depth(at).unwrap_or(0)).checked_add(1) {
                Some(next) => at = next,
                None => return 0,
            }
        }
    }

    /// Visits all entries, segment by segment in order of position, in no order within one.
    pub fn for_each(&self, visit: &mut dyn FnMut(Entry<'_>)) {
        let mut at = 0;
        let mut blobs = Vec::new();
        while let Some(segment) = self.index.directory.get(at) {
            blobs.clear();
            match segment {
                SegmentRef::Lines(lines) => blobs.extend(lines.blobs()),
                SegmentRef::Crowded(crowded) => blobs.extend(crowded.from(0).map(|(_, blob)| blob)),
            }
            blobs.iter().for_each(|blob| blob.prefetch());
            blobs.iter().for_each(|blob| visit(blob.entry()));
            match last_of(at, self.index.directory.depth(at).unwrap_or(0)).checked_add(1) {
                Some(next) => at = next,
                None => return,
            }
        }
    }

    /// A digest of all keys, values and deadlines that does not depend on their order or history: the wrapping sum of
    /// [`entry_digest`] over the entries, 0 if there is none.
    pub fn digest(&self) -> u128 {
        let mut digest = 0u128;
        self.for_each(&mut |entry| digest = digest.wrapping_add(entry_digest(&entry)));
        digest
    }

    /// An entry picked by `random` (uniform 64 bits), every one about as likely.
    pub fn random(&self, random: u64) -> Option<Entry<'_>> {
        if self.is_empty() {
            return None;
        }
        let mut at = random;
        loop {
            // Positions are spread evenly: a segment's share of positions is about its share of entries.
            let directory = &self.index.directory;
            let pick = |count: usize| (((random & 0xffff_ffff) * count as u64) >> 32) as usize;
            let found = match directory.get(at)? {
                SegmentRef::Lines(lines) => lines.blobs().nth(pick(lines.count())),
                SegmentRef::Crowded(crowded) => crowded.from(0).nth(pick(crowded.count())).map(|(_, blob)| blob),
            };
            if let Some(blob) = found {
                return Some(blob.entry());
            }
            at = last_of(at, directory.depth(at)?).wrapping_add(1);
        }
    }

    /// Compares the index and all counts with each other.
    #[cfg(test)]
    pub(super) fn check(&self) {
        self.index.directory.check();
        let mut counts = Counts::default();
        let mut at = 0;
        while let Some(segment) = self.index.directory.get(at) {
            let depth = self.index.directory.depth(at).unwrap();
            let last = last_of(at, depth);
            let blobs: Vec<BlobRef<'_>> = match segment {
                SegmentRef::Lines(lines) => {
                    lines.check(self.index.seed());
                    lines.blobs().collect()
                }
                SegmentRef::Crowded(crowded) => crowded.from(0).map(|(_, blob)| blob).collect(),
            };
            let earliest = match segment {
                SegmentRef::Lines(lines) => lines.earliest(),
                SegmentRef::Crowded(crowded) => crowded.earliest,
            };
            let page_earliest = self.index.directory.page_deadlines(at).unwrap().earliest;
            for blob in blobs {
                counts.add(Counts::of(blob));
                let position = self.index.seed().position(blob.key());
                assert!((at..=last).contains(&position));
                if let Some(deadline) = blob.wakes_at() {
                    assert!(earliest <= deadline && page_earliest <= deadline);
                }
            }
            match last.checked_add(1) {
                Some(next) => at = next,
                None => break,
            }
        }
        assert_eq!(counts, self.counts);
    }
}

/// Marks an entry as used.
#[inline]
fn use_place(place: &mut Place<'_>, usage: Usage) {
    let old = place.view().access();
    let access = usage.touched(old);
    if access != old {
        place.change(|blob| blob.set_access(access));
    }
}

/// A blob for a string that was edited: inline if small, else the buffer itself.
fn edited_blob(key: &[u8], buffer: &mut Vec<u8>, traits: Traits) -> Blob {
    let body = if buffer.len() <= EDITED_INLINE_MAX {
        Body::Copy(Form::String, buffer)
    } else {
        Body::Own(Form::String, Box::new(std::mem::take(buffer)))
    };
    Blob::new(key, body, traits)
}

/// A blob for a collection.
pub(super) fn blob_of(key: &[u8], collection: Collection, traits: Traits) -> Blob {
    match collection.into_packed() {
        Ok((packing, mut bytes)) => packed_blob(key, packing, &mut bytes, traits),
        Err(collection) => Blob::new(key, Body::Chunks(Box::new(collection)), traits),
    }
}

/// A blob for a packed collection: inline if it is not too long, else the buffer itself.
fn packed_blob(key: &[u8], packing: crate::value::Packing, bytes: &mut Vec<u8>, traits: Traits) -> Blob {
    let form = Form::Packed(packing);
    let body = if bytes.len() < super::blob::OUTSIDE_LEN_MIN {
        Body::Copy(form, bytes)
    } else {
        Body::Own(form, Box::new(std::mem::take(bytes)))
    };
    Blob::new(key, body, Traits { edited: false, ..traits })
}
