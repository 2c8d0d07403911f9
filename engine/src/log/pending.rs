//! Records on their way to the log: encoded as they happen, taken in groups by a commit.
//!
//! ```text
//! record  = u32 length of the rest | varint ms since the frame's time | command*
//! command = varint database | varint word count | (varint length | bytes) per word, the name first
//! ```
//! All commands of one record apply together or not at all.

use super::Lsn;
use super::frame::FRAME_HEADER_LEN;
use crate::limits::RECORD_LEN_MAX;
use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

/// Records that no commit has taken yet, and the positions of keys whose changes are not yet durable.
#[derive(Debug)]
pub struct Effects {
    /// Room for a frame's header, then the records: a commit writes its frame in this buffer, without a copy.
    bytes: Vec<u8>,
    /// LSN of the first record in `bytes`.
    first: Lsn,
    /// Finished records in `bytes`.
    count: u32,
    /// Unix time in ms of the first record in `bytes`.
    base_ms: u64,
    /// Where the unfinished record begins in `bytes`.
    open: Option<usize>,
    /// Positions changed by records in `bytes`.
    changed: PositionSet,
    /// Positions changed by groups that commits have taken, with each group's last LSN, until they are durable.
    taken: VecDeque<(Lsn, PositionSet)>,
    /// Empty sets whose memory is used again.
    spare_sets: Vec<PositionSet>,
    /// Whether records in `bytes` change keys that are not listed (FLUSHALL).
    changed_all: bool,
    /// LSN up to which taken groups change keys that are not listed; 0 if none that is not durable does.
    taken_all: Lsn,
    /// Whether positions are kept (`appendfsync always`).
    track: bool,
    /// Whether records are kept at all (`appendonly`); LSNs are counted in any case.
    keep: bool,
    /// [`RECORD_LEN_MAX`]; less in tests.
    len_max: usize,
}

type PositionSet = HashSet<u64, BuildHasherDefault<Identity>>;

/// Positions are hashes already.
#[derive(Debug, Default)]
pub struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }
    fn write_u64(&mut self, value: u64) {
        // hashbrown takes its tag from the top bits and the bucket from the low ones; both vary in a position.
        self.0 = value;
    }
}

/// What one commit takes: whole records, in order.
#[derive(Debug, Default)]
pub struct Group {
    /// Room for a frame's header (64 bytes), then the records, one after the other.
    pub bytes: Vec<u8>,
    /// LSN of the first.
    pub first: Lsn,
    /// How many.
    pub count: u32,
    /// Unix time in ms that the records' own times are relative to.
    pub base_ms: u64,
}

impl Group {
    /// The records' bytes.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[FRAME_HEADER_LEN..]
    }

    /// LSN of the last record.
    pub fn last(&self) -> Lsn {
        self.first + Lsn::from(self.count) - 1
    }
}

impl Effects {
    /// Sets that a look-up asks at most: one group's in the flush under way, the rest for groups written meanwhile.
    const SETS_MAX: usize = 3;
    /// Larger sets are not kept for use again.
    const SET_CAPACITY_KEPT: usize = 1 << 16;

    /// An empty buffer whose next record will be `next`.
    pub fn new(next: Lsn) -> Self {
        Effects {
            bytes: Vec::new(),
            first: next,
            count: 0,
            base_ms: 0,
            open: None,
            changed: PositionSet::default(),
            taken: VecDeque::new(),
            spare_sets: Vec::new(),
            changed_all: false,
            taken_all: 0,
            track: false,
            keep: true,
            len_max: RECORD_LEN_MAX,
        }
    }

    /// Whether positions of changed keys are kept (`appendfsync always`), and whether records are (`appendonly`).
    pub fn configure(&mut self, track: bool, keep: bool) {
        self.track = track;
        self.keep = keep;
        if !track {
            self.changed = PositionSet::default();
            self.taken.clear();
            (self.changed_all, self.taken_all) = (false, 0);
        }
    }

    /// Adds a command to the unfinished record, beginning it if need be.
    ///
    /// # Panics
    /// If the record would become larger than [`RECORD_LEN_MAX`]: see [`crate::engine::Engine::admits`].
    #[inline]
    pub fn push(&mut self, now_ms: u64, db: usize, words: &[&[u8]]) {
        self.push_parts(now_ms, db, words, &[]);
    }

