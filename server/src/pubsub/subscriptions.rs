//! What one client listens to.
//!
//! It belongs to the thread that serves the client. Every name in it is known to the hub as well, and both change under the engine's
//! lock. Whoever ends a client calls [`Subscriptions::leave_all`].

use super::hub::{Hub, Kind};
use crate::client::ClientInfo;
use firn_engine::engine::Engine;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;

/// Names by kind.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    channels: BTreeSet<Box<[u8]>>,
    patterns: BTreeSet<Box<[u8]>>,
    shards: BTreeSet<Box<[u8]>>,
}

impl Subscriptions {
    /// Whether it listens to nothing.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.patterns.is_empty() && self.shards.is_empty()
    }

    fn of(&mut self, kind: Kind) -> &mut BTreeSet<Box<[u8]>> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
            Kind::Shard => &mut self.shards,
        }
    }

    /// How many names a reply to SUBSCRIBE and its like tells: shard channels are counted alone.
    pub(crate) fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Channel | Kind::Pattern => self.channels.len() + self.patterns.len(),
            Kind::Shard => self.shards.len(),
        }
    }

    /// Listens to a name, if it does not yet.
    pub(crate) fn join(&mut self, engine: &mut Engine, info: &ClientInfo, kind: Kind, name: &[u8]) {
        let (Some(hub), _) = Hub::of(engine, 0) else { return };
        if self.of(kind).insert(name.into()) {
            hub.join(kind, name, info.runtime.number(), info.id);
            self.show(info);
        }
    }

    /// Listens to a name no more.
    pub(crate) fn leave(&mut self, engine: &mut Engine, info: &ClientInfo, kind: Kind, name: &[u8]) {
        let (Some(hub), _) = Hub::of(engine, 0) else { return };
        if self.of(kind).remove(name) {
            hub.leave(kind, name, info.runtime.number(), info.id);
            self.show(info);
        }
    }

    /// All names, each with whether it is a pattern.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&[u8], bool)> {
        let plain = self.channels.iter().chain(&self.shards).map(|name| (&**name, false));
        plain.chain(self.patterns.iter().map(|name| (&**name, true)))
    }

    /// The names of a kind.
    pub(crate) fn names(&mut self, kind: Kind) -> Vec<Box<[u8]>> {
        self.of(kind).iter().cloned().collect()
    }

    /// Listens to nothing any more.
    pub(crate) fn leave_all(&mut self, engine: &mut Engine, info: &ClientInfo) {
        for kind in [Kind::Channel, Kind::Pattern, Kind::Shard] {
            for name in self.names(kind) {
                self.leave(engine, info, kind, &name);
            }
        }
    }

    /// Lets CLIENT LIST know.
    fn show(&self, info: &ClientInfo) {
        info.channels.store(self.channels.len() as u32, Relaxed);
        info.patterns.store(self.patterns.len() as u32, Relaxed);
        info.shard_channels.store(self.shards.len() as u32, Relaxed);
    }
}
