//! What operators look at, at the real binary: slow and large commands, delays, metrics over HTTP.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use support::{Connection, PATIENCE, Server, encode, free_port};

fn ask<S: Read + Write>(client: &mut Connection<S>, line: &str) -> String {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    client.send(&encode(&words));
    reply(client)
}

/// One reply as text, elements of arrays in brackets.
fn reply<S: Read + Write>(client: &mut Connection<S>) -> String {
    let line = client.line(b"");
    let (kind, rest) = line.split_at(1);
    match kind {
        "$" => {
            let len: usize = rest.parse().expect("a length");
            let bytes = client.take(len + 2);
            String::from_utf8_lossy(&bytes[..len]).into_owned()
        }
        "*" => {
            let parts: Vec<String> = (0..rest.parse().expect("a count")).map(|_| reply(client)).collect();
            format!("[{}]", parts.join(" "))
        }
        _ => line,
    }
}

#[test]
fn the_slow_command_of_a_pipeline_is_the_one_that_is_logged() {
    let server = Server::start(&["--enable-debug-command", "yes", "--slowlog-log-slower-than", "40000"]);
    let mut client = server.connect();
    let mut pipeline = Vec::new();
    for line in ["SET a 1", "GET a", "DEBUG SLEEP 0.05", "GET a", "SET b 2"] {
        pipeline.extend(encode(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>()));
    }
    client.send(&pipeline);
    assert_eq!(["+OK", "1", "+OK", "1", "+OK"].map(|_| reply(&mut client)), ["+OK", "1", "+OK", "1", "+OK"]);
    let log = ask(&mut client, "SLOWLOG GET -1");
    assert!(log.contains("[DEBUG SLEEP 0.05]"), "{log}");
    assert_eq!(ask(&mut client, "SLOWLOG LEN"), ":1", "{log}");
    // The slow one is not shared out among its neighbours.
    let info = ask(&mut client, "INFO latencystats");
    let line = |name: &str| {
        let start = format!("latency_percentiles_usec_{name}:p50=");
        let line = info.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("{name} in {info}"));
        line[start.len()..].split(',').next().expect("a number").parse::<f64>().expect("a number")
    };
    assert!(line("debug") >= 50_000.0 && line("get") < 10_000.0, "{info}");
}

#[test]
fn large_requests_and_replies_are_logged_by_their_bytes() {
    let server = Server::start(&["--commandlog-request-larger-than", "1000", "--commandlog-reply-larger-than", "1000"]);
    let mut client = server.connect();
    let value = "x".repeat(2000);
    assert_eq!(ask(&mut client, &format!("SET k {value}")), "+OK");
    assert_eq!(ask(&mut client, "SET k2 short"), "+OK");
    assert_eq!(ask(&mut client, "GET k"), value);
    let requests = ask(&mut client, "COMMANDLOG GET -1 large-request");
    assert!(requests.contains(&format!("[SET k {}... (1872 more bytes)]", &value[..128])), "{requests}");
    let len = encode(&[b"SET", b"k", value.as_bytes()]).len();
    assert!(requests.contains(&format!(" :{len} [SET")), "{requests}");
    assert!(!requests.contains("short"), "{requests}");
    let replies = ask(&mut client, "COMMANDLOG GET -1 large-reply");
    assert!(replies.contains(" :2009 [GET k]"), "{replies}");
    assert_eq!(ask(&mut client, "COMMANDLOG LEN slow"), ":0");
    assert_eq!(ask(&mut client, "COMMANDLOG RESET large-reply"), "+OK");
    assert_eq!(ask(&mut client, "COMMANDLOG LEN large-reply"), ":0");
    assert!(ask(&mut client, "COMMANDLOG LEN large").starts_with("-ERR type should be one of"), "a wrong type");
}

