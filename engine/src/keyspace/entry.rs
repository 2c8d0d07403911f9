//! One entry as bytes, in snapshots and wherever whole entries travel: `FORMAT.md`, "Entry".
//!
//! 1. Decoding is pure, takes no memory, and believes no length before it has compared it with what is there.
//! 2. Every way to be wrong has a name. The checksums around entries were right when these bytes are read, so a bad entry is a
//!    defect of the writer or a newer format, not a flipped bit.
//! 3. A large collection is stored in several parts, each an entry of the same key; [`Assembly`] puts them together again.

use super::{Entry, Value};
use crate::limits::STRING_LEN_LIMIT;
use crate::log::pending::{put_varint, take_varint};
use crate::value::{BadValue, Collection, CollectionView, Kind, Shaping};

const TYPE_MASK: u8 = 0x0f;
/// Not the first part.
const CONTINUES: u8 = 1 << 4;
/// Not the last part.
const CONTINUED: u8 = 1 << 5;
const HAS_ACCESS: u8 = 1 << 6;
const HAS_DEADLINE: u8 = 1 << 7;

/// Of [`Entry::access`] the lower bits are not stored: they tell apart what was used within one second.
const ACCESS_DROPPED: u32 = 8;

/// What an entry takes at most beyond the bytes of its key and its value: kind, deadline, access, two lengths.
pub const ENTRY_OVERHEAD_MAX: usize = 1 + 8 + 3 + 10 + 10;

/// Appends `entry` to `out`, in one part.
pub fn encode(entry: &Entry<'_>, out: &mut Vec<u8>) {
    match entry.value {
        Value::String(value) => {
            out.reserve(entry.key.len() + value.len() + ENTRY_OVERHEAD_MAX);
            put_head(Kind::String as u8, entry.key, entry.deadline, entry.access, out);
            put_varint(out, value.len() as u64);
            out.extend_from_slice(value);
        }
        Value::Collection(view) => {
            put_head(view.kind() as u8, entry.key, entry.deadline, entry.access, out);
            put_body(view, 0, usize::MAX, out);
        }
    }
}

/// Appends the next part of a large entry to `out`, about `budget` bytes of its value, from `from` on (0 for the first); says where to
/// go on, `None` when this was the last part.
pub fn encode_part(entry: &Entry<'_>, from: u64, budget: usize, out: &mut Vec<u8>) -> Option<u64> {
    let Value::Collection(view) = entry.value else {
        encode(entry, out);
        return None;
    };
    let kind = out.len();
    let first = if from == 0 { 0 } else { CONTINUES };
    put_head(view.kind() as u8 | first, entry.key, entry.deadline, entry.access, out);
    let next = put_body(view, from, budget, out);
    if next.is_some() {
        out[kind] |= CONTINUED;
    }
    next
}

fn put_head(kind: u8, key: &[u8], deadline: Option<u64>, access: u32, out: &mut Vec<u8>) {
    let access = access >> ACCESS_DROPPED;
    let mut kind = kind;
    if deadline.is_some() {
        kind |= HAS_DEADLINE;
    }
    if access != 0 {
        kind |= HAS_ACCESS;
    }
    out.push(kind);
    if let Some(deadline) = deadline {
        out.extend_from_slice(&deadline.to_le_bytes());
    }
    if access != 0 {
        out.extend_from_slice(&access.to_le_bytes()[..3]);
    }
    put_varint(out, key.len() as u64);
    out.extend_from_slice(key);
}

/// A length of four bytes, known only afterwards, and so many bytes of elements.
fn put_body(view: CollectionView<'_>, from: u64, budget: usize, out: &mut Vec<u8>) -> Option<u64> {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    let next = view.encode(from, budget, out);
    let len = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&len.to_le_bytes());
    next
}

/// Why bytes are not an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadEntry {
    /// They end inside it.
    #[error("the bytes end inside an entry")]
    Short,
    /// A kind byte that this build does not know.
    #[error("an entry has kind {0:#04x}, which this build does not know")]
    Kind(u8),
    /// A length that is no varint, or above the limit.
    #[error("an entry has a length above {STRING_LEN_LIMIT} or one that does not decode")]
    Length,
    /// An access field that says nothing: a writer leaves it out.
    #[error("an entry has an empty access field")]
    Access,
    /// A part that does not follow the part before.
    #[error("a part of a large entry is missing, or follows the wrong one")]
    Part,
    /// The elements of a collection.
    #[error("a collection does not decode: {0}")]
    Value(#[from] BadValue),
}

