//! TIME.

use crate::command::{After, ServerCall, ServerCommand};
use firn_engine::command::{Args, CommandError, Flags, Group, Reply, Spec};
use std::time::{SystemTime, UNIX_EPOCH};

/// `TIME`.
pub(super) static TIME: ServerCommand = ServerCommand {
    spec: Spec {
        name: "TIME",
        flags: Flags::LOADING.and(Flags::STALE).and(Flags::FAST),
        group: Group::Server,
        since: "2.6.0",
        summary: "Returns the server's time.",
        ..Spec::BASE
    },
    run: time,
};

fn time(_: &mut ServerCall<'_, '_>, _: &Args<'_>, reply: &mut dyn Reply) -> Result<After, CommandError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    reply.array(2);
    reply.bulk(now.as_secs().to_string().as_bytes());
    reply.bulk(now.subsec_micros().to_string().as_bytes());
    Ok(After::Nothing)
}
