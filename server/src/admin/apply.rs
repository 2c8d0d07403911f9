//! A changed configuration takes effect in the running server.
//!
//! What can fail is done first and undone if a later one fails; what cannot fail follows. So a change holds whole or not at all.

use crate::command::ServerCall;
use crate::config::table::DIRECTIVES;
use crate::config::{Config, SetError};
use crate::net::tls;
use crate::pubsub::notify;
use crate::session::client_memory;
use crate::{daemon, storage, title};
use firn_engine::engine::Engine;
use firn_engine::value::Shaping;

/// Makes `new` hold where `rows` of the table changed.
///
/// # Errors
/// The directive that could not be followed; everything is then as `old` says.
pub(super) fn apply(call: &mut ServerCall<'_, '_>, old: &Config, new: &Config, rows: &[usize]) -> Result<(), SetError> {
    let changed = |name: &str| rows.iter().any(|&row| DIRECTIVES[row].name == name);
    if changed("dir") && std::fs::canonicalize(new.path("dir")).ok() != Some(old.path("dir")) {
        let reason = format!("the store is open in {}; only a start can move it", old.path("dir").display());
        return Err(SetError::failed("dir", reason));
    }
    let room = daemon::raise_open_files(new.settings().maxclients);
    if changed("maxclients") && room < new.settings().maxclients {
        let reason =
            format!("The operating system is not able to handle the specified number of clients, try with {room}");
        return Err(SetError::failed("maxclients", reason));
    }
    let listens = ["bind", "port", "tls-port", "metrics-bind", "metrics-port"].into_iter().find(|name| changed(name));
    let tls_row = rows.iter().map(|&row| DIRECTIVES[row].name).find(|name| name.starts_with("tls-"));
    let new_tls = match tls_row {
        Some(name) => Some(tls::configure(new).map_err(|reason| {
            crate::log::warning(format_args!("CONFIG SET: {reason}"));
            SetError::failed(name, format!("Unable to update TLS configuration: {reason}"))
        })?),
        None => None,
    };
    if let Some(name) = listens {
        let listeners = call.server.rebind.listen(&new.settings()).map_err(|error| {
            crate::log::warning(format_args!("CONFIG SET: {error}"));
            SetError::failed(
                name,
                match name {
                    "bind" => format!("Failed to bind to specified addresses ({error})."),
                    _ => format!("Unable to listen on this port ({error}). Check server logs."),
                },
            )
        })?;
        call.server.rebind.replace(listeners);
    }
    if changed("oom-score-adj") || changed("oom-score-adj-values") {
        let name = if changed("oom-score-adj") { "oom-score-adj" } else { "oom-score-adj-values" };
        if let Err(reason) = call.server.oom_score.apply(new) {
            undo_score(call, old);
            return Err(SetError::failed(name, reason));
        }
    }
    let store = &call.server.store;
    if changed("appendonly") {
        call.lock.release(); // The store's locks come first.
        if let Err(error) = store.set_log(new.bool("appendonly")) {
            crate::log::warning(format_args!("CONFIG SET appendonly: {error}"));
            if let Some(listeners) = listens.map(|_| call.server.rebind.listen(&old.settings())) {
                match listeners {
                    Ok(listeners) => call.server.rebind.replace(listeners),
                    Err(error) => {
                        crate::log::warning(format_args!("Cannot listen on the old addresses again: {error}"));
                    }
                }
            }
            undo_score(call, old);
            return Err(SetError::failed("appendonly", format!("Unable to turn the log on or off: {error}")));
        }
    }
    if changed("appendfsync") {
        call.lock.release();
        store.set_policy(storage::policy(new));
    }
    store.tune(|tuning| *tuning = storage::tuning(new));
    if changed("proc-title-template") {
        title::show(new);
    }
    if changed("loglevel") {
        crate::log::set_level(crate::start::level(new.choice("loglevel")));
    }
    if let Some(tls) = new_tls {
        call.server.tls.publish(tls);
    }
    call.server.observe.configure(new);
    apply_to_engine(call.engine(), new);
    if changed("maxmemory") || changed("maxmemory-policy") {
        // What is above the new limit goes now, as far as one step takes it. Not measured anew: that would count this configuration twice.
        call.server.make_room(call.lock.get(), 0);
    }
    call.unlock();
    if changed("requirepass") {
        call.server.acl.set_default_password(new.bytes("requirepass"));
    }
    call.server.acl.tune(new);
    let mut settings = new.settings();
    // As at the start: clients must leave the files that the log and snapshots need.
    settings.maxclients = room;
    let limit = settings.clients_memory_max;
    call.server.settings.publish(settings);
    if limit > 0 {
        client_memory::evict(call.server, limit);
    }
    Ok(())
}

/// A change that failed leaves the process' OOM score as it was; where the kernel does not even allow that, the log says so.
fn undo_score(call: &ServerCall<'_, '_>, old: &Config) {
    if let Err(reason) = call.server.oom_score.apply(old) {
        crate::log::warning(format_args!("oom-score-adj: {reason}"));
    }
}

/// The settings that commands on data look at. Also called once at the start.
pub(crate) fn apply_to_engine(engine: &mut Engine, config: &Config) {
    engine.settings.string_len_max = usize::try_from(config.size("proto-max-bulk-len")).unwrap_or(usize::MAX);
    let list_alone_len_min = engine.settings.shaping.list_alone_len_min; // DEBUG's, not the configuration's.
    engine.settings.shaping = Shaping { list_alone_len_min, ..storage::shaping(config, engine.keyspace.seed()) };
    notify::configure(engine, config);
    engine.set_memory(storage::memory(config));
    engine.set_prefixes(storage::prefixes(config));
}
