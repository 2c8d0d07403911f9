//! ROLE and WAIT, as a master without replicas answers them.

use crate::command::{After, Answer, ServerCall, ServerCommand};
use firn_engine::command::{Args, Arity, Blocking, Categories, CommandError, Flags, Group, Reply, Spec};
use firn_engine::number::parse_integer;
use std::time::Duration;

/// `ROLE`.
pub(super) static ROLE: ServerCommand = ServerCommand {
    spec: Spec {
        name: "ROLE",
        flags: Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE).and(Flags::FAST),
        group: Group::Server,
        categories: Categories(Categories::DANGEROUS.0),
        since: "2.8.12",
        summary: "Returns the replication role.",
        ..Spec::BASE
    },
    run: role,
};

/// `WAIT`.
pub(super) static WAIT: ServerCommand = ServerCommand {
    spec: Spec {
        name: "WAIT",
        arity: Arity::Exactly(3),
        flags: Flags::BLOCKING,
        group: Group::Generic,
        since: "3.0.0",
        summary: "Waits until so many replicas have all writes so far, and says how many have.",
        syntax: "numreplicas timeout",
        ..Spec::BASE
    },
    run: wait,
};

fn role(_: &mut ServerCall<'_, '_>, _: &Args<'_>, reply: &mut dyn Reply) -> Result<After, CommandError> {
    reply.array(3);
    reply.bulk(b"master");
    reply.integer(0); // The replication offset.
    reply.array(0);
    Ok(After::Nothing)
}

fn wait(call: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<After, CommandError> {
    let replicas = parse_integer(args.get(1)).ok_or(CommandError::NotInteger)?;
    let timeout_ms = parse_integer(args.get(2))
        .ok_or(CommandError::text("ERR timeout is not an integer or out of range"))
        .and_then(|timeout| u64::try_from(timeout).map_err(|_| CommandError::text("ERR timeout is negative")))?;
    if replicas <= 0 || call.client.session.blocking == Blocking::Never {
        reply.integer(0);
        return Ok(After::Nothing);
    }
    Ok(After::answer(async move {
        if timeout_ms == 0 {
            std::future::pending::<()>().await; // There are none, and none will come.
        }
        tokio::time::sleep(Duration::from_millis(timeout_ms)).await;
        Answer::write(|reply| reply.integer(0))
    }))
}
