//! Built frames kept in memory: written ones until they are durable, waiting ones until they are written.
//!
//! Frames stand in order, without gaps. Small ones are copied together, so that a frame costs no allocation; large ones move in.

use super::Lsn;
use super::frame::extent;
use std::collections::VecDeque;

/// Frames of up to this many bytes are copied together.
const SMALL: usize = 64 * 1024;
/// Bytes of small frames in one chunk.
const CHUNK: usize = 256 * 1024;

/// Frames in order.
#[derive(Debug, Default)]
pub(super) struct Retained {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    /// Memory of the chunks.
    capacity: usize,
}

#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    /// LSN of the last record in it.
    last: Lsn,
    /// Where its frames begin: those before were taken.
    start: usize,
}

impl Retained {
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Memory that these take.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// LSN of the first record, if there is any.
    pub(super) fn first(&self) -> Option<Lsn> {
        self.chunks.front().map(|chunk| extent(&chunk.bytes[chunk.start..]).0)
    }

    /// LSN of the last record, if there is any.
    pub(super) fn last(&self) -> Option<Lsn> {
        self.chunks.back().map(|chunk| chunk.last)
    }

    /// Keeps a frame, and gives back a buffer to use again: the frame's own if it was copied.
    pub(super) fn push(&mut self, frame: Vec<u8>) -> Vec<u8> {
        let (first, count, len) = extent(&frame);
        debug_assert_eq!(len, frame.len(), "one whole frame");
        let last = first + Lsn::from(count) - 1;
        self.bytes += len;
        if len > SMALL {
            self.capacity += frame.capacity();
            self.chunks.push_back(Chunk { bytes: frame, last, start: 0 });
            return Vec::new();
        }
        match self.chunks.back_mut().filter(|chunk| chunk.bytes.capacity() - chunk.bytes.len() >= len) {
            Some(chunk) => {
                chunk.bytes.extend_from_slice(&frame);
                chunk.last = last;
            }
            None => {
                // The first few small frames, and stores that write little, need little.
                let room = if self.chunks.is_empty() { 4 * 1024 } else { CHUNK };
                let mut bytes = Vec::with_capacity(room.max(len));
                bytes.extend_from_slice(&frame);
                self.capacity += bytes.capacity();
                self.chunks.push_back(Chunk { bytes, last, start: 0 });
            }
        }
        frame
    }

    /// Lets go of everything up to `durable` (whole chunks of it).
    pub(super) fn forget(&mut self, durable: Lsn) {
        while let Some(chunk) = self.chunks.front().filter(|chunk| chunk.last <= durable) {
            self.bytes -= chunk.bytes.len() - chunk.start;
            self.capacity -= chunk.bytes.capacity();
            self.chunks.pop_front();
        }
    }

    /// Lets go of exactly the frames up to `durable`.
    pub(super) fn forget_exactly(&mut self, durable: Lsn) {
        self.forget(durable);
        while self.front().is_some_and(|frame| extent(frame).0 <= durable) {
            self.pop();
        }
    }

    /// The first frame.
    pub(super) fn front(&mut self) -> Option<&mut [u8]> {
        let chunk = self.chunks.front_mut()?;
        let (_, _, len) = extent(&chunk.bytes[chunk.start..]);
        Some(&mut chunk.bytes[chunk.start..chunk.start + len])
    }

    /// Takes the first frame out.
    pub(super) fn pop(&mut self) -> Option<Vec<u8>> {
        let chunk = self.chunks.front_mut()?;
        let (_, _, len) = extent(&chunk.bytes[chunk.start..]);
        self.bytes -= len;
        if chunk.start == 0 && len == chunk.bytes.len() {
            self.capacity -= chunk.bytes.capacity();
            return self.chunks.pop_front().map(|chunk| chunk.bytes);
        }
        let frame = chunk.bytes[chunk.start..chunk.start + len].to_vec();
        chunk.start += len;
        if chunk.start == chunk.bytes.len() {
            self.capacity -= chunk.bytes.capacity();
            self.chunks.pop_front();
        }
        Some(frame)
    }

    /// Appends all frames of `later`.
    pub(super) fn append(&mut self, mut later: Retained) {
        self.bytes += later.bytes;
        self.capacity += later.capacity;
        self.chunks.append(&mut later.chunks);
    }

    /// Every frame in order.
    pub(super) fn for_each<E>(&mut self, mut act: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<(), E> {
        for chunk in &mut self.chunks {
            let mut at = chunk.start;
            while at < chunk.bytes.len() {
                let (_, _, len) = extent(&chunk.bytes[at..]);
                act(&mut chunk.bytes[at..at + len])?;
                at += len;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Effects;
    use crate::log::frame::{Compressor, build};

    fn frame(first: Lsn, records: usize, value: usize) -> Vec<u8> {
        let mut effects = Effects::new(first);
        for _ in 0..records {
            effects.push(0, 0, &[b"SET", b"k", &vec![0; value]]);
            effects.finish();
        }
        // Below the size from which payloads are compressed, or random enough not to be.
        let group = effects.take(Vec::new()).unwrap();
        build(group, &mut Compressor::default())
    }

    fn firsts(retained: &mut Retained) -> Vec<Lsn> {
        let mut firsts = Vec::new();
        let walked: Result<(), ()> = retained.for_each(|frame| {
            firsts.push(extent(frame).0);
            Ok(())
        });
        walked.unwrap();
        firsts
    }

    #[test]
    fn frames_are_kept_in_order_until_they_are_durable() {
        let mut retained = Retained::default();
        let mut bytes = 0;
        for index in 0..400u64 {
            let one = frame(1 + 2 * index, 2, 900);
            bytes += one.len();
            retained.push(one);
        }
        assert_eq!((retained.bytes(), retained.first(), retained.last()), (bytes, Some(1), Some(800)));
        assert!(retained.chunks.len() > 2, "several chunks");
        retained.forget(2);
        assert!(retained.first().unwrap() <= 3, "nothing that is not durable is let go of");
        retained.forget_exactly(10);
        assert_eq!(firsts(&mut retained), (0..395).map(|index| 11 + 2 * index).collect::<Vec<_>>());
        let mut other = Retained::default();
        while let Some(one) = retained.pop() {
            other.push(one);
        }
        assert_eq!((retained.bytes(), retained.is_empty()), (0, true));
        retained.push(frame(9, 2, 1));
        retained.append(other);
        assert_eq!(firsts(&mut retained).len(), 396);
        retained.forget(800);
        assert_eq!((retained.bytes(), retained.is_empty()), (0, true));
    }
}
