//! Every directive of Redis 7.0/7.2, Valkey 9.1 and Firn: one row each.
//!
//! A row serves the configuration file, the command line, CONFIG GET/SET/REWRITE, `--help` and `docs/CONFIGURATION.md`.
//! What has no meaning here says why; what Firn cannot do yet refuses every value but those that turn it off.

use super::value::Kind;
use std::collections::HashMap;
use std::sync::LazyLock;

/// One directive.
#[derive(Debug)]
pub(crate) struct Directive {
    /// Its name, in lower case.
    pub(crate) name: &'static str,
    /// Other names for it.
    pub(crate) aliases: &'static [&'static str],
    /// What it may hold.
    pub(crate) kind: Kind,
    /// Its value when nobody sets it, as words of a configuration line.
    pub(crate) default: &'static str,
    /// How it may be changed and shown.
    pub(crate) traits: Traits,
    /// What it does.
    pub(crate) meaning: Meaning,
}

/// How a directive may be changed and shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Traits(u8);

impl Traits {
    /// CONFIG SET changes it.
    pub(crate) const LIVE: Traits = Traits(0);
    /// Only the configuration file and the command line set it.
    pub(crate) const FIXED: Traits = Traits(1);
    /// CONFIG SET changes it only where `enable-protected-configs` allows.
    pub(crate) const GUARDED: Traits = Traits(2);
    /// Its value never appears in logs.
    pub(crate) const SECRET: Traits = Traits(4);
    /// CONFIG GET shows it only by its full name.
    pub(crate) const HIDDEN: Traits = Traits(8);
    /// Firn's own: programs that set every directive of CONFIG GET to what it is do not know that it is fixed, and may.
    pub(crate) const OWN: Traits = Traits(16);
    /// It names a file that may have changed: CONFIG SET to the value it has reads it anew.
    pub(crate) const POINTS: Traits = Traits(32);

    /// Both together.
    pub(crate) const fn and(self, other: Traits) -> Traits {
        Traits(self.0 | other.0)
    }

    /// Whether all of `other` is in this set.
    pub(crate) fn has(self, other: Traits) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What a directive does here.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Meaning {
    /// It acts; the text says what it does.
    Acts(&'static str),
    /// It is accepted and kept, and changes nothing; the text says why.
    Nothing(&'static str),
    /// Only values that turn it off (the default, and these) are accepted; the text says what is missing.
    Refused(&'static str, &'static [&'static str]),
}

/// Directives that are not values: they may come many times, or do something when read.
pub(crate) const SPECIAL: &[(&str, &str)] = &[
    ("include", "reads another file here; the path may hold * ? [...]; what is read later wins"),
    ("rename-command", "gives a command another name, or none with \"\"; the log is not concerned"),
    (
        "user",
        "declares a user: name and rules, as ACL SETUSER takes them; the default user is as requirepass says unless a line is about it",
    ),
    ("loadmodule", "refused: Firn has no modules"),
    ("sentinel", "refused: Firn is no Sentinel"),
];

/// Directives of old that Redis reads and forgets.
pub(crate) const RETIRED: &[&str] = &["list-max-ziplist-entries", "list-max-ziplist-value", "lua-replicate-commands"];

/// The row of a name or alias, in any case of letters.
pub(crate) fn find(name: &[u8]) -> Option<usize> {
    static INDEX: LazyLock<HashMap<&'static str, usize>> = LazyLock::new(|| {
        let names = DIRECTIVES.iter().enumerate();
        names
            .flat_map(|(row, d)| [d.name].into_iter().chain(d.aliases.iter().copied()).map(move |n| (n, row)))
            .collect()
    });
    let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
    INDEX.get(name.as_str()).copied()
}

fn any(_: &[u8]) -> Result<(), &'static str> {
    Ok(())
}

fn base_name(text: &[u8], empty: &'static str, path: &'static str) -> Result<(), &'static str> {
    match text {
        b"" => Err(empty),
        b"." | b".." => Err(path),
        _ if text.contains(&b'/') || text.contains(&0) => Err(path),
        _ => Ok(()),
    }
}

fn folder_name(text: &[u8]) -> Result<(), &'static str> {
    base_name(text, "appenddirname can't be empty", "appenddirname can't be a path, just a dirname")
}

fn log_name(text: &[u8]) -> Result<(), &'static str> {
    base_name(text, "appendfilename can't be empty", "appendfilename can't be a path, just a filename")
}

fn dump_name(text: &[u8]) -> Result<(), &'static str> {
    const PATH: &str = "dbfilename can't be a path, just a filename";
    if text.is_empty() { Ok(()) } else { base_name(text, PATH, PATH) }
}

fn host_name(text: &[u8]) -> Result<(), &'static str> {
    if text.len() >= 256 {
        return Err("Hostnames must be less than 256 characters");
    }
    if !text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(byte)) {
        return Err("Hostnames may only contain alphanumeric characters, hyphens or dots");
    }
    Ok(())
}

