//! `firn serve`: a state mounted read-only over RESP2 or RESP3, so that redis-cli and other clients can query a file.
//!
//! Not a server as a child process: that would load everything, and could be written to. Here a key is read from the snapshot when it is asked
//! for (one block), so that a file larger than memory is there at once; the engine's own commands then answer. What is not a snapshot is made
//! one first, in a temporary folder.
//!
//! 1. Only commands that read are run. Nothing that a client sends changes anything.
//! 2. Keys whose time has come at the moment that is shown are not there.
//! 3. One thread a connection, one lock; requests are bounded ([`ARGUMENTS_MAX`], [`ARGUMENT_LEN_MAX`]).

use crate::choice::{StateArgs, when};
use crate::dataset::change::{Touches, touched};
use crate::dataset::firn::snapshot_error;
use crate::dataset::state::Small;
use crate::dataset::{Damages, Dataset};
use crate::filter::matches;
use crate::moment::now_ms;
use crate::reply::Writer;
use crate::unfinished::{Form, Unfinished};
use crate::{Outcome, ToolError, restore, text};
use firn_engine::command::{Args, Flags, Reply, Session};
use firn_engine::key::HashSeed;
use firn_engine::number::{parse_cursor, parse_integer};
use firn_engine::snapshot::reader::{BlockBuffer, SnapshotReader};
use firn_engine::value::Kind;
use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Words of a request.
const ARGUMENTS_MAX: usize = 64 * 1024;
/// Bytes of a word.
const ARGUMENT_LEN_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a whole request.
const REQUEST_LEN_MAX: usize = 64 * 1024 * 1024;
/// Connections at a time.
const CONNECTIONS_MAX: usize = 256;
/// Entries that one SCAN gives unless it says otherwise.
const SCAN_COUNT: usize = 10;

/// What to serve, and where.
#[derive(clap::Args)]
pub(crate) struct ServeArgs {
    /// A store's folder, a snapshot, an RDB file, an append-only file or folder, JSON Lines, a table; `-` for standard input.
    path: PathBuf,
    /// The port; 0 for any that is free.
    #[arg(short, long, default_value_t = 6399)]
    port: u16,
    /// The address.
    #[arg(long, default_value = "127.0.0.1")]
    bind: String,
    #[command(flatten)]
    state: StateArgs,
}

/// A snapshot, and the keys of it that were asked for.
struct Mounted {
    reader: SnapshotReader,
    buffer: BlockBuffer,
    small: Small,
    loaded: HashSet<(usize, Vec<u8>)>,
    memory: u64,
    now_ms: u64,
    databases: usize,
    random: u64,
}

/// Runs it, until the process is ended.
pub(crate) fn run(args: &ServeArgs, out: &mut dyn Write) -> Result<Outcome, ToolError> {
    let choice = args.state.choice()?;
    let (memory, to) = (choice.memory, choice.to);
    let dataset = Dataset::open(&args.path)?;
    let (reader, shown) = match dataset {
        Dataset::Snapshot(base) if to.is_none() && !args.state.is_partial() => {
            let shown = when(&base.info());
            let reader = base.into_reader().ok_or_else(|| ToolError::Usage("there is no snapshot".to_owned()))?;
            (reader, shown)
        }
        dataset => {
            let folder =
                tempfile::tempdir().map_err(|error| ToolError::Unreadable(format!("a temporary folder: {error}")))?;
            let made = folder.path().join("mounted");
            let _folder = Unfinished::new(folder.path(), Form::Folder);
            let damages = Damages::strict();
            let (info, _) = restore::store(&dataset, &choice, &damages, &made)?;
            let base = Dataset::newest_snapshot_of(&made)?;
            let reader = base.into_reader().ok_or_else(|| ToolError::Usage("there is no snapshot".to_owned()))?;
            // The file is open; its name is not needed any more, and goes with the folder.
            (reader, when(&info))
        }
    };
    let listener = TcpListener::bind((args.bind.as_str(), args.port))
        .map_err(|error| ToolError::Unreadable(format!("{}:{}: {error}", args.bind, args.port)))?;
    let place = listener.local_addr().map_err(|error| ToolError::Unreadable(error.to_string()))?;
    let keys: u64 = reader.footer().entries;
    writeln!(out, "Serving {} as of {shown} at {place}, read-only.", text::counted(keys, "key", "keys"))?;
    out.flush()?;
    let databases = reader.databases().last().map_or(16, |last| (*last as usize + 1).max(16));
    let now = if to.is_some() { reader.header().created_ms } else { now_ms() };
    let mounted = Mutex::new(Mounted {
        small: Small::new(reader.hash_seed(), databases),
        reader,
        buffer: BlockBuffer::default(),
        loaded: HashSet::new(),
        memory,
        now_ms: now,
        databases,
        random: now_ms(),
    });
    let open = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for stream in listener.incoming().flatten() {
            use std::sync::atomic::Ordering::Relaxed;
            if open.fetch_add(1, Relaxed) >= CONNECTIONS_MAX {
                open.fetch_sub(1, Relaxed);
                continue;
            }
            let (mounted, open) = (&mounted, &open);
            scope.spawn(move || {
                // Whatever ends a connection is the client's business.
                let _ = connection(&stream, mounted);
                open.fetch_sub(1, Relaxed);
            });
        }
    });
    Ok(Outcome::Fine)
}

