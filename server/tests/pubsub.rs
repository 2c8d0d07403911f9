//! Publish and subscribe at the real binary: who gets what, in which order, and what happens to those who do not read.

mod support;

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::time::Instant;
use support::{Connection, PATIENCE, Server, encode};

type Client = Connection<UnixStream>;

fn expect(client: &mut Client, reply: &str) {
    let got = client.take(reply.len());
    assert_eq!(got.escape_ascii().to_string(), reply.as_bytes().escape_ascii().to_string());
}

/// RESP of words, as array or push.
fn words(kind: char, words: &[&str]) -> String {
    let mut text = format!("{kind}{}\r\n", words.len());
    for word in words {
        match word.strip_prefix(':') {
            Some(number) => text.push_str(&format!(":{number}\r\n")),
            None => text.push_str(&format!("${}\r\n{word}\r\n", word.len())),
        }
    }
    text
}

/// A client that speaks RESP3.
fn resp3(server: &Server) -> Client {
    let mut client = server.connect();
    client.send(b"HELLO 3\r\nECHO end\r\n");
    let mut seen = Vec::new();
    while !seen.ends_with(b"$3\r\nend\r\n") {
        seen.extend(client.take(1));
    }
    client
}

#[test]
fn messages_reach_those_who_listen_in_their_protocol() {
    let server = Server::start(&[]);
    let (mut two, mut three, mut publisher) = (server.connect(), resp3(&server), server.connect());
    for (client, kind) in [(&mut two, '*'), (&mut three, '>')] {
        client.send(b"SUBSCRIBE a b\r\nPSUBSCRIBE a*\r\nSSUBSCRIBE a\r\n");
        expect(client, &words(kind, &["subscribe", "a", ":1"]));
        expect(client, &words(kind, &["subscribe", "b", ":2"]));
        expect(client, &words(kind, &["psubscribe", "a*", ":3"]));
        expect(client, &words(kind, &["ssubscribe", "a", ":1"]));
    }
    assert_eq!(publisher.line(b"PUBLISH a one\r\n"), ":4");
    assert_eq!(publisher.line(b"PUBLISH c two\r\n"), ":0");
    assert_eq!(publisher.line(b"SPUBLISH a three\r\n"), ":2");
    for (client, kind) in [(&mut two, '*'), (&mut three, '>')] {
        expect(client, &words(kind, &["message", "a", "one"]));
        expect(client, &words(kind, &["pmessage", "a*", "a", "one"]));
        expect(client, &words(kind, &["smessage", "a", "three"]));
        client.send(b"UNSUBSCRIBE\r\nPUNSUBSCRIBE x a*\r\nSUNSUBSCRIBE\r\nUNSUBSCRIBE\r\nGET k\r\n");
        expect(client, &words(kind, &["unsubscribe", "a", ":2"]));
        expect(client, &words(kind, &["unsubscribe", "b", ":1"]));
        expect(client, &words(kind, &["punsubscribe", "x", ":1"]));
        expect(client, &words(kind, &["punsubscribe", "a*", ":0"]));
        expect(client, &words(kind, &["sunsubscribe", "a", ":0"]));
        let null = if kind == '*' { "$-1\r\n" } else { "_\r\n" };
        expect(client, &format!("{kind}3\r\n$11\r\nunsubscribe\r\n{null}:0\r\n{null}"));
    }
    assert_eq!(publisher.line(b"PUBLISH a four\r\n"), ":0");
    assert_eq!(publisher.line(b"PUBSUB NUMPAT\r\n"), ":0");
}

#[test]
fn a_resp2_client_that_listens_runs_only_what_it_can_tell_from_messages() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send(b"SUBSCRIBE a\r\nGET k\r\nEXEC\r\nPING\r\nPING x\r\nRESET\r\nGET k\r\n");
    expect(&mut client, &words('*', &["subscribe", "a", ":1"]));
    let only = "only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context\r\n";
    expect(&mut client, &format!("-ERR Can't execute 'get': {only}"));
    // An EXEC that cannot run says so, as always.
    expect(&mut client, &format!("-EXECABORT Transaction discarded because of: Can't execute 'exec': {only}"));
    expect(&mut client, &words('*', &["pong", ""]));
    expect(&mut client, &words('*', &["pong", "x"]));
    expect(&mut client, "+RESET\r\n$-1\r\n");
    assert_eq!(server.connect().line(b"PUBLISH a x\r\n"), ":0");
}

