//! SAVE, BGSAVE, BGREWRITEAOF, LASTSAVE, WAITAOF, SHUTDOWN.
//!
//! A snapshot is both what SAVE and what BGREWRITEAOF ask for: the state as a file, and a log that is shorter by what it replaces.
//! Whatever waits for the disk does so in a thread for blocking work; the client's runtime serves others meanwhile.

use super::replicas;
use crate::blocking as waiting;
use crate::command::{After, Answer, ServerCall, ServerCommand};
use crate::shutdown::{self, Shutdown};
use firn_engine::command::{Args, Arity, Blocking, Categories, CommandError, Flags, Group, Reply, Spec, timeout_ms};
use firn_engine::number::parse_integer;
use std::time::Duration;

const BASE: Spec =
    Spec { flags: Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::NO_ASYNC_LOADING), group: Group::Server, ..Spec::BASE };

/// `SAVE`.
pub(super) static SAVE: ServerCommand = ServerCommand {
    spec: Spec {
        name: "SAVE",
        flags: BASE.flags.and(Flags::NO_MULTI),
        summary: "Takes a snapshot and answers when it is on the device.",
        complexity: "O(N) where N is the total number of keys in all databases",
        ..BASE
    },
    run: save,
};

/// `BGSAVE`.
pub(super) static BGSAVE: ServerCommand = ServerCommand {
    spec: Spec {
        name: "BGSAVE",
        arity: Arity::AtLeast(1),
        summary: "Begins a snapshot in the background.",
        syntax: "[SCHEDULE]",
        ..BASE
    },
    run: bgsave,
};

/// `BGREWRITEAOF`.
pub(super) static BGREWRITEAOF: ServerCommand = ServerCommand {
    spec: Spec {
        name: "BGREWRITEAOF",
        summary: "Begins a snapshot in the background, and shortens the log by it.",
        ..BASE
    },
    run: bgrewriteaof,
};

/// `LASTSAVE`.
pub(super) static LASTSAVE: ServerCommand = ServerCommand {
    spec: Spec {
        name: "LASTSAVE",
        flags: Flags::LOADING.and(Flags::STALE).and(Flags::FAST),
        categories: Categories(Categories::DANGEROUS.0),
        summary: "Returns the Unix time of the last snapshot.",
        ..BASE
    },
    run: lastsave,
};

/// `WAITAOF`.
pub(super) static WAITAOF: ServerCommand = ServerCommand {
    spec: Spec {
        name: "WAITAOF",
        arity: Arity::Exactly(4),
        flags: Flags::BLOCKING,
        group: Group::Generic,
        since: "7.2.0",
        summary: "Waits until all writes so far are on the device.",
        syntax: "numlocal numreplicas timeout",
        ..BASE
    },
    run: waitaof,
};

/// `SHUTDOWN`.
pub(super) static SHUTDOWN: ServerCommand = ServerCommand {
    spec: Spec {
        name: "SHUTDOWN",
        arity: Arity::AtLeast(1),
        flags: Flags::ADMIN
            .and(Flags::NOSCRIPT)
            .and(Flags::LOADING)
            .and(Flags::STALE)
            .and(Flags::NO_MULTI)
            .and(Flags::ALLOW_BUSY),
        summary: "Makes everything durable and ends the server.",
        complexity: "O(N) when saving, where N is the total number of keys in all databases when saving data, otherwise O(1)",
        syntax: "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]",
        ..BASE
    },
    run: shut_down,
};

const RUNNING: CommandError = CommandError::Text(std::borrow::Cow::Borrowed("ERR Background save already in progress"));

fn save(call: &mut ServerCall<'_, '_>, _: &Args<'_>, _: &mut dyn Reply) -> Result<After, CommandError> {
    call.unlock();
    let store = call.server.store.clone();
    if store.snapshot_info().running {
        return Err(RUNNING);
    }
    Ok(blocking(move || {
        let ticket = store.request_snapshot();
        answer(store.wait_snapshot(ticket))
    }))
}

