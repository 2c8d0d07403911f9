//! The bytes of FUNCTION DUMP: as Redis and Valkey write them, and read them.
//!
//! ```text
//! payload = (245 | string)* | RDB version, u16 LE | CRC-64 of all before, u64 LE
//! string  = length | bytes, or 0xC3 | compressed length | length | LZF
//! ```
//! No length is believed before so many bytes are there; a text has a bound before it is unpacked.

use super::sandbox::SOURCE_LEN_MAX;

const LIBRARY: u8 = 245;
/// The version that is written: Redis 7.2's.
const RDB_VERSION: u16 = 11;
/// The newest that is read: Valkey 9's.
const RDB_VERSION_MAX: u16 = 80;
const FOOTER_LEN: usize = 10;
const BAD_CHECKSUM: &str = "DUMP payload version or checksum are wrong";
const BAD_PAYLOAD: &str = "failed loading the given functions payload";

/// Writes libraries' texts.
pub(super) fn write<'s>(sources: impl Iterator<Item = &'s [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    for source in sources {
        out.push(LIBRARY);
        match source.len() {
            len @ 0..=0x3f => out.push(len as u8),
            len @ 0x40..=0x3fff => out.extend_from_slice(&[0x40 | (len >> 8) as u8, len as u8]),
            len => {
                out.push(0x80);
                out.extend_from_slice(&(len as u32).to_be_bytes());
            }
        }
        out.extend_from_slice(source);
    }
    out.extend_from_slice(&RDB_VERSION.to_le_bytes());
    let checksum = crc64(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}

/// Reads libraries' texts.
///
/// # Errors
/// The text of the error, without its prefix.
pub(super) fn read(payload: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let body_len = payload.len().checked_sub(FOOTER_LEN).ok_or(BAD_CHECKSUM)?;
    let (body, footer) = payload.split_at(body_len);
    let version = u16::from_le_bytes([footer[0], footer[1]]);
    let checksum = u64::from_le_bytes(footer[2..].try_into().map_err(|_| BAD_CHECKSUM)?);
    if version > RDB_VERSION_MAX || checksum != crc64(&payload[..body_len + 2]) {
        return Err(BAD_CHECKSUM);
    }
    let mut rest = body;
    let mut sources = Vec::new();
    while let Some((&kind, behind)) = rest.split_first() {
        rest = behind;
        if kind != LIBRARY {
            return Err("given type is not a function");
        }
        sources.push(take_string(&mut rest).ok_or(BAD_PAYLOAD)?);
    }
    Ok(sources)
}

fn take<'b>(rest: &mut &'b [u8], len: usize) -> Option<&'b [u8]> {
    rest.split_off(..len)
}

/// A length, or (`Err`) the number of a special form.
fn take_length(rest: &mut &[u8]) -> Option<Result<usize, u8>> {
    let first = *rest.split_off_first()?;
    let low = first & 0x3f;
    Some(match first >> 6 {
        0 => Ok(usize::from(low)),
        1 => Ok(usize::from(low) << 8 | usize::from(*rest.split_off_first()?)),
        2 if first == 0x80 => Ok(u32::from_be_bytes(take(rest, 4)?.try_into().ok()?) as usize),
        2 if first == 0x81 => Ok(usize::try_from(u64::from_be_bytes(take(rest, 8)?.try_into().ok()?)).ok()?),
        3 => Err(low),
        _ => return None,
    })
}

fn take_string(rest: &mut &[u8]) -> Option<Vec<u8>> {
    match take_length(rest)? {
        Ok(len) => Some(take(rest, len)?.to_vec()),
        Err(3) => {
            let stored = take_length(rest)?.ok()?;
            let len = take_length(rest)?.ok()?;
            let bytes = take(rest, stored)?;
            if len > SOURCE_LEN_MAX { None } else { decompress(bytes, len) }
        }
        Err(_) => None,
    }
}

/// LZF: runs of literal bytes, and references to what was unpacked before.
fn decompress(mut bytes: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(len.min(bytes.len() * 64));
    while let Some(control) = bytes.split_off_first() {
        let control = usize::from(*control);
        if control < 32 {
            out.extend_from_slice(bytes.split_off(..=control)?);
        } else {
            let mut count = control >> 5;
            if count == 7 {
                count += usize::from(*bytes.split_off_first()?);
            }
            let back = ((control & 31) << 8 | usize::from(*bytes.split_off_first()?)) + 1;
            let start = out.len().checked_sub(back)?;
            for at in start..start + count + 2 {
                out.push(out[at]);
            }
        }
        if out.len() > len {
            return None;
        }
    }
    (out.len() == len).then_some(out)
}

/// Redis' CRC-64 (Jones), bit by bit reversed.
fn crc64(bytes: &[u8]) -> u64 {
    const REVERSED: u64 = 0x95ac_9329_ac4b_c9b5;
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ u64::from(byte), |crc: u64, _| if crc & 1 == 1 { crc >> 1 ^ REVERSED } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_every_flipped_bit_is_seen() {
        assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca, "Redis' own test");
        let sources = [b"#!lua name=a\n".to_vec(), vec![b'x'; 70], vec![b'y'; 20_000]];
        let payload = write(sources.iter().map(|source| &source[..]));
        assert_eq!(read(&payload).expect("good"), sources);
        let small = write([&b"#!lua name=a\n"[..]].into_iter());
        for bit in 0..small.len() * 8 {
            let mut bad = small.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&bad).is_err(), "bit {bit}");
        }
        for len in 0..small.len() {
            assert!(read(&small[..len]).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn compressed_texts_are_unpacked_within_bounds() {
        // "aaaaaaaaaa": one literal, then nine copied from one byte back.
        assert_eq!(decompress(&[0, b'a', 0xe0, 0, 0], 10).as_deref(), Some(&b"aaaaaaaaaa"[..]));
        assert_eq!(decompress(&[0, b'a', 0xe0, 0, 0], 9), None, "longer than stated");
        assert_eq!(decompress(&[0, b'a', 0xe0, 0, 5], 10), None, "before the beginning");
        assert_eq!(decompress(&[5, b'a'], 6), None, "cut");
    }
}