fn connection(stream: &TcpStream, mounted: &Mutex<Mounted>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let (mut db, mut protocol) = (0, 2);
    let mut out = Vec::new();
    loop {
        let words = match request(&mut reader)? {
            Request::End => return Ok(()),
            Request::Wrong(what) => {
                let mut stream = stream;
                stream.write_all(format!("-ERR Protocol error: {what}\r\n").as_bytes())?;
                return Ok(());
            }
            Request::Words(words) => words,
        };
        if !words.is_empty() {
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            let mut mounted = mounted.lock().unwrap_or_else(PoisonError::into_inner);
            mounted.answer(&mut db, &mut protocol, &words, &mut out);
            drop(mounted);
            if words[0].eq_ignore_ascii_case(b"QUIT") {
                let mut stream = stream;
                return stream.write_all(&out);
            }
        }
        // Pipelines are answered together.
        if reader.buffer().is_empty() || out.len() > 1 << 20 {
            let mut stream = stream;
            stream.write_all(&out)?;
            out.clear();
        }
    }
}

enum Request {
    Words(Vec<Vec<u8>>),
    Wrong(&'static str),
    End,
}

/// Reads a request: an array of bulk strings, or an inline line.
fn request(reader: &mut BufReader<&TcpStream>) -> io::Result<Request> {
    let line = |reader: &mut BufReader<&TcpStream>| -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        reader.take(64 * 1024).read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Ok(None);
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(Some(line))
    };
    let Some(first) = line(reader)? else { return Ok(Request::End) };
    let Some(count) = first.strip_prefix(b"*") else {
        let words = first.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        return Ok(Request::Words(words.map(<[u8]>::to_vec).collect()));
    };
    let Some(count) = parse_integer(count).filter(|count| *count <= ARGUMENTS_MAX as i64) else {
        return Ok(Request::Wrong("invalid multibulk length"));
    };
    let (mut words, mut total) = (Vec::new(), 0);
    for _ in 0..count {
        let Some(head) = line(reader)? else { return Ok(Request::End) };
        let len = head.strip_prefix(b"$").and_then(parse_integer).and_then(|len| usize::try_from(len).ok());
        let Some(len) = len.filter(|len| *len <= ARGUMENT_LEN_MAX && total + len <= REQUEST_LEN_MAX) else {
            return Ok(Request::Wrong("invalid bulk length"));
        };
        total += len;
        let mut word = Vec::new();
        if reader.take(len as u64 + 2).read_to_end(&mut word)? != len + 2 {
            return Ok(Request::End);
        }
        if !word.ends_with(b"\r\n") {
            return Ok(Request::Wrong("a bulk string does not end with CRLF"));
        }
        word.truncate(len);
        words.push(word);
    }
    Ok(Request::Words(words))
}