/// The variables that `proc-title-template` may name.
pub(crate) const TITLE_VARIABLES: [&str; 8] =
    ["title", "listen-addr", "server-mode", "port", "tls-port", "unixsocket", "config-file", "pid"];

fn title(text: &[u8]) -> Result<(), &'static str> {
    const BAD: &str = "template format is invalid or contains unknown variables";
    if text.is_empty() {
        return Err(BAD);
    }
    let mut parts = text.split(|&byte| byte == b'{');
    parts.next();
    for part in parts {
        let end = part.iter().position(|&byte| byte == b'}').ok_or(BAD)?;
        if !TITLE_VARIABLES.iter().any(|variable| variable.as_bytes() == &part[..end]) {
            return Err(BAD);
        }
    }
    Ok(())
}

const ANY: Kind = Kind::Text(any);
const PORT: Kind = Kind::Int(0, 65535);
const COUNT: Kind = Kind::Int(0, i32::MAX as i64);
const LONG: Kind = Kind::Int(0, i64::MAX);
const BYTES: Kind = Kind::Memory(0, i64::MAX as u64);
const PROTECTION: Kind = Kind::Choice(&["no", "yes", "local"]);
const SHUTDOWN: Kind = Kind::Choices(&["default", "save", "nosave", "now", "force"]);

const LIVE: Traits = Traits::LIVE;
const FIXED: Traits = Traits::FIXED;
const GUARDED: Traits = Traits::GUARDED;
const SECRET: Traits = Traits::SECRET;
const HIDDEN: Traits = Traits::HIDDEN;
const OWN: Traits = Traits::OWN;
const POINTS: Traits = Traits::POINTS;

const REPLICATION: &str = "there is no replication yet";
const CLUSTER: &str = "there is no cluster mode";
const TLS_REPLICATION: &str = "there is no replication yet, so nothing connects to other servers with TLS";
const RDMA: &str = "there is no RDMA";
const NO_FORK: &str = "Firn does not fork: snapshots are written by a thread, in short slices";
const NO_RDB: &str = "every version of RDB that is known is read, whatever this says";
const CPUS: &str = "threads are not pinned; use taskset or CPUAffinity=";
const DEFRAG: &str = "values are not moved in memory; the allocator returns free pages by itself";
const LAZY: &str = "large collections are always freed in the background, whatever deleted them, and count against maxmemory until they are";
const CRASH: &str = "a panic is reported with its place by the runtime";

macro_rules! rows {
    ($($name:literal $(/ $alias:literal)*, $kind:expr, $default:literal, $traits:expr, $meaning:ident($text:expr $(, $off:expr)?);)*) => {
        /// Every directive, in the order of the documentation.
        pub(crate) static DIRECTIVES: &[Directive] = &[$(Directive {
            name: $name,
            aliases: &[$($alias),*],
            kind: $kind,
            default: $default,
            traits: $traits,
            meaning: Meaning::$meaning($text $(, $off)?),
        }),*];
    };
}

