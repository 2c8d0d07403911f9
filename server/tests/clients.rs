//! Clients at the real binary: CLIENT LIST and KILL, pauses, and who is closed when clients take too much memory.

mod support;

use std::os::unix::net::UnixStream;
use support::{Connection, PATIENCE, Server, encode};

type Client = Connection<UnixStream>;

fn say(client: &mut Client, command: &str) -> String {
    client.line(format!("{command}\r\n").as_bytes())
}

/// A bulk string.
fn bulk(client: &mut Client, command: &str) -> String {
    let head = say(client, command);
    let len: usize = head.trim_start_matches(['$', '=']).parse().unwrap_or_else(|_| panic!("{head}"));
    let bytes = client.take(len + 2);
    String::from_utf8_lossy(&bytes[..len]).into_owned()
}

/// A client with a name.
fn named(server: &Server, name: &str) -> Client {
    let mut client = server.connect();
    assert_eq!(say(&mut client, &format!("CLIENT SETNAME {name}")), "+OK");
    client
}

/// The names that CLIENT LIST shows with these filters.
fn list(client: &mut Client, filters: &str) -> Vec<String> {
    let text = bulk(client, &format!("CLIENT LIST {filters}"));
    let name = |line: &str| {
        let at = line.find(" name=").expect("a name") + 6;
        line[at..].split(' ').next().unwrap_or_default().to_owned()
    };
    let mut names: Vec<_> = text.lines().map(name).collect();
    names.sort();
    names
}

/// Waits until `holds`.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what} does not come true");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

#[test]
fn list_shows_what_of_a_command_is_understood_and_what_is_not() {
    let server = Server::start(&[]);
    let mut me = named(&server, "me");
    let mut other = named(&server, "other");
    let field = |line: &str, name: &str| -> usize {
        let value = line.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_else(|| panic!("no {name} in {line}")).parse().expect("a number")
    };
    let mut line = |wanted: usize| {
        let mut line = String::new();
        until("that much has arrived", || {
            let text = bulk(&mut me, "CLIENT LIST");
            line = text.lines().find(|line| line.contains(" name=other ")).expect("it is there").to_owned();
            field(&line, "qbuf") == wanted
        });
        ["argv-mem", "qbuf-free", "tot-mem"].map(|name| field(&line, name))
    };
    let idle = line(0);
    assert_eq!(idle[..2], [0, 0], "no buffer of its own");
    // Two words, and some of a third: there is room for the whole of it, and for no more, once half of it has come.
    other.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$300000\r\n");
    other.send(&[b'v'; 200_000]);
    let [words, free, total] = line(200_000);
    assert_eq!((words, free), (4, 100_002));
    assert!(total >= idle[2] + 300_000 && total < idle[2] + 301_000, "{total}");
    other.send(&[b'v'; 100_000]);
    assert_eq!(other.line(b"\r\n"), "+OK");
    assert_eq!(line(0), idle, "given back");
}

