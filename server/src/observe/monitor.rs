//! MONITOR: every command that is run, as it is run, to those who asked for it.
//!
//! 1. A command costs one comparison as long as nobody watches.
//! 2. Commands that administer the server are not shown, nor are secrets in others ([`redacted`](super::command_log::redacted)).
//! 3. Lines are mail: bounded by `client-output-buffer-limit`, in the order in which the commands ran.

use super::command_log::redacted;
use crate::client::ClientInfo;
use crate::command::EngineLock;
use crate::config::value::quote;
use crate::net::mail::Shape;
use crate::pubsub::hub::Hub;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Who watches.
#[derive(Debug, Default)]
pub(crate) struct Monitors {
    count: AtomicUsize,
    clients: Mutex<Vec<Arc<ClientInfo>>>,
}

impl Monitors {
    /// Whether anybody watches.
    #[inline]
    pub(crate) fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// This client watches from now on.
    pub(crate) fn join(&self, client: &Arc<ClientInfo>) {
        let mut clients = self.clients.lock();
        if !clients.iter().any(|known| known.id == client.id) {
            clients.push(client.clone());
        }
        self.count.store(clients.len(), Ordering::Relaxed);
    }

    /// This client does not any more.
    pub(crate) fn leave(&self, id: u64) {
        if self.any() {
            let mut clients = self.clients.lock();
            clients.retain(|client| client.id != id);
            self.count.store(clients.len(), Ordering::Relaxed);
        }
    }

    /// Shows a command; `source` is where it came from.
    #[cold]
    pub(crate) fn show(&self, lock: &mut EngineLock, db: usize, source: &str, words: &[&[u8]]) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut line = format!("+{}.{:06} [{db} {source}]", since.as_secs(), since.subsec_micros());
        for word in redacted(words) {
            line.push(' ');
            line.push_str(&quote(&word));
        }
        line.push_str("\r\n");
        if let (Some(hub), _) = Hub::of(lock.get(), 0) {
            for client in self.clients.lock().iter() {
                hub.send_to(client, Shape::Plain, Some(0), |out| out.extend_from_slice(line.as_bytes()));
            }
        }
    }
}

/// Where a client's commands come from, as lines show it.
pub(crate) fn source(client: &ClientInfo) -> String {
    if client.unix { format!("unix:{}", client.addr.trim_end_matches(":0")) } else { client.addr.clone() }
}