/// One entry, or one part of a large one, as it is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stored<'a> {
    /// The key's bytes.
    pub key: &'a [u8],
    /// The value's type.
    pub kind: Kind,
    /// A string's bytes, or elements as the type writes them.
    pub body: &'a [u8],
    /// As [`Entry::deadline`].
    pub deadline: Option<u64>,
    /// As [`Entry::access`].
    pub access: u32,
    /// It goes on with the value of the entry before.
    pub continues: bool,
    /// The next entry goes on with its value.
    pub continued: bool,
}

/// Takes the entry off the front of `bytes`. On an error `bytes` is as it was.
///
/// # Errors
/// [`BadEntry`].
pub fn take<'a>(bytes: &mut &'a [u8]) -> Result<Stored<'a>, BadEntry> {
    let mut rest = *bytes;
    let byte = rest.split_off_first().copied().ok_or(BadEntry::Short)?;
    let kind = Kind::from_number(byte & TYPE_MASK).ok_or(BadEntry::Kind(byte))?;
    let (continues, continued) = (byte & CONTINUES != 0, byte & CONTINUED != 0);
    // Strings are always whole.
    if kind == Kind::String && (continues || continued) {
        return Err(BadEntry::Kind(byte));
    }
    let deadline = if byte & HAS_DEADLINE != 0 {
        let (field, after) = rest.split_first_chunk::<8>().ok_or(BadEntry::Short)?;
        rest = after;
        Some(u64::from_le_bytes(*field))
    } else {
        None
    };
    let mut access = 0;
    if byte & HAS_ACCESS != 0 {
        let ([low, middle, high], after) = rest.split_first_chunk::<3>().ok_or(BadEntry::Short)?;
        rest = after;
        access = u32::from_le_bytes([*low, *middle, *high, 0]) << ACCESS_DROPPED;
        if access == 0 {
            return Err(BadEntry::Access);
        }
    }
    let key = take_string(&mut rest)?;
    let body = if kind == Kind::String {
        take_string(&mut rest)?
    } else {
        let (len, after) = rest.split_first_chunk::<4>().ok_or(BadEntry::Short)?;
        rest = after;
        rest.split_off(..u32::from_le_bytes(*len) as usize).ok_or(BadEntry::Short)?
    };
    *bytes = rest;
    Ok(Stored { key, kind, body, deadline, access, continues, continued })
}

/// Takes a length and so many bytes: a key, a string, an element of a collection.
///
/// # Errors
/// [`BadEntry::Short`], [`BadEntry::Length`].
pub fn take_string<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], BadEntry> {
    let before = bytes.len();
    let Some(len) = take_varint(bytes) else {
        // Fewer than ten bytes, all of which say that more follow: cut. Else not a varint.
        let cut = before < 10 && bytes.iter().all(|byte| *byte >= 0x80);
        return Err(if cut { BadEntry::Short } else { BadEntry::Length });
    };
    if len > STRING_LEN_LIMIT as u64 {
        return Err(BadEntry::Length);
    }
    bytes.split_off(..len as usize).ok_or(BadEntry::Short)
}

/// A value whose last part has come.
#[derive(Debug)]
pub enum Whole<'a> {
    /// A string.
    String(&'a [u8]),
    /// A collection.
    Collection(Collection),
}

impl Whole<'_> {
    /// To read it.
    pub fn value(&self) -> Value<'_> {
        match self {
            Whole::String(bytes) => Value::String(bytes),
            Whole::Collection(collection) => Value::Collection(collection.view()),
        }
    }
}

impl<'a> Stored<'a> {
    /// The entry, whose value was put together.
    pub fn entry<'w>(&self, whole: &'w Whole<'_>) -> Entry<'w>
    where
        'a: 'w,
    {
        Entry { key: self.key, value: whole.value(), deadline: self.deadline, edited: false, access: self.access }
    }
}

/// Puts the parts of large entries together; others pass through.
#[derive(Debug, Default)]
pub struct Assembly {
    open: Option<(Box<[u8]>, Collection)>,
}

