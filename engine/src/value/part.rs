//! The elements in a part of a collection's form in files (`FORMAT.md`, "Collections"), one by one and without a collection: what snapshots hold,
//! what the RDB codec reads and writes, and what tools look at.
//!
//! 1. Reading takes no memory but the list of a stream entry's words, and believes no length before it has compared it with what is there.
//! 2. A part is whole elements. Nothing here remembers the part before: that elements are there once, and in order, is for
//!    [`crate::value::Collection::decode_part`] to see.

use super::listpack::{Element, IntegerText};
use super::stream::{ConsumerNumber, Id, Pending};
use super::{BadValue, Kind};
use crate::limits::STRING_LEN_LIMIT;
use crate::log::pending::{put_varint, take_varint};
use arrayvec::ArrayVec;

/// One element of a collection, or one item of a stream.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Item<'a> {
    /// Of a list, or a member of a set.
    Element(&'a [u8]),
    /// Of a sorted set.
    Scored {
        /// The member.
        member: &'a [u8],
        /// Never NaN.
        score: f64,
    },
    /// Of a hash.
    Field(Field<'a>),
    /// Of a stream. The words of an entry are those of [`Items::words`].
    Stream(StreamItem<'a>),
}

/// A field of a hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
    /// Unix ms at which it is gone.
    pub deadline: Option<u64>,
}

/// An item of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StreamItem<'a> {
    /// What is known of the stream as a whole; `late` if it stands behind the entries.
    Header {
        /// The stream's counters.
        header: StreamHeader,
        /// Whether it stands behind the entries.
        late: bool,
    },
    /// An entry.
    Entry(Id),
    /// A group, whose consumers and pending entries follow.
    Group {
        /// Its name.
        name: &'a [u8],
        /// The last ID that was delivered.
        last_id: Id,
        /// How many entries it has read, if that is known.
        entries_read: Option<u64>,
    },
    /// A consumer of the last group.
    Consumer {
        /// What pending entries call it.
        number: ConsumerNumber,
        /// Its name.
        name: &'a [u8],
        /// When it was last heard of, Unix ms.
        seen_ms: u64,
        /// When it last got an entry, Unix ms.
        active_ms: Option<u64>,
    },
    /// A pending entry of the last group.
    Pending(Pending),
}

/// What is known of a stream as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)] // As `Stream`'s own.
pub struct StreamHeader {
    pub last_id: Id,
    pub max_deleted_id: Id,
    pub entries_added: u64,
}

pub(super) const HEADER: u8 = 0;
/// With the names of its fields.
const ENTRY: u8 = 1;
/// With the fields of the entry before it in the same part.
const SAME_FIELDS: u8 = 2;
const GROUP: u8 = 3;
const CONSUMER: u8 = 4;
const PENDING: u8 = 5;
/// A header behind the entries: of streams that come from where it stands there (RDB files).
const LATE_HEADER: u8 = 6;

/// Appends a length and so many bytes: an element of a list, a member of a set.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Takes what [`put_bytes`] has written.
///
/// # Errors
/// [`BadValue::Short`], [`BadValue::Length`].
#[inline]
pub fn take_bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], BadValue> {
    let len = take_number(rest)?;
    take_exactly(rest, len)
}

fn take_exactly<'a>(rest: &mut &'a [u8], len: u64) -> Result<&'a [u8], BadValue> {
    if len > STRING_LEN_LIMIT as u64 {
        return Err(BadValue::Length);
    }
    rest.split_off(..len as usize).ok_or(BadValue::Short)
}

#[inline]
fn take_number(bytes: &mut &[u8]) -> Result<u64, BadValue> {
    take_varint(bytes).ok_or_else(|| {
        // Fewer than ten bytes, all of which say that more follow: cut. Else not a varint.
        let cut = bytes.len() < 10 && bytes.iter().all(|byte| *byte >= 0x80);
        if cut { BadValue::Short } else { BadValue::Length }
    })
}

/// Appends an element of a sorted set.
#[inline]
pub fn put_scored(out: &mut Vec<u8>, member: &[u8], score: f64) {
    out.extend_from_slice(&score.to_le_bytes());
    put_bytes(out, member);
}

/// Takes an element of a sorted set.
///
/// # Errors
/// [`BadValue`].
#[inline]
pub fn take_scored<'a>(rest: &mut &'a [u8]) -> Result<(f64, &'a [u8]), BadValue> {
    let (score, behind) = rest.split_first_chunk::<8>().ok_or(BadValue::Short)?;
    let score = f64::from_le_bytes(*score);
    if score.is_nan() {
        return Err(BadValue::Score);
    }
    *rest = behind;
    Ok((score, take_bytes(rest)?))
}

