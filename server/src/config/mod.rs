//! The configuration: every directive's value, where it came from, how it changes.
//!
//! 1. [`table`] is the only place that knows which directives there are; everything else walks it.
//! 2. A configuration is read whole, then used: [`load`] gives a complete [`Config`] or a [`FatalError`].
//! 3. CONFIG SET works on a copy ([`Config::changed`]): all of it holds, or nothing.
//! 4. Nothing is silently ignored: what has no meaning here is in [`Config::notices`], what is missing is refused.

pub(crate) mod command_line;
pub(crate) mod docs;
pub(crate) mod file;
pub(crate) mod rewrite;
pub(crate) mod table;
pub(crate) mod value;

use crate::settings::{OutputLimit, Settings, Shown};
use firn_engine::words;
use std::path::{Path, PathBuf};
use table::{DIRECTIVES, Meaning, Traits};
use value::Value;

pub(crate) use command_line::CommandLine;
pub(crate) use file::{FatalError, Place, load};

/// Every directive's value.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// By row of the table.
    values: Vec<Value>,
    /// `rename-command` lines, in order.
    renames: Vec<Rename>,
    /// `user` lines, in order.
    users: Vec<UserLine>,
    /// The configuration file, absolute; CONFIG REWRITE writes it.
    file: Option<PathBuf>,
}

/// One `rename-command`.
#[derive(Clone, Debug)]
pub(crate) struct Rename {
    /// The command's own name, as written.
    pub(crate) from: Vec<u8>,
    /// Its name from now on; empty: none.
    pub(crate) to: Vec<u8>,
    /// Where that was said, for the error if there is no such command.
    pub(crate) place: Place,
}

/// One `user` line.
#[derive(Clone, Debug)]
pub(crate) struct UserLine {
    /// The name and the rules.
    pub(crate) words: Vec<Vec<u8>>,
    /// Where that was said.
    pub(crate) place: Place,
}

/// Why CONFIG SET changed nothing. `Display` is the error reply.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum SetError {
    /// No such directive.
    #[error("ERR Unknown option or number of arguments for CONFIG SET - '{0}'")]
    Unknown(String),
    /// A directive cannot have that value, or not now.
    #[error("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")]
    Failed {
        /// The directive.
        name: String,
        /// Why.
        reason: String,
    },
}

impl SetError {
    pub(crate) fn failed(name: &str, reason: impl Into<String>) -> Self {
        SetError::Failed { name: name.to_owned(), reason: reason.into() }
    }
}

impl Default for Config {
    fn default() -> Self {
        let default = |directive: &table::Directive| {
            let words = words::split(directive.default.as_bytes()).expect("a default has balanced quotes");
            value::parse(directive.kind, &words, None).expect("a default is a value of its kind")
        };
        Config { values: DIRECTIVES.iter().map(default).collect(), renames: Vec::new(), users: Vec::new(), file: None }
    }
}

impl Config {
    /// Sets the directive in `row` from words of a line. The value is kept only if all of it is right.
    ///
    /// # Errors
    /// The reason, in Redis' words where Redis has some.
    pub(crate) fn set(&mut self, row: usize, words: &[Vec<u8>]) -> Result<(), String> {
        let directive = &DIRECTIVES[row];
        let mut value = value::parse(directive.kind, words, Some(&self.values[row]))?;
        if let Meaning::Refused(reason, off) = directive.meaning {
            let text = value.text();
            let default = &Config::default().values[row];
            if value != *default && !off.iter().any(|off| off.as_bytes() == text) {
                return Err(format!("{} {}: {reason}", directive.name, String::from_utf8_lossy(&text)));
            }
        }
        match (directive.name, &mut value) {
            ("dir", Value::Text(path)) => {
                let path = os_path(path);
                match std::fs::metadata(&path) {
                    Ok(found) if found.is_dir() => {}
                    Ok(_) => return Err("Not a directory".into()),
                    Err(error) => return Err(system_text(&error)),
                }
            }
            ("hz", Value::Int(hz)) => *hz = (*hz).clamp(1, 500),
            _ => {}
        }
        self.values[row] = value;
        Ok(())
    }

