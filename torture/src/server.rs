//! The server under test as a child process: a command line with `{port}`, `{dir}` and `{policy}`, started, waited for, signalled,
//! killed, and never left behind.
//!
//! A server says that it is up by answering PING with PONG; `LOADING` is waited for. What it prints is kept in a file beside its
//! data: there a refused start has to name its cause.

use crate::client::{Client, Value};
use crate::stall::{LOOK_MAX, Patience};
use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a stopped process may take to leave its calls; a flush of a slow disk is the longest.
const STOP_TIME_MAX: Duration = Duration::from_secs(60);
/// How long the port of a server that has ended may still be taken.
const FREE_PORT_MAX: Duration = Duration::from_secs(2);
/// How much of its output is looked at.
const SAID_LEN_MAX: usize = 16 * 1024;

/// What is needed to start it, again and again.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// With its placeholders.
    pub(crate) command: String,
    pub(crate) port: u16,
    pub(crate) folder: PathBuf,
    pub(crate) policy: &'static str,
    /// Where its output goes.
    pub(crate) log: PathBuf,
    /// How long a start may take.
    pub(crate) start_max: Duration,
    /// Further variables of its environment.
    pub(crate) environment: Vec<(String, String)>,
}

/// A start that did not end in a server that answers.
#[derive(Debug)]
pub(crate) enum NoStart {
    /// The process ended; the rest of what it printed.
    Refused { status: ExitStatus, said: String },
    /// It ran, and did not answer in time.
    TooLong { said: String },
    /// It could not be made.
    Failed(io::Error),
}

impl From<io::Error> for NoStart {
    fn from(error: io::Error) -> Self {
        NoStart::Failed(error)
    }
}

impl std::fmt::Display for NoStart {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NoStart::Refused { status, said } => {
                write!(out, "the start ended ({}): {}", ended(*status), last_lines(said))
            }
            NoStart::TooLong { said } => write!(out, "the start does not end: {}", last_lines(said)),
            NoStart::Failed(error) => write!(out, "the start failed: {error}"),
        }
    }
}

/// How a process ended.
pub(crate) fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (_, Some(signal)) => format!("signal {signal}"),
        _ => "no status".into(),
    }
}

/// The last lines of an output that say something.
pub(crate) fn last_lines(said: &str) -> String {
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(6)..].join(" | ")
}

impl Launch {
    /// Waits until nobody listens on the port: another server there would be taken for this one.
    fn port_is_free(&self) -> io::Result<()> {
        let began = Instant::now();
        while let Err(error) = TcpListener::bind(("127.0.0.1", self.port)) {
            // A child that a killed server had forked may hold its socket for a moment.
            if began.elapsed() > FREE_PORT_MAX {
                return Err(io::Error::new(error.kind(), format!("port {} (see --port): {error}", self.port)));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Starts it without waiting for it.
    pub(crate) fn spawn(&self) -> io::Result<Server> {
        self.port_is_free()?;
        let log = File::options().create(true).append(true).open(&self.log)?;
        let log_from = log.metadata()?.len();
        let words = self
            .command
            .replace("{port}", &self.port.to_string())
            .replace("{dir}", &self.folder.display().to_string())
            .replace("{policy}", self.policy);
        let child = Command::new("sh")
            .args(["-c", &format!("exec {words}")])
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0) // A terminal's Ctrl-C ends the driver, which ends the server.
            .spawn()?;
        let log = self.log.clone();
        Ok(Server { child, port: self.port, log, log_from, began: Instant::now(), start_max: self.start_max })
    }

    /// Starts it and waits until it answers; also how long that took.
    pub(crate) fn start(&self) -> Result<(Server, Duration), NoStart> {
        let mut server = self.spawn()?;
        let took = server.wait_until_up()?;
        Ok((server, took))
    }
}

/// A running server; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    port: u16,
    log: PathBuf,
    log_from: u64,
    began: Instant,
    start_max: Duration,
}

impl Server {
    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A new connection.
    pub(crate) fn connect(&self) -> io::Result<Client> {
        Client::connect(self.port)
    }

    /// Waits until it answers PING with PONG.
    pub(crate) fn wait_until_up(&mut self) -> Result<Duration, NoStart> {
        let mut patience = Patience::new(self.start_max);
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(NoStart::Refused { status, said: self.said() });
            }
            let answer = Client::connect(self.port).and_then(|mut client| {
                client.stream().set_read_timeout(Some(LOOK_MAX))?;
                client.call(&[b"PING"])
            });
            if matches!(answer, Ok(Value::Text(text)) if text == b"PONG") {
                return Ok(self.began.elapsed());
            }
            if patience.is_over() {
                return Err(NoStart::TooLong { said: self.said() });
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// `kill -9`, and waits for the end of the process.
    pub(crate) fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }

    /// SIGTERM; gives the status, or `None` if it has not ended in this time.
    pub(crate) fn terminate(&mut self, wait: Duration) -> io::Result<Option<ExitStatus>> {
        self.signal(libc::SIGTERM)?;
        self.wait_for_end(wait)
    }

    /// Waits for the end of the process.
    pub(crate) fn wait_for_end(&mut self, wait: Duration) -> io::Result<Option<ExitStatus>> {
        let mut patience = Patience::new(wait);
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            if patience.is_over() {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Stops it (SIGSTOP), and waits until every thread of it has left whatever call it was in: a flush that has begun ends
    /// before this returns.
    pub(crate) fn stop(&self) -> io::Result<()> {
        self.signal(libc::SIGSTOP)?;
        let began = Instant::now();
        // Twice: a thread may have been made while the first look went round.
        let mut looks = 0;
        while looks < 2 {
            looks = if self.all_stopped()? { looks + 1 } else { 0 };
            if looks == 0 && began.elapsed() > STOP_TIME_MAX {
                return Err(io::Error::other(format!("the server's threads do not stop within {STOP_TIME_MAX:?}")));
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Lets it go on after [`Server::stop`].
    pub(crate) fn go_on(&self) -> io::Result<()> {
        self.signal(libc::SIGCONT)
    }

    fn signal(&self, signal: i32) -> io::Result<()> {
        // SAFETY: the process is our child and was not waited for, so the id is its own.
        let status = unsafe { libc::kill(self.child.id() as i32, signal) };
        if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn all_stopped(&self) -> io::Result<bool> {
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let stat = match std::fs::read_to_string(task?.path().join("stat")) {
                Ok(stat) => stat,
                // The thread ended.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => continue,
                Err(error) => return Err(error),
            };
            // "id (name) state ...": the name may hold anything.
            let state = stat.rsplit_once(") ").map(|(_, rest)| rest.as_bytes()[0]);
            if state != Some(b'T') {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Its status, if it has ended.
    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// What it printed since it was started, at most the end of that.
    pub(crate) fn said(&self) -> String {
        said(&self.log, self.log_from)
    }
}

fn said(log: &Path, from: u64) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let bytes = &bytes[(from as usize).min(bytes.len())..];
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(SAID_LEN_MAX)..]).into_owned()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// A port that nobody uses now.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_not_started_on_a_port_that_another_has() {
        let other = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let work = tempfile::tempdir().unwrap();
        let launch = Launch {
            command: "true".into(),
            port: other.local_addr().unwrap().port(),
            folder: work.path().into(),
            policy: "no",
            log: work.path().join("log"),
            start_max: Duration::from_secs(1),
            environment: Vec::new(),
        };
        assert_eq!(launch.spawn().map(drop).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