    /// [`Effects::push`] of the words of `head`, then those of `tail`: a canonical name in front of a client's own words.
    pub fn push_parts(&mut self, now_ms: u64, db: usize, head: &[&[u8]], tail: &[&[u8]]) {
        if self.open.is_none() {
            self.begin(now_ms);
        }
        if !self.keep {
            return;
        }
        let room: usize = head.iter().chain(tail).map(|word| word.len() + 5).sum();
        assert!(
            self.open_len() + room + 10 <= self.len_max,
            "a record beyond its bound: the command did not ask `Engine::admits` for {room} bytes more"
        );
        self.bytes.reserve(room + 10);
        put_varint(&mut self.bytes, db as u64);
        put_varint(&mut self.bytes, (head.len() + tail.len()) as u64);
        for word in head.iter().chain(tail) {
            put_varint(&mut self.bytes, word.len() as u64);
            self.bytes.extend_from_slice(word);
        }
    }

    fn begin(&mut self, now_ms: u64) {
        if self.count == 0 {
            self.base_ms = now_ms;
        }
        if self.bytes.is_empty() {
            self.bytes.resize(FRAME_HEADER_LEN, 0);
        }
        self.open = Some(self.bytes.len());
        if self.keep {
            self.bytes.extend_from_slice(&[0; 4]);
            put_varint(&mut self.bytes, now_ms.saturating_sub(self.base_ms));
        }
    }

    /// Records of at most `len_max` bytes: so that tests need no gigabytes.
    #[cfg(test)]
    pub(crate) fn bound(&mut self, len_max: usize) {
        self.len_max = len_max;
    }

    /// Bytes of the unfinished record; 0 without one.
    #[inline]
    fn open_len(&self) -> usize {
        self.open.map_or(0, |start| self.bytes.len() - start)
    }

    /// Whether a record was begun and not ended.
    #[inline]
    pub fn has_open(&self) -> bool {
        self.open.is_some()
    }

    /// How much longer the unfinished record may become, or how long a new one.
    #[inline]
    pub fn room(&self) -> usize {
        self.len_max.saturating_sub(self.open_len())
    }

    /// Ends the record, if one was begun, and says its LSN.
    #[inline]
    pub fn finish(&mut self) -> Option<Lsn> {
        let start = self.open.take()?;
        if self.keep {
            let len = self.bytes.len() - start - 4;
            self.bytes[start..start + 4].copy_from_slice(&(len as u32).to_le_bytes());
            self.count += 1;
            Some(self.first + Lsn::from(self.count) - 1)
        } else {
            self.first += 1;
            Some(self.first - 1)
        }
    }

    /// Notes that the unfinished record changes the key at `position`.
    #[inline]
    pub fn touch(&mut self, position: u64) {
        if self.track {
            self.changed.insert(position);
        }
    }

    /// Notes that the unfinished record may change any key.
    pub fn touch_all(&mut self) {
        self.changed_all |= self.track;
    }

    /// Whether keys in flight are known at all (`appendfsync always`).
    pub fn tracks(&self) -> bool {
        self.track
    }

    /// Whether the key at `position` was changed by a record that is not yet durable.
    #[inline]
    pub fn in_flight(&self, position: u64) -> bool {
        self.track
            && (self.changed_all
                || self.taken_all > 0
                || self.changed.contains(&position)
                || self.taken.iter().any(|(_, set)| set.contains(&position)))
    }

    /// LSN of the newest finished record.
    pub fn last(&self) -> Lsn {
        self.first + Lsn::from(self.count) - 1
    }

    /// Bytes waiting for a commit.
    pub fn waiting(&self) -> usize {
        self.bytes.len().saturating_sub(FRAME_HEADER_LEN)
    }

