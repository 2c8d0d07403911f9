//! MIGRATE: hands keys over to another server, with DUMP here and RESTORE there.
//!
//! 1. The values are taken under one hold of the engine's lock; sending them holds none: others are served meanwhile.
//! 2. A key is deleted here only after the other server has said that it has it, and only if it is still what was sent. One that was changed
//!    meanwhile is sent again, in place of what we have put there; nothing is lost and nothing is in both places when the reply leaves.
//! 3. The deletion is an ordinary record of the log, and the reply waits for it as any other.

use crate::command::{After, Answer, ServerCall, ServerCommand};
use crate::server::Server;
use firn_engine::command::dump::payload_of;
use firn_engine::command::{
    Args, Arity, Categories, CommandError, Flags, Group, Keys, NoReply, Reply, Session, Spec, table,
};
use firn_engine::engine::Engine;
use firn_engine::keyspace::entry_digest;
use firn_engine::log::Lsn;
use firn_engine::number::parse_integer;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// `MIGRATE`.
pub(super) static MIGRATE: ServerCommand = ServerCommand {
    spec: Spec {
        name: "MIGRATE",
        arity: Arity::AtLeast(6),
        // Not in a transaction: it waits for another server.
        flags: Flags::WRITE.and(Flags::MOVABLEKEYS).and(Flags::NO_MULTI).and(Flags::NOSCRIPT),
        keys: Keys::Found { find: find_keys, legacy: (3, 3, 1), access: "RW ACCESS DELETE" },
        group: Group::Generic,
        categories: Categories(Categories::KEYSPACE.0 | Categories::DANGEROUS.0),
        since: "2.6.0",
        summary: "Moves keys to another server.",
        complexity: "That of DUMP, RESTORE and DEL, and the time to send the values.",
        syntax: "host port key destination-db timeout [COPY] [REPLACE] [AUTH password | AUTH2 username password] [KEYS key [key ...]]",
        ..Spec::BASE
    },
    run: migrate,
};

/// What a failing connection answers.
const CANNOT_CONNECT: &str = "IOERR error or timeout connecting to the client";
const CANNOT_WRITE: &str = "IOERR error or timeout writing to target instance";
const CANNOT_READ: &str = "IOERR error or timeout reading from target instance";
/// A connection that nobody used for so long is closed.
const CACHED_MAX: Duration = Duration::from_secs(10);
/// Connections kept, at most.
const CACHED_COUNT_MAX: usize = 64;
/// How often a key that is changed while it is sent is sent again.
const ATTEMPTS_MAX: usize = 5;
/// Longest line of a reply that is read.
const REPLY_LEN_MAX: usize = 4096;

fn find_keys(words: &[&[u8]], found: &mut Vec<usize>) {
    if words.get(3).is_some_and(|key| !key.is_empty()) {
        found.push(3);
        return;
    }
    // The word after options that take words of their own: AUTH KEYS is a password.
    let mut at = 6;
    while let Some(word) = words.get(at) {
        match word.to_ascii_lowercase().as_slice() {
            b"auth" => at += 2,
            b"auth2" => at += 3,
            b"keys" => return found.extend(at + 1..words.len()),
            _ => at += 1,
        }
    }
}

/// Open connections to other servers, with the database they have selected.
#[derive(Default)]
pub(crate) struct Connections {
    open: Mutex<HashMap<(String, u16), (Connection, Instant)>>,
}

impl Connections {
    /// How many there are (INFO).
    pub(crate) fn len(&self) -> usize {
        let mut open = self.open.lock();
        open.retain(|_, (_, since)| since.elapsed() < CACHED_MAX);
        open.len()
    }

    fn take(&self, target: &(String, u16)) -> Option<Connection> {
        let mut open = self.open.lock();
        open.retain(|_, (_, since)| since.elapsed() < CACHED_MAX);
        open.remove(target).map(|(connection, _)| connection)
    }

    fn keep(&self, target: &(String, u16), connection: Connection) {
        let mut open = self.open.lock();
        if open.len() < CACHED_COUNT_MAX {
            open.insert(target.clone(), (connection, Instant::now()));
        }
    }
}

