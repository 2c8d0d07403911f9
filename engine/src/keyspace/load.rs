//! Filling an empty database from entries that are already in order of position, by several threads at once.
//!
//! Each thread makes a [`Loader`] for its range of positions, pushes entries, and finishes it; the ranges, in order, are then
//! installed together. Ranges may meet anywhere, even between two keys of one position.
//!
//! 1. Segments are built once, at the size they need: the expected number of entries says how deep.
//! 2. Only the entries of a range's first and last prefix wait for the neighbouring range; all others are in segments at once.

use super::blob::{Blob, Body, Form, Traits};
use super::db::Counts;
use super::directory::{Owned, first_of, last_of};
use super::entry::{Assembly, BadEntry, Stored, Whole};
use super::index::{depth_for, empty_segment, loaded_slot, segments_of};
use super::segment::Slot;
use super::{Db, Keyspace};
use crate::key::HashSeed;
use crate::value::Shaping;
use std::fmt;

/// How many times a prefix is divided further where entries crowd; what remains is inserted one by one.
const DEEPER_MAX: u32 = 3;

/// Why entries cannot be loaded. The files' checksums were right, so this is a defect of the writer, or blocks were mixed up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadLoad {
    /// An entry's position is before the previous one's.
    #[error("entries are out of order: position {position:#018x} follows {previous:#018x}")]
    Order {
        /// The previous entry's.
        previous: u64,
        /// This entry's.
        position: u64,
    },
    /// The same key twice.
    #[error("a key occurs twice, at position {0:#018x}")]
    Twice(u64),
    /// A collection does not decode, or a part of it is missing.
    #[error(transparent)]
    Entry(#[from] BadEntry),
    /// The database holds entries already.
    #[error("database {0} is not empty")]
    NotEmpty(usize),
}

/// The entries of one prefix.
#[derive(Default)]
struct Group {
    first: u64,
    slots: Vec<Slot>,
    earliest: u64,
}

/// A segment with its first position and its depth.
type Placed = (u64, u32, Owned);

/// Takes the entries of one range of positions, in order. One per thread.
pub struct Loader {
    seed: HashSeed,
    range: LoadedRange,
    /// How many of the last entries share the last position.
    same: usize,
    open: Option<Group>,
    assembly: Assembly,
    shaping: Shaping,
}

/// What a [`Loader`] has made.
pub struct LoadedRange {
    depth: u32,
    /// Positions of the first and the last entry.
    ends: Option<(u64, u64)>,
    counts: Counts,
    segments: Vec<Placed>,
    loose: Vec<Blob>,
    /// Entries of the first prefix, and of the last if that is another.
    edges: Vec<Group>,
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader").field("range", &self.range).finish_non_exhaustive()
    }
}

impl fmt::Debug for LoadedRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedRange").field("ends", &self.ends).field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl Loader {
    /// For a part of a database which will hold about `expected` entries in all (the whole database, not this range): a good
    /// guess makes segments of the right size at once, a bad one costs time, nothing else. All loaders of a database must be given the
    /// same.
    pub fn new(seed: HashSeed, expected: u64, shaping: Shaping) -> Self {
        let range = LoadedRange {
            depth: depth_for(expected),
            ends: None,
            counts: Counts::default(),
            segments: Vec::new(),
            loose: Vec::new(),
            edges: Vec::new(),
        };
        Loader { seed, range, same: 0, open: None, assembly: Assembly::default(), shaping }
    }

    /// Adds the next entry, or the next part of one.
    ///
    /// # Errors
    /// [`BadLoad::Order`], [`BadLoad::Twice`], [`BadLoad::Entry`].
    pub fn push(&mut self, entry: &Stored<'_>) -> Result<(), BadLoad> {
        let Some(whole) = self.assembly.push(entry, &self.shaping)? else { return Ok(()) };
        let position = self.seed.position(entry.key);
        let (first, last) = self.range.ends.unwrap_or((position, position));
        if position < last {
            return Err(BadLoad::Order { previous: last, position });
        }
        if position > last {
            self.same = 0;
        }
        let prefix = first_of(position, self.range.depth);
        if self.open.as_ref().is_some_and(|open| open.first != prefix) {
            self.close();
        }
        let open = self.open.get_or_insert_with(|| Group {
            first: prefix,
            slots: Vec::with_capacity(512),
            earliest: u64::MAX,
        });
        let mut equals = open.slots.iter().rev().take(self.same);
        if equals.any(|slot| slot.view().key() == entry.key) {
            return Err(BadLoad::Twice(position));
        }
        let traits = Traits { deadline: entry.deadline, edited: false, access: entry.access };
        let blob = match whole {
            Whole::String(value) => Blob::new(entry.key, Body::Copy(Form::String, value), traits),
            Whole::Collection(collection) => super::db::blob_of(entry.key, collection, traits),
        };
        let wakes = blob.view().wakes_at();
        self.range.counts.add(Counts::of(blob.view()));
        open.slots.push(loaded_slot(blob, position, self.range.depth));
        open.earliest = open.earliest.min(wakes.unwrap_or(u64::MAX));
        self.same += 1;
        self.range.ends = Some((first, position));
        Ok(())
    }

    fn close(&mut self) {
        let Some(group) = self.open.take() else { return };
        if self.range.edges.is_empty() {
            self.range.edges.push(group);
        } else {
            self.range.build(group, &self.seed);
        }
    }

    /// The finished range.
    ///
    /// # Errors
    /// [`BadEntry::Part`]: the last part of an entry is missing.
    pub fn finish(mut self) -> Result<LoadedRange, BadLoad> {
        if self.assembly.is_open() {
            return Err(BadEntry::Part.into());
        }
        self.range.edges.extend(self.open.take());
        Ok(self.range)
    }
}

