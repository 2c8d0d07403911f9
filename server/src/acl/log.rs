//! ACL LOG: what was denied, newest first; what repeats is counted, not listed again. An entry is bounded: of a long key only the beginning is kept.

use crate::observe::command_log::beginning;
use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

/// Events so close to each other, in ms, count as one entry.
const GROUPING_MS: u64 = 60_000;
/// Longest text in an entry, in bytes: clients choose keys, users and their own names.
const TEXT_LEN_MAX: usize = 1024;
/// Newest entries that are looked at for one to count up.
const SCANNED: usize = 10;

/// Where a command was denied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Context {
    /// By itself.
    TopLevel,
    /// In a transaction.
    Multi,
    /// In a script or function.
    Lua,
}

impl Context {
    /// As ACL LOG shows it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Context::TopLevel => "toplevel",
            Context::Multi => "multi",
            Context::Lua => "lua",
        }
    }
}

/// What was denied.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// `auth`, `command`, `key` or `channel`.
    pub(crate) reason: &'static str,
    /// Where.
    pub(crate) context: Context,
    /// The command's name, the key, the channel.
    pub(crate) object: Vec<u8>,
    /// To whom.
    pub(crate) user: Vec<u8>,
    /// The client, as CLIENT INFO shows it.
    pub(crate) client: String,
}

/// One entry.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Counts entries since the start.
    pub(crate) id: u64,
    /// How often this was denied.
    pub(crate) count: u64,
    /// The latest event.
    pub(crate) event: Event,
    /// When it was denied first, in ms of the wall clock.
    pub(crate) created_ms: u64,
    /// When it was denied last.
    pub(crate) updated_ms: u64,
}

/// The log.
#[derive(Debug, Default)]
pub(crate) struct Log {
    entries: VecDeque<Entry>,
    next_id: u64,
    len_max: usize,
}

/// Milliseconds of the wall clock.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

impl Log {
    /// Keeps at most so many entries (`acllog-max-len`).
    pub(crate) fn set_len_max(&mut self, len_max: usize) {
        self.len_max = len_max;
        self.entries.truncate(len_max);
    }

    /// Notes that something was denied.
    pub(crate) fn add(&mut self, mut event: Event, now_ms: u64) {
        for text in [&mut event.object, &mut event.user] {
            *text = beginning(text, TEXT_LEN_MAX);
        }
        event.client = String::from_utf8_lossy(&beginning(event.client.as_bytes(), TEXT_LEN_MAX)).into_owned();
        let same = |entry: &Entry| {
            let old = &entry.event;
            old.reason == event.reason
                && old.context == event.context
                && old.object == event.object
                && old.user == event.user
                && now_ms.abs_diff(entry.updated_ms) <= GROUPING_MS
        };
        let entry = match self.entries.iter().take(SCANNED).position(same).and_then(|at| self.entries.remove(at)) {
            Some(old) => Entry { count: old.count + 1, event, updated_ms: now_ms, ..old },
            None => {
                self.next_id += 1;
                Entry { id: self.next_id - 1, count: 1, event, created_ms: now_ms, updated_ms: now_ms }
            }
        };
        self.entries.push_front(entry);
        self.entries.truncate(self.len_max);
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    /// The newest entries.
    pub(crate) fn newest(&self, count: usize) -> Vec<Entry> {
        self.entries.iter().take(count).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(object: &str) -> Event {
        let client = String::new();
        Event { reason: "key", context: Context::TopLevel, object: object.into(), user: b"u".to_vec(), client }
    }

    #[test]
    fn repeated_events_are_counted_newest_first_and_the_oldest_are_dropped() {
        let mut log = Log::default();
        log.set_len_max(3);
        for (object, now_ms) in [("a", 0), ("b", 1), ("a", 60_000), ("c", 60_001), ("a", 120_001)] {
            log.add(event(object), now_ms);
        }
        let shown = |log: &Log| {
            log.newest(9)
                .iter()
                .map(|entry| (String::from_utf8_lossy(&entry.event.object).into_owned(), entry.count, entry.id))
                .collect::<Vec<_>>()
        };
        assert_eq!(shown(&log), [("a".into(), 1, 3), ("c".into(), 1, 2), ("a".into(), 2, 0)]);
        log.set_len_max(1);
        assert_eq!(shown(&log), [("a".into(), 1, 3)]);
        log.add(Event { context: Context::Multi, ..event("a") }, 120_002);
        assert_eq!(shown(&log), [("a".into(), 1, 4)], "another context is another entry");
        log.set_len_max(0);
        log.add(event("a"), 120_003);
        assert_eq!(shown(&log), []);
    }

    #[test]
    fn of_a_long_key_or_user_only_the_beginning_is_kept() {
        let mut log = Log::default();
        log.set_len_max(3);
        let long = "k".repeat(TEXT_LEN_MAX + 7);
        for now_ms in 0..2 {
            log.add(Event { user: long.clone().into_bytes(), client: long.clone(), ..event(&long) }, now_ms);
        }
        let entries = log.newest(9);
        let [entry] = &entries[..] else { panic!("the same again is counted") };
        let kept = format!("{}... (7 more bytes)", &long[7..]);
        assert_eq!((&entry.event.object[..], &entry.event.user[..]), (kept.as_bytes(), kept.as_bytes()));
        assert_eq!((&entry.event.client, entry.count), (&kept, 2));
    }
}
