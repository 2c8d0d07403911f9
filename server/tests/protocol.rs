//! The protocol at the real binary: pieces, pipelines, hostile input, slow readers.

mod support;

use std::io::{ErrorKind, Write};
use support::{Server, encode};

#[test]
fn replies_are_the_same_whole_and_split_at_every_byte() {
    let server = Server::start(&[]);
    let input = [
        &b"PING\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$6\r\na\r\nb\0c\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"[..],
        b"\r\n*0\r\nset q \"x \\x41\"\nget q\r\n*2\r\n$4\r\nECHO\r\n$0\r\n\r\nNOSUCH a\r\nGET\r\nDEL k q\r\n",
    ]
    .concat();
    let expected = b"+PONG\r\n+OK\r\n$6\r\na\r\nb\0c\r\n+OK\r\n$3\r\nx A\r\n$0\r\n\r\n\
        -ERR unknown command 'NOSUCH', with args beginning with: 'a' \r\n\
        -ERR wrong number of arguments for 'get' command\r\n:2\r\n";
    let shown = |bytes: Vec<u8>| bytes.escape_ascii().to_string();
    let expected_shown = shown(expected.to_vec());
    let mut connection = server.connect();
    assert_eq!(shown(connection.ask(&input, expected.len())), expected_shown);
    for cut in 1..input.len() {
        connection.send(&input[..cut]);
        // A reply to something else on the way makes sure that the first piece was read alone.
        server.is_well();
        connection.send(&input[cut..]);
        assert_eq!(shown(connection.take(expected.len())), expected_shown, "cut at {cut}");
    }
    for byte in input.chunks(1) {
        connection.send(byte);
    }
    assert_eq!(shown(connection.take(expected.len())), expected_shown);
}

#[test]
fn protocol_errors_are_told_and_close_the_connection() {
    let server = Server::start(&[]);
    for (input, error) in [
        (&b"*3000000000\r\n"[..], "invalid multibulk length"),
        (b"*x\r\n", "invalid multibulk length"),
        (b"*1\r\n$-5\r\n", "invalid bulk length"),
        (b"*1\r\n$2000000000\r\n", "invalid bulk length"),
        (b"*1\r\n$blabla\r\n", "invalid bulk length"),
        (b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n", "expected '$', got 'f'"),
        (b"*1\r\n$4\r\nPINGxx", "expected CRLF"),
        (b"set x \"abc\r\n", "unbalanced quotes in request"),
        (&[b'a'; 70_000], "too big inline request"),
        (&[&b"*"[..], &[b'1'; 70_000]].concat(), "too big mbulk count string"),
        (&[&b"*1\r\n$"[..], &[b'1'; 70_000]].concat(), "too big bulk count string"),
    ] {
        let mut connection = server.connect();
        connection.send(b"PING\r\n");
        connection.send(input);
        let reply = String::from_utf8(connection.until_closed()).expect("text");
        assert_eq!(reply, format!("+PONG\r\n-ERR Protocol error: {error}\r\n"));
    }
    server.is_well();
}

#[test]
fn declared_lengths_take_no_memory() {
    let server = Server::start(&["--proto-max-bulk-len", "1gb"]);
    server.is_well();
    let before = server.reserved_bytes();
    let mut connections = Vec::new();
    for _ in 0..50 {
        let mut connection = server.connect();
        connection.send(b"*1048576\r\n$1073741824\r\n");
        // Enough for a buffer of its own, in two reads.
        for _ in 0..2 {
            connection.send(&[b'x'; 20_000]);
            server.is_well();
        }
        connections.push(connection);
    }
    let grown = server.reserved_bytes().saturating_sub(before);
    assert!(grown < 500 << 20, "{grown} bytes are reserved for nothing but promises");
}

#[test]
fn a_query_buffer_past_its_limit_closes_the_connection() {
    let server = Server::start(&["--client-query-buffer-limit", "1mb"]);
    let mut connection = server.connect();
    connection.send(b"*2\r\n$4\r\nECHO\r\n$50000000\r\n");
    let piece = vec![b'x'; 100_000];
    let mut sent = 0;
    while sent < 50_000_000 {
        match connection.stream.write(&piece) {
            Ok(n) => sent += n,
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
                break;
            }
        }
    }
    assert!(sent < 10_000_000, "{sent} bytes were taken");
    server.is_well();
    assert!(server.log().contains("reached max query buffer length"));
}

