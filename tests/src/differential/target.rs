//! A server in the differential test: commands in, the bytes of the replies out.

use crate::client::{Client, Value, decode_frame};
use std::io;

/// What is compared.
pub trait Target {
    /// Makes it fresh: no data, database 0, RESP2 or RESP3.
    ///
    /// # Errors
    /// The connection's.
    fn begin(&mut self, resp3: bool) -> io::Result<()>;

    /// Sends commands, all at once, without waiting.
    ///
    /// # Errors
    /// The connection's.
    fn send(&mut self, commands: &[Vec<Vec<u8>>]) -> io::Result<()>;

    /// The bytes of the next reply.
    ///
    /// # Errors
    /// The connection's.
    fn receive(&mut self) -> io::Result<Vec<u8>>;

    /// The keyspace events of the command whose reply came last, in order: `db name key`, one a line.
    ///
    /// # Errors
    /// The connection's.
    fn events(&mut self) -> io::Result<Vec<u8>>;

    /// Sends MULTI, commands and EXEC; [`Target::receive_plain`] has their replies. Says whether there are transactions at all.
    ///
    /// # Errors
    /// The connection's.
    fn begin_transaction(&mut self, _commands: &[Vec<Vec<u8>>]) -> io::Result<bool> {
        Ok(false)
    }

    /// The next reply within a transaction.
    ///
    /// # Errors
    /// The connection's.
    fn receive_plain(&mut self) -> io::Result<Vec<u8>> {
        self.receive()
    }

    /// After the last reply of a transaction; [`Target::events`] has the events of all of it then.
    ///
    /// # Errors
    /// The connection's.
    fn end_transaction(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// DEBUG DIGEST: a digest of all data that does not depend on the server's make.
    ///
    /// # Errors
    /// The connection's.
    fn digest(&mut self) -> io::Result<Vec<u8>>;
}

/// A server behind a connection.
#[derive(Debug)]
pub struct Remote {
    client: Client,
    /// Listens to events; behind those of each command comes a mark.
    ear: Client,
}

/// The channel of the marks.
const MARKS: &[u8] = b"mark";
/// Where the channels of events begin.
const EVENTS: &[u8] = b"__keyevent@";

impl Remote {
    /// Connects.
    ///
    /// # Errors
    /// The connection's.
    pub fn connect(port: u16) -> io::Result<Remote> {
        let mut ear = Client::connect(port)?;
        let commands: [&[&[u8]]; 3] = [
            &[b"CONFIG", b"SET", b"notify-keyspace-events", b"EAmn"],
            &[b"PSUBSCRIBE", b"__keyevent@*"],
            &[b"SUBSCRIBE", MARKS],
        ];
        for command in commands {
            let reply = ear.call(command)?;
            if reply.is_error() {
                return Err(io::Error::other(format!("its events cannot be listened to: {reply}")));
            }
        }
        Ok(Remote { client: Client::connect(port)?, ear })
    }
}

impl Target for Remote {
    fn begin(&mut self, resp3: bool) -> io::Result<()> {
        self.client.push(&[b"HELLO", if resp3 { b"3" } else { b"2" }]);
        self.client.push(&[b"SELECT", b"0"]);
        self.client.push(&[b"UNWATCH"]);
        self.client.push(&[b"FLUSHALL"]);
        self.client.flush()?;
        for _ in 0..4 {
            let reply = self.client.read_bytes()?;
            if reply.starts_with(b"-") {
                return Err(io::Error::other(format!("a fresh start was refused: {}", reply.escape_ascii())));
            }
        }
        self.client.call(&[b"PUBLISH", MARKS, b""])?;
        self.events()?;
        Ok(())
    }

    fn send(&mut self, commands: &[Vec<Vec<u8>>]) -> io::Result<()> {
        for words in commands {
            self.client.push(&words.iter().map(Vec::as_slice).collect::<Vec<_>>());
            self.client.push(&[b"PUBLISH", MARKS, b""]);
        }
        self.client.flush()
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        let reply = self.client.read_bytes()?;
        self.client.read_bytes()?; // The mark's.
        Ok(reply)
    }

    fn events(&mut self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        loop {
            let message = self.ear.read()?;
            let Value::Array(words) = &message else { return Err(io::Error::other(format!("no message: {message}"))) };
            let words: Vec<&[u8]> = words.iter().filter_map(Value::bytes).collect();
            match words.as_slice() {
                [b"message", MARKS, _] => return Ok(text),
                [b"pmessage", _, channel, key] => {
                    text.extend_from_slice(channel.strip_prefix(EVENTS).unwrap_or(channel));
                    text.push(b' ');
                    text.extend_from_slice(key);
                    text.push(b'\n');
                }
                _ => return Err(io::Error::other(format!("no event: {message}"))),
            }
        }
    }

    fn begin_transaction(&mut self, commands: &[Vec<Vec<u8>>]) -> io::Result<bool> {
        self.client.push(&[b"MULTI"]);
        for words in commands {
            self.client.push(&words.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }
        self.client.push(&[b"EXEC"]);
        self.client.push(&[b"PUBLISH", MARKS, b""]);
        self.client.flush()?;
        Ok(true)
    }

    fn receive_plain(&mut self) -> io::Result<Vec<u8>> {
        self.client.read_bytes()
    }

    fn end_transaction(&mut self) -> io::Result<()> {
        self.client.read_bytes()?; // The mark's.
        Ok(())
    }

    fn digest(&mut self) -> io::Result<Vec<u8>> {
        self.client.push(&[b"DEBUG", b"DIGEST"]);
        self.client.flush()?;
        let reply = self.client.read_bytes()?;
        // A status in Redis, a string in Firn: a status holds only fixed texts there.
        match decode_frame(&reply)?.bytes() {
            Some(digest) => Ok(digest.to_vec()),
            None => Err(io::Error::other(format!("DEBUG DIGEST was refused: {}", reply.escape_ascii()))),
        }
    }
}
