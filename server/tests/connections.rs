//! Connections at the real binary: AUTH, HELLO, RESET, CLIENT, limits on clients, threads, signals.

mod support;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};
use support::{PATIENCE, Server, encode};

#[test]
fn a_password_is_asked_for_before_anything_else() {
    let server = Server::start(&["--requirepass", "pässword"]);
    let mut connection = server.connect();
    assert_eq!(connection.line(b"GET k\r\n"), "-NOAUTH Authentication required.");
    assert_eq!(connection.line(b"NOSUCH\r\n"), "-ERR unknown command 'NOSUCH', with args beginning with: ");
    assert!(connection.line(b"HELLO 3\r\n").starts_with("-NOAUTH HELLO must be called"));
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.";
    assert_eq!(connection.line(b"AUTH wrong\r\n"), wrong);
    assert_eq!(connection.line(&encode(&[b"AUTH", b"other", "pässword".as_bytes()])), wrong);
    // The rest of a pipeline runs under what AUTH has changed, its long commands too.
    let mut input = encode(&[b"AUTH", "pässword".as_bytes()]);
    input.extend_from_slice(&encode(&[b"SET", b"k", &[b'v'; 20_000]]));
    input.extend_from_slice(b"STRLEN k\r\n");
    assert_eq!(connection.ask(&input, 18), b"+OK\r\n+OK\r\n:20000\r\n");
    assert_eq!(connection.line(b"RESET\r\n"), "+RESET");
    assert_eq!(connection.line(b"GET k\r\n"), "-NOAUTH Authentication required.");
    assert_eq!(connection.line(&encode(&[b"AUTH", b"default", "pässword".as_bytes()])), "+OK");
}

#[test]
fn before_auth_requests_are_short() {
    let server = Server::start(&["--requirepass", "p"]);
    for (input, error) in [
        (&b"*11\r\n"[..], "unauthenticated multibulk length"),
        (b"*2\r\n$4\r\nAUTH\r\n$16385\r\n", "unauthenticated bulk length"),
    ] {
        let mut connection = server.connect();
        connection.send(input);
        assert_eq!(String::from_utf8_lossy(&connection.until_closed()), format!("-ERR Protocol error: {error}\r\n"));
    }
}

#[test]
fn auth_without_a_password_says_so() {
    let server = Server::start(&[]);
    let mut connection = server.connect();
    assert!(connection.line(b"AUTH x\r\n").starts_with("-ERR AUTH <password> called without any password configured"));
    assert_eq!(connection.line(b"AUTH default x\r\n"), "+OK");
    assert_eq!(connection.line(b"AUTH a b c\r\n"), "-ERR syntax error");
}

#[test]
fn hello_switches_the_protocol_with_its_own_reply() {
    let server = Server::start(&[]);
    let mut connection = server.connect();
    assert_eq!(connection.line(b"HELLO 4\r\n"), "-NOPROTO unsupported protocol version");
    assert_eq!(connection.line(b"HELLO x\r\n"), "-ERR Protocol version is not an integer or out of range");
    assert_eq!(connection.line(b"HELLO 3 FOO\r\n"), "-ERR Syntax error in HELLO option 'FOO'");
    let id = connection.line(b"CLIENT ID\r\n");
    let reply = |proto: u8, map: &str| {
        format!(
            "{map}\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.2.4\r\n$5\r\nproto\r\n:{proto}\r\n$2\r\nid\r\n{id}\r\n\
             $4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n"
        )
    };
    let three = reply(3, "%7");
    assert_eq!(String::from_utf8(connection.ask(b"HELLO 3 SETNAME me\r\n", three.len())).expect("text"), three);
    assert_eq!(connection.line(b"GET nothing\r\n"), "_");
    assert_eq!(connection.ask(b"CLIENT GETNAME\r\n", 8), b"$2\r\nme\r\n");
    let two = reply(2, "*14");
    assert_eq!(String::from_utf8(connection.ask(b"HELLO 2\r\n", two.len())).expect("text"), two);
    assert_eq!(connection.line(b"GET nothing\r\n"), "$-1");
}

#[test]
fn reset_makes_a_connection_as_new() {
    let server = Server::start(&[]);
    let mut connection = server.connect();
    let input = b"SET k 1\r\nSELECT 3\r\nCLIENT SETNAME x\r\nCLIENT NO-TOUCH on\r\n";
    assert_eq!(connection.ask(input, 20), b"+OK\r\n+OK\r\n+OK\r\n+OK\r\n");
    assert_eq!(connection.line(b"RESET\r\n"), "+RESET");
    assert_eq!(connection.ask(b"GET k\r\nCLIENT GETNAME\r\n", 12), b"$1\r\n1\r\n$-1\r\n");
}