#[test]
fn large_values_and_many_words_arrive_whole() {
    let server = Server::start(&[]);
    let mut connection = server.connect();
    let value: Vec<u8> = (0..5_000_000u32).map(|n| (n / 3) as u8).collect();
    assert_eq!(connection.ask(&encode(&[b"SET", b"big", &value]), 5), b"+OK\r\n");
    let reply = [&b"$5000000\r\n"[..], &value, b"\r\n"].concat();
    assert!(connection.ask(&encode(&[b"GET", b"big"]), reply.len()) == reply);
    let keys: Vec<String> = (0..200_000).map(|n| format!("k{n}")).collect();
    let mut words: Vec<&[u8]> = vec![b"MSET"];
    words.extend(keys.iter().flat_map(|key| [key.as_bytes(), key.as_bytes()]));
    assert_eq!(connection.ask(&encode(&words), 5), b"+OK\r\n");
    assert_eq!(connection.line(b"DBSIZE\r\n"), ":200001");
    words[0] = b"EXISTS";
    assert_eq!(connection.line(&encode(&words)), ":400000");
}

#[test]
fn a_long_pipeline_is_answered_in_order() {
    let server = Server::start(&[]);
    let mut connection = server.connect();
    const COMMANDS: usize = 30_000;
    let mut writer = connection.stream.try_clone().expect("a second handle");
    let sender = std::thread::spawn(move || {
        let mut input = Vec::new();
        for n in 0..COMMANDS {
            input.extend_from_slice(&encode(&[b"ECHO", n.to_string().as_bytes()]));
        }
        writer.write_all(&input).expect("sent");
    });
    for n in 0..COMMANDS {
        let text = n.to_string();
        let reply = format!("${}\r\n{text}\r\n", text.len()).into_bytes();
        assert_eq!(connection.take(reply.len()), reply);
    }
    sender.join().expect("sent all");
}

#[test]
fn a_pipeline_is_taken_whole_before_its_replies_are_read() {
    let server = Server::start(&[]);
    let mut connection = server.connect();
    assert_eq!(connection.ask(&encode(&[b"SET", b"k", &[b'v'; 1000]]), 5), b"+OK\r\n");
    // 30 MB of replies before the first is read: simple clients do that.
    connection.send(&b"GET k\r\n".repeat(30_000));
    let reply = [&b"$1000\r\n"[..], &[b'v'; 1000], b"\r\n"].concat();
    for _ in 0..30_000 {
        assert!(connection.take(reply.len()) == reply);
    }
}