fn bgsave(call: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<After, CommandError> {
    let schedule = match args.len() {
        1 => false,
        2 if args.is(1, "SCHEDULE") => true,
        _ => return Err(CommandError::Syntax),
    };
    call.unlock();
    let running = call.server.store.snapshot_info().running;
    if running && !schedule {
        return Err(RUNNING);
    }
    call.server.store.request_snapshot();
    reply.simple(if running { "Background saving scheduled" } else { "Background saving started" });
    Ok(After::Nothing)
}

fn bgrewriteaof(call: &mut ServerCall<'_, '_>, _: &Args<'_>, reply: &mut dyn Reply) -> Result<After, CommandError> {
    call.unlock();
    let running = call.server.store.snapshot_info().running;
    call.server.store.request_snapshot();
    reply.simple(if running {
        "Background append only file rewriting scheduled"
    } else {
        "Background append only file rewriting started"
    });
    Ok(After::Nothing)
}

fn lastsave(call: &mut ServerCall<'_, '_>, _: &Args<'_>, reply: &mut dyn Reply) -> Result<After, CommandError> {
    let saved_at = call.server.store.snapshot_info().status.saved_at;
    reply.integer(i64::try_from(saved_at).unwrap_or(i64::MAX));
    Ok(After::Nothing)
}

fn waitaof(call: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<After, CommandError> {
    let local = args.integer(1)?;
    if !(0..=1).contains(&local) {
        return Err(CommandError::text("ERR value is out of range, value must between 0 and 1"));
    }
    let replicas = parse_integer(args.get(2))
        .filter(|replicas| *replicas >= 0)
        .ok_or(CommandError::text("ERR value is out of range, must be positive"))?;
    let timeout_ms = timeout_ms(args.get(3), call.engine().now_ms)?;
    let store = call.server.store;
    if local > 0 && store.durable_lsn().is_none() {
        return Err(CommandError::text("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."));
    }
    let target = call.engine().effects.last();
    let durable = move || store.durable_lsn().is_some_and(|durable| durable >= target);
    // A transaction and a script keep the engine: they are told how it stands.
    if call.client.session.blocking == Blocking::Never {
        write_reached(durable(), reply);
        return Ok(After::Nothing);
    }
    let all = async move {
        // Not to wait for the next second, or, with `appendfsync no`, for ever. A flush that failed is tried again by the store itself.
        let flush = tokio::task::spawn_blocking(move || durable() || store.flush());
        let _ = flush.await;
        while local > 0 && !durable() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        if replicas > 0 {
            std::future::pending::<()>().await; // There are none, and none will come.
        }
    };
    let over = async move {
        tokio::select! {
            () = all => {}
            () = replicas::pass(timeout_ms) => {} // Late is told by the numbers in the reply.
        }
    };
    Ok(waiting::wait(call.client, over, move || {
        let reached = durable();
        Answer::write(move |reply| write_reached(reached, reply))
    }))
}

/// What WAITAOF answers: on how many servers' devices it is, this one and the replicas.
fn write_reached(reached: bool, reply: &mut dyn Reply) {
    reply.array(2);
    reply.integer(i64::from(reached));
    reply.integer(0);
}

fn shut_down(call: &mut ServerCall<'_, '_>, args: &Args<'_>, _: &mut dyn Reply) -> Result<After, CommandError> {
    let how = parse_shutdown(&args.words()[1..])?;
    call.unlock();
    let server = call.server.clone();
    Ok(After::answer(async move {
        let Err(reason) = shutdown::run(&server, how).await;
        crate::log::warning(format_args!("SHUTDOWN failed: {reason}"));
        Answer::write(|reply| reply.error("ERR Errors trying to SHUTDOWN. Check logs."))
    }))
}

/// The options of SHUTDOWN.
pub(crate) fn parse_shutdown(words: &[&[u8]]) -> Result<Shutdown, CommandError> {
    let mut how = Shutdown::default();
    let mut abort = false;
    for word in words {
        match word.to_ascii_lowercase().as_slice() {
            b"save" if how.save != Some(false) => how.save = Some(true),
            b"nosave" if how.save != Some(true) => how.save = Some(false),
            b"force" => how.force = true,
            b"now" => {} // There are no replicas to wait for.
            b"abort" => abort = true,
            _ => return Err(CommandError::Syntax),
        }
    }
    match (abort, words.len()) {
        (false, _) => Ok(how),
        // A shutdown does not wait for anything that could be called off.
        (true, 1) => Err(CommandError::text("ERR No shutdown in progress.")),
        (true, _) => Err(CommandError::Syntax),
    }
}

/// Runs `work` in a thread for blocking work; its answer is the reply.
pub(super) fn blocking(work: impl FnOnce() -> Result<(), String> + Send + 'static) -> After {
    After::answer(async move {
        let done = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()));
        Answer::write(move |reply| match done {
            Ok(()) => reply.ok(),
            Err(reason) => reply.error(&CommandError::text(format!("ERR {reason}")).to_string()),
        })
    })
}

fn answer(result: Result<(), String>) -> Result<(), String> {
    result.map_err(|reason| format!("the snapshot failed: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shutdown_options_do_not_contradict_each_other() {
        let parse = |words: &[&str]| {
            let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            parse_shutdown(&words).map(|how| (how.save, how.force)).map_err(|error| error.to_string())
        };
        assert_eq!(parse(&[]), Ok((None, false)));
        assert_eq!(parse(&["NOSAVE", "now", "Force"]), Ok((Some(false), true)));
        assert_eq!(parse(&["save"]), Ok((Some(true), false)));
        for bad in [&["save", "nosave"][..], &["nosave", "save"], &["abort", "now"], &["later"]] {
            assert_eq!(parse(bad), Err("ERR syntax error".into()), "{bad:?}");
        }
        assert_eq!(parse(&["abort"]), Err("ERR No shutdown in progress.".into()));
    }
}