impl LoadedRange {
    /// Makes segments of a prefix that is complete.
    fn build(&mut self, group: Group, seed: &HashSeed) {
        let place = (group.first, self.depth, self.depth + DEEPER_MAX);
        segments_of(group.slots, place, group.earliest, seed, &mut self.segments, &mut self.loose);
    }
}

impl Keyspace {
    /// Makes `ranges`, in order of position, the content of the empty database `db`.
    ///
    /// # Errors
    /// [`BadLoad`]; the database is then empty.
    pub fn install(&mut self, db: usize, ranges: Vec<LoadedRange>) -> Result<(), BadLoad> {
        if !self.dbs[db].is_empty() {
            return Err(BadLoad::NotEmpty(db));
        }
        let loaded = assemble(ranges, self.seed)?;
        let settings = self.prefix_settings().cloned();
        self.dbs[db] = loaded;
        self.recount_others();
        if let Some(settings) = settings {
            self.set_prefixes(&settings);
        }
        Ok(())
    }
}

/// A database of all ranges.
fn assemble(ranges: Vec<LoadedRange>, seed: HashSeed) -> Result<Db, BadLoad> {
    let mut db = Db::new(seed);
    let mut end: Option<u64> = None;
    let mut waiting: Option<Group> = None;
    let mut covered = Some(0);
    let mut loose = Vec::new();
    let depth = ranges.first().map_or(0, |range| range.depth);
    for mut range in ranges {
        let Some((first, last)) = range.ends else { continue };
        assert_eq!(range.depth, depth, "all loaders of a database must be given the same expected number");
        if let Some(previous) = end
            && first < previous
        {
            return Err(BadLoad::Order { previous, position: first });
        }
        let mut edges = std::mem::take(&mut range.edges).into_iter();
        let Some(mut front) = edges.next() else { continue };
        match waiting.take() {
            Some(before) if before.first == front.first => {
                if end == Some(first) && share_a_key(&before, &front, first, &seed) {
                    return Err(BadLoad::Twice(first));
                }
                front.earliest = front.earliest.min(before.earliest);
                let mut slots = before.slots;
                slots.append(&mut front.slots);
                front.slots = slots;
            }
            Some(before) => place(&mut db, &mut covered, closed(before, depth, &seed, &mut loose), &seed),
            None => {}
        }
        if let Some(back) = edges.next() {
            place(&mut db, &mut covered, closed(front, depth, &seed, &mut loose), &seed);
            place(&mut db, &mut covered, std::mem::take(&mut range.segments), &seed);
            waiting = Some(back);
        } else {
            waiting = Some(front);
        }
        loose.append(&mut range.loose);
        db.counts.add(range.counts);
        end = Some(last);
    }
    if let Some(group) = waiting {
        place(&mut db, &mut covered, closed(group, depth, &seed, &mut loose), &seed);
        fill_gap(&mut db, covered, None, &seed);
    }
    for blob in loose {
        let (position, deadline) = (seed.position(blob.view().key()), blob.view().wakes_at());
        db.index.insert(position, blob);
        if let Some(deadline) = deadline {
            db.index.directory.note_deadline(position, deadline);
        }
    }
    Ok(db)
}

/// The segments of a prefix that is complete.
fn closed(group: Group, depth: u32, seed: &HashSeed, loose: &mut Vec<Blob>) -> Vec<Placed> {
    let mut segments = Vec::new();
    let place = (group.first, depth, depth + DEEPER_MAX);
    segments_of(group.slots, place, group.earliest, seed, &mut segments, loose);
    segments
}

/// Whether two groups have a key in common at `position`.
fn share_a_key(one: &Group, other: &Group, position: u64, seed: &HashSeed) -> bool {
    let at = |group: &'_ Group| -> Vec<Vec<u8>> {
        let keys = group.slots.iter().map(|slot| slot.view().key());
        keys.filter(|key| seed.position(key) == position).map(<[u8]>::to_vec).collect()
    };
    let others = at(other);
    at(one).iter().any(|key| others.contains(key))
}

/// Puts segments, which are in order and behind `covered`, and empty ones before them where positions have none.
fn place(db: &mut Db, covered: &mut Option<u64>, segments: Vec<Placed>, seed: &HashSeed) {
    for (first, depth, owned) in segments {
        fill_gap(db, *covered, Some(first), seed);
        db.index.directory.put(first, depth, owned);
        *covered = last_of(first, depth).checked_add(1);
    }
}

/// Covers positions from `from` to before `to` (or to the end) with empty segments, as few as there can be.
fn fill_gap(db: &mut Db, from: Option<u64>, to: Option<u64>, seed: &HashSeed) {
    let mut from = from;
    while let Some(first) = from
        && to.is_none_or(|to| first < to)
    {
        let fits = |depth: &u32| first_of(first, *depth) == first && to.is_none_or(|to| last_of(first, *depth) < to);
        let Some(depth) = (0..48).find(fits) else { unreachable!("prefixes begin at multiples of 2^16") };
        db.index.directory.put(first, depth, empty_segment(depth, seed));
        from = last_of(first, depth).checked_add(1);
    }
}
