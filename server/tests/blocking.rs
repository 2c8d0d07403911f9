//! Clients that wait, at the real binary: service, timeouts, CLIENT UNBLOCK, the dead, pipelines, promises.

mod support;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;
use support::{Connection, PATIENCE, Server, encode};

type Client = Connection<UnixStream>;

/// Waits until INFO counts so many blocked clients: then their commands have arrived.
fn until_blocked(server: &Server, count: usize) {
    let mut admin = server.connect();
    let began = Instant::now();
    loop {
        let len: usize = admin.line(b"INFO clients\r\n")[1..].parse().expect("a length");
        let text = String::from_utf8(admin.take(len + 2)).expect("text");
        if text.contains(&format!("blocked_clients:{count}\r\n")) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "not {count} blocked: {text}");
    }
}

/// A field of INFO.
fn info(admin: &mut Client, name: &str) -> String {
    let len: usize = admin.line(b"INFO\r\n")[1..].parse().expect("a length");
    let text = String::from_utf8(admin.take(len + 2)).expect("text");
    let field = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::to_owned));
    field.expect("the field is there")
}

/// A client whose command waits; it is the only one, or the `count`th.
fn blocked(server: &Server, count: usize, line: &[u8]) -> Client {
    let mut client = server.connect();
    client.send(line);
    until_blocked(server, count);
    client
}

fn expect<S: Read + Write>(client: &mut Connection<S>, reply: &[u8]) {
    let got = client.take(reply.len());
    assert_eq!(got.escape_ascii().to_string(), reply.escape_ascii().to_string());
}

#[test]
fn clients_are_served_in_the_order_in_which_they_came() {
    let server = Server::start(&[]);
    let mut clients: Vec<Client> = (1..=5).map(|n| blocked(&server, n, b"BLPOP a b 0\r\n")).collect();
    let mut pusher = server.connect();
    assert_eq!(pusher.line(b"RPUSH b 1 2 3\r\n"), ":3");
    assert_eq!(pusher.line(b"RPUSH a 4 5 6\r\n"), ":3");
    for (client, (key, n)) in clients.iter_mut().zip([("b", 1), ("b", 2), ("b", 3), ("a", 4), ("a", 5)]) {
        expect(client, format!("*2\r\n$1\r\n{key}\r\n$1\r\n{n}\r\n").as_bytes());
    }
    assert_eq!(pusher.line(b"LLEN a\r\n"), ":1");
    until_blocked(&server, 0);
}

#[test]
fn one_pipeline_pushes_and_waits_and_later_commands_wait_with_it() {
    let server = Server::start(&[]);
    let mut client = blocked(&server, 1, b"SET k 1\r\nBLPOP a 0\r\nGET k\r\nBLPOP a 0\r\nINCR k\r\n");
    expect(&mut client, b"+OK\r\n");
    let mut pusher = server.connect();
    assert_eq!(pusher.line(b"SET k 2\r\n"), "+OK");
    assert_eq!(pusher.line(b"RPUSH a x\r\n"), ":1");
    expect(&mut client, b"*2\r\n$1\r\na\r\n$1\r\nx\r\n$1\r\n2\r\n");
    until_blocked(&server, 1);
    assert_eq!(pusher.line(b"LPUSH a y\r\n"), ":1");
    expect(&mut client, b"*2\r\n$1\r\na\r\n$1\r\ny\r\n:3\r\n");
}

#[test]
fn more_of_the_pipeline_may_arrive_while_the_client_waits() {
    let server = Server::start(&[]);
    let mut client = blocked(&server, 1, b"BLPOP a 0\r\n");
    client.send(&b"INCR n\r\n".repeat(1000));
    let mut pusher = server.connect();
    assert_eq!(pusher.line(b"EXISTS n\r\n"), ":0");
    assert_eq!(pusher.line(b"RPUSH a x\r\n"), ":1");
    expect(&mut client, b"*2\r\n$1\r\na\r\n$1\r\nx\r\n");
    for n in 1..=1000 {
        expect(&mut client, format!(":{n}\r\n").as_bytes());
    }
}