#[test]
fn secrets_stay_out_of_the_slow_log() {
    let server = Server::start(&["--slowlog-log-slower-than", "0"]);
    let mut client = server.connect();
    ask(&mut client, "CONFIG SET requirepass topsecret");
    ask(&mut client, "AUTH topsecret");
    ask(&mut client, "AUTH default topsecret");
    ask(&mut client, "HELLO 2 AUTH default topsecret");
    let log = ask(&mut client, "SLOWLOG GET -1");
    assert!(log.contains("[CONFIG SET requirepass (redacted)]") && !log.contains("topsecret"), "{log}");
    assert!(log.contains("[AUTH (redacted)]") && log.contains("[HELLO 2 AUTH (redacted) (redacted)]"), "{log}");
}

fn http(port: u16, request: &str) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    socket.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    // A request that was refused before it was read whole may end in a reset.
    let _ = socket.read_to_string(&mut answer);
    answer
}

#[test]
fn metrics_are_served_over_http() {
    let port = free_port();
    let server = Server::start(&["--metrics-port", &port.to_string()]);
    let mut client = server.connect();
    for _ in 0..3 {
        ask(&mut client, "SET k v");
    }
    ask(&mut client, "NOPE");
    let answer = http(port, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    for line in [
        "# TYPE firn_commands_processed_total counter",
        "firn_command_duration_seconds_count{command=\"set\"} 3",
        "firn_command_duration_seconds_bucket{command=\"set\",le=\"+Inf\"} 3",
        "firn_error_replies_total{prefix=\"ERR\"} 1",
        "firn_keys{db=\"0\"} 1",
        "firn_writes_accepted 1",
    ] {
        assert!(answer.lines().any(|found| found == line), "{line} in {answer}");
    }
    let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    assert!(http(port, "GET /healthz HTTP/1.0\r\n\r\n").ends_with("\r\n\r\nok\n"), "healthy");
    assert!(http(port, "HEAD /healthz HTTP/1.1\r\n\r\n").ends_with("\r\n\r\n"), "no body");
    assert!(http(port, "GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"), "not found");
    assert!(http(port, "PUT /metrics HTTP/1.1\r\n\r\n").contains("\r\nAllow: GET, HEAD\r\n"), "method");
    assert!(http(port, &format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(10_000))).starts_with("HTTP/1.1 431"), "long");
    // Who says nothing takes one of 32 places, not the server: more are closed at once.
    let silent: Vec<_> = (0..32).map(|_| TcpStream::connect(("127.0.0.1", port)).expect("it listens")).collect();
    let mut more = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    more.set_read_timeout(Some(PATIENCE)).expect("set");
    assert_eq!(more.read(&mut [0; 1]).unwrap_or(0), 0);
    server.is_well();
    drop(silent);
    // Off and on by CONFIG SET.
    assert_eq!(ask(&mut client, "CONFIG SET metrics-port 0"), "+OK");
    assert_eq!(ask(&mut client, &format!("CONFIG SET metrics-port {port}")), "+OK");
    let mut tries = 0;
    while !http(port, "GET /healthz HTTP/1.1\r\n\r\n").contains("ok") {
        tries += 1;
        assert!(tries < 1000, "it comes back");
    }
}

#[test]
fn a_prefix_with_the_name_of_all_others_has_a_series_of_its_own() {
    let port = free_port();
    let server = Server::start(&["--metrics-port", &port.to_string(), "--prefix-stats", "(other) a:"]);
    let mut client = server.connect();
    ask(&mut client, "SET (other)1 v");
    ask(&mut client, "SET b v");
    ask(&mut client, "SET c v");
    let answer = http(port, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    for line in ["firn_prefix_keys{prefix=\"(other)\"} 2", "firn_prefix_keys{prefix=\"\\\\x28other)\"} 1"] {
        assert!(answer.lines().any(|found| found == line), "{line} in {answer}");
    }
    let series = |line: &str| line.rsplit_once(' ').map(|(name, _)| name.to_owned());
    let mut names: Vec<String> = answer.lines().filter(|line| line.starts_with("firn_")).filter_map(series).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "no series twice");
}
