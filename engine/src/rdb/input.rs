//! Bytes from any source, with their offset and their CRC-64.
//!
//! Memory for what is read grows with what has arrived, never by what was announced.

use super::error::{BadRdb, RdbError};
use crc_fast::{CrcAlgorithm, Digest};
use std::io::{self, Read};

/// CRC-64 as RDB files have it (Jones' polynomial, reflected), of bytes that come one after the other.
pub(crate) fn crc64_digest() -> Digest {
    Digest::new(CrcAlgorithm::Crc64Redis)
}

/// The same of bytes that are all there.
pub(crate) fn crc64(bytes: &[u8]) -> u64 {
    crc_fast::checksum(CrcAlgorithm::Crc64Redis, bytes)
}

/// Bytes that are asked of the source at a time.
const BUFFER_LEN: usize = 64 * 1024;
/// A long string grows by at most so many bytes before they have arrived.
const GROWTH_MAX: usize = 1 << 20;

/// See above.
pub(crate) struct Input<R> {
    source: R,
    buffer: Vec<u8>,
    /// The bytes in `buffer` that were not taken yet.
    start: usize,
    end: usize,
    /// How many bytes were taken before `buffer[start]`.
    offset: u64,
    /// Of all that was taken before `summed`, a place in `buffer`; `None` where nobody wants it.
    digest: Option<Digest>,
    summed: usize,
}

impl<R: Read> Input<R> {
    /// Reads from `source`, whose next byte is that at `offset`.
    pub(crate) fn new(source: R, offset: u64) -> Input<R> {
        Input { source, buffer: vec![0; BUFFER_LEN], start: 0, end: 0, offset, digest: Some(crc64_digest()), summed: 0 }
    }

    /// Reads a few bytes, or such as are all there: no checksum, and a buffer of `len`.
    pub(crate) fn small(source: R, len: usize, offset: u64) -> Input<R> {
        Input { source, buffer: vec![0; len.clamp(16, BUFFER_LEN)], start: 0, end: 0, offset, digest: None, summed: 0 }
    }

    /// How many bytes were taken.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Sums nothing any more.
    pub(crate) fn forget_checksum(&mut self) {
        self.digest = None;
    }

    fn sum(&mut self) {
        if let Some(digest) = &mut self.digest {
            digest.update(&self.buffer[self.summed..self.start]);
        }
        self.summed = self.start;
    }

    /// The checksum of all that was taken so far.
    pub(crate) fn checksum(&mut self) -> Option<u64> {
        self.sum();
        self.digest.as_ref().map(Digest::finalize)
    }

    pub(crate) fn bad(&self, why: impl Into<BadRdb>) -> RdbError {
        RdbError::bad(self.offset, why)
    }

    /// Makes sure that `len` bytes, at most a buffer, are in the buffer. False: there are not so many.
    fn have(&mut self, len: usize) -> Result<bool, RdbError> {
        debug_assert!(len <= self.buffer.len());
        if self.end - self.start >= len {
            return Ok(true);
        }
        self.sum();
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        (self.start, self.summed) = (0, 0);
        while self.end < len {
            match read_some(&mut self.source, &mut self.buffer[self.end..], self.offset)? {
                0 => return Ok(false),
                count => self.end += count,
            }
        }
        Ok(true)
    }

    /// Bytes that were read of the source and not taken: some, perhaps none.
    #[inline]
    pub(crate) fn ready(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Takes `len` bytes of [`Input::ready`].
    #[inline]
    pub(crate) fn advance(&mut self, len: usize) {
        self.start += len;
        self.offset += len as u64;
    }

    /// Whether there is another byte.
    pub(crate) fn has_more(&mut self) -> Result<bool, RdbError> {
        self.have(1)
    }

    /// The next bytes.
    #[inline]
    pub(crate) fn take<const N: usize>(&mut self) -> Result<[u8; N], RdbError> {
        if self.end - self.start < N && !self.have(N)? {
            return Err(self.bad(BadRdb::Cut));
        }
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.buffer[self.start..self.start + N]);
        self.advance(N);
        Ok(bytes)
    }

    /// The next byte.
    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, RdbError> {
        self.take::<1>().map(|[byte]| byte)
    }

    /// Appends the next `len` bytes to `out`.
    #[inline]
    pub(crate) fn append(&mut self, len: u64, out: &mut Vec<u8>) -> Result<(), RdbError> {
        let ready = self.end - self.start;
        if len <= ready as u64 {
            let len = len as usize;
            out.extend_from_slice(&self.buffer[self.start..self.start + len]);
            self.advance(len);
            return Ok(());
        }
        self.append_long(len, out)
    }

    fn append_long(&mut self, len: u64, out: &mut Vec<u8>) -> Result<(), RdbError> {
        let mut left = len;
        while left > 0 {
            if self.start == self.end && left >= self.buffer.len() as u64 {
                // Long strings go where they belong at once.
                self.sum();
                let old = out.len();
                let wanted = left.min(GROWTH_MAX.max(old.min(64 * GROWTH_MAX)) as u64) as usize;
                out.resize(old + wanted, 0);
                let count = read_some(&mut self.source, &mut out[old..], self.offset)?;
                out.truncate(old + count);
                if count == 0 {
                    return Err(self.bad(BadRdb::Cut));
                }
                if let Some(digest) = &mut self.digest {
                    digest.update(&out[old..]);
                }
                self.offset += count as u64;
                left -= count as u64;
                continue;
            }
            if !self.have(1)? {
                return Err(self.bad(BadRdb::Cut));
            }
            let count = left.min((self.end - self.start) as u64) as usize;
            out.extend_from_slice(&self.buffer[self.start..self.start + count]);
            self.advance(count);
            left -= count as u64;
        }
        Ok(())
    }

    /// Takes the next `len` bytes and forgets them.
    pub(crate) fn skip(&mut self, len: u64) -> Result<(), RdbError> {
        let mut left = len;
        while left > 0 {
            if !self.have(1)? {
                return Err(self.bad(BadRdb::Cut));
            }
            let count = left.min((self.end - self.start) as u64) as usize;
            self.advance(count);
            left -= count as u64;
        }
        Ok(())
    }

    /// What was read of the source and not taken, and the source.
    pub(crate) fn into_rest(self) -> (Vec<u8>, R) {
        (self.buffer[self.start..self.end].to_vec(), self.source)
    }
}

fn read_some(source: &mut impl Read, place: &mut [u8], offset: u64) -> Result<usize, RdbError> {
    loop {
        match source.read(place) {
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(RdbError::Read { offset, source }),
        }
    }
}