#[test]
fn list_shows_the_clients_that_pass_every_filter() {
    let server = Server::start(&[]);
    let mut me = named(&server, "me");
    assert_eq!(say(&mut me, "ACL SETUSER u on nopass +@all ~* &*"), "+OK");
    let mut a = named(&server, "a");
    let mut b = named(&server, "b");
    assert_eq!(say(&mut a, "SELECT 3"), "+OK");
    assert_eq!(say(&mut a, "CLIENT SETINFO lib-name redis-py"), "+OK");
    assert_eq!(say(&mut a, "CLIENT SETINFO lib-ver 1.2"), "+OK");
    assert_eq!(say(&mut b, "AUTH u x"), "+OK");
    assert_eq!(say(&mut b, "SUBSCRIBE c"), "*3");
    let id = say(&mut a, "CLIENT ID").trim_start_matches(':').to_owned();
    for (filters, names) in [
        ("", &["a", "b", "me"][..]),
        ("SKIPME yes", &["a", "b"]),
        ("TYPE normal", &["a", "me"]),
        ("TYPE pubsub", &["b"]),
        ("NOT-TYPE normal", &["b"]),
        ("TYPE replica", &[]),
        (&format!("ID {id} 999 TYPE normal"), &["a"]),
        (&format!("NOT-ID {id} SKIPME yes"), &["b"]),
        ("USER u", &["b"]),
        ("NOT-USER u", &["a", "me"]),
        ("NAME a", &["a"]),
        ("NOT-NAME a DB 0", &["b", "me"]),
        ("DB 3", &["a"]),
        ("LIB-NAME redis-py LIB-VER 1.2", &["a"]),
        ("NOT-LIB-NAME redis-py", &["b", "me"]),
        ("FLAGS P", &["b"]),
        ("FLAGS U NOT-FLAGS P", &["a", "me"]),
        ("ADDR x", &[]),
        ("NOT-ADDR x NAME a", &["a"]),
        ("IP 1.2.3.4", &[]),
        ("MAXAGE 100000", &[]),
        ("IDLE 100000", &[]),
    ] {
        assert_eq!(list(&mut me, filters), names, "{filters}");
    }
    for (filters, error) in [
        ("ID", "-ERR syntax error"),
        ("ID x", "-ERR Invalid client ID"),
        ("ID 0", "-ERR client-id should be greater than 0"),
        ("TYPE x", "-ERR Unknown client type 'x'"),
        ("USER nobody", "-ERR No such user 'nobody'"),
        ("MAXAGE x", "-ERR maxage is not an integer or out of range"),
        ("IDLE 0", "-ERR idle should be greater than 0"),
        ("NOT-IDLE 1", "-ERR syntax error"),
        ("DB 16", "-ERR DB number should be between 0 and 15"),
        ("FLAGS ~", "-ERR Unknown flags found in the provided filter: ~"),
        ("CAPA x", "-ERR Unknown capa found in the provided filter: x"),
        ("SKIPME perhaps", "-ERR syntax error"),
        ("NOPE x", "-ERR syntax error"),
    ] {
        assert_eq!(say(&mut me, &format!("CLIENT LIST {filters}")), error, "{filters}");
        assert!(say(&mut me, &format!("CLIENT KILL {filters} SKIPME yes")).starts_with('-'), "{filters}");
    }
}

#[test]
fn kill_closes_who_is_meant() {
    let server = Server::start(&[]);
    let mut me = named(&server, "me");
    let (mut a, mut b) = (named(&server, "a"), named(&server, "b"));
    assert_eq!(say(&mut me, "CLIENT KILL 1.2.3.4:5"), "-ERR No such client");
    assert_eq!(say(&mut me, "CLIENT KILL NAME a LIB-NAME x"), ":0");
    assert_eq!(say(&mut me, "CLIENT KILL NAME a"), ":1");
    assert_eq!(list(&mut me, ""), ["b", "me"], "who is closed is not shown");
    assert_eq!(a.until_closed(), b"");
    assert_eq!(say(&mut me, "CLIENT KILL TYPE normal"), ":1", "not oneself, unless told so");
    assert_eq!(b.until_closed(), b"");
    assert_eq!(say(&mut me, "CLIENT KILL TYPE normal SKIPME no"), ":1");
    assert_eq!(me.until_closed(), b"", "the reply was the last");
}

#[test]
fn a_pause_holds_writes_back_and_nothing_is_lost_or_reordered() {
    let server = Server::start(&[]);
    let mut me = named(&server, "me");
    assert_eq!(say(&mut me, "SET k 1 PX 20"), "+OK");
    assert_eq!(say(&mut me, "CLIENT PAUSE 100000000 WRITE"), "+OK");
    let mut writer = server.connect();
    writer.send(b"ECHO one\r\nINCR n\r\nECHO two\r\nCLIENT REPLY SKIP\r\nINCR n\r\nINCR n\r\n");
    assert_eq!(writer.take(9), b"$3\r\none\r\n", "what came before the write is answered");
    let mut exec = server.connect();
    exec.send(b"MULTI\r\nGET n\r\nEXEC\r\n");
    for reply in ["+OK", "+QUEUED", "*1", "$-1"] {
        assert_eq!(exec.line(b""), reply, "reads go on, in transactions too");
    }
    until("the writer waits", || bulk(&mut me, "INFO clients").contains("blocked_clients:1\r\n"));
    assert_eq!(list(&mut me, "FLAGS b").len(), 1);
    until("the key is hidden", || say(&mut me, "EXISTS k") == ":0");
    assert!(bulk(&mut me, "INFO stats").contains("expired_keys:0\r\n"), "nothing is deleted");
    assert_eq!(say(&mut me, "CLIENT UNBLOCK 1"), ":0");
    assert_eq!(say(&mut me, "CLIENT UNPAUSE"), "+OK");
    assert_eq!(writer.take(4 + 9 + 4), b":1\r\n$3\r\ntwo\r\n:3\r\n");
    until("the key is deleted", || bulk(&mut me, "INFO stats").contains("expired_keys:1\r\n"));
}

