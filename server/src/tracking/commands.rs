//! CLIENT TRACKING, CACHING, GETREDIR, TRACKINGINFO.

use super::Mode;
use super::table::BROKEN;
use crate::client::Client;
use crate::command::ServerCall;
use crate::pubsub::hub::Hub;
use crate::server::Server;
use firn_engine::command::{Args, CommandError, Reply};
use firn_engine::engine::Engine;
use std::sync::atomic::Ordering;

/// What CLIENT TRACKING's words say.
#[derive(Debug, Default)]
struct Request<'a> {
    mode: Mode,
    prefixes: Vec<&'a [u8]>,
}

fn parse<'a>(server: &Server, args: &Args<'a>) -> Result<Request<'a>, CommandError> {
    let mut request = Request::default();
    let mode = &mut request.mode;
    let mut at = 3;
    while at < args.len() {
        let more = at + 1 < args.len();
        if args.is(at, "redirect") && more {
            at += 1;
            if mode.redirect != 0 {
                return Err(CommandError::text("ERR A client can only redirect to a single other client"));
            }
            let id = u64::try_from(args.integer(at)?).ok().filter(|&id| server.clients.get(id).is_some());
            mode.redirect =
                id.ok_or_else(|| CommandError::text("ERR The client ID you want redirect to does not exist"))?;
        } else if args.is(at, "prefix") && more {
            at += 1;
            request.prefixes.push(args.get(at));
        } else if args.is(at, "bcast") {
            mode.broadcast = true;
        } else if args.is(at, "optin") {
            mode.opt_in = true;
        } else if args.is(at, "optout") {
            mode.opt_out = true;
        } else if args.is(at, "noloop") {
            mode.no_loop = true;
        } else {
            return Err(CommandError::Syntax);
        }
        at += 1;
    }
    Ok(request)
}

/// Why `new` cannot be turned on for a client that tracks as `old` says.
fn objection(old: Option<&Mode>, new: &Mode, has_prefixes: bool) -> Option<&'static str> {
    if has_prefixes && !new.broadcast {
        return Some("ERR PREFIX option requires BCAST mode to be enabled");
    }
    if old.is_some_and(|old| old.broadcast != new.broadcast) {
        return Some(
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with \
             a different mode.",
        );
    }
    if new.broadcast && (new.opt_in || new.opt_out) {
        return Some("ERR OPTIN and OPTOUT are not compatible with BCAST");
    }
    if new.opt_in && new.opt_out {
        return Some("ERR You can't specify both OPTIN mode and OPTOUT mode");
    }
    if old.is_some_and(|old| (new.opt_in && old.opt_out) || (new.opt_out && old.opt_in)) {
        return Some(
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with \
             a different mode.",
        );
    }
    None
}

/// Prefixes of one client must not overlap: it would be told twice.
fn overlap(prefixes: &[&[u8]], existing: &[&[u8]]) -> Option<String> {
    let overlaps = |one: &[u8], other: &[u8]| one.starts_with(other) || other.starts_with(one);
    let text = |one: &[u8], what: &str, other: &[u8]| {
        let (one, other) = (String::from_utf8_lossy(one), String::from_utf8_lossy(other));
        format!(
            "ERR Prefix '{one}' overlaps with {what} prefix '{other}'. Prefixes for a single client must not overlap."
        )
    };
    for (at, prefix) in prefixes.iter().enumerate() {
        if let Some(other) = existing.iter().find(|other| overlaps(prefix, other)) {
            return Some(text(prefix, "an existing", other));
        }
        if let Some(other) = prefixes[at + 1..].iter().find(|other| overlaps(prefix, other)) {
            return Some(text(prefix, "another provided", other));
        }
    }
    None
}

/// `CLIENT TRACKING ON | OFF ...`.
pub(crate) fn tracking(
    call: &mut ServerCall<'_, '_>,
    args: &Args<'_>,
    reply: &mut dyn Reply,
) -> Result<(), CommandError> {
    let Request { mode, mut prefixes } = parse(call.server, args)?;
    let (client, engine) = (&mut *call.client, call.lock.get());
    if args.is(2, "off") {
        stop(engine, client);
        reply.ok();
        return Ok(());
    }
    if !args.is(2, "on") {
        return Err(CommandError::Syntax);
    }
    if let Some(why) = objection(client.tracking.as_deref(), &mode, !prefixes.is_empty()) {
        return Err(CommandError::text(why));
    }
    let (Some(hub), _) = Hub::of(engine, 0) else { return Err(CommandError::Syntax) };
    let existing: Vec<&[u8]> = hub.tracking.prefixes_of(client.info.id).collect();
    if let Some(why) = overlap(&prefixes, &existing) {
        return Err(CommandError::text(why));
    }
    if mode.broadcast && prefixes.is_empty() {
        prefixes.push(b"");
    }
    let redirect = call.server.clients.get(mode.redirect);
    hub.tracking.track(&client.info, &mode, redirect, prefixes.into_iter().map(Into::into));
    engine.notes_changes = true;
    client.tracking = Some(Box::new(mode));
    reply.ok();
    Ok(())
}

/// The client tracks no more.
pub(crate) fn stop(engine: &mut Engine, client: &mut Client) {
    if client.tracking.take().is_some()
        && let (Some(hub), _) = Hub::of(engine, 0)
    {
        hub.tracking.forget(client.info.id);
        engine.notes_changes = Hub::look(engine).is_some_and(|hub| hub.tracking.is_used());
    }
}

/// `CLIENT CACHING YES | NO`.
pub(crate) fn caching(client: &mut Client, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let Some(mode) = &mut client.tracking else {
        return Err(CommandError::text(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        ));
    };
    if args.is(2, "yes") {
        if !mode.opt_in {
            return Err(CommandError::text(
                "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
            ));
        }
    } else if args.is(2, "no") {
        if !mode.opt_out {
            return Err(CommandError::text(
                "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
            ));
        }
    } else {
        return Err(CommandError::Syntax);
    }
    mode.caching = true;
    reply.ok();
    Ok(())
}

/// `CLIENT GETREDIR`: -1 if it does not track, 0 if it is told itself.
pub(crate) fn get_redirect(client: &Client, reply: &mut dyn Reply) {
    reply.integer(client.tracking.as_ref().map_or(-1, |mode| mode.redirect as i64));
}

/// `CLIENT TRACKINGINFO`.
pub(crate) fn info(call: &mut ServerCall<'_, '_>, reply: &mut dyn Reply) {
    let client = &*call.client;
    let mode = client.tracking.as_deref().copied().unwrap_or_default();
    let broken = client.info.tracking.load(Ordering::Relaxed) & BROKEN != 0;
    let flags = [
        (client.tracking.is_none(), "off"),
        (client.tracking.is_some(), "on"),
        (mode.broadcast, "bcast"),
        (mode.opt_in, "optin"),
        (mode.opt_in && mode.caching, "caching-yes"),
        (mode.opt_out, "optout"),
        (mode.opt_out && mode.caching, "caching-no"),
        (mode.no_loop, "noloop"),
        (broken, "broken_redirect"),
    ];
    reply.map(3);
    reply.bulk(b"flags");
    let flags: Vec<&str> = flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"redirect");
    get_redirect(client, reply);
    reply.bulk(b"prefixes");
    let hub = Hub::look(call.lock.get());
    let prefixes: Vec<&[u8]> = hub.into_iter().flat_map(|hub| hub.tracking.prefixes_of(client.info.id)).collect();
    reply.array(prefixes.len());
    prefixes.iter().for_each(|prefix| reply.bulk(prefix));
}
