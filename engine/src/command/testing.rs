//! Tests of commands as text: what a client sends, what it gets, how time passes.
//!
//! ```text
//! > SET n 10 PX 500          a command; words are split at spaces, "..." takes escapes (\n, \", \\, \xff)
//! +OK                        the reply, one line per element, as RESP prints it without lengths of strings:
//! after 500ms > GET n        $text, $-1 (null), *n, %n, :n, -error
//! $-1
//! ```
//! `effect NAME words` and `event CLASS name key` lines before the next command state what the last one logged and reported: given
//! once in a block, then for every command of it all of them must be listed.

use super::{Args, CommandError, Reply, Session, table};
use crate::engine::Engine;
use crate::key::HashSeed;
use crate::keyspace::Keyspace;
use crate::log::Effects;
use crate::log::pending::Record;
use std::fmt::Write;

/// A reply as the lines of the test language.
#[derive(Default)]
pub(crate) struct TextReply {
    pub(crate) text: String,
    pub(crate) resp3: bool,
}

/// Bytes as they are written in tests.
pub(crate) fn escape(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\\"", "\"").replace("\\'", "'")
}

impl TextReply {
    fn line(&mut self, mark: char, rest: impl std::fmt::Display) {
        writeln!(self.text, "{mark}{rest}").unwrap();
    }
}

impl Reply for TextReply {
    fn simple(&mut self, text: &'static str) {
        self.line('+', text);
    }
    fn error(&mut self, text: &str) {
        self.line('-', text);
    }
    fn integer(&mut self, value: i64) {
        self.line(':', value);
    }
    fn bulk(&mut self, bytes: &[u8]) {
        self.line('$', escape(bytes));
    }
    fn null(&mut self) {
        self.text.push_str(if self.resp3 { "_\n" } else { "$-1\n" });
    }
    fn null_array(&mut self) {
        self.text.push_str(if self.resp3 { "_\n" } else { "*-1\n" });
    }
    fn array(&mut self, n: usize) {
        self.line('*', n);
    }
    fn map(&mut self, n: usize) {
        if self.resp3 { self.line('%', n) } else { self.line('*', 2 * n) }
    }
    fn set(&mut self, n: usize) {
        self.line(if self.resp3 { '~' } else { '*' }, n);
    }
    fn push(&mut self, n: usize) {
        self.line(if self.resp3 { '>' } else { '*' }, n);
    }
    fn double(&mut self, value: f64) {
        let mut text = Vec::new();
        crate::number::print_double(value, &mut text);
        self.line(if self.resp3 { ',' } else { '$' }, String::from_utf8(text).unwrap());
    }
    fn double_text(&mut self, text: &str) {
        self.line(if self.resp3 { ',' } else { '$' }, text);
    }
    fn boolean(&mut self, value: bool) {
        if self.resp3 { self.line('#', if value { 't' } else { 'f' }) } else { self.line(':', i32::from(value)) }
    }
    fn big_number(&mut self, digits: &str) {
        self.line(if self.resp3 { '(' } else { '$' }, digits);
    }
    fn verbatim(&mut self, _: &'static str, text: &[u8]) {
        self.line(if self.resp3 { '=' } else { '$' }, escape(text));
    }
    fn protocol(&self) -> u8 {
        if self.resp3 { 3 } else { 2 }
    }
}

/// An engine with 16 databases at a fixed time, and one client.
pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) session: Session,
    pub(crate) resp3: bool,
}

/// When tests begin, Unix ms.
pub(crate) const START_MS: u64 = 1_700_000_000_000;

impl Bench {
    pub(crate) fn new() -> Bench {
        let keyspace = Keyspace::new(HashSeed([7; 16]), 16);
        let mut engine = Engine::new(keyspace, Effects::new(1), 1);
        engine.now_ms = START_MS;
        Bench { engine, session: Session::default(), resp3: false }
    }

    /// Runs a command as the server would, arity check included.
    pub(crate) fn run(&mut self, words: &[&[u8]]) -> String {
        let mut reply = TextReply { resp3: self.resp3, ..TextReply::default() };
        match table::find(words[0]) {
            None => reply.error("ERR unknown command"),
            Some(command) if !command.spec.arity.fits(words.len()) => {
                reply.error(&CommandError::WrongArity(command.spec.name.to_lowercase().into()).to_string());
            }
            Some(command) => self.engine.execute(&mut self.session, command, &Args::new(words), &mut reply),
        }
        reply.text
    }