/// Appends a field of a hash.
#[inline]
pub fn put_field(out: &mut Vec<u8>, field: Field<'_>) {
    put_varint(out, (field.name.len() as u64) << 1 | u64::from(field.deadline.is_some()));
    out.extend_from_slice(field.name);
    if let Some(at) = field.deadline {
        out.extend_from_slice(&at.to_le_bytes());
    }
    put_bytes(out, field.value);
}

/// Takes a field of a hash.
///
/// # Errors
/// [`BadValue`].
#[inline]
pub fn take_field<'a>(rest: &mut &'a [u8]) -> Result<Field<'a>, BadValue> {
    let head = take_number(rest)?;
    let name = take_exactly(rest, head >> 1)?;
    let mut deadline = None;
    if head & 1 == 1 {
        let (at, behind) = rest.split_first_chunk::<8>().ok_or(BadValue::Short)?;
        *rest = behind;
        deadline = Some(u64::from_le_bytes(*at));
    }
    Ok(Field { name, value: take_bytes(rest)?, deadline })
}

/// Elements that [`is_sound`] compares with one another.
const COMPARED_MAX: usize = 128;

/// Whether a part that is a whole small collection will decode: its elements are whole, and each is there once. It takes no memory. False says nothing,
/// and [`crate::value::Collection::decode_part`] has to tell.
pub fn is_sound(kind: Kind, part: &[u8]) -> bool {
    let mut rest = part;
    let mut prints: ArrayVec<u64, COMPARED_MAX> = ArrayVec::new();
    while !rest.is_empty() {
        let name = match kind {
            Kind::List | Kind::Set => take_bytes(&mut rest),
            Kind::SortedSet => take_scored(&mut rest).map(|(_, member)| member),
            Kind::Hash => take_field(&mut rest).map(|field| field.name),
            Kind::String | Kind::Stream => return false,
        };
        let Ok(name) = name else { return false };
        if kind == Kind::List {
            continue;
        }
        let print = fingerprint(name);
        if prints.contains(&print) || prints.try_push(print).is_err() {
            return false;
        }
    }
    !part.is_empty()
}

/// A number that is the same for the same bytes, and mostly another for others: of their ends and their length.
fn fingerprint(bytes: &[u8]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let ends = match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(first), Some(last)) => u64::from_le_bytes(*first).wrapping_mul(ODD) ^ u64::from_be_bytes(*last),
        _ => bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)),
    };
    ends.wrapping_mul(ODD) ^ bytes.len() as u64
}

/// A number that may be missing: one byte, and the number if it is there.
fn put_optional(out: &mut Vec<u8>, number: Option<u64>) {
    out.push(u8::from(number.is_some()));
    if let Some(number) = number {
        put_varint(out, number);
    }
}

fn take_optional(rest: &mut &[u8]) -> Result<Option<u64>, BadValue> {
    match rest.split_off_first() {
        Some(0) => Ok(None),
        Some(1) => take_number(rest).map(Some),
        Some(_) => Err(BadValue::Stream),
        None => Err(BadValue::Short),
    }
}

/// An ID above `previous`: milliseconds as a difference; the sequence number as a difference if they are the same.
fn put_id(out: &mut Vec<u8>, id: Id, previous: Id) {
    put_varint(out, id.ms - previous.ms);
    put_varint(out, if id.ms == previous.ms { id.seq - previous.seq } else { id.seq });
}

fn take_id(rest: &mut &[u8], previous: Id) -> Result<Id, BadValue> {
    let (ms, seq) = (take_number(rest)?, take_number(rest)?);
    let seq = if ms == 0 { previous.seq.checked_add(seq) } else { Some(seq) };
    match (previous.ms.checked_add(ms), seq) {
        (Some(ms), Some(seq)) => Ok(Id { ms, seq }),
        _ => Err(BadValue::Stream),
    }
}

fn take_whole_id(rest: &mut &[u8]) -> Result<Id, BadValue> {
    Ok(Id { ms: take_number(rest)?, seq: take_number(rest)? })
}

/// Writes the items of one part of a stream: a new one begins each part.
#[derive(Debug, Default)]
pub struct StreamWriter {
    last_entry: Id,
    last_pending: Id,
    /// Names of the entry before, each with its length; empty before the first.
    names: Vec<u8>,
    scratch: Vec<u8>,
}

impl StreamWriter {
    /// Begins the next part.
    pub fn begin_part(&mut self) {
        (self.last_entry, self.last_pending) = (Id::MIN, Id::MIN);
        self.names.clear();
    }

