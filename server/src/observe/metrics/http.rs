//! The HTTP/1.1 server of `metrics-port`: GET and HEAD of `/metrics` and `/healthz`, one request a connection.
//!
//! Hostile clients are bounded: [`CONNECTIONS_MAX`] at a time (more are closed at once), [`REQUEST_LEN_MAX`] bytes of request, and
//! [`REQUEST_TIME_MAX`] from the first byte of a connection to the last of the reply. Bodies are not read.

use crate::log;
use crate::server::Server;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Connections at a time.
const CONNECTIONS_MAX: usize = 32;
/// Longest request line and headers together, in bytes.
const REQUEST_LEN_MAX: usize = 8 * 1024;
/// How long a connection may last.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);

/// Answers until its task is ended.
pub(crate) async fn serve(server: Arc<Server>, listener: TcpListener) {
    let open = Rc::new(Cell::new(0));
    loop {
        match listener.accept().await {
            Ok((socket, _)) if open.get() < CONNECTIONS_MAX => {
                let (server, place) = (server.clone(), Place::take(&open));
                tokio::task::spawn_local(async move {
                    // Who is too slow, or goes away, gets no more.
                    let _ = tokio::time::timeout(REQUEST_TIME_MAX, answer(&server, socket)).await;
                    drop(place);
                });
            }
            Ok(_) => {}
            Err(error) => {
                log::warning(format_args!("Error accepting a connection on metrics-port: {error}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// One of the places for connections.
struct Place(Rc<Cell<usize>>);

impl Place {
    fn take(open: &Rc<Cell<usize>>) -> Place {
        open.set(open.get() + 1);
        Place(open.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

async fn answer(server: &Server, mut socket: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::with_capacity(1024);
    let parsed = loop {
        if let Some(end) = memchr::memmem::find(&request, b"\r\n\r\n") {
            break parse(&request[..end]);
        }
        if request.len() >= REQUEST_LEN_MAX {
            break Err(Refusal::TooLong);
        }
        let room = (REQUEST_LEN_MAX - request.len()) as u64;
        if (&mut socket).take(room).read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    };
    let (reply, head) = match parsed {
        Err(refusal) => (refusal.reply(), false),
        Ok(Request { path, head }) => (route(server, path), head),
    };
    let Reply { status, kind, body, allow } = reply;
    let allow = if allow { "Allow: GET, HEAD\r\n" } else { "" };
    let mut bytes = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n{allow}Connection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    if !head {
        bytes.extend_from_slice(body.as_bytes());
    }
    socket.write_all(&bytes).await?;
    socket.shutdown().await
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Request<'a> {
    path: &'a str,
    /// Only the headers of the reply.
    head: bool,
}

/// Why a request is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Malformed,
    Method,
    Version,
    TooLong,
}

impl Refusal {
    fn reply(self) -> Reply {
        let status = match self {
            Refusal::Malformed => "400 Bad Request",
            Refusal::Method => "405 Method Not Allowed",
            Refusal::TooLong => "431 Request Header Fields Too Large",
            Refusal::Version => "505 HTTP Version Not Supported",
        };
        Reply { allow: self == Refusal::Method, ..Reply::text(status, format!("{status}\n")) }
    }
}

/// The request line; what the headers say changes nothing.
fn parse(head: &[u8]) -> Result<Request<'_>, Refusal> {
    let end = memchr::memmem::find(head, b"\r\n").unwrap_or(head.len());
    let line = std::str::from_utf8(&head[..end]).map_err(|_| Refusal::Malformed)?;
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Refusal::Malformed);
    };
    if !version.starts_with("HTTP/") || !target.starts_with('/') {
        return Err(Refusal::Malformed);
    }
    if !version.starts_with("HTTP/1.") {
        return Err(Refusal::Version);
    }
    let head = match method {
        "GET" => false,
        "HEAD" => true,
        _ => return Err(Refusal::Method),
    };
    Ok(Request { path: target.split(['?', '#']).next().unwrap_or_default(), head })
}

struct Reply {
    status: &'static str,
    kind: &'static str,
    body: String,
    allow: bool,
}

impl Reply {
    fn text(status: &'static str, body: String) -> Reply {
        Reply { status, kind: "text/plain; charset=utf-8", body, allow: false }
    }
}

fn route(server: &Server, path: &str) -> Reply {
    if !server.has_engine() {
        return Reply::text(
            "503 Service Unavailable",
            "A script has run for longer than busy-reply-threshold.\n".into(),
        );
    }
    match path {
        "/metrics" => {
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            Reply { status: "200 OK", kind, body: super::page(server), allow: false }
        }
        "/healthz" => match super::sickness(server) {
            None => Reply::text("200 OK", "ok\n".into()),
            Some(why) => Reply::text("503 Service Unavailable", format!("{why}\n")),
        },
        _ => Reply::text("404 Not Found", "There is /metrics and /healthz.\n".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_lines_are_read_strictly() {
        assert_eq!(parse(b"GET /metrics HTTP/1.1\r\nHost: x"), Ok(Request { path: "/metrics", head: false }));
        assert_eq!(parse(b"HEAD /healthz?a=b HTTP/1.0"), Ok(Request { path: "/healthz", head: true }));
        for (line, refusal) in [
            (&b"POST /metrics HTTP/1.1"[..], Refusal::Method),
            (b"GET /metrics HTTP/2.0", Refusal::Version),
            (b"GET  /metrics HTTP/1.1", Refusal::Malformed),
            (b"GET /metrics", Refusal::Malformed),
            (b"GET metrics HTTP/1.1", Refusal::Malformed),
            (b"\xff / HTTP/1.1", Refusal::Malformed),
            (b"", Refusal::Malformed),
        ] {
            assert_eq!(parse(line), Err(refusal), "{}", line.escape_ascii());
        }
    }
}
