//! Clients that wait for keys: who is served, in which order, and what is logged.

use super::*;
use crate::command::table;
use crate::command::testing::{Bench, TextReply};
use std::sync::{Arc, Mutex};

/// What clients were answered, in order: name and reply.
type Answers = Arc<Mutex<Vec<(String, String)>>>;

struct Client {
    name: String,
    reply: TextReply,
    answers: Answers,
}

impl Waiting for Client {
    fn run(&mut self, run: &mut dyn FnMut(&mut dyn Reply)) {
        run(&mut self.reply);
    }
    fn served(self: Box<Self>, promise: Lsn) {
        assert!(promise > 0 || self.reply.text.starts_with('-'), "a served command is a record");
        let text = self.reply.text.replace('\n', " ");
        self.answers.lock().unwrap().push((self.name, text.trim().to_owned()));
    }
}

/// An engine, one client who does not block, and others who may.
struct Room {
    bench: Bench,
    answers: Answers,
}

impl Room {
    fn new() -> Room {
        Room { bench: Bench::new(), answers: Answers::default() }
    }

    fn run(&mut self, line: &str) -> String {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.bench.run(&words).replace('\n', " ").trim().to_owned()
    }

    /// A client named `name` sends a command that blocks, or is answered at once.
    fn send(&mut self, name: &str, line: &str) -> Option<WaiterId> {
        self.send_in(0, name, line)
    }

    fn send_in(&mut self, db: usize, name: &str, line: &str) -> Option<WaiterId> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let command = table::find(words[0]).unwrap();
        let mut session = Session { db, blocking: Blocking::Allowed, ..Session::default() };
        let mut reply = TextReply::default();
        self.bench.engine.execute(&mut session, command, &Args::new(&words), &mut reply);
        let client = Client { name: name.into(), reply: TextReply::default(), answers: self.answers.clone() };
        let id = self.bench.engine.park(&mut session, command, &words, Box::new(client));
        assert_eq!(id.is_some(), reply.text.is_empty(), "a command that blocks writes nothing");
        if id.is_none() {
            let text = reply.text.replace('\n', " ");
            self.answers.lock().unwrap().push((name.into(), text.trim().to_owned()));
        }
        id
    }

    /// What was answered since the last call: `name: reply`.
    fn answers(&mut self) -> Vec<String> {
        let answers = std::mem::take(&mut *self.answers.lock().unwrap());
        answers.into_iter().map(|(name, text)| format!("{name}: {text}")).collect()
    }
}

#[test]
fn who_waits_longest_is_served_first_and_every_service_is_a_record() {
    let mut room = Room::new();
    room.send("one", "BLPOP a b 0");
    room.send("two", "BRPOP a 0");
    room.send("three", "BLMPOP 0 2 b a LEFT COUNT 5");
    assert_eq!(room.bench.engine.waiting.keys(), (2, 0));
    assert_eq!(room.run("RPUSH a 1 2 3 4"), ":4");
    assert_eq!(room.answers(), ["one: *2 $a $1", "two: *2 $a $4", "three: *2 $a *2 $2 $3"]);
    assert_eq!(room.bench.effects(), ["RPUSH a 1 2 3 4", "LPOP a", "RPOP a", "LPOP a 2"]);
    assert_eq!(room.bench.engine.effects.last(), 4, "each is a record of its own");
    assert!(room.bench.engine.waiting.is_empty());
    assert_eq!(room.bench.engine.waiting.keys(), (0, 0));
    assert_eq!(room.run("EXISTS a"), ":0");
}

#[test]
fn a_command_that_finds_something_does_not_wait() {
    let mut room = Room::new();
    room.run("RPUSH b x");
    assert_eq!(room.send("one", "BLPOP a b 0"), None);
    assert_eq!(room.answers(), ["one: *2 $b $x"]);
    assert_eq!(room.bench.effects(), ["RPUSH b x", "LPOP b"]);
}

#[test]
fn where_nobody_may_block_the_time_is_up_at_once() {
    let mut room = Room::new();
    for (line, reply) in [
        ("BLPOP a 0", "*-1"),
        ("BRPOP a 0", "*-1"),
        ("BLMOVE a b LEFT LEFT 0", "$-1"),
        ("BRPOPLPUSH a b 0", "$-1"),
        ("BLMPOP 0 1 a LEFT", "*-1"),
    ] {
        assert_eq!(room.run(line), reply, "{line}");
    }
    assert!(room.bench.engine.waiting.is_empty());
}

#[test]
fn a_key_of_another_type_serves_nobody() {
    let mut room = Room::new();
    room.send("one", "BLPOP a 0");
    room.run("SET a string");
    assert_eq!(room.answers(), [""; 0]);
    room.run("DEL a");
    room.run("RPUSH a x");
    assert_eq!(room.answers(), ["one: *2 $a $x"]);
}

#[test]
fn a_key_that_comes_and_goes_within_a_command_serves_nobody() {
    let mut room = Room::new();
    room.send("one", "BLPOP b 0");
    room.run("RPUSH a x");
    room.run("LMOVE a a LEFT RIGHT");
    room.run("SET b y");
    room.run("DEL b");
    assert_eq!(room.answers(), [""; 0]);
    assert_eq!(room.bench.engine.waiting.len(), 1);
}

