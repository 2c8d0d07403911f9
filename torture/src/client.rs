//! A blocking RESP client for tests: it pipelines as it is told, reads RESP2 and RESP3, and can hand out a reply's own
//! bytes. It trusts the server's framing no further than its limits.
//!
//! 1. Nothing is sent before [`Client::flush`] and nothing is read before a reply is asked for: a test decides what is
//!    in flight.
//! 2. [`frame_len`] alone knows where a reply ends; values are decoded from complete frames only.

use crate::stall::{LOOK_MAX, Patience};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Nesting deeper than any reply of a real server.
const DEPTH_MAX: usize = 32;
/// How long a server may take to answer, where nothing else is asked for: one that does not is a failure of the test, not a hang of it.
pub const ANSWER_MAX: Duration = Duration::from_secs(60);

/// A decoded reply. RESP3's null and RESP2's two nulls are all [`Value::Null`].
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// `+` and, in RESP3, `=` without its format.
    Text(Vec<u8>),
    /// `-` and `!`.
    Error(Vec<u8>),
    /// `:`.
    Integer(i64),
    /// `$`.
    Bulk(Vec<u8>),
    /// `$-1`, `*-1`, `_`.
    Null,
    /// `#`.
    Boolean(bool),
    /// `,` and `(`, as they were written.
    Number(Vec<u8>),
    /// `*`, `~`, `>`.
    Array(Vec<Value>),
    /// `%`, key and value in turn.
    Map(Vec<Value>),
}

impl Value {
    /// The bytes of a string of any kind.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Text(bytes) | Value::Bulk(bytes) | Value::Number(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// An integer, however it was sent.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Value::Integer(value) => Some(*value),
            other => std::str::from_utf8(other.bytes()?).ok()?.parse().ok(),
        }
    }

    /// Whether it is an error.
    pub fn is_error(&self) -> bool {
        matches!(self, Value::Error(_))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(bytes) | Value::Bulk(bytes) | Value::Number(bytes) => {
                write!(out, "\"{}\"", bytes.escape_ascii())
            }
            Value::Error(bytes) => write!(out, "error {}", bytes.escape_ascii()),
            Value::Integer(value) => write!(out, "{value}"),
            Value::Null => write!(out, "null"),
            Value::Boolean(value) => write!(out, "{value}"),
            Value::Array(items) | Value::Map(items) => {
                write!(out, "[")?;
                for (at, item) in items.iter().enumerate() {
                    write!(out, "{}{item}", if at == 0 { "" } else { ", " })?;
                }
                write!(out, "]")
            }
        }
    }
}