impl Assembly {
    /// The value, if this was its last part.
    ///
    /// # Errors
    /// [`BadEntry`]; what was begun is thrown away.
    pub fn push<'a>(&mut self, stored: &Stored<'a>, shaping: &Shaping) -> Result<Option<Whole<'a>>, BadEntry> {
        let (key, mut collection) = match self.open.take() {
            Some((key, collection)) if stored.continues && *key == *stored.key && collection.kind() == stored.kind => {
                (key, collection)
            }
            None if !stored.continues && stored.kind == Kind::String => return Ok(Some(Whole::String(stored.body))),
            None if !stored.continues => (Box::default(), Collection::new(stored.kind)),
            _ => return Err(BadEntry::Part),
        };
        collection.decode_part(stored.body, shaping)?;
        if !stored.continued {
            if collection.is_gone() {
                return Err(BadEntry::Value(BadValue::Empty));
            }
            if !collection.is_whole() {
                return Err(BadEntry::Value(BadValue::Stream));
            }
            return Ok(Some(Whole::Collection(collection)));
        }
        let key = if key.is_empty() { stored.key.into() } else { key };
        self.open = Some((key, collection));
        Ok(None)
    }

    /// Whether a part is missing.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EXAMPLE: Entry<'_> = Entry {
        key: b"name",
        value: Value::String(b"firn"),
        deadline: Some(0x0102_0304_0506_0708),
        edited: false,
        access: 0xaabb_cc00,
    };

    /// The bytes of FORMAT.md: a change of the format fails here.
    #[test]
    fn golden_entry() {
        let mut bytes = Vec::new();
        encode(&EXAMPLE, &mut bytes);
        assert_eq!(bytes, b"\xc0\x08\x07\x06\x05\x04\x03\x02\x01\xcc\xbb\xaa\x04name\x04firn");
        bytes.clear();
        encode(&Entry { deadline: None, access: 0, key: b"", ..EXAMPLE }, &mut bytes);
        assert_eq!(bytes, b"\x00\x00\x04firn");
    }

    #[test]
    fn every_cut_is_short_and_leaves_the_bytes() {
        let mut bytes = Vec::new();
        encode(&EXAMPLE, &mut bytes);
        for cut in 0..bytes.len() {
            let mut rest = &bytes[..cut];
            assert_eq!(take(&mut rest), Err(BadEntry::Short), "cut at {cut}");
            assert_eq!(rest.len(), cut);
        }
    }

    // `proto-max-bulk-len` can be raised above its default: what a client may write then has to be read back.
    #[test]
    fn the_longest_key_and_value_that_can_be_configured_are_taken() {
        let of = |words: &[&[u8]]| [b"\x00", words.concat().as_slice()].concat();
        let mut length = Vec::new();
        put_varint(&mut length, STRING_LEN_LIMIT as u64);
        assert_eq!(take(&mut of(&[&length]).as_slice()), Err(BadEntry::Short));
        assert_eq!(take(&mut of(&[b"\x01k", &length]).as_slice()), Err(BadEntry::Short));
        assert_eq!(crate::value::part::take_bytes(&mut length.as_slice()), Err(BadValue::Short));
    }

    #[test]
    fn every_unknown_kind_and_wrong_length_is_named() {
        for kind in 0..=255u8 {
            let mut bytes: &[u8] = &[[kind].as_slice(), &[1; 40]].concat();
            let collection = (1..=5).contains(&(kind & TYPE_MASK));
            let known = collection || matches!(kind, 0x00 | 0x40 | 0x80 | 0xc0);
            let expected = if collection { Some(BadEntry::Short) } else { Some(BadEntry::Kind(kind)) };
            assert_eq!(take(&mut bytes).err(), expected.filter(|_| collection || !known));
        }
        let too_long = [b"\x00".as_slice(), &{
            let mut length = Vec::new();
            put_varint(&mut length, STRING_LEN_LIMIT as u64 + 1);
            length
        }]
        .concat();
        assert_eq!(take(&mut too_long.as_slice()), Err(BadEntry::Length));
        assert_eq!(take(&mut [b"\x00".as_slice(), &[0xff; 10]].concat().as_slice()), Err(BadEntry::Length));
        assert_eq!(take(&mut b"\x40\x00\x00\x00\x00\x00".as_slice()), Err(BadEntry::Access));
    }

    proptest! {
        #[test]
        fn entries_round_trip(key: Vec<u8>, value: Vec<u8>, deadline: Option<u64>, access in 0u32..1 << 24) {
            let access = access << ACCESS_DROPPED;
            let entry = Entry { key: &key, value: Value::String(&value), deadline, edited: false, access };
            let mut bytes = Vec::new();
            encode(&entry, &mut bytes);
            prop_assert!(bytes.len() <= key.len() + value.len() + ENTRY_OVERHEAD_MAX);
            bytes.push(9);
            let mut rest = bytes.as_slice();
            let taken = take(&mut rest);
            let whole = Whole::String(&value);
            prop_assert_eq!(taken.map(|stored| stored.entry(&whole)), Ok(entry));
            prop_assert_eq!(rest, &[9]);
        }

        #[test]
        fn any_bytes_give_an_entry_or_an_error(bytes: Vec<u8>) {
            let mut rest = bytes.as_slice();
            while let Ok(entry) = take(&mut rest) {
                prop_assert!(entry.key.len() <= bytes.len());
            }
        }
    }
}