#[test]
fn a_clients_own_replies_and_messages_keep_their_order() {
    let server = Server::start(&["--notify-keyspace-events", "KEA"]);
    let mut client = resp3(&server);
    client.send(
        b"SUBSCRIBE c\r\nPUBLISH c 1\r\nPING\r\nPUBLISH c 2\r\nMULTI\r\nPUBLISH c 3\r\nUNSUBSCRIBE c\r\nPUBLISH c 4\r\nEXEC\r\n\
          PSUBSCRIBE __keyevent*\r\nSET k v\r\nDEL k\r\nPING\r\n",
    );
    expect(&mut client, &words('>', &["subscribe", "c", ":1"]));
    expect(&mut client, &format!(":1\r\n{}+PONG\r\n", words('>', &["message", "c", "1"])));
    expect(&mut client, &format!(":1\r\n{}", words('>', &["message", "c", "2"])));
    expect(&mut client, "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n");
    expect(&mut client, &format!("*3\r\n:1\r\n{}:0\r\n", words('>', &["unsubscribe", "c", ":0"])));
    expect(&mut client, &words('>', &["message", "c", "3"]));
    expect(&mut client, &words('>', &["psubscribe", "__keyevent*", ":1"]));
    let event = |name: &str| words('>', &["pmessage", "__keyevent*", &format!("__keyevent@0__:{name}"), "k"]);
    expect(&mut client, &format!("+OK\r\n{}:1\r\n{}+PONG\r\n", event("set"), event("del")));
}

#[test]
fn confirmations_and_messages_are_pushed_whatever_client_reply_says() {
    let server = Server::start(&[]);
    let (mut client, mut publisher) = (resp3(&server), server.connect());
    client.send(b"CLIENT REPLY OFF\r\nSUBSCRIBE a\r\nPING\r\n");
    expect(&mut client, &words('>', &["subscribe", "a", ":1"]));
    assert_eq!(publisher.line(b"PUBLISH a x\r\n"), ":1");
    expect(&mut client, &words('>', &["message", "a", "x"]));
}

#[test]
fn what_a_transaction_tells_comes_in_its_order_and_when_it_is_over() {
    for policy in ["always", "everysec"] {
        let server = Server::start(&["--notify-keyspace-events", "Kg$", "--appendfsync", policy]);
        let (mut listener, mut client) = (server.connect(), server.connect());
        listener.send(b"PSUBSCRIBE *\r\n");
        expect(&mut listener, &words('*', &["psubscribe", "*", ":1"]));
        client.send(b"MULTI\r\nSET k 1\r\nPUBLISH c m\r\nDEL k\r\nEXEC\r\n");
        expect(&mut client, "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n+OK\r\n:1\r\n:1\r\n");
        expect(&mut listener, &words('*', &["pmessage", "*", "__keyspace@0__:k", "set"]));
        expect(&mut listener, &words('*', &["pmessage", "*", "c", "m"]));
        expect(&mut listener, &words('*', &["pmessage", "*", "__keyspace@0__:k", "del"]));
    }
}

#[test]
fn many_threads_publish_and_every_listener_gets_every_message_in_order() {
    let server = Server::start(&["--io-threads", "3"]);
    let mut listeners: Vec<Client> = (0..30).map(|_| server.connect()).collect();
    for listener in &mut listeners {
        listener.send(b"SUBSCRIBE c\r\n");
        expect(listener, &words('*', &["subscribe", "c", ":1"]));
    }
    let publish = |number: usize| {
        let mut client = server.connect();
        let batch: String = (0..1000).map(|n| format!("PUBLISH c {number}-{n}\r\n")).collect();
        client.send(batch.as_bytes());
        expect(&mut client, &":30\r\n".repeat(1000));
    };
    std::thread::scope(|scope| {
        (0..4).for_each(|number| {
            scope.spawn(move || publish(number));
        });
    });
    let head = words('*', &["message", "c"]).replace("*2", "*3");
    for listener in &mut listeners {
        let mut next = [0; 4];
        for _ in 0..4000 {
            expect(listener, &head);
            let text = listener.line(b"");
            assert!(text.starts_with('$'), "{text}");
            let text = listener.line(b"");
            let (from, n) = text.split_once('-').expect("a message");
            let next = &mut next[from.parse::<usize>().expect("a publisher")];
            assert_eq!(*next, n.parse::<i32>().expect("a number"));
            *next += 1;
        }
        assert_eq!(next, [1000; 4]);
    }
}

