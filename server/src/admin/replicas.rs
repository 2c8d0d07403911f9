//! ROLE and WAIT, as a master without replicas answers them.

use crate::blocking;
use crate::command::{After, Answer, ServerCall, ServerCommand};
use firn_engine::command::{Args, Arity, Blocking, Categories, CommandError, Flags, Group, Reply, Spec, timeout_ms};
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
    let timeout_ms = timeout_ms(args.get(2), call.engine().now_ms)?;
    if replicas <= 0 || call.client.session.blocking == Blocking::Never {
        reply.integer(0);
        return Ok(After::Nothing);
    }
    // There are none, and none will come.
    Ok(blocking::wait(call.client, pass(timeout_ms), || Answer::write(|reply| reply.integer(0))))
}

/// Lets the time pass; `None` is for ever.
pub(super) async fn pass(ms: Option<u64>) {
    match ms {
        Some(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
        None => std::future::pending().await,
    }
}
