//! Zipmaps: small hashes of Redis before 2.6.
//!
//! ```text
//! zipmap = u8 count (0xfe and above: count them) | (length name | length u8 free bytes, value, free)* | 0xff
//! length = u8 below 0xfe, or 0xfe u32 LE
//! ```

use super::error::BadRdb;

const END: u8 = 0xff;
const COUNT_UNKNOWN: u8 = 0xfe;

/// Hands on every pair of name and value.
pub(super) fn each(bytes: &[u8], see: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), BadRdb> {
    let bad = BadRdb::Zipmap;
    let (&count, mut rest) = bytes.split_first().ok_or(bad)?;
    let mut found = 0usize;
    while *rest.first().ok_or(bad)? != END {
        let len = length(&mut rest)?;
        let name = rest.split_off(..len).ok_or(bad)?;
        let len = length(&mut rest)?;
        let free = usize::from(*rest.split_off_first().ok_or(bad)?);
        let value = rest.split_off(..len).ok_or(bad)?;
        rest.split_off(..free).ok_or(bad)?;
        see(name, value);
        found += 1;
    }
    let counted = count >= COUNT_UNKNOWN || usize::from(count) == found;
    if rest.len() == 1 && counted { Ok(()) } else { Err(bad) }
}

fn length(rest: &mut &[u8]) -> Result<usize, BadRdb> {
    match *rest.split_off_first().ok_or(BadRdb::Zipmap)? {
        0xfe => {
            let (len, behind) = rest.split_first_chunk().ok_or(BadRdb::Zipmap)?;
            *rest = behind;
            Ok(u32::from_le_bytes(*len) as usize)
        }
        END => Err(BadRdb::Zipmap),
        len => Ok(usize::from(len)),
    }
}
