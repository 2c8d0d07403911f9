//! The engine without the server, as a target: what differs here is the commands' own.

use super::target::Target;
use firn_engine::command::{Args, Blocking, CommandError, Reply, Session, table};
use firn_engine::engine::Engine;
use firn_engine::key::HashSeed;
use firn_engine::keyspace::Keyspace;
use firn_engine::log::Effects;
use firn_engine::{debug, number};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

/// Elements at most of a packed collection, in all servers that are compared: few, so that large ones are met.
pub const PACKED_ENTRIES: usize = 6;

/// An engine in memory.
#[derive(Debug)]
pub struct InProcess {
    engine: Engine,
    session: Session,
    resp3: bool,
    replies: VecDeque<Vec<u8>>,
    /// Those of each reply, and of the last that was received.
    events: VecDeque<Vec<u8>>,
    heard: Vec<u8>,
}

impl Default for InProcess {
    fn default() -> Self {
        InProcess {
            engine: engine(),
            session: Session::default(),
            resp3: false,
            replies: VecDeque::new(),
            events: VecDeque::new(),
            heard: Vec::new(),
        }
    }
}

fn engine() -> Engine {
    let mut engine = Engine::new(Keyspace::new(HashSeed([7; 16]), 16), Effects::new(1), 1);
    engine.settings.events = u128::MAX;
    engine.settings.shaping.zset_max_listpack_entries = PACKED_ENTRIES;
    engine
}

impl Target for InProcess {
    fn begin(&mut self, resp3: bool) -> io::Result<()> {
        *self = InProcess { resp3, ..InProcess::default() };
        Ok(())
    }

    fn send(&mut self, commands: &[Vec<Vec<u8>>]) -> io::Result<()> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.engine.now_ms = since.as_millis() as u64;
        for words in commands {
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            let mut reply = Encoder { out: Vec::new(), resp3: self.resp3 };
            match table::find(words[0]) {
                None => reply.error("ERR unknown command"),
                Some(command) if !command.spec.arity.fits(words.len()) => {
                    reply.error(&CommandError::WrongArity(command.spec.name.to_lowercase().into()).to_string());
                }
                Some(command) => {
                    // Whoever waits here is alone: his time is up at once.
                    self.session.blocking = Blocking::Allowed;
                    self.engine.execute(&mut self.session, command, &Args::new(&words), &mut reply);
                    if let Blocking::Requested(_) = self.session.blocking {
                        reply.null_array();
                    }
                }
            }
            self.replies.push_back(reply.out);
            let mut events = Vec::new();
            for event in self.engine.events.drain(..) {
                events.extend_from_slice(format!("{}__:{} ", event.db, event.name).as_bytes());
                events.extend_from_slice(&event.key);
                events.push(b'\n');
            }
            self.events.push_back(events);
        }
        self.engine.effects.take(Vec::new());
        Ok(())
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        self.heard = self.events.pop_front().unwrap_or_default();
        self.replies.pop_front().ok_or_else(|| io::Error::other("no reply is waiting"))
    }

    fn events(&mut self) -> io::Result<Vec<u8>> {
        Ok(std::mem::take(&mut self.heard))
    }

    fn digest(&mut self) -> io::Result<Vec<u8>> {
        Ok(debug::digest(&self.engine).to_string().into_bytes())
    }
}

/// RESP.
struct Encoder {
    out: Vec<u8>,
    resp3: bool,
}

impl Encoder {
    fn head(&mut self, kind: char, rest: impl std::fmt::Display) {
        write!(self.out, "{kind}{rest}\r\n").expect("a vector takes all");
    }

    fn either(&mut self, resp3: char, resp2: char, n: usize) {
        self.head(if self.resp3 { resp3 } else { resp2 }, n);
    }
}

impl Reply for Encoder {
    fn simple(&mut self, text: &'static str) {
        self.head('+', text);
    }
    fn error(&mut self, text: &str) {
        self.head('-', text);
    }
    fn integer(&mut self, value: i64) {
        self.head(':', value);
    }
    fn bulk(&mut self, bytes: &[u8]) {
        self.head('$', bytes.len());
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }
    fn null(&mut self) {
        self.out.extend_from_slice(if self.resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }
    fn null_array(&mut self) {
        self.out.extend_from_slice(if self.resp3 { b"_\r\n" } else { b"*-1\r\n" });
    }
    fn array(&mut self, n: usize) {
        self.head('*', n);
    }
    fn map(&mut self, n: usize) {
        self.either('%', '*', if self.resp3 { n } else { 2 * n });
    }
    fn set(&mut self, n: usize) {
        self.either('~', '*', n);
    }
    fn push(&mut self, n: usize) {
        self.either('>', '*', n);
    }
    fn double(&mut self, value: f64) {
        let mut text = Vec::new();
        number::print_double(value, &mut text);
        if self.resp3 {
            self.head(',', String::from_utf8_lossy(&text));
        } else {
            self.bulk(&text);
        }
    }
    fn double_text(&mut self, text: &str) {
        if self.resp3 { self.head(',', text) } else { self.bulk(text.as_bytes()) }
    }
    fn boolean(&mut self, value: bool) {
        if self.resp3 {
            self.head('#', if value { 't' } else { 'f' });
        } else {
            self.integer(i64::from(value));
        }
    }
    fn big_number(&mut self, digits: &str) {
        if self.resp3 { self.head('(', digits) } else { self.bulk(digits.as_bytes()) }
    }
    fn verbatim(&mut self, format: &'static str, text: &[u8]) {
        if !self.resp3 {
            return self.bulk(text);
        }
        self.head('=', text.len() + 4);
        self.out.extend_from_slice(format.as_bytes());
        self.out.push(b':');
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }
    fn protocol(&self) -> u8 {
        if self.resp3 { 3 } else { 2 }
    }
}
