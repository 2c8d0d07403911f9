//! The state of all databases at one moment, taken out in short slices while writes go on.
//!
//! `begin_capture` fixes the moment. `capture_slice`, called again and again under the engine's lock, serializes entries in order
//! of position; a write to entries not yet reached serializes those first. Every block holds whole entries
//! ([`entry::encode`](super::entry::encode)) in order of position; blocks of one database never overlap, but may come in any order.

use super::{Keyspace, entry};
use crate::limits::BLOCK_LEN_TARGET;

/// Entries of one database in order of position, encoded, nothing else between them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RawBlock {
    /// The database's number when the capture began.
    pub db: usize,
    /// Position of the first entry.
    pub first_position: u64,
    /// Position of the last entry.
    pub last_position: u64,
    /// How many.
    pub count: u64,
    /// The entries.
    pub bytes: Vec<u8>,
}

/// Whether a capture has seen everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CaptureProgress {
    /// Call again.
    More,
    /// The capture is complete once what [`Keyspace::drain_captured`] gives has been taken; writes cost nothing extra any more.
    Done,
}

/// The running capture.
#[derive(Debug, Default)]
pub(super) struct Capture {
    rest: Vec<RawBlock>,
    blocks: Vec<RawBlock>,
    running: bool,
}

impl Keyspace {
    /// Fixes this moment as what will be captured. No capture may be running. `number` is above 0 and differs from that of
    /// the previous capture.
    pub fn begin_capture(&mut self, number: u64) {
        assert!(!self.capture.running, "capture {number} was begun while another runs");
        self.capture.running = true;
        for (number, db) in self.dbs.iter().enumerate() {
            let mut last: Option<RawBlock> = None;
            for (key, taken) in &db.map {
                if last.as_ref().is_some_and(|block| block.bytes.len() >= BLOCK_LEN_TARGET) {
                    self.capture.rest.extend(last.take());
                }
                let block = last.get_or_insert(RawBlock {
                    db: number,
                    first_position: key.0,
                    last_position: 0,
                    count: 0,
                    bytes: Vec::new(),
                });
                block.last_position = key.0;
                block.count += 1;
                entry::encode(&super::reference_entry(key, taken), &mut block.bytes);
            }
            self.capture.rest.extend(last);
        }
        self.capture.rest.reverse();
    }

    /// Serializes about `budget_bytes` more. `Done` if no capture runs.
    pub fn capture_slice(&mut self, budget_bytes: usize) -> CaptureProgress {
        let mut bytes = 0;
        while bytes < budget_bytes {
            let Some(block) = self.capture.rest.pop() else {
                self.capture.running = false;
                return CaptureProgress::Done;
            };
            bytes += block.bytes.len();
            self.capture.blocks.push(block);
        }
        CaptureProgress::More
    }

    /// The blocks finished since the last call.
    pub fn drain_captured(&mut self) -> Vec<RawBlock> {
        std::mem::take(&mut self.capture.blocks)
    }

    /// Bytes in blocks that [`Keyspace::drain_captured`] has not yet given away: writes make them grow, whoever writes the
    /// snapshot makes them shrink.
    pub fn captured_bytes(&self) -> usize {
        self.capture.blocks.iter().map(|block| block.bytes.len()).sum()
    }

    /// Whether a capture runs: begun, and neither [`CaptureProgress::Done`] nor aborted.
    pub fn is_capturing(&self) -> bool {
        self.capture.running
    }

    /// Ends the capture without finishing it; blocks not yet drained are dropped. Gives away databases that were flushed meanwhile
    /// and kept for the capture alone, to be dropped where that hurts nobody.
    pub fn abort_capture(&mut self) -> Vec<super::Db> {
        self.capture = Capture::default();
        Vec::new()
    }
}