/// A connection to another server.
struct Connection {
    stream: TcpStream,
    /// What was read and not used.
    buffer: Vec<u8>,
    db: Option<u32>,
}

/// What the command asks for.
struct Request {
    target: (String, u16),
    db: u32,
    timeout: Duration,
    copy: bool,
    replace: bool,
    auth: Option<Vec<Vec<u8>>>,
    keys: Vec<Vec<u8>>,
}

fn parse(args: &Args<'_>) -> Result<Request, CommandError> {
    let (mut copy, mut replace, mut auth) = (false, false, None);
    let mut keys = vec![args.get(3).to_vec()];
    let mut at = 6;
    while at < args.len() {
        let more = args.len() - at - 1;
        if args.is(at, "COPY") {
            copy = true;
        } else if args.is(at, "REPLACE") {
            replace = true;
        } else if args.is(at, "AUTH") && more >= 1 {
            auth = Some(vec![args.get(at + 1).to_vec()]);
            at += 1;
        } else if args.is(at, "AUTH2") && more >= 2 {
            auth = Some(vec![args.get(at + 1).to_vec(), args.get(at + 2).to_vec()]);
            at += 2;
        } else if args.is(at, "KEYS") {
            if !args.get(3).is_empty() {
                return Err(CommandError::text(
                    "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
                ));
            }
            keys = args.words()[at + 1..].iter().map(|key| key.to_vec()).collect();
            break;
        } else {
            return Err(CommandError::Syntax);
        }
        at += 1;
    }
    let timeout = parse_integer(args.get(5)).ok_or(CommandError::NotInteger)?;
    let db = parse_integer(args.get(4)).ok_or(CommandError::NotInteger)?;
    let host = String::from_utf8(args.get(1).to_vec()).map_err(|_| CommandError::text(CANNOT_CONNECT))?;
    let port = parse_integer(args.get(2)).and_then(|port| u16::try_from(port).ok());
    Ok(Request {
        target: (host, port.ok_or(CommandError::text(CANNOT_CONNECT))?),
        db: u32::try_from(db).map_err(|_| CommandError::DbOutOfRange)?,
        timeout: Duration::from_millis(u64::try_from(timeout).ok().filter(|ms| *ms > 0).unwrap_or(1000)),
        copy,
        replace,
        auth,
        keys,
    })
}