    /// This configuration with `pairs` of names and values set, and the rows they changed: all of them, or the reason.
    /// `guarded`: whether this client may change protected directives.
    ///
    /// # Errors
    /// [`SetError`], in Redis' order of checks: unknown, unchangeable and duplicate names before any value.
    pub(crate) fn changed(&self, pairs: &[(&[u8], &[u8])], guarded: bool) -> Result<(Config, Vec<usize>), SetError> {
        let mut rows: Vec<usize> = Vec::with_capacity(pairs.len());
        let shown = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        for (name, value) in pairs {
            let row = table::find(name).ok_or_else(|| SetError::Unknown(shown(name)))?;
            let traits = DIRECTIVES[row].traits;
            let same = traits.has(Traits::OWN) && self.values[row].text() == *value;
            if traits.has(Traits::FIXED) && !same {
                return Err(SetError::failed(&shown(name), "can't set immutable config"));
            }
            if traits.has(Traits::GUARDED) && !guarded {
                return Err(SetError::failed(&shown(name), "can't set protected config"));
            }
            if rows.contains(&row) {
                return Err(SetError::failed(&shown(name), "duplicate parameter"));
            }
            rows.push(row);
        }
        let mut config = self.clone();
        for (&row, (name, value)) in rows.iter().zip(pairs) {
            let words: Vec<Vec<u8>> = match DIRECTIVES[row].kind.many_words() {
                true if value.is_empty() => Vec::new(),
                true => value.split(|&byte| byte == b' ').map(<[u8]>::to_vec).collect(),
                false => vec![value.to_vec()],
            };
            let name = shown(name).to_ascii_lowercase();
            config.set(row, &words).map_err(|reason| SetError::Failed { name, reason })?;
        }
        rows.retain(|&row| config.values[row] != self.values[row] || DIRECTIVES[row].traits.has(Traits::POINTS));
        Ok((config, rows))
    }

    /// What CONFIG GET answers for `patterns`: names as they matched, and values, each name once.
    pub(crate) fn matching(&self, patterns: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut add = |name: &[u8], row: usize| {
            if !found.iter().any(|(known, _)| known == name) {
                found.push((name.to_vec(), self.values[row].text()));
            }
        };
        for pattern in patterns {
            if !pattern.iter().any(|byte| b"[*?".contains(byte)) {
                if let Some(row) = table::find(pattern) {
                    add(pattern, row);
                }
                continue;
            }
            for (row, directive) in DIRECTIVES.iter().enumerate() {
                for name in [&directive.name].into_iter().chain(directive.aliases) {
                    let hidden = directive.traits.has(Traits::HIDDEN);
                    if !hidden && firn_engine::glob::matches_ignoring_case(pattern, name.as_bytes()) {
                        add(name.as_bytes(), row);
                    }
                }
            }
        }
        found
    }

    /// Directives without a meaning here that are set to something else than their default: name and reason.
    pub(crate) fn notices(&self) -> Vec<(&'static str, &'static str)> {
        let defaults = Config::default();
        let rows = DIRECTIVES.iter().zip(self.values.iter().zip(&defaults.values));
        rows.filter(|(_, (value, default))| value != default)
            .filter_map(|(directive, _)| match directive.meaning {
                Meaning::Nothing(reason) => Some((directive.name, reason)),
                Meaning::Acts(_) | Meaning::Refused(..) => None,
            })
            .collect()
    }

    /// The configuration file, absolute.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// `rename-command` lines, in order.
    pub(crate) fn renames(&self) -> &[Rename] {
        &self.renames
    }

    /// `user` lines, in order.
    pub(crate) fn users(&self) -> &[UserLine] {
        &self.users
    }

    /// Has these users declared by `user` lines, unless a file of their own keeps them. A default user that is as `requirepass` says
    /// needs no line.
    pub(crate) fn set_users(&mut self, users: &[std::sync::Arc<crate::acl::User>]) {
        let place = Place { source: "the running server".into(), line: 0, text: String::new() };
        let in_file = !self.bytes("aclfile").is_empty();
        let password = self.bytes("requirepass");
        let lines = users.iter().filter(|user| !in_file && !crate::acl::file::is_implied(user, password));
        let words = |user: &crate::acl::User| {
            let rules = crate::acl::rules::describe(user);
            let rules = rules.split(|&byte| byte == b' ').map(<[u8]>::to_vec);
            std::iter::once(user.name.to_vec()).chain(rules).collect()
        };
        self.users = lines.map(|user| UserLine { words: words(user), place: place.clone() }).collect();
    }

    /// Whether a protection (`enable-debug-command`, `enable-protected-configs`) lets a client through.
    pub(crate) fn allows(&self, protection: &str, local: bool) -> bool {
        match self.choice(protection) {
            "yes" => true,
            "local" => local,
            _ => false,
        }
    }

