//! Lengths and strings, read and written.
//!
//! ```text
//! length = 00nnnnnn | 01nnnnnn n8 | 0x80 n32 BE | 0x81 n64 BE
//! string = length bytes | 0xc0 i8 | 0xc1 i16 LE | 0xc2 i32 LE | 0xc3 length(compressed) length bytes
//! ```

use super::error::{BadRdb, RdbError};
use super::input::Input;
use super::lzf;
use crate::limits::STRING_LEN_LIMIT;
use crate::log::pending::put_varint;
use crate::number::parse_integer;
use std::cell::RefCell;
use std::io::Read;

/// What stands in front of a string's bytes.
enum Head {
    Plain(u64),
    Integer(i32),
    Lzf { compressed: u64, len: u64 },
}

impl<R: Read> Input<R> {
    /// A length, or the number of a special form of a string.
    fn length_or_form(&mut self) -> Result<Result<u64, u8>, RdbError> {
        let offset = self.offset();
        let first = self.byte()?;
        Ok(Ok(match first {
            0..=0x3f => u64::from(first),
            0x40..=0x7f => u64::from(first & 0x3f) << 8 | u64::from(self.byte()?),
            0x80 => u64::from(u32::from_be_bytes(self.take()?)),
            0x81 => u64::from_be_bytes(self.take()?),
            0xc0.. => return Ok(Err(first & 0x3f)),
            _ => return Err(RdbError::bad(offset, BadRdb::LengthForm(first))),
        }))
    }

    /// A length.
    pub(super) fn length(&mut self) -> Result<u64, RdbError> {
        let offset = self.offset();
        self.length_or_form()?.map_err(|_| RdbError::bad(offset, BadRdb::NotALength))
    }

    fn head(&mut self, max: usize) -> Result<Head, RdbError> {
        let offset = self.offset();
        let check = |len: u64| {
            if len > max as u64 { Err(RdbError::bad(offset, BadRdb::TooLong { len, max })) } else { Ok(len) }
        };
        Ok(match self.length_or_form()? {
            Ok(len) => Head::Plain(check(len)?),
            Err(0) => Head::Integer(i32::from(i8::from_le_bytes(self.take()?))),
            Err(1) => Head::Integer(i32::from(i16::from_le_bytes(self.take()?))),
            Err(2) => Head::Integer(i32::from_le_bytes(self.take()?)),
            Err(3) => {
                let (compressed, len) = (self.length()?, self.length()?);
                if len == 0 || compressed == 0 || len > compressed.saturating_mul(lzf::RATIO_MAX) {
                    return Err(RdbError::bad(offset, BadRdb::LzfLengths { compressed, len }));
                }
                check(len)?;
                // Compressed bytes that are longer than what they make are allowed, within reason.
                check(compressed)?;
                Head::Lzf { compressed, len }
            }
            Err(form) => return Err(RdbError::bad(offset, BadRdb::StringForm(form))),
        })
    }

    fn body(&mut self, head: &Head, out: &mut Vec<u8>) -> Result<(), RdbError> {
        match *head {
            Head::Plain(len) => self.append(len, out),
            Head::Integer(value) => {
                out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
                Ok(())
            }
            Head::Lzf { compressed, len } => {
                let offset = self.offset();
                // Nearly always all of it is in the buffer.
                if let Some(bytes) = usize::try_from(compressed).ok().and_then(|len| self.ready().get(..len)) {
                    let whole = lzf::decompress(bytes, len as usize, out);
                    self.advance(compressed as usize);
                    return whole.ok_or_else(|| RdbError::bad(offset, BadRdb::Lzf));
                }
                let mut bytes = Vec::new();
                self.append(compressed, &mut bytes)?;
                lzf::decompress(&bytes, len as usize, out).ok_or_else(|| RdbError::bad(offset, BadRdb::Lzf))
            }
        }
    }

    /// Appends a string's bytes: a key, an element, a string value, a packed run.
    pub(super) fn string(&mut self, out: &mut Vec<u8>) -> Result<(), RdbError> {
        let head = self.head(STRING_LEN_LIMIT)?;
        self.body(&head, out)
    }

    /// Appends a string in the form of parts: a varint length, and its bytes.
    #[inline]
    pub(super) fn element(&mut self, out: &mut Vec<u8>) -> Result<(), RdbError> {
        let head = self.head(STRING_LEN_LIMIT)?;
        match head {
            Head::Plain(len) | Head::Lzf { len, .. } => put_varint(out, len),
            Head::Integer(value) => {
                let mut text = itoa::Buffer::new();
                put_varint(out, text.format(value).len() as u64);
            }
        }
        self.body(&head, out)
    }

    /// Takes a string and forgets it.
    pub(super) fn skip_string(&mut self) -> Result<(), RdbError> {
        match self.length_or_form()? {
            Ok(len) => self.skip(len),
            Err(0) => self.skip(1),
            Err(1) => self.skip(2),
            Err(2) => self.skip(4),
            Err(3) => {
                let compressed = self.length()?;
                self.length()?;
                self.skip(compressed)
            }
            Err(form) => Err(self.bad(BadRdb::StringForm(form))),
        }
    }
}

/// Appends a length.
pub(super) fn put_length(out: &mut Vec<u8>, len: u64) {
    match len {
        0..0x40 => out.push(len as u8),
        0x40..0x4000 => out.extend_from_slice(&[0x40 | (len >> 8) as u8, len as u8]),
        0x4000..=0xffff_ffff => {
            out.push(0x80);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
        _ => {
            out.push(0x81);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
}

/// Strings up to this length may be integers.
const INTEGER_LEN_MAX: usize = 11;
/// Bytes that the compressor keeps for its next string.
const COMPRESSED_KEPT_MAX: usize = 1 << 20;
/// Shorter strings are never compressed, as in Redis.
const COMPRESS_LEN_MIN: usize = 21;

/// Appends a string: as an integer if it is a small one, compressed if that is asked for and saves something, else as it is.
pub(super) fn put_string(out: &mut Vec<u8>, bytes: &[u8], compress: bool) {
    if bytes.len() <= INTEGER_LEN_MAX
        && let Some(value) = parse_integer(bytes)
        && put_integer(out, value)
    {
        return;
    }
    if compress && bytes.len() >= COMPRESS_LEN_MIN && put_compressed(out, bytes) {
        return;
    }
    put_length(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_integer(out: &mut Vec<u8>, value: i64) -> bool {
    if let Ok(value) = i8::try_from(value) {
        out.extend_from_slice(&[0xc0, value as u8]);
    } else if let Ok(value) = i16::try_from(value) {
        out.push(0xc1);
        out.extend_from_slice(&value.to_le_bytes());
    } else if let Ok(value) = i32::try_from(value) {
        out.push(0xc2);
        out.extend_from_slice(&value.to_le_bytes());
    } else {
        return false;
    }
    true
}

fn put_compressed(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    thread_local! {
        /// The compressor's table, and what it makes: too large to be had anew for each of a million short strings.
        static COMPRESSOR: RefCell<(lzf::Seen, Vec<u8>)> = const { RefCell::new((lzf::Seen::new(), Vec::new())) };
    }
    COMPRESSOR.with_borrow_mut(|(seen, compressed)| {
        compressed.clear();
        if !lzf::compress(bytes, bytes.len() - 4, seen, compressed) {
            return false;
        }
        out.push(0xc3);
        put_length(out, compressed.len() as u64);
        put_length(out, bytes.len() as u64);
        out.extend_from_slice(compressed);
        compressed.shrink_to(COMPRESSED_KEPT_MAX);
        true
    })
}