/// Over TCP: a unix socket is also told of its peer's reading, which hides that nobody asks it for what had arrived before.
#[test]
fn what_arrives_while_a_client_waits_is_read_afterwards_over_tcp() {
    let server = Server::start_tcp(&[]);
    let mut pusher = server.connect();
    // Behind the command in the same buffer, more than that buffer takes, and after both.
    for (behind, later) in [(0, 1), (1, 1), (100, 30_000), (30_000, 0), (30_000, 10)] {
        let mut client = server.connect_tcp();
        client.send(&[b"DEL n\r\nBLPOP a 0\r\n".to_vec(), b"INCR n\r\n".repeat(behind)].concat());
        assert!([":0", ":1"].contains(&&*client.line(b"")));
        until_blocked(&server, 1);
        client.send(&b"INCR n\r\n".repeat(later));
        assert_eq!(pusher.line(b"SET n 0\r\n"), "+OK");
        assert_eq!(pusher.line(b"RPUSH a x\r\n"), ":1");
        expect(&mut client, b"*2\r\n$1\r\na\r\n$1\r\nx\r\n");
        for n in 1..=behind + later {
            expect(&mut client, format!(":{n}\r\n").as_bytes());
        }
    }
}

#[test]
fn time_is_up_with_a_null_array_in_either_protocol() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for line in
        ["BLPOP a 0.01", "BRPOP a 0.001", "BLMPOP 0.01 1 a LEFT", "BLMOVE a b LEFT LEFT 0.01", "BRPOPLPUSH a b 0.01"]
    {
        assert_eq!(client.line(format!("{line}\r\n").as_bytes()), "*-1", "{line}");
    }
    client.line(b"HELLO 3\r\n");
    let mut client3 = server.connect();
    client3.send(b"HELLO 3\r\nPING\r\n");
    while client3.line(b"") != "+PONG" {}
    assert_eq!(client3.line(b"BLPOP a 0.01\r\n"), "_");
    until_blocked(&server, 0);
}

#[test]
fn the_dead_are_given_nothing() {
    let server = Server::start(&[]);
    let dead = blocked(&server, 1, b"BLPOP a 0\r\n");
    let busy = blocked(&server, 2, b"BLPOP a 0\r\nPING\r\nPING\r\n");
    let mut alive = blocked(&server, 3, b"BLPOP a 0\r\n");
    drop(dead);
    until_blocked(&server, 2);
    drop(busy); // It has sent more, which nobody has read.
    until_blocked(&server, 1);
    let mut pusher = server.connect();
    assert_eq!(pusher.line(b"RPUSH a x\r\n"), ":1");
    expect(&mut alive, b"*2\r\n$1\r\na\r\n$1\r\nx\r\n");
}

#[test]
fn requests_behind_a_wait_do_not_hide_that_the_client_has_gone() {
    let server = Server::start(&[]);
    let mut client = blocked(&server, 1, b"BLPOP a 0\r\n");
    client.send(b"PING\r\n");
    client.stream.flush().expect("sent");
    server.is_well();
    client.stream.shutdown(std::net::Shutdown::Write).expect("closed");
    until_blocked(&server, 0);
}

#[test]
fn client_unblock_ends_a_wait_as_a_timeout_or_an_error() {
    let server = Server::start(&[]);
    let mut admin = server.connect();
    let mut client = server.connect();
    let id = client.line(b"CLIENT ID\r\n")[1..].to_owned();
    for (reason, reply) in
        [("", "*-1"), (" TIMEOUT", "*-1"), (" error", "-UNBLOCKED client unblocked via CLIENT UNBLOCK")]
    {
        client.send(b"BLPOP a 0\r\n");
        until_blocked(&server, 1);
        assert_eq!(admin.line(format!("CLIENT UNBLOCK {id}{reason}\r\n").as_bytes()), ":1");
        assert_eq!(client.line(b""), reply);
    }
    assert_eq!(admin.line(format!("CLIENT UNBLOCK {id}\r\n").as_bytes()), ":0", "it does not wait");
    assert_eq!(admin.line(b"CLIENT UNBLOCK 999999\r\n"), ":0");
    assert_eq!(admin.line(b"CLIENT UNBLOCK x\r\n"), "-ERR value is not an integer or out of range");
    let reason = "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR";
    assert_eq!(admin.line(format!("CLIENT UNBLOCK {id} later\r\n").as_bytes()), reason);
    assert_eq!(admin.line(b"RPUSH a x\r\n"), ":1");
    assert_eq!(admin.line(b"LLEN a\r\n"), ":1", "nobody waits any more");
    assert_eq!(client.line(b"PING\r\n"), "+PONG");
}