#[test]
fn a_pause_of_all_ends_by_itself_and_dead_clients_leave_it() {
    let server = Server::start(&[]);
    let mut me = server.connect();
    assert_eq!(say(&mut me, "CLIENT PAUSE 1"), "+OK");
    assert_eq!(say(&mut me, "PING"), "+PONG");
    for (command, error) in [
        ("CLIENT PAUSE x", "-ERR timeout is not an integer or out of range"),
        ("CLIENT PAUSE -1", "-ERR timeout is negative"),
        ("CLIENT PAUSE 9223372036854775807", "-ERR timeout is out of range"),
        ("CLIENT PAUSE 1 NEVER", "-ERR CLIENT PAUSE mode must be WRITE or ALL"),
    ] {
        assert_eq!(say(&mut me, command), error);
    }
    assert_eq!(say(&mut me, "CLIENT PAUSE 100000 WRITE"), "+OK");
    let mut writer = server.connect();
    writer.send(b"SET k v\r\n");
    until("it waits", || bulk(&mut me, "INFO clients").contains("blocked_clients:1\r\n"));
    drop(writer);
    until("it has gone", || bulk(&mut me, "INFO clients").contains("blocked_clients:0\r\n"));
    assert_eq!(say(&mut me, "CLIENT UNPAUSE"), "+OK");
    assert_eq!(say(&mut me, "EXISTS k"), ":0", "what was never begun is not done for a dead client");
}

#[test]
fn the_largest_clients_are_closed_when_all_take_too_much() {
    let server = Server::start(&["--maxmemory-clients", "3mb"]);
    let mut me = named(&server, "me");
    assert_eq!(say(&mut me, "CLIENT NO-EVICT on"), "+OK");
    let mut small = named(&server, "small");
    let mut large = named(&server, "large");
    large.send(format!("*2\r\n$3\r\nGET\r\n$2000000\r\n{}", "x".repeat(1_000_000)).as_bytes());
    until("it is read", || bulk(&mut me, "CLIENT LIST NAME large").contains(" qbuf=1000000 "));
    // What is announced counts: it is closed before it has sent that much.
    let mut larger = named(&server, "larger");
    larger.send(b"*2\r\n$3\r\nGET\r\n$8000000\r\nx");
    assert_eq!(larger.until_closed(), b"");
    until("it is closed", || list(&mut me, "") == ["large", "me", "small"]);
    drop(large);
    until("the other has gone", || list(&mut me, "") == ["me", "small"]);
    assert!(bulk(&mut me, "INFO stats").contains("evicted_clients:1\r\n"));
    assert_eq!(say(&mut small, "PING"), "+PONG");

    // Who is not to be closed stays, and others pay for it.
    assert_eq!(say(&mut me, "CONFIG SET maxmemory-clients 0"), "+OK");
    me.send(&encode(&[b"SET", b"k", &vec![b'x'; 2_000_000]]));
    assert_eq!(me.line(b""), "+OK");
    assert_eq!(say(&mut small, "MULTI"), "+OK");
    small.send(&encode(&[b"SET", b"k", &vec![b'x'; 2_000_000]]));
    assert_eq!(small.line(b""), "+QUEUED");
    assert!(bulk(&mut me, "CLIENT LIST NAME small").contains(" multi-mem=2"));
    assert_eq!(say(&mut me, "CONFIG SET maxmemory-clients 1mb"), "+OK");
    assert_eq!(small.until_closed(), b"");
    assert_eq!(list(&mut me, ""), ["me"]);
    assert_eq!(say(&mut me, "PING"), "+PONG");
}

#[test]
fn the_process_shows_its_title() {
    let server = Server::start(&["--proc-title-template", "Firn {server-mode}{unixsocket} {port}"]);
    let title = std::fs::read(format!("/proc/{}/cmdline", server.child.id())).expect("it runs");
    assert!(title.starts_with(b"Firn s 0\0"), "{}", title.escape_ascii());
    let mut client = server.connect();
    let long = "x".repeat(100_000);
    assert_eq!(say(&mut client, &format!("CONFIG SET proc-title-template {{port}}{}", &long[..50_000])), "+OK");
    let title = std::fs::read(format!("/proc/{}/cmdline", server.child.id())).expect("it runs");
    assert!(title.starts_with(b"0xxx"), "what has no room is left away");
    assert_eq!(say(&mut client, "CONFIG SET proc-title-template {pid}"), "+OK");
    let title = std::fs::read_to_string(format!("/proc/{}/cmdline", server.child.id())).expect("it runs");
    assert_eq!(title.trim_end_matches('\0'), server.child.id().to_string());
    server.is_well();
}
