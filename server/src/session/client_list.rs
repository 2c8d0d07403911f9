//! How CLIENT LIST shows a client, and which clients a filter of CLIENT LIST and CLIENT KILL means.

use crate::client::ClientInfo;
use crate::server::Server;
use firn_engine::command::CommandError;
use std::fmt::Write;
use std::sync::atomic::Ordering;

/// Which clients are meant: those that match everything that is given.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    /// Any of these; empty is all.
    pub(crate) ids: Vec<u64>,
    /// The other end.
    pub(crate) addr: Option<Vec<u8>>,
    /// Our end.
    pub(crate) laddr: Option<Vec<u8>>,
    /// Connected for at least so long.
    pub(crate) age_min_s: Option<u64>,
    /// Logged in as this user.
    pub(crate) user: Option<Vec<u8>>,
    /// A type of clients that there are none of here.
    nobody: bool,
    /// Those that listen to channels, or those that do not.
    subscribers: Option<bool>,
}

impl Filter {
    /// TYPE.
    ///
    /// # Errors
    /// No such type.
    pub(crate) fn set_type(&mut self, name: &[u8]) -> Result<(), CommandError> {
        match name.to_ascii_lowercase().as_slice() {
            b"normal" => self.subscribers = Some(false),
            b"pubsub" => self.subscribers = Some(true),
            b"master" | b"slave" | b"replica" => self.nobody = true,
            _ => {
                let name = String::from_utf8_lossy(name);
                return Err(CommandError::text(format!("ERR Unknown client type '{name}'")));
            }
        }
        Ok(())
    }

    /// Whether this client is meant.
    pub(crate) fn wants(&self, server: &Server, info: &ClientInfo) -> bool {
        !self.nobody
            && self.subscribers.is_none_or(|wanted| wanted == info.is_subscriber())
            && (self.ids.is_empty() || self.ids.contains(&info.id))
            && self.addr.as_ref().is_none_or(|addr| addr == info.addr.as_bytes())
            && self.laddr.as_ref().is_none_or(|laddr| laddr == info.laddr.as_bytes())
            && self.user.as_ref().is_none_or(|user| *user == info.user.lock().name[..])
            && self.age_min_s.is_none_or(|age| (server.clock_ms() - info.created_ms) / 1000 >= age)
    }
}

/// One line of CLIENT LIST, without its end.
pub(crate) fn describe(server: &Server, info: &ClientInfo, text: &mut String) {
    let now_ms = server.clock_ms();
    let names = info.names.lock().clone();
    let shown = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let mut flags = String::new();
    for (flag, set) in [
        ('O', info.monitoring.load(Ordering::Relaxed)),
        ('P', info.is_subscriber()),
        ('b', info.waiting.load(Ordering::Relaxed)),
        ('c', info.closing.load(Ordering::Relaxed)),
        ('e', info.no_evict.load(Ordering::Relaxed)),
        ('x', info.queued.load(Ordering::Relaxed) >= 0),
        ('T', info.no_touch.load(Ordering::Relaxed)),
        ('U', info.unix),
    ] {
        if set {
            flags.push(flag);
        }
    }
    if flags.is_empty() {
        flags.push('N');
    }
    let query_len = info.query_len.load(Ordering::Relaxed);
    let query_free = info.query_free.load(Ordering::Relaxed);
    let output_len = info.output_len.load(Ordering::Relaxed);
    let output_room = info.output_room.load(Ordering::Relaxed);
    let total = query_len + query_free + output_room + size_of::<ClientInfo>();
    let events = if output_len > 0 { "rw" } else { "r" };
    // Writing into a string cannot fail.
    let _ = write!(
        text,
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={flags} db={} sub={} psub={} ssub={} multi={} qbuf={query_len} \
         qbuf-free={query_free} argv-mem=0 multi-mem=0 rbs={output_room} rbp=0 obl={output_len} oll=0 omem=0 tot-mem={total} \
         events={events} cmd={} user={} redir=-1 resp={} lib-name={} lib-ver={} tot-net-in={} tot-net-out={} tot-cmds={}",
        info.id,
        info.addr,
        info.laddr,
        info.fd,
        shown(&names.name),
        now_ms.saturating_sub(info.created_ms) / 1000,
        now_ms.saturating_sub(info.active_ms.load(Ordering::Relaxed)) / 1000,
        info.db.load(Ordering::Relaxed),
        info.channels.load(Ordering::Relaxed),
        info.patterns.load(Ordering::Relaxed),
        info.shard_channels.load(Ordering::Relaxed),
        info.queued.load(Ordering::Relaxed),
        server.commands.name_of(info.last_command.load(Ordering::Relaxed)),
        info.user.lock().shown_name(),
        info.protocol.load(Ordering::Relaxed),
        shown(&names.lib_name),
        shown(&names.lib_ver),
        info.bytes_in.load(Ordering::Relaxed),
        info.bytes_out.load(Ordering::Relaxed),
        info.commands.load(Ordering::Relaxed),
    );
}