#[test]
fn client_unblock_ends_waits_for_replicas() {
    let server = Server::start(&[]);
    let mut admin = server.connect();
    let mut client = server.connect();
    let id = client.line(b"CLIENT ID\r\n")[1..].to_owned();
    for (command, reply) in [("WAIT 1 0", ":0\r\n"), ("WAITAOF 1 1 0", "*2\r\n:1\r\n:0\r\n")] {
        let unblocked = "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n";
        for (reason, reply) in [("", reply), (" timeout", reply), (" ERROR", unblocked)] {
            client.send(format!("{command}\r\n").as_bytes());
            until_blocked(&server, 1);
            // The flush that WAITAOF asks for.
            while command == "WAITAOF 1 1 0" && info(&mut admin, "durable_lsn") != info(&mut admin, "last_lsn") {}
            assert_eq!(admin.line(format!("CLIENT UNBLOCK {id}{reason}\r\n").as_bytes()), ":1", "{command}{reason}");
            expect(&mut client, reply.as_bytes());
        }
        until_blocked(&server, 0);
        assert_eq!(admin.line(format!("CLIENT UNBLOCK {id}\r\n").as_bytes()), ":0", "it does not wait");
        assert_eq!(client.line(b"PING\r\n"), "+PONG");
        client.send(format!("{} 20\r\n", command.strip_suffix(" 0").expect("for ever")).as_bytes());
        expect(&mut client, reply.as_bytes());
        assert_eq!(admin.line(format!("CLIENT UNBLOCK {id}\r\n").as_bytes()), ":0", "its time was up");
    }
    client.send(b"WAIT 1 0\r\n");
    until_blocked(&server, 1);
    drop(client);
    until_blocked(&server, 0);
}

#[test]
fn waits_for_replicas_do_not_let_transactions_and_scripts_go() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send(b"MULTI\r\nSET a 1\r\nWAITAOF 1 1 0\r\nWAIT 1 0\r\nINCR a\r\nEXEC\r\n");
    expect(&mut client, b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*4\r\n+OK\r\n*2\r\n");
    assert!([":0", ":1"].contains(&&*client.line(b"")), "the disk may have everything before the transaction, or not");
    expect(&mut client, b":0\r\n:0\r\n:2\r\n");
    let script = "return redis.call('WAITAOF', 1, 1, 0)[2] + redis.call('WAIT', 1, 0) + redis.call('INCR', 'a')";
    assert_eq!(client.line(&encode(&[b"EVAL", script.as_bytes(), b"0"])), ":3");
    server.is_well();
}

#[test]
fn client_kill_ends_the_wait_of_the_killed() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let id = client.line(b"CLIENT ID\r\n")[1..].to_owned();
    client.send(b"BLPOP a 0\r\n");
    until_blocked(&server, 1);
    let mut admin = server.connect();
    assert_eq!(admin.line(format!("CLIENT KILL ID {id}\r\n").as_bytes()), ":1");
    assert_eq!(client.until_closed(), b"");
    until_blocked(&server, 0);
    assert_eq!(admin.line(b"RPUSH a x\r\n"), ":1");
    assert_eq!(admin.line(b"LLEN a\r\n"), ":1");
}

#[test]
fn client_list_shows_who_waits() {
    let server = Server::start(&[]);
    let _client = blocked(&server, 1, b"BLPOP a b 0\r\n");
    let mut admin = server.connect();
    let len: usize = admin.line(b"CLIENT LIST\r\n")[1..].parse().expect("a length");
    let text = String::from_utf8(admin.take(len + 2)).expect("text");
    let line = text.lines().find(|line| line.contains("cmd=blpop")).expect("the client is listed");
    assert!(line.contains(" flags=bU "), "{line}");
    let len: usize = admin.line(b"INFO clients\r\n")[1..].parse().expect("a length");
    let text = String::from_utf8(admin.take(len + 2)).expect("text");
    assert!(text.contains("total_blocking_keys:2\r\n"), "{text}");
}