    /// What was logged since the last call: one line per command, with its database unless that is 0.
    pub(crate) fn effects(&mut self) -> Vec<String> {
        let Some(group) = self.engine.effects.take(Vec::new()) else { return Vec::new() };
        let mut payload = group.payload();
        let (mut lines, mut words) = (Vec::new(), Vec::new());
        for lsn in group.first..=group.last() {
            let mut commands = Record::take(&mut payload, lsn, group.base_ms).unwrap().commands();
            while let Some(db) = commands.next(&mut words).unwrap() {
                let text: Vec<String> = words.iter().map(|word| quote(word)).collect();
                let place = if db == 0 { String::new() } else { format!("{db}: ") };
                lines.push(format!("{place}{}", text.join(" ")));
            }
        }
        lines
    }
}

fn quote(word: &[u8]) -> String {
    let text = escape(word);
    if text.is_empty() || text.contains([' ', '"']) { format!("\"{}\"", text.replace('"', "\\\"")) } else { text }
}

/// Splits a command line into words.
fn words(line: &str) -> Vec<Vec<u8>> {
    let bytes = line.as_bytes();
    let (mut words, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        if bytes[at] == b' ' {
            at += 1;
            continue;
        }
        let mut word = Vec::new();
        if bytes[at] == b'"' {
            at += 1;
            while bytes[at] != b'"' {
                if bytes[at] != b'\\' {
                    word.push(bytes[at]);
                    at += 1;
                    continue;
                }
                let (byte, len) = match bytes[at + 1] {
                    b'x' => (u8::from_str_radix(&line[at + 2..at + 4], 16).unwrap(), 4),
                    b'n' => (b'\n', 2),
                    b'r' => (b'\r', 2),
                    other => (other, 2),
                };
                word.push(byte);
                at += len;
            }
            at += 1;
        } else {
            while at < bytes.len() && bytes[at] != b' ' {
                word.push(bytes[at]);
                at += 1;
            }
        }
        words.push(word);
    }
    words
}

/// Plays a conversation on a fresh engine, in RESP2, and compares every reply.
#[track_caller]
pub(crate) fn check(script: &str) {
    play(&mut Bench::new(), script);
}

/// [`check`], in RESP3.
#[track_caller]
pub(crate) fn check3(script: &str) {
    let mut bench = Bench::new();
    bench.resp3 = true;
    play(&mut bench, script);
}

/// [`check`] on an engine that the test has prepared.
#[track_caller]
pub(crate) fn play(bench: &mut Bench, script: &str) {
    let with_effects = script.lines().any(|line| line.trim_start().starts_with("effect "));
    let with_events = script.lines().any(|line| line.trim_start().starts_with("event "));
    if with_events {
        bench.engine.settings.events = u128::MAX;
    }
    let mut lines = script.lines().map(str::trim).filter(|line| !line.is_empty()).peekable();
    while let Some(line) = lines.next() {
        let command = match line.strip_prefix("after ").and_then(|rest| rest.split_once("ms")) {
            Some((ms, rest)) => {
                bench.engine.now_ms += ms.parse::<u64>().unwrap();
                rest.trim_start()
            }
            None => line,
        };
        let command = command.strip_prefix("> ").unwrap_or_else(|| panic!("no command: {line}"));
        let sent = words(command);
        let sent: Vec<&[u8]> = sent.iter().map(Vec::as_slice).collect();
        let mut got = bench.run(&sent);
        if with_effects {
            bench.effects().iter().for_each(|effect| writeln!(got, "effect {effect}").unwrap());
        }
        for event in bench.engine.events.drain(..).filter(|_| with_events) {
            let (class, db) = (event.class as u8 as char, event.db);
            let place = if db == 0 { String::new() } else { format!("{db}: ") };
            writeln!(got, "event {class} {place}{} {}", event.name, quote(&event.key)).unwrap();
        }
        let mut expected = String::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with("> ") && !line.starts_with("after ")) {
            writeln!(expected, "{line}").unwrap();
        }
        assert_eq!(got, expected, "\nafter `{command}` of\n{script}");
    }
}