    /// Appends the stream's counters; `late` if entries came before.
    pub fn header(out: &mut Vec<u8>, header: &StreamHeader, late: bool) {
        out.push(if late { LATE_HEADER } else { HEADER });
        let StreamHeader { last_id, max_deleted_id, entries_added } = header;
        for number in [last_id.ms, last_id.seq, max_deleted_id.ms, max_deleted_id.seq, *entries_added] {
            put_varint(out, number);
        }
    }

    /// Appends an entry, whose ID must be above that of the one before; `pairs` gives fields and values, the same at each call.
    pub fn entry<'e, I>(&mut self, out: &mut Vec<u8>, id: Id, pairs: impl Fn() -> I)
    where
        I: Iterator<Item = (Element<'e>, Element<'e>)>,
    {
        let (mut name_text, mut value_text) = (IntegerText::new(), IntegerText::new());
        self.scratch.clear();
        let mut count = 0u64;
        for (name, _) in pairs() {
            put_bytes(&mut self.scratch, name.as_bytes(&mut name_text));
            count += 1;
        }
        let same = self.scratch == self.names && !self.names.is_empty();
        out.push(if same { SAME_FIELDS } else { ENTRY });
        put_id(out, id, self.last_entry);
        if !same {
            put_varint(out, count);
        }
        for (name, value) in pairs() {
            if !same {
                put_bytes(out, name.as_bytes(&mut name_text));
            }
            put_bytes(out, value.as_bytes(&mut value_text));
        }
        std::mem::swap(&mut self.names, &mut self.scratch);
        self.last_entry = id;
    }

    /// Appends a group.
    pub fn group(&mut self, out: &mut Vec<u8>, name: &[u8], last_id: Id, entries_read: Option<u64>) {
        self.last_pending = Id::MIN;
        out.push(GROUP);
        put_bytes(out, name);
        put_varint(out, last_id.ms);
        put_varint(out, last_id.seq);
        put_optional(out, entries_read);
    }

    /// Appends a consumer of the last group.
    pub fn consumer(out: &mut Vec<u8>, number: ConsumerNumber, name: &[u8], seen_ms: u64, active_ms: Option<u64>) {
        out.push(CONSUMER);
        put_varint(out, number.0);
        put_bytes(out, name);
        put_varint(out, seen_ms);
        put_optional(out, active_ms);
    }

    /// Appends a pending entry of the last group, whose ID must be above that of the one before.
    pub fn pending(&mut self, out: &mut Vec<u8>, pending: &Pending) {
        out.push(PENDING);
        put_id(out, pending.id, self.last_pending);
        put_varint(out, pending.consumer.0);
        put_varint(out, pending.delivered_ms);
        put_varint(out, pending.deliveries);
        self.last_pending = pending.id;
    }
}

/// Walks the elements of a part.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    kind: Kind,
    rest: &'a [u8],
    words: Vec<&'a [u8]>,
    last_entry: Id,
    last_pending: Id,
}

impl<'a> Items<'a> {
    /// The elements of a part of a collection of this kind. (A string is one element.)
    pub fn new(kind: Kind, part: &'a [u8]) -> Items<'a> {
        Items { kind, rest: part, words: Vec::new(), last_entry: Id::MIN, last_pending: Id::MIN }
    }

    /// Fields and values by turns of the stream entry that was taken last.
    pub fn words(&self) -> &[&'a [u8]] {
        &self.words
    }

    /// The next element; `None` at the end.
    ///
    /// # Errors
    /// [`BadValue`]; there is no going on then.
    #[inline]
    pub fn take(&mut self) -> Result<Option<Item<'a>>, BadValue> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let rest = &mut self.rest;
        Ok(Some(match self.kind {
            Kind::String => Item::Element(std::mem::take(rest)),
            Kind::List | Kind::Set => Item::Element(take_bytes(rest)?),
            Kind::SortedSet => {
                let (score, member) = take_scored(rest)?;
                Item::Scored { member, score }
            }
            Kind::Hash => Item::Field(take_field(rest)?),
            Kind::Stream => return self.take_stream_item().map(|item| item.map(Item::Stream)),
        }))
    }

