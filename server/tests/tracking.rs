//! Client-side caching at the real binary: who is told of which change, in which order and protocol.

mod support;

use std::os::unix::net::UnixStream;
use std::time::Instant;
use support::{Connection, PATIENCE, Server};

type Client = Connection<UnixStream>;

fn expect(client: &mut Client, reply: &str) {
    let got = client.take(reply.len());
    assert_eq!(got.escape_ascii().to_string(), reply.as_bytes().escape_ascii().to_string());
}

/// What a RESP3 client is told when `keys` have changed.
fn invalid(keys: &[&str]) -> String {
    let mut text = format!(">2\r\n$10\r\ninvalidate\r\n*{}\r\n", keys.len());
    keys.iter().for_each(|key| text.push_str(&format!("${}\r\n{key}\r\n", key.len())));
    text
}

/// A client that speaks RESP3 and tracks.
fn tracker(server: &Server, options: &str) -> Client {
    let mut client = server.connect();
    client.send(format!("HELLO 3\r\nCLIENT TRACKING ON {options}\r\nECHO end\r\n").as_bytes());
    let mut seen = Vec::new();
    while !seen.ends_with(b"+OK\r\n$3\r\nend\r\n") {
        seen.extend(client.take(1));
    }
    client
}

#[test]
fn who_has_read_a_key_is_told_once_of_its_change() {
    let server = Server::start(&[]);
    let (mut reader, mut writer) = (tracker(&server, ""), server.connect());
    reader.send(b"GET a\r\nMGET b c\r\nEXISTS d\r\nSET e 1\r\n");
    expect(&mut reader, "_\r\n*2\r\n_\r\n_\r\n:0\r\n+OK\r\n");
    for command in ["SET a 1", "SET a 2", "SET c 1", "SET d 1", "SET e 2", "SET f 1"] {
        assert_eq!(writer.line(format!("{command}\r\n").as_bytes()), "+OK");
    }
    reader.send(b"PING\r\n");
    expect(&mut reader, &format!("{}{}{}+PONG\r\n", invalid(&["a"]), invalid(&["c"]), invalid(&["d"])));
}

#[test]
fn ones_own_changes_are_told_behind_the_reply_unless_one_does_not_want_to_hear() {
    let server = Server::start(&[]);
    let mut client = tracker(&server, "");
    client.send(b"GET a\r\nSET a 1\r\nGET a\r\nMULTI\r\nSET a 2\r\nGET a\r\nEXEC\r\nPING\r\n");
    expect(&mut client, &format!("_\r\n+OK\r\n{}$1\r\n1\r\n", invalid(&["a"])));
    expect(&mut client, &format!("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n$1\r\n2\r\n{}+PONG\r\n", invalid(&["a"])));
    let (mut quiet, mut writer) = (tracker(&server, "NOLOOP"), server.connect());
    quiet.send(b"GET a\r\nSET a 3\r\nGET a\r\n");
    expect(&mut quiet, "$1\r\n2\r\n+OK\r\n$1\r\n3\r\n");
    assert_eq!(writer.line(b"DEL a\r\n"), ":1");
    expect(&mut quiet, &invalid(&["a"]));
}

#[test]
fn prefixes_are_told_of_all_changes_of_a_batch_at_once() {
    let server = Server::start(&[]);
    let (mut all, mut some) = (tracker(&server, "BCAST"), tracker(&server, "BCAST PREFIX a: PREFIX b:"));
    let mut writer = server.connect();
    writer.send(b"SET a:2 1\r\nSET a:1 1\r\nSET c 1\r\nDEL a:2\r\nSET b:1 1\r\n");
    expect(&mut writer, "+OK\r\n+OK\r\n+OK\r\n:1\r\n+OK\r\n");
    expect(&mut all, &invalid(&["a:1", "a:2", "b:1", "c"]));
    expect(&mut some, &format!("{}{}", invalid(&["a:1", "a:2"]), invalid(&["b:1"])));
    let overlap = some.line(b"CLIENT TRACKING ON BCAST PREFIX a:b\r\n");
    assert!(overlap.starts_with("-ERR Prefix 'a:b' overlaps with an existing prefix 'a:'."), "{overlap}");
}