    /// Memory of those bytes.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Takes all finished records, leaving `spare` as the next buffer. `None` if there are none. Must not be called
    /// within a command. With position tracking, [`Effects::durable`] must be told how far the log is durable.
    pub fn take(&mut self, spare: Vec<u8>) -> Option<Group> {
        debug_assert!(self.open.is_none(), "a commit never takes half a record");
        if self.count == 0 {
            return None;
        }
        let bytes = std::mem::replace(&mut self.bytes, spare);
        self.bytes.clear(); // Whatever the spare buffer held.
        let group = Group { bytes, first: self.first, count: self.count, base_ms: self.base_ms };
        self.first += Lsn::from(self.count);
        self.count = 0;
        if self.track {
            let set = std::mem::replace(&mut self.changed, self.spare_sets.pop().unwrap_or_default());
            let many = self.taken.len() == Self::SETS_MAX;
            match self.taken.back_mut().filter(|_| many) {
                // Groups taken during one flush wait for the next together.
                Some((last, earlier)) => {
                    *last = group.last();
                    earlier.extend(set.iter());
                    Self::recycle(&mut self.spare_sets, set);
                }
                None => self.taken.push_back((group.last(), set)),
            }
        }
        if std::mem::take(&mut self.changed_all) {
            self.taken_all = group.last();
        }
        Some(group)
    }

    /// All records up to `lsn` are durable: nobody waits for their keys any more.
    pub fn durable(&mut self, lsn: Lsn) {
        while self.taken.front().is_some_and(|(last, _)| *last <= lsn)
            && let Some((_, set)) = self.taken.pop_front()
        {
            Self::recycle(&mut self.spare_sets, set);
        }
        if self.taken_all <= lsn {
            self.taken_all = 0;
        }
    }

    fn recycle(spare_sets: &mut Vec<PositionSet>, mut set: PositionSet) {
        if spare_sets.len() < Self::SETS_MAX && set.capacity() <= Self::SET_CAPACITY_KEPT {
            set.clear();
            spare_sets.push(set);
        }
    }

    /// Skips to `next`: after recovery, or after records that were replayed from elsewhere.
    pub fn restart(&mut self, next: Lsn) {
        self.bytes.clear();
        self.count = 0;
        self.first = next;
        self.open = None;
        self.changed = PositionSet::default();
        self.taken.clear();
        (self.changed_all, self.taken_all) = (false, 0);
    }
}

/// Appends `value`, seven bits a byte, low bits first; the high bit says that more follow.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a varint off the front. `None` if it is cut, longer than ten bytes, or above `u64::MAX`.
#[inline]
pub fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (at, &byte) in bytes.iter().take(10).enumerate() {
        let bits = u64::from(byte & 0x7f);
        if at == 9 && bits > 1 {
            return None;
        }
        value |= bits << (7 * at);
        if byte < 0x80 {
            *bytes = &bytes[at + 1..];
            return Some(value);
        }
    }
    None
}

/// One record of a verified payload: when, and which commands.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its number.
    pub lsn: Lsn,
    /// Unix time in ms.
    pub time_ms: u64,
    /// Its commands, to be read by [`RecordCommands`].
    pub commands: &'a [u8],
}

impl<'a> Record<'a> {
    /// Takes the next record off a payload. `Err` if the bytes are not a record (a defect of the writer: the payload's
    /// checksum was right).
    ///
    /// # Errors
    /// [`BadRecord`].
    pub fn take(payload: &mut &'a [u8], lsn: Lsn, base_ms: u64) -> Result<Record<'a>, BadRecord> {
        let (len, rest) = payload.split_first_chunk::<4>().ok_or(BadRecord)?;
        let len = u32::from_le_bytes(*len) as usize;
        let (mut body, rest) = rest.split_at_checked(len).ok_or(BadRecord)?;
        let since = take_varint(&mut body).ok_or(BadRecord)?;
        *payload = rest;
        Ok(Record { lsn, time_ms: base_ms.saturating_add(since), commands: body })
    }

    /// The record's commands.
    pub fn commands(&self) -> RecordCommands<'a> {
        RecordCommands { rest: self.commands }
    }
}

/// A payload whose checksum is right does not decode: a defect of whoever wrote it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the record's bytes do not decode although their checksum is right")]
pub struct BadRecord;

/// Walks the commands of a record.
#[derive(Clone, Copy, Debug)]
pub struct RecordCommands<'a> {
    rest: &'a [u8],
}