    /// Goes to `dir`, and remembers it as an absolute path: a store's folder never depends on a later change of folder.
    pub(crate) fn enter_dir(&mut self) -> std::io::Result<()> {
        use std::os::unix::ffi::OsStringExt as _;
        std::env::set_current_dir(self.path("dir"))?;
        let row = table::find(b"dir").expect("a directive");
        self.values[row] = Value::Text(std::env::current_dir()?.into_os_string().into_vec());
        Ok(())
    }

    // The typed readers below are for the server's own use: a name that is no directive, or one of another kind, is a
    // defect of the caller, found by the first test that starts a server.

    /// The value of a directive.
    pub(crate) fn value(&self, name: &str) -> &Value {
        let row = table::find(name.as_bytes()).unwrap_or_else(|| panic!("{name} is no directive"));
        &self.values[row]
    }

    /// A yes-or-no directive.
    pub(crate) fn bool(&self, name: &str) -> bool {
        matches!(self.value(name), Value::Bool(true))
    }

    /// A directive that is a number: an integer, bytes, or an octal number.
    pub(crate) fn number(&self, name: &str) -> i64 {
        match self.value(name) {
            Value::Int(number) => *number,
            Value::Memory(bytes) => i64::try_from(*bytes).unwrap_or(i64::MAX),
            Value::Octal(number) => i64::from(*number),
            other => panic!("{name} is no number but {other:?}"),
        }
    }

    /// A directive that is a size in bytes, or a count that is never negative.
    pub(crate) fn size(&self, name: &str) -> u64 {
        match self.value(name) {
            Value::Memory(bytes) => *bytes,
            _ => u64::try_from(self.number(name)).unwrap_or(0),
        }
    }

    /// A directive that is one of several words.
    pub(crate) fn choice(&self, name: &str) -> &'static str {
        match self.value(name) {
            Value::Choice(word) => word,
            other => panic!("{name} is no choice but {other:?}"),
        }
    }

    /// A directive that is a text.
    pub(crate) fn bytes(&self, name: &str) -> &[u8] {
        match self.value(name) {
            Value::Text(text) => text,
            other => panic!("{name} is no text but {other:?}"),
        }
    }

    /// A directive that is a path.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        os_path(self.bytes(name))
    }

    /// `logfile`, in `dir` if it is relative: Redis goes there while it reads its configuration. Empty: standard output.
    pub(crate) fn logfile(&self) -> PathBuf {
        let path = self.path("logfile");
        if path.as_os_str().is_empty() { path } else { self.path("dir").join(path) }
    }

    /// A directive that is several words.
    pub(crate) fn words(&self, name: &str) -> Vec<String> {
        match self.value(name) {
            Value::Words(words) => words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect(),
            other => panic!("{name} is not several words but {other:?}"),
        }
    }

    /// [`Config::words`] that may be any bytes.
    pub(crate) fn byte_words(&self, name: &str) -> &[Vec<u8>] {
        match self.value(name) {
            Value::Words(words) => words,
            other => panic!("{name} is not several words but {other:?}"),
        }
    }

    /// The words of `shutdown-on-sigterm` and its like.
    pub(crate) fn chosen(&self, name: &str) -> String {
        String::from_utf8_lossy(&self.value(name).text()).into_owned()
    }

    /// `save`: seconds and changes.
    pub(crate) fn save_points(&self) -> &[(u64, u64)] {
        match self.value("save") {
            Value::Save(points) => points,
            other => panic!("save is {other:?}"),
        }
    }

    /// `latency-tracking-info-percentiles`.
    pub(crate) fn percentiles(&self) -> &[f64] {
        match self.value("latency-tracking-info-percentiles") {
            Value::Percentiles(percentiles) => percentiles,
            other => panic!("percentiles are {other:?}"),
        }
    }

    /// `maxmemory-clients` in bytes, also where it is a part of `maxmemory`; 0 is no limit.
    fn clients_memory_max(&self) -> u64 {
        match self.value("maxmemory-clients") {
            Value::Percent(percent) => (u128::from(self.size("maxmemory")) * u128::from(*percent) / 100) as u64,
            _ => self.size("maxmemory-clients"),
        }
    }

    /// `client-output-buffer-limit`: normal, replica, pubsub.
    pub(crate) fn output_limits(&self) -> [OutputLimit; 3] {
        match self.value("client-output-buffer-limit") {
            Value::OutputLimits(limits) => *limits,
            other => panic!("client-output-buffer-limit is {other:?}"),
        }
    }
}

