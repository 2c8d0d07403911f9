//! A server in the differential test: commands in, the bytes of the replies out.

use crate::client::{Client, decode_frame};
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
}

impl Remote {
    /// Connects.
    ///
    /// # Errors
    /// The connection's.
    pub fn connect(port: u16) -> io::Result<Remote> {
        Ok(Remote { client: Client::connect(port)? })
    }
}

impl Target for Remote {
    fn begin(&mut self, resp3: bool) -> io::Result<()> {
        self.client.push(&[b"HELLO", if resp3 { b"3" } else { b"2" }]);
        self.client.push(&[b"SELECT", b"0"]);
        self.client.push(&[b"FLUSHALL"]);
        self.client.flush()?;
        for _ in 0..3 {
            let reply = self.client.read_bytes()?;
            if reply.starts_with(b"-") {
                return Err(io::Error::other(format!("a fresh start was refused: {}", reply.escape_ascii())));
            }
        }
        Ok(())
    }

    fn send(&mut self, commands: &[Vec<Vec<u8>>]) -> io::Result<()> {
        for words in commands {
            self.client.push(&words.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }
        self.client.flush()
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        self.client.read_bytes()
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
