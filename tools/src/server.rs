//! A client of a live server, to write keys into it: Redis, Valkey or Firn.
//!
//! 1. Commands go out in pipelines, and every reply is looked at: an error ends the run with the server's own words.
//! 2. A key appears whole: its commands are one MULTI ... EXEC, or, if it is large, fill a key of another name that is then renamed.
//! 3. Replies are read with bounded memory: only their first line matters.

use crate::ToolError;
use crate::commands;
use crate::ping::password_of_environment;
use firn_engine::keyspace::libraries::Libraries;
use firn_engine::keyspace::{Entry, Value};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Bytes that are sent before replies are read.
const PIPELINE_BYTES: usize = 256 * 1024;
/// Commands in flight at most, so that neither side's buffers fill up.
const PIPELINE_COMMANDS: u64 = 2048;
/// Elements above which a key is made under another name.
const LARGE_FROM: usize = 16 * 1024;
const TIMEOUT: Duration = Duration::from_secs(60);

/// Where a server is: `redis://[[user]:password@]host[:port][/db]`. Without a password the environment's is taken, as `firn ping` does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Address {
    user: Option<String>,
    password: Option<String>,
    host: String,
    port: u16,
    /// All keys go there, whatever database they were in.
    db: Option<usize>,
}

impl Address {
    /// Reads one.
    pub(crate) fn parse(text: &str) -> Result<Address, ToolError> {
        // Without what was given: a password may be in it.
        let wrong = || ToolError::Usage("--into: give redis://[[user]:password@]host[:port][/db]".to_owned());
        if text.starts_with("rediss://") || text.starts_with("valkeys://") {
            return Err(ToolError::Usage(
                "--into: TLS is not spoken; firn convert ... - --format resp | redis-cli --tls --pipe writes keys into such a server"
                    .to_owned(),
            ));
        }
        let rest = text.strip_prefix("redis://").or_else(|| text.strip_prefix("valkey://")).ok_or_else(wrong)?;
        let (login, rest) = rest.rsplit_once('@').map_or((None, rest), |(login, rest)| (Some(login), rest));
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or(("", login))) {
            Some((user, password)) => ((!user.is_empty()).then(|| decoded(user)), Some(decoded(password))),
            None => (None, None),
        };
        let (place, db) = rest.split_once('/').map_or((rest, ""), |(place, db)| (place, db));
        let db = if db.is_empty() { None } else { Some(db.parse().map_err(|_| wrong())?) };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().map_err(|_| wrong())?),
            _ => (place, 6379),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(wrong());
        }
        Ok(Address { user, password, host: host.to_owned(), port, db })
    }

    /// Without what is secret.
    pub(crate) fn shown(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// `%40` is `@`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.first_chunk::<2>().and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A connection.
pub(crate) struct Server {
    address: Address,
    write: TcpStream,
    read: BufReader<TcpStream>,
    out: Vec<u8>,
    in_flight: u64,
    selected: usize,
}

impl Server {
    /// Connects and logs in.
    pub(crate) fn connect(address: &Address) -> Result<Server, ToolError> {
        let failed = |error: std::io::Error| ToolError::Unreadable(format!("{}: {error}", address.shown()));
        let write = TcpStream::connect((address.host.as_str(), address.port)).map_err(failed)?;
        write.set_read_timeout(Some(TIMEOUT)).and_then(|()| write.set_write_timeout(Some(TIMEOUT))).map_err(failed)?;
        write.set_nodelay(true).map_err(failed)?;
        let read = BufReader::new(write.try_clone().map_err(failed)?);
        let mut server = Server { address: address.clone(), write, read, out: Vec::new(), in_flight: 0, selected: 0 };
        let password = match &address.password {
            Some(password) => Some(password.clone().into_bytes()),
            None => password_of_environment(),
        };
        if let Some(password) = &password {
            let mut words: Vec<&[u8]> = vec![b"AUTH"];
            words.extend(address.user.as_deref().map(str::as_bytes));
            words.push(password);
            server.send(&words)?;
        }
        server.send(&[b"PING"])?;
        server.settle()?;
        Ok(server)
    }

    fn failed(&self, error: &std::io::Error) -> ToolError {
        ToolError::Unreadable(format!("{}: {error}", self.address.shown()))
    }

    fn send(&mut self, words: &[&[u8]]) -> Result<(), ToolError> {
        commands::write(&mut self.out, words)?;
        self.in_flight += 1;
        if self.out.len() >= PIPELINE_BYTES || self.in_flight >= PIPELINE_COMMANDS { self.settle() } else { Ok(()) }
    }

    /// Sends what waits and reads all replies.
    pub(crate) fn settle(&mut self) -> Result<(), ToolError> {
        self.write.write_all(&self.out).map_err(|error| self.failed(&error))?;
        self.out.clear();
        while self.in_flight > 0 {
            self.in_flight -= 1;
            self.reply()?;
        }
        Ok(())
    }

    /// Reads one reply; an integer is given back.
    fn reply(&mut self) -> Result<Option<i64>, ToolError> {
        let mut left = 1u64;
        let mut integer = None;
        while left > 0 {
            left -= 1;
            let mut line = Vec::new();
            let read =
                (&mut self.read).take(64 * 1024).read_until(b'\n', &mut line).map_err(|error| self.failed(&error))?;
            if read == 0 {
                return Err(ToolError::Unreadable(format!("{} closed the connection", self.address.shown())));
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end();
            let number = || text[1..].parse::<i64>().unwrap_or(-1);
            match line[0] {
                b'-' => return Err(ToolError::Unreadable(format!("{} answers: {}", self.address.shown(), &text[1..]))),
                b':' => integer = Some(number()),
                b'*' => left += u64::try_from(number()).unwrap_or(0),
                b'$' => {
                    if let Ok(len) = u64::try_from(number()) {
                        let copied = std::io::copy(&mut (&mut self.read).take(len + 2), &mut std::io::sink());
                        copied.map_err(|error| self.failed(&error))?;
                    }
                }
                _ => {}
            }
        }
        Ok(integer)
    }

    fn select(&mut self, db: usize) -> Result<(), ToolError> {
        let db = self.address.db.unwrap_or(db);
        if db != self.selected {
            self.send(&[b"SELECT", db.to_string().as_bytes()])?;
            self.selected = db;
        }
        Ok(())
    }

    /// Whether the server has the key.
    fn has(&mut self, key: &[u8]) -> Result<bool, ToolError> {
        self.settle()?;
        commands::write(&mut self.out, &[b"EXISTS", key])?;
        self.write.write_all(&self.out).map_err(|error| self.failed(&error))?;
        self.out.clear();
        Ok(self.reply()? == Some(1))
    }

    /// Loads libraries of functions, in place of those of the same names.
    pub(crate) fn libraries(&mut self, libraries: &Libraries) -> Result<(), ToolError> {
        libraries.iter().try_for_each(|(_, source)| self.send(&[b"FUNCTION", b"LOAD", b"REPLACE", source]))
    }

    /// Writes a key, in place of what the server has unless that is to be kept. Says whether it did.
    pub(crate) fn put(&mut self, db: usize, entry: &Entry<'_>, keep_existing: bool) -> Result<bool, ToolError> {
        self.select(db)?;
        if keep_existing && self.has(entry.key)? {
            return Ok(false);
        }
        match entry.value {
            Value::String(bytes) => match entry.deadline {
                Some(at) => self.send(&[b"SET", entry.key, bytes, b"PXAT", at.to_string().as_bytes()])?,
                None => self.send(&[b"SET", entry.key, bytes])?,
            },
            Value::Collection(view) if view.len() <= LARGE_FROM => {
                self.send(&[b"MULTI"])?;
                self.send(&[b"DEL", entry.key])?;
                commands::of_entry(entry, &mut |words| self.send(words))?;
                self.send(&[b"EXEC"])?;
            }
            Value::Collection(_) => {
                let made = [&b"firn:restoring:"[..], entry.key].concat();
                self.send(&[b"DEL", &made])?;
                commands::of_entry(&Entry { key: &made, ..*entry }, &mut |words| self.send(words))?;
                self.send(&[b"RENAME", &made, entry.key])?;
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let plain = Address { user: None, password: None, host: "h".into(), port: 6379, db: None };
        assert_eq!(Address::parse("redis://h").unwrap(), plain);
        let full =
            Address { user: Some("u".into()), password: Some("p@:/".into()), host: "::1".into(), port: 7, db: Some(3) };
        assert_eq!(Address::parse("redis://u:p%40%3a%2f@[::1]:7/3").unwrap(), full);
        let password = Address { password: Some("pw".into()), ..plain };
        assert_eq!(Address::parse("redis://:pw@h/").unwrap(), password);
        for text in ["h:1", "redis://", "redis://h:x", "redis://h/x", "http://h"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
        for text in ["redis://:secret@h:x", "rediss://u:secret@h", "http://:secret@h", "redis://:secret@h/x"] {
            assert!(!Address::parse(text).unwrap_err().to_string().contains("secret"), "{text}");
        }
    }
}