impl Config {
    /// What connections look at, as plain values.
    pub(crate) fn settings(&self) -> Settings {
        let path = |name: &str| Some(self.path(name)).filter(|path| !path.as_os_str().is_empty());
        Settings {
            bind: self.words("bind"),
            port: self.number("port") as u16,
            tls_port: self.number("tls-port") as u16,
            metrics_bind: self.words("metrics-bind"),
            metrics_port: self.number("metrics-port") as u16,
            tcp_backlog: self.number("tcp-backlog") as u32,
            unixsocket: path("unixsocket"),
            unixsocketperm: self.number("unixsocketperm") as u32,
            timeout_s: self.size("timeout"),
            tcp_keepalive_s: self.size("tcp-keepalive"),
            protected_mode: self.bool("protected-mode"),
            maxclients: self.number("maxclients") as usize,
            query_buffer_max: self.size("client-query-buffer-limit"),
            output_limits: self.output_limits(),
            bulk_len_max: self.size("proto-max-bulk-len"),
            io_threads: self.number("io-threads") as usize,
            clients_memory_max: self.clients_memory_max(),
            hz: self.number("hz") as u32,
            maxmemory: self.size("maxmemory"),
            busy_reply_ms: self.size("busy-reply-threshold"),
            debug_local: self.allows("enable-debug-command", true),
            debug_remote: self.allows("enable-debug-command", false),
            databases: self.number("databases"),
            shown: Shown {
                maxmemory_policy: self.choice("maxmemory-policy").to_owned(),
                appendfsync: self.choice("appendfsync").to_owned(),
                percentiles: self.percentiles().to_vec(),
                repl_backlog_size: self.size("repl-backlog-size"),
            },
        }
    }
}