    /// [`Items::take`] for a stream's part.
    ///
    /// # Errors
    /// [`BadValue`].
    pub fn take_stream_item(&mut self) -> Result<Option<StreamItem<'a>>, BadValue> {
        let rest = &mut self.rest;
        let Some(tag) = rest.split_off_first() else { return Ok(None) };
        Ok(Some(match *tag {
            tag @ (HEADER | LATE_HEADER) => {
                let (last_id, max_deleted_id) = (take_whole_id(rest)?, take_whole_id(rest)?);
                let header = StreamHeader { last_id, max_deleted_id, entries_added: take_number(rest)? };
                StreamItem::Header { header, late: tag == LATE_HEADER }
            }
            tag @ (ENTRY | SAME_FIELDS) => {
                self.last_entry = take_id(rest, self.last_entry)?;
                take_words(rest, tag == SAME_FIELDS, &mut self.words)?;
                StreamItem::Entry(self.last_entry)
            }
            GROUP => {
                self.last_pending = Id::MIN;
                let name = take_bytes(rest)?;
                let last_id = take_whole_id(rest)?;
                StreamItem::Group { name, last_id, entries_read: take_optional(rest)? }
            }
            CONSUMER => {
                let number = ConsumerNumber(take_number(rest)?);
                let name = take_bytes(rest)?;
                let (seen_ms, active_ms) = (take_number(rest)?, take_optional(rest)?);
                StreamItem::Consumer { number, name, seen_ms, active_ms }
            }
            PENDING => {
                let id = take_id(rest, self.last_pending)?;
                self.last_pending = id;
                let consumer = ConsumerNumber(take_number(rest)?);
                let (delivered_ms, deliveries) = (take_number(rest)?, take_number(rest)?);
                StreamItem::Pending(Pending { id, delivered_ms, deliveries, consumer })
            }
            _ => return Err(BadValue::Stream),
        }))
    }
}

/// Takes fields and values by turns into `words`; with `same` the fields are those that `words` holds.
fn take_words<'a>(rest: &mut &'a [u8], same: bool, words: &mut Vec<&'a [u8]>) -> Result<(), BadValue> {
    if same {
        if words.is_empty() {
            return Err(BadValue::Stream);
        }
        for value in words.iter_mut().skip(1).step_by(2) {
            *value = take_bytes(rest)?;
        }
        return Ok(());
    }
    let fields = take_number(rest)?;
    words.clear();
    if fields == 0 {
        return Err(BadValue::Empty);
    }
    // Every field takes two bytes at least: more than there can be is an error before memory is taken.
    if fields > (rest.len() / 2) as u64 {
        return Err(BadValue::Short);
    }
    for _ in 0..fields * 2 {
        words.push(take_bytes(rest)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Collection, Shaping};
    use super::*;
    use crate::key::HashSeed;
    use proptest::prelude::*;

    fn decodes(kind: Kind, part: &[u8]) -> bool {
        let mut collection = Collection::new(kind);
        collection.decode_part(part, &Shaping::new(HashSeed([3; 16]))).is_ok() && !collection.is_gone()
    }

    fn part(kind: Kind, names: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        for (at, name) in names.iter().enumerate() {
            match kind {
                Kind::SortedSet => put_scored(&mut out, name, at as f64),
                Kind::Hash => {
                    let deadline = (at % 2 == 1).then_some(7);
                    put_field(&mut out, Field { name, value: b"value", deadline });
                }
                _ => put_bytes(&mut out, name),
            }
        }
        out
    }

    const KINDS: [Kind; 4] = [Kind::List, Kind::Set, Kind::SortedSet, Kind::Hash];

    #[test]
    fn small_collections_of_distinct_elements_are_found_sound() {
        let names: Vec<Vec<u8>> = (0..COMPARED_MAX).map(|n| format!("element {n:04}").into_bytes()).collect();
        for kind in KINDS {
            for count in [1, 2, COMPARED_MAX] {
                assert!(is_sound(kind, &part(kind, &names[..count])), "{kind:?} {count}");
            }
            assert!(!is_sound(kind, &[]));
            let twice = [&names[..20], &names[7..8]].concat();
            assert_eq!(is_sound(kind, &part(kind, &twice)), kind == Kind::List);
        }
        assert!(!is_sound(Kind::SortedSet, &[&f64::NAN.to_le_bytes()[..], b"\x01a"].concat()));
    }

    proptest! {
        #[test]
        fn what_is_found_sound_decodes(names in prop::collection::vec(prop::collection::vec(0u8..3, 0..4), 0..12), cut in 0usize..6, kind in 0usize..4) {
            let kind = KINDS[kind];
            let whole = part(kind, &names);
            let bytes = &whole[..whole.len().saturating_sub(cut)];
            prop_assert!(!is_sound(kind, bytes) || decodes(kind, bytes));
        }

        #[test]
        fn any_bytes_that_are_found_sound_decode(bytes in prop::collection::vec(0u8..9, 0..40), kind in 0usize..4) {
            prop_assert!(!is_sound(KINDS[kind], &bytes) || decodes(KINDS[kind], &bytes));
        }
    }
}