#[test]
fn who_comes_and_goes_gets_exactly_the_messages_that_were_counted() {
    let server = Server::start(&["--io-threads", "2"]);
    let publish = || {
        let mut client = server.connect();
        let mut told = 0;
        for _ in 0..200 {
            client.send(&b"PUBLISH c x\r\n".repeat(20));
            told += (0..20).map(|_| client.line(b"")[1..].parse::<usize>().expect("a count")).sum::<usize>();
        }
        told
    };
    let listen = || {
        let mut client = server.connect();
        let mut got = 0;
        for round in 0..100 {
            client.send(b"SUBSCRIBE c\r\nUNSUBSCRIBE c\r\nSUBSCRIBE c\r\n");
            client.send(format!("PING {round}\r\nUNSUBSCRIBE c\r\nPING end\r\n").as_bytes());
            loop {
                match client.line(b"").as_str() {
                    "message" => got += 1,
                    "end" => break,
                    // In RESP2 mode without a subscription the reply is no array: both end in the word.
                    _ => {}
                }
            }
        }
        got
    };
    let (told, got) = std::thread::scope(|scope| {
        let publishers: Vec<_> = (0..2).map(|_| scope.spawn(publish)).collect();
        let listeners: Vec<_> = (0..3).map(|_| scope.spawn(listen)).collect();
        let sum = |threads: Vec<std::thread::ScopedJoinHandle<'_, usize>>| -> usize {
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        };
        (sum(publishers), sum(listeners))
    });
    assert_eq!(told, got);
}

#[test]
fn who_does_not_read_is_closed_beyond_the_limit_and_nobody_else_suffers() {
    let server = Server::start(&["--client-output-buffer-limit", "pubsub", "1mb", "0", "0"]);
    let (mut slow, mut well, mut publisher) = (server.connect(), server.connect(), server.connect());
    for client in [&mut slow, &mut well] {
        client.send(b"SUBSCRIBE c\r\n");
        expect(client, &words('*', &["subscribe", "c", ":1"]));
    }
    let message = "x".repeat(100_000);
    let began = Instant::now();
    let mut sent = 0;
    let command = encode(&[b"PUBLISH", b"c", message.as_bytes()]);
    while publisher.line(&command) == ":2" {
        expect(&mut well, &words('*', &["message", "c", &message]));
        sent += 1;
        assert!(began.elapsed() < PATIENCE, "{sent} messages of 100 KB, and the client is still there");
    }
    assert!(sent >= 10, "closed after {sent} messages of 100 KB");
    assert!(server.log().contains("closed for overcoming of output buffer limits"), "{}", server.log());
    let mut rest = Vec::new();
    assert!(slow.stream.read_to_end(&mut rest).is_ok(), "closed");
}

#[test]
fn the_time_of_the_soft_limit_begins_when_client_list_shows_that_omem_is_over_it() {
    let limit = 100_000;
    let server = Server::start(&["--client-output-buffer-limit", "pubsub", "0", &limit.to_string(), "1"]);
    let (mut slow, mut publisher) = (server.connect(), server.connect());
    slow.send(b"SUBSCRIBE c\r\n");
    expect(&mut slow, &words('*', &["subscribe", "c", ":1"]));
    let command = encode(&[b"PUBLISH", b"c", &[b'x'; 1000]]);
    let began = Instant::now();
    let (mut under, mut most) = (began, 0);
    loop {
        let asked = Instant::now();
        publisher.line(&command);
        let len: usize = publisher.line(b"CLIENT LIST TYPE pubsub\r\n")[1..].parse().expect("a length");
        let list = String::from_utf8(publisher.take(len + 2)).expect("text");
        let Some((_, rest)) = list.split_once(" omem=") else { break };
        let shown: usize = rest.split(' ').next().expect("a word").parse().expect("a number");
        most = most.max(shown);
        if shown < limit {
            under = asked;
        }
        assert!(began.elapsed() < PATIENCE, "{shown} wait");
    }
    let waited = under.elapsed();
    assert!(most >= limit && waited.as_millis() >= 1000, "closed after {waited:?} with at most {most} shown");
}