#[test]
fn a_resp2_client_is_told_through_another_and_knows_when_that_has_gone() {
    let server = Server::start(&[]);
    let (mut ear, mut reader, mut writer) = (server.connect(), server.connect(), server.connect());
    let id = ear.line(b"CLIENT ID\r\n")[1..].to_owned();
    ear.send(b"SUBSCRIBE __redis__:invalidate\r\n");
    expect(&mut ear, "*3\r\n$9\r\nsubscribe\r\n$20\r\n__redis__:invalidate\r\n:1\r\n");
    assert_eq!(reader.line(format!("CLIENT TRACKING ON REDIRECT {id}\r\n").as_bytes()), "+OK");
    assert_eq!(reader.line(b"CLIENT GETREDIR\r\n"), format!(":{id}"));
    assert_eq!(reader.line(b"GET a\r\n"), "$-1");
    assert_eq!(writer.line(b"SET a 1\r\n"), "+OK");
    expect(&mut ear, "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*1\r\n$1\r\na\r\n");
    assert_eq!(writer.line(b"FLUSHALL\r\n"), "+OK");
    expect(&mut ear, "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n$-1\r\n");
    drop(ear);
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < PATIENCE, "the redirection is not seen to be broken");
        assert_eq!(reader.line(b"GET a\r\n"), "$-1");
        assert_eq!(writer.line(b"SET a 1\r\n"), "+OK");
        assert_eq!(writer.line(b"DEL a\r\n"), ":1");
        writer.send(b"CLIENT LIST\r\n");
        let len: usize = writer.line(b"")[1..].parse().expect("a length");
        let list = String::from_utf8(writer.take(len + 2)).expect("text");
        if list.contains(" flags=tRU ") {
            return;
        }
    }
}

#[test]
fn opting_in_and_out_holds_for_one_command_or_transaction() {
    let server = Server::start(&[]);
    let (mut inn, mut out, mut writer) = (tracker(&server, "OPTIN"), tracker(&server, "OPTOUT"), server.connect());
    inn.send(b"GET a\r\nCLIENT CACHING YES\r\nGET b\r\nGET c\r\nCLIENT CACHING YES\r\nMULTI\r\nGET d\r\nGET e\r\nEXEC\r\nGET f\r\n");
    expect(&mut inn, "_\r\n+OK\r\n_\r\n_\r\n+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n_\r\n_\r\n_\r\n");
    out.send(b"GET a\r\nCLIENT CACHING NO\r\nGET b\r\nGET c\r\n");
    expect(&mut out, "_\r\n+OK\r\n_\r\n_\r\n");
    assert_eq!(writer.line(b"MSET a 1 b 1 c 1 d 1 e 1 f 1\r\n"), "+OK");
    expect(&mut inn, &format!("{}{}{}", invalid(&["b"]), invalid(&["d"]), invalid(&["e"])));
    expect(&mut out, &format!("{}{}", invalid(&["a"]), invalid(&["c"])));
}

#[test]
fn a_full_table_forgets_keys_and_says_so() {
    let server = Server::start(&["--tracking-table-max-keys", "10"]);
    let mut client = tracker(&server, "");
    client.send((0..100).map(|n| format!("GET {n:02}\r\n")).collect::<String>().as_bytes());
    let mut told = 0;
    for _ in 0..190 {
        // 100 nulls, and in between 90 invalidations of five lines.
        match client.line(b"").as_str() {
            "_" => {}
            ">2" => {
                told += 1;
                (0..5).for_each(|_| drop(client.line(b"")));
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!(told, 90);
    assert_eq!(client.line(b"PING\r\n"), "+PONG");
}

#[test]
fn keys_that_die_are_told_with_threads_and_without_anybody_asking() {
    let server = Server::start(&["--io-threads", "2"]);
    let (mut one, mut other) = (tracker(&server, ""), tracker(&server, ""));
    let mut writer = server.connect();
    for ms in [500, 5_000, 50_000] {
        assert_eq!(writer.line(format!("SET a 1 PX {ms}\r\n").as_bytes()), "+OK");
        // A slow machine may come too late to see the key alive.
        let alive = [&mut one, &mut other].map(|client| client.line(b"EXISTS a\r\n") == ":1");
        if alive == [true, true] {
            break;
        }
        assert_eq!(writer.line(b"FLUSHALL\r\n"), "+OK");
        for client in [&mut one, &mut other] {
            while client.line(b"PING\r\n") != "+PONG" {}
        }
    }
    for client in [&mut one, &mut other] {
        expect(client, &invalid(&["a"]));
    }
}

#[test]
fn who_has_waited_gets_the_reply_before_what_it_has_changed_is_told() {
    let server = Server::start(&[]);
    let (mut waiting, mut pusher) = (tracker(&server, ""), tracker(&server, ""));
    waiting.send(b"LRANGE target 0 -1\r\nBLMOVE source target LEFT LEFT 0\r\n");
    expect(&mut waiting, "*0\r\n");
    pusher.send(b"LRANGE source 0 -1\r\nRPUSH source a\r\nPING\r\n");
    expect(&mut waiting, &format!("$1\r\na\r\n{}", invalid(&["target"])));
    let told = invalid(&["source"]);
    expect(&mut pusher, &format!("*0\r\n:1\r\n{told}+PONG\r\n"));
}
