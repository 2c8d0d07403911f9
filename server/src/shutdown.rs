//! The end of the process: everything written and flushed, our files removed, exit.

use crate::log;
use crate::server::Server;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked whether a script keeps the engine.
const BUSY_LOOK: Duration = Duration::from_millis(20);

/// How to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Shutdown {
    /// SHUTDOWN SAVE or NOSAVE: whether to take a snapshot first; by default only if there are save points.
    pub(crate) save: Option<bool>,
    /// SHUTDOWN FORCE: end even if that fails.
    pub(crate) force: bool,
}

/// Ends the process with success. Returns only if what is in memory could not be made durable.
///
/// # Errors
/// Why not.
pub(crate) async fn run(server: &Arc<Server>, how: Shutdown) -> Result<std::convert::Infallible, String> {
    log::warning(format_args!("User requested shutdown..."));
    crate::supervise::stopping();
    let (points, logged) = {
        let config = server.config.lock();
        (!config.save_points().is_empty(), config.bool("appendonly"))
    };
    // With a log, everything is in it; without one, only a snapshot lasts.
    let save = how.save.unwrap_or(points && !logged);
    if server.scripting.is_busy() && save {
        log::warning(format_args!(
            "The snapshot waits for the script that runs: SCRIPT KILL ends it, SHUTDOWN NOSAVE the server as well"
        ));
    }
    while server.scripting.is_busy() {
        if !save {
            give_up(server);
        }
        tokio::time::sleep(BUSY_LOOK).await;
    }
    let store = server.store.clone();
    // In a thread of its own: clients are served until the end.
    let mut done = tokio::task::spawn_blocking(move || {
        if save {
            let ticket = store.request_snapshot();
            store.wait_snapshot(ticket).map_err(|reason| format!("the snapshot failed: {reason}"))?;
        }
        if logged && !store.flush() { Err("the log could not be flushed".to_owned()) } else { Ok(()) }
    });
    let done = loop {
        tokio::select! {
            done = &mut done => break done,
            () = tokio::time::sleep(BUSY_LOOK) => {
                if !save && server.scripting.is_busy() {
                    give_up(server);
                }
            }
        }
    };
    if let Err(reason) = done.unwrap_or_else(|error| Err(error.to_string())) {
        if !how.force {
            crate::supervise::going_on();
            return Err(reason);
        }
        log::warning(format_args!("Ending by force although {reason}"));
    }
    // Everything is flushed: now the log says so itself, so that the next start has nothing to find out.
    let store = server.store.clone();
    if let Ok(Err(error)) = tokio::task::spawn_blocking(move || store.shut_down()).await {
        log::warning(format_args!("The log could not be closed: {error}"));
    }
    leave(server)
}

/// Ends the process while a script keeps the engine, perhaps for ever. What was acknowledged has been written as the policy promises; what the
/// script has done was not acknowledged, and is not logged in part.
fn give_up(server: &Server) -> ! {
    log::warning(format_args!("Ending while a script runs: what it has done is given up"));
    leave(server)
}

/// Ends the process. Another thread does it: what belongs to the thread that ends a process is dropped, and here that may be a suspended
/// script, whose drop would let the engine go in the middle of a record.
fn leave(server: &Server) -> ! {
    remove_files(server);
    server.rebind.close();
    log::warning(format_args!("Firn is now ready to exit, bye bye..."));
    if std::thread::Builder::new().spawn(|| std::process::exit(0)).is_err() {
        std::process::abort() // That drops nothing either.
    }
    loop {
        std::thread::park();
    }
}

fn remove_files(server: &Server) {
    let pidfile = server.config.lock().path("pidfile");
    for path in [Some(pidfile), server.settings.get().unixsocket.clone()].into_iter().flatten() {
        if !path.as_os_str().is_empty()
            && let Err(error) = std::fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            log::warning(format_args!("Cannot remove {}: {error}", path.display()));
        }
    }
}
