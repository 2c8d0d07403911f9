//! How CLIENT LIST and CLIENT INFO show a client.

use crate::client::ClientInfo;
use crate::server::Server;
use crate::tracking::table::{BROADCAST, BROKEN, TRACKS};
use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

/// Bytes of unsent replies that are shown as Redis' fixed buffer (`obl`); what is beyond is shown as its list of blocks.
const FIXED_OUTPUT_LEN: usize = 16 * 1024;

/// What of so many bytes of unsent replies is shown as `omem`, which is what the soft limit of `client-output-buffer-limit` is about.
pub(crate) fn listed_output(len: usize) -> usize {
    len.saturating_sub(FIXED_OUTPUT_LEN)
}

/// The letters that say what a client is and does.
pub(crate) fn flags(info: &ClientInfo) -> String {
    let mut flags = String::new();
    for (flag, set) in [
        ('O', info.monitoring.load(Relaxed)),
        ('P', info.is_subscriber()),
        ('x', info.queued.load(Relaxed) >= 0),
        ('b', info.waiting.load(Relaxed)),
        ('c', info.closing.load(Relaxed)),
        ('t', info.tracking.load(Relaxed) & TRACKS != 0),
        ('R', info.tracking.load(Relaxed) & BROKEN != 0),
        ('B', info.tracking.load(Relaxed) & BROADCAST != 0),
        ('U', info.unix),
        ('e', info.no_evict.load(Relaxed)),
        ('T', info.no_touch.load(Relaxed)),
    ] {
        if set {
            flags.push(flag);
        }
    }
    if flags.is_empty() {
        flags.push('N');
    }
    flags
}

/// One line of CLIENT LIST, without its end.
pub(crate) fn describe(server: &Server, info: &ClientInfo, text: &mut String) {
    let now_ms = server.clock_ms();
    let names = info.names.lock().clone();
    let shown = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let output_len = info.output_len.load(Relaxed);
    let listed_len = listed_output(output_len);
    let seconds_since = |ms: u64| now_ms.saturating_sub(ms) / 1000;
    let fields: [(&str, &dyn std::fmt::Display); 35] = [
        ("id", &info.id),
        ("addr", &info.addr),
        ("laddr", &info.laddr),
        ("fd", &info.fd),
        ("name", &shown(&names.name)),
        ("age", &seconds_since(info.created_ms)),
        ("idle", &seconds_since(info.active_ms.load(Relaxed))),
        ("flags", &flags(info)),
        ("db", &info.db.load(Relaxed)),
        ("sub", &info.channels.load(Relaxed)),
        ("psub", &info.patterns.load(Relaxed)),
        ("ssub", &info.shard_channels.load(Relaxed)),
        ("multi", &info.queued.load(Relaxed)),
        ("qbuf", &info.query_len.load(Relaxed)),
        ("qbuf-free", &info.query_free.load(Relaxed)),
        ("argv-mem", &info.argv_bytes.load(Relaxed)),
        ("multi-mem", &info.queued_bytes.load(Relaxed)),
        ("rbs", &info.output_room.load(Relaxed)),
        ("rbp", &info.output_peak.load(Relaxed)),
        ("obl", &(output_len - listed_len)),
        ("oll", &listed_len.div_ceil(FIXED_OUTPUT_LEN)),
        ("omem", &listed_len),
        ("tot-mem", &info.memory()),
        ("events", &if output_len > 0 { "rw" } else { "r" }),
        ("cmd", &server.commands.name_of(info.last_command.load(Relaxed))),
        ("user", &info.user.lock().shown_name().into_owned()),
        ("redir", &info.redirect.load(Relaxed)),
        ("resp", &info.protocol.load(Relaxed)),
        ("lib-name", &shown(&names.lib_name)),
        ("lib-ver", &shown(&names.lib_ver)),
        // Up to here as Redis 7.2 shows them; what later servers add follows.
        ("watch", &info.watched.load(Relaxed)),
        ("capa", &if info.redirects.load(Relaxed) { "r" } else { "" }),
        ("tot-net-in", &info.bytes_in.load(Relaxed)),
        ("tot-net-out", &info.bytes_out.load(Relaxed)),
        ("tot-cmds", &info.commands.load(Relaxed)),
    ];
    for (at, (name, value)) in fields.into_iter().enumerate() {
        let space = if at == 0 { "" } else { " " };
        // Writing into a string cannot fail.
        let _ = write!(text, "{space}{name}={value}");
    }
}
