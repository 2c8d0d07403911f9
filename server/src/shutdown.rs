//! The end of the process: everything written and flushed, our files removed, exit.

use crate::log;
use crate::server::Server;
use std::sync::Arc;

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
pub(crate) async fn run(server: &Arc<Server>, _how: Shutdown) -> Result<std::convert::Infallible, String> {
    log::warning(format_args!("User requested shutdown..."));
    let store = server.store.clone();
    // Files are flushed in a thread of its own: clients are served until the end.
    let flushed = tokio::task::spawn_blocking(move || store.commit()).await;
    if let Err(error) = flushed {
        return Err(format!("the log could not be flushed: {error}"));
    }
    remove_files(server);
    log::warning(format_args!("Firn is now ready to exit, bye bye..."));
    std::process::exit(0)
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
