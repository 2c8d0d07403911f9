//! The hub: which channels and patterns anybody listens to, and the way of their messages to the runtimes.
//!
//! 1. It belongs to the engine, as its [`Receiver`], and so is guarded by the engine's lock: subscriptions, messages and keyspace events
//!    are in one order.
//! 2. It knows how many clients of each runtime listen to a topic; who they are, the runtime knows (`net::mail::Topics`).
//! 3. Memory is bounded by what clients subscribe to: a topic nobody listens to is forgotten.

use crate::client::ClientInfo;
use crate::net::mail::{Outbox, Shape, To, TopicId};
use crate::net::runtime::RuntimeHandle;
use crate::resp::writer::put_bulk;
use crate::tracking::table::Table;
use firn_engine::engine::{Engine, Event};
use firn_engine::glob;
use firn_engine::log::Lsn;
use firn_engine::notices::{Change, Receiver};
use indexmap::IndexMap;
use std::any::Any;
use std::sync::Arc;

/// What kind of name a topic has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// SUBSCRIBE's channels.
    Channel,
    /// PSUBSCRIBE's patterns.
    Pattern,
    /// SSUBSCRIBE's channels.
    Shard,
}

/// What can be listened to.
#[derive(Debug)]
struct Topic {
    id: TopicId,
    /// How many listen, by runtime.
    listeners: Box<[u32]>,
    /// How many listen altogether.
    count: usize,
}

/// Topics by name.
type Names = IndexMap<Box<[u8]>, Topic>;

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct Hub {
    outboxes: Box<[Outbox]>,
    channels: Names,
    patterns: Names,
    shards: Names,
    last_topic: TopicId,
    /// Who caches which keys.
    pub(crate) tracking: Table,
    /// Which of `K` and `E` `notify-keyspace-events` names.
    pub(super) notify: super::notify::Forms,
}

impl Hub {
    /// A hub for these runtimes.
    pub(crate) fn new(runtimes: &[Arc<RuntimeHandle>]) -> Self {
        Hub {
            outboxes: runtimes.iter().map(|runtime| Outbox::new(runtime.clone())).collect(),
            channels: Names::default(),
            patterns: Names::default(),
            shards: Names::default(),
            last_topic: 0,
            tracking: Table::default(),
            notify: Default::default(),
        }
    }

    /// The engine's hub, to send something that waits for `promise`, or for the transaction under way: then `None` comes back.
    /// Before the runtimes run there is no hub.
    pub(crate) fn of(engine: &mut Engine, promise: Lsn) -> (Option<&mut Hub>, Option<Lsn>) {
        let (receiver, promise) = engine.receiver(promise);
        (receiver.and_then(|receiver| (receiver as &mut dyn Any).downcast_mut()), promise)
    }

    /// The engine's hub, to look at.
    pub(crate) fn look(engine: &Engine) -> Option<&Hub> {
        engine.receiver.as_deref().and_then(|receiver| (receiver as &dyn Any).downcast_ref())
    }