/// A path of any bytes.
fn os_path(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

/// An error of the system without Rust's `(os error n)`, as strerror gives it.
pub(crate) fn system_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(config: &Config, name: &str) -> String {
        let found = config.matching(&[name.as_bytes()]);
        String::from_utf8_lossy(&found[0].1).into_owned()
    }

    fn change(config: &Config, pairs: &[(&str, &str)]) -> Result<(Config, Vec<usize>), String> {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        config.changed(&pairs, false).map_err(|error| error.to_string())
    }

    #[test]
    fn every_default_is_a_value_and_is_taken_back() {
        let config = Config::default();
        for (row, directive) in DIRECTIVES.iter().enumerate() {
            if directive.traits.has(Traits::FIXED) || directive.name == "dir" {
                continue;
            }
            let text = config.values[row].text();
            let (same, changed) = config
                .changed(&[(directive.name.as_bytes(), &text)], true)
                .unwrap_or_else(|error| panic!("{}: {error}", directive.name));
            let again = directive.traits.has(Traits::POINTS); // What it points to may have changed.
            assert_eq!(changed.is_empty(), !again, "{}", directive.name);
            assert_eq!(same.values, config.values, "{}", directive.name);
        }
    }

    #[test]
    fn names_are_told_apart() {
        let mut names: Vec<_> =
            DIRECTIVES.iter().flat_map(|d| [d.name].into_iter().chain(d.aliases.iter().copied())).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all, "a name stands in two rows");
        assert!(names.iter().all(|name| *name == name.to_ascii_lowercase()));
    }

    #[test]
    fn the_defaults_are_durable_and_local() {
        let config = Config::default();
        assert_eq!(get(&config, "bind"), "127.0.0.1 -::1");
        assert_eq!(get(&config, "appendonly"), "yes");
        assert_eq!(get(&config, "appendfsync"), "everysec");
        assert_eq!(get(&config, "save"), "3600 1 300 100 60 10000");
        assert_eq!(get(&config, "appenddirname"), "firn-data");
        assert_eq!(get(&config, "protected-mode"), "yes");
    }

    #[test]
    fn set_holds_whole_or_not_at_all_with_redis_texts() {
        let config = Config::default();
        let (new, rows) =
            change(&config, &[("maxmemory", "10mb"), ("save", "3000 5"), ("timeout", "0")]).expect("good");
        assert_eq!((get(&new, "maxmemory"), get(&new, "save"), rows.len()), ("10485760".into(), "3000 5".into(), 2));
        for (pairs, text) in [
            (
                &[("maxmemory", "1"), ("maxmemory-clients", "200%"), ("client-query-buffer-limit", "x")][..],
                "ERR CONFIG SET failed (possibly related to argument 'maxmemory-clients') - percentage argument must be less or equal to 100",
            ),
            (&[("nope", "1")], "ERR Unknown option or number of arguments for CONFIG SET - 'nope'"),
            (
                &[("daemonize", "yes")],
                "ERR CONFIG SET failed (possibly related to argument 'daemonize') - can't set immutable config",
            ),
            (
                &[("dbfilename", "x")],
                "ERR CONFIG SET failed (possibly related to argument 'dbfilename') - can't set protected config",
            ),
            (
                &[("maxmemory", "1"), ("MAXMEMORY", "2")],
                "ERR CONFIG SET failed (possibly related to argument 'MAXMEMORY') - duplicate parameter",
            ),
            (
                &[("slave-priority", "1"), ("replica-priority", "2")],
                "ERR CONFIG SET failed (possibly related to argument 'replica-priority') - duplicate parameter",
            ),
            (&[("timeout", "abc"), ("nope", "1")], "ERR Unknown option or number of arguments for CONFIG SET - 'nope'"),
            (
                &[("min-replicas-to-write", "1")],
                "ERR CONFIG SET failed (possibly related to argument 'min-replicas-to-write') - min-replicas-to-write 1: there is no replication yet",
            ),
            (
                &[("tls-cluster", "yes")],
                "ERR CONFIG SET failed (possibly related to argument 'tls-cluster') - tls-cluster yes: there is no cluster mode",
            ),
        ] {
            assert_eq!(change(&config, pairs).expect_err(text), text);
        }
    }

    #[test]
    fn what_only_a_start_can_change_may_be_set_to_what_it_is_if_it_is_our_own() {
        let config = Config::default();
        assert_eq!(change(&config, &[("log-segment-size", "67108864")]).expect("as it is").1, []);
        for (name, value) in [("log-segment-size", "128mb"), ("databases", "16")] {
            let error = change(&config, &[(name, value)]).expect_err(name);
            assert!(error.ends_with("can't set immutable config"), "{error}");
        }
    }

    #[test]
    fn settings_without_a_file_are_the_defaults_of_the_table() {
        assert_eq!(format!("{:?}", Config::default().settings()), format!("{:?}", Settings::default()));
    }

    #[test]
    fn output_limits_of_other_classes_stay() {
        let (new, _) =
            change(&Config::default(), &[("client-output-buffer-limit", "normal 1mb 2mb 60")]).expect("good");
        assert_eq!(
            get(&new, "client-output-buffer-limit"),
            "normal 1048576 2097152 60 slave 268435456 67108864 60 pubsub 33554432 8388608 60"
        );
    }

    #[test]
    fn get_matches_names_and_aliases_once() {
        let config = Config::default();
        let found = config.matching(&[b"maxmemory", b"maxmemory*", b"bind", b"*of"]);
        let names: Vec<_> = found.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect();
        for name in ["maxmemory", "maxmemory-samples", "bind", "replicaof", "slaveof"] {
            assert_eq!(names.iter().filter(|known| *known == name).count(), 1, "{name}");
        }
        assert!(config.matching(&[b"*"]).iter().all(|(name, _)| name != b"key-load-delay"), "hidden from patterns");
        assert_eq!(config.matching(&[b"key-load-delay"]).len(), 1, "shown by its name");
        assert_eq!(config.matching(&[b"no-such"]), []);
    }

    #[test]
    fn what_has_no_meaning_is_noticed_only_when_it_is_set() {
        let config = Config::default();
        assert_eq!(config.notices(), []);
        let (new, _) = change(&config, &[("activedefrag", "yes"), ("maxmemory", "1gb")]).expect("good");
        assert_eq!(new.notices().iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["activedefrag"]);
    }

    #[test]
    fn names_of_files_are_no_paths() {
        let config = Config::default();
        for (name, value) in [("dbfilename", "a/b"), ("dbfilename", "..")] {
            let error = config.changed(&[(name.as_bytes(), value.as_bytes())], true).expect_err(value).to_string();
            assert!(error.ends_with("dbfilename can't be a path, just a filename"), "{error}");
        }
        for template in ["{nope}", "{title", ""] {
            let error = change(&config, &[("proc-title-template", template)]).expect_err(template);
            assert!(error.ends_with("template format is invalid or contains unknown variables"), "{error}");
        }
    }
}
