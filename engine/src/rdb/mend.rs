//! Bytes of a file that were changed in place, found and put right by the file's checksum.
//!
//! A CRC is linear: what the stated and the computed one differ by is the change itself, carried over all bytes behind it. Carried back, byte by
//! byte, it stands alone where the change is. Of two bytes side by side a file of 2 GB has 2^47 changes, so that one in 10^5 files whose damage is
//! another would be "mended" by mistake: what is found is used to read, and is told, but the file is not changed.

use super::VERSION_WITH_CHECKSUM;
use super::input::crc64_digest;
use super::reader::Header;
use std::io::{self, Read};

/// The polynomial, reflected.
const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;
/// Length of the checksum.
const CHECKSUM_LEN: u64 = 8;
/// Bytes that are read at a time.
const BUFFER_LEN: usize = 256 * 1024;

/// What one zero byte makes of a checksum's lowest byte.
static TABLE: [u64; 256] = table();
/// The other way round: which byte it was, by the highest byte of what was made of it.
static INVERSE: [u8; 256] = inverse();

const fn table() -> [u64; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ POLYNOMIAL } else { value >> 1 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
}

const fn inverse() -> [u8; 256] {
    let table = table();
    let mut inverse = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        inverse[(table[byte] >> 56) as usize] = byte as u8;
        byte += 1;
    }
    inverse
}

/// A change of one byte, or of two side by side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// Where.
    pub offset: u64,
    /// What the bytes are to be combined with (exclusive or) to be again what they were.
    pub mask: [u8; 2],
}

impl Change {
    /// Puts the bytes of `place`, which are those at `offset` of the file, right.
    pub fn undo(&self, place: &mut [u8], offset: u64) {
        for (number, mask) in self.mask.iter().enumerate() {
            let at = (self.offset + number as u64).checked_sub(offset).and_then(|at| usize::try_from(at).ok());
            if let Some(byte) = at.and_then(|at| place.get_mut(at)) {
                *byte ^= mask;
            }
        }
    }
}

/// What the checksum of a file says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// It is right, or there is none.
    Nothing,
    /// It is wrong, and one change explains that.
    Change(Change),
    /// It is wrong, and the change is another, or several.
    Otherwise,
}

/// Looks for the one change that explains why the checksum of an RDB file of `len` bytes is wrong.
///
/// # Errors
/// The source's.
pub fn find(mut source: impl Read, len: u64) -> io::Result<Found> {
    let Some(summed) = len.checked_sub(CHECKSUM_LEN) else { return Ok(Found::Otherwise) };
    let (mut digest, mut left, mut buffer) = (crc64_digest(), summed, vec![0; BUFFER_LEN]);
    let mut first = true;
    while left > 0 {
        let wanted = usize::try_from(left).map_or(BUFFER_LEN, |left| left.min(BUFFER_LEN));
        source.read_exact(&mut buffer[..wanted])?;
        if std::mem::take(&mut first) {
            let header = buffer.first_chunk().and_then(|head| Header::decode(head).ok());
            if header.is_some_and(|header| header.version < VERSION_WITH_CHECKSUM) {
                return Ok(Found::Nothing);
            }
        }
        digest.update(&buffer[..wanted]);
        left -= wanted as u64;
    }
    let mut stated = [0; CHECKSUM_LEN as usize];
    source.read_exact(&mut stated)?;
    let stated = u64::from_le_bytes(stated);
    let difference = stated ^ digest.finalize();
    Ok(match locate(difference, summed) {
        _ if stated == 0 || difference == 0 => Found::Nothing,
        Some(change) => Found::Change(change),
        None => Found::Otherwise,
    })
}

/// Where a change is that makes such a difference of the checksums of `len` bytes.
fn locate(difference: u64, len: u64) -> Option<Change> {
    if difference == 0 {
        return None;
    }
    // The checksum itself.
    let first = difference.trailing_zeros() / 8;
    if let Ok(mask) = u16::try_from(difference >> (8 * first)) {
        return Some(Change { offset: len + u64::from(first), mask: mask.to_le_bytes() });
    }
    let mut carried = difference;
    for offset in (0..len).rev() {
        let byte = INVERSE[(carried >> 56) as usize];
        carried = ((carried ^ TABLE[usize::from(byte)]) << 8) | u64::from(byte);
        if let Ok(mask) = u16::try_from(carried)
            && (mask < 256 || offset + 1 < len)
        {
            return Some(Change { offset, mask: mask.to_le_bytes() });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::input::crc64;
    use super::*;

    fn file() -> Vec<u8> {
        let mut bytes = b"REDIS0011".to_vec();
        bytes.extend((0..3000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8));
        bytes.extend_from_slice(&crc64(&bytes).to_le_bytes());
        bytes
    }

    #[test]
    fn one_byte_or_two_side_by_side_are_found_wherever_they_are() {
        let whole = file();
        assert_eq!(find(&whole[..], whole.len() as u64).unwrap(), Found::Nothing);
        for at in 9..whole.len() {
            for (mask, len) in [([0x10, 0], 1), ([0xff, 0x01], 2), ([0x80, 0x80], 2)] {
                // Not over the border of the checksum.
                if at + len > whole.len() || (at < whole.len() - 8) != (at + len <= whole.len() - 8) {
                    continue;
                }
                let mut changed = whole.clone();
                changed[at..at + len].iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
                let Found::Change(change) = find(&changed[..], changed.len() as u64).unwrap() else { panic!("{at}") };
                change.undo(&mut changed, 0);
                assert!(changed == whole, "{at}: {change:?}");
            }
        }
    }

    #[test]
    fn what_is_no_such_change_is_not_mended() {
        let whole = file();
        let mut changed = whole.clone();
        for at in [100, 101, 102, 2000] {
            changed[at] ^= 0x55;
        }
        assert_eq!(find(&changed[..], changed.len() as u64).unwrap(), Found::Otherwise);
        assert_eq!(find(&whole[..whole.len() - 1], whole.len() as u64 - 1).unwrap(), Found::Otherwise);
        assert_eq!(find(&b"REDIS"[..], 5).unwrap(), Found::Otherwise);
    }

    #[test]
    fn a_change_is_undone_where_a_buffer_has_it() {
        let change = Change { offset: 9, mask: [1, 2] };
        for (offset, expected) in [(0, [0; 4]), (6, [0, 0, 0, 1]), (8, [0, 1, 2, 0]), (10, [2, 0, 0, 0]), (20, [0; 4])]
        {
            let mut place = [0; 4];
            change.undo(&mut place, offset);
            assert_eq!(place, expected, "{offset}");
        }
    }
}