impl Mounted {
    /// Runs one command.
    fn answer(&mut self, db: &mut usize, protocol: &mut u8, words: &[&[u8]], out: &mut Vec<u8>) {
        let name = words[0].to_ascii_uppercase();
        let mut reply = Writer { out, protocol: *protocol };
        let argument = |at: usize| words.get(at).copied();
        match (name.as_slice(), words.len()) {
            (b"PING", 1) => reply.simple("PONG"),
            (b"PING" | b"ECHO", 2) => reply.bulk(words[1]),
            (b"RESET", 1) => {
                (*db, *protocol) = (0, 2);
                reply.simple("RESET");
            }
            (b"QUIT", _) | (b"READONLY" | b"READWRITE", 1) => reply.ok(),
            (b"SELECT", 2) => match parse_integer(words[1]).and_then(|number| usize::try_from(number).ok()) {
                Some(number) if number < self.databases => {
                    *db = number;
                    reply.ok();
                }
                _ => reply.error("ERR DB index is out of range"),
            },
            (b"HELLO", _) => match argument(1) {
                version @ (None | Some(b"2" | b"3")) => {
                    *protocol = version.map_or(*protocol, |version| version[0] - b'0');
                    reply.protocol = *protocol;
                    let pairs = [("server", "redis"), ("version", "7.2.4"), ("mode", "standalone"), ("role", "master")];
                    reply.map(pairs.len() + 1);
                    for (name, value) in pairs {
                        reply.bulk(name.as_bytes());
                        reply.bulk(value.as_bytes());
                    }
                    reply.bulk(b"proto");
                    reply.integer(i64::from(*protocol));
                }
                _ => reply.error("NOPROTO unsupported protocol version"),
            },
            (b"AUTH", _) => reply.error("ERR AUTH called without any password configured: this is a file, read-only"),
            (b"COMMAND" | b"CONFIG", _) => reply.array(0),
            (b"CLIENT", _) => match argument(1).map(<[u8]>::to_ascii_uppercase).as_deref() {
                Some(b"ID") => reply.integer(1),
                Some(b"GETNAME") => reply.null(),
                _ => reply.ok(),
            },
            (b"INFO", _) => {
                let info = self.info();
                reply.bulk(info.as_bytes());
            }
            (b"DBSIZE", 1) => {
                let rows = self.reader.database_rows(*db as u32);
                reply.integer(rows.iter().map(|row| row.info.count).sum::<u64>() as i64);
            }
            (b"KEYS", 2) => self.keys(*db, words[1], &mut reply),
            (b"SCAN", 2..) => self.scan(*db, words, &mut reply),
            (b"RANDOMKEY", 1) => self.random_key(*db, &mut reply),
            _ => self.run(*db, words, &mut reply),
        }
    }

    /// Runs one of the engine's commands, which must only read.
    fn run(&mut self, db: usize, words: &[&[u8]], reply: &mut Writer<'_>) {
        let mut keys = Vec::new();
        let Some((command, touches)) = touched(words, &mut keys) else {
            return reply.error(&format!("ERR unknown command '{}'", words[0].escape_ascii()));
        };
        let sub = words.get(1).and_then(|word| command.spec.subcommand(word));
        if !sub.unwrap_or(&command.spec).flags.has(Flags::READONLY) {
            return reply.error("READONLY You can't write against a file that is mounted read-only.");
        }
        if !command.spec.arity.fits(words.len()) {
            let name = command.spec.name.to_ascii_lowercase();
            return reply.error(&format!("ERR wrong number of arguments for '{name}' command"));
        }
        if touches == Touches::Anything {
            return reply.error("ERR patterns that read other keys are not served from a file");
        }
        if self.small.engine.keyspace.used_bytes() > self.memory {
            self.small = Small::new(self.reader.hash_seed(), self.databases);
            self.loaded.clear();
        }
        for at in keys {
            if let Err(error) = self.load(db, words[at]) {
                return reply.error(&format!("ERR {}", error.to_string().replace(['\r', '\n'], " ")));
            }
        }
        self.small.engine.now_ms = self.now_ms;
        let mut session = Session { db, no_touch: true, ..Session::default() };
        self.small.engine.execute(&mut session, command, &Args::new(words), reply);
    }

    /// Makes sure that a key is in the engine, if the snapshot has it.
    fn load(&mut self, db: usize, key: &[u8]) -> Result<(), ToolError> {
        if !self.loaded.insert((db, key.to_vec())) {
            return Ok(());
        }
        let (small, now_ms) = (&mut self.small, self.now_ms);
        let found = self.reader.find(db as u32, key, &mut self.buffer, |entry| {
            if entry.deadline.is_none_or(|at| at > now_ms) {
                small.load(db, &entry);
            }
        });
        found.map(|_| ()).map_err(|error| snapshot_error(&error))
    }