    fn names(&mut self, kind: Kind) -> &mut Names {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
            Kind::Shard => &mut self.shards,
        }
    }

    /// A client that tracks has read a key: see [`Table::remember`].
    pub(crate) fn remember(&mut self, client: u64, key: &[u8], random: u64) {
        self.tracking.remember(&mut self.outboxes, client, key, random);
    }

    /// `tracking-table-max-keys` is `keys_max` from now on.
    pub(crate) fn bound_tracking(&mut self, keys_max: usize, random: u64) {
        self.tracking.set_bound(&mut self.outboxes, keys_max, random);
    }

    /// Whether mail waits for connections of a runtime.
    pub(crate) fn has_mail_for(&self, runtime: usize) -> bool {
        !self.outboxes[runtime].is_empty()
    }

    /// Memory of the mail that has not been posted, and what is kept for the next.
    pub(crate) fn mail_rooms(&self) -> (usize, usize) {
        self.outboxes.iter().map(Outbox::rooms).fold((0, 0), |sum, rooms| (sum.0 + rooms.0, sum.1 + rooms.1))
    }

    /// Sends something to one client; `write` writes it as RESP2.
    pub(crate) fn send_to(
        &mut self,
        info: &ClientInfo,
        shape: Shape,
        promise: Option<Lsn>,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        self.outboxes[info.runtime.number()].put(To::Client(info.id), shape, promise, write);
    }

    /// Has a client of a runtime, which does not do so yet, listen to a name.
    pub(crate) fn join(&mut self, kind: Kind, name: &[u8], runtime: usize, client: u64) {
        let (runtimes, next) = (self.outboxes.len(), self.last_topic + 1);
        let names = self.names(kind);
        if !names.contains_key(name) {
            names.insert(name.into(), Topic { id: next, listeners: vec![0; runtimes].into(), count: 0 });
        }
        let topic = &mut names[name];
        topic.count += 1;
        topic.listeners[runtime] += 1;
        let id = topic.id;
        self.last_topic = self.last_topic.max(id);
        self.outboxes[runtime].put(To::Join(id, client), Shape::Plain, Some(0), |_| {});
    }

    /// Undoes [`Hub::join`].
    pub(crate) fn leave(&mut self, kind: Kind, name: &[u8], runtime: usize, client: u64) {
        let names = self.names(kind);
        let Some(topic) = names.get_mut(name) else { return };
        topic.count -= 1;
        topic.listeners[runtime] -= 1;
        let (id, count) = (topic.id, topic.count);
        if count == 0 {
            names.swap_remove(name);
        }
        self.outboxes[runtime].put(To::Leave(id, client), Shape::Plain, Some(0), |_| {});
    }

    /// Sends a message to all who listen; says how many those are.
    pub(crate) fn publish(&mut self, channel: &[u8], message: &[u8], sharded: bool, promise: Option<Lsn>) -> usize {
        let mut count = 0;
        let (names, head) = if sharded {
            (&self.shards, &b"*3\r\n$8\r\nsmessage\r\n"[..])
        } else {
            (&self.channels, &b"*3\r\n$7\r\nmessage\r\n"[..])
        };
        if let Some(topic) = names.get(channel) {
            count += topic.count;
            send(&mut self.outboxes, topic, promise, |out| {
                out.extend_from_slice(head);
                put_bulk(out, channel);
                put_bulk(out, message);
            });
        }
        if sharded {
            return count;
        }
        for (pattern, topic) in &self.patterns {
            if glob::matches(pattern, channel) {
                count += topic.count;
                send(&mut self.outboxes, topic, promise, |out| {
                    out.extend_from_slice(b"*4\r\n$8\r\npmessage\r\n");
                    put_bulk(out, pattern);
                    put_bulk(out, channel);
                    put_bulk(out, message);
                });
            }
        }
        count
    }

    /// Whether a message could have a receiver.
    pub(super) fn is_silent(&self) -> bool {
        self.channels.is_empty() && self.patterns.is_empty()
    }

    /// How many listen to a name.
    pub(crate) fn count(&self, kind: Kind, name: &[u8]) -> usize {
        let names = match kind {
            Kind::Channel => &self.channels,
            Kind::Pattern => &self.patterns,
            Kind::Shard => &self.shards,
        };
        names.get(name).map_or(0, |topic| topic.count)
    }

    /// The channels anybody listens to: SSUBSCRIBE's if `sharded`.
    pub(crate) fn channels(&self, sharded: bool) -> impl ExactSizeIterator<Item = &[u8]> {
        if sharded { &self.shards } else { &self.channels }.keys().map(|name| &**name)
    }

    /// How many channels, patterns and shard channels anybody listens to.
    pub(crate) fn sizes(&self) -> [usize; 3] {
        [self.channels.len(), self.patterns.len(), self.shards.len()]
    }
}

/// Puts one message into the mail of every runtime that has listeners.
fn send(outboxes: &mut [Outbox], topic: &Topic, promise: Option<Lsn>, write: impl Fn(&mut Vec<u8>)) {
    for (outbox, &listeners) in outboxes.iter_mut().zip(&topic.listeners) {
        if listeners > 0 {
            outbox.put(To::Topic(topic.id), Shape::Push, promise, &write);
        }
    }
}

impl Receiver for Hub {
    fn receive(&mut self, changes: &mut Vec<Change>, events: &mut Vec<Event>, promise: Option<Lsn>) {
        for change in changes.iter() {
            self.tracking.change(&mut self.outboxes, change, promise);
        }
        for event in events.iter() {
            self.notify(event, promise);
        }
    }

    fn settle(&mut self, promise: Lsn) {
        self.tracking.settle(promise);
        for outbox in &mut self.outboxes {
            outbox.settle(promise);
        }
    }

    fn hand_over(&mut self) {
        self.tracking.broadcast(&mut self.outboxes);
        for outbox in &mut self.outboxes {
            outbox.post();
        }
    }
}
