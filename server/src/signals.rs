//! SIGTERM and SIGINT end the server as `shutdown-on-sigterm` and `shutdown-on-sigint` say; a SIGINT while that is under way ends it at once.
//!
//! A thread of its own waits for them: whatever an end hangs on (a disk that does not answer, a script), the second SIGINT is heard.

use crate::admin::persistence::parse_shutdown;
use crate::log;
use crate::server::Server;
use crate::shutdown;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A signal has asked for the end, which has not come yet and was not refused.
static ENDING: AtomicBool = AtomicBool::new(false);

/// The directive that says how a signal ends the server.
type Directive = &'static str;

/// Listens from now on; each signal that asks for an end comes out as its directive.
///
/// # Errors
/// The system does not let us.
pub(crate) fn listen() -> io::Result<UnboundedReceiver<Directive>> {
    let (sender, receiver) = unbounded_channel();
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let (mut terminate, mut interrupt) = {
        let _guard = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = terminate.recv() => ask(&sender, "shutdown-on-sigterm"),
                    _ = interrupt.recv() => {
                        if ENDING.load(Ordering::Relaxed) {
                            log::warning(format_args!("You insist... exiting now."));
                            // What was acknowledged has been written as the policy promises; the next start finds it.
                            std::process::exit(1);
                        }
                        ask(&sender, "shutdown-on-sigint");
                    }
                }
            }
        });
    })?;
    Ok(receiver)
}

fn ask(sender: &UnboundedSender<Directive>, directive: Directive) {
    ENDING.store(true, Ordering::Relaxed);
    // It is dropped with the process.
    let _ = sender.send(directive);
}

/// Ends the server at the first signal that lets it.
pub(crate) async fn end_on(server: Arc<Server>, mut signals: UnboundedReceiver<Directive>) {
    while let Some(directive) = signals.recv().await {
        log::warning(format_args!("Received a signal to end, scheduling shutdown..."));
        let options = server.config.lock().chosen(directive);
        let words: Vec<&[u8]> = options.split(' ').filter(|word| *word != "default").map(str::as_bytes).collect();
        let how = parse_shutdown(&words).unwrap_or_default();
        let Err(reason) = shutdown::run(&server, how).await;
        ENDING.store(false, Ordering::Relaxed);
        log::warning(format_args!("The server goes on: {reason}. Send the signal again, or SHUTDOWN FORCE."));
    }
}