#[test]
fn the_dead_listen_no_more() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send(b"SUBSCRIBE a b\r\nPSUBSCRIBE p\r\n");
    expect(&mut client, &words('*', &["subscribe", "a", ":1"]));
    drop(client);
    let (mut admin, began) = (server.connect(), Instant::now());
    while admin.line(b"PUBSUB NUMPAT\r\n") != ":0" {
        assert!(began.elapsed() < PATIENCE, "it is still there");
    }
    assert_eq!(admin.ask(b"PUBSUB CHANNELS\r\n", 4), b"*0\r\n");
    assert_eq!(admin.line(b"PUBLISH a x\r\n"), ":0");
    server.is_well();
}

#[test]
fn deaths_of_keys_are_told_without_anybody_asking() {
    let server = Server::start(&["--notify-keyspace-events", "Ex"]);
    let (mut listener, mut client) = (server.connect(), server.connect());
    listener.send(b"PSUBSCRIBE *\r\n");
    expect(&mut listener, &words('*', &["psubscribe", "*", ":1"]));
    assert_eq!(client.line(b"SET k v PX 10\r\n"), "+OK");
    expect(&mut listener, &words('*', &["pmessage", "*", "__keyevent@0__:expired", "k"]));
}

#[test]
fn who_has_stopped_listening_before_a_message_comes_does_not_get_it() {
    let server = Server::start(&[]);
    let (mut client, mut publisher) = (server.connect(), server.connect());
    assert_eq!(publisher.line(b"PUBLISH a x\r\n"), ":0");
    // What all three send is there when the server looks again: it must serve it in the order in which it came.
    server.pause();
    client.send(b"SUBSCRIBE a\r\nSUBSCRIBE b\r\nUNSUBSCRIBE\r\n");
    publisher.send(b"PUBLISH a x\r\nPUBLISH b x\r\n");
    server.go_on();
    assert_eq!(publisher.line(b""), ":0");
    assert_eq!(publisher.line(b""), ":0");
}

#[test]
fn a_client_that_goes_while_its_script_runs_listens_no_more() {
    let server = Server::start(&["--busy-reply-threshold", "20"]);
    let (mut client, mut admin) = (resp3(&server), server.connect());
    client.send(b"CLIENT TRACKING ON\r\nSUBSCRIBE a\r\n");
    expect(&mut client, &format!("+OK\r\n{}", words('>', &["subscribe", "a", ":1"])));
    assert_eq!(admin.line(b"PUBSUB NUMPAT\r\n"), ":0");
    client.send(&encode(&[b"EVAL", b"while true do end", b"0"]));
    let began = Instant::now();
    while !admin.line(b"GET k\r\n").starts_with("-BUSY") {
        assert!(began.elapsed() < PATIENCE, "the script does not take long");
    }
    drop(client);
    assert_eq!(admin.line(b"SCRIPT KILL\r\n"), "+OK");
    while admin.line(b"PUBLISH a x\r\n") != ":0" {
        assert!(began.elapsed() < PATIENCE, "it is still there");
    }
    admin.send(b"INFO clients\r\n");
    let mut info = String::new();
    while !info.contains("tracking_clients:") {
        info = admin.line(b"");
    }
    assert_eq!(info, "tracking_clients:0");
}

