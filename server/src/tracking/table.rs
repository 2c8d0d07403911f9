//! Which client may have cached which key, and what clients are told of changes.
//!
//! 1. A key is told to those who read it once, and then forgotten: they ask for it again if they want it again.
//! 2. The table holds at most `tracking-table-max-keys`: beyond, some key is forgotten, which is told as if it had changed.
//! 3. Who tracks by prefixes gets what changed in one message a batch; others at once.
//! 4. Numbers of clients that have gone stay with their keys until these change, as no number is used twice, or until a key's numbers need more
//!    memory: a key that never changes does not collect them.

use crate::client::ClientInfo;
use crate::net::mail::{Outbox, Shape, To};
use crate::resp::writer::{put_bulk, put_header};
use firn_engine::log::Lsn;
use firn_engine::notices::Change;
use indexmap::IndexMap;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound::{Included, Unbounded};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Keys that one read forgets at most, if the table is too large.
const EVICTIONS_MAX: usize = 100;
/// Keys that are forgotten at most when the bound is lowered; the rest go with the reads that follow.
const EVICTIONS_AT_ONCE: usize = 10_000;

/// Memory of a prefix that a client tracks by, beyond its own bytes: it stands in the client's set and in the table.
const PREFIX_ROOM: usize = 128;

/// Bits of `ClientInfo::tracking`.
pub(crate) const TRACKS: u8 = 1;
/// See [`TRACKS`]: its redirection is broken.
pub(crate) const BROKEN: u8 = 2;
/// See [`TRACKS`]: by prefixes.
pub(crate) const BROADCAST: u8 = 4;

/// A client that tracks.
#[derive(Debug)]
struct Tracker {
    info: Arc<ClientInfo>,
    broadcast: bool,
    no_loop: bool,
    redirect: Option<Arc<ClientInfo>>,
    prefixes: BTreeSet<Box<[u8]>>,
}

/// A prefix that somebody tracks.
#[derive(Debug, Default)]
struct Prefix {
    clients: BTreeSet<u64>,
    /// Keys that changed in this batch, and who changed them last.
    changed: BTreeMap<Box<[u8]>, u64>,
}

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct Table {
    /// `tracking-table-max-keys`; 0 is no limit.
    keys_max: usize,
    /// Numbers of the clients that may have cached a key, in order.
    keys: IndexMap<Box<[u8]>, Vec<u64>>,
    /// Numbers in `keys`.
    items: usize,
    clients: HashMap<u64, Tracker>,
    prefixes: BTreeMap<Box<[u8]>, Prefix>,
    /// Prefixes with changes.
    changed: BTreeSet<Box<[u8]>>,
    /// What those changes wait for.
    promise: Lsn,
}

impl Default for Table {
    fn default() -> Self {
        Table {
            keys_max: 1_000_000,
            keys: IndexMap::new(),
            items: 0,
            clients: HashMap::new(),
            prefixes: BTreeMap::new(),
            changed: BTreeSet::new(),
            promise: 0,
        }
    }
}

impl Table {
    /// Has a client track, or track otherwise; `prefixes` are added to those it tracks by.
    pub(crate) fn track(
        &mut self,
        info: &Arc<ClientInfo>,
        mode: &super::Mode,
        redirect: Option<Arc<ClientInfo>>,
        prefixes: impl IntoIterator<Item = Box<[u8]>>,
    ) {
        let id = info.id;
        let old = self.clients.remove(&id).map(|old| old.prefixes);
        let mut own = old.unwrap_or_default();
        for prefix in prefixes {
            self.prefixes.entry(prefix.clone()).or_default().clients.insert(id);
            own.insert(prefix);
        }
        let prefix_bytes = own.iter().map(|prefix| prefix.len() + PREFIX_ROOM).sum();
        info.prefix_bytes.store(prefix_bytes, Relaxed);
        let bits = TRACKS | if mode.broadcast { BROADCAST } else { 0 };
        info.tracking.store(bits, Relaxed);
        info.redirect.store(mode.redirect as i64, Relaxed);
        let (broadcast, no_loop) = (mode.broadcast, mode.no_loop);
        self.clients.insert(id, Tracker { info: info.clone(), broadcast, no_loop, redirect, prefixes: own });
    }