#[test]
fn quit_answers_and_closes() {
    let server = Server::start(&[]);
    let mut connection = server.connect();
    connection.send(b"PING\r\nQUIT\r\nPING\r\n");
    assert_eq!(connection.until_closed(), b"+PONG\r\n+OK\r\n");
}

#[test]
fn client_reply_silences_what_it_says() {
    let server = Server::start(&[]);
    let mut connection = server.connect();
    connection.send(b"CLIENT REPLY OFF\r\nPING\r\nSET k 1\r\nNOSUCH\r\nCLIENT REPLY ON\r\n");
    connection.send(b"CLIENT REPLY SKIP\r\nPING\r\nGET k\r\n");
    connection.send(b"CLIENT REPLY OFF\r\nCLIENT REPLY SKIP\r\nPING\r\nCLIENT REPLY ON\r\nECHO x\r\n");
    assert_eq!(connection.take(24), b"+OK\r\n$1\r\n1\r\n+OK\r\n$1\r\nx\r\n");
}

#[test]
fn client_list_and_info_show_what_a_client_is() {
    let server = Server::start_tcp(&[]);
    let mut connection = server.connect_tcp();
    connection
        .ask(b"CLIENT SETNAME me\r\nSELECT 2\r\nCLIENT SETINFO LIB-NAME lib\r\nCLIENT SETINFO lib-ver 1.2\r\n", 20);
    let head = connection.line(b"CLIENT LIST\r\n");
    let text = String::from_utf8(connection.take(head[1..].parse::<usize>().expect("a length") + 2)).expect("text");
    let fields: Vec<(&str, &str)> =
        text.trim().split(' ').map(|field| field.split_once('=').expect("a field")).collect();
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names[..28],
        [
            "id",
            "addr",
            "laddr",
            "fd",
            "name",
            "age",
            "idle",
            "flags",
            "db",
            "sub",
            "psub",
            "ssub",
            "multi",
            "qbuf",
            "qbuf-free",
            "argv-mem",
            "multi-mem",
            "rbs",
            "rbp",
            "obl",
            "oll",
            "omem",
            "tot-mem",
            "events",
            "cmd",
            "user",
            "redir",
            "resp"
        ]
    );
    let get = |name: &str| fields.iter().find(|field| field.0 == name).expect("the field").1;
    let laddr = format!("127.0.0.1:{}", server.port);
    for (name, value) in [
        ("name", "me"),
        ("laddr", &laddr),
        ("flags", "N"),
        ("db", "2"),
        ("qbuf", "13"),
        ("cmd", "client|list"),
        ("user", "default"),
        ("resp", "2"),
        ("lib-name", "lib"),
        ("lib-ver", "1.2"),
        ("tot-cmds", "4"),
    ] {
        assert_eq!(get(name), value, "{name} in {text}");
    }
    assert_eq!(
        connection.line(b"CLIENT SETNAME \"a b\"\r\n"),
        "-ERR Client names cannot contain spaces, newlines or special characters."
    );
    assert_eq!(connection.line(b"CLIENT SETINFO x y\r\n"), "-ERR Unrecognized option 'x'");
    assert_eq!(connection.line(b"CLIENT NOSUCH\r\n"), "-ERR unknown subcommand 'NOSUCH'. Try CLIENT HELP.");
    assert_eq!(connection.line(b"CLIENT GETNAME x\r\n"), "-ERR wrong number of arguments for 'client|getname' command");
    assert_eq!(connection.line(b"CLIENT LIST ID 99\r\n"), "$0");
}

#[test]
fn client_kill_closes_whom_it_names() {
    let server = Server::start_tcp(&[]);
    let mut killer = server.connect_tcp();
    let mut victim = server.connect_tcp();
    let id = victim.line(b"CLIENT ID\r\n")[1..].to_owned();
    assert_eq!(killer.line(format!("CLIENT KILL ID {id}\r\n").as_bytes()), ":1");
    assert_eq!(victim.until_closed(), b"");
    let mut victim = server.connect_tcp();
    victim.line(b"PING\r\n");
    let addr = victim.stream.local_addr().expect("an address");
    assert_eq!(killer.line(format!("CLIENT KILL {addr}\r\n").as_bytes()), "+OK");
    assert_eq!(victim.until_closed(), b"");
    assert_eq!(killer.line(b"CLIENT KILL 127.0.0.1:1\r\n"), "-ERR No such client");
    assert_eq!(killer.line(b"CLIENT KILL ID 0\r\n"), "-ERR client-id should be greater than 0");
    assert_eq!(killer.line(b"CLIENT KILL TYPE foo\r\n"), "-ERR Unknown client type 'foo'");
    assert_eq!(killer.line(b"CLIENT KILL TYPE normal\r\n"), ":0");
    killer.send(b"CLIENT KILL TYPE normal SKIPME no\r\nPING\r\n");
    assert_eq!(killer.until_closed(), b":1\r\n");
}

