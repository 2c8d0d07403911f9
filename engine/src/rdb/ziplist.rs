//! Ziplists: the packed runs of Redis before 7.0.
//!
//! ```text
//! ziplist = u32 length of all | u32 place of the last entry | u16 count (65535: count them) | entry* | 0xff
//! entry   = length of the entry before: u8, or 0xfe u32 | head | bytes
//! head    = 00nnnnnn | 01nnnnnn n8 | 0x80 n32 BE: so many bytes
//!         | 0xc0 i16 | 0xd0 i32 | 0xe0 i64 | 0xf0 i24 | 0xfe i8 | 1111nnnn: n - 1
//! ```

use super::error::BadRdb;
use crate::value::listpack::Element;

const HEADER_LEN: usize = 10;
const END: u8 = 0xff;
const COUNT_UNKNOWN: u16 = u16::MAX;

/// Hands on every element. All lengths, backward ones too, are checked.
pub(super) fn each(bytes: &[u8], see: &mut dyn FnMut(Element<'_>) -> Result<(), BadRdb>) -> Result<(), BadRdb> {
    let bad = BadRdb::Ziplist;
    let (header, mut rest) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(bad)?;
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]) as usize;
    let (len, tail) = (number(0), number(4));
    let count = u16::from_le_bytes([header[8], header[9]]);
    if len != bytes.len() {
        return Err(bad);
    }
    let (mut found, mut previous, mut last) = (0usize, 0, HEADER_LEN);
    loop {
        let at = len - rest.len();
        if *rest.first().ok_or(bad)? == END {
            break;
        }
        let before = match rest.split_off_first().ok_or(bad)? {
            0xfe => u32::from_le_bytes(take(&mut rest)?) as usize,
            short => usize::from(*short),
        };
        if before != previous {
            return Err(bad);
        }
        see(element(&mut rest)?)?;
        (previous, last) = (len - rest.len() - at, at);
        found += 1;
    }
    let counted = count == COUNT_UNKNOWN || usize::from(count) == found;
    if rest.len() == 1 && tail == last && counted { Ok(()) } else { Err(bad) }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], BadRdb> {
    let (bytes, behind) = rest.split_first_chunk().ok_or(BadRdb::Ziplist)?;
    *rest = behind;
    Ok(*bytes)
}

fn element<'a>(rest: &mut &'a [u8]) -> Result<Element<'a>, BadRdb> {
    let [first] = take(rest)?;
    let len = match first {
        0..=0x3f => usize::from(first),
        0x40..=0x7f => usize::from(first & 0x3f) << 8 | usize::from(take::<1>(rest)?[0]),
        0x80 => u32::from_be_bytes(take(rest)?) as usize,
        0xc0 => return Ok(Element::Integer(i64::from(i16::from_le_bytes(take(rest)?)))),
        0xd0 => return Ok(Element::Integer(i64::from(i32::from_le_bytes(take(rest)?)))),
        0xe0 => return Ok(Element::Integer(i64::from_le_bytes(take(rest)?))),
        0xf0 => {
            let [low, middle, high] = take(rest)?;
            return Ok(Element::Integer(i64::from(i32::from_le_bytes([0, low, middle, high]) >> 8)));
        }
        0xfe => return Ok(Element::Integer(i64::from(i8::from_le_bytes(take(rest)?)))),
        0xf1..=0xfd => return Ok(Element::Integer(i64::from(first & 0xf) - 1)),
        _ => return Err(BadRdb::Ziplist),
    };
    Ok(Element::Bytes(rest.split_off(..len).ok_or(BadRdb::Ziplist)?))
}