    /// A client tracks no more.
    pub(crate) fn forget(&mut self, id: u64) {
        let Some(tracker) = self.clients.remove(&id) else { return };
        tracker.info.tracking.store(0, Relaxed);
        tracker.info.redirect.store(-1, Relaxed);
        tracker.info.prefix_bytes.store(0, Relaxed);
        for name in tracker.prefixes {
            if let Some(prefix) = self.prefixes.get_mut(&name) {
                prefix.clients.remove(&id);
                if prefix.clients.is_empty() {
                    self.prefixes.remove(&name);
                }
            }
        }
        if self.clients.is_empty() {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.keys = IndexMap::new();
        self.items = 0;
    }

    /// Whether anybody tracks.
    pub(crate) fn is_used(&self) -> bool {
        !self.clients.is_empty()
    }

    /// The prefixes that a client tracks by.
    pub(crate) fn prefixes_of(&self, id: u64) -> impl Iterator<Item = &[u8]> {
        self.clients.get(&id).into_iter().flat_map(|tracker| &tracker.prefixes).map(|prefix| &**prefix)
    }

    /// How many clients track; keys, numbers of clients with them, and prefixes in the table (INFO).
    pub(crate) fn sizes(&self) -> [usize; 4] {
        [self.clients.len(), self.keys.len(), self.items, self.prefixes.len()]
    }

    /// A client has read a key. `random` chooses what is forgotten if the table is too large.
    pub(crate) fn remember(&mut self, outboxes: &mut [Outbox], id: u64, key: &[u8], random: u64) {
        if !self.keys.contains_key(key) {
            self.keys.insert(key.into(), Vec::with_capacity(1));
        }
        let ids = &mut self.keys[key];
        if let Err(mut at) = ids.binary_search(&id) {
            if ids.len() == ids.capacity() {
                let before = ids.len();
                ids.retain(|id| self.clients.contains_key(id));
                self.items -= before - ids.len();
                at = ids.partition_point(|other| *other < id);
            }
            ids.insert(at, id);
            self.items += 1;
        }
        self.trim(outboxes, EVICTIONS_MAX, random);
    }

    /// `tracking-table-max-keys` is `keys_max` from now on.
    pub(crate) fn set_bound(&mut self, outboxes: &mut [Outbox], keys_max: usize, random: u64) {
        self.keys_max = keys_max;
        self.trim(outboxes, EVICTIONS_AT_ONCE, random);
    }

    /// Forgets at most `count` keys, while there are too many.
    fn trim(&mut self, outboxes: &mut [Outbox], count: usize, mut random: u64) {
        for _ in 0..count {
            if self.keys_max == 0 || self.keys.len() <= self.keys_max {
                break;
            }
            // Any key will do; splitmix' multiplier spreads what one random number gives.
            random = random.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
            let at = (random >> 32) as usize % self.keys.len();
            if let Some((key, ids)) = self.keys.swap_remove_index(at) {
                self.items -= ids.len();
                self.tell(outboxes, &key, &ids, None, Some(0));
            }
        }
    }

    /// Something has changed.
    pub(crate) fn change(&mut self, outboxes: &mut [Outbox], change: &Change, promise: Option<Lsn>) {
        match change {
            Change::Key(key, by) => {
                self.note_prefixes(key, *by, promise);
                if let Some(ids) = self.keys.swap_remove(key) {
                    self.items -= ids.len();
                    self.tell(outboxes, key, &ids, Some(*by), promise);
                }
            }
            Change::Everything => {
                for tracker in self.clients.values_mut() {
                    tracker.send(outboxes, Shape::InvalidateAll, promise, |_| {});
                }
                self.clear();
            }
        }
    }

    /// Tells clients who have read `key` that it is not what it was.
    fn tell(&mut self, outboxes: &mut [Outbox], key: &[u8], ids: &[u64], by: Option<u64>, promise: Option<Lsn>) {
        for id in ids {
            let Some(tracker) = self.clients.get_mut(id) else { continue };
            // What it read before it tracked by prefixes is not its matter any more.
            if tracker.broadcast || (tracker.no_loop && by == Some(*id)) {
                continue;
            }
            tracker.send(outboxes, Shape::Invalidation, promise, |out| {
                put_header(out, b'*', 1);
                put_bulk(out, key);
            });
        }
    }

    /// Notes a change for all prefixes of the key.
    fn note_prefixes(&mut self, key: &[u8], by: u64, promise: Option<Lsn>) {
        if self.prefixes.is_empty() {
            return;
        }
        let mut end = key.len();
        // The greatest name that is not above the key's beginning; one that is no prefix says how long the next can be at most.
        while let Some((name, prefix)) =
            self.prefixes.range_mut::<[u8], _>((Unbounded, Included(&key[..end]))).next_back()
        {
            let common = name.iter().zip(key).take_while(|(one, other)| one == other).count();
            if common < name.len() {
                end = common;
                continue;
            }
            prefix.changed.insert(key.into(), by);
            self.changed.insert(name.clone());
            self.promise = self.promise.max(promise.unwrap_or(0));
            let Some(shorter) = common.checked_sub(1) else { break };
            end = shorter;
        }
    }

    /// The transaction's changes wait for this.
    pub(crate) fn settle(&mut self, promise: Lsn) {
        if !self.changed.is_empty() {
            self.promise = self.promise.max(promise);
        }
    }

    /// Tells those who track by prefixes what has changed since the last time.
    pub(crate) fn broadcast(&mut self, outboxes: &mut [Outbox]) {
        if self.changed.is_empty() {
            return;
        }
        let promise = Some(std::mem::take(&mut self.promise));
        for name in std::mem::take(&mut self.changed) {
            let Some(prefix) = self.prefixes.get_mut(&name) else { continue };
            let changed = std::mem::take(&mut prefix.changed);
            let encode = |wanted: &dyn Fn(u64) -> bool| {
                let keys: Vec<&[u8]> = changed.iter().filter(|(_, by)| wanted(**by)).map(|(key, _)| &**key).collect();
                let mut bytes = Vec::new();
                put_header(&mut bytes, b'*', keys.len());
                keys.iter().for_each(|key| put_bulk(&mut bytes, key));
                (keys.len(), bytes)
            };
            let (_, all) = encode(&|_| true);
            for id in &prefix.clients {
                let Some(tracker) = self.clients.get_mut(id) else { continue };
                if tracker.no_loop && changed.values().any(|by| by == id) {
                    let (count, others) = encode(&|by| by != *id);
                    if count > 0 {
                        tracker.send(outboxes, Shape::Invalidation, promise, |out| out.extend_from_slice(&others));
                    }
                } else {
                    tracker.send(outboxes, Shape::Invalidation, promise, |out| out.extend_from_slice(&all));
                }
            }
        }
    }
}

impl Tracker {
    /// Tells the client, or whom it redirects to.
    fn send(&mut self, outboxes: &mut [Outbox], shape: Shape, promise: Option<Lsn>, write: impl FnOnce(&mut Vec<u8>)) {
        let to = match &self.redirect {
            Some(target) if target.closing.load(Relaxed) => {
                self.info.tracking.fetch_or(BROKEN, Relaxed);
                if self.info.protocol.load(Relaxed) == 3 {
                    outboxes[self.info.runtime.number()].put(To::Client(self.info.id), Shape::Push, promise, |out| {
                        put_header(out, b'*', 2);
                        put_bulk(out, b"tracking-redir-broken");
                        put_header(out, b':', target.id as usize);
                    });
                }
                return;
            }
            // RESP2 has no pushes: only who listens to a channel can tell it from a reply.
            Some(target) if target.protocol.load(Relaxed) == 3 || target.is_subscriber() => target,
            None if self.info.protocol.load(Relaxed) == 3 => &self.info,
            _ => return,
        };
        outboxes[to.runtime.number()].put(To::Client(to.id), shape, promise, write);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(prefixes: &[&str]) -> Table {
        let mut table = Table::default();
        for prefix in prefixes {
            table.prefixes.insert(prefix.as_bytes().into(), Prefix::default());
        }
        table
    }

    #[test]
    fn a_key_is_noted_for_all_of_its_prefixes_and_no_others() {
        let names = ["", "a", "ab", "abc", "abcd", "abd", "ac", "b", "ab\0", "abcc"];
        for key in ["", "a", "ab", "abc", "abcde", "abz", "acx", "b", "c", "ab\0x", "abca"] {
            let mut table = table(&names);
            table.note_prefixes(key.as_bytes(), 1, Some(3));
            let noted: Vec<_> = table.prefixes.iter().filter(|(_, p)| !p.changed.is_empty()).map(|(n, _)| n).collect();
            let mut expected: Vec<_> = names.iter().filter(|name| key.starts_with(**name)).collect();
            expected.sort();
            assert!(noted.iter().map(|name| &***name).eq(expected.iter().map(|name| name.as_bytes())), "{key:?}");
            assert_eq!(table.promise, 3);
        }
        let mut without_the_empty = table(&["b", "abc"]);
        without_the_empty.note_prefixes(b"abd", 1, None);
        assert!(without_the_empty.changed.is_empty());
    }

    #[test]
    fn the_table_keeps_its_bound() {
        let (mut table, mut outboxes) = (Table { keys_max: 10, ..Table::default() }, []);
        for n in 0..1000u64 {
            for client in [3, 1, 2, 1] {
                table.remember(&mut outboxes, client, &n.to_le_bytes(), n);
            }
            assert!(table.keys.len() <= 10);
            assert_eq!(table.items, table.keys.values().map(Vec::len).sum::<usize>());
        }
        assert_eq!(table.keys.len(), 10);
        table.keys_max = 3;
        table.remember(&mut outboxes, 1, b"x", 7);
        assert_eq!(table.keys.len(), 3);
        table.change(&mut outboxes, &Change::Everything, Some(0));
        assert_eq!(table.sizes(), [0, 0, 0, 0]);
    }

    #[test]
    fn numbers_of_clients_that_have_gone_do_not_pile_up_with_a_key_that_never_changes() {
        let (mut table, mut outboxes) = (Table::default(), []);
        for client in 0..10_000 {
            table.remember(&mut outboxes, client, b"settings", 0);
            assert!(table.keys[&b"settings"[..]].len() <= 4 && table.items <= 4, "client {client}");
        }
    }
}