fn migrate(call: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<After, CommandError> {
    let request = parse(args)?;
    let db = call.client.session.db;
    let parcels = pack(call.engine(), db, &request.keys);
    if parcels.is_empty() {
        reply.simple("NOKEY");
        return Ok(After::Nothing);
    }
    call.unlock();
    let server = Arc::clone(call.server);
    Ok(After::answer(async move {
        let work = tokio::task::spawn_blocking(move || run(&server, db, &request, parcels));
        let (result, promise) = work.await.unwrap_or_else(|error| (Err(error.to_string()), 0));
        let bytes = match result {
            Ok(()) => b"+OK\r\n".to_vec(),
            Err(why) => format!("-{}\r\n", CommandError::text(why)).into_bytes(),
        };
        Answer::Written { bytes, promise }
    }))
}

/// A key's value on its way.
struct Parcel {
    key: Vec<u8>,
    payload: Vec<u8>,
    deadline: Option<u64>,
    /// Of key, value and deadline: whether they are still the same.
    digest: u128,
    /// The other server has an earlier value from us.
    again: bool,
}

/// The live ones among keys.
fn pack(engine: &mut Engine, db: usize, keys: &[Vec<u8>]) -> Vec<Parcel> {
    let now_ms = engine.now_ms;
    let pack = |key: &Vec<u8>| {
        let name = engine.keyspace.seed().key(key);
        let entry = engine.keyspace.db(db).get(name).filter(|entry| entry.deadline.is_none_or(|at| at > now_ms))?;
        let payload = payload_of(entry.value, now_ms)?;
        let (deadline, digest) = (entry.deadline, entry_digest(&entry));
        Some(Parcel { key: key.clone(), payload, deadline, digest, again: false })
    };
    keys.iter().filter_map(pack).collect()
}

/// Sends parcels until those that have arrived are gone here. Says what to answer, and the record that the answer waits for.
fn run(server: &Server, db: usize, request: &Request, mut parcels: Vec<Parcel>) -> (Result<(), String>, Lsn) {
    let (mut result, mut promise) = (Ok(()), 0);
    for _ in 0..ATTEMPTS_MAX {
        let mut arrived = Vec::new();
        let sent = send(server, request, &parcels, &mut arrived);
        result = result.and(sent);
        if request.copy {
            return (result, promise);
        }
        let arrived: Vec<Parcel> = parcels
            .into_iter()
            .enumerate()
            .filter_map(|(at, parcel)| arrived.contains(&at).then_some(parcel))
            .collect();
        let (deleted, lsn, changed) = delete(server, db, arrived);
        result = result.and(deleted);
        promise = promise.max(lsn);
        parcels = changed;
        if parcels.is_empty() {
            return (result, promise);
        }
    }
    let text =
        "ERR a key was changed again and again while it was migrated: it is here and, in an earlier state, there";
    (result.and(Err(text.into())), promise)
}

/// Deletes those that are still what was sent; gives the others, packed anew. (One that was deleted here meanwhile stays there, as if it had
/// been deleted here after the migration.)
fn delete(server: &Server, db: usize, arrived: Vec<Parcel>) -> (Result<(), String>, Lsn, Vec<Parcel>) {
    let mut engine = server.store.lock();
    let (mut unchanged, mut changed): (Vec<Vec<u8>>, Vec<Vec<u8>>) = (Vec::new(), Vec::new());
    for parcel in arrived {
        let name = engine.keyspace.seed().key(&parcel.key);
        match engine.keyspace.db(db).get(name).map(|entry| entry_digest(&entry)) {
            Some(digest) if digest == parcel.digest => unchanged.push(parcel.key),
            Some(_) => changed.push(parcel.key),
            None => {}
        }
    }
    let mut session = Session { db, ..Session::default() };
    let mut reply = NoReply::default();
    if !unchanged.is_empty() {
        let words: Vec<&[u8]> = std::iter::once(&b"DEL"[..]).chain(unchanged.iter().map(Vec::as_slice)).collect();
        if let Some(del) = table::find(b"DEL") {
            engine.execute(&mut session, del, &Args::new(&words), &mut reply);
        }
    }
    let mut again = pack(&mut engine, db, &changed);
    again.iter_mut().for_each(|parcel| parcel.again = true);
    drop(engine);
    server.store.commit();
    (reply.error.map_or(Ok(()), Err), session.promise, again)
}

/// Sends all parcels and notes which have arrived. A cached connection that turns out to be closed is made anew, once.
fn send(server: &Server, request: &Request, parcels: &[Parcel], arrived: &mut Vec<usize>) -> Result<(), String> {
    let cached = server.migrating.take(&request.target);
    let was_cached = cached.is_some();
    let mut connection = match cached {
        Some(connection) => connection,
        None => Connection::open(request).map_err(|_| CANNOT_CONNECT.to_owned())?,
    };
    let mut result = connection.exchange(server, request, parcels, arrived);
    if let Err(Failure { timed_out: false, nothing_read: true, .. }) = result
        && was_cached
    {
        connection = Connection::open(request).map_err(|_| CANNOT_CONNECT.to_owned())?;
        result = connection.exchange(server, request, parcels, arrived);
    }
    match result {
        Ok(answer) => {
            server.migrating.keep(&request.target, connection);
            answer.map_or(Ok(()), |error| Err(format!("ERR Target instance replied with error: {error}")))
        }
        Err(failure) => Err(failure.text.to_owned()),
    }
}

/// Why a connection is of no use any more.
struct Failure {
    text: &'static str,
    timed_out: bool,
    nothing_read: bool,
}

impl Failure {
    fn new(text: &'static str, error: &io::Error, nothing_read: bool) -> Failure {
        Failure { text, timed_out: matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), nothing_read }
    }
}

