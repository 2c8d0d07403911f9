//! Intsets: sorted arrays of integers of one width (2, 4 or 8 bytes): `u32 width | u32 count | integers`, all little-endian.

use super::error::BadRdb;

const HEADER_LEN: usize = 8;

/// Hands on every integer, in order.
pub(super) fn each(bytes: &[u8], see: &mut dyn FnMut(i64)) -> Result<(), BadRdb> {
    let bad = BadRdb::Intset;
    let (header, body) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(bad)?;
    let width = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let count = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
    if !matches!(width, 2 | 4 | 8) || count.checked_mul(width) != Some(body.len()) {
        return Err(bad);
    }
    let mut previous = None;
    for element in body.chunks_exact(width) {
        let mut bytes = [0; 8];
        bytes[8 - width..].copy_from_slice(element);
        let value = i64::from_le_bytes(bytes) >> (64 - 8 * width);
        if previous.is_some_and(|previous| value <= previous) {
            return Err(bad);
        }
        see(value);
        previous = Some(value);
    }
    Ok(())
}

/// Appends the intset of integers that are in order.
pub(super) fn encode(values: &[i64], out: &mut Vec<u8>) {
    let fits = |width: u32| {
        let limit = 1i64 << (width * 8 - 1);
        values.iter().all(|value| (-limit..limit).contains(value))
    };
    let width = [2, 4].into_iter().find(|width| fits(*width)).unwrap_or(8);
    out.extend_from_slice(&width.to_le_bytes());
    out.extend_from_slice(&(values.len() as u32).to_le_bytes());
    for value in values {
        out.extend_from_slice(&value.to_le_bytes()[..width as usize]);
    }
}
