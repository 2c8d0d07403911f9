//! Counts keys by database and type, and puts values together to see whether they make sense, on a thread beside the one that reads.

use super::SEED;
use firn_engine::keyspace::entry::{Assembly, BadEntry, Stored};
use firn_engine::rdb::EntryPart;
use firn_engine::value::part::is_sound;
use firn_engine::value::{Kind, Shaping};
use std::collections::BTreeMap;
use std::sync::mpsc;

/// Parts go to the thread that puts values together in batches of about so many bytes, or so many parts; so many batches may wait.
const BATCH_LEN: usize = 128 * 1024;
const BATCH_PARTS: usize = 4096;
pub(super) const BATCHES_MAX: usize = 8;

/// Database and type.
type Place = (usize, &'static str);

/// Keys by database and type.
pub(crate) type Tally = BTreeMap<Place, u64>;

/// Parts on their way to another thread, their bytes one behind the other.
#[derive(Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// `None` takes the last one back.
    pub(super) parts: Vec<Option<Sent>>,
}

/// A part in a batch.
pub(super) struct Sent {
    db: u32,
    offset: u64,
    /// Where its key ends, and its body; it begins where the one before ends.
    key_end: usize,
    end: usize,
    kind: Kind,
    continues: bool,
    continued: bool,
}

impl Batch {
    pub(super) fn push(&mut self, part: &EntryPart<'_>) {
        let Stored { key, body, kind, continues, continued, .. } = part.stored;
        // A string that was read is whole: nothing but its type matters any more.
        if kind != Kind::String {
            self.bytes.extend_from_slice(key);
        }
        let key_end = self.bytes.len();
        if kind != Kind::String {
            self.bytes.extend_from_slice(body);
        }
        let end = self.bytes.len();
        self.parts.push(Some(Sent { db: part.db, offset: part.offset, key_end, end, kind, continues, continued }));
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= BATCH_LEN || self.parts.len() >= BATCH_PARTS
    }
}

/// Values that make no sense: where, the key, why.
pub(super) type BadValues = Vec<(u64, Box<[u8]>, BadEntry)>;

/// Puts values together and counts them. Batches that are done with go back.
pub(super) fn build(receive: &mpsc::Receiver<Batch>, back: &mpsc::Sender<Batch>) -> (Tally, BadValues) {
    let (mut tally, mut bad, mut last) = (Tally::new(), Vec::new(), None);
    let (mut assembly, shaping) = (Assembly::default(), Shaping::new(SEED));
    // One count for a run of keys of the same type.
    let (mut run, mut run_len) = (None, 0);
    let mut settle = |run: Option<Place>, len: u64| {
        if let Some(place) = run.filter(|_| len > 0) {
            *tally.entry(place).or_default() += len;
        }
    };
    for mut batch in receive {
        let mut start = 0;
        for part in batch.parts.drain(..) {
            let Some(Sent { db, offset, key_end, end, kind, continues, continued }) = part else {
                if let Some(place) = last.take() {
                    // It was counted in the run that goes on.
                    debug_assert_eq!(run, Some(place));
                    run_len -= 1;
                }
                continue;
            };
            let (key, body) = (&batch.bytes[start..key_end], &batch.bytes[key_end..end]);
            start = end;
            if assembly.is_open() && !continues {
                assembly = Assembly::default();
            }
            let stored = Stored { key, kind, body, deadline: None, access: 0, continues, continued };
            // Most collections are small: they need not be made to be found whole.
            let whole = !continues && !continued && is_sound(kind, body);
            let pushed = if whole { Ok(true) } else { assembly.push(&stored, &shaping).map(|whole| whole.is_some()) };
            match pushed {
                Ok(true) => {
                    let place = Some((db as usize, kind.name()));
                    if run != place {
                        settle(run, run_len);
                        (run, run_len) = (place, 0);
                    }
                    run_len += 1;
                    last = place;
                }
                Ok(false) => {}
                Err(why) => {
                    (assembly, last) = (Assembly::default(), None);
                    bad.push((offset, key.into(), why));
                }
            }
        }
        batch.bytes.clear();
        // Whoever reads may have ended.
        let _ = back.send(batch);
    }
    settle(run, run_len);
    (tally, bad)
}
