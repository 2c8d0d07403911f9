//! Commands that administer the server: CONFIG, INFO, COMMAND, DEBUG and their like.

pub(crate) mod apply;
pub(crate) mod categories;
mod cluster;
mod command;
mod config;
mod debug;
pub(crate) mod help;
pub(crate) mod info;
mod key_specs;
mod latency;
mod lolwut;
mod memory;
pub(crate) mod migrate;
mod monitor;
pub(crate) mod persistence;
pub(crate) mod prefixes;
mod reload;
mod replicas;
mod slowlog;
mod syntax;
mod time;

use crate::client::Client;
use crate::command::{ServerCall, ServerCommand};
use crate::config::Config;
use parking_lot::MutexGuard;

/// Their declarations.
pub(crate) static COMMANDS: &[&ServerCommand] = &[
    &cluster::ASKING,
    &cluster::CLUSTER,
    &cluster::READONLY,
    &cluster::READWRITE,
    &command::COMMAND,
    &config::CONFIG,
    &debug::DEBUG,
    &info::INFO,
    &latency::LATENCY,
    &lolwut::LOLWUT,
    &memory::MEMORY,
    &migrate::MIGRATE,
    &monitor::MONITOR,
    &persistence::BGREWRITEAOF,
    &persistence::BGSAVE,
    &persistence::LASTSAVE,
    &persistence::SAVE,
    &persistence::SHUTDOWN,
    &persistence::WAITAOF,
    &replicas::ROLE,
    &replicas::WAIT,
    &slowlog::COMMANDLOG,
    &slowlog::SLOWLOG,
    &time::TIME,
];

/// Whether a client is on this machine: over a unix socket or a loopback address.
pub(crate) fn is_local(client: &Client) -> bool {
    let ip = client.info.addr.rsplit_once(':').map_or("", |(ip, _)| ip.trim_matches(['[', ']']));
    client.info.unix || ip.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// The configuration, locked. The engine's lock is let go first: whoever holds the configuration may wait for the engine or for the
/// store, so nobody who holds one of those may wait for the configuration.
pub(crate) fn configuration<'s>(call: &mut ServerCall<'_, 's>) -> MutexGuard<'s, Config> {
    call.unlock();
    call.server.config.lock()
}
