//! Writes append-only files.

use std::io::{self, Write};

/// Small commands are put together up to this length.
const BUFFER_LEN: usize = 64 * 1024;

/// Writes commands as RESP. What reads the file (or the other end) sees each whole or, after a failure, a tail that is cut.
#[derive(Debug)]
pub struct CommandWriter<W: Write> {
    out: W,
    buffer: Vec<u8>,
    /// The database that the last SELECT chose.
    db: Option<u32>,
    written: u64,
}

/// Appends one command.
pub fn put_command(out: &mut Vec<u8>, words: &[&[u8]]) {
    let mut digits = itoa::Buffer::new();
    out.push(b'*');
    out.extend_from_slice(digits.format(words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(b"\r\n$");
        out.extend_from_slice(digits.format(word.len()).as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(word);
    }
    out.extend_from_slice(b"\r\n");
}

impl<W: Write> CommandWriter<W> {
    /// Appends to `out`.
    pub fn new(out: W) -> CommandWriter<W> {
        CommandWriter { out, buffer: Vec::with_capacity(BUFFER_LEN), db: None, written: 0 }
    }

    /// Bytes so far, those in memory included.
    pub fn len(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a command in database `db`, with SELECT before it where that is needed.
    ///
    /// # Errors
    /// The output's.
    pub fn command(&mut self, db: u32, words: &[&[u8]]) -> io::Result<()> {
        if self.db != Some(db) {
            put_command(&mut self.buffer, &[b"SELECT", itoa::Buffer::new().format(db).as_bytes()]);
            self.db = Some(db);
        }
        put_command(&mut self.buffer, words);
        if self.buffer.len() >= BUFFER_LEN { self.flush() } else { Ok(()) }
    }

    /// Appends several commands that belong together.
    ///
    /// # Errors
    /// The output's.
    pub fn transaction<'w>(&mut self, commands: impl IntoIterator<Item = (u32, &'w [&'w [u8]])>) -> io::Result<()> {
        put_command(&mut self.buffer, &[b"MULTI"]);
        for (db, words) in commands {
            self.command(db, words)?;
        }
        put_command(&mut self.buffer, &[b"EXEC"]);
        Ok(())
    }

    /// Appends an annotation: the time of what follows, in Unix seconds (`aof-timestamp-enabled`).
    pub fn timestamp(&mut self, seconds: u64) {
        self.buffer.extend_from_slice(format!("#TS:{seconds}\r\n").as_bytes());
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is left, and gives the output back; making it durable is the caller's matter.
    ///
    /// # Errors
    /// The output's.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        self.out.flush()?;
        Ok(self.out)
    }
}