impl<'a> RecordCommands<'a> {
    /// The next command: its database; its words are put into `words`.
    ///
    /// # Errors
    /// [`BadRecord`].
    pub fn next(&mut self, words: &mut Vec<&'a [u8]>) -> Result<Option<usize>, BadRecord> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        words.clear();
        let db = take_varint(&mut self.rest).ok_or(BadRecord)?;
        let count = take_varint(&mut self.rest).ok_or(BadRecord)?;
        if count == 0 || count > self.rest.len() as u64 {
            return Err(BadRecord);
        }
        for _ in 0..count {
            let len = take_varint(&mut self.rest).ok_or(BadRecord)?;
            let len = usize::try_from(len).map_err(|_| BadRecord)?;
            let (word, rest) = self.rest.split_at_checked(len).ok_or(BadRecord)?;
            words.push(word);
            self.rest = rest;
        }
        usize::try_from(db).map(Some).map_err(|_| BadRecord)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_as_they_went_in() {
        let mut effects = Effects::new(7);
        effects.push(1000, 0, &[b"SET", b"a", b"1"]);
        effects.push(1000, 3, &[b"DEL", b"b"]);
        assert_eq!(effects.finish(), Some(7));
        assert_eq!(effects.finish(), None);
        effects.push(1005, 1, &[b"DEL", b""]);
        assert_eq!(effects.finish(), Some(8));
        let group = effects.take(Vec::new()).unwrap();
        assert_eq!((group.first, group.count, group.last(), effects.last()), (7, 2, 8, 8));
        let mut payload = group.payload();
        let mut words = Vec::new();
        let first = Record::take(&mut payload, 7, group.base_ms).unwrap();
        let mut commands = first.commands();
        assert_eq!((first.time_ms, commands.next(&mut words)), (1000, Ok(Some(0))));
        assert_eq!(words, [&b"SET"[..], b"a", b"1"]);
        assert_eq!(commands.next(&mut words), Ok(Some(3)));
        assert_eq!(commands.next(&mut words), Ok(None));
        let second = Record::take(&mut payload, 8, group.base_ms).unwrap();
        assert_eq!((second.time_ms, payload.len()), (1005, 0));
    }

    #[test]
    fn a_flush_puts_every_key_in_flight_until_it_is_durable() {
        let mut effects = Effects::new(1);
        effects.configure(true, true);
        effects.push_parts(0, 0, &[b"FLUSHALL"], &[]);
        effects.touch_all();
        assert_eq!(effects.finish(), Some(1));
        assert!(effects.in_flight(5));
        effects.take(Vec::new());
        assert!(effects.in_flight(5), "taken is not durable");
        effects.durable(0);
        assert!(effects.in_flight(5));
        effects.durable(1);
        assert!(!effects.in_flight(5));
    }

    #[test]
    fn a_key_is_in_flight_until_its_own_group_is_durable() {
        let mut effects = Effects::new(1);
        effects.configure(true, true);
        let write = |effects: &mut Effects, position| {
            effects.push(0, 0, &[b"DEL", b"k"]);
            effects.touch(position);
            effects.finish()
        };
        for position in 11..=16 {
            write(&mut effects, position);
            if position < 16 {
                effects.take(Vec::new()).unwrap();
            }
        }
        let flight = |effects: &Effects| (11..=17).filter(|&position| effects.in_flight(position)).collect::<Vec<_>>();
        assert_eq!(flight(&effects), [11, 12, 13, 14, 15, 16]);
        effects.durable(1);
        assert_eq!(flight(&effects), [12, 13, 14, 15, 16]);
        effects.durable(4);
        assert!([13, 14, 15, 16].iter().all(|&position| position < 15 || effects.in_flight(position)));
        effects.durable(5);
        assert_eq!(flight(&effects), [16], "not taken yet");
        effects.take(Vec::new()).unwrap();
        effects.durable(5);
        assert_eq!(flight(&effects), [16], "taken, not durable");
        effects.durable(6);
        assert_eq!(flight(&effects), [0u64; 0]);
    }

    #[test]
    fn varints_round_trip_and_cuts_are_seen() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            let mut rest = &bytes[..];
            assert_eq!((take_varint(&mut rest), rest.len()), (Some(value), 0));
            for cut in 0..bytes.len() {
                assert_eq!(take_varint(&mut &bytes[..cut]), None);
            }
        }
        assert_eq!(take_varint(&mut &[0xff; 10][..]), None);
    }
}
