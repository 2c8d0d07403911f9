//! Publish and subscribe: `hub` knows who listens to what, `commands` are what clients call, `notify` makes messages of keyspace events.
//!
//! Who wants to publish calls [`publish`]. How messages reach connections is `net::mail`'s matter.

pub(crate) mod commands;
pub(crate) mod hub;
pub(crate) mod notify;
pub(crate) mod subscriptions;

use crate::client::ClientInfo;
use crate::command::ServerCommand;
use firn_engine::engine::Engine;
use firn_engine::log::Lsn;
use hub::Hub;

/// Publishes a message, for SSUBSCRIBE's listeners if `sharded`; says how many get it. They see it when `promise` holds, the session's of
/// who publishes, and within a transaction when that is over and its record holds.
pub(crate) fn publish(engine: &mut Engine, promise: Lsn, channel: &[u8], message: &[u8], sharded: bool) -> usize {
    let (hub, promise) = Hub::of(engine, promise);
    hub.map_or(0, |hub| hub.publish(channel, message, sharded, promise))
}

/// Whether something has just been sent to connections of this client's runtime.
pub(crate) fn has_mail_for(engine: &Engine, info: &ClientInfo) -> bool {
    engine.outgoing && Hub::look(engine).is_some_and(|hub| hub.has_mail_for(info.runtime.number()))
}

/// The commands' declarations.
pub(crate) static COMMANDS: &[&ServerCommand] = &[
    &commands::SUBSCRIBE,
    &commands::UNSUBSCRIBE,
    &commands::PSUBSCRIBE,
    &commands::PUNSUBSCRIBE,
    &commands::SSUBSCRIBE,
    &commands::SUNSUBSCRIBE,
    &commands::PUBLISH,
    &commands::SPUBLISH,
    &commands::PUBSUB,
];
