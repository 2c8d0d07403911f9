//! What reading an RDB file has come to: how far it is whole, what it announced and gave, and what cannot be read or believed.

use firn_engine::rdb::{Event, Skipped};

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