#[test]
fn a_reply_that_is_not_wanted_is_not_sent_after_a_wait_either() {
    let server = Server::start(&[]);
    let mut client = blocked(&server, 1, b"CLIENT REPLY SKIP\r\nBLPOP a 0\r\nPING\r\n");
    let mut pusher = server.connect();
    assert_eq!(pusher.line(b"RPUSH a x\r\n"), ":1");
    assert_eq!(client.line(b""), "+PONG");
}

/// A digest as a bulk string.
const DIGEST_LEN: usize = "$40\r\n".len() + 40 + 2;

#[test]
fn what_was_given_to_one_who_waited_is_in_the_log() {
    let server = Server::start(&["--appendfsync", "always", "--enable-debug-command", "yes"]);
    let mut client = blocked(&server, 1, b"BLMOVE a b LEFT LEFT 0\r\n");
    let mut other = blocked(&server, 2, b"BLPOP b 0\r\n");
    let mut pusher = server.connect();
    assert_eq!(pusher.line(b"RPUSH a x y\r\n"), ":2");
    expect(&mut client, b"$1\r\nx\r\n");
    expect(&mut other, b"*2\r\n$1\r\nb\r\n$1\r\nx\r\n");
    let digest = pusher.ask(b"DEBUG DIGEST\r\n", DIGEST_LEN);
    assert_eq!(pusher.line(b"DEBUG LOADAOF\r\n"), "+OK");
    assert_eq!(pusher.ask(b"DEBUG DIGEST\r\n", DIGEST_LEN), digest);
    assert_eq!(pusher.line(b"LLEN a\r\n"), ":1");
    assert_eq!(pusher.line(b"EXISTS b\r\n"), ":0");
}

#[test]
fn many_threads_and_many_clients_lose_no_element_and_give_none_twice() {
    let server = Server::start(&["--io-threads", "3"]);
    let mut waiting: Vec<Client> = (0..50).map(|_| server.connect()).collect();
    waiting.iter_mut().for_each(|client| client.send(b"BLPOP q 0\r\nBLPOP q 0\r\n"));
    let mut pusher = server.connect();
    for n in 100..200 {
        pusher.send(format!("RPUSH q {n}\r\n").as_bytes());
    }
    let mut got: Vec<String> = Vec::new();
    for client in &mut waiting {
        for _ in 0..2 {
            let reply = client.take(b"*2\r\n$1\r\nq\r\n$3\r\n100\r\n".len());
            got.push(String::from_utf8_lossy(&reply[reply.len() - 5..reply.len() - 2]).into_owned());
        }
    }
    got.sort();
    assert_eq!(got, (100..200).map(|n| n.to_string()).collect::<Vec<_>>());
    until_blocked(&server, 0);
}

#[test]
fn an_error_that_ends_a_wait_is_counted_with_its_command() {
    let server = Server::start(&[]);
    let mut admin = server.connect();
    assert_eq!(admin.line(b"XGROUP CREATE x g $ MKSTREAM\r\n"), "+OK");
    let mut client = blocked(&server, 1, b"XREADGROUP GROUP g c BLOCK 0 STREAMS x >\r\n");
    assert_eq!(admin.line(b"XGROUP DESTROY x g\r\n"), ":1");
    assert!(client.line(b"").starts_with("-NOGROUP"));
    let len: usize = admin.line(b"INFO commandstats\r\n")[1..].parse().expect("a length");
    let text = String::from_utf8(admin.take(len + 2)).expect("text");
    let stats = text.lines().find(|line| line.starts_with("cmdstat_xreadgroup:")).expect("it was called");
    assert!(stats.contains("calls=1,") && stats.ends_with("failed_calls=1"), "{stats}");
}

#[test]
fn a_server_with_waiting_clients_shuts_down() {
    let mut server = Server::start(&[]);
    let mut client = blocked(&server, 1, b"BLPOP a 0\r\n");
    let mut admin = server.connect();
    admin.send(b"SHUTDOWN\r\n");
    assert_eq!(client.until_closed(), b"");
    assert!(server.child.wait().expect("a child").success());
}