#[test]
fn a_client_that_does_not_read_is_not_read_from() {
    let server = Server::start(&[]);
    let mut connection = server.connect();
    assert_eq!(connection.ask(&encode(&[b"SET", b"k", &vec![b'v'; 1 << 20]]), 5), b"+OK\r\n");
    let before = server.resident_bytes();
    connection.stream.set_nonblocking(true).expect("set");
    let (mut sent, mut stuck) = (0, 0);
    // Each 7 bytes ask for a megabyte. The socket's buffers take some; then nothing more may be taken.
    while stuck < 50 && sent < 7_000_000 {
        match connection.stream.write(&b"GET k\r\n".repeat(1000)) {
            Ok(n) => (sent, stuck) = (sent + n, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                stuck += 1;
                server.is_well();
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(stuck, 50, "{sent} bytes of requests were taken");
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 200 << 20, "{grown} bytes are held for a client that does not read");
    // It gets all of it once it reads.
    connection.stream.set_nonblocking(false).expect("set");
    let reply_len = (1 << 20) + b"$1048576\r\n\r\n".len();
    for _ in 0..200 {
        assert_eq!(connection.take(reply_len)[..10], *b"$1048576\r\n");
    }
}

#[test]
fn a_transactions_replies_are_bounded_and_its_changes_made() {
    let server = Server::start(&["--client-output-buffer-limit", "normal 4mb 0 0"]);
    let mut connection = server.connect();
    assert_eq!(connection.line(&encode(&[b"SET", b"k", &vec![b'v'; 1 << 20]])), "+OK");
    let before = server.resident_bytes();
    let mut input = b"MULTI\r\nINCR n\r\n".to_vec();
    (0..500).for_each(|_| input.extend_from_slice(b"GET k\r\n"));
    input.extend_from_slice(b"INCR n\r\nEXEC\r\nINCR n\r\n");
    connection.send(&input);
    let replies = String::from_utf8_lossy(&connection.until_closed()).into_owned();
    assert_eq!(replies, format!("+OK\r\n{}", "+QUEUED\r\n".repeat(502)));
    assert!(server.resident_bytes() < before + (100 << 20), "bounded: {}", server.resident_bytes());
    let mut connection = server.connect();
    assert_eq!(connection.line(b"INCR n\r\n"), ":3");
    // What fits is as ever.
    connection.send(b"MULTI\r\nGET k\r\nGET k\r\nEXEC\r\nPING\r\n");
    let fits = connection
        .take("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+PONG\r\n".len() + 2 * ("$1048576\r\n\r\n".len() + (1 << 20)));
    assert!(fits.ends_with(b"v\r\n+PONG\r\n"));
}

#[test]
fn a_client_past_the_output_limit_is_closed() {
    let server = Server::start(&["--client-output-buffer-limit", "normal 4mb 0 0"]);
    let mut connection = server.connect();
    assert_eq!(connection.ask(&encode(&[b"SET", b"k", &vec![b'v'; 1 << 20]]), 5), b"+OK\r\n");
    connection.send(&b"GET k\r\n".repeat(1000));
    assert_eq!(connection.until_closed(), b"", "no part of what is too much leaves");
    assert!(server.log().contains("overcoming of output buffer limits"));
    server.is_well();
}

#[test]
fn a_client_past_the_soft_output_limit_is_closed_after_its_time() {
    let server = Server::start(&["--client-output-buffer-limit", "normal 0 1mb 1"]);
    let mut connection = server.connect();
    assert_eq!(connection.ask(&encode(&[b"SET", b"k", &vec![b'v'; 1 << 20]]), 5), b"+OK\r\n");
    connection.send(&b"GET k\r\n".repeat(20));
    let began = std::time::Instant::now();
    while !server.log().contains("overcoming of output buffer limits") {
        assert!(began.elapsed() < support::PATIENCE);
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    connection.until_closed();
    server.is_well();
}

#[test]
fn cross_protocol_requests_are_cut_off() {
    let server = Server::start(&[]);
    for request in
        [&b"POST / HTTP/1.1\r\nHost: x\r\n\r\nFLUSHALL\r\n"[..], b"GET / HTTP/1.1\r\nHost: x\r\n\r\nPING\r\n"]
    {
        let mut connection = server.connect();
        connection.send(request);
        let reply = String::from_utf8(connection.until_closed()).expect("text");
        assert!(!reply.contains("+OK") && !reply.contains("+PONG"), "{reply}");
    }
    assert!(server.log().contains("SECURITY ATTACK"));
}

#[test]
fn a_long_transaction_is_queued_in_a_time_that_grows_with_its_length_alone_and_runs_whole() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    // Beyond this the bound of one record, at 8 KB for each command, would refuse it; and looking at all that is queued for each
    // command that comes would take minutes.
    let count = 300_000;
    let mut queue = client.stream.try_clone().expect("a second handle");
    let sender = std::thread::spawn(move || {
        queue.write_all(b"MULTI\r\n").expect("sent");
        queue.write_all(&b"INCR n\r\n".repeat(count)).expect("sent");
        queue.write_all(b"EXEC\r\n").expect("sent");
    });
    assert_eq!(client.line(b""), "+OK");
    client.take(count * b"+QUEUED\r\n".len());
    sender.join().expect("sent");
    assert_eq!(client.line(b""), format!("*{count}"));
    for n in [1, 2, 3] {
        assert_eq!(client.line(b""), format!(":{n}"));
    }
    assert_eq!(server.connect().ask(b"GET n\r\n", 12), b"$6\r\n300000\r\n");
}

#[test]
fn an_exec_that_cannot_run_ends_the_transaction() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    assert_eq!(client.line(b"MULTI\r\n"), "+OK");
    assert_eq!(client.line(b"SET k v\r\n"), "+QUEUED");
    let refused = "-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command";
    assert_eq!(client.line(b"EXEC now\r\n"), refused);
    assert_eq!(client.line(b"EXISTS k\r\n"), ":0");
    assert_eq!(client.line(b"EXEC\r\n"), "-ERR EXEC without MULTI");
}
