//! MONITOR.

use crate::command::{After, ServerCommand};
use std::sync::atomic::Ordering;

use firn_engine::command::{Arity, Blocking, CommandError, Flags, Group, Spec};

/// `MONITOR`.
pub(super) static MONITOR: ServerCommand = ServerCommand {
    spec: Spec {
        name: "MONITOR",
        arity: Arity::Exactly(1),
        flags: Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE),
        group: Group::Server,
        summary: "Shows every command that the server runs, as it runs it.",
        ..Spec::BASE
    },
    run: |call, _, reply| {
        if matches!(call.client.session.blocking, Blocking::Never) {
            return Err(CommandError::text("ERR MONITOR isn't allowed for DENY BLOCKING client"));
        }
        call.server.monitors.join(&call.client.info);
        call.client.info.monitoring.store(true, Ordering::Relaxed);
        reply.ok();
        Ok(After::Nothing)
    },
};