#[test]
fn what_a_served_client_pushes_serves_others_in_turn() {
    let mut room = Room::new();
    room.send("last", "BLPOP d 0");
    room.send("c to d", "BLMOVE c d LEFT RIGHT 0");
    room.send("b to c", "BRPOPLPUSH b c 0");
    room.send("a to b", "BLMOVE a b LEFT LEFT 0");
    room.run("RPUSH a x");
    assert_eq!(room.answers(), ["a to b: $x", "b to c: $x", "c to d: $x", "last: *2 $d $x"]);
    let effects = room.bench.effects();
    assert_eq!(effects, ["RPUSH a x", "LMOVE a b LEFT LEFT", "RPOPLPUSH b c", "LMOVE c d LEFT RIGHT", "LPOP d"]);
}

#[test]
fn two_who_pass_an_element_to_and_fro_come_to_an_end() {
    let mut room = Room::new();
    room.send("there", "BLMOVE a b LEFT LEFT 0");
    room.send("back", "BLMOVE b a LEFT LEFT 0");
    room.send("same", "BLMOVE a a LEFT LEFT 0");
    room.run("RPUSH a x");
    assert_eq!(room.answers(), ["there: $x", "back: $x", "same: $x"]);
    assert_eq!(room.run("LRANGE a 0 -1"), "*1 $x");
}

#[test]
fn a_destination_of_another_type_is_an_error_for_the_one_who_waits_and_the_next_is_served() {
    let mut room = Room::new();
    room.run("SET s x");
    room.send("bad", "BLMOVE a s LEFT LEFT 0");
    room.send("good", "BLPOP a 0");
    room.run("RPUSH a 1");
    let wrong = "bad: -WRONGTYPE Operation against a key holding the wrong kind of value";
    assert_eq!(room.answers(), [wrong, "good: *2 $a $1"]);
}

#[test]
fn every_way_in_which_a_key_can_appear_serves() {
    for (before, line) in [
        ("RPUSH other x", "RENAME other a"),
        ("RPUSH other x", "RENAMENX other a"),
        ("RPUSH other x", "COPY other a"),
        ("RPUSH other x", "RPOPLPUSH other a"),
        ("SET other x", "RPUSH a x"),
    ] {
        let mut room = Room::new();
        room.send("one", "BLPOP a 0");
        room.run(before);
        room.run(line);
        assert_eq!(room.answers(), ["one: *2 $a $x"], "{line}");
    }
    let mut room = Room::new();
    room.send_in(3, "moved", "BLPOP a 0");
    room.send_in(5, "swapped", "BLPOP a 0");
    room.send("here", "BLPOP a 0");
    room.run("RPUSH b x");
    room.run("COPY b a DB 3");
    room.run("SELECT 1");
    room.run("RPUSH a y");
    room.run("SWAPDB 1 5");
    assert_eq!(room.answers(), ["moved: *2 $a $x", "swapped: *2 $a $y"]);
    room.run("RPUSH a z");
    room.run("MOVE a 0");
    assert_eq!(room.answers(), ["here: *2 $a $z"]);
}

#[test]
fn one_who_was_removed_gets_nothing() {
    let mut room = Room::new();
    let one = room.send("one", "BLPOP a b 0").unwrap();
    let two = room.send("two", "BLPOP a 0").unwrap();
    assert!(two > one);
    assert!(room.bench.engine.waiting.remove(one).is_some());
    assert!(room.bench.engine.waiting.remove(one).is_none());
    room.run("RPUSH a x y");
    assert_eq!(room.answers(), ["two: *2 $a $x"]);
    assert!(room.bench.engine.waiting.remove(two).is_none(), "served");
    assert_eq!(room.run("LRANGE a 0 -1"), "*1 $y");
}

#[test]
fn a_key_named_twice_is_one() {
    let mut room = Room::new();
    room.send("one", "BLPOP a a a 0");
    assert_eq!(room.bench.engine.waiting.keys(), (1, 0));
    room.run("RPUSH a x y");
    assert_eq!(room.answers(), ["one: *2 $a $x"]);
}

#[test]
fn while_the_log_takes_no_writes_they_wait_on() {
    let mut room = Room::new();
    room.send("one", "BLPOP a 0");
    let engine = &mut room.bench.engine;
    let key = engine.keyspace.seed().key(b"a");
    engine.refused = Refused::Writes("broken".into());
    engine.changed(0, key);
    engine.serve_waiting();
    assert!(engine.waiting.has_ready());
    engine.refused = Refused::Nothing;
    room.run("RPUSH a x");
    assert_eq!(room.answers(), ["one: *2 $a $x"]);
}

#[test]
fn ten_thousand_wait_in_line() {
    let mut room = Room::new();
    let ids: Vec<WaiterId> = (0..10_000).map(|i| room.send(&i.to_string(), "BLPOP a b 0").unwrap()).collect();
    for id in ids.iter().step_by(2) {
        room.bench.engine.waiting.remove(*id);
    }
    room.run("RPUSH b x y");
    assert_eq!(room.answers(), ["1: *2 $b $x", "3: *2 $b $y"]);
    assert_eq!(room.bench.engine.waiting.len(), 4998);
}
