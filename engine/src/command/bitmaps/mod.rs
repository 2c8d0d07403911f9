//! Bitmaps: strings as arrays of bits, the first bit being the highest of the first byte.
//!
//! `words` has the loops over many bits, `single` SETBIT and GETBIT, `search` BITCOUNT and BITPOS, `combine` BITOP, `field` BITFIELD.
//! A large bitmap is changed in place; nothing here copies one to set a bit.

mod combine;
mod field;
mod search;
mod single;
#[cfg(test)]
mod tests;
mod words;

use super::{Call, Command, CommandError};
use crate::number::parse_integer;

/// The commands of this family.
pub(super) static COMMANDS: &[&Command] = &[
    &single::SETBIT,
    &single::GETBIT,
    &search::BITCOUNT,
    &search::BITPOS,
    &combine::BITOP,
    &field::BITFIELD,
    &field::BITFIELD_RO,
];

/// A bit's place in a string: byte, and bit of it from the highest (0) on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct BitOffset {
    byte: usize,
    bit: u32,
}

impl BitOffset {
    /// Reads an offset in bits; with `width`, `#n` counts fields of so many bits. What lies behind `proto-max-bulk-len` is no offset.
    fn parse(call: &Call<'_>, word: &[u8], width: Option<u32>) -> Result<BitOffset, CommandError> {
        let offset = match (word, width) {
            ([b'#', number @ ..], Some(width)) => {
                parse_integer(number).and_then(|number| number.checked_mul(i64::from(width)))
            }
            _ => parse_integer(word),
        };
        let error = CommandError::Text("ERR bit offset is not an integer or out of range".into());
        let Some(offset) = offset.and_then(|offset| u64::try_from(offset).ok()) else { return Err(error) };
        let byte = usize::try_from(offset >> 3).unwrap_or(usize::MAX);
        // Replay believes its records: the setting may have been lowered since.
        if byte >= call.engine.settings.string_len_max && !call.engine.replaying {
            return Err(error);
        }
        Ok(BitOffset { byte, bit: (offset & 7) as u32 })
    }
}
