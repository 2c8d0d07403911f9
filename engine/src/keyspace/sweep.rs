//! Looking at entries in order of position, a line of slots at a time: how eviction finds candidates and statistics are counted anew.
//!
//! A line's entries lie side by side in the index, so looking at all of them costs little more than looking at one: their blobs are
//! fetched together, and those of the next line ahead. Going round in order meets every entry once a round, where drawing at random
//! would miss some for long. Positions are a keyed hash: their order says nothing about keys.

use super::blob::BlobRef;
use super::directory::{SegmentRef, first_of, last_of};
use super::{Db, Entry};
use arrayvec::ArrayVec;

/// Slots of a main line, the stash and the header.
const LINE_LEN_MAX: usize = 8 + 8 + 5;
/// Entries of a crowded segment that are looked at together.
const CROWDED_STEP: usize = 8;

impl Db {
    /// Shows the entries of the line at `position`, those of pages, segments and lines in between that have none being passed over; each
    /// line, segment or page takes one off the budget. `mortal` shows only those with a deadline. Says where to go on, `None`
    /// at the end of the database; nothing was shown if that is all that happened.
    pub(crate) fn sweep(
        &self,
        mut position: u64,
        mortal: bool,
        budget: &mut usize,
        show: &mut dyn FnMut(&Entry<'_>),
    ) -> Option<u64> {
        let directory = &self.index.directory;
        let mut blobs: ArrayVec<BlobRef<'_>, LINE_LEN_MAX> = ArrayVec::new();
        loop {
            let depth = directory.depth(position)?;
            let (first, last) = (first_of(position, depth), last_of(position, depth));
            let after = last.checked_add(1);
            let mut next = after;
            let segment = directory.get(position)?;
            *budget = budget.saturating_sub(1);
            let immortal = match segment {
                SegmentRef::Lines(lines) => lines.earliest() == u64::MAX,
                SegmentRef::Crowded(crowded) => crowded.earliest == u64::MAX,
            };
            if mortal && immortal {
                let page = directory.page_deadlines(position)?;
                if page.earliest == u64::MAX {
                    next = page.last.checked_add(1);
                }
            } else {
                match segment {
                    SegmentRef::Lines(lines) => {
                        let line = lines.group_of(position);
                        blobs.extend(lines.line(line, mortal));
                        if line + 1 < lines.groups() {
                            next = Some(lines.group_start(first, line + 1));
                            lines.line(line + 1, mortal).for_each(|blob| blob.prefetch());
                        }
                    }
                    SegmentRef::Crowded(crowded) => {
                        let mut entries = crowded.from(position);
                        blobs.extend(entries.by_ref().take(CROWDED_STEP).map(|(_, blob)| blob));
                        next = entries.next().map(|(position, _)| position).or(after);
                    }
                }
                // A field's deadline marks the slot as well.
                blobs.retain(|blob| !mortal || blob.deadline().is_some());
            }
            if !blobs.is_empty() {
                blobs.iter().for_each(|blob| blob.prefetch());
                blobs.iter().for_each(|blob| show(&blob.entry()));
                return next;
            }
            position = next?;
            if *budget == 0 {
                return Some(position);
            }
        }
    }

    /// An entry at exactly this position.
    pub(crate) fn at_position(&self, position: u64) -> Option<Entry<'_>> {
        let seed = self.index.seed();
        match self.index.directory.get(position)? {
            SegmentRef::Lines(lines) => lines.at_position(position, seed),
            SegmentRef::Crowded(crowded) => {
                crowded.from(position).next().filter(|(at, _)| *at == position).map(|(_, blob)| blob)
            }
        }
        .map(BlobRef::entry)
    }
}
