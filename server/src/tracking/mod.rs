//! Client-side caching: clients are told when keys that they may have cached change.
//!
//! `table` knows which client may have cached which key, and what is to be told; it lives in the hub (`pubsub::hub`), under the engine's
//! lock. `commands` are CLIENT TRACKING, CACHING, GETREDIR, TRACKINGINFO. The engine notes changed keys only while somebody
//! tracks (`Engine::notes_changes`); a client that does not track pays one branch a command.

pub(crate) mod commands;
pub(crate) mod table;

use crate::client::Client;
use crate::pubsub::hub::Hub;
use firn_engine::command::{Flags, Spec};
use firn_engine::engine::Engine;

/// How a client tracks; what others need of it stands in the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Mode {
    /// By prefixes, not by keys that it has read.
    pub(crate) broadcast: bool,
    /// Only keys of commands behind CLIENT CACHING YES.
    pub(crate) opt_in: bool,
    /// All keys but those of commands behind CLIENT CACHING NO.
    pub(crate) opt_out: bool,
    /// It does not want to hear of its own changes.
    pub(crate) no_loop: bool,
    /// CLIENT CACHING was given for the next command or transaction.
    pub(crate) caching: bool,
    /// The client that is told instead; 0 is itself.
    pub(crate) redirect: u64,
}

/// Must follow a command that a tracking client has run: what it has read is remembered.
#[cold]
pub(crate) fn remember(engine: &mut Engine, client: &Client, spec: &Spec, flags: Flags, words: &[&[u8]]) {
    let Some(mode) = client.tracking.as_deref() else { return };
    let unwanted = (mode.opt_in && !mode.caching) || (mode.opt_out && mode.caching);
    if mode.broadcast || unwanted || !flags.has(Flags::READONLY) || flags.has(Flags::PUBSUB) {
        return;
    }
    let spec = words.get(1).and_then(|word| spec.subcommand(word)).unwrap_or(spec);
    let (indexes, _) = spec.key_indexes(words);
    let random = engine.random();
    if let (Some(hub), _) = Hub::of(engine, 0) {
        for key in indexes.into_iter().filter_map(|at| words.get(at)) {
            hub.remember(client.info.id, key, random);
        }
    }
}

/// Must follow every command of a tracking client: CLIENT CACHING holds for one command, or one transaction.
#[cold]
pub(crate) fn after_command(client: &mut Client, spec: &Spec) {
    if client.transaction.is_none()
        && spec.name != "CLIENT"
        && let Some(mode) = &mut client.tracking
    {
        mode.caching = false;
    }
}