impl Connection {
    fn open(request: &Request) -> io::Result<Connection> {
        let (host, port) = &request.target;
        let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
        for address in (host.as_str(), *port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, request.timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(Connection { stream, buffer: Vec::new(), db: None });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Sends everything in one go and reads all replies; gives the first that is an error.
    fn exchange(
        &mut self,
        server: &Server,
        request: &Request,
        parcels: &[Parcel],
        arrived: &mut Vec<usize>,
    ) -> Result<Option<String>, Failure> {
        use firn_engine::aof::write::put_command;
        let mut digits = [itoa_text(u64::from(request.db)), String::new()];
        let mut bytes = Vec::new();
        let mut before = 0;
        if let Some(auth) = &request.auth {
            let words: Vec<&[u8]> = std::iter::once(&b"AUTH"[..]).chain(auth.iter().map(Vec::as_slice)).collect();
            put_command(&mut bytes, &words);
            before += 1;
        }
        if self.db != Some(request.db) {
            put_command(&mut bytes, &[b"SELECT", digits[0].as_bytes()]);
            before += 1;
        }
        let now_ms = server.store.lock().now_ms;
        for parcel in parcels {
            // A key that is about to die is not to live for ever.
            let ttl = parcel.deadline.map_or(0, |at| at.saturating_sub(now_ms).max(1));
            digits[1] = itoa_text(ttl);
            let mut words = vec![&b"RESTORE"[..], &parcel.key, digits[1].as_bytes(), &parcel.payload];
            if request.replace || parcel.again {
                words.push(b"REPLACE");
            }
            put_command(&mut bytes, &words);
        }
        let set = |stream: &TcpStream| {
            stream
                .set_write_timeout(Some(request.timeout))
                .and_then(|()| stream.set_read_timeout(Some(request.timeout)))
        };
        set(&self.stream)
            .and_then(|()| self.stream.write_all(&bytes))
            .map_err(|error| Failure::new(CANNOT_WRITE, &error, true))?;
        let mut first_error = None;
        for at in 0..before + parcels.len() {
            let line = self.line().map_err(|error| Failure::new(CANNOT_READ, &error, at == 0))?;
            match line.strip_prefix('-') {
                Some(error) => {
                    if at < before {
                        // Not let in, or not where it was to go: whatever the rest says does not count.
                        self.db = None;
                        for _ in at + 1..before + parcels.len() {
                            self.line().map_err(|error| Failure::new(CANNOT_READ, &error, false))?;
                        }
                        return Ok(Some(error.to_owned()));
                    }
                    first_error.get_or_insert(error.to_owned());
                }
                None if at >= before => arrived.push(at - before),
                None => {}
            }
        }
        self.db = Some(request.db);
        Ok(first_error)
    }

    /// One line of a reply; all that these commands answer are lines.
    fn line(&mut self) -> io::Result<String> {
        let mut chunk = [0; 512];
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 2);
                return Ok(line);
            }
            if self.buffer.len() > REPLY_LEN_MAX {
                return Err(ErrorKind::InvalidData.into());
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn itoa_text(number: u64) -> String {
    itoa::Buffer::new().format(number).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_behind_passwords() {
        let keys = |line: &str| {
            let words: Vec<&[u8]> =
                line.split(' ').map(|word| if word == "''" { b"" } else { word.as_bytes() }).collect();
            let mut found = Vec::new();
            find_keys(&words, &mut found);
            found
        };
        assert_eq!(keys("MIGRATE h 1 key 0 5"), [3]);
        assert_eq!(keys("MIGRATE h 1 '' 0 5 COPY KEYS a b"), [8, 9]);
        assert_eq!(keys("MIGRATE h 1 '' 0 5 AUTH keys KEYS a"), [9]);
        assert_eq!(keys("MIGRATE h 1 '' 0 5 AUTH2 keys keys keys a"), [10]);
        assert_eq!(keys("MIGRATE h 1 '' 0 5"), [0; 0]);
    }
}
