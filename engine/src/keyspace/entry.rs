//! One entry as bytes, in snapshots and wherever whole entries travel: `FORMAT.md`, "Entry".
//!
//! 1. Decoding is pure, takes no memory, and believes no length before it has compared it with what is there.
//! 2. Every way to be wrong has a name. The checksums around entries were right when these bytes are read, so a bad entry is a
//!    defect of the writer or a newer format, not a flipped bit.

use super::{Entry, Value};
use crate::limits::STRING_LEN_MAX;
use crate::log::pending::{put_varint, take_varint};

const TYPE_MASK: u8 = 0x0f;
const TYPE_STRING: u8 = 0;
const CONTINUED: u8 = 1 << 5;
const HAS_ACCESS: u8 = 1 << 6;
const HAS_DEADLINE: u8 = 1 << 7;

/// What an entry takes at most beyond the bytes of its key and its value: kind, deadline, access, two lengths.
pub const ENTRY_OVERHEAD_MAX: usize = 1 + 8 + 3 + 10 + 10;

/// Appends `entry` to `out`.
pub fn encode(entry: &Entry<'_>, out: &mut Vec<u8>) {
    let Value::String(value) = entry.value;
    let access = entry.access & 0x00ff_ffff;
    let mut kind = TYPE_STRING;
    if entry.deadline.is_some() {
        kind |= HAS_DEADLINE;
    }
    if access != 0 {
        kind |= HAS_ACCESS;
    }
    out.reserve(entry.key.len() + value.len() + ENTRY_OVERHEAD_MAX);
    out.push(kind);
    if let Some(deadline) = entry.deadline {
        out.extend_from_slice(&deadline.to_le_bytes());
    }
    if access != 0 {
        out.extend_from_slice(&access.to_le_bytes()[..3]);
    }
    put_varint(out, entry.key.len() as u64);
    out.extend_from_slice(entry.key);
    put_varint(out, value.len() as u64);
    out.extend_from_slice(value);
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
    #[error("an entry has a length above {STRING_LEN_MAX} or one that does not decode")]
    Length,
    /// An access field that says nothing: a writer leaves it out.
    #[error("an entry has an empty access field")]
    Access,
}

/// Takes the entry off the front of `bytes`. On an error `bytes` is as it was.
///
/// # Errors
/// [`BadEntry`].
pub fn take<'a>(bytes: &mut &'a [u8]) -> Result<Entry<'a>, BadEntry> {
    let mut rest = *bytes;
    let kind = rest.split_off_first().copied().ok_or(BadEntry::Short)?;
    // Strings are never continued: that bit is for collections of later formats.
    if kind & !(HAS_ACCESS | HAS_DEADLINE) != TYPE_STRING {
        debug_assert_ne!(kind & (TYPE_MASK | CONTINUED | 1 << 4), 0);
        return Err(BadEntry::Kind(kind));
    }
    let deadline = if kind & HAS_DEADLINE != 0 {
        let (field, after) = rest.split_first_chunk::<8>().ok_or(BadEntry::Short)?;
        rest = after;
        Some(u64::from_le_bytes(*field))
    } else {
        None
    };
    let mut access = 0;
    if kind & HAS_ACCESS != 0 {
        let ([low, middle, high], after) = rest.split_first_chunk::<3>().ok_or(BadEntry::Short)?;
        rest = after;
        access = u32::from_le_bytes([*low, *middle, *high, 0]);
        if access == 0 {
            return Err(BadEntry::Access);
        }
    }
    let key = take_string(&mut rest)?;
    let value = take_string(&mut rest)?;
    *bytes = rest;
    Ok(Entry { key, value: Value::String(value), deadline, edited: false, access })
}

/// Takes a length and so many bytes.
fn take_string<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], BadEntry> {
    let before = bytes.len();
    let Some(len) = take_varint(bytes) else {
        // Fewer than ten bytes, all of which say that more follow: cut. Else not a varint.
        let cut = before < 10 && bytes.iter().all(|byte| *byte >= 0x80);
        return Err(if cut { BadEntry::Short } else { BadEntry::Length });
    };
    if len > STRING_LEN_MAX as u64 {
        return Err(BadEntry::Length);
    }
    bytes.split_off(..len as usize).ok_or(BadEntry::Short)
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
        access: 0x00aa_bbcc,
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

    #[test]
    fn every_unknown_kind_and_wrong_length_is_named() {
        for kind in 0..=255u8 {
            let mut bytes: &[u8] = &[[kind].as_slice(), &[1; 40]].concat();
            let known = matches!(kind, 0x00 | 0x40 | 0x80 | 0xc0);
            assert_eq!(take(&mut bytes).err(), (!known).then_some(BadEntry::Kind(kind)));
        }
        let too_long = [b"\x00".as_slice(), &{
            let mut length = Vec::new();
            put_varint(&mut length, STRING_LEN_MAX as u64 + 1);
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
            let entry = Entry { key: &key, value: Value::String(&value), deadline, edited: false, access };
            let mut bytes = Vec::new();
            encode(&entry, &mut bytes);
            prop_assert!(bytes.len() <= key.len() + value.len() + ENTRY_OVERHEAD_MAX);
            bytes.push(9);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(take(&mut rest), Ok(entry));
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
