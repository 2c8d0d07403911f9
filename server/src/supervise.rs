//! Tells the supervisor how the server is doing (`supervised`): systemd's notification protocol over the socket that it names.
//!
//! 1. A state is one datagram. Nobody waits for the supervisor, and nothing fails because it does not listen.
//! 2. Beside the log this is the one process-wide state of the server: loading tells how far it is from deep within.

use crate::log;
use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::OnceLock;

/// The environment's name for the socket.
const SOCKET: &str = "NOTIFY_SOCKET";

static SUPERVISOR: OnceLock<Supervisor> = OnceLock::new();

struct Supervisor {
    socket: UnixDatagram,
    address: SocketAddr,
}

/// Begins to tell, if `supervised` says so: `systemd` complains where there is no socket, `auto` looks whether there is one.
pub(crate) fn begin(supervised: &str) {
    if !matches!(supervised, "systemd" | "auto") {
        return;
    }
    let Some(name) = std::env::var_os(SOCKET).filter(|name| !name.is_empty()) else {
        if supervised == "systemd" {
            log::warning(format_args!(
                "systemd supervision requested, but {SOCKET} is not set: was it started by systemd?"
            ));
        }
        return;
    };
    match Supervisor::new(&name) {
        // It is called once.
        Ok(supervisor) => drop(SUPERVISOR.set(supervisor)),
        Err(error) => log::warning(format_args!("Cannot notify systemd at {}: {error}", name.display())),
    }
}

impl Supervisor {
    fn new(name: &OsStr) -> std::io::Result<Supervisor> {
        let address = match name.as_bytes().split_first() {
            Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Supervisor { socket, address })
    }
}

/// Whether somebody is told.
pub(crate) fn is_supervised() -> bool {
    SUPERVISOR.get().is_some()
}

/// Tells a state: lines of `NAME=value`.
fn tell(state: &str) {
    if let Some(Supervisor { socket, address }) = SUPERVISOR.get() {
        // A supervisor that has gone does not stop the server.
        let _ = socket.send_to_addr(state.as_bytes(), address);
    }
}

/// What the server does, in words, for `systemctl status`.
pub(crate) fn status(words: &str) {
    tell(&format!("STATUS={}", words.replace('\n', " ")));
}

/// It serves.
pub(crate) fn ready() {
    tell(&format!("READY=1\nSTATUS=Ready to accept connections\nMAINPID={}", std::process::id()));
}

/// It is about to end.
pub(crate) fn stopping() {
    tell("STOPPING=1\nSTATUS=Saving what is in memory");
}

/// It was about to end, and goes on.
pub(crate) fn going_on() {
    tell("READY=1\nSTATUS=Ready to accept connections; the shutdown failed");
}
