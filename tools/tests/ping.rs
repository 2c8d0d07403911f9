//! `firn ping` against servers that answer as they should, wrongly, and not at all.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};

/// A server that answers one connection: to each request with the next answer.
fn serve(answers: &'static [&'static [u8]]) -> (u16, std::thread::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let thread = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a client");
        let mut asked = Vec::new();
        for answer in answers {
            let mut chunk = [0; 1024];
            let n = socket.read(&mut chunk).expect("a request");
            asked.extend_from_slice(&chunk[..n]);
            socket.write_all(answer).expect("sent");
        }
        // Until the client has seen enough.
        let _ = socket.read(&mut [0; 16]);
        asked
    });
    (port, thread)
}

fn ping(port: u16, words: &[&str], password: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firn"));
    command
        .args(["ping", "--port", &port.to_string()])
        .args(words)
        .env_remove("FIRN_PASSWORD")
        .env_remove("REDISCLI_AUTH");
    if let Some(password) = password {
        command.env("FIRN_PASSWORD", password);
    }
    command.output().expect("it runs")
}

#[track_caller]
fn told(output: &Output, code: i32, words: &str) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(words), "{text}");
}

#[test]
fn a_server_that_serves() {
    let (port, server) = serve(&[b"+PONG\r\n"]);
    told(&ping(port, &[], None), 0, "PONG from 127.0.0.1");
    assert_eq!(server.join().expect("it ends"), b"*1\r\n$4\r\nPING\r\n");
    let (port, server) = serve(&[b"+OK\r\n", b"+PONG\r\n"]);
    told(&ping(port, &["--user", "ann"], Some("se cret")), 0, "PONG");
    let asked = server.join().expect("it ends");
    assert_eq!(asked, b"*3\r\n$4\r\nAUTH\r\n$3\r\nann\r\n$7\r\nse cret\r\n*1\r\n$4\r\nPING\r\n");
}

#[test]
fn a_server_that_does_not() {
    let (port, _server) = serve(&[b"-LOADING the dataset\r\n"]);
    told(&ping(port, &[], None), 1, "LOADING the dataset");
    let (port, _server) = serve(&[b"-WRONGPASS no\r\n"]);
    told(&ping(port, &[], Some("x")), 1, "it answered AUTH with: WRONGPASS no");
    let (port, _server) = serve(&[&[b'x'; 10_000]]);
    told(&ping(port, &[], None), 1, "no line of the Redis protocol");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    told(&ping(port, &["--timeout", "0.2"], None), 1, "no answer within 0.2 seconds");
    drop(silent);
    told(&ping(port, &[], None), 1, "refused");
}

#[test]
fn a_wrong_command_line() {
    told(&ping(1, &["--timeout", "0"], None), 2, "0.001");
    told(&ping(1, &["--tls"], None), 2, "--cacert");
    told(&ping(1, &["--password-env", "NO_SUCH_VARIABLE_HERE"], None), 2, "NO_SUCH_VARIABLE_HERE");
    told(&ping(1, &["--tls", "--cacert", "/nowhere"], None), 1, "refused");
}
