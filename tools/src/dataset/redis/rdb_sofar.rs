//! What reading an RDB file has come to: how far it is whole, what it announced and gave, and what cannot be read or believed.

use super::Source;
use super::rdb_search::nested;
use crate::ToolError;
use firn_engine::rdb::{Event, Reader, Skipped};
use std::path::Path;

/// Entries that are so many times as long as others are looked into where something was changed.
const LONG: u64 = 4;

/// What reading has come to.
#[derive(Default)]
pub(super) struct Sofar {
    /// Everything before this was read, or left out.
    pub(super) good: u64,
    /// Something was left out: that has damaged the checksum too.
    pub(super) damaged: bool,
    /// Reading has gone on behind damage, and no database was named since.
    pub(super) resumed: bool,
    /// Where the last entry begins, if nothing came between, and whether the visitor has it.
    pub(super) last: Option<(u64, bool)>,
    pub(super) last_key: Vec<u8>,
    /// The next entry is the first behind damage.
    pub(super) is_first: bool,
    /// Entries that the file announced, if it did, that it gave, and that were left out by name.
    pub(super) announced: Option<u64>,
    pub(super) given: u64,
    pub(super) named: u64,
}

impl Sofar {
    /// Takes note of an event: says where an entry begins, and whether more parts of it follow.
    pub(super) fn take(&mut self, event: &Event<'_>, lenient: bool) -> (Option<(u64, bool)>, bool) {
        match event {
            Event::Entry(part) => {
                self.given += u64::from(!part.stored.continued);
                if !lenient {
                    return (None, false);
                }
                self.last_key.clear();
                self.last_key.extend_from_slice(part.stored.key);
                return (Some((part.offset, true)), part.stored.continued);
            }
            Event::Skipped { what: Skipped::ModuleValue { .. } | Skipped::Empty { .. }, .. } => self.given += 1,
            Event::Expected { entries, .. } => {
                self.announced = Some(self.announced.unwrap_or(0).saturating_add(*entries));
            }
            _ => {}
        }
        (None, false)
    }

    /// Whether the entry that begins at `start`, the last that was read, has taken others for a part of its value: where it begins, and where they go on.
    pub(super) fn reaches_over(
        &mut self,
        path: &Path,
        reader: &Reader<Source>,
        start: u64,
    ) -> Result<Option<(u64, u64)>, ToolError> {
        let mean = self.good / self.given.max(1);
        if !std::mem::take(&mut self.is_first) && self.good - start <= LONG * mean {
            return Ok(None);
        }
        Ok(nested(path, reader, start, self.good)?.map(|to| (start, to)))
    }

    /// Whether this says that another database begins, whose number was left out.
    pub(super) fn is_lost_database(&mut self, event: &Event<'_>) -> bool {
        match event {
            Event::Database(_) => {
                self.resumed = false;
                false
            }
            Event::Expected { .. } => std::mem::take(&mut self.resumed),
            _ => false,
        }
    }
}

/// Something that cannot be read, or be believed.
pub(super) struct Wrong {
    pub(super) offset: u64,
    pub(super) why: String,
    /// The key whose value it is.
    pub(super) key: Option<Box<[u8]>>,
    pub(super) is_content: bool,
    pub(super) is_cut: bool,
    /// It can be read, and is no entry all the same.
    pub(super) is_phantom: bool,
}

impl Wrong {
    pub(super) fn structure(offset: u64, why: String) -> Wrong {
        Wrong { offset, why, key: None, is_content: false, is_cut: false, is_phantom: false }
    }
}