/// Whether an error says that the server did not answer in time.
pub fn is_hung(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The line at `at` without CR LF, and where the next begins; `None` while it is not complete.
fn line(bytes: &[u8], at: usize) -> io::Result<Option<(&[u8], usize)>> {
    let Some(found) = bytes[at..].iter().position(|&byte| byte == b'\n') else { return Ok(None) };
    let end = at + found;
    if end == at || bytes[end - 1] != b'\r' {
        return Err(invalid(format!("a line of a reply ends in a bare LF at byte {end}")));
    }
    Ok(Some((&bytes[at..end - 1], end + 1)))
}

fn number(line: &[u8]) -> io::Result<i64> {
    let text = std::str::from_utf8(&line[1..]).ok().and_then(|text| text.parse().ok());
    text.ok_or_else(|| invalid(format!("not a number in a reply: {}", line.escape_ascii())))
}

/// Where the reply that begins at `at` ends; `None` while it is not complete.
pub fn frame_len(bytes: &[u8], at: usize) -> io::Result<Option<usize>> {
    let mut at = at;
    let mut open = 1_u64; // Values still to come.
    while open > 0 {
        let Some((head, next)) = line(bytes, at)? else { return Ok(None) };
        at = next;
        open -= 1;
        match head.first() {
            Some(b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(') => {}
            Some(b'$' | b'=' | b'!') => {
                let len = number(head)?;
                if len >= 0 {
                    at += len as usize + 2;
                    if bytes.len() < at {
                        return Ok(None);
                    }
                    if &bytes[at - 2..at] != b"\r\n" {
                        return Err(invalid(format!("a string of {len} bytes does not end in CR LF")));
                    }
                }
            }
            Some(b'*' | b'~' | b'>') => open += number(head)?.max(0) as u64,
            Some(b'%') => open += 2 * number(head)?.max(0) as u64,
            Some(b'|') => open += 2 * number(head)?.max(0) as u64 + 1,
            _ => return Err(invalid(format!("no reply begins with {}", head.escape_ascii()))),
        }
    }
    Ok(Some(at))
}

/// Decodes a complete frame; gives the value and where it ends.
fn decode(bytes: &[u8], at: usize, depth: usize) -> io::Result<(Value, usize)> {
    if depth > DEPTH_MAX {
        return Err(invalid(format!("a reply is nested more than {DEPTH_MAX} deep")));
    }
    let (head, next) = line(bytes, at)?.ok_or_else(|| invalid("a short frame".into()))?;
    let body = &head[1..];
    let items = |count: i64| -> io::Result<(Vec<Value>, usize)> {
        let (mut items, mut at) = (Vec::new(), next);
        for _ in 0..count {
            let (item, end) = decode(bytes, at, depth + 1)?;
            items.push(item);
            at = end;
        }
        Ok((items, at))
    };
    Ok(match head[0] {
        b'+' => (Value::Text(body.to_vec()), next),
        b'-' => (Value::Error(body.to_vec()), next),
        b':' => (Value::Integer(number(head)?), next),
        b'_' => (Value::Null, next),
        b'#' => (Value::Boolean(body == b"t"), next),
        b',' | b'(' => (Value::Number(body.to_vec()), next),
        b'$' | b'=' | b'!' => {
            let len = number(head)?;
            if len < 0 {
                return Ok((Value::Null, next));
            }
            let text = bytes[next..next + len as usize].to_vec();
            let value = match head[0] {
                b'$' => Value::Bulk(text),
                b'=' => Value::Text(text.get(4..).unwrap_or_default().to_vec()),
                _ => Value::Error(text),
            };
            (value, next + len as usize + 2)
        }
        b'%' => {
            let (items, at) = items(2 * number(head)?)?;
            (Value::Map(items), at)
        }
        b'|' => {
            let (_, at) = items(2 * number(head)?)?; // Attributes are for people; the value follows.
            decode(bytes, at, depth + 1)?
        }
        _ => {
            let count = number(head)?;
            if count < 0 {
                return Ok((Value::Null, next));
            }
            let (items, at) = items(count)?;
            (Value::Array(items), at)
        }
    })
}

/// The value of a reply's own bytes.
pub fn decode_frame(bytes: &[u8]) -> io::Result<Value> {
    match frame_len(bytes, 0)? {
        Some(len) if len == bytes.len() => Ok(decode(bytes, 0, 0)?.0),
        _ => Err(invalid(format!("not one whole reply: {}", bytes.escape_ascii()))),
    }
}

/// Appends a command as RESP.
pub fn encode(out: &mut Vec<u8>, words: &[&[u8]]) {
    write!(out, "*{}\r\n", words.len()).expect("a vector takes all");
    for word in words {
        write!(out, "${}\r\n", word.len()).expect("a vector takes all");
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    input: Vec<u8>,
    /// Where the next reply begins in `input`.
    at: usize,
    output: Vec<u8>,
    /// How long a reply may be waited for.
    limit: Duration,
}

impl Client {
    /// Connects to a server of this machine.
    pub fn connect(port: u16) -> io::Result<Client> {
        Client::connect_within(port, ANSWER_MAX)
    }

    /// The same for a server that must answer within `limit`; what takes longer is `TimedOut`.
    pub fn connect_within(port: u16, limit: Duration) -> io::Result<Client> {
        let stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), limit)?;
        stream.set_nodelay(true)?;
        // A wait is made of looks: time in which this machine stood still is not the server's.
        stream.set_read_timeout(Some(limit.min(LOOK_MAX)))?;
        stream.set_write_timeout(Some(limit))?;
        Ok(Client { stream, input: Vec::new(), at: 0, output: Vec::new(), limit })
    }

    /// The stream, for its options and for writing bytes that are no command.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Adds a command to what [`Client::flush`] sends.
    pub fn push(&mut self, words: &[&[u8]]) {
        encode(&mut self.output, words);
    }

    /// Sends what was pushed.
    pub fn flush(&mut self) -> io::Result<()> {
        let sent = self.stream.write_all(&self.output);
        sent.map_err(|error| if is_hung(&error) { self.no_answer() } else { error })?;
        self.output.clear();
        Ok(())
    }

    /// The next reply's own bytes.
    pub fn read_bytes(&mut self) -> io::Result<Vec<u8>> {
        let end = self.wait_for_frame()?;
        let bytes = self.input[self.at..end].to_vec();
        self.at = end;
        Ok(bytes)
    }

    /// The next reply.
    pub fn read(&mut self) -> io::Result<Value> {
        let end = self.wait_for_frame()?;
        let (value, _) = decode(&self.input, self.at, 0)?;
        self.at = end;
        Ok(value)
    }

    /// Sends one command and reads its reply.
    pub fn call(&mut self, words: &[&[u8]]) -> io::Result<Value> {
        self.push(words);
        self.flush()?;
        self.read()
    }

    fn no_answer(&self) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {:?}", self.limit))
    }

    fn wait_for_frame(&mut self) -> io::Result<usize> {
        let mut patience = None;
        loop {
            if let Some(end) = frame_len(&self.input, self.at)? {
                return Ok(end);
            }
            if self.at > 0 {
                self.input.drain(..self.at);
                self.at = 0;
            }
            let patience = patience.get_or_insert_with(|| Patience::new(self.limit));
            let mut chunk = [0; 64 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")),
                Ok(read) => {
                    self.input.extend_from_slice(&chunk[..read]);
                    *patience = Patience::new(self.limit);
                }
                // A socket with a limit tells of signals even where calls are to go on after them.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_hung(&error) && patience.is_over() => return Err(self.no_answer()),
                Err(error) if is_hung(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLIES: &[(&[u8], &str)] = &[
        (b"+OK\r\n", "\"OK\""),
        (b"-ERR no\r\n", "error ERR no"),
        (b":-5\r\n", "-5"),
        (b"$3\r\na\r\n\r\n", "\"a\\r\\n\""),
        (b"$-1\r\n", "null"),
        (b"*-1\r\n", "null"),
        (b"*2\r\n*1\r\n:1\r\n$0\r\n\r\n", "[[1], \"\"]"),
        (b"%1\r\n+a\r\n_\r\n", "[\"a\", null]"),
        (b"=7\r\ntxt:abc\r\n", "\"abc\""),
        (b"|1\r\n+ttl\r\n:1\r\n#t\r\n", "true"),
        (b">1\r\n,1.5\r\n", "[\"1.5\"]"),
    ];

    #[test]
    fn every_kind_of_reply_is_decoded_and_no_prefix_of_it_is_complete() {
        for (bytes, shown) in REPLIES {
            for cut in 0..bytes.len() {
                assert_eq!(frame_len(&bytes[..cut], 0).unwrap(), None, "{} cut at {cut}", bytes.escape_ascii());
            }
            let mut two = bytes.to_vec();
            two.extend_from_slice(b"+NEXT\r\n");
            assert_eq!(frame_len(&two, 0).unwrap(), Some(bytes.len()));
            let (value, end) = decode(&two, 0, 0).unwrap();
            assert_eq!((value.to_string().as_str(), end), (*shown, bytes.len()));
        }
    }

    #[test]
    fn a_reply_that_is_not_resp_is_an_error() {
        for bytes in [&b"OK\r\n"[..], b"+OK\n", b"$2\r\nabcd", b"*x\r\n", b"\r\n"] {
            assert!(frame_len(bytes, 0).is_err(), "{}", bytes.escape_ascii());
        }
    }
}