#[test]
fn more_clients_than_maxclients_are_told_so() {
    let server = Server::start(&["--maxclients", "3"]);
    let began = Instant::now();
    // The connection that the start was noticed by may be on its way out.
    let mut clients: Vec<_> = Vec::new();
    while clients.len() < 3 {
        let mut client = server.connect();
        // One that is refused may be closed before it has sent anything.
        if client.stream.write_all(b"PING\r\n").is_ok() && client.take(5) == b"+PONG" {
            client.take(2);
            clients.push(client);
        }
        assert!(began.elapsed() < PATIENCE);
    }
    assert_eq!(server.connect().until_closed(), b"-ERR max number of clients reached\r\n");
    drop(clients.pop());
    loop {
        let mut client = server.connect();
        if client.stream.write_all(b"PING\r\n").is_ok() && client.line(b"") == "+PONG" {
            break;
        }
        assert!(began.elapsed() < PATIENCE);
    }
}

#[test]
fn idle_clients_are_closed_after_the_timeout() {
    let server = Server::start(&["--timeout", "1"]);
    let mut connection = server.connect();
    connection.line(b"PING\r\n");
    assert_eq!(connection.until_closed(), b"");
}

#[test]
fn many_threads_serve_their_share() {
    let server = Server::start_tcp(&["--io-threads", "3"]);
    let clients: Vec<_> = (0..9)
        .map(|n| {
            let mut tcp = server.connect_tcp();
            let mut unix = server.connect();
            std::thread::spawn(move || {
                for round in 0..200 {
                    assert_eq!(tcp.line(format!("INCR c{n}\r\n").as_bytes()), format!(":{}", 2 * round + 1));
                    assert_eq!(unix.line(format!("INCR c{n}\r\n").as_bytes()), format!(":{}", 2 * round + 2));
                    assert!(tcp.line(b"INCR all\r\n").starts_with(':'));
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("no assertion failed");
    }
    let mut connection = server.connect();
    assert_eq!(connection.ask(b"GET all\r\n", 10), b"$4\r\n1800\r\n");
    let mut victim = server.connect();
    let id = victim.line(b"CLIENT ID\r\n")[1..].to_owned();
    assert_eq!(connection.line(format!("CLIENT KILL ID {id}\r\n").as_bytes()), ":1");
    assert_eq!(victim.until_closed(), b"");
}

#[test]
fn a_taken_port_ends_the_start_with_the_line_that_tools_look_for() {
    let server = Server::start_tcp(&[]);
    let output = std::process::Command::new(support::BINARY)
        .args(["--port", &server.port.to_string(), "--dir"])
        .arg(tempfile::tempdir().expect("a folder").path())
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains(&format!("Failed listening on port {}", server.port)), "{text}");
}

#[test]
fn sigterm_ends_it_with_success_and_removes_its_files() {
    let mut server = Server::start(&["--unixsocketperm", "700", "--pidfile", "pid"]);
    let mode = std::fs::metadata(server.socket()).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    server.is_well(); // It listens before it has loaded, and writes its pid after.
    let pid = std::fs::read_to_string(server.folder.path().join("pid")).expect("the pid file");
    assert_eq!(pid, format!("{}\n", server.child.id()));
    let log = server.log();
    for line in [&format!(" PID: {}", server.child.id()), "Server initialized", "Ready to accept connections"] {
        assert_eq!(log.matches(line).count(), 1, "{line:?} in {log}");
    }
    let raised = |name: &str| {
        let status = std::process::Command::new("kill").args([name, &server.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    };
    raised("-HUP");
    server.is_well();
    raised("-TERM");
    let began = Instant::now();
    let status = loop {
        if let Some(status) = server.child.try_wait().expect("a child") {
            break status;
        }
        assert!(began.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success(), "{status}");
    assert!(server.log().contains("ready to exit, bye bye"));
    assert!(!server.socket().exists() && !server.folder.path().join("pid").exists());
}

#[test]
fn a_paused_clock_closes_nobody() {
    let server = Server::start(&["--enable-debug-command", "local"]);
    let mut idle = server.connect();
    let mut admin = server.connect();
    idle.line(b"PING\r\n");
    assert_eq!(admin.line(b"DEBUG PAUSE-CRON 1\r\n"), "+OK");
    assert_eq!(admin.line(b"CONFIG SET timeout 1\r\n"), "+OK");
    std::thread::sleep(Duration::from_millis(3500));
    assert_eq!(idle.line(b"PING\r\n"), "+PONG", "idle for longer than the timeout");
    assert_eq!(admin.line(b"DEBUG PAUSE-CRON 0\r\n"), "+OK");
    assert_eq!(idle.until_closed(), b"");
}
