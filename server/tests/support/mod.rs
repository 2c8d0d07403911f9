//! Starts the real binary in a folder of its own and talks to it in plain bytes.
//!
//! Servers listen on a unix socket, so that tests run side by side; on a TCP port only where a test is about TCP.

#![allow(dead_code)] // Each test file uses its part.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_firn-server");
/// How long anything may take before the test gives up: no test depends on its length.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A TCP port that nobody listens on at the moment.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

/// A running server; dropping it kills it.
pub(crate) struct Server {
    /// The process.
    pub(crate) child: Child,
    /// Its folder.
    pub(crate) folder: TempDir,
    /// Its TCP port; 0 is none.
    pub(crate) port: u16,
}

impl Server {
    /// With a unix socket and `words` on the command line.
    pub(crate) fn start(words: &[&str]) -> Server {
        Server::start_on(0, words)
    }

    /// The same with a free TCP port.
    pub(crate) fn start_tcp(words: &[&str]) -> Server {
        Server::start_on(free_port(), words)
    }

    fn start_on(port: u16, words: &[&str]) -> Server {
        Server::start_with(port, words, &[])
    }

    /// The same with variables of its environment.
    pub(crate) fn start_with(port: u16, words: &[&str], environment: &[(&str, &std::ffi::OsStr)]) -> Server {
        Server::launch(port, tempfile::tempdir().expect("a folder"), words, environment)
    }

    /// [`Server::start`] over what is in `folder`.
    pub(crate) fn start_in(folder: TempDir, words: &[&str]) -> Server {
        Server::launch(0, folder, words, &[])
    }

    fn launch(port: u16, folder: TempDir, words: &[&str], environment: &[(&str, &std::ffi::OsStr)]) -> Server {
        let child = Command::new(BINARY)
            .envs(environment.iter().copied())
            .args(["--unixsocket", "s", "--port", &port.to_string(), "--dir"])
            .arg(folder.path())
            .args(words)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(fs::File::create(folder.path().join("log")).expect("a log"))
            .spawn()
            .expect("the binary starts");
        let mut server = Server { child, folder, port };
        let began = Instant::now();
        while UnixStream::connect(server.socket()).is_err() {
            assert!(server.child.try_wait().expect("a child").is_none(), "it ended: {}", server.log());
            assert!(began.elapsed() < PATIENCE, "it does not come up: {}", server.log());
            std::thread::sleep(Duration::from_millis(2));
        }
        // It listens before it has read its data; it is up when it answers.
        server.connect().line(b"PING\r\n");
        server
    }

    /// The unix socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A connection over the unix socket.
    pub(crate) fn connect(&self) -> Connection<UnixStream> {
        let stream = UnixStream::connect(self.socket()).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.set_write_timeout(Some(PATIENCE)).expect("set");
        Connection { stream, rest: Vec::new() }
    }

    /// A connection over TCP.
    pub(crate) fn connect_tcp(&self) -> Connection<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.set_nodelay(true).expect("set");
        Connection { stream, rest: Vec::new() }
    }

    /// Bytes of physical memory it takes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.memory_bytes(1)
    }

    /// Bytes of address space it has reserved.
    pub(crate) fn reserved_bytes(&self) -> u64 {
        self.memory_bytes(0)
    }

    fn memory_bytes(&self, field: usize) -> u64 {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.child.id())).expect("a live process");
        statm.split_ascii_whitespace().nth(field).expect("the field").parse::<u64>().expect("a number") * 4096
    }

    /// It runs no more until [`Server::go_on`]: what is sent meanwhile is there all at once.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    /// Ends [`Server::pause`].
    pub(crate) fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(status.expect("kill is there").success(), "{name}");
    }

    /// Asserts that it still answers.
    pub(crate) fn is_well(&self) {
        assert_eq!(self.connect().ask(b"PING\r\n", 7), b"+PONG\r\n");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection that knows nothing of the protocol.
pub(crate) struct Connection<S> {
    /// The socket.
    pub(crate) stream: S,
    rest: Vec<u8>,
}

impl<S: Read + Write> Connection<S> {
    /// Over a stream that is connected.
    pub(crate) fn over(stream: S) -> Self {
        Connection { stream, rest: Vec::new() }
    }

    /// Sends bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("sent");
    }

    /// The next `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> Vec<u8> {
        while self.rest.len() < len {
            let n = self.more().expect("a reply");
            assert!(n > 0, "closed after {}", self.rest.escape_ascii());
        }
        self.rest.drain(..len).collect()
    }

    /// Sends bytes and takes a reply of `len`.
    pub(crate) fn ask(&mut self, bytes: &[u8], len: usize) -> Vec<u8> {
        self.send(bytes);
        self.take(len)
    }

    /// Sends bytes and takes a line without its end.
    pub(crate) fn line(&mut self, bytes: &[u8]) -> String {
        self.send(bytes);
        loop {
            if let Some(at) = self.rest.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.rest.drain(..at + 2).take(at).collect();
                return String::from_utf8(line).expect("text");
            }
            let n = self.more().expect("a reply");
            assert!(n > 0, "closed after {}", self.rest.escape_ascii());
        }
    }

    /// Everything until the server closes.
    pub(crate) fn until_closed(&mut self) -> Vec<u8> {
        loop {
            match self.more() {
                Ok(0) => return std::mem::take(&mut self.rest),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return std::mem::take(&mut self.rest),
                Err(error) => panic!("{error} after {}", self.rest.escape_ascii()),
            }
        }
    }

    fn more(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 65536];
        let n = self.stream.read(&mut chunk)?;
        self.rest.extend_from_slice(&chunk[..n]);
        Ok(n)
    }
}

impl Connection<UnixStream> {
    /// To a server that comes up on this socket.
    pub(crate) fn when_up(socket: &std::path::Path) -> Self {
        let began = Instant::now();
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(error) => assert!(began.elapsed() < PATIENCE, "it does not come up: {error}"),
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        Connection { stream, rest: Vec::new() }
    }
}

/// A command as RESP.
pub(crate) fn encode(words: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    out
}