#[test]
fn a_half_sent_command_says_nothing_of_how_long_mail_has_waited() {
    // A soft limit that is passed, for far longer than the test takes.
    let server = Server::start(&["--client-output-buffer-limit", "pubsub", "0", "100kb", "1000"]);
    let (mut slow, mut publisher) = (server.connect(), server.connect());
    slow.send(b"SUBSCRIBE c\r\n");
    expect(&mut slow, &words('*', &["subscribe", "c", ":1"]));
    // Time passes between its last command and its mail.
    std::thread::sleep(std::time::Duration::from_millis(20));
    let message = "x".repeat(1_000_000);
    assert_eq!(publisher.line(&encode(&[b"PUBLISH", b"c", message.as_bytes()])), ":1");
    for part in [b"*1\r\n".as_slice(), b"$4\r\n", b"PI"] {
        slow.send(part);
        server.is_well();
    }
    expect(&mut slow, &words('*', &["message", "c", &message]));
    slow.send(b"NG\r\n");
    expect(&mut slow, "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
}

/// Publishers, messages of each, and subscribers of [`every_subscriber_gets_every_message_in_order`].
const PUBLISHERS: usize = 4;
const MESSAGES: usize = 2000;
const SUBSCRIBERS: usize = 100;

/// Publishes numbered messages 16 deep; each reaches all subscribers.
fn publish_numbered(client: &mut Client, publisher: usize) {
    const DEPTH: usize = 16;
    for first in (0..MESSAGES).step_by(DEPTH) {
        let mut batch = Vec::new();
        for number in first..first + DEPTH {
            batch.extend(encode(&[b"PUBLISH", b"c", format!("{publisher} {number:060}").as_bytes()]));
        }
        client.send(&batch);
        for _ in 0..DEPTH {
            assert_eq!(client.line(b""), format!(":{SUBSCRIBERS}"));
        }
    }
}

/// Reads a subscriber's messages, and which number of each publisher it expects next.
struct Subscriber {
    stream: UnixStream,
    rest: Vec<u8>,
    next: [usize; PUBLISHERS],
}

impl Subscriber {
    fn is_done(&self) -> bool {
        self.next == [MESSAGES; PUBLISHERS]
    }

    /// Takes what has arrived.
    fn read(&mut self, number: usize) {
        let mut chunk = [0; 65536];
        match self.stream.read(&mut chunk) {
            Ok(n) => {
                assert!(n > 0, "subscriber {number} was closed at {:?}", self.next);
                self.rest.extend_from_slice(&chunk[..n]);
            }
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
        let shape = words('*', &["message", "c", &"x".repeat(62)]);
        let mut messages = self.rest.chunks_exact(shape.len());
        for message in &mut messages {
            let text = &message[shape.len() - 64..shape.len() - 2];
            let (publisher, got) = (usize::from(text[0] - b'0'), std::str::from_utf8(&text[2..]).expect("digits"));
            let wanted = &mut self.next[publisher];
            assert_eq!(got.parse(), Ok(*wanted), "subscriber {number}, publisher {publisher}");
            *wanted += 1;
        }
        self.rest = messages.remainder().to_vec();
    }
}

#[test]
fn every_subscriber_gets_every_message_in_order() {
    for threads in ["1", "2"] {
        let server = Server::start(&["--io-threads", threads]);
        let mut subscribers: Vec<Subscriber> = (0..SUBSCRIBERS)
            .map(|_| {
                let mut client = server.connect();
                client.send(b"SUBSCRIBE c\r\n");
                expect(&mut client, &words('*', &["subscribe", "c", ":1"]));
                client.stream.set_nonblocking(true).expect("set");
                Subscriber { stream: client.stream, rest: Vec::new(), next: [0; PUBLISHERS] }
            })
            .collect();
        std::thread::scope(|scope| {
            for publisher in 0..PUBLISHERS {
                let mut client = server.connect();
                scope.spawn(move || publish_numbered(&mut client, publisher));
            }
            // They are read in turns, so that what is sent to each fills its socket again and again.
            let mut progressed = Instant::now();
            while !subscribers.iter().all(Subscriber::is_done) {
                let mut any = false;
                for (number, subscriber) in subscribers.iter_mut().enumerate() {
                    let before = subscriber.next;
                    subscriber.read(number);
                    any |= subscriber.next != before;
                }
                if any {
                    progressed = Instant::now();
                }
                let next = || subscribers.iter().map(|subscriber| subscriber.next).collect::<Vec<_>>();
                assert!(progressed.elapsed() < PATIENCE, "with {threads} threads messages were lost: {:?}", next());
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        assert!(subscribers.iter().all(|subscriber| subscriber.rest.is_empty()), "nothing but the messages");
    }
}