// name / aliases, kind, default, traits, meaning;
rows! {
    // Network
    "bind", Kind::Words(16), "127.0.0.1 -::1", LIVE, Acts("addresses to listen on; one that begins with `-` may be missing; `*` is every one; \"\" listens on no TCP port");
    "port", PORT, "6379", LIVE, Acts("TCP port; 0 is none");
    "tcp-backlog", COUNT, "511", FIXED, Acts("length of the queue of connections that wait to be accepted");
    "unixsocket", ANY, "\"\"", FIXED, Acts("path of a unix socket to listen on");
    "unixsocketperm", Kind::Octal(0o777), "0", FIXED, Acts("its permissions; 0 leaves them to the umask");
    "unixsocketgroup", ANY, "\"\"", LIVE, Refused("the socket keeps the group of the process", &[]);
    "timeout", COUNT, "0", LIVE, Acts("seconds after which an idle client is closed; 0 is never");
    "tcp-keepalive", COUNT, "300", LIVE, Acts("seconds between keep-alive probes; 0 is none");
    "protected-mode", Kind::Bool, "yes", LIVE, Acts("without a password, only loopback and unix socket clients are served");
    "bind-source-addr", ANY, "\"\"", LIVE, Nothing(REPLICATION);
    "maxclients", Kind::Int(1, u32::MAX as i64), "10000", LIVE, Acts("connections at most");
    "client-query-buffer-limit", Kind::Memory(1 << 20, i64::MAX as u64), "1gb", LIVE, Acts("unparsed bytes of a client at most; more closes it");
    "client-output-buffer-limit", Kind::OutputLimits, "normal 0 0 0 replica 256mb 64mb 60 pubsub 32mb 8mb 60", LIVE, Acts("unsent bytes of a client at most; more closes it");
    "maxmemory-clients", Kind::MemoryOrPercent, "0", LIVE, Acts("memory of all clients at most, in bytes or as a part of maxmemory; who takes most is closed; 0 is no limit");
    "proto-max-bulk-len", Kind::Memory(1 << 20, firn_engine::limits::STRING_LEN_LIMIT as u64), "512mb", LIVE, Acts("longest string");
    "io-threads", Kind::Int(1, 256), "1", FIXED, Acts("network threads; each also executes its clients' commands");
    "io-threads-do-reads", Kind::Bool, "no", FIXED, Nothing("network threads always read, parse and write");
    "io-threads-always-active", Kind::Bool, "no", FIXED.and(HIDDEN), Nothing("network threads sleep when there is nothing to do");
    "events-per-io-thread", COUNT, "2", LIVE.and(HIDDEN), Nothing("a connection stays with its thread");
    "prefetch-batch-max-size", Kind::Int(0, 128), "16", LIVE, Nothing("the keys of a whole batch are fetched ahead");
    "max-new-connections-per-cycle", Kind::Int(1, 1000), "10", LIVE, Nothing("connections are accepted as they come, between others' commands");
    "max-new-tls-connections-per-cycle", Kind::Int(1, 1000), "1", LIVE, Nothing("handshakes are tasks of their own, between others' commands");
    "socket-mark-id", Kind::Int(0, u32::MAX as i64), "0", FIXED, Refused("sockets are not marked", &[]);
    "mptcp", Kind::Bool, "no", LIVE, Refused("there is no multipath TCP", &[]);
    "rdma-bind", Kind::Words(16), "\"\"", LIVE, Refused(RDMA, &[]);
    "rdma-port", PORT, "0", LIVE, Refused(RDMA, &[]);
    "rdma-rx-size", Kind::Memory(1 << 16, 1 << 24), "1mb", LIVE, Nothing(RDMA);
    "rdma-completion-vector", Kind::Int(-1, 1024), "-1", LIVE, Nothing(RDMA);
    "locale-collate", ANY, "\"\"", LIVE, Nothing("strings are compared as bytes");
    "availability-zone", ANY, "\"\"", LIVE, Nothing("it is shown by INFO's server section once clients can ask for it by HELLO");

    // TLS
    "tls-port", PORT, "0", LIVE, Acts("TCP port for connections with TLS; 0 is none");
    "tls-cert-file", ANY, "\"\"", LIVE.and(POINTS), Acts("certificate of the server and what vouches for it, PEM; setting it again reads it anew");
    "tls-key-file", ANY, "\"\"", LIVE.and(POINTS), Acts("its private key, PEM, without a passphrase");
    "tls-key-file-pass", ANY, "\"\"", LIVE.and(SECRET), Refused("only keys without a passphrase are read", &[]);
    "tls-client-cert-file", ANY, "\"\"", LIVE, Nothing(TLS_REPLICATION);
    "tls-client-key-file", ANY, "\"\"", LIVE, Nothing(TLS_REPLICATION);
    "tls-client-key-file-pass", ANY, "\"\"", LIVE.and(SECRET), Nothing(TLS_REPLICATION);
    "tls-dh-params-file", ANY, "\"\"", LIVE, Nothing("keys are agreed on with elliptic curves only");
    "tls-ca-cert-file", ANY, "\"\"", LIVE.and(POINTS), Acts("certificates of those who vouch for clients, PEM");
    "tls-ca-cert-dir", ANY, "\"\"", LIVE.and(POINTS), Acts("folder of such files");
    "tls-auth-clients", Kind::Choice(&["no", "yes", "optional"]), "yes", LIVE, Acts("whether clients must have a certificate; `optional` checks the one that is given");
    "tls-auth-clients-user", Kind::Choice(&["CN", "URI", "off"]), "off", LIVE, Refused("a certificate does not log a client in; AUTH does", &[]);
    "tls-auto-reload-interval", COUNT, "0", LIVE, Acts("seconds after which certificates and keys are read anew, for new connections; 0 is only when CONFIG SET says so");
    "tls-replication", Kind::Bool, "no", LIVE, Refused(TLS_REPLICATION, &[]);
    "tls-cluster", Kind::Bool, "no", LIVE, Refused(CLUSTER, &[]);
    "tls-protocols", ANY, "\"\"", LIVE, Acts("protocols that are spoken, of TLSv1.2 and TLSv1.3; \"\" is both");
    "tls-ciphers", ANY, "\"\"", LIVE, Acts("ciphers of TLS 1.2, by OpenSSL's names; \"\" is all that rustls has: AES-GCM and ChaCha20 with ECDHE");
    "tls-ciphersuites", ANY, "\"\"", LIVE, Acts("ciphers of TLS 1.3; \"\" is all three");
    "tls-prefer-server-ciphers", Kind::Bool, "no", LIVE, Acts("whether the server's order of ciphers counts, not the client's");
    "tls-session-caching", Kind::Bool, "yes", LIVE, Acts("whether clients can take up an earlier session");
    "tls-session-cache-size", COUNT, "20480", LIVE, Acts("sessions that are remembered");
    "tls-session-cache-timeout", COUNT, "300", LIVE, Nothing("the oldest sessions are forgotten when the cache is full");

    // Metrics
    "metrics-bind", Kind::Words(16), "127.0.0.1 -::1", LIVE.and(OWN), Acts("addresses that answer /metrics and /healthz over HTTP, as `bind`; there is no password on them");
    "metrics-port", PORT, "0", LIVE.and(OWN), Acts("their TCP port; 0 is none");

    // Process and log
    "daemonize", Kind::Bool, "no", FIXED, Acts("goes into the background");
    "supervised", Kind::Choice(&["systemd", "auto", "no"]), "no", FIXED, Acts("tells systemd over NOTIFY_SOCKET when it is ready, loads, ends; `auto` where there is one. upstart is refused: nobody runs it any more");
    "pidfile", ANY, "\"\"", FIXED, Acts("file that holds the process id while the server runs");
    "loglevel", Kind::Choice(&["debug", "verbose", "notice", "warning", "nothing"]), "notice", LIVE, Acts("how much is logged");
    "logfile", ANY, "\"\"", FIXED, Acts("file to log to, in `dir` if the path is relative; \"\" is standard output");
    "log-format", Kind::Choice(&["legacy", "logfmt", "json"]), "legacy", LIVE, Refused("log lines have one format", &[]);
    "log-timestamp-format", Kind::Choice(&["legacy", "iso8601", "milliseconds"]), "legacy", LIVE, Refused("log lines have one format", &[]);
    "hide-user-data-from-log", Kind::Bool, "yes", LIVE, Nothing("users' data is never logged");
    "syslog-enabled", Kind::Bool, "no", FIXED, Refused("there is no logging to syslog; under systemd, standard output is the journal", &[]);
    "syslog-ident", ANY, "firn", FIXED, Nothing("there is no logging to syslog");
    "syslog-facility", Kind::Choice(&["user", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"]), "local0", FIXED, Nothing("there is no logging to syslog");
    "crash-log-enabled", Kind::Bool, "yes", LIVE, Nothing(CRASH);
    "crash-memcheck-enabled", Kind::Bool, "yes", LIVE, Nothing(CRASH);
    "use-exit-on-panic", Kind::Bool, "no", LIVE.and(HIDDEN), Nothing(CRASH);
    "watchdog-period", COUNT, "0", LIVE.and(HIDDEN), Nothing(CRASH);
    "enable-debug-assert", Kind::Bool, "no", FIXED.and(HIDDEN), Nothing(CRASH);
    "always-show-logo", Kind::Bool, "no", FIXED, Nothing("there is no logo");
    "set-proc-title", Kind::Bool, "yes", FIXED, Acts("whether the process shows a title of its own");
    "proc-title-template", Kind::Text(title), "\"{title} {listen-addr} {server-mode}\"", LIVE, Acts("what ps shows of the process");
    "oom-score-adj", Kind::Choice(&["no", "yes", "relative", "absolute"]), "no", LIVE, Acts("sets the kernel's OOM score of the process: added to what it was, or absolute");
    "oom-score-adj-values", Kind::OomScores, "0 200 800", LIVE, Acts("the first is the score; those of replicas and children are for Redis");
    "disable-thp", Kind::Bool, "yes", FIXED, Nothing("without fork, huge pages do no harm");
    "jemalloc-bg-thread", Kind::Bool, "yes", LIVE, Nothing("the allocator is set at build time");
    "server-cpulist" / "server_cpulist", ANY, "\"\"", LIVE, Nothing(CPUS);
    "bio-cpulist" / "bio_cpulist", ANY, "\"\"", LIVE, Nothing(CPUS);
    "aof-rewrite-cpulist" / "aof_rewrite_cpulist", ANY, "\"\"", LIVE, Nothing(CPUS);
    "bgsave-cpulist" / "bgsave_cpulist", ANY, "\"\"", LIVE, Nothing(CPUS);
    "ignore-warnings", ANY, "\"\"", LIVE, Nothing("Firn looks for no such kernel bugs at its start");
    "shutdown-on-sigint", SHUTDOWN, "default", LIVE, Acts("how SIGINT ends the server: options of SHUTDOWN");
    "shutdown-on-sigterm", SHUTDOWN, "default", LIVE, Acts("how SIGTERM ends the server: options of SHUTDOWN");
    "shutdown-timeout", COUNT, "10", LIVE, Nothing(REPLICATION);
    "hz", COUNT, "10", LIVE, Acts("maintenance ticks a second (rates, limits, idle clients), 1 to 500; expiry and snapshots do not wait for them");
    "dynamic-hz", Kind::Bool, "yes", LIVE, Nothing("a tick costs nothing worth adapting to");
    "extended-redis-compatibility", Kind::Bool, "no", LIVE, Nothing("Firn names itself by firn_version, and Redis' version for clients that look");
    "hash-seed", ANY, "\"\"", LIVE, Nothing("the seed is drawn once per store and kept in its files");

    // Who may do what
    "requirepass", ANY, "\"\"", LIVE.and(SECRET), Acts("the default user's password, which clients give with AUTH; \"\" is none");
    "aclfile", ANY, "\"\"", FIXED, Acts("file of users, one `user` line each; ACL LOAD and ACL SAVE read and write it; excludes `user` lines, and requirepass is ignored");
    "acllog-max-len", LONG, "128", LIVE, Acts("entries of ACL LOG at most");
    "acl-pubsub-default", Kind::Choice(&["allchannels", "resetchannels"]), "resetchannels", LIVE, Acts("whether new users and selectors may use every channel");
    "enable-protected-configs", PROTECTION, "no", FIXED, Acts("who may change protected directives");
    "enable-debug-command", PROTECTION, "no", FIXED, Acts("who may call DEBUG");
    "enable-module-command", PROTECTION, "no", FIXED, Nothing("there are no modules");

    // Data and memory
    "databases", Kind::Int(1, firn_engine::limits::DATABASES_MAX as i64), "16", FIXED, Acts("databases, 0 to this minus 1");
    "maxmemory", Kind::Memory(0, u64::MAX), "0", LIVE, Acts("bytes at which keys are evicted as maxmemory-policy says, or else commands that need memory are refused; data, clients' buffers and all else count, buffers of the log, of snapshots and of replicas do not; 0 is no limit");
    "maxmemory-policy", Kind::Choice(&["volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl", "allkeys-lru", "allkeys-lfu", "allkeys-random", "noeviction"]), "noeviction", LIVE, Acts("which keys go when maxmemory is reached");
    "maxmemory-samples", Kind::Int(1, i32::MAX as i64), "5", LIVE, Acts("keys that are looked at for each that is evicted, at least: those that stand together in the index are looked at together");
    "maxmemory-eviction-tenacity", Kind::Int(0, 100), "10", LIVE, Acts("how many keys one command evicts at most before it runs: 50 for each step up to 10, then 15 % more for each; 100 is no bound");
    "lfu-log-factor", COUNT, "10", LIVE, Acts("how slowly the counter of LFU policies goes up");
    "lfu-decay-time", COUNT, "1", LIVE, Acts("minutes without use after which that counter goes down by one; 0 is never");
    "active-expire-effort", Kind::Int(1, 10), "1", LIVE, Nothing("the effort follows the load; dead keys are gone within about a second");
    "activerehashing", Kind::Bool, "yes", LIVE, Nothing("the index grows by splitting small segments; there is never a rehash");
    "lazyfree-lazy-eviction", Kind::Bool, "no", LIVE, Nothing(LAZY);
    "lazyfree-lazy-expire", Kind::Bool, "no", LIVE, Nothing(LAZY);
    "lazyfree-lazy-server-del", Kind::Bool, "no", LIVE, Nothing(LAZY);
    "lazyfree-lazy-user-del", Kind::Bool, "no", LIVE, Nothing(LAZY);
    "lazyfree-lazy-user-flush", Kind::Bool, "no", LIVE, Nothing(LAZY);
    "activedefrag", Kind::Bool, "no", LIVE, Nothing(DEFRAG);
    "active-defrag-ignore-bytes", Kind::Memory(1, i64::MAX as u64), "100mb", LIVE, Nothing(DEFRAG);
    "active-defrag-threshold-lower", Kind::Int(0, 1000), "10", LIVE, Nothing(DEFRAG);
    "active-defrag-threshold-upper", Kind::Int(0, 1000), "100", LIVE, Nothing(DEFRAG);
    "active-defrag-cycle-min", Kind::Int(1, 99), "1", LIVE, Nothing(DEFRAG);
    "active-defrag-cycle-max", Kind::Int(1, 99), "25", LIVE, Nothing(DEFRAG);
    "active-defrag-cycle-us", Kind::Int(0, 100_000), "500", LIVE, Nothing(DEFRAG);
    "active-defrag-max-scan-fields", Kind::Int(1, i64::MAX), "1000", LIVE, Nothing(DEFRAG);
    "hash-max-listpack-entries" / "hash-max-ziplist-entries", LONG, "512", LIVE, Acts("a hash of more fields is kept as a table");
    "hash-max-listpack-value" / "hash-max-ziplist-value", BYTES, "64", LIVE, Acts("a hash with a longer field or value is kept as a table");
    "list-max-listpack-size" / "list-max-ziplist-size", Kind::Int(i32::MIN as i64, i32::MAX as i64), "-2", LIVE, Acts("how long a packed run of list elements grows: so many elements, or -1 to -5 for 4 to 64 KiB");
    "list-compress-depth", COUNT, "0", LIVE, Acts("nodes at each end of a list that stay uncompressed; 0 compresses none");
    "set-max-intset-entries", LONG, "512", LIVE, Acts("a set of more integers is no longer kept as a sorted array");
    "set-max-listpack-entries", LONG, "128", LIVE, Acts("a set of more members is kept as a table");
    "set-max-listpack-value", LONG, "64", LIVE, Acts("a set with a longer member is kept as a table");
    "zset-max-listpack-entries" / "zset-max-ziplist-entries", LONG, "128", LIVE, Acts("a sorted set of more members is kept as a tree and a table");
    "zset-max-listpack-value" / "zset-max-ziplist-value", BYTES, "64", LIVE, Acts("a sorted set with a longer member is kept as a tree and a table");
    "stream-node-max-bytes", BYTES, "4096", LIVE, Acts("a stream's node ends at this length; 0 is no limit");
    "stream-node-max-entries", LONG, "100", LIVE, Acts("a stream's node ends at so many entries; 0 is no limit");
    "hll-sparse-max-bytes", BYTES, "3000", LIVE, Acts("a longer sparse HyperLogLog becomes a dense one");
    "sanitize-dump-payload", Kind::Choice(&["no", "yes", "clients"]), "no", LIVE, Nothing("payloads are always decoded into own types and validated");
    "tracking-table-max-keys", LONG, "1000000", LIVE, Acts("keys whose readers are remembered for CLIENT TRACKING; 0 is no limit");
    "notify-keyspace-events", Kind::Events, "\"\"", LIVE, Acts("keyspace events that are published, by their letters; K or E must be among them");
    "busy-reply-threshold" / "lua-time-limit", LONG, "5000", LIVE, Acts("ms that a script runs before other clients get BUSY and may end it by SCRIPT KILL; 0 is for ever");
    "lua-enable-deprecated-api", Kind::Bool, "no", FIXED.and(HIDDEN), Nothing("getfenv, setfenv and newproxy are never there");
    "script-memory-limit", Kind::Memory(16 << 20, 1 << 46), "512mb", FIXED.and(OWN), Acts("bytes of memory that all scripts together may take; a script that needs more ends with an error");
    "slowlog-log-slower-than" / "commandlog-execution-slower-than", Kind::Int(-1, i64::MAX), "10000", LIVE, Acts("commands that ran for so many microseconds are in the slow log; 0 is all, -1 none");
    "slowlog-max-len" / "commandlog-slow-execution-max-len", LONG, "128", LIVE, Acts("entries of the slow log at most");
    "commandlog-request-larger-than", Kind::Int(-1, i64::MAX), "1048576", LIVE, Acts("commands whose request is so many bytes long are in the log of large requests; -1 is none");
    "commandlog-large-request-max-len", LONG, "128", LIVE, Acts("entries of the log of large requests at most");
    "commandlog-reply-larger-than", Kind::Int(-1, i64::MAX), "1048576", LIVE, Acts("commands whose reply is so many bytes long are in the log of large replies; -1 is none");
    "commandlog-large-reply-max-len", LONG, "128", LIVE, Acts("entries of the log of large replies at most");
    "latency-monitor-threshold", LONG, "0", LIVE, Acts("delays of so many ms are kept for LATENCY; 0 keeps none");
    "latency-tracking", Kind::Bool, "yes", LIVE, Acts("whether it is counted by command how often it took how long (INFO latencystats, LATENCY HISTOGRAM)");
    "latency-tracking-info-percentiles", Kind::Percentiles, "50 99 99.9", LIVE, Acts("which percentiles INFO latencystats tells");

    // What lasts
    "dir", ANY, "./", GUARDED, Acts("working folder; it holds the store. A running server cannot move it");
    "appenddirname", Kind::Text(folder_name), "firn-data", FIXED, Acts("name of the store's folder in `dir`");
    "appendonly", Kind::Bool, "yes", LIVE, Acts("whether changes are logged");
    "appendfsync", Kind::Choice(&["everysec", "always", "no"]), "everysec", LIVE, Acts("when a change is flushed to the device: every second, before its reply, or when the kernel likes");
    "save", Kind::Save, "3600 1 300 100 60 10000", LIVE, Acts("a snapshot is taken when so many seconds have passed and so many changes happened; \"\" is never");
    "auto-aof-rewrite-percentage", COUNT, "100", LIVE, Acts("the log is compacted when it has grown by this part of the last snapshot; 0 is never");
    "auto-aof-rewrite-min-size", BYTES, "64mb", LIVE, Acts("but not while it is smaller than this");
    "snapshot-keep", Kind::Int(1, 1000), "2", LIVE, Acts("snapshots that are kept, with every log segment since the oldest of them");
    "log-keep-seconds", LONG, "0", LIVE, Acts("older log segments and snapshots are kept for so long, for point-in-time recovery");
    "log-keep-bytes", BYTES, "0", LIVE, Acts("older log segments are kept up to so many bytes, for point-in-time recovery");
    "log-segment-size", Kind::Memory(64 << 10, 1 << 40), "64mb", FIXED.and(OWN), Acts("length at which a log segment is sealed and the next begun");
    "log-compression", Kind::Bool, "yes", FIXED.and(OWN), Acts("whether frames of the log are compressed where that pays");
    "allow-empty-store", Kind::Bool, "no", FIXED.and(OWN), Acts("starts anew where the store's folder has an identity but no data (\"the store vanished\")");
    "prefix-stats", Kind::Words(64), "\"\"", LIVE.and(OWN), Acts("key prefixes, e.g. `session: cache:`, of which keys, bytes, hits, misses, expired and evicted keys are counted: INFO prefixes; the longest that fits a key counts; \"\" is none");
    "prefix-stats-delimiter", ANY, "\"\"", LIVE.and(OWN), Acts("counts by what stands before this in a key as well, e.g. `:`; \"\" does not");
    "prefix-stats-max", Kind::Int(1, 1000), "64", LIVE.and(OWN), Acts("so many prefixes are found by prefix-stats-delimiter at most; keys of others are counted together");
    "dbfilename", Kind::Text(dump_name), "dump.rdb", GUARDED, Acts("name of the RDB file in `dir` that a first start imports");
    "appendfilename", Kind::Text(log_name), "appendonly.aof", FIXED, Acts("name of the append-only file of Redis or Valkey that a first start imports");
    "rdbcompression", Kind::Bool, "yes", LIVE, Nothing("snapshots are always compressed, block by block");
    "rdbchecksum", Kind::Bool, "yes", FIXED, Nothing("every byte on disk is always checksummed");
    "rdb-version-check", Kind::Choice(&["strict", "relaxed"]), "strict", LIVE, Nothing(NO_RDB);
    "rdb-del-sync-files", Kind::Bool, "no", LIVE, Nothing(REPLICATION);
    "rdb-save-incremental-fsync", Kind::Bool, "yes", LIVE, Nothing("snapshots are always flushed as they grow");
    "rdb-key-save-delay", Kind::Int(i32::MIN as i64, i32::MAX as i64), "0", LIVE.and(HIDDEN), Nothing(NO_FORK);
    "key-load-delay", Kind::Int(i32::MIN as i64, i32::MAX as i64), "0", LIVE.and(HIDDEN), Nothing("loading is not slowed down");
    "loading-process-events-interval-bytes", Kind::Memory(1024, i32::MAX as u64), "2mb", LIVE.and(HIDDEN), Nothing("clients are served after loading");
    "stop-writes-on-bgsave-error", Kind::Bool, "yes", LIVE, Nothing("the log makes writes durable, not the snapshot; a log that cannot be written refuses writes");
    "no-appendfsync-on-rewrite", Kind::Bool, "no", LIVE, Nothing("a snapshot does not hold up the log's flushes");
    "aof-load-truncated", Kind::Bool, "yes", LIVE, Acts("whether the last append-only file that a first start imports may end inside a command");
    "aof-use-rdb-preamble", Kind::Bool, "yes", LIVE, Nothing("snapshot and log are separate files");
    "aof-timestamp-enabled", Kind::Bool, "no", LIVE, Nothing("every record has its time");
    "aof-rewrite-incremental-fsync", Kind::Bool, "yes", LIVE, Nothing("snapshots are always flushed as they grow");
    "aof-disable-auto-gc", Kind::Bool, "no", LIVE, Nothing("snapshot-keep and log-keep-* say what is kept");

    // Replication
    "replicaof" / "slaveof", Kind::Replica, "\"\"", FIXED, Refused(REPLICATION, &[]);
    "masterauth" / "primaryauth", ANY, "\"\"", LIVE.and(SECRET), Nothing(REPLICATION);
    "masteruser" / "primaryuser", ANY, "\"\"", LIVE.and(SECRET), Nothing(REPLICATION);
    "min-replicas-to-write" / "min-slaves-to-write", COUNT, "0", LIVE, Refused(REPLICATION, &[]);
    "min-replicas-max-lag" / "min-slaves-max-lag", COUNT, "10", LIVE, Nothing(REPLICATION);
    "repl-backlog-size", Kind::Memory(1, i64::MAX as u64), "1mb", LIVE, Nothing(REPLICATION);
    "repl-backlog-ttl", LONG, "3600", LIVE, Nothing(REPLICATION);
    "repl-disable-tcp-nodelay", Kind::Bool, "no", LIVE, Nothing(REPLICATION);
    "repl-diskless-load", Kind::Choice(&["disabled", "on-empty-db", "swapdb", "flush-before-load"]), "disabled", LIVE, Nothing(REPLICATION);
    "repl-diskless-sync", Kind::Bool, "yes", LIVE, Nothing(REPLICATION);
    "repl-diskless-sync-delay", COUNT, "5", LIVE, Nothing(REPLICATION);
    "repl-diskless-sync-max-replicas", COUNT, "0", LIVE, Nothing(REPLICATION);
    "repl-mptcp", Kind::Bool, "no", LIVE, Nothing(REPLICATION);
    "repl-ping-replica-period" / "repl-ping-slave-period", Kind::Int(1, i32::MAX as i64), "10", LIVE, Nothing(REPLICATION);
    "repl-timeout", Kind::Int(1, i32::MAX as i64), "60", LIVE, Nothing(REPLICATION);
    "replica-announce-ip" / "slave-announce-ip", ANY, "\"\"", LIVE, Nothing(REPLICATION);
    "replica-announce-port" / "slave-announce-port", PORT, "0", LIVE, Nothing(REPLICATION);
    "replica-announced", Kind::Bool, "yes", LIVE, Nothing(REPLICATION);
    "replica-ignore-disk-write-errors", Kind::Bool, "no", LIVE, Nothing(REPLICATION);
    "replica-ignore-maxmemory" / "slave-ignore-maxmemory", Kind::Bool, "yes", LIVE, Nothing(REPLICATION);
    "replica-lazy-flush" / "slave-lazy-flush", Kind::Bool, "no", LIVE, Nothing(REPLICATION);
    "replica-priority" / "slave-priority", COUNT, "100", LIVE, Nothing(REPLICATION);
    "replica-read-only" / "slave-read-only", Kind::Bool, "yes", LIVE, Nothing(REPLICATION);
    "replica-serve-stale-data" / "slave-serve-stale-data", Kind::Bool, "yes", LIVE, Nothing(REPLICATION);
    "propagation-error-behavior", Kind::Choice(&["ignore", "panic", "panic-on-replicas"]), "ignore", LIVE, Nothing(REPLICATION);
    "dual-channel-replication-enabled", Kind::Bool, "no", LIVE, Nothing(REPLICATION);
    "import-mode", Kind::Bool, "no", LIVE, Refused("expired keys cannot be kept for an import", &[]);

    // Cluster
    "cluster-enabled", Kind::Bool, "no", FIXED, Refused(CLUSTER, &[]);
    "cluster-config-file", ANY, "nodes.conf", FIXED, Nothing(CLUSTER);
    "cluster-config-save-behavior", Kind::Choice(&["sync", "best-effort"]), "sync", LIVE, Nothing(CLUSTER);
    "cluster-node-timeout", LONG, "15000", LIVE, Nothing(CLUSTER);
    "cluster-port", PORT, "0", FIXED, Nothing(CLUSTER);
    "cluster-databases", Kind::Int(1, i32::MAX as i64), "1", LIVE, Nothing(CLUSTER);
    "cluster-announce-ip", ANY, "\"\"", LIVE, Nothing(CLUSTER);
    "cluster-announce-client-ipv4", ANY, "\"\"", LIVE, Nothing(CLUSTER);
    "cluster-announce-client-ipv6", ANY, "\"\"", LIVE, Nothing(CLUSTER);
    "cluster-announce-client-port", PORT, "0", LIVE, Nothing(CLUSTER);
    "cluster-announce-client-tls-port", PORT, "0", LIVE, Nothing(CLUSTER);
    "cluster-announce-hostname", Kind::Text(host_name), "\"\"", LIVE, Nothing(CLUSTER);
    "cluster-announce-human-nodename", Kind::Text(host_name), "\"\"", LIVE, Nothing(CLUSTER);
    "cluster-announce-port", PORT, "0", LIVE, Nothing(CLUSTER);
    "cluster-announce-tls-port", PORT, "0", LIVE, Nothing(CLUSTER);
    "cluster-announce-bus-port", PORT, "0", LIVE, Nothing(CLUSTER);
    "cluster-preferred-endpoint-type", Kind::Choice(&["ip", "hostname", "unknown-endpoint"]), "ip", LIVE, Nothing(CLUSTER);
    "cluster-require-full-coverage", Kind::Bool, "yes", LIVE, Nothing(CLUSTER);
    "cluster-allow-reads-when-down", Kind::Bool, "no", LIVE, Nothing(CLUSTER);
    "cluster-allow-pubsubshard-when-down", Kind::Bool, "yes", LIVE, Nothing(CLUSTER);
    "cluster-allow-replica-migration", Kind::Bool, "yes", LIVE, Nothing(CLUSTER);
    "cluster-migration-barrier", COUNT, "1", LIVE, Nothing(CLUSTER);
    "cluster-replica-no-failover" / "cluster-slave-no-failover", Kind::Bool, "no", LIVE, Nothing(CLUSTER);
    "cluster-replica-validity-factor" / "cluster-slave-validity-factor", COUNT, "10", LIVE, Nothing(CLUSTER);
    "cluster-link-sendbuf-limit", Kind::Memory(0, u64::MAX), "0", LIVE, Nothing(CLUSTER);
    "cluster-blacklist-ttl", LONG, "60", LIVE, Nothing(CLUSTER);
    "cluster-manual-failover-timeout", Kind::Int(1, i32::MAX as i64), "5000", LIVE, Nothing(CLUSTER);
    "cluster-slot-migration-log-max-len", LONG, "1000", LIVE, Nothing(CLUSTER);
    "cluster-slot-stats-enabled", Kind::Bool, "no", LIVE, Nothing(CLUSTER);
    "slot-migration-max-failover-repl-bytes", BYTES, "0", LIVE, Nothing(CLUSTER);
}