    fn info(&self) -> String {
        let header = self.reader.header();
        let mut info = format!(
            "# Server\r\nredis_version:7.2.4\r\nfirn_version:{}\r\nredis_mode:standalone\r\nrole:master\r\n\r\n# Persistence\r\n\
             snapshot_lsn:{}\r\nsnapshot_created_ms:{}\r\n\r\n# Keyspace\r\n",
            env!("CARGO_PKG_VERSION"),
            header.number,
            header.created_ms
        );
        for db in self.reader.databases() {
            let keys: u64 = self.reader.database_rows(db).iter().map(|row| row.info.count).sum();
            info.push_str(&format!("db{db}:keys={keys},expires=0,avg_ttl=0\r\n"));
        }
        info
    }

    fn keys(&self, db: usize, pattern: &[u8], reply: &mut Writer<'_>) {
        let mut found: Vec<Vec<u8>> = Vec::new();
        let mut entries = self.reader.entries(db as u32, 1..=u64::MAX);
        loop {
            match entries.next() {
                Ok(Some((_, entry))) => {
                    if matches(pattern, entry.key) && entry.deadline.is_none_or(|at| at > self.now_ms) {
                        found.push(entry.key.to_vec());
                    }
                }
                Ok(None) => break,
                Err(error) => return reply.error(&format!("ERR {error}")),
            }
        }
        reply.array(found.len());
        found.iter().for_each(|key| reply.bulk(key));
    }

    /// A cursor is a position, as the server's own is.
    fn scan(&self, db: usize, words: &[&[u8]], reply: &mut Writer<'_>) {
        let Some(cursor) = parse_cursor(words[1]) else { return reply.error("ERR invalid cursor") };
        let (mut pattern, mut count, mut kind) = (None, SCAN_COUNT, None);
        for pair in words[2..].chunks(2) {
            match (pair[0].to_ascii_uppercase().as_slice(), pair.get(1)) {
                (b"MATCH", Some(value)) => pattern = Some(*value),
                (b"COUNT", Some(value)) => match parse_integer(value).and_then(|count| usize::try_from(count).ok()) {
                    Some(number) if number > 0 => count = number,
                    _ => return reply.error("ERR value is not an integer or out of range"),
                },
                (b"TYPE", Some(value)) => {
                    let kinds = (0..=5).filter_map(Kind::from_number);
                    kind = Some(kinds.into_iter().find(|kind| kind.name().as_bytes().eq_ignore_ascii_case(value)));
                }
                _ => return reply.error("ERR syntax error"),
            }
        }
        let (mut found, mut seen, mut last, mut next): (Vec<Vec<u8>>, usize, u64, u64) = (Vec::new(), 0, 0, 0);
        let mut entries = self.reader.entries(db as u32, cursor.max(1)..=u64::MAX);
        loop {
            match entries.next() {
                Ok(Some((position, entry))) => {
                    if seen >= count && position != last {
                        next = position;
                        break;
                    }
                    (seen, last) = (seen + 1, position);
                    let wanted = pattern.is_none_or(|pattern| matches(pattern, entry.key))
                        && kind.is_none_or(|kind| kind == Some(entry.value.kind()))
                        && entry.deadline.is_none_or(|at| at > self.now_ms);
                    if wanted {
                        found.push(entry.key.to_vec());
                    }
                }
                Ok(None) => break,
                Err(error) => return reply.error(&format!("ERR {error}")),
            }
        }
        reply.array(2);
        reply.bulk(next.to_string().as_bytes());
        reply.array(found.len());
        found.iter().for_each(|key| reply.bulk(key));
    }

    fn random_key(&mut self, db: usize, reply: &mut Writer<'_>) {
        self.random = HashSeed([0x11; 16]).position(&self.random.to_le_bytes());
        for start in [self.random, 1] {
            let mut entries = self.reader.entries(db as u32, start..=u64::MAX);
            loop {
                match entries.next() {
                    Ok(Some((_, entry))) if entry.deadline.is_none_or(|at| at > self.now_ms) => {
                        return reply.bulk(entry.key);
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(error) => return reply.error(&format!("ERR {error}")),
                }
            }
        }
        reply.null();
    }
}
